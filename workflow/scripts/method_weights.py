"""Fetch the weights that one method declares, or say of each why it cannot be had."""

import argparse
from pathlib import Path

import _root  # noqa: F401

from bench4d.files import write_json
from bench4d.method import Method
from bench4d.weights_method import resolve_for_method

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--method", type=Path, required=True, help="the method's folder")
parser.add_argument("--attempt", type=int, default=1, help="kept in the file: how often it was tried")
parser.add_argument("--out", type=Path, required=True)
options = parser.parse_args()

found = resolve_for_method(Method.read(options.method))
for name, entry in found.items():
    print(f"{name}: {entry.get('path') or entry['reason']}")
write_json(options.out, {"attempt": options.attempt, "files": found})
