"""Volume IoU of watertight meshes on a grid, by winding numbers.

A cell is inside where the surface winds around its centre: parts that overlap or nest count once, as a union, where
counting crossings by parity would make holes of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64
from numba import njit

from bench4d.asset import Gaussians, Mesh
from bench4d.metric import Metric, MetricUnavailable

from .surface import check_frames

SIZE = 48


def open_edges(mesh: Mesh) -> int:
    """How many directed edges lack their opposite, after merging vertices at equal positions; 0 = watertight.

    This is all that a winding number needs: the oriented faces have no boundary. They may touch, cross or repeat.
    """
    if not len(mesh.faces):
        return 0
    _, merged = np.unique(mesh.vertices + np.float32(0), axis=0, return_inverse=True)  # + 0 turns -0 into 0
    faces = merged.reshape(-1).astype(np.int64)[mesh.faces]
    start, end = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    proper = start != end  # a face with two equal corners has one edge there and back, which cancels
    count = int(merged.max()) + 1
    low, high = np.minimum(start, end), np.maximum(start, end)
    edges, which = np.unique(low[proper] * count + high[proper], return_inverse=True)
    balance = np.bincount(which, weights=np.where(start < end, 1, -1)[proper], minlength=len(edges))
    return int(np.abs(balance).sum())


@njit(cache=True, nogil=True)
def _side(a: np.ndarray, b: np.ndarray, x: float, y: float) -> tuple[float, bool]:
    """Twice the signed area of (a, b, p) seen from +z, and whether p counts as left of a -> b.

    Computed from the lexicographically smaller end, so that two faces get the same number for a shared edge. A point on
    the edge counts as left of (smaller -> larger), as if p stood at (x - e^2, y + e) for a tiny e: then every column
    meets either one face or none at an edge or corner, never two.
    """
    flip = b[0] < a[0] or (b[0] == a[0] and b[1] < a[1])
    if flip:
        a, b = b, a
    area = (b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])
    return (-area, area < 0) if flip else (area, area >= 0)


@njit(cache=True, nogil=True)
def _crossings(vertices: np.ndarray, faces: np.ndarray, size: int) -> np.ndarray:
    """[size,size,size+1]: at [i,j,k] the signed crossings of column (i,j) that lie above exactly its k lowest cells."""
    crossings = np.zeros((size, size, size + 1), np.int32)
    for f in range(len(faces)):
        a, b, c = vertices[faces[f, 0]], vertices[faces[f, 1]], vertices[faces[f, 2]]
        # Columns (i + 0.5) / size - 0.5 in the face's bounding box, one to spare on each side.
        i0 = max(0, int(np.floor((min(a[0], b[0], c[0]) + 0.5) * size - 1.5)))
        i1 = min(size, int(np.ceil((max(a[0], b[0], c[0]) + 0.5) * size + 0.5)))
        j0 = max(0, int(np.floor((min(a[1], b[1], c[1]) + 0.5) * size - 1.5)))
        j1 = min(size, int(np.ceil((max(a[1], b[1], c[1]) + 0.5) * size + 0.5)))
        for i in range(i0, i1):
            x = (i + 0.5) / size - 0.5
            for j in range(j0, j1):
                y = (j + 0.5) / size - 0.5
                area_c, left_c = _side(a, b, x, y)
                area_a, left_a = _side(b, c, x, y)
                area_b, left_b = _side(c, a, x, y)
                if left_a != left_b or left_b != left_c:
                    continue
                whole = area_a + area_b + area_c
                if whole == 0:
                    continue
                z = (area_a * a[2] + area_b * b[2] + area_c * c[2]) / whole
                below = min(size, max(0, int(np.ceil((z + 0.5) * size - 0.5))))  # centres (k + 0.5) / size - 0.5 < z
                crossings[i, j, below] += 1 if left_a else -1
    return crossings


def occupancy(mesh: Mesh, size: int = SIZE) -> Bool[np.ndarray, "S S S"]:
    """Which of the size^3 cells of [-0.5, 0.5]^3 (x, y, z order) have their centre inside a watertight mesh."""
    crossings = _crossings(mesh.vertices.astype(np.float64), mesh.faces, size)
    above = np.cumsum(crossings[:, :, ::-1], axis=2)[:, :, ::-1]  # crossings above k centres or more
    winding = above[:, :, 1:]
    return winding != 0


def iou(predicted: Sequence[Mesh | Gaussians], truth: Sequence[Mesh], *, size: int = SIZE) -> Float64[np.ndarray, " T"]:
    """Cells inside both over cells inside either, per frame; 1 where neither holds a cell."""
    check_frames(predicted, truth)
    values = np.ones(len(truth))
    for t, (p, q) in enumerate(zip(predicted, truth, strict=True)):
        if isinstance(p, Gaussians):
            raise MetricUnavailable("Gaussians have no inside")
        for name, mesh in (("truth", q), ("prediction", p)):
            missing = open_edges(mesh)
            if missing:
                raise MetricUnavailable(f"the {name} is not watertight: {missing} open edges in frame {t}")
        inside_p, inside_q = occupancy(p, size), occupancy(q, size)
        either = np.count_nonzero(inside_p | inside_q)
        if either:
            values[t] = np.count_nonzero(inside_p & inside_q) / either
    return values


IOU = Metric(
    id="iou",
    version=1,
    definition=(
        "Intersection over union of the cell centres of a 48^3 grid over [-0.5, 0.5]^3 with a winding number other "
        "than 0; both meshes must be watertight, Gaussians have no value."
    ),
    unit="clip",
    needs="geometry",
    direction="higher",
    units="1",
    perfect=1.0,
    weights=(),
    reference="defined here; winding numbers as in Jacobson, Kavan, Sorkine-Hornung 2013",
    load=lambda weights: iou,
)
