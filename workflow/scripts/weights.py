"""Fetch the weights that a protocol's metrics need, or say of each why it cannot be had."""

import argparse
from pathlib import Path

import _root  # noqa: F401

from bench4d.benchmark import Benchmark
from bench4d.features import weights_of
from bench4d.files import write_json
from bench4d.metric_loading import find_weights
from metrics import METRICS

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--protocol", type=Path, required=True)
parser.add_argument("--out", type=Path, required=True)
options = parser.parse_args()

entries = Benchmark.read(options.protocol).data["metrics"]
ids = [id for entry in entries for id in weights_of(METRICS[entry["id"]])]
write_json(options.out, find_weights(ids, print))
