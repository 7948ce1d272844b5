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
parser.add_argument("--truth", type=Path, help="holds <clip>/asset: for the alignment icp-frame0")
parser.add_argument("--inputs", type=Path, help="holds <clip>/frames: for the alignment silhouette-view0")
options = parser.parse_args()

benchmark = Benchmark.read(options.protocol)
for clip in options.clips:
    truth = options.truth / clip / "asset" if options.truth else None
    seen = options.inputs / clip if options.inputs else None
    aligned = align_clip(benchmark, options.root / clip, truth=truth, clip=seen)
    write_json(options.root / clip / "aligned.json", aligned)
