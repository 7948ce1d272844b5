"""Fetch the weights that a protocol's metrics need, or say of each why it cannot be had."""

import argparse
from pathlib import Path

import _root  # noqa: F401

from bench4d.benchmark import Benchmark
from bench4d.files import sha256_file, write_json
from bench4d.weights import WeightsMissing, resolve
from metrics import METRICS

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--protocol", type=Path, required=True)
parser.add_argument("--out", type=Path, required=True)
options = parser.parse_args()

found: dict[str, dict[str, str]] = {}
for entry in Benchmark.read(options.protocol).data["metrics"]:
    for name in METRICS[entry["id"]].weights:
        try:
            path = resolve(name)
            found[name] = {"path": str(path), "sha256": sha256_file(path)}
        except WeightsMissing as error:
            print(error)
            found[name] = {"reason": str(error).splitlines()[0]}
write_json(options.out, found)
