"""Make the results site of a benchmark: `<results>/site/index.html`."""

import argparse
from pathlib import Path

import _root  # noqa: F401

from bench4d.benchmark import Benchmark
from bench4d.method import Method
from bench4d.site import build_site
from metrics import METRICS

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--protocol", type=Path, required=True)
parser.add_argument("--methods", type=Path, nargs="+", required=True, help="the methods' folders")
parser.add_argument("--skipped", nargs="*", default=[], help="methods that this machine cannot run, as id=reason")
parser.add_argument("--results", type=Path, required=True, help="results/<benchmark>")
parser.add_argument("--workers", type=int, default=1, help="films that are made at once")
options = parser.parse_args()

build_site(
    options.results,
    Benchmark.read(options.protocol),
    [Method.read(path) for path in options.methods],
    METRICS,
    skipped=dict(item.split("=", 1) for item in options.skipped),
    workers=options.workers,
)
