"""How far half precision is from single precision: the vectors of each network, and the values of metrics.

    python tools/half_precision.py                               the table of docs/precision.md
    python tools/half_precision.py --metrics lpips-alex fvd-c4d  some metrics alone
    python tools/half_precision.py --size 256 --frames 8 --views 3 --metrics dreamsim-ensemble      a larger case

On one GPU (autocast to float16), else on the CPU (autocast to bfloat16), as `precision: half` scores. Weights are those
that lie on the machine; networks without any have random ones, made for the run. The pictures are the damages of
tools/sanity_set.py against their truth.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from bench4d.features import find_place, running, weights_of
from bench4d.metric_loading import Loaded, Loader
from metrics import METRICS
from tools import random_weights
from tools.sanity_set import NOVEL, UNWEIGHED, Seen, Variant, files_here, value_of, variants

MEASURED = ("lpips-vgg", "lpips-alex", "clip-vit-b32", "dreamsim-dino-vitb16", "fid-inception", "fvd-c4d")
MEASURED += ("fid-vid-r3d",)


@dataclass(frozen=True)
class Deviation:
    """Of one metric, over all damages.

    Attributes:
        metric: its id.
        weights: "published" or "random".
        vectors: largest difference of a vector's number, as a part of the largest number; NaN without vectors.
        values: single and half precision of each damage.
        reason: why there is nothing, else "".
    """

    metric: str
    weights: str
    vectors: float
    values: Mapping[str, tuple[float, float]]
    reason: str = ""

    @property
    def largest(self) -> tuple[str, float]:
        """The damage whose value changes most, relative to the value in single precision; and by how much. Values that
        are 0 up to rounding are left out."""
        least = 1e-6 * max(abs(single) for single, _ in self.values.values())
        pairs = {name: pair for name, pair in self.values.items() if abs(pair[0]) > least}
        changes = {name: abs(half - single) / abs(single) for name, (single, half) in pairs.items()}
        name = max(changes, key=lambda n: changes[n])
        return name, changes[name]


def deviation(id: str, made: Mapping[str, Variant], folder: Path) -> Deviation:
    """`id`: of the metric; `folder`: for random weights."""
    weights = files_here(weights_of(METRICS[id]))
    missing = [name for name, entry in weights.items() if "path" not in entry and name in random_weights.WRITERS]
    weights |= random_weights.write_all(folder, missing)
    kind = "random" if missing else "published"
    single, half = (Loader(weights, precision).load(METRICS[id]) for precision in ("float32", "half"))
    if reason := single.reason or half.reason:
        return Deviation(id, kind, np.nan, {}, reason)
    (values, seen), (values_half, seen_half) = _values(single, made), _values(half, made)
    if set(seen) != set(seen_half):  # `vectors` refuses what is not finite, and no vector of it was kept
        return Deviation(id, kind, np.nan, {}, f"beyond half precision with {kind} weights")
    return Deviation(id, kind, _of_vectors(seen, seen_half), {n: (v, values_half[n]) for n, v in values.items()})


def _values(item: Loaded, made: Mapping[str, Variant]) -> tuple[dict[str, float], Seen]:
    """Of every damage; and all vectors. Networks of frames run under the asked precision, as in a scoring job."""
    seen: Seen = {}
    with running(item.place) if item.place and item.metric.needs == "frames" else nullcontext():
        return {n: value_of(item, variant, made["truth"], seen) for n, variant in made.items() if n != "truth"}, seen


def _of_vectors(single: Seen, half: Seen) -> float:
    if not single:
        return np.nan
    largest = max(float(np.abs(row).max()) for row in single.values())
    return max(float(np.abs(row - half[key]).max()) for key, row in single.items()) / largest


HEADER = "| metric | weights | vectors | largest change of a value | single | half |\n|---|---|---:|---:|---:|---:|"


def line(found: Deviation) -> str:
    if found.reason:
        return f"| {found.metric} | – | – | {found.reason} | – | – |"
    name, change = found.largest
    vectors = "–" if np.isnan(found.vectors) else f"{found.vectors:.1e}"
    values = " | ".join(f"{value:.6g}" for value in found.values[name])
    return f"| {found.metric} | {found.weights} | {vectors} | {change:.1e} ({name}) | {values} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--object", default="walker-1000000", help="of synth4d")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--frames", type=int, default=3)
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--metrics", nargs="+", metavar="ID", default=MEASURED, choices=[*METRICS])
    options = parser.parse_args()
    made = variants(options.object, options.size, options.frames, NOVEL[: options.views])
    made = {name: made[name] for name in UNWEIGHED}
    print(f"{find_place('half').name}\n\n{HEADER}", flush=True)
    for metric in options.metrics:
        with tempfile.TemporaryDirectory() as folder:
            print(line(deviation(metric, made, Path(folder))), flush=True)


if __name__ == "__main__":
    main()
