"""The table as CSV, Markdown, LaTeX (booktabs), HTML and plain text. Whatever comes from a method is escaped."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import jinja2

from .columns import Column
from .comparisons import Comparison
from .files import atomic
from .stats import Interval
from .tables import Cell, Table, TableRow

HEAD = ("method", "alignment", "seen in training")
MEAN_RANK = "mean rank"  # the first column of the first block


def head_of(row: TableRow) -> tuple[str, str, str]:
    return row.method.id, row.alignment, row.contamination


def decimals(table: Table, column: int) -> int:
    """Four significant digits of the largest mean among the ranked methods (of all, if none is ranked)."""
    shown = [r for r in table.rows if r.ranked] or list(table.rows)
    means = [abs(r.cells[column].interval.mean) for r in shown if r.cells[column].interval is not None]  # type: ignore[union-attr]
    largest = max(means, default=0.0)
    return 2 if largest == 0 else max(0, min(5, 3 - math.floor(math.log10(largest))))


def number(cell: Cell, digits: int) -> tuple[str, str, str]:
    """(mean, interval, coverage) as text; an empty cell is a dash, and full coverage is not repeated."""
    if cell.interval is None:
        return "–", "", f"0/{cell.total}" if cell.failed else ""
    i = cell.interval
    bounds = "" if math.isnan(i.low) else f"[{i.low:.{digits}f}, {i.high:.{digits}f}]"
    return f"{i.mean:.{digits}f}", bounds, "" if cell.covered == cell.total else f"{cell.covered}/{cell.total}"


def rank_cell(row: TableRow) -> Cell:
    """The mean rank as a cell; shown with two decimals."""
    return Cell(row.mean_rank, 1, 1, 0)


def notes(table: Table) -> list[str]:
    """Everything that must be read with the numbers, in order of weight."""
    lines = [f"WARNING: {w}." for w in table.warnings] + [f"Failed: {f}" for f in table.failures]
    empty: dict[str, list[str]] = {}
    for k, column in enumerate(table.columns):
        cells = [(row.method.id, row.cells[k]) for row in table.rows]
        if not any(cell.interval for _, cell in cells):  # said once for the column, not once a method
            reasons = {reason: None for _, cell in cells for reason in cell.reasons}
            cells = [("", Cell(None, 0, 0, 0, tuple(reasons)))]
        for name, cell in cells:
            if cell.reasons and cell.interval is None:
                empty.setdefault("; ".join(cell.reasons), []).append(f"{name} {column.key}".strip())
            elif cell.reasons and column.metric.unit == "set":
                lines.append(f"{name} {column.key}: {'; '.join(cell.reasons)}")
    lines += [f"Empty: {', '.join(where)}: {reason}" for reason, where in empty.items()]
    return lines + list(table.footer)


def to_csv(table: Table) -> str:
    """One line a method: the mean rank with its bounds; per column the mean, both bounds, k and n of the coverage."""
    out = io.StringIO()
    parts = ("mean", "low", "high", "k", "n")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["method", "kind", "alignment", "seen_in_training"]
        + [f"mean_rank.{p}" for p in parts[:3]]
        + [f"{c.key}.{p}" for c in table.columns for p in parts]
    )
    for row in table.rows:
        line: list[object] = [*map(csv_cell, (row.method.id, row.method.kind, row.alignment, row.contamination))]
        line += _three(row.mean_rank)
        for cell in row.cells:
            line += [*_three(cell.interval), cell.covered, cell.total]
        writer.writerow(line)
    return out.getvalue()


def comparisons_to_csv(comparisons: Sequence[Comparison]) -> str:
    """One line a pair of methods and column; docs/statistics.md says what the columns are."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    label, difference = ("metric", "views", "alignment", "method_a", "method_b"), ("difference", "low", "high")
    chance = ("probability", "probability_low", "probability_high")
    writer.writerow([*label, "n", *difference, *chance, "p", "p_holm", "verdict"])
    for c in comparisons:
        names = map(csv_cell, (c.metric, c.views, c.alignment, c.method_a, c.method_b))
        numbers = [*_three(c.difference), *_three(c.probability), exact(c.p), exact(c.p_holm)]
        writer.writerow([*names, c.n, *numbers, c.verdict])
    return out.getvalue()


def _three(interval: Interval | None) -> list[str]:
    return ["", "", ""] if interval is None else [exact(v) for v in (interval.mean, interval.low, interval.high)]


def exact(value: float) -> str:
    return "" if math.isnan(value) else repr(value)


def csv_cell(text: str) -> str:
    """Spreadsheets run a cell that begins like this as a formula; a leading quotation mark makes it text."""
    text = _plain(text)
    return "'" + text if text.startswith(("=", "+", "-", "@")) else text


def _plain(text: str) -> str:
    """One line without control characters, which end comments in LaTeX and drive terminals."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))


def column_title(column: Column) -> str:
    return f"{column.metric.id} {column.arrow}" + ("" if column.metric.units == "1" else f" ({column.metric.units})")


def to_markdown(table: Table) -> str:
    lines = [f"## {md_cell(table.benchmark.data['title'])}"]
    for block, (title, chosen) in enumerate(table.blocks):
        titles = [MEAN_RANK] * (block == 0) + [column_title(table.columns[k]) for k in chosen]
        lines += ["", f"**{title}**", "", "| " + " | ".join([*HEAD, *titles]) + " |"]
        lines.append("|" + "---|" * len(HEAD) + "---:|" * len(titles))
        for row in table.rows:
            name, *rest = map(md_cell, head_of(row))
            cells = [_md_cell(rank_cell(row), 2)] * (block == 0)
            cells += [_md_cell(row.cells[k], decimals(table, k)) for k in chosen]
            lines.append("| " + " | ".join([name if row.ranked else f"*{name}*", *rest, *cells]) + " |")
        lines += _md_published(table, chosen, len(HEAD) + len(titles))
    return "\n".join([*lines, "", *(f"- {md_cell(n)}" for n in notes(table)), ""])


def _md_published(table: Table, chosen: Sequence[int], width: int) -> Iterator[str]:
    """A line for each protocol in print, then its methods; a Markdown table has no rules inside and no grey."""
    for block in table.published:
        for k, row in enumerate(block.shown(chosen)):
            if k == 0:
                yield "| " + " | ".join([f"*published: {md_cell(block.title)}*", *[""] * (width - 1)]) + " |"
            cells = [""] * (width - len(chosen) - 1) + [md_cell(row.cells[c]) for c in chosen]
            yield "| " + " | ".join([f"<small>{md_cell(row.method)}</small>", *cells]) + " |"


def md_cell(text: str) -> str:
    return "".join("\\" + c if c in "\\`*_{}[]<>#|&~$!" else c for c in _plain(text))


def _md_cell(cell: Cell, digits: int) -> str:
    mean, bounds, coverage = number(cell, digits)
    mean = {1: f"**{mean}**", 2: f"<u>{mean}</u>"}.get(cell.rank or 0, mean)
    return " ".join(
        part for part in (mean, f"<sub>{bounds}</sub>" if bounds else "", f"({coverage})" if coverage else "") if part
    )


def to_latex(table: Table) -> str:
    """One booktabs tabular a block, with the notes as comments; needs \\usepackage{booktabs}, and xcolor if the table
    shows published numbers."""
    lines = [f"% {_plain(n)}" for n in notes(table)]  # a comment must stay one line
    for block, (title, chosen) in enumerate(table.blocks):
        titles = [MEAN_RANK] * (block == 0) + [_tex_title(table.columns[k]) for k in chosen]
        lines += ["", f"% {_plain(title)}", r"\begin{tabular}{l" + "r" * len(titles) + "}", r"\toprule"]
        lines += ["method & " + " & ".join(titles) + r" \\", r"\midrule"]
        ranked_before = False
        for row in table.rows:
            lines += [r"\midrule"] if ranked_before and not row.ranked else []
            ranked_before = row.ranked
            cells = [_tex_cell(rank_cell(row), 2)] * (block == 0)
            cells += [_tex_cell(row.cells[k], decimals(table, k)) for k in chosen]
            lines.append(f"{_tex(row.method.id)} & " + " & ".join(cells) + r" \\")
        lines += _tex_published(table, chosen, len(titles) + 1)
        lines += [r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*lines, ""])


def _tex_published(table: Table, chosen: Sequence[int], width: int) -> Iterator[str]:
    grey = r"\textcolor{gray}{%s}"
    for block in table.published:
        for k, row in enumerate(block.shown(chosen)):
            if k == 0:
                title = grey % rf"\scriptsize published: {_tex(block.title)}"
                yield from (r"\midrule", rf"\multicolumn{{{width}}}{{l}}{{{title}}} \\")
            shown = [grey % _tex(row.cells[c]) if row.cells[c] else "" for c in chosen]
            cells = [""] * (width - len(chosen) - 1) + shown
            yield " & ".join([grey % _tex(row.method), *cells]) + r" \\"


def _tex_title(column: Column) -> str:
    arrow = {"higher": r"$\uparrow$", "lower": r"$\downarrow$"}[column.metric.direction]
    return f"{_tex(column.metric.id)} {arrow}" + (
        "" if column.metric.units == "1" else f" ({_tex(column.metric.units)})"
    )


def _tex(text: str) -> str:
    special = {"\\": "backslash", "~": "asciitilde", "^": "asciicircum", "<": "less", ">": "greater", "|": "bar"}
    escaped = {c: rf"\text{name}{{}}" for c, name in special.items()} | {c: "\\" + c for c in "&%$#_{}"}
    return "".join(escaped.get(c, c) for c in _plain(text))


def _tex_cell(cell: Cell, digits: int) -> str:
    mean, bounds, coverage = number(cell, digits)
    mean = mean.replace("–", "--")
    mean = {1: rf"\textbf{{{mean}}}", 2: rf"\underline{{{mean}}}"}.get(cell.rank or 0, mean)
    return mean + (rf" {{\tiny {bounds}}}" if bounds else "") + (f" ({coverage})" if coverage else "")


def to_html(table: Table) -> str:
    template = Path(__file__).with_name("table.html.j2").read_text("utf-8")
    page = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(template)
    shown = {id(row): [number(cell, decimals(table, k)) for k, cell in enumerate(row.cells)] for row in table.rows}
    mean_ranks = {id(row): number(rank_cell(row), 2) for row in table.rows}
    kinds = [(kind, [r for r in table.rows if r.ranked == (kind == "ranked")]) for kind in ("ranked", "reference")]
    names = {"head": HEAD, "head_of": head_of, "mean_rank": MEAN_RANK, "mean_ranks": mean_ranks, "id": id}
    return page.render(table=table, kinds=kinds, shown=shown, notes=notes(table), **names) + "\n"


def to_text(table: Table) -> str:
    """Means only, for a terminal."""
    blocks = []
    for block, (title, chosen) in enumerate(table.blocks):
        first = block == 0
        lines = [[title, *[MEAN_RANK] * first, *(column_title(table.columns[k]) for k in chosen)]]
        for row in table.rows:
            name = _plain(row.method.id) + ("" if row.ranked else " (ref)")
            cells = [_text_cell(row.cells[k], decimals(table, k)) for k in chosen]
            lines.append([name, *[number(rank_cell(row), 2)[0]] * first, *cells])
        printed = [(block.title, block.shown(chosen)) for block in table.published]
        for _, rows in printed:
            lines += [[_plain(row.method), *[""] * first, *(f"{row.cells[k]}  " for k in chosen)] for row in rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        aligned = (zip(line[1:], widths[1:], strict=True) for line in lines)
        text = [
            "  ".join([line[0].ljust(widths[0]), *(t.rjust(w) for t, w in rest)])
            for line, rest in zip(lines, aligned, strict=True)
        ]
        place = 1 + len(table.rows)
        for name, rows in ((name, rows) for name, rows in printed if rows):  # each under a rule
            text[place:place] = ["-" * len(text[0]), f"published: {_plain(name)}"]
            place += 2 + len(rows)
        blocks.append("\n".join(text))
    told = "\n".join(map(_plain, notes(table)))
    parts = [_plain(table.benchmark.data["title"]), *blocks, f"* best, + second best\n{told}"]
    return "\n\n".join(parts) + "\n"


def _text_cell(cell: Cell, digits: int) -> str:
    mean, _, coverage = number(cell, digits)
    return mean + (f" ({coverage})" if coverage else "") + {1: " *", 2: " +"}.get(cell.rank or 0, "  ")


FORMATS = {"csv": to_csv, "md": to_markdown, "tex": to_latex, "html": to_html, "txt": to_text}


def write_tables(table: Table, out: Path) -> None:
    """`table.csv`, `.md`, `.tex`, `.html` and `.txt` in the folder `out`."""
    for form, write in FORMATS.items():
        with atomic(out / f"table.{form}") as temporary:
            temporary.write_text(write(table), "utf-8")


def write_comparisons(comparisons: Sequence[Comparison], out: Path) -> None:
    """`comparisons.csv` in the folder `out`."""
    with atomic(out / "comparisons.csv") as temporary:
        temporary.write_text(comparisons_to_csv(comparisons), "utf-8")
