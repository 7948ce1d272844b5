"""Make one clip of synth4d: what a method may see (`clip.json`, `frames/`) and, apart from it, the truth (`asset/`)."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from bench4d.asset import Asset4D
from bench4d.asset_io import write_asset
from bench4d.benchmark import Benchmark
from bench4d.clip import Clip
from bench4d.render import render_mesh, to_straight
from benchmarks.synth4d.generator import make_object
from benchmarks.synth4d.spoil import spoilt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocol", type=Path, required=True)
    parser.add_argument("--clip", required=True)
    parser.add_argument("--clip-out", type=Path, required=True)
    parser.add_argument("--truth-out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()

    benchmark = Benchmark.read(options.protocol)
    camera = benchmark.cameras[0]
    thing = make_object(benchmark.object_of[options.clip])
    meshes = [thing.mesh_at(float(time)) for time in benchmark.times]
    write_asset(Asset4D("mesh", benchmark.times, meshes, input_camera=camera), options.truth_out / "asset")
    frames = [to_straight(render_mesh(mesh, camera, threads=options.threads))[0] for mesh in meshes]
    shown = np.stack(frames)
    if shares := benchmark.data.get("spoilt"):
        shown = spoilt(shown, options.clip, shares["hidden"], shares["blurred"])
    Clip(options.clip, shown, benchmark.data["fps"], camera).write(options.clip_out)


if __name__ == "__main__":
    main()
