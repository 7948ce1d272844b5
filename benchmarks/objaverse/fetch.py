"""The files of the frozen objects, into the user's cache, and who made them under which licence.

python -m benchmarks.objaverse.fetch               every file of selection.csv
python -m benchmarks.objaverse.fetch --licences    authors, licences and addresses; downloads nothing
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bench4d.errors import FormatError
from benchmarks.menagerie.fetch import AssetMissing
from benchmarks.objaverse.lists import FOLDER, places
from benchmarks.objaverse.objects import find_object
from benchmarks.objaverse.selection import Selected, read_selection


def licences(chosen: Sequence[Selected]) -> str:
    """One line an object: id, licence, author, name, address; tabs between them."""
    return "".join(f"{row.id}\t{row.licence}\t{row.author}\t{row.name}\t{row.url}\n" for row in chosen)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--licences", action="store_true", help="list authors and licences, and download nothing")
    parser.add_argument("--list", type=Path, default=FOLDER, help="the folder of selection.csv")
    options = parser.parse_args(arguments)
    try:
        chosen = list(read_selection(options.list).values())
    except FormatError as error:
        sys.exit(f"error: {error}")
    if options.licences:
        sys.stdout.write(licences(chosen))
        return
    missing = 0
    for row in chosen:
        try:
            sys.stdout.write(f"{find_object(row.id, row.sha256, places(os.environ))}\n")
        except AssetMissing as error:
            missing += 1
            sys.stderr.write(f"{error}\n")
    if missing:
        sys.exit(f"{missing} of {len(chosen)} files are missing")


if __name__ == "__main__":
    main()
