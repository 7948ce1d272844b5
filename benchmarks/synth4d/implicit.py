"""Implicit surfaces: distance-like fields (negative inside) and their vectorised polygonisation.

Marching cubes with one loop of crossings per connected patch of a cell. On a cell face with two opposite corners
inside, the corners are kept apart; this rule looks at the face only, so both cells of a face agree and the result is
a closed 2-manifold for every field. The table is derived here from that rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float64, Int32

Points = Float64[np.ndarray, "N 3"]
Vec = Sequence[float] | np.ndarray  # three numbers
Values = Float64[np.ndarray, " N"]
Field = Callable[[Points], Values]

CORNERS = [(i & 1, i >> 1 & 1, i >> 2 & 1) for i in range(8)]
EDGES = [
    (a, b)
    for a in range(8)
    for b in range(a + 1, 8)
    if sum(x != y for x, y in zip(CORNERS[a], CORNERS[b], strict=True)) == 1
]
# corners of each face, counter-clockwise seen from outside
FACES = [[0, 2, 3, 1], [4, 5, 7, 6], [0, 1, 5, 4], [2, 6, 7, 3], [0, 4, 6, 2], [1, 3, 7, 5]]


def _loops(code: int) -> list[list[int]]:
    """Closed loops of cell edges around the surface patches in a cell whose corner i is inside if bit i is set."""
    inside = [bool(code >> i & 1) for i in range(8)]
    edge = {frozenset(pair): i for i, pair in enumerate(EDGES)}
    follow: dict[int, int] = {}
    for face in FACES:
        for i in range(4):
            if inside[face[i]] and not inside[face[i - 1]]:  # a run of inside corners starts here
                j = i
                while inside[face[(j + 1) % 4]]:
                    j += 1
                enter = edge[frozenset((face[i - 1], face[i]))]
                leave = edge[frozenset((face[j % 4], face[(j + 1) % 4]))]
                follow[enter] = leave
    loops = []
    while follow:
        loop = [next(iter(follow))]
        while (after := follow.pop(loop[-1])) != loop[0]:
            loop.append(after)
        loops.append(loop)
    return loops


def _table() -> tuple[Int32[np.ndarray, "256 12 3"], Int32[np.ndarray, " 256"]]:
    """Triangles per code: indices below 12 are cell edges, 12 + k is the centre of loop k; and their number."""
    triangles, counts = np.zeros((256, 12, 3), np.int32), np.zeros(256, np.int32)
    for code in range(256):
        out = []
        for k, loop in enumerate(_loops(code)):
            if len(loop) == 3:
                out.append(loop)
            else:
                out += [[a, b, 12 + k] for a, b in zip(loop, loop[1:] + loop[:1], strict=True)]
        counts[code] = len(out)
        triangles[code, : len(out)] = np.array(out, np.int32).reshape(-1, 3)
    return triangles, counts


TRIANGLES, COUNTS = _table()


def polygonise(field: Field, low: Vec, high: Vec, cell: float, relax: int = 2) -> tuple[Points, np.ndarray]:
    """The zero surface of `field` in a box: vertices [N,3] and outward faces [F,3]. The box must contain the surface.

    Signs are taken on a fixed grid of values, so that rounding in the last place cannot change the topology.
    `relax`: rounds of smoothing along the surface, each followed by a Newton step back onto it.
    """
    low_, counts = np.asarray(low, np.float64), np.ceil(np.subtract(high, low) / cell - 1e-9).astype(int) + 1
    axes = [low_[i] + cell * np.arange(counts[i]) for i in range(3)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    value = (np.floor(field(grid) * 2.0**22 + 0.3719) + 0.5) / 2.0**22  # half-integers: never zero
    value = value.reshape(counts)
    inside = value < 0
    index = grid.reshape(*counts, 3)
    vertices, number, total = [], np.full((3, *counts), -1, np.int64), 0
    for axis in range(3):  # one vertex on each grid edge that crosses the surface
        a = tuple(slice(0, -1) if i == axis else slice(None) for i in range(3))
        b = tuple(slice(1, None) if i == axis else slice(None) for i in range(3))
        cross = inside[a] != inside[b]
        fa, fb = value[a][cross], value[b][cross]
        share = np.clip(fa / (fa - fb), 0.06, 0.94)[:, None]
        vertices.append(index[a][cross] * (1 - share) + index[b][cross] * share)
        number[axis][a][cross] = total + np.arange(len(share))
        total += len(share)
    code = np.zeros(tuple(counts - 1), np.int32)
    for i, (x, y, z) in enumerate(CORNERS):
        code += inside[x : counts[0] - 1 + x, y : counts[1] - 1 + y, z : counts[2] - 1 + z].astype(np.int32) << i
    where = np.stack(np.nonzero((code > 0) & (code < 255)), -1)
    active = code[where[:, 0], where[:, 1], where[:, 2]]
    edge_vertex = np.empty((len(where), 12), np.int64)
    for e, (p, q) in enumerate(EDGES):
        at = where + np.array(CORNERS[p])
        axis = int(np.flatnonzero(np.subtract(CORNERS[q], CORNERS[p]))[0])
        edge_vertex[:, e] = number[axis][at[:, 0], at[:, 1], at[:, 2]]
    owner = np.repeat(np.arange(len(where)), COUNTS[active])
    first = np.cumsum(COUNTS[active]) - COUNTS[active]
    local = TRIANGLES[active[owner], np.arange(len(owner)) - first[owner]].astype(np.int64)
    corner = np.where(local < 12, edge_vertex[owner[:, None], np.minimum(local, 11)], 0)
    centred = local[:, 2] >= 12  # a fan triangle: its third corner is the centre of a loop
    loop, label = np.unique(owner[centred] * 4 + local[centred, 2] - 12, return_inverse=True)
    points = np.concatenate(vertices)
    size = np.bincount(label, minlength=len(loop))[:, None]
    rim = points[corner[centred, 0]]
    centres = np.stack([np.bincount(label, rim[:, i], minlength=len(loop)) for i in range(3)], -1) / np.maximum(size, 1)
    corner[centred, 2] = total + label
    points = np.concatenate([points, centres])
    for _ in range(relax):
        points = to_surface(field, _average(points, corner), 0.5 * cell)
    return points, corner.astype(np.int32)


def _average(points: Points, faces: np.ndarray) -> Points:
    """Half the way from each vertex to the mean of its neighbours."""
    a, b = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    count = np.bincount(a, minlength=len(points))[:, None]
    mean = np.stack([np.bincount(a, points[b, i], minlength=len(points)) for i in range(3)], -1) / count
    return points + 0.5 * (mean - points)


def gradient(field: Field, points: Points, step: float = 1e-3) -> tuple[Values, Points]:
    """Value and gradient by differences at the corners of a tetrahedron."""
    corners = step * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], np.float64)
    values = field((points[None] + corners[:, None]).reshape(-1, 3)).reshape(4, -1, 1)
    slope = (values * corners[:, None]).sum(0) / (4 * step * step)
    return values.mean(0)[:, 0], slope


def to_surface(field: Field, points: Points, limit: float) -> Points:
    """One Newton step onto the zero surface, at most `limit` long."""
    value, slope = gradient(field, points)
    square = np.maximum((slope * slope).sum(1), 1e-6)
    length = np.sqrt(square)
    step = np.clip(value / length, -limit, limit) / length
    return points - step[:, None] * slope


def smooth_union(a: Values, b: Values, width: float) -> Values:
    """The smaller of two fields, blended where they differ by less than `width` (polynomial)."""
    h = np.maximum(width - np.abs(a - b), 0) / width
    return np.minimum(a, b) - 0.25 * width * h * h


def ball(points: Points, center: Vec, radii: Vec | float) -> Values:
    """A sphere, or about the distance to an ellipsoid: exact near its surface to first order."""
    scale = np.broadcast_to(np.asarray(radii, np.float64), (3,))
    q = (points - np.asarray(center, np.float64)) / scale
    k = np.sqrt(q[:, 0] * q[:, 0] + q[:, 1] * q[:, 1] + q[:, 2] * q[:, 2])
    g = q / scale
    slope = np.sqrt(g[:, 0] * g[:, 0] + g[:, 1] * g[:, 1] + g[:, 2] * g[:, 2])
    return np.where(k > 1e-6, k * (k - 1) / np.maximum(slope, 1e-9), -scale.min())


def rod(points: Points, a: Vec, b: Vec, ra: float, rb: float) -> Values:
    """A rod with round ends whose radius goes linearly from `ra` to `rb`."""
    a_, ab = np.asarray(a, np.float64), np.subtract(b, a).astype(np.float64)
    q = points - a_
    t = (q[:, 0] * ab[0] + q[:, 1] * ab[1] + q[:, 2] * ab[2]) / max(float((ab * ab).sum()), 1e-12)
    t = np.clip(t, 0, 1)
    q = q - t[:, None] * ab
    return np.sqrt(q[:, 0] * q[:, 0] + q[:, 1] * q[:, 1] + q[:, 2] * q[:, 2]) - (ra + (rb - ra) * t)
