"""Collect the rows of a benchmark and write its tables."""

import argparse
from pathlib import Path

import _root  # noqa: F401
import pandas as pd

from bench4d.benchmark import Benchmark
from bench4d.comparisons import compare
from bench4d.method import Method
from bench4d.results import FRAME_ROW, ROW, read_rows, write_rows
from bench4d.table_formats import write_comparisons, write_tables
from bench4d.table_published import groups_of
from bench4d.tables import make_table
from metrics import METRICS

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--protocol", type=Path, required=True)
parser.add_argument("--methods", type=Path, nargs="+", required=True, help="the methods' folders")
parser.add_argument("--skipped", nargs="*", default=[], help="methods that this machine cannot run, as id=reason")
parser.add_argument("--scores", type=Path, nargs="+", required=True)
parser.add_argument("--out", type=Path, required=True)
options = parser.parse_args()

rows = pd.concat([read_rows(path, ROW) for path in options.scores], ignore_index=True)
frames = pd.concat(
    [read_rows(path.with_name("frames.parquet"), FRAME_ROW) for path in options.scores], ignore_index=True
)
write_rows(options.out / "scores.parquet", rows)
write_rows(options.out / "frames.parquet", frames)
skipped = dict(item.split("=", 1) for item in options.skipped)
methods = [Method.read(path) for path in options.methods]
benchmark = Benchmark.read(options.protocol)
table = make_table(rows, benchmark, methods, METRICS, skipped, groups_of(benchmark))
write_tables(table, options.out)
write_comparisons(compare(rows, benchmark, methods, METRICS), options.out)
