"""What the page of statistics shows. All numbers are those of `compare` and `make_table`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from markupsafe import Markup

from ..columns import Column, object_means, rivals_means, split, with_groups
from ..comparisons import Comparison
from ..stats import Interval
from ..table_formats import number, rank_cell
from .charts import Dot, dot_plot, interval_row
from .run import Run
from .table_data import title_of

VIEWS = {"novel": "novel views", "input": "input view", None: ""}


def column_title(column: Column) -> str:
    views = VIEWS[column.group]
    return f"{title_of(column.metric.id)} {column.arrow}" + (f", {views}" if views else "")


def mean_ranks(run: Run) -> list[dict[str, Any]]:
    """The ranked methods with a mean rank, best first, by alignment."""
    ranked = [row for row in run.lines if row.mean_rank is not None]
    ranked.sort(key=lambda row: (row.alignment, row.mean_rank.mean))  # type: ignore[union-attr]
    found = []
    for row in ranked:
        assert row.mean_rank is not None
        count = sum(other.alignment == row.alignment for other in ranked)
        mean, interval, _ = number(rank_cell(row), 2)
        chart = interval_row(row.mean_rank, 1, max(2, count), None)
        told = {"id": row.method.id, "count": count, "alignment": row.alignment, "mean": mean, "interval": interval}
        found.append(told | {"chart": chart, "page": f"methods/{run.names[row.method.id]}.html"})
    return found


def sections(run: Run) -> list[dict[str, Any]]:
    """One for each column of the table that has objects."""
    by_method = split(with_groups(run.rows, run.benchmark, run.metrics), [row.method for row in run.lines])
    pairs: dict[tuple[str, str], list[Comparison]] = {}
    for pair in run.comparisons:
        pairs.setdefault((pair.metric, pair.views), []).append(pair)
    found = []
    for column in run.table.columns:
        if column.metric.unit == "set":
            continue
        own = pairs.get((column.metric.id, column.group or ""), [])
        told = {"key": column.key, "title": column_title(column), "unit": _unit(column), "note": ""}
        found.append(told | {"plots": _plots(run, column, by_method), "pairs": [_pair(pair) for pair in own]})
    return found


def _unit(column: Column) -> str:
    return "" if column.metric.units == "1" else column.metric.units


def _plots(run: Run, column: Column, by_method: Mapping[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """One dot plot for each alignment."""
    found = []
    for alignment in dict.fromkeys(row.alignment for row in run.lines):
        # as in `compare`, ground_truth bounds nothing: it is perfect whatever it is compared with
        lines = [row for row in run.lines if row.alignment == alignment and row.method.id != "ground_truth"]
        ranked = [row.method.id for row in lines if row.ranked]
        same = {row.method.id: by_method[row.method.id] for row in lines}
        table = rivals_means(same, column, ranked)
        if table.empty:
            continue
        values = {name: _dots(table[name], object_means(same[name], column)) for name in table.columns}
        references = [name for name in values if name not in ranked]
        title = (
            f"{column_title(column)}, alignment {alignment}: one dot an object, one line an object through all methods"
        )
        chart: Markup = dot_plot(values, references, title, _unit(column))
        assumed = any(dot.assumed for dots in values.values() for dot in dots.values())
        found.append({"alignment": alignment, "chart": chart, "assumed": assumed, "objects": len(table)})
    return found


def _dots(compared: pd.Series, measured: pd.Series) -> dict[str, Dot]:
    known = set(measured.index)
    return {str(name): Dot(float(value), name not in known) for name, value in compared.items()}


def _pair(pair: Comparison) -> dict[str, Any]:
    told: dict[str, Any] = {"a": pair.method_a, "b": pair.method_b, "n": pair.n, "verdict": pair.verdict}
    told |= {"alignment": pair.alignment, "p": _p(pair.p_holm), "difference": _text(pair.difference)}
    if not pair.n:
        return told | {"chart": "", "probability": ""}
    return told | {
        "chart": interval_row(pair.probability, 0, 1, 0.5, 140),
        "probability": _text(pair.probability),
    }


def _text(interval: Interval) -> str:
    if math.isnan(interval.mean):
        return ""
    mean = f"{interval.mean:.3g}"
    return mean if math.isnan(interval.low) else f"{mean} [{interval.low:.3g}, {interval.high:.3g}]"


def _p(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3g}"
