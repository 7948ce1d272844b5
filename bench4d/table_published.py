"""Numbers in print beside ours: grey, one protocol at a time, never ranked.

They are no rows of the table: nothing that ranks, compares or decides on decimals sees them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .atlas import scored_views
from .benchmark import Benchmark
from .columns import Column
from .errors import FormatError
from .published import Published, read_atlas, read_published, select


@dataclass(frozen=True)
class Group:
    """What one protocol prints on one test set.

    Attributes:
        protocol: the file of benchmarks/protocols.
    """

    protocol: Mapping[str, Any]
    benchmark: str
    numbers: tuple[Published, ...]

    @property
    def title(self) -> str:
        work, provenance = self.protocol["source"]["work"], self.protocol["provenance"]
        return f"{self.protocol['id']} on {self.benchmark} ({work}, {provenance})"


@dataclass(frozen=True)
class PublishedRow:
    """A method in print. `cells`: a text for each column of the table; "" where nothing is printed."""

    method: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class PublishedBlock:
    """A group's rows as they stand under a rule of the table."""

    title: str
    rows: tuple[PublishedRow, ...]

    def shown(self, chosen: Sequence[int]) -> list[PublishedRow]:
        """Those with a number in one of these columns."""
        return [row for row in self.rows if any(row.cells[k] for k in chosen)]


def groups_of(benchmark: Benchmark) -> tuple[Group, ...]:
    """What the benchmark's protocol wants to be shown under `published`. Raises FormatError for what nobody printed."""
    wanted = benchmark.data.get("published", [])
    if not wanted:
        return ()
    rows, atlas, found = read_published(), read_atlas(), []
    for entry in wanted:
        numbers = select(rows, entry["protocol"], entry["benchmark"])
        if not numbers:
            pairs = sorted({f"{r.protocol} on {r.benchmark}" for r in rows if r.protocol})
            asked = f"{entry['protocol']} on {entry['benchmark']}"
            raise FormatError(benchmark.path, f"published numbers of one of {pairs}", asked)
        found.append(Group(atlas[entry["protocol"]], entry["benchmark"], tuple(numbers)))
    return tuple(found)


def blocks_of(groups: Iterable[Group], columns: Sequence[Column]) -> tuple[PublishedBlock, ...]:
    """Each group on the table's columns. A metric that is only the closest to theirs has a "?" behind the number."""
    return tuple(PublishedBlock(group.title, tuple(_rows(group, columns))) for group in groups)


def _rows(group: Group, columns: Sequence[Column]) -> list[PublishedRow]:
    entries = {entry["published"]: entry for entry in group.protocol["metrics"]}
    lines: list[tuple[str, dict[int, str]]] = []
    for number in group.numbers:
        entry = entries[number.metric]
        for k, column in enumerate(columns):
            if column.metric.id != (entry["id"] or entry["likely"]) or not _same_views(group, number, column):
                continue
            line = next((cells for name, cells in lines if name == number.method and k not in cells), None)
            if line is None:
                line = {}
                lines.append((number.method, line))
            line[k] = f"{number.value:g}" + ("" if entry["id"] else "?")
    return [PublishedRow(name, tuple(cells.get(k, "") for k in range(len(columns)))) for name, cells in lines]


def _same_views(group: Group, number: Published, column: Column) -> bool:
    """Where a protocol prints both groups of views apart, the test set's name tells them apart."""
    if column.group is None:
        return True
    how = scored_views(group.protocol, number.metric)
    if how == "apart":
        how = "input" if group.benchmark.endswith("/input") else "novel"
    return how == column.group


def note_of(blocks: Sequence[PublishedBlock]) -> list[str]:
    if not any(block.rows for block in blocks):
        return []
    return [
        "Published: one protocol at a time, outside ranks and statistics; other outputs and protocols than "
        'ours, so no difference to ours means anything by itself (docs/atlas.md). "?": the variant of the metric is '
        "not stated; ours is the closest."
    ]
