"""Render the assets of a batch of clips at the protocol's cameras and times: `<root>/<clip>/frames`."""

import argparse
from pathlib import Path

import _root  # noqa: F401
from tqdm import tqdm

from bench4d.benchmark import Benchmark
from bench4d.rendering import RENDERERS, render_method_clip, render_truth

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--protocol", type=Path, required=True)
parser.add_argument("--root", type=Path, required=True)
parser.add_argument("--clips", nargs="+", required=True)
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--truth", action="store_true", help="the folder holds the truth: no records, no alignment")
parser.add_argument("--renderer", choices=list(RENDERERS), default="cpu")
options = parser.parse_args()

benchmark = Benchmark.read(options.protocol)
for clip in tqdm(options.clips, desc="render", unit="clip"):
    render = render_truth if options.truth else render_method_clip
    render(benchmark, options.root / clip, options.threads, options.renderer)
