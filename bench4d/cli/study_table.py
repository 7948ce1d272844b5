"""`bench4d study-table`: what the participants of a study preferred."""

from __future__ import annotations

import argparse
from pathlib import Path

NAME, HELP = "study-table", "make the preference table of a user study's votes"
DESCRIPTION = """Check the files of votes that participants sent back and make the table of preferences: for each
question the share of comparisons that each method and pair won, with intervals (docs/study.md).

  bench4d study-table votes/*.json --key my-study/key.json
  bench4d study-table votes/*.json --key my-study/key.json --format csv > preferences.csv
  bench4d study-table votes/*.json --key my-study/key.json --out tables       all three formats

Files that are left out (unreadable, of another study, twice, inattentive) are listed with the reason."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("votes", type=Path, nargs="+", metavar="VOTES", help="files that participants saved")
    parser.add_argument("--key", type=Path, required=True, metavar="KEY", help="key.json of `bench4d study`")
    parser.add_argument("--format", choices=("md", "csv", "html"), default="md", help="(default: md)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write preferences.md, .csv and .html there as well")


def run(options: argparse.Namespace) -> int:
    import sys

    from bench4d.files import atomic
    from bench4d.site.study.preferences import make_preferences
    from bench4d.site.study.preferences_formats import FORMATS
    from bench4d.site.study.votes import read_key, read_votes

    key = read_key(options.key)
    preferences = make_preferences(key, read_votes(options.votes, key))
    print(FORMATS[options.format](preferences), end="")
    for form, write in FORMATS.items() if options.out else ():
        with atomic(options.out / f"preferences.{form}") as temporary:
            temporary.write_text(write(preferences), "utf-8")
    if options.out:
        sys.stderr.write(f"wrote {options.out}/preferences.md, .csv, .html\n")
    return 0
