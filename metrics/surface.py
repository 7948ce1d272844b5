"""Points on surfaces and the distances between them: what chamfer and fscore share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from scipy.spatial import cKDTree

from bench4d.asset import Gaussians, Mesh
from bench4d.errors import FormatError

Points = Float64[np.ndarray, "N 3"]
FARTHEST = 3**0.5  # the diagonal of the unit cube: the distance that stands for "there is nothing"


def generator(*contents: bytes | memoryview) -> np.random.Generator:
    """Random numbers that depend on these bytes alone: equal surfaces get equal samples."""
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content)
    return np.random.default_rng(int.from_bytes(digest.digest()))


def sample(frame: Mesh | Gaussians, samples: int, opacity: float, draw: int = 0) -> Points:
    """Points that stand for the surface, seeded by its content. No points if there is no surface.

    Mesh: `samples` points, uniform by area. Gaussians: the centres with opacity >= `opacity`; a subset of `samples` of
    them, without replacement, if there are more. `draw` chooses between independent draws of the same surface.
    """
    if samples < 1:
        raise FormatError("samples", "a positive number", f"{samples}")
    salt = draw.to_bytes(8)
    if isinstance(frame, Gaussians):
        centres = frame.means[frame.opacities >= opacity].astype(np.float64)
        if len(centres) > samples:
            random = generator(salt, centres.tobytes())
            return centres[random.permutation(len(centres))[:samples]]
        return centres
    if not len(frame.faces):
        return np.zeros((0, 3))
    corners = frame.vertices.astype(np.float64)[frame.faces]
    side_u, side_v = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.linalg.norm(np.cross(side_u, side_v), axis=1)
    if not area.any():
        area = np.ones(len(area))  # all faces are points or lines: no area to weigh them by
    random = generator(salt, frame.vertices.tobytes(), frame.faces.tobytes())
    share = np.cumsum(area)
    chosen = np.searchsorted(share, random.random(samples) * share[-1], side="right")
    chosen = np.minimum(chosen, len(share) - 1)
    u, v = np.sqrt(random.random(samples)), random.random(samples)  # the root makes it uniform in the triangle
    points: Points = corners[chosen, 0] + (u * (1 - v))[:, None] * side_u[chosen] + (u * v)[:, None] * side_v[chosen]
    return points


def nearest(predicted: Points, truth: Points) -> tuple[Float64[np.ndarray, " P"], Float64[np.ndarray, " Q"]]:
    """Distance from each predicted point to the closest true one, and from each true point to the closest predicted.

    Without predicted points (or true ones) every distance is `FARTHEST`, with one entry where there is no point at all.
    """
    if not len(predicted) or not len(truth):
        return np.full(max(1, len(predicted)), FARTHEST), np.full(max(1, len(truth)), FARTHEST)
    to_truth, _ = cKDTree(truth).query(predicted)
    to_predicted, _ = cKDTree(predicted).query(truth)
    return to_truth, to_predicted


def check_frames(predicted: Sequence[Mesh | Gaussians], truth: Sequence[Mesh]) -> None:
    if len(predicted) != len(truth):
        raise FormatError("predicted frames", f"{len(truth)}, as many as the truth has", f"{len(predicted)}")
