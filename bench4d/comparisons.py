"""Which of two methods is better, column by column, and the mean rank over columns. Always paired by object.

docs/statistics.md says what each number means and what it cannot say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd
from jaxtyping import Float64

from .benchmark import ALIGNMENTS, Benchmark
from .columns import Column, alignment_of, columns_of, rivals_means, split, with_groups
from .method import Method
from .metric import Metric
from .stats import DECIMALS, LEVEL, Interval, bootstrap_mean, bounds, holm, ranks, shares, signed_rank, smallest_p


@dataclass(frozen=True)
class Comparison:
    """Two methods in one column. Empty numbers are NaN, of no objects.

    Attributes:
        n: objects that both are compared on.
        difference: mean of (a - b), in the metric's units.
        probability: share of objects on which a is better, ties counted half.
        p, p_holm: of the signed-rank test, and adjusted for all pairs of ranked methods in the column.
        verdict: "a better", "b better", "no difference shown", "n too small", "bound" (one of the two knows the truth:
            no test) or "no value".
    """

    metric: str
    views: str
    alignment: str
    method_a: str
    method_b: str
    n: int
    difference: Interval
    probability: Interval
    p: float
    p_holm: float
    verdict: str


NOTHING = Interval(np.nan, np.nan, np.nan, 0)


def compare(
    rows: pd.DataFrame, benchmark: Benchmark, methods: Sequence[Method], metrics: Mapping[str, Metric]
) -> list[Comparison]:
    """All pairs of ranked methods of one alignment, and each of them against the bounds, for every column with objects.

    Bounds are the reference methods other than ground_truth, whose values are perfect whatever it is compared with. A
    metric of sets has no objects, and no lines here.
    """
    by_method = split(with_groups(rows, benchmark, metrics), sorted(methods, key=lambda m: m.id))
    aligned = {name: alignment_of(part) for name, part in by_method.items() if len(part)}
    references = {m.id for m in methods if m.kind == "reference"}
    found = []
    for column in (c for c in columns_of(benchmark, metrics) if c.metric.unit != "set"):
        for alignment in ALIGNMENTS:
            same = {name: by_method[name] for name in aligned if aligned[name] == alignment}
            if not (ranked := [name for name in same if name not in references]):
                continue
            bound = [name for name in same if name in references - {"ground_truth"}]
            table = rivals_means(same, column, ranked)
            label = (column.metric.id, column.group or "", alignment)
            found += _tested(table, column, label, list(combinations(ranked, 2)))
            found += [_pair(table, column, label, (a, b), "bound") for a in ranked for b in bound]
    return found


def _tested(
    table: pd.DataFrame, column: Column, label: tuple[str, str, str], pairs: Sequence[tuple[str, str]]
) -> list[Comparison]:
    """The pairs of ranked methods of one column and alignment, adjusted for one another."""
    made = [_pair(table, column, label, pair, "no difference shown") for pair in pairs]
    tested = [k for k, pair in enumerate(made) if pair.n]
    results = [signed_rank(_gains(table, column, *pairs[k])) for k in tested]
    adjusted = holm(np.array([p for p, _ in results]))
    for k, (p, side), p_holm in zip(tested, results, adjusted, strict=True):
        verdict = made[k].verdict
        if p_holm <= LEVEL:
            verdict = "a better" if side > 0 else "b better"
        elif smallest_p(made[k].n) * len(tested) > LEVEL:
            verdict = "n too small"
        made[k] = replace(made[k], p=p, p_holm=float(p_holm), verdict=verdict)
    return made


def _pair(
    table: pd.DataFrame, column: Column, label: tuple[str, str, str], pair: tuple[str, str], verdict: str
) -> Comparison:
    if table.empty or not set(pair) <= set(table.columns):
        return Comparison(*label, *pair, 0, NOTHING, NOTHING, np.nan, np.nan, "no value")
    difference = (table[pair[0]] - table[pair[1]]).to_numpy()
    gains = np.round(_gains(table, column, *pair), DECIMALS)
    wins = (gains > 0) + (gains == 0) / 2
    intervals = bootstrap_mean(difference), bootstrap_mean(wins)
    return Comparison(*label, *pair, len(difference), *intervals, np.nan, np.nan, verdict)


def _gains(table: pd.DataFrame, column: Column, a: str, b: str) -> Float64[np.ndarray, " n"]:
    """How much better a is than b on each object."""
    sign = 1 if column.metric.direction == "higher" else -1
    return sign * (table[a] - table[b]).to_numpy()


@dataclass(frozen=True)
class MeanRanks:
    """The mean rank of each of `of`'s methods over the columns with these keys."""

    of: Mapping[str, Interval]
    columns: tuple[str, ...]


def mean_ranks(tables: Mapping[Column, pd.DataFrame], ranked: Sequence[str]) -> MeanRanks | None:
    """`tables`: column -> `rivals_means` of the ranked methods.

    Over the quality columns with objects in which every ranked method has a value or a failure; None without rivals.

    In every draw of objects the methods are ranked by their means in each column, and the ranks averaged. A draw that
    has no object of a column goes without that column.
    """
    tables = {
        column: table[list(ranked)]
        for column, table in tables.items()
        if column.is_quality and column.metric.unit != "set" and len(table) and set(ranked) <= set(table.columns)
    }
    if len(ranked) < 2 or not tables:
        return None
    objects = sorted(set().union(*(table.index for table in tables.values())))
    drawn = np.concatenate([np.full((1, len(objects)), 1 / len(objects)), shares(len(objects))])
    each = [_ranks_within(drawn[:, np.isin(objects, t.index)], t.sort_index(), c) for c, t in tables.items()]
    over = np.nanmean(each, axis=0)  # the first row is of all objects; a draw has an object of some column
    few = len(objects) < 2
    of = {
        name: Interval(float(own[0]), *((np.nan, np.nan) if few else bounds(own[1:])), len(objects))
        for name, own in zip(ranked, over.T, strict=True)
    }
    return MeanRanks(of, tuple(c.key for c in tables))


def _ranks_within(
    drawn: Float64[np.ndarray, "draws n"], table: pd.DataFrame, column: Column
) -> Float64[np.ndarray, "draws m"]:
    """Ranks of the methods' means over the drawn objects; NaN where none was drawn."""
    total = drawn.sum(axis=1, keepdims=True)
    sign = -1 if column.metric.direction == "higher" else 1
    means = sign * (drawn @ table.to_numpy()) / np.where(total > 0, total, 1)
    return np.where(total > 0, ranks(means), np.nan)
