"""The surface of a mesh on a grid: which voxels it meets, exactly, and what it is like inside each.

The grid cuts [-0.5, 0.5]^3 into R^3 cubes; (i, j, k) is the one from (i, j, k) / R - 0.5 on. A voxel is on if a
triangle meets its closed cube, by the separating-axis test of 13 axes (Akenine-Möller 2001). A triangle is then cut to
each cube it meets; area, centroid and colour there are those of the piece. Everything is in grid units (cubes of side
1) and float64, triangle after triangle in order, so that equal meshes give equal bytes. The compiled functions fill
arrays that are made once: an allocation per piece would cost more than the geometry.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from numba import njit

from bench4d.asset import Mesh
from bench4d.render.bands import plain
from bench4d.render.mesh_cpu import CUTOFF, shade

TOUCH = 1e-9  # weight of a piece beside its area: cubes that are only touched have a mean too
CORNERS = 12  # of a piece: a triangle has 3, and each of the cube's 6 planes adds at most one


@dataclass(frozen=True)
class SurfaceVoxels:
    """The voxels that a surface meets, in lexicographic order, and area-weighted means over the surface in each.

    Attributes:
        voxels: x, y, z.
        color: sRGB in [0, 1], as the mesh emits it.
        normal: mean of the unit normals of the faces; short where a thin sheet turns both sides to the cube.
        offset: mean position of the surface from the cube's centre, in half sides: [-1, 1].
    """

    voxels: UInt8[np.ndarray, "N 3"]
    color: Float32[np.ndarray, "N 3"]
    normal: Float32[np.ndarray, "N 3"]
    offset: Float32[np.ndarray, "N 3"]

    def centers(self, resolution: int) -> Float64[np.ndarray, "N 3"]:
        """The middle of each voxel in the world."""
        return (self.voxels + 0.5) / resolution - 0.5


def voxelise(mesh: Mesh, resolution: int) -> SurfaceVoxels:
    """The voxels of R^3 that the mesh meets. Triangles outside the grid do not count, nor do pieces whose alpha at
    their centroid is below one half (holes, as the renderer sees them)."""
    points = (mesh.vertices.astype(np.float64) + 0.5) * resolution
    if mesh.colors is not None:
        colors, uv, texture = plain(mesh.colors), np.zeros((0, 2), np.float32), np.zeros((0, 0, 4), np.uint8)
        opaque = bool((mesh.colors[:, 3] == 255).all())
    else:
        assert mesh.uv is not None and mesh.texture is not None  # Mesh checks it
        colors, uv, texture = np.zeros((0, 4), np.uint8), plain(mesh.uv), plain(mesh.texture)
        opaque = bool((mesh.texture[..., 3] == 255).all())
    cells, sums = gather(points, plain(mesh.faces), colors, uv, texture, opaque, resolution)
    order = np.argsort(cells)
    cells, sums = cells[order], sums[order]
    voxels = np.stack([cells // resolution**2, cells // resolution % resolution, cells % resolution], axis=1)
    mean = sums[:, :9] / sums[:, 9:]
    offset = np.clip(2 * (mean[:, 6:9] - voxels - 0.5), -1, 1)
    color, normal, offset = (np.ascontiguousarray(x, np.float32) for x in (mean[:, :3] / 255, mean[:, 3:6], offset))
    return SurfaceVoxels(voxels.astype(np.uint8), color, normal, offset)


@njit(cache=True, nogil=True)
def gather(
    points: np.ndarray,
    faces: np.ndarray,
    colors: np.ndarray,
    uv: np.ndarray,
    texture: np.ndarray,
    opaque: bool,
    resolution: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Cells int64 [N] in order of appearance, and sums over pieces float64 [N,10]: weight times colour, normal and
    position, and the weight."""
    row_of = np.full(resolution**3, -1, np.int32)
    cells, sums, count = np.empty(4096, np.int64), np.zeros((4096, 10)), 0
    corners, piece, spare = np.empty((3, 3)), np.empty((CORNERS, 3)), np.empty((CORNERS, 3))
    first, last, crossed = np.empty(3, np.int64), np.empty(3, np.int64), np.empty(3, np.bool_)
    normal, middle = np.empty(3), np.empty(3)
    for f in range(len(faces)):
        for corner in range(3):
            for axis in range(3):
                corners[corner, axis] = points[faces[f, corner], axis]
        spans = cell_range(corners, resolution, first, last, crossed)
        if spans < 0:
            continue
        length = cross(corners, normal)  # twice the area
        unit = 1.0 / length if length > 0 else 0.0
        for i in range(first[0], last[0] + 1):
            for j in range(first[1], last[1] + 1):
                for k in range(first[2], last[2] + 1):
                    # within one row of cells a triangle meets them all: it is connected and reaches both ends
                    if spans > 1 and not overlaps(corners, normal, i, j, k):
                        continue
                    if spans == 0:  # wholly inside
                        area = 0.5 * length
                        w0 = w1 = w2 = 1.0 / 3.0
                        for axis in range(3):
                            middle[axis] = (corners[0, axis] + corners[1, axis] + corners[2, axis]) / 3.0
                    else:
                        n = clip(corners, i, j, k, crossed, piece, spare)
                        area = centroid(corners, piece, n, i, j, k, middle)
                        w0, w1, w2 = barycentric(corners, normal, middle)
                    triangle = (faces[f, 0], faces[f, 1], faces[f, 2])
                    red, green, blue, alpha = shade(triangle, w0, w1, w2, colors, uv, texture, opaque)
                    if alpha < CUTOFF:
                        continue
                    cell = (i * resolution + j) * resolution + k
                    row = row_of[cell]
                    if row < 0:
                        if count == len(cells):
                            cells = np.concatenate((cells, np.empty(count, np.int64)))
                            sums = np.concatenate((sums, np.zeros((count, 10))))
                        row = row_of[cell] = count
                        cells[row] = cell
                        count += 1
                    weight = area + TOUCH
                    sums[row, 0] += weight * red
                    sums[row, 1] += weight * green
                    sums[row, 2] += weight * blue
                    for axis in range(3):
                        sums[row, 3 + axis] += weight * unit * normal[axis]
                        sums[row, 6 + axis] += weight * middle[axis]
                    sums[row, 9] += weight
    return cells[:count], sums[:count]


@njit(cache=True, nogil=True)
def cell_range(t: np.ndarray, resolution: int, first: np.ndarray, last: np.ndarray, crossed: np.ndarray) -> int:
    """First and last closed cell that the bounding box of triangle t [3,3] meets, per axis, and whether there are
    several, those beyond the grid counted too. Returns how many axes have several, -1 if the box is outside the grid.
    """
    spans = 0
    for axis in range(3):
        low = min(t[0, axis], t[1, axis], t[2, axis])
        high = max(t[0, axis], t[1, axis], t[2, axis])
        if not (high >= 0.0 and low <= resolution):
            return -1
        begin = int(np.ceil(max(low, -1.0))) - 1  # limited before the conversion to int
        end = int(np.floor(min(high, resolution + 1.0)))
        crossed[axis] = end > begin
        spans += crossed[axis]
        first[axis], last[axis] = max(begin, 0), min(end, resolution - 1)
    return spans


@njit(cache=True, nogil=True)
def cross(t: np.ndarray, out: np.ndarray) -> float:
    """(b - a) x (c - a) of the corners, and its length."""
    ux, uy, uz = t[1, 0] - t[0, 0], t[1, 1] - t[0, 1], t[1, 2] - t[0, 2]
    vx, vy, vz = t[2, 0] - t[0, 0], t[2, 1] - t[0, 1], t[2, 2] - t[0, 2]
    out[0], out[1], out[2] = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    return np.sqrt(out[0] * out[0] + out[1] * out[1] + out[2] * out[2])


@njit(cache=True, nogil=True)
def overlaps(t: np.ndarray, normal: np.ndarray, i: int, j: int, k: int) -> bool:
    """Whether the triangle meets the closed cube (i, j, k), given that their bounding boxes do."""
    ax, ay, az = t[0, 0] - i - 0.5, t[0, 1] - j - 0.5, t[0, 2] - k - 0.5
    bx, by, bz = t[1, 0] - i - 0.5, t[1, 1] - j - 0.5, t[1, 2] - k - 0.5
    cx, cy, cz = t[2, 0] - i - 0.5, t[2, 1] - j - 0.5, t[2, 2] - k - 0.5
    reach = 0.5 * (abs(normal[0]) + abs(normal[1]) + abs(normal[2]))
    if abs(normal[0] * ax + normal[1] * ay + normal[2] * az) > reach:
        return False
    return not (
        apart(bx - ax, by - ay, bz - az, ax, ay, az, cx, cy, cz)
        or apart(cx - bx, cy - by, cz - bz, bx, by, bz, ax, ay, az)
        or apart(ax - cx, ay - cy, az - cz, cx, cy, cz, bx, by, bz)
    )


@njit(cache=True, nogil=True)
def apart(ex: float, ey: float, ez: float, px: float, py: float, pz: float, qx: float, qy: float, qz: float) -> bool:
    """Whether the cross product of edge e with a coordinate axis separates the cube around 0 from the triangle, of
    which p is a corner on the edge and q the corner opposite."""
    p, q = ey * pz - ez * py, ey * qz - ez * qy
    reach = 0.5 * (abs(ey) + abs(ez))
    if min(p, q) > reach or max(p, q) < -reach:
        return True
    p, q = ez * px - ex * pz, ez * qx - ex * qz
    reach = 0.5 * (abs(ez) + abs(ex))
    if min(p, q) > reach or max(p, q) < -reach:
        return True
    p, q = ex * py - ey * px, ex * qy - ey * qx
    reach = 0.5 * (abs(ex) + abs(ey))
    return min(p, q) > reach or max(p, q) < -reach


@njit(cache=True, nogil=True)
def clip(t: np.ndarray, i: int, j: int, k: int, crossed: np.ndarray, piece: np.ndarray, spare: np.ndarray) -> int:
    """Cut the triangle to the cube (Sutherland and Hodgman 1974), only along axes where it crosses cells.
    Returns the number of corners left in `piece`."""
    for corner in range(3):
        for axis in range(3):
            piece[corner, axis] = t[corner, axis]
    n = 3
    for axis in range(3):
        if not crossed[axis]:
            continue
        cell = i if axis == 0 else (j if axis == 1 else k)
        n = cut(piece, n, axis, np.float64(cell), 1.0, spare)
        n = cut(spare, n, axis, np.float64(cell + 1), -1.0, piece)
    return n


@njit(cache=True, nogil=True)
def cut(corners: np.ndarray, n: int, axis: int, at: float, side: float, out: np.ndarray) -> int:
    """What of a convex polygon has side * (x[axis] - at) >= 0."""
    m = 0
    for s in range(n):
        e = s + 1 if s + 1 < n else 0
        ds, de = side * (corners[s, axis] - at), side * (corners[e, axis] - at)
        if ds >= 0:
            for other in range(3):
                out[m, other] = corners[s, other]
            m += 1
        if (ds > 0 and de < 0) or (ds < 0 and de > 0):
            share = ds / (ds - de)
            for other in range(3):
                out[m, other] = corners[s, other] + share * (corners[e, other] - corners[s, other])
            out[m, axis] = at
            m += 1
    return m


@njit(cache=True, nogil=True)
def centroid(t: np.ndarray, piece: np.ndarray, n: int, i: int, j: int, k: int, out: np.ndarray) -> float:
    """Area of a convex polygon and its centroid; without area the mean of its corners; without corners (rounding) the
    triangle's own mean, moved into the cube."""
    total, sx, sy, sz = 0.0, 0.0, 0.0, 0.0
    for s in range(1, n - 1):
        ux, uy, uz = piece[s, 0] - piece[0, 0], piece[s, 1] - piece[0, 1], piece[s, 2] - piece[0, 2]
        vx, vy, vz = piece[s + 1, 0] - piece[0, 0], piece[s + 1, 1] - piece[0, 1], piece[s + 1, 2] - piece[0, 2]
        x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        area = 0.5 * np.sqrt(x * x + y * y + z * z)
        total += area
        sx += area * (ux + vx)
        sy += area * (uy + vy)
        sz += area * (uz + vz)
    if total > 1e-18:
        scale = 1.0 / (3.0 * total)
        out[0], out[1], out[2] = piece[0, 0] + scale * sx, piece[0, 1] + scale * sy, piece[0, 2] + scale * sz
        return total
    for axis in range(3):
        cell = i if axis == 0 else (j if axis == 1 else k)
        out[axis] = 0.0
        for s in range(n):
            out[axis] += piece[s, axis] / n
        if n == 0:
            out[axis] = min(max((t[0, axis] + t[1, axis] + t[2, axis]) / 3.0, np.float64(cell)), cell + 1.0)
    return 0.0


@njit(cache=True, nogil=True)
def barycentric(t: np.ndarray, normal: np.ndarray, point: np.ndarray) -> tuple[float, float, float]:
    """Weights >= 0 of the corners at a point of the triangle's plane; a third each if it has no area."""
    square = normal[0] * normal[0] + normal[1] * normal[1] + normal[2] * normal[2]
    if square == 0:
        return 1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0
    ux, uy, uz = point[0] - t[0, 0], point[1] - t[0, 1], point[2] - t[0, 2]
    bx, by, bz = t[1, 0] - t[0, 0], t[1, 1] - t[0, 1], t[1, 2] - t[0, 2]
    cx, cy, cz = t[2, 0] - t[0, 0], t[2, 1] - t[0, 1], t[2, 2] - t[0, 2]
    x, y, z = uy * cz - uz * cy, uz * cx - ux * cz, ux * cy - uy * cx
    w1 = (x * normal[0] + y * normal[1] + z * normal[2]) / square
    x, y, z = by * uz - bz * uy, bz * ux - bx * uz, bx * uy - by * ux
    w2 = (x * normal[0] + y * normal[1] + z * normal[2]) / square
    return max(1.0 - w1 - w2, 0.0), max(w1, 0.0), max(w2, 0.0)
