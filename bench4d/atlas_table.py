"""The atlas as tables: one for each family of metrics, methods x protocols, and how far the protocols are apart."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from .atlas import FAMILIES, Applied, Ask, Group
from .atlas_run import Found, Want
from .columns import Column, object_means
from .files import atomic
from .metric import Metric
from .stats import DECIMALS

VIEWS = {None: "", "novel": "novel views", "input": "the input view", "together": "the input view and the novel ones"}
FAILED = "a failed clip is an error in this protocol"


@dataclass(frozen=True)
class Cell:
    """The mean over objects; `covered` of `total` clips gave a value. Without one (`value` None), `reason` says why."""

    value: float | None
    covered: int = 0
    total: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Entry:
    """A column: all protocols that come to the same numbers.

    Attributes:
        asks: one of each protocol.
        cells: by method.
    """

    asks: tuple[Ask, ...]
    cells: Mapping[str, Cell]

    @property
    def metric(self) -> Metric:
        assert self.asks[0].metric is not None
        return self.asks[0].metric

    @property
    def names(self) -> list[str]:
        """The protocols; "?" where our metric is only the closest to theirs."""
        return [ask.protocol + ("" if ask.is_known else "?") for ask in self.asks]


@dataclass(frozen=True)
class Spread:
    """Of one method over the columns of a family."""

    low: float
    high: float

    @property
    def difference(self) -> float:
        return self.high - self.low

    @property
    def ratio(self) -> float:
        """NaN where the lowest value is not above 0."""
        return self.high / self.low if self.low > 0 else math.nan


@dataclass(frozen=True)
class Family:
    """One table.

    Attributes:
        columns: with a value of at least one method.
        empty: reason -> columns (as protocol and metric) that have none for it.
    """

    name: str
    methods: tuple[str, ...]
    columns: tuple[Entry, ...]
    empty: Mapping[str, tuple[str, ...]]

    def spread(self, method: str, group: Group | None = None) -> Spread | None:
        """Over all columns, or those of a group of views; None with fewer than two values."""
        values = [c.cells[method].value for c in self.columns if group in (None, c.asks[0].group)]
        known = [value for value in values if value is not None]
        return Spread(min(known), max(known)) if len(known) > 1 else None

    @property
    def orders(self) -> dict[tuple[str, ...], tuple[int, ...]]:
        """Methods from best to worst ("=" before one that equals its neighbour) -> the columns, counted from 0, that
        see them so. Only methods with a value in every column."""
        whole = [m for m in self.methods if all(c.cells[m].value is not None for c in self.columns)]
        found: dict[tuple[str, ...], list[int]] = {}
        for k, column in enumerate(self.columns if len(whole) > 1 else ()):
            found.setdefault(_order(column, whole), []).append(k)
        return {order: tuple(columns) for order, columns in found.items()}


@dataclass(frozen=True)
class Atlas:
    families: tuple[Family, ...]
    protocols: tuple[Applied, ...]

    @property
    def unscored(self) -> dict[str, str]:
        """Protocols without a single number -> why."""
        scored = {ask.protocol for family in self.families for column in family.columns for ask in column.asks}
        reasons = {p.id: p.refused for p in self.protocols}
        for family in self.families:
            for reason, places in family.empty.items():
                for protocol in {place.split()[0] for place in places}:
                    old = reasons.get(protocol, "")
                    reasons[protocol] = old if reason in old else "; ".join(filter(None, (old, reason)))
        return {p.id: reasons[p.id] for p in self.protocols if p.id not in scored}


def make_atlas(protocols: Sequence[Applied], methods: Sequence[str], found: Found) -> Atlas:
    """Every protocol and metric is in some table: as a column, or as an empty one with its reason."""
    asks: dict[str, list[Ask]] = {family: [] for family in FAMILIES}
    for protocol in protocols:
        for ask in protocol.asks:
            asks.setdefault(ask.family, []).append(ask)
    strict = {protocol.id for protocol in protocols if protocol.failed_is_error}
    families = [_family(name, chosen, methods, found, strict) for name, chosen in asks.items() if chosen]
    return Atlas(tuple(families), tuple(protocols))


def _family(name: str, asks: Sequence[Ask], methods: Sequence[str], found: Found, strict: set[str]) -> Family:
    groups: dict[tuple[str, tuple[Cell, ...]], list[Ask]] = {}
    for ask in asks:  # a rule about failures makes a column of its own only where something failed
        values = tuple(_cell(ask, method, found, ask.protocol in strict) for method in methods)
        groups.setdefault((ask.key, values), []).append(ask)
    columns, empty = [], dict[str, list[str]]()
    for (_, values), same in groups.items():
        cells = dict(zip(methods, values, strict=True))
        valued = any(cell.value is not None for cell in cells.values())
        reasons: dict[str, list[str]] = {}
        for method, cell in cells.items():
            if cell.value is None:
                reasons.setdefault(cell.reason, []).append(method)
        for reason, lacking in reasons.items():
            who = "" if len(lacking) == len(methods) else f": {', '.join(lacking)}"
            places = [f"{ask.protocol} {title(ask)}{who}" for ask in same]
            empty.setdefault(reason, []).extend(place for place in places if place not in empty.get(reason, []))
        if valued:
            columns.append(Entry(tuple(same), cells))
    return Family(name, tuple(methods), tuple(columns), {reason: tuple(where) for reason, where in empty.items()})


def title(ask: Ask) -> str:
    """The metric as the protocol calls it, with the views if they are not the novel ones."""
    return ask.published + ("" if ask.group in (None, "novel") else f"[{ask.group}]")


def _cell(ask: Ask, method: str, found: Found, strict: bool) -> Cell:
    """Frames -> views -> clips -> object means over seeds -> the mean over objects; a set has its one value."""
    if ask.metric is None:
        return Cell(None, reason=ask.reason)
    parts = [found[setting.key, Want.of(ask).key, method] for setting in ask.settings]
    if reasons := [part for part in parts if isinstance(part, str)]:
        return Cell(None, reason="; ".join(dict.fromkeys(reasons)))
    rows = pd.concat([part for part in parts if not isinstance(part, str)], ignore_index=True)
    statuses = rows.groupby(["seed", "clip"])["status"]
    covered, total = int(statuses.agg(lambda part: bool((part == "ok").all())).sum()), len(statuses)
    values = object_means(rows, Column(ask.metric, None, ask.stride))
    if strict and (rows["status"] == "failed").any():
        return Cell(None, covered, total, FAILED)
    if values.empty:
        return Cell(None, covered, total, "; ".join(sorted(set(rows["reason"]) - {""})))
    return Cell(float(values.mean()), covered, total)


def _order(column: Entry, methods: Sequence[str]) -> tuple[str, ...]:
    sign = -1 if column.metric.direction == "higher" else 1
    values = {m: round(sign * float(column.cells[m].value or 0.0), DECIMALS) for m in methods}
    ordered = sorted(methods, key=lambda m: (values[m], m))
    return tuple("=" * (k > 0 and values[m] == values[ordered[k - 1]]) + m for k, m in enumerate(ordered))


def to_csv(family: Family) -> str:
    """One line a method; a column for every protocol and its spread. An empty cell has no number."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = [(ask, column) for column in family.columns for ask in column.asks]
    writer.writerow(
        ["method", *(f"{ask.protocol}:{title(ask)}" for ask, _ in columns), "min", "max", "difference", "ratio"]
    )
    writer.writerow(
        ["our metric", *(f"{column.metric.id}{'' if ask.is_known else '?'}" for ask, column in columns), *[""] * 4]
    )
    for method in family.methods:
        spread = family.spread(method)
        numbers = [spread.low, spread.high, spread.difference, spread.ratio] if spread else [None] * 4
        cells = [column.cells[method].value for _, column in columns]
        writer.writerow([method, *("" if v is None or math.isnan(v) else repr(v) for v in [*cells, *numbers])])
    return out.getvalue()


def digits(family: Family) -> int:
    """Decimals for four significant digits of the largest number that is not a perfect one."""
    cells = [(c.cells[m].value, c.metric.perfect) for c in family.columns for m in family.methods]
    largest = max((abs(v) for v, perfect in cells if v is not None and v != perfect), default=0.0)
    return 2 if largest == 0 else max(0, min(5, 3 - math.floor(math.log10(largest))))


def grid(family: Family) -> list[list[str]]:
    """The table as text cells, its head first. Columns are numbered from 1; `legend` says what they are."""
    places = digits(family)
    arrows = {"lower": "↓", "higher": "↑"}
    head = [f"{family.name} {arrows[family.columns[0].metric.direction]}"]
    lines = [[*head, *(f"[{k + 1}]" for k in range(len(family.columns))), "max - min", "max / min"]]
    for method in family.methods:
        spread = family.spread(method)
        cells = [_shown(column.cells[method], places) for column in family.columns]
        more = [f"{spread.difference:.{places}f}", _ratio(spread.ratio)] if spread else ["–", "–"]
        lines.append([method, *cells, *more])
    return lines


def _shown(cell: Cell, places: int) -> str:
    if cell.value is None:
        return "–"
    return f"{cell.value:.{places}f}" + ("" if cell.covered == cell.total else f" ({cell.covered}/{cell.total})")


def _ratio(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def legend(family: Family) -> Iterator[str]:
    """What the columns are, whether the order of the methods changes, and what stayed empty."""
    for k, column in enumerate(family.columns):
        options = ", ".join(f"{name} {value}" for name, value in column.asks[0].options.items())
        stride = f"every {column.asks[0].stride} frames" if column.asks[0].stride > 1 else ""
        said = "; ".join(filter(None, (column.metric.id, VIEWS[column.asks[0].group], stride, options)))
        yield f"[{k + 1}] {', '.join(column.names)}: {said}."
    novel = {method: family.spread(method, "novel") for method in family.methods}
    told = [f"{m} {s.difference:.{digits(family)}f} ({_ratio(s.ratio)})" for m, s in novel.items() if s]
    if told and len({column.asks[0].group for column in family.columns}) > 1:
        yield f"max - min (max / min) over the columns of novel views alone: {', '.join(told)}."
    orders = family.orders
    if len(orders) == 1 and len(family.columns) > 1:
        yield f"Order of the methods, the same in all columns: {', '.join(next(iter(orders)))}."
    elif orders and len(family.columns) > 1:
        ways = [f"{', '.join(order)} in {' '.join(f'[{k + 1}]' for k in where)}" for order, where in orders.items()]
        yield f"The order of the methods changes: {'; '.join(ways)}."
    for reason, where in family.empty.items():
        yield f"Empty: {', '.join(where)}: {reason}."


def protocol_lines(atlas: Atlas) -> Iterator[str]:
    """How each protocol was applied, and those that were not."""
    unscored = atlas.unscored
    for protocol in atlas.protocols:
        if protocol.id not in unscored:
            stated = "; ".join(protocol.stated) or "nothing"
            left = f" Open, and as in the benchmark: {'; '.join(protocol.open)}." if protocol.open else ""
            yield f"{protocol.id}: stated: {stated}.{left}"
    for id, reason in unscored.items():
        yield f"{id}: not scored: {reason}."


def to_text(atlas: Atlas) -> str:
    blocks = []
    for family in (family for family in atlas.families if family.columns):
        cells = grid(family)
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = []
        for line in cells:
            rest = [text.rjust(width) for text, width in zip(line[1:], widths[1:], strict=True)]
            lines.append("  ".join([line[0].ljust(widths[0]), *rest]))
        blocks.append("\n".join([*lines, *legend(family)]))
    blocks.append("\n".join(["Without any number", *_without(atlas)]))
    protocols = "\n".join(["Protocols", *protocol_lines(atlas)])
    return "\n\n".join([*blocks, NOTE, protocols]) + "\n"


def _without(atlas: Atlas) -> Iterator[str]:
    for family in (family for family in atlas.families if not family.columns):
        yield from (f"{family.name}: {', '.join(where)}: {reason}." for reason, where in family.empty.items())


def to_markdown(atlas: Atlas) -> str:
    lines = []
    for family in (family for family in atlas.families if family.columns):
        head, *rows = grid(family)
        lines += [f"### {family.name}", "", "| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
        lines += ["| " + " | ".join(row) + " |" for row in rows] + [""]
        lines += [*(f"- {line}" for line in legend(family)), ""]
    lines += ["### Without any number", "", *(f"- {line}" for line in _without(atlas)), ""]
    lines += [NOTE, "", "### Protocols", "", *(f"- {line}" for line in protocol_lines(atlas)), ""]
    return "\n".join(lines)


NOTE = '"?": which variant of the metric the protocol uses is not known; ours is the closest. k/n: clips with a value.'


def write_atlas(atlas: Atlas, out: Path) -> None:
    """`atlas.txt`, `atlas.md`, and `<family>.csv` for every family with a number."""
    files = {"atlas.txt": to_text(atlas), "atlas.md": to_markdown(atlas)}
    files |= {
        f"{family.name.lower().replace(' ', '-')}.csv": to_csv(family) for family in atlas.families if family.columns
    }
    for name, text in files.items():
        with atomic(out / name) as temporary:
            temporary.write_text(text, "utf-8")
