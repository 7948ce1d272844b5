"""The table: methods x metrics, as a pure function of result rows. `table_formats.py` writes it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .benchmark import ALIGNMENTS, Benchmark
from .columns import Column, alignment_of, columns_of, object_means, rivals_means, select, split, with_groups
from .comparisons import MeanRanks, mean_ranks
from .method import Method
from .metric import Metric
from .stats import DECIMALS, Interval, bootstrap_mean
from .table_footer import footer
from .table_published import Group, PublishedBlock, blocks_of, note_of


@dataclass(frozen=True)
class Cell:
    """A mean over objects with its interval; `covered` of `total` clips gave a value, `failed` of them broke.

    A metric of sets has its one value (the mean over seeds) as the mean, and no interval. `reasons`: why clips have no
    value (those of failures only where there are no others), and what must be known of a set.
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
    mean_rank: Interval | None = None

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
    published: tuple[PublishedBlock, ...] = ()

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
    published: Sequence[Group] = (),
) -> Table:
    """Raise KeyError if a method of `methods` has no rows: absences are never silent.

    Args:
        skipped: methods that were not run, and why.
        published: of `groups_of(benchmark)`, shown beside and never looked at.
    """
    columns = columns_of(benchmark, metrics)
    rows = with_groups(rows, benchmark, metrics)
    by_method = split(rows, methods)
    if empty := [name for name, part in by_method.items() if part.empty]:
        raise KeyError(f"no result rows for {empty}")
    alignments = {name: alignment_of(part) for name, part in by_method.items()}
    places: dict[str, dict[str, int]] = {c.key: {} for c in columns}
    mean: dict[str, MeanRanks] = {}
    for alignment in ALIGNMENTS:  # never across them, and not where one method's rows mix them
        rivals = [m.id for m in methods if m.kind != "reference" and alignments[m.id] == alignment]
        tables = {c: rivals_means({name: by_method[name] for name in rivals}, c, rivals) for c in columns if rivals}
        for column, table in tables.items():
            places[column.key] |= _places(column, table)
        if found := mean_ranks(tables, rivals):
            mean[alignment] = found
    lines, blocks = [], blocks_of(published, columns)
    for method in sorted(methods, key=lambda m: (m.kind == "reference", m.id)):
        part, own = by_method[method.id], mean.get(alignments[method.id])
        cells = tuple(_cell(part, c, places[c.key].get(method.id)) for c in columns)
        seen = ", ".join(method.contaminated_by(benchmark.data["contaminated_by"])) or "none known"
        seen = "is shown the truth" if method.kind == "reference" else seen
        lines.append(TableRow(method, alignments[method.id], seen, cells, own.of.get(method.id) if own else None))
    return Table(
        benchmark,
        columns,
        tuple(lines),
        _failures(rows),
        tuple(sanity(rows, benchmark, metrics)),
        (*footer(rows, benchmark, columns, mean, skipped), *note_of(blocks)),
        blocks,
    )


def _cell(rows: pd.DataFrame, column: Column, rank: int | None) -> Cell:
    chosen, values = select(rows, column), object_means(rows, column).to_numpy()
    statuses = chosen.groupby(["seed", "clip"])["status"]
    clips = statuses.agg(lambda part: bool((part == "ok").all()))
    failed = statuses.agg(lambda part: bool((part == "failed").any()))
    broken = chosen["status"] == "failed"
    reasons = set(chosen.loc[~broken, "reason"]) - {""} or set(chosen.loc[broken, "reason"])
    interval = bootstrap_mean(values) if len(values) else None
    rank = rank if interval else None  # a method that failed everywhere is ranked, but has nothing to underline
    return Cell(interval, int(clips.sum()), len(clips), int(failed.sum()), tuple(sorted(reasons)), rank)


def _places(column: Column, table: pd.DataFrame) -> dict[str, int]:
    """Best and second best. A clip that a method has no value for counts as the worst value any method has."""
    if table.shape[1] < 2 or not column.is_quality:
        return {}
    sign = -1 if column.metric.direction == "higher" else 1
    order = (sign * table).mean().round(DECIMALS)
    return {str(name): int(rank) for name, rank in order.rank(method="min").items() if rank <= 2}


def _failures(rows: pd.DataFrame) -> tuple[str, ...]:
    failed = rows[rows["status"] == "failed"].drop_duplicates(["method", "seed", "clip"])
    return tuple(f"{r.method}, seed {r.seed}, {r.clip}: {r.reason}" for r in failed.itertuples())


def sanity(rows: pd.DataFrame, benchmark: Benchmark, metrics: Mapping[str, Metric]) -> list[str]:
    """The live self-test: what the reference rows must show, and do not."""
    found = []
    truth = rows[(rows["method"] == "ground_truth") & (rows["status"] == "ok")]
    for metric_id, part in truth.groupby("metric"):
        metric = metrics[str(metric_id)]
        perfect, values = metric.perfect, part["value"]
        if perfect is not None and metric.unit == "set":  # an unbiased estimate of 0 may well be below it
            values = values.clip(lower=perfect) if metric.direction == "lower" else values.clip(upper=perfect)
        if perfect is not None and not np.allclose(values, perfect, atol=1e-6):
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
