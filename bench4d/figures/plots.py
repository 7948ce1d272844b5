"""Metric plots: a panel a column of the table, a dot and an interval a method, the objects behind them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bench4d.benchmark import Benchmark
from bench4d.columns import Column, object_means, split, with_groups
from bench4d.errors import FormatError
from bench4d.method import Method
from bench4d.metric import Metric
from bench4d.run_frames import TRUTH
from bench4d.tables import Cell, Table, TableRow, make_table

from .drawing import ACCENT, FAINT, FONT, INK, SOFT, save, settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINE = 0.2  # inches of height a method
SPACE = 0.62  # inches above and below the dots of a panel
ACROSS = 3  # panels


@dataclass(frozen=True)
class Panel:
    """One column: for each method its cell, and its values object by object (empty for metrics of sets)."""

    column: Column
    cells: tuple[Cell, ...]
    objects: tuple[np.ndarray, ...]

    @property
    def title(self) -> str:
        return title_of(self.column)


@dataclass(frozen=True)
class Panels:
    """Methods from the top: ranked ones by mean rank, then references, which have seen the truth.

    `empty`: titles of columns without any value, which have no panel.
    """

    rows: tuple[TableRow, ...]
    panels: tuple[Panel, ...]
    empty: tuple[str, ...]


def make_panels(
    rows: pd.DataFrame, benchmark: Benchmark, methods: Sequence[Method], metrics: Mapping[str, Metric]
) -> Panels:
    """The table's own numbers (tables.py). The truth, perfect by construction, is left out if there is more."""
    table = make_table(rows, benchmark, methods, metrics, {})
    shown = [row for row in table.rows if row.method.id != TRUTH] or list(table.rows)
    parts = split(with_groups(rows, benchmark, metrics), [row.method for row in shown])
    if not table.columns:
        raise FormatError("--metrics", "columns of the table", "none")
    order = sorted(shown, key=lambda row: _place(row, table))
    panels = []
    for k, column in enumerate(table.columns):
        of_set = column.metric.unit == "set"
        objects = [np.array([]) if of_set else object_means(parts[r.method.id], column).to_numpy() for r in order]
        panels.append(Panel(column, tuple(row.cells[k] for row in order), tuple(objects)))
    empty = tuple(panel.title for panel in panels if not any(cell.interval for cell in panel.cells))
    if len(empty) == len(panels):
        raise FormatError("--metrics", "a column with a value", f"none in {', '.join(empty)}")
    return Panels(tuple(order), tuple(panel for panel in panels if panel.title not in empty), empty)


def _place(row: TableRow, table: Table) -> tuple[bool, float, str]:
    """By mean rank; where there is none, by the first column."""
    first, cell = table.columns[0], row.cells[0]
    value = row.mean_rank.mean if row.mean_rank else math.inf
    if not any(other.mean_rank for other in table.rows) and cell.interval:
        value = cell.interval.mean * (-1 if first.metric.direction == "higher" else 1)
    return (not row.ranked, value, row.method.id)


def title_of(column: Column) -> str:
    where = {"novel": ", novel views", "input": ", input view", None: ""}[column.group]
    unit = "" if column.metric.units == "1" else f" ({column.metric.units})"
    return f"{column.metric.id}{where}{unit} {column.arrow}"


def caption(made: Panels) -> str:
    """What must be said under the figure."""
    panels = [panel for panel in made.panels if panel.column.metric.unit != "set"]
    counts = sorted({cell.interval.count for panel in panels for cell in panel.cells if cell.interval})
    n = " to ".join(dict.fromkeys((f"{counts[0]}", f"{counts[-1]}"))) if counts else "0"
    return (
        f"Dots: means over n = {n} objects with 95 % bootstrap intervals; small dots: single objects. "
        "Hollow: reference methods, which have seen the truth. k/n: clips that gave a value."
        + (f" Without any value, and not shown: {', '.join(made.empty)}." if made.empty else "")
    )


def draw_panels(made: Panels, out: Path, width: float = 7.0) -> list[Path]:
    """Write the plot, `width` inches wide: PDF, PNG (300 dots an inch) or both."""
    draws = [partial(_draw, rows=made.rows, panel=panel) for panel in made.panels]
    return draw_grid(draws, len(made.rows), out, width)


def draw_grid(draws: Sequence[Callable[[Axes], None]], lines: int, out: Path, width: float) -> list[Path]:
    """Panels beside each other, each drawn by its function, with as many lines of methods.

    Raises FormatError for a width that no page has.
    """
    if not 2 <= width <= 100:
        raise FormatError("--width", "2 to 100 inches", f"{width}")
    across = min(ACROSS, len(draws))
    down = math.ceil(len(draws) / across)
    height = down * (LINE * lines + SPACE)
    with settings():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(width, height), layout="constrained")
        grid = figure.subplots(down, across, sharey=True, squeeze=False)
        for k, axes in enumerate(grid.flat):
            if k < len(draws):
                draws[k](axes)
            else:
                axes.set_visible(False)
        return save(figure, out, 300)


def style(axes: Axes, title: str, names: Sequence[str]) -> None:
    """A title, a line for every method, no frame."""
    axes.set_title(title, loc="left")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.margins(x=0.08)
    axes.locator_params(axis="x", nbins=5)


def _draw(axes: Axes, rows: Sequence[TableRow], panel: Panel) -> None:
    style(axes, panel.title, [row.method.id for row in rows])
    if 0 < (ranked := sum(row.ranked for row in rows)) < len(rows):
        axes.axhline(ranked - 0.5, color=FAINT, linewidth=0.6)
    for y, (row, cell, objects) in enumerate(zip(rows, panel.cells, panel.objects, strict=True)):
        color = ACCENT if row.ranked else SOFT
        axes.plot(objects, np.full(len(objects), y), "o", markersize=2.2, color=color, alpha=0.35, markeredgewidth=0)
        told = f"{cell.covered}/{cell.total}" if cell.covered < cell.total and (cell.failed or cell.covered) else ""
        if told or cell.interval is None:  # at the right edge, whatever the panel's scale
            place: Any = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "center", "fontsize": FONT - 1}
            axes.text(1.0, y - (0.3 if cell.interval else 0), told or "–", color=INK, **place)
        if cell.interval is None:
            continue
        if not math.isnan(cell.interval.low):
            axes.hlines(y, cell.interval.low, cell.interval.high, color=color, linewidth=1.2)
        face = color if row.ranked else "white"
        axes.plot([cell.interval.mean], [y], "o", markersize=4.5, color=color, markerfacecolor=face, markeredgewidth=1)
    axes.grid(axis="x", color=FAINT, linewidth=0.4)
    axes.set_axisbelow(True)
