"""The public lists of object ids (`lists.csv`): where they are, and what they must hold.

    python -m benchmarks.objaverse.lists             fetch all of them into the user's cache
    python -m benchmarks.objaverse.lists NAME ...    only these

The ids themselves are not in the repository. A list is known by the sha256 of its ids, sorted, one a line, so that the
file around them may be of any form.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import re
import sys
import urllib.error
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench4d.errors import FormatError
from bench4d.files import atomic
from bench4d.weights import Locations
from bench4d.weights_fetch import NETWORK_ERRORS, FetchFailed, open_url, without_login
from benchmarks.menagerie.fetch import TIMEOUT, AssetMissing

FOLDER = Path(__file__).parent
ROLES = ("candidates", "exclude", "training")
MAX_BYTES = 16 * 2**20
ID = re.compile(r"(?<![0-9A-Za-z])[0-9a-f]{32}(?![0-9A-Za-z])")
OLD_ID = re.compile(r"[0-9A-Za-z]{20,31}")  # of some objects; only where one fills a line
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class IdList:
    """One row of lists.csv.

    Attributes:
        role: "candidates" (objects that others evaluate on), "exclude" (of another benchmark of ours) or "training".
        count, ids_sha256: what it must hold; None and "" where that is not known.
        source: whose list it is, and its licence.
    """

    name: str
    role: str
    count: int | None
    ids_sha256: str
    url: str
    source: str


def places(environment: Mapping[str, str]) -> Locations:
    """From BENCH4D_OBJAVERSE, a mirror that somebody filled, and XDG_CACHE_HOME."""
    return Locations.of(environment, "BENCH4D_OBJAVERSE", "objaverse")


def read_lists(folder: Path = FOLDER) -> dict[str, IdList]:
    """By name, in the file's order. Raises FormatError."""
    path, found = folder / "lists.csv", {}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, strict=True)
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if None in row or None in row.values():
                raise FormatError(where, f"the columns {reader.fieldnames}", "more or fewer")
            wrong = [
                row["role"] not in ROLES,
                row["name"] in found,
                not re.fullmatch(r"[a-z0-9-]{1,60}", row["name"]),
                not (row["count"] == "" or row["count"].isdecimal()),
                not (row["ids_sha256"] == "" or SHA256.fullmatch(row["ids_sha256"])),
                not row["source"],
            ]
            if any(wrong):
                raise FormatError(where, "a row as README.md describes it", f"{row}"[:300])
            count = int(row["count"]) if row["count"] else None
            found[row["name"]] = IdList(row["name"], row["role"], count, row["ids_sha256"], row["url"], row["source"])
    return found


def parse_ids(text: str) -> tuple[str, ...]:
    """All ids in a text of any form, sorted, each once.

    >>> {parse_ids(text.format("0123456789abcdef" * 2)) for text in ('["{}"]', "{}-0-Walk", "{}")}
    {('0123456789abcdef0123456789abcdef',)}
    """
    old = (line.strip() for line in text.splitlines())
    return tuple(sorted({*ID.findall(text), *(line for line in old if OLD_ID.fullmatch(line))}))


def ids_sha256(ids: Sequence[str]) -> str:
    """Of the ids, sorted, one a line."""
    return hashlib.sha256("".join(f"{id}\n" for id in sorted(set(ids))).encode()).hexdigest()


def ids_of(listed: IdList, where: Locations, timeout: float = TIMEOUT) -> tuple[str, ...]:
    """From the mirror's or the cache's lists/<name>.txt, else from the list's address. Raises AssetMissing.

    Ids of a list without a known hash are taken as they come and kept in the cache.
    """
    tried = []
    for folder in (where.given, where.cache):
        path = None if folder is None else folder / "lists" / f"{listed.name}.txt"
        if path is not None and path.is_file():
            ids = parse_ids(path.read_text("utf-8", "replace"))
            if not (wrong := _wrong(listed, ids)):
                return ids
            tried.append(f"{path}: {wrong}")
    try:
        with open_url(listed.url, {}, timeout) as answer:
            ids = parse_ids(answer.read(MAX_BYTES).decode("utf-8", "replace"))
        wrong = _wrong(listed, ids)
    except urllib.error.HTTPError as error:
        wrong = f"HTTP {error.code} {error.reason}"
    except (FetchFailed, *NETWORK_ERRORS) as error:
        wrong = f"{getattr(error, 'reason', error)}"
    if wrong:
        kept = where.cache / "lists" / f"{listed.name}.txt"
        lines = [f"The list {listed.name} is not on this machine. Tried:"]
        lines += [f"  - {line}" for line in (*tried, f"{without_login(listed.url)}: {wrong}")]
        raise AssetMissing("\n".join([*lines, f"Put a text with its ids at  {kept}", f"It is: {listed.source}"]))
    with atomic(where.cache / "lists" / f"{listed.name}.txt") as temporary:
        temporary.write_text("".join(f"{id}\n" for id in ids))
    return ids


def ids_named(name: str, where: Locations) -> tuple[str, ...]:
    """The ids of a list of lists.csv, or of a text file `*.txt` of one's own. Raises FormatError, AssetMissing."""
    known = read_lists()
    if name in known:
        return ids_of(known[name], where)
    if not (name.endswith(".txt") and Path(name).is_file()):
        raise FormatError("list", f"one of {', '.join(known)}, or a text file *.txt of ids", repr(name)[:200])
    return parse_ids(Path(name).read_text("utf-8", "replace"))


def _wrong(listed: IdList, ids: tuple[str, ...]) -> str:
    """Why these cannot be the list's ids; "" if they can."""
    if not ids or listed.count not in (None, len(ids)):
        return f"{len(ids)} ids instead of {listed.count or 'some'}"
    if listed.ids_sha256 and ids_sha256(ids) != listed.ids_sha256:
        return "other ids: their sha256 is not that of lists.csv"
    return ""


def main() -> None:
    known = read_lists()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}; default: all")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(known)):
        parser.error(f"no such list: {', '.join(unknown)}")
    missing = 0
    for name in options.names or known:
        try:
            ids = ids_of(known[name], places(os.environ))
            sys.stdout.write(f"{name}\t{known[name].role}\t{len(ids)}\t{ids_sha256(ids)}\n")
        except AssetMissing as error:
            missing += 1
            sys.stderr.write(f"{error}\n")
    if missing:
        sys.exit(f"{missing} lists are missing")


if __name__ == "__main__":
    main()
