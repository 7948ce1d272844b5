"""What the tests of SS4D's training data share: small meshes, and a data set of three clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench4d.asset import Mesh
from ss4d.data.build import Job, build
from ss4d.data.config import DataConfig
from ss4d.data.sources import SynthSource

CONFIG = Path(__file__).parent / "fixtures" / "ss4d_data.json"
CLIPS = ["flag-3", "fish-1", "pudding-4"]  # quick to make


def tiny_config() -> DataConfig:
    return DataConfig.read(CONFIG)


def build_three(out: Path) -> Path:
    """Three clips of three frames in two shards."""
    build(Job(tiny_config(), out), CLIPS, "train", workers=1)
    return out


def mesh_of(points: np.ndarray, faces: np.ndarray, colors: np.ndarray | None = None) -> Mesh:
    rgba = np.full((len(points), 4), 255, np.uint8)
    if colors is not None:
        rgba[:, :3] = colors
    return Mesh(np.asarray(points, np.float32), np.asarray(faces, np.int32), rgba)


def plate(height: float, cells: int = 1, half: float = 0.4) -> Mesh:
    """A level square of 2 cells^2 triangles seen from above; red grows with x, green with y."""
    axis = np.linspace(-half, half, cells + 1)
    x, y = (a.ravel() for a in np.meshgrid(axis, axis, indexing="ij"))
    points = np.stack([x, y, np.full_like(x, height)], axis=1)
    corner = (np.arange(cells)[:, None] * (cells + 1) + np.arange(cells)).ravel()
    right, up, both = corner + cells + 1, corner + 1, corner + cells + 2
    faces = np.concatenate([np.stack([corner, right, both], 1), np.stack([corner, both, up], 1)])
    share = 255 * (points[:, :2] + half) / (2 * half)
    return mesh_of(points, faces, np.concatenate([share, np.full((len(points), 1), 51)], axis=1).round())


def fish() -> Mesh:
    return SynthSource.open("fish-1", 1, 8.0).mesh_at(0.3)
