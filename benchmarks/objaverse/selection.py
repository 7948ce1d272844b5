"""The chosen objects, frozen: `selection.csv`, one a row, which `choose.py` writes and `build.py` reads."""

from __future__ import annotations

import csv
import dataclasses
import io
from dataclasses import dataclass
from pathlib import Path

from bench4d.clip import checked_id
from bench4d.errors import FormatError
from bench4d.files import sha256_file
from benchmarks.objaverse.lists import SHA256

FILE = "selection.csv"
DIGITS = 12  # of the list's sha256, in the protocol's title


@dataclass(frozen=True)
class Selected:
    """One row: an object, pinned, and the part of its motion that its clip shows.

    Attributes:
        id: Objaverse's.
        bytes, sha256: of its file.
        licence, author, name, url: as Objaverse's annotation says (see objects.py).
        lists: those of lists.csv that hold it, joined by "+"; of the role "training": who may have seen it.
        animation, title: the animation's index and name in the file.
        start, end: seconds of it; the frames fill [start, end).
        yaw, moved, filled: see motion.py.
    """

    id: str
    bytes: int
    sha256: str
    licence: str
    author: str
    name: str
    url: str
    lists: str
    animation: int
    title: str
    start: float
    end: float
    yaw: float
    moved: float
    filled: float


COLUMNS = tuple(field.name for field in dataclasses.fields(Selected))
NUMBERS = {"bytes": int, "animation": int, "start": float, "end": float, "yaw": float, "moved": float, "filled": float}


def as_csv(rows: list[Selected]) -> str:
    """Equal rows give equal bytes; floats are written in full."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(dataclasses.asdict(row) for row in rows)
    return stream.getvalue()


def read_selection(folder: Path) -> dict[str, Selected]:
    """By id, in the file's order. Raises FormatError."""
    path = folder / FILE
    if not path.is_file():
        raise FormatError(
            path, "the list of chosen objects", "no such file", "`python -m benchmarks.objaverse.choose` makes it."
        )
    found: dict[str, Selected] = {}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, strict=True)
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if tuple(row) != COLUMNS or None in row.values():
                raise FormatError(where, f"the columns {COLUMNS}", f"{tuple(row)}"[:300])
            try:
                chosen = Selected(**{key: NUMBERS.get(key, str)(value) for key, value in row.items()})
            except ValueError as error:
                raise FormatError(where, "numbers where there must be some", f"{error}"[:200]) from None
            if not SHA256.fullmatch(chosen.sha256) or chosen.id in found or not chosen.start < chosen.end:
                raise FormatError(where, "an object of its own, its sha256 and some seconds", f"{row}"[:300])
            found[checked_id(chosen.id, where)] = chosen
    return found


def list_hash(folder: Path) -> str:
    """The first digits of the list's sha256: a protocol names it, so that two selections are never taken for one."""
    return sha256_file(folder / FILE)[:DIGITS]
