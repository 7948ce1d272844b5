"""Score one method and seed: rows and per-frame rows."""

import argparse
from pathlib import Path

import _root  # noqa: F401
from tqdm import tqdm

from bench4d.benchmark import Benchmark
from bench4d.files import read_json
from bench4d.method import Method
from bench4d.metric_loading import load_metrics
from bench4d.results import FRAME_ROW, ROW, frame_of, write_rows
from bench4d.score import score_method
from metrics import METRICS

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--protocol", type=Path, required=True)
parser.add_argument("--method", type=Path, required=True, help="the method's folder")
parser.add_argument("--seed", type=int, required=True)
parser.add_argument("--root", type=Path, required=True)
parser.add_argument("--truth", type=Path, required=True)
parser.add_argument("--weights", type=Path, required=True)
parser.add_argument("--precision", choices=("float32", "half"), default="float32", help="of networks")
parser.add_argument("--threads", type=int, default=1, help="for decoding and for metrics without networks")
options = parser.parse_args()

benchmark, method = Benchmark.read(options.protocol), Method.read(options.method)
loaded = load_metrics(benchmark, METRICS, read_json(options.weights), options.precision)
with tqdm(total=len(benchmark.clips), desc=f"score {method.id}", unit="clip") as bar:

    def progress(clip: str) -> None:
        bar.set_postfix_str(clip)
        bar.update()

    places = options.root, options.truth
    rows, frame_rows = score_method(benchmark, method, options.seed, *places, loaded, progress, options.threads)
write_rows(options.root / "scores.parquet", frame_of(rows, ROW))
write_rows(options.root / "frames.parquet", frame_of(frame_rows, FRAME_ROW))
