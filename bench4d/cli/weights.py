"""`bench4d weights`: the networks' files that metrics and methods need."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench4d.weights import Entry

from bench4d.errors import FormatError

NAME, HELP = "weights", "list, fetch or verify the networks' files"
DESCRIPTION = """The networks' files that metrics and methods need, each with one sha256, whatever source it came from.

  bench4d weights list
  bench4d weights list clip-bigg14          also the pages from which a person can get it
  bench4d weights fetch lpips-vgg-heads     without an ID: all that can be downloaded
  bench4d weights verify                    read every file that is here and compare its sha256

Files lie in the folder that BENCH4D_WEIGHTS names, or in ~/.cache/bench4d/weights. Without a network, fetch them on
another machine and copy the folder. An unpinned file has no published checksum: it is never downloaded, only taken
from the folder in BENCH4D_WEIGHTS, and `bench4d weights list ID` says where a person gets it."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("list", "fetch", "verify"), help="what to do")
    parser.add_argument("ids", nargs="*", metavar="ID", help="ids of `bench4d weights list` (default: all)")


def run(options: argparse.Namespace) -> int:
    entries = chosen(options.ids)
    if options.action == "fetch" and not options.ids:
        entries = [entry for entry in entries if entry.sha256 is not None]
    if options.action == "list":
        return show(entries, pages=bool(options.ids))
    return {"fetch": fetch, "verify": verify}[options.action](entries)


def chosen(ids: list[str]) -> list[Entry]:
    """The entries with these ids, all without any. Raises FormatError."""
    from bench4d.weights import read_catalogue

    catalogue = read_catalogue()
    if unknown := sorted(set(ids) - set(catalogue)):
        raise FormatError("weights", f"ids among {sorted(catalogue)}", f"{unknown}")
    return [catalogue[id] for id in ids or catalogue]


def show(entries: list[Entry], pages: bool) -> int:
    """A line a file; with `pages`, the addresses of those that no program downloads."""
    from .listing import columns, size_of

    rows: list[tuple[str, ...]] = [("id", "size", "licence", "sha256", "what")]
    rows += [(e.id, size_of(e.size), e.licence, (e.sha256 or "unpinned")[:12], e.title) for e in entries]
    print("\n".join(columns(rows)))
    for entry in entries if pages else []:
        print("".join(f"{entry.id}: a person can get it from {address}\n" for address in entry.by_hand), end="")
    return 0


def fetch(entries: list[Entry]) -> int:
    """Print the path of each; what cannot be had costs that file only, and the exit status."""
    import sys

    from bench4d.weights import WeightsMissing, resolve

    missing = 0
    for entry in entries:
        try:
            print(resolve(entry.id))
        except WeightsMissing as error:
            missing += 1
            sys.stderr.write(f"{error}\n")
    return 2 if missing else 0


def verify(entries: list[Entry]) -> int:
    """A line a file. Absent is no fault, wrong content is."""
    import os

    from bench4d.files import sha256_file
    from bench4d.weights import Locations, look

    wrong = 0
    for entry in entries:
        here, tried = look(entry, Locations.of(os.environ))
        bad = [line for line in tried if line.endswith("wrong content")]
        wrong += len(bad)
        for line in bad:
            print(f"✗ {entry.id}: {line}. Delete it, then: {entry.next_step}")
        if here is not None:
            print(f"✓ {entry.id}: {here}" + (f" (unpinned, sha256 {sha256_file(here)})" if not entry.sha256 else ""))
        elif not bad:
            print(f"– {entry.id}: not here. {entry.next_step}")
    return 1 if wrong else 0
