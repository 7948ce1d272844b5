"""`bench4d table`: the table from result rows alone."""

from __future__ import annotations

import argparse
from pathlib import Path

NAME, HELP = "table", "print the table of result rows"
DESCRIPTION = """Make the table anew from result rows alone: nothing is run, rendered or scored.

  bench4d table results/synth4d
  bench4d table results/synth4d --format tex --metrics lpips-vgg,psnr,chamfer > table.tex
  bench4d table results/synth4d --comparisons        every pair of methods in every column, as CSV"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("rows", type=Path, metavar="DIR|FILE", help="scores.parquet, or a folder that has it")
    parser.add_argument("--format", choices=("csv", "md", "tex", "html", "txt"), default="txt", help="(default: txt)")
    parser.add_argument("--comparisons", action="store_true", help="pairs of methods instead of the table, as CSV")
    parser.add_argument("--metrics", metavar="A,B", help="columns, in this order (default: the protocol's table)")


def run(options: argparse.Namespace) -> int:
    import sys

    from bench4d.comparisons import compare
    from bench4d.scoring_folder import with_columns
    from bench4d.submission import methods_of
    from bench4d.table_formats import FORMATS, comparisons_to_csv
    from bench4d.table_published import groups_of
    from bench4d.tables import make_table
    from metrics import METRICS

    from .run_rows import read_run
    from .score import split

    path, rows, benchmark = read_run(options.rows, "table")
    if options.metrics:
        benchmark = with_columns(benchmark, split(options.metrics), METRICS)
    methods, bare = methods_of(rows, path.parent)
    if bare:
        sys.stderr.write(f"bench4d table: no folder of {', '.join(bare)}: what they were trained on is not known\n")
    if options.comparisons:
        sys.stdout.write(comparisons_to_csv(compare(rows, benchmark, methods, METRICS)))
    else:
        table = make_table(rows, benchmark, methods, METRICS, {}, groups_of(benchmark))
        sys.stdout.write(FORMATS[options.format](table))
    return 0
