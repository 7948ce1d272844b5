"""Make one clip of objaverse: what a method may see (`clip.json`, `frames/`), and apart the truth (`asset/`)."""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from bench4d.asset import Asset4D, Mesh
from bench4d.asset_io import write_asset
from bench4d.benchmark import Benchmark
from bench4d.clip import Clip
from bench4d.errors import FormatError
from bench4d.gltf import read_animated
from bench4d.render import render_mesh, to_straight
from bench4d.weights import Locations
from benchmarks.menagerie.fetch import AssetMissing
from benchmarks.menagerie.moving import SAMPLED, frames_at
from benchmarks.objaverse.lists import places
from benchmarks.objaverse.objects import find_object
from benchmarks.objaverse.selection import FILE, Selected, list_hash, read_selection


def clip_meshes(chosen: Selected, model: Path, count: int) -> list[Mesh]:
    """`count` meshes in [-0.45, 0.45]^3, z up, colours per vertex: the window [start, end). Raises FormatError."""
    animated = read_animated(model)
    animation = animated.animation(chosen.animation)
    length = chosen.end - chosen.start
    deciding = chosen.start + length * np.arange(SAMPLED) / (SAMPLED - 1)
    shown = chosen.start + length * np.arange(count) / count
    return frames_at(animated, animation, deciding, shown, chosen.yaw)


def build(benchmark: Benchmark, id: str, where: Locations, clip_out: Path, truth: Path, threads: int) -> None:
    """Write `clip_out` and `truth`/asset. Raises FormatError, AssetMissing."""
    folder = benchmark.path.parent
    selection, name = read_selection(folder), list_hash(folder)
    if name not in benchmark.data["title"]:
        expected = f"the protocol of the list {name} beside it"
        raise FormatError(benchmark.path, expected, repr(benchmark.data["title"]), "Let choose.py write both.")
    if id not in selection:
        raise FormatError("clip", f"an id of {folder / FILE}", repr(id)[:120])
    chosen, camera = selection[id], benchmark.cameras[0]
    meshes = clip_meshes(chosen, find_object(id, chosen.sha256, where), benchmark.data["n_frames"])
    write_asset(Asset4D("mesh", benchmark.times, meshes, input_camera=camera), truth / "asset")
    frames = [to_straight(render_mesh(mesh, camera, threads=threads))[0] for mesh in meshes]
    Clip(id, np.stack(frames), benchmark.data["fps"], camera).write(clip_out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocol", type=Path, required=True)
    parser.add_argument("--clip", required=True)
    parser.add_argument("--clip-out", type=Path, required=True)
    parser.add_argument("--truth-out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    try:
        build(
            Benchmark.read(options.protocol),
            options.clip,
            places(os.environ),
            options.clip_out,
            options.truth_out,
            options.threads,
        )
    except (FormatError, AssetMissing) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
