"""Validate and align the assets of a batch of clips: `<root>/<clip>/aligned.json`."""

import argparse
from pathlib import Path

import _root  # noqa: F401

from bench4d.align import align_clip
from bench4d.benchmark import Benchmark
from bench4d.files import write_json

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--protocol", type=Path, required=True)
parser.add_argument("--root", type=Path, required=True)
parser.add_argument("--clips", nargs="+", required=True)
options = parser.parse_args()

benchmark = Benchmark.read(options.protocol)
for clip in options.clips:
    write_json(options.root / clip / "aligned.json", align_clip(benchmark, options.root / clip))
