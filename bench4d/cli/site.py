"""`bench4d site`: the results site of a finished run."""

from __future__ import annotations

import argparse
from pathlib import Path

NAME, HELP = "site", "make the results site: table, films, viewer, evidence"
DESCRIPTION = """Make static pages of a folder of results. They open from disk, without a server and without a network.

  bench4d site results/synth4d                 writes results/synth4d/site/index.html
  bench4d site results/synth4d --out site"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=Path, metavar="RESULTS", help="a folder with scores.parquet")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the site's folder (default: RESULTS/site)")
    parser.add_argument("--workers", type=int, metavar="N", help="films made at once (default: all cores)")


def run(options: argparse.Namespace) -> int:
    import sys

    from bench4d.site import build_site
    from bench4d.submission import methods_of
    from metrics import METRICS

    from .run_rows import read_run

    _, rows, benchmark = read_run(options.results, "site")
    methods, bare = methods_of(rows, options.results)
    if bare:
        sys.stderr.write(f"bench4d site: no folder of {', '.join(bare)}: what they were trained on is not known\n")
    print(build_site(options.results, benchmark, methods, METRICS, options.out, workers=options.workers))
    return 0
