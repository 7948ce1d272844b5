"""The clip that `bench4d check` and tests/conformance run a method on: a small object of synth4d, made on the spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench4d.asset import Asset4D
from bench4d.asset_io import write_asset
from bench4d.cameras import orbit
from bench4d.clip import Clip
from bench4d.render import render_mesh, to_straight
from bench4d.trial import CLIP, FPS, SIZE
from benchmarks.synth4d.generator import make_object

OBJECT = "pudding-7"  # a training object: no test object is seen before a benchmark


def make_clip(n_frames: int, clip_folder: Path, truth_folder: Path) -> None:
    """Write the clip and its truth (`asset/`), as a benchmark's build.py does."""
    camera, thing = orbit([0], 15, 2, 40, SIZE), make_object(OBJECT)
    meshes = [thing.mesh_at(k / FPS) for k in range(n_frames)]
    clip = Clip(CLIP, np.concatenate([to_straight(render_mesh(mesh, camera)) for mesh in meshes]), FPS, camera)
    clip.write(clip_folder)
    write_asset(Asset4D("mesh", clip.times, meshes, camera), truth_folder / "asset")
