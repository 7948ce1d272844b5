"""What must be known to read a table: the protocol, the statistics, versions, devices, floors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from .benchmark import Benchmark
from .columns import Column, select
from .comparisons import MeanRanks
from .stats import DRAWS


def footer(
    rows: pd.DataFrame,
    benchmark: Benchmark,
    columns: Sequence[Column],
    mean_ranks: Mapping[str, MeanRanks],
    skipped: Mapping[str, str],
) -> tuple[str, ...]:
    """Sentences. `rows` with groups; `mean_ranks` by alignment; `skipped`: methods not run, and why."""
    return (
        _protocol(rows, benchmark),
        f"Mean over objects with a 95 % bootstrap interval ({DRAWS} draws over objects). k/n: clips with a value, "
        "shown where some lack one; a failed object counts as the worst value in the ranks. Bold is best, underlined "
        "second best, among the ranked methods of one alignment.",
        _mean_rank(columns, mean_ranks),
        *_sets(rows, columns),
        "Metrics: " + "; ".join(_versions(rows, columns)) + ".",
        _made_by(rows, columns),
        *_floors(rows, columns),
        *(f"Not run: {name} ({reason})." for name, reason in skipped.items()),
    )


def _unique(values: pd.Series) -> str:
    return ", ".join(sorted({str(v) for v in values.dropna()} - {""}))


def _protocol(rows: pd.DataFrame, benchmark: Benchmark) -> str:
    data, objects = benchmark.data, len(set(benchmark.object_of.values()))
    return (
        f"{benchmark.id} v{benchmark.version}, split {data['split']}: {len(benchmark.clips)} clips of {objects} "
        f"objects, {data['n_frames']} frames at {data['fps']:g} fps, "
        f"{len(benchmark.views)} views of {data['size']} x {data['size']} pixels; seeds {_unique(rows['seed'])}; "
        f"alignment {data['alignment']}; time rule {data['time_rule']}; protocol {benchmark.protocol_sha256[:12]}."
    )


def _mean_rank(columns: Sequence[Column], found: Mapping[str, MeanRanks]) -> str:
    if not found:
        return "Mean rank: none, it takes two ranked methods of one alignment."
    possible = sum(c.is_quality and c.metric.unit != "set" for c in columns)
    over = ", ".join(f"{len(m.columns)} of {possible} of alignment {alignment}" for alignment, m in found.items())
    return (
        f"Mean rank: over the quality columns in which every ranked method has a value or a failure ({over}), with a "
        "95 % interval over draws of objects. It depends on which methods stand in the table."
    )


def _sets(rows: pd.DataFrame, columns: Sequence[Column]) -> Iterator[str]:
    """How many films or pictures the values of sets are of."""
    counts = []
    for column in (c for c in columns if c.metric.unit == "set"):
        chosen = select(rows, column)
        if found := sorted(set(chosen.loc[chosen["status"] == "ok", "n_frames"])):
            counts.append(f"{column.key} of n = {' and '.join(map(str, found))}")
    if counts:
        yield f"One value for all clips, without an interval and outside the mean rank: {'; '.join(counts)}."


def _versions(rows: pd.DataFrame, columns: Sequence[Column]) -> Iterator[str]:
    records = rows.drop_duplicates("metric").set_index("metric").to_dict("index")
    for id, stride in {c.metric.id: c.stride for c in columns}.items():
        weights = records[id]["metric_weights_sha256"]
        yield (
            f"{id} v{records[id]['metric_version']}"
            + ("" if stride == 1 else f" on every {_ordinal(stride)} frame")
            + (f", weights {weights[:12]}" if weights else "")
        )


def _made_by(rows: pd.DataFrame, columns: Sequence[Column]) -> str:
    """Code and devices. What a device says after a comma is how the metric ran on it, such as half precision."""
    costs = {c.metric.id for c in columns if c.metric.needs == "record"}
    generated = rows[rows["metric"].isin(costs)]
    scored = rows[rows["metric"].isin({c.metric.id for c in columns} - costs)]
    parts = scored["device"].str.partition(", ")
    manners: dict[str, list[str]] = {}
    for metric, manner in zip(scored["metric"], parts[2], strict=True):
        if manner and metric not in manners.setdefault(manner, []):
            manners[manner].append(metric)
    told = "".join(f"; {manner} for {', '.join(metrics)}" for manner, metrics in sorted(manners.items()))
    made = f"generated on {_unique(generated['device'])}; " if _unique(generated["device"]) else ""
    return f"Code {_unique(rows['code_version'])}; {made}scored on {_unique(parts[0])}{told}."


def _floors(rows: pd.DataFrame, columns: Sequence[Column]) -> Iterator[str]:
    """The floors that were scored, of the metrics that have a column: `<id>-floor` of ground_truth."""
    truth = rows[(rows["method"] == "ground_truth") & (rows["status"] == "ok")]
    for column in columns:
        floors = truth[truth["metric"] == f"{column.metric.id}-floor"]
        floors = floors if column.group is None else floors[floors["group"] == column.group]
        if len(floors):
            what = "two independent draws of the true surface"
            if column.metric.unit == "set":
                what = f"two halves of the {floors['n_frames'].iloc[0]} true inputs, over fixed splits of the clips,"
            yield f"Floor of {column.key}: {what} are {floors['value'].mean():.4g} apart."


def _ordinal(n: int) -> str:
    return {2: "2nd", 3: "3rd"}.get(n, f"{n}th")
