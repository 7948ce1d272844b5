"""Make one clip of menagerie: what a method may see (`clip.json`, `frames/`), and apart the truth (`asset/`)."""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from bench4d.asset import Asset4D
from bench4d.asset_io import write_asset
from bench4d.benchmark import Benchmark
from bench4d.clip import Clip
from bench4d.errors import FormatError
from bench4d.render import render_mesh, to_straight
from bench4d.weights import Locations
from benchmarks.menagerie.assets import ListedAsset, ListedClip, find_clip
from benchmarks.menagerie.fetch import AssetMissing, asset_places, find_asset
from benchmarks.menagerie.moving import clip_meshes


def build(
    benchmark: Benchmark,
    clip: ListedClip,
    model: ListedAsset,
    places: Locations,
    clip_out: Path,
    truth: Path,
    threads: int,
) -> None:
    """Write `clip_out` and `truth`/asset. Raises FormatError, AssetMissing."""
    if model.split != "test":
        raise FormatError(benchmark.path, "clips of the split test", f"{clip.id} of the split {model.split}")
    camera = benchmark.cameras[0]
    meshes = clip_meshes(clip, model, find_asset(model, places), benchmark.data["n_frames"])
    write_asset(Asset4D("mesh", benchmark.times, meshes, input_camera=camera), truth / "asset")
    frames = [to_straight(render_mesh(mesh, camera, threads=threads))[0] for mesh in meshes]
    Clip(clip.id, np.stack(frames), benchmark.data["fps"], camera).write(clip_out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocol", type=Path, required=True)
    parser.add_argument("--clip", required=True)
    parser.add_argument("--clip-out", type=Path, required=True)
    parser.add_argument("--truth-out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    places, benchmark = asset_places(os.environ), Benchmark.read(options.protocol)
    try:
        clip, model = find_clip(options.clip)
        build(benchmark, clip, model, places, options.clip_out, options.truth_out, options.threads)
    except (FormatError, AssetMissing) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
