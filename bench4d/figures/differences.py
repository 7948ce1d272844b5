"""Paired differences to one method: a panel a column of the table, a dot and an interval for each other method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from bench4d.benchmark import Benchmark
from bench4d.columns import Column, columns_of
from bench4d.comparisons import Comparison, compare
from bench4d.errors import FormatError
from bench4d.method import Method
from bench4d.metric import Metric
from bench4d.stats import Interval

from .drawing import ACCENT, FAINT, INK, SOFT
from .plots import draw_grid, style, title_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = ("a better", "b better")  # verdicts that say which


@dataclass(frozen=True)
class DifferencePanel:
    """One column: for each method its mean of (method - the one compared with), None where there is no pair.

    `shown`: whether the comparison says which is better, after Holm's adjustment.
    """

    column: Column
    intervals: tuple[Interval | None, ...]
    shown: tuple[bool, ...]


@dataclass(frozen=True)
class Differences:
    """Methods from the top, in the order in which they were given; `count`: the most objects of a pair."""

    against: str
    methods: tuple[str, ...]
    panels: tuple[DifferencePanel, ...]
    count: int


def make_differences(
    rows: pd.DataFrame, benchmark: Benchmark, methods: Sequence[Method], metrics: Mapping[str, Metric], against: str
) -> Differences:
    """The numbers of comparisons.csv (comparisons.py), turned so that all are differences to `against`.

    Raises FormatError where no column has a pair with it.
    """
    pairs = [c for c in compare(rows, benchmark, methods, metrics) if against in (c.method_a, c.method_b)]
    by_place = {(c.metric, c.views, _other(c, against)): c for c in pairs if c.difference.count}
    paired = {name for _, _, name in by_place}
    names = tuple(method.id for method in methods if method.id in paired)
    if not names:
        raise FormatError("--against", "a method that others can be compared with", against)
    panels = []
    for column in columns_of(benchmark, metrics):
        found = [by_place.get((column.metric.id, column.group or "", name)) for name in names]
        if any(found):
            intervals = tuple(_turned(c, against) if c else None for c in found)
            panels.append(DifferencePanel(column, intervals, tuple(bool(c and c.verdict in SHOWN) for c in found)))
    return Differences(against, names, tuple(panels), max(c.difference.count for c in by_place.values()))


def _other(pair: Comparison, against: str) -> str:
    return pair.method_a if pair.method_b == against else pair.method_b


def _turned(pair: Comparison, against: str) -> Interval:
    """Of (other - against); a comparison has (a - b)."""
    d = pair.difference
    return d if pair.method_b == against else Interval(-d.mean, -d.high, -d.low, d.count)


def caption(made: Differences) -> str:
    """What must be said under the figure."""
    return (
        f"Differences to {made.against}, paired by object: means over at most n = {made.count} objects with 95 % "
        "bootstrap intervals. Filled: one of the two is better (signed-rank test, Holm's adjustment over all pairs of "
        "the column). Arrows: where better lies."
    )


def draw_differences(made: Differences, out: Path, width: float = 7.0) -> list[Path]:
    """Write the plot, `width` inches wide: PDF, PNG (300 dots an inch) or both."""
    draws = [partial(_draw, methods=made.methods, panel=panel) for panel in made.panels]
    return draw_grid(draws, len(made.methods), out, width)


def _draw(axes: Axes, methods: Sequence[str], panel: DifferencePanel) -> None:
    style(axes, title_of(panel.column), methods)
    axes.locator_params(axis="x", nbins=3)  # differences are long numbers
    axes.axvline(0, color=SOFT, linewidth=0.8)
    for y, (interval, shown) in enumerate(zip(panel.intervals, panel.shown, strict=True)):
        if interval is None:
            axes.text(1.0, y, "–", color=INK, transform=axes.get_yaxis_transform(), ha="right", va="center")
            continue
        axes.hlines(y, interval.low, interval.high, color=ACCENT, linewidth=1.2)
        face = ACCENT if shown else "white"
        axes.plot([interval.mean], [y], "o", markersize=4.5, color=ACCENT, markerfacecolor=face, markeredgewidth=1)
    axes.grid(axis="x", color=FAINT, linewidth=0.4)
    axes.set_axisbelow(True)
