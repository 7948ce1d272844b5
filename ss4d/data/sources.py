"""Animated assets that clips are made of: training objects of synth4d, asset folders, geometry sequences.

A source names its times and gives the mesh at each. `placed` turns it and fits it into the cube, with one similarity
for the whole clip.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Float64

from bench4d.asset import Asset4D, Mesh
from bench4d.errors import FormatError
from bench4d.geometry import read_geometry
from benchmarks.synth4d import splits
from benchmarks.synth4d.generator import Object4D, make_object

HALF = 0.499  # half extent after normalisation: nothing lies on the grid's own border
VALIDATION_SEED = 900_000  # training seeds of synth4d from here on are for validation
SPLITS = {"train": (0, VALIDATION_SEED), "val": (VALIDATION_SEED, splits.TRAIN_SEEDS)}
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Source(Protocol):
    """One animated object.

    Attributes:
        id: of the clip.
        kind: where it is from: "synth4d" or "asset".
        times: seconds, ascending.
        normalised: whether it lies in [-0.5, 0.5]^3 already.
    """

    @property
    def id(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def times(self) -> Float64[np.ndarray, " T"]: ...
    @property
    def normalised(self) -> bool: ...

    def mesh_at(self, time: float) -> Mesh: ...


@dataclass(frozen=True)
class SynthSource:
    """A training object of synth4d. Objects of the test split are refused, whoever asks for them."""

    thing: Object4D
    times: Float64[np.ndarray, " T"]
    kind: str = "synth4d"
    normalised: bool = True

    @staticmethod
    def open(object_id: str, frames: int, fps: float) -> SynthSource:
        seed = object_id.rpartition("-")[2]
        if not seed.isdigit() or object_id != splits.train_id(
            int(seed)
        ):  # train_id refuses the seeds of the test split
            raise FormatError("synth4d object", "a training object", repr(object_id), "Others must not be trained on.")
        return SynthSource(make_object(object_id), np.arange(frames) / fps)

    @property
    def id(self) -> str:
        return self.thing.id

    def mesh_at(self, time: float) -> Mesh:
        return self.thing.mesh_at(time)


@dataclass(frozen=True)
class AssetSource:
    """The meshes of an asset, at its own times."""

    id: str
    asset: Asset4D
    kind: str = "asset"
    normalised: bool = False

    @staticmethod
    def open(folder: Path, fps: float) -> AssetSource:
        """An `asset/` folder, or a folder of one mesh file a frame, shown at `fps`."""
        asset = read_geometry(folder, fps)
        if asset.kind != "mesh":
            raise FormatError(folder, "meshes", f"an asset of {asset.kind}", "Surfaces are needed to make voxels.")
        return AssetSource(folder.name, asset)

    @property
    def times(self) -> Float64[np.ndarray, " T"]:
        return self.asset.times

    def mesh_at(self, time: float) -> Mesh:
        mesh = self.asset.frame_at(time, "refuse")
        if not isinstance(mesh, Mesh):
            raise FormatError(self.id, "a mesh", type(mesh).__name__)
        return mesh


def synth_ids(split: str, clips: int, first_seed: int | None = None) -> list[str]:
    """Ids of training objects. The splits are ranges of training seeds: they share no object with one another, nor
    with the benchmark's test split."""
    if split not in SPLITS:
        raise FormatError("split", f"one of {sorted(SPLITS)}", repr(split))
    low, high = SPLITS[split]
    first = low if first_seed is None else first_seed
    if clips < 1 or first < low or first + clips > high:
        expected = f"at least one clip, and seeds from {low} to {high - 1} for {split!r}"
        raise FormatError("synth4d seeds", expected, f"{clips} clips from seed {first}")
    return [splits.train_id(seed) for seed in range(first, first + clips)]


def asset_ids(folder: Path) -> list[str]:
    """The subfolders of a folder of assets, in order of their names."""
    names = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if not names:
        raise FormatError(folder, "a folder of folders, one an asset", "none")
    if bad := [name for name in names if not ID.fullmatch(name)]:
        raise FormatError(folder, "names of letters, digits, '.', '_' and '-'", f"{bad[:3]}")
    return names


def open_source(clip: str, assets: Path | None, frames: int, fps: float) -> Source:
    """A clip's source by its id: a subfolder of `assets`, or a training object of synth4d if that is None."""
    return SynthSource.open(clip, frames, fps) if assets is None else AssetSource.open(assets / clip, fps)


def placed(source: Source, yaw: float = 0.0) -> list[Mesh]:
    """The meshes of all frames, turned by `yaw` degrees about the vertical axis and fitted into [-0.5, 0.5]^3.

    One similarity for the clip, from the bounds of all its frames. What lies in the cube already and is not turned
    stays as it is.
    """
    meshes = [source.mesh_at(float(time)) for time in source.times]
    if source.normalised and yaw == 0:
        return meshes
    angle = np.radians(yaw)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    turned = [mesh.vertices.astype(np.float64) @ turn.T for mesh in meshes]
    low, high = bounds(turned, source.id)
    scale, middle = 2 * HALF / float((high - low).max()), 0.5 * (low + high)
    return [
        Mesh(((points - middle) * scale).astype(np.float32), mesh.faces, mesh.colors, mesh.uv, mesh.texture)
        for points, mesh in zip(turned, meshes, strict=True)
    ]


def bounds(
    clouds: Sequence[Float64[np.ndarray, "N 3"]], where: str
) -> tuple[Float64[np.ndarray, " 3"], Float64[np.ndarray, " 3"]]:
    """Lowest and highest corner of all points of all frames."""
    held = [points for points in clouds if len(points)]
    if not held:
        raise FormatError(where, "vertices in at least one frame", "none")
    low = np.min([points.min(0) for points in held], axis=0)
    high = np.max([points.max(0) for points in held], axis=0)
    if not (high - low).max() > 0:
        raise FormatError(where, "an object of some extent", "all vertices in one point")
    return low, high
