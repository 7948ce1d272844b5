"""Points that stand for a surface, seeded by its content: what geometry metrics and the alignment by ICP share."""

from __future__ import annotations

import hashlib

import numpy as np
from jaxtyping import Float64, Int64

from .asset import Gaussians, Mesh
from .errors import FormatError
from .similarity import Matrix, similarity

Points = Float64[np.ndarray, "N 3"]
OPACITY = 0.1  # Gaussians below it are no surface to be aligned


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
    if isinstance(frame, Gaussians):
        centres = frame.means[frame.opacities >= opacity].astype(np.float64)
        if len(centres) > samples:
            random = generator(draw.to_bytes(8), centres.tobytes())
            return centres[random.permutation(len(centres))[:samples]]
        return centres
    return sample_mesh(frame, samples, draw)[0]


def sample_mesh(mesh: Mesh, samples: int, draw: int = 0) -> tuple[Points, Int64[np.ndarray, " N"]]:
    """Points uniform by area, and the face that each lies on. None of them if the mesh has no faces."""
    chosen, u, v = places(mesh, samples, draw)
    return at_places(mesh, chosen, u, v), chosen


def places(
    mesh: Mesh, samples: int, draw: int = 0
) -> tuple[Int64[np.ndarray, " N"], Float64[np.ndarray, " N"], Float64[np.ndarray, " N"]]:
    """Where on a mesh `samples` points uniform by area lie: face, and two numbers in [0, 1] for `at_places`."""
    if not len(mesh.faces):
        return np.zeros(0, np.int64), np.zeros(0), np.zeros(0)
    corners = mesh.vertices.astype(np.float64)[mesh.faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    if not area.any():
        area = np.ones(len(area))  # all faces are points or lines: no area to weigh them by
    random = generator(draw.to_bytes(8), mesh.vertices.tobytes(), mesh.faces.tobytes())
    share = np.cumsum(area)
    chosen = np.searchsorted(share, random.random(samples) * share[-1], side="right")
    chosen = np.minimum(chosen, len(share) - 1)
    u, v = np.sqrt(random.random(samples)), random.random(samples)  # the root makes it uniform in the triangle
    return chosen, u, v


def at_places(
    mesh: Mesh, faces: Int64[np.ndarray, " N"], u: Float64[np.ndarray, " N"], v: Float64[np.ndarray, " N"]
) -> Points:
    """The points at places that `places` found on this mesh, or on another one of the same faces: the same points of
    a surface that has moved."""
    corners = mesh.vertices.astype(np.float64)[mesh.faces[faces]]
    side_u, side_v = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return corners[:, 0] + (u * (1 - v))[:, None] * side_u + (u * v)[:, None] * side_v


def extent(points: Points, what: str) -> Matrix:
    """The similarity from the origin and unit size to `points`: their trimmed mean and trimmed root-mean-square radius.

    Raises FormatError, naming `what`, if there are no points or all are one.
    """
    if not len(points):
        raise FormatError(what, f"a surface to align (faces, or Gaussians of opacity >= {OPACITY})", "none")
    centre, kept = points.mean(0), points
    for _ in range(3):  # far floaters move the first mean; they are gone from the next
        distance = np.linalg.norm(points - centre, axis=1)
        kept = points[distance <= np.quantile(distance, 0.95)]
        centre = kept.mean(0)
    radius = float(np.sqrt(((kept - centre) ** 2).sum(1).mean()))
    if not radius > 1e-9:
        raise FormatError(what, "a surface with an extent", "all of it in one point")
    return similarity(radius * np.eye(3), np.zeros(3), centre)
