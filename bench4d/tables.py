"""The table: methods x metrics, as a pure function of result rows. `table_formats.py` writes it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .benchmark import ALIGNMENTS, Benchmark
from .method import Method
from .metric import Metric
from .stats import DRAWS, Interval, bootstrap_mean


@dataclass(frozen=True)
class Column:
    """One metric, for images on one group of views ("input" or "novel")."""

    metric: Metric
    group: str | None
    stride: int

    @property
    def key(self) -> str:
        return self.metric.id + (f"[{self.group}]" if self.group else "")

    @property
    def arrow(self) -> str:
        return "↑" if self.metric.direction == "higher" else "↓"


@dataclass(frozen=True)
class Cell:
    """A mean over objects with its interval; `covered` of `total` clips gave a value, `failed` of them broke.

    `rank` is 1 for the best and 2 for the second best ranked method of the same alignment, else None.
    """

    interval: Interval | None
    covered: int
    total: int
    failed: int
    reasons: tuple[str, ...] = ()
    rank: int | None = None


@dataclass(frozen=True)
class TableRow:
    method: Method
    alignment: str
    contamination: str
    cells: tuple[Cell, ...]

    @property
    def ranked(self) -> bool:
        """Reference methods have seen the truth: they bound the others and are not ranked with them."""
        return self.method.kind != "reference"


@dataclass(frozen=True)
class Table:
    benchmark: Benchmark
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    failures: tuple[str, ...]
    warnings: tuple[str, ...]
    footer: tuple[str, ...]

    @property
    def blocks(self) -> list[tuple[str, list[int]]]:
        """Columns that belong side by side, as (title, indices): one block a group of views, one for the rest."""
        titles = {"novel": "Novel views", "input": "Input view", None: "Geometry and cost"}
        groups = dict.fromkeys(c.group for c in self.columns)
        return [(titles[g], [k for k, c in enumerate(self.columns) if c.group == g]) for g in groups]


def make_table(
    rows: pd.DataFrame,
    benchmark: Benchmark,
    methods: Sequence[Method],
    metrics: Mapping[str, Metric],
    skipped: Mapping[str, str],
) -> Table:
    """Raise KeyError if a method of `methods` has no rows: absences are never silent."""
    strides = {entry["id"]: entry["stride"] for entry in benchmark.data["metrics"]}
    columns = tuple(Column(metrics[c["metric"]], c.get("views"), strides[c["metric"]]) for c in benchmark.data["table"])
    rows = rows.assign(group=rows["view"].map(benchmark.group_of))
    by_method = {method.id: rows[rows["method"] == method.id] for method in methods}
    if empty := [name for name, part in by_method.items() if part.empty]:
        raise KeyError(f"no result rows for {empty}")
    values = {(m.id, c.key): object_means(by_method[m.id], c) for m in methods for c in columns}
    alignments = {name: _alignment(part) for name, part in by_method.items()}
    ranks: dict[str, dict[str, int]] = {c.key: {} for c in columns}
    for alignment in ALIGNMENTS:  # never across them, and not where one method's rows mix them
        rivals = [m for m in methods if m.kind != "reference" and alignments[m.id] == alignment]
        for column in columns:
            ranks[column.key] |= _ranks(column, rivals, values)
    lines = []
    for method in sorted(methods, key=lambda m: (m.kind == "reference", m.id)):
        part = by_method[method.id]
        cells = tuple(_cell(part, c, values[method.id, c.key], ranks[c.key].get(method.id)) for c in columns)
        seen = ", ".join(method.contaminated_by(benchmark.data["contaminated_by"])) or "none known"
        seen = "is shown the truth" if method.kind == "reference" else seen
        lines.append(TableRow(method, alignments[method.id], seen, cells))
    return Table(
        benchmark,
        columns,
        tuple(lines),
        _failures(rows),
        tuple(sanity(rows, benchmark, metrics)),
        _footer(rows, benchmark, columns, skipped),
    )


def _alignment(rows: pd.DataFrame) -> str:
    """The alignment of a method's rows; a clip that failed was not aligned, and counts only where all failed."""
    done = rows[rows["status"] != "failed"]
    return ", ".join(sorted(set((done if len(done) else rows)["alignment"])))


def select(rows: pd.DataFrame, column: Column) -> pd.DataFrame:
    """The rows that a column is made of."""
    chosen = rows[rows["metric"] == column.metric.id]
    return chosen if column.group is None else chosen[chosen["group"] == column.group]


def object_means(rows: pd.DataFrame, column: Column) -> pd.Series:
    """One value an object: views -> clips -> object, over seeds; objects without any value are absent."""
    good = select(rows, column)
    good = good[good["status"] == "ok"]
    per_clip = good.groupby(["object", "seed", "clip"])["value"].mean()
    return per_clip.groupby("object").mean()


def _cell(rows: pd.DataFrame, column: Column, values: pd.Series, rank: int | None) -> Cell:
    chosen = select(rows, column)
    statuses = chosen.groupby(["seed", "clip"])["status"]
    clips = statuses.agg(lambda part: bool((part == "ok").all()))
    failed = statuses.agg(lambda part: bool((part == "failed").any()))
    reasons = tuple(sorted(set(chosen.loc[chosen["status"] != "ok", "reason"])))
    interval = bootstrap_mean(values.to_numpy()) if len(values) else None
    return Cell(interval, int(clips.sum()), len(clips), int(failed.sum()), reasons, rank)


def _ranks(column: Column, methods: Sequence[Method], values: Mapping[tuple[str, str], pd.Series]) -> dict[str, int]:
    """Best and second best. An object that a method failed on counts as the worst value any method has."""
    table = pd.DataFrame({m.id: values[m.id, column.key] for m in methods})
    table = table.dropna(axis="columns", how="all")
    if table.shape[1] < 2 or column.metric.perfect is None:
        return {}
    sign = -1 if column.metric.direction == "higher" else 1
    order = (sign * table).fillna((sign * table).max().max()).mean().round(12)
    return {str(name): int(rank) for name, rank in order.rank(method="min").items() if rank <= 2}


def _failures(rows: pd.DataFrame) -> tuple[str, ...]:
    failed = rows[rows["status"] == "failed"].drop_duplicates(["method", "seed", "clip"])
    return tuple(f"{r.method}, seed {r.seed}, {r.clip}: {r.reason}" for r in failed.itertuples())


def sanity(rows: pd.DataFrame, benchmark: Benchmark, metrics: Mapping[str, Metric]) -> list[str]:
    """The live self-test: what the reference rows must show, and do not."""
    found = []
    truth = rows[(rows["method"] == "ground_truth") & (rows["status"] == "ok")]
    for metric_id, part in truth.groupby("metric"):
        perfect = metrics[str(metric_id)].perfect
        if perfect is not None and not np.allclose(part["value"], perfect, atol=1e-6):
            low, high = part["value"].min(), part["value"].max()
            found.append(f"ground_truth reaches {low:.6g} to {high:.6g} in {metric_id}, not {perfect:g}")
    failed = rows[(rows["method"] == "ground_truth") & (rows["status"] == "failed")]
    if len(failed):
        found.append(f"ground_truth failed on {sorted(set(failed['clip']))}")
    board = rows[(rows["method"] == "billboard") & (rows["status"] == "ok")]
    for metric_id in ("psnr", "silhouette-iou"):
        part = board[board["metric"] == metric_id]
        by_group = part.groupby(part["view"].map(benchmark.group_of))["value"].mean()
        if len(by_group) == 2 and not by_group["input"] > by_group["novel"]:
            found.append(f"billboard is not better at the input view than at novel views in {metric_id}")
    return found


def _footer(
    rows: pd.DataFrame, benchmark: Benchmark, columns: Sequence[Column], skipped: Mapping[str, str]
) -> tuple[str, ...]:
    data = benchmark.data
    unique = lambda name: ", ".join(sorted({str(v) for v in rows[name].dropna()} - {""}))  # noqa: E731
    versions = rows.drop_duplicates("metric").set_index("metric").to_dict("index")
    stride_of = {c.metric.id: c.stride for c in columns}
    used = list(dict.fromkeys(c.metric.id for c in columns))
    is_cost = rows["metric"].map(
        lambda metric: next((c.metric.needs == "record" for c in columns if c.metric.id == metric), False)
    )
    is_quality = rows["metric"].isin(used) & ~is_cost
    generated_on, scored_on = (", ".join(sorted(set(rows.loc[p, "device"]) - {""})) for p in (is_cost, is_quality))
    named = [
        f"{m} v{versions[m]['metric_version']}"
        + {1: ""}.get(stride_of[m], f" on every {_ordinal(stride_of[m])} frame")
        + (f", weights {versions[m]['metric_weights_sha256'][:12]}" if versions[m]["metric_weights_sha256"] else "")
        for m in used
    ]
    objects = len(set(benchmark.object_of.values()))
    lines = [
        f"{benchmark.id} v{benchmark.version}, split {data['split']}: {len(benchmark.clips)} clips of {objects} "
        f"objects, {data['n_frames']} frames at {data['fps']:g} fps, "
        f"{len(benchmark.views)} views of {data['size']} x {data['size']} pixels; seeds {unique('seed')}; "
        f"alignment {data['alignment']}; time rule {data['time_rule']}; protocol {benchmark.protocol_sha256[:12]}.",
        f"Mean over objects with a 95 % bootstrap interval ({DRAWS} draws over objects). k/n: clips with a value, "
        "shown where some lack one; a failed object counts as the worst value in the ranks. Bold is best, underlined "
        "second best, among the ranked methods of one alignment.",
        "Metrics: " + "; ".join(named) + ".",
        f"Code {unique('code_version')}; "
        + (f"generated on {generated_on}; " if generated_on else "")
        + f"scored on {scored_on}.",
    ]
    floor = rows[(rows["metric"] == "chamfer-floor") & (rows["method"] == "ground_truth") & (rows["status"] == "ok")]
    if len(floor):
        lines.append(
            f"Floor of chamfer: two independent draws of the true surface are {floor['value'].mean():.4g} apart."
        )
    return tuple(lines + [f"Not run: {name} ({reason})." for name, reason in skipped.items()])


def _ordinal(n: int) -> str:
    return {2: "2nd", 3: "3rd"}.get(n, f"{n}th")
