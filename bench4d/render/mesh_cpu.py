"""Meshes on the CPU: a z-buffer in numba that casts one ray a sample, so that nothing needs to be clipped.

A vertex is kept in homogeneous sample coordinates p = (x z, y z, z), with (x, y) counted in samples from the upper
left corner. For a sample at d = (x, y, 1) the plane through the eye and an edge gives e_i = (p_j x p_k) . d. The ray
hits the triangle where all three e_i have the sign of det = p_0 . (p_1 x p_2). The perspective-correct barycentric
weights are e_i / (e_0 + e_1 + e_2), and 1 / z = (e_0 + e_1 + e_2) / det. This holds for triangles that reach behind
the camera too (homogeneous rasterisation: Olano and Greer 1997).

Two triangles that share an edge compute exactly opposite e for it, bit by bit, so a sample falls into exactly one
of them: no cracks, no double hits. That needs plain IEEE arithmetic: never turn on `fastmath` here.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float32
from numba import njit

from ..asset import Mesh
from ..cameras import Cameras
from .bands import bin_bands, for_each, plain, thread_count

NEAR = 1e-3  # nothing closer to the camera's plane is drawn
CUTOFF = 127.5  # alpha below 0.5 is a hole, anything else is solid (glTF's alphaMode MASK)
TIE = np.finfo(np.float64).tiny  # e >= TIE means e > 0
SLACK = 1e-6  # samples by which a bounding box is widened, far above its rounding error
BAND_SAMPLES = 32768  # a band's buffers, 12 bytes a sample, stay in a core's own cache


def render(mesh: Mesh, cameras: Cameras, supersample: int, threads: int | None) -> Float32[np.ndarray, "V H W 4"]:
    """See `bench4d.render.render_mesh`."""
    image = np.zeros((len(cameras), cameras.height, cameras.width, 4), np.float32)
    vertices, faces, surface = plain(mesh.vertices), plain(mesh.faces), _surface(mesh)
    with ThreadPoolExecutor(thread_count(threads)) as pool:
        for camera, view in enumerate(image):
            to_samples = np.diag([supersample, supersample, 1.0]) @ cameras.intrinsics[camera]
            points = project(vertices, cameras.world_to_camera[camera], to_samples)
            _draw(points, faces, surface, supersample, view, pool)
    return image


def _draw(
    points: np.ndarray,
    faces: np.ndarray,
    surface: tuple[np.ndarray, np.ndarray, np.ndarray, bool],
    s: int,
    view: np.ndarray,
    pool: ThreadPoolExecutor,
) -> None:
    """Fill view [H,W,4], which is zero, with a mesh whose projected vertices are `points`."""
    height, width = view.shape[:2]
    rows = min(max(BAND_SAMPLES // (width * s**2), 1), height)  # pixel rows of a band
    first, last = face_rows(points, faces, width * s, height * s)
    offsets, items = bin_bands(first // (rows * s), last // (rows * s), -(-height // rows))

    def band(b: int) -> None:
        faces_here = items[offsets[b] : offsets[b + 1]]
        if len(faces_here):
            draw_band(points, faces, faces_here, *surface, b * rows, s, view[b * rows : (b + 1) * rows])

    for_each(band, len(offsets) - 1, pool)


def _surface(mesh: Mesh) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """colors, uv, texture (an absent one has length 0), and whether every alpha is 255."""
    if mesh.colors is not None:
        absent = np.zeros((0, 2), np.float32), np.zeros((0, 0, 4), np.uint8)
        return plain(mesh.colors), *absent, bool((mesh.colors[:, 3] == 255).all())
    assert mesh.uv is not None and mesh.texture is not None  # Mesh checks it
    return np.zeros((0, 4), np.uint8), plain(mesh.uv), plain(mesh.texture), bool((mesh.texture[..., 3] == 255).all())


@njit(cache=True, nogil=True)
def project(vertices: np.ndarray, world_to_camera: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """float64 [V,5]: the homogeneous sample coordinates (x z, y z, z), then x and y (only where z >= NEAR)."""
    points = np.empty((len(vertices), 5))
    for n in range(len(vertices)):
        a, b, c = np.float64(vertices[n, 0]), np.float64(vertices[n, 1]), np.float64(vertices[n, 2])
        x = world_to_camera[0, 0] * a + world_to_camera[0, 1] * b + world_to_camera[0, 2] * c + world_to_camera[0, 3]
        y = world_to_camera[1, 0] * a + world_to_camera[1, 1] * b + world_to_camera[1, 2] * c + world_to_camera[1, 3]
        z = world_to_camera[2, 0] * a + world_to_camera[2, 1] * b + world_to_camera[2, 2] * c + world_to_camera[2, 3]
        points[n, 0], points[n, 1], points[n, 2] = (
            matrix[0, 0] * x + matrix[0, 2] * z,
            matrix[1, 1] * y + matrix[1, 2] * z,
            z,
        )
        if z >= NEAR:
            points[n, 3], points[n, 4] = points[n, 0] / z, points[n, 1] / z
    return points


@njit(cache=True, nogil=True)
def extent(points: np.ndarray, faces: np.ndarray, f: int, axis: int, size: int) -> tuple[int, int]:
    """First and last sample column (axis 0) or row (axis 1) that face f may cover; last < first if none."""
    low, high = np.inf, -np.inf
    for corner in range(3):
        i, j = faces[f, corner], faces[f, (corner + 1) % 3]
        zi, zj = points[i, 2], points[j, 2]
        if zi >= NEAR:
            low, high = min(low, points[i, 3 + axis]), max(high, points[i, 3 + axis])
        if (zi >= NEAR) != (zj >= NEAR):  # the edge meets the plane z = NEAR
            share = (NEAR - zi) / (zj - zi)
            at = (points[i, axis] + share * (points[j, axis] - points[i, axis])) / NEAR
            low, high = min(low, at), max(high, at)
    first = np.ceil(min(max(low - SLACK, 0.0), size + 1.0) - 0.5)  # limited before the conversion to int
    last = np.floor(min(max(high + SLACK, -1.0), np.float64(size)) - 0.5)
    return max(int(first), 0), min(int(last), size - 1)


@njit(cache=True, nogil=True)
def face_rows(points: np.ndarray, faces: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """int32 [F], [F]: first and last sample row of each face; those that cannot be seen get (0, -1)."""
    first, last = np.zeros(len(faces), np.int32), np.full(len(faces), -1, np.int32)
    for f in range(len(faces)):
        y0, y1 = extent(points, faces, f, 1, height)
        if y0 > y1:
            continue
        x0, x1 = extent(points, faces, f, 0, width)
        if x0 <= x1:
            first[f], last[f] = y0, y1
    return first, last


@njit(cache=True, nogil=True)
def before(points: np.ndarray, i: int, j: int) -> bool:
    """Whether vertex i comes before j in the order by x z, then y z, then z."""
    for axis in range(3):
        if points[i, axis] != points[j, axis]:
            return points[i, axis] < points[j, axis]
    return False


@njit(cache=True, nogil=True)
def edge(points: np.ndarray, i: int, j: int, sign: float) -> tuple[float, float, float, float]:
    """sign * (p_i x p_j), and what e must reach: 0 on top and left edges, just above 0 on the others."""
    x = sign * (points[i, 1] * points[j, 2] - points[i, 2] * points[j, 1])
    y = sign * (points[i, 2] * points[j, 0] - points[i, 0] * points[j, 2])
    z = sign * (points[i, 0] * points[j, 1] - points[i, 1] * points[j, 0])
    owns = x > 0 or (x == 0 and (y > 0 or (y == 0 and z > 0)))
    return x, y, z, 0.0 if owns else TIE


@njit(cache=True, nogil=True)
def setup(points: np.ndarray, faces: np.ndarray, f: int) -> tuple:
    """The corners of face f in a canonical order, its three edges, and det >= 0.

    The order depends on positions only, so faces that coincide get equal depths, to the bit, whatever their winding.
    """
    i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
    if before(points, j, i):
        i, j = j, i
    if before(points, k, j):
        j, k = k, j
    if before(points, j, i):
        i, j = j, i
    x, y, z, _ = edge(points, j, k, 1.0)
    det = points[i, 0] * x + points[i, 1] * y + points[i, 2] * z
    sign = 1.0 if det > 0 else -1.0
    return (i, j, k), edge(points, j, k, sign), edge(points, k, i, sign), edge(points, i, j, sign), abs(det)


@njit(cache=True, nogil=True)
def draw_band(
    points: np.ndarray,
    faces: np.ndarray,
    items: np.ndarray,
    colors: np.ndarray,
    uv: np.ndarray,
    texture: np.ndarray,
    opaque: bool,
    top: int,
    s: int,
    out: np.ndarray,
) -> None:
    """Draw the faces `items` into the pixel rows out [h,W,4] of the image, of which `top` is the first."""
    h, width = out.shape[0], out.shape[1]
    owner = np.full((h * s, width * s), -1, np.int32)
    find_nearest(points, faces, items, colors, uv, texture, opaque, top * s, owner)
    total = np.zeros((width, 4))
    corners, a, b, c, _ = setup(points, faces, items[0])
    current = items[0]
    for row in range(h):
        total[:] = 0.0
        for sub in range(row * s, (row + 1) * s):
            y = top * s + sub + 0.5
            for column in range(width * s):
                f = owner[sub, column]
                if f < 0:
                    continue
                if f != current:
                    corners, a, b, c, _ = setup(points, faces, f)
                    current = f
                x = column + 0.5
                e0, e1, e2 = a[0] * x + (a[1] * y + a[2]), b[0] * x + (b[1] * y + b[2]), c[0] * x + (c[1] * y + c[2])
                red, green, blue, _ = shade(corners, e0, e1, e2, colors, uv, texture, opaque)
                pixel = column // s
                total[pixel, 0] += red
                total[pixel, 1] += green
                total[pixel, 2] += blue
                total[pixel, 3] += 255.0
        for pixel in range(width):
            for channel in range(4):
                out[row, pixel, channel] = total[pixel, channel] / (255.0 * s * s)


@njit(cache=True, nogil=True)
def find_nearest(
    points: np.ndarray,
    faces: np.ndarray,
    items: np.ndarray,
    colors: np.ndarray,
    uv: np.ndarray,
    texture: np.ndarray,
    opaque: bool,
    top: int,
    owner: np.ndarray,
) -> None:
    """Write the nearest face of each sample into owner [h,w]; `top` is its first sample row. Ties: the lower index."""
    height, width = owner.shape
    nearness = np.zeros((height, width))  # 1 / z
    for f in items:
        corners, a, b, c, det = setup(points, faces, f)
        if det == 0:  # seen edge-on, or no area
            continue
        y0, y1 = extent(points, faces, f, 1, top + height)
        x0, x1 = extent(points, faces, f, 0, width)
        for row in range(max(y0, top), y1 + 1):
            y = row + 0.5
            a_row, b_row, c_row = a[1] * y + a[2], b[1] * y + b[2], c[1] * y + c[2]
            for column in range(x0, x1 + 1):
                x = column + 0.5
                e0, e1, e2 = a[0] * x + a_row, b[0] * x + b_row, c[0] * x + c_row
                if e0 >= a[3] and e1 >= b[3] and e2 >= c[3]:
                    near = (e0 + e1 + e2) / det
                    if near > nearness[row - top, column] and near <= 1 / NEAR:
                        if not opaque and shade(corners, e0, e1, e2, colors, uv, texture, opaque)[3] < CUTOFF:
                            continue
                        nearness[row - top, column] = near
                        owner[row - top, column] = f


@njit(cache=True, nogil=True)
def shade(
    corners: tuple,
    e0: float,
    e1: float,
    e2: float,
    colors: np.ndarray,
    uv: np.ndarray,
    texture: np.ndarray,
    opaque: bool,
) -> tuple[float, float, float, float]:
    """Red, green, blue, alpha in [0, 255] at the point of a face with these e."""
    inverse = 1.0 / (e0 + e1 + e2)
    w0, w1, w2 = e0 * inverse, e1 * inverse, e2 * inverse
    i, j, k = corners
    if len(colors):
        return mix(colors[i], colors[j], colors[k], colors[k], w0, w1, w2, 0.0, opaque)
    height, width = texture.shape[0], texture.shape[1]
    u, v = w0 * uv[i, 0] + w1 * uv[j, 0] + w2 * uv[k, 0], w0 * uv[i, 1] + w1 * uv[j, 1] + w2 * uv[k, 1]
    x, y = (u - np.floor(u)) * width - 0.5, (v - np.floor(v)) * height - 0.5  # repeat; texel centres at .5
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    dx, dy = x - x0, y - y0
    left, right, upper, lower = x0 % width, (x0 + 1) % width, y0 % height, (y0 + 1) % height
    return mix(
        texture[upper, left], texture[upper, right], texture[lower, left], texture[lower, right],
        (1 - dx) * (1 - dy), dx * (1 - dy), (1 - dx) * dy, dx * dy, opaque,
    )  # fmt: skip


@njit(cache=True, nogil=True)
def mix(
    p: np.ndarray, q: np.ndarray, r: np.ndarray, t: np.ndarray, wp: float, wq: float, wr: float, wt: float, opaque: bool
) -> tuple[float, float, float, float]:
    """The mean of four RGBA colours; weights add up to 1, and a colour that is not opaque counts by its alpha too."""
    alpha = 255.0
    if not opaque:
        wp, wq, wr, wt = wp * p[3], wq * q[3], wr * r[3], wt * t[3]
        alpha = wp + wq + wr + wt
        if alpha == 0:
            return 0.0, 0.0, 0.0, 0.0
        wp, wq, wr, wt = wp / alpha, wq / alpha, wr / alpha, wt / alpha
    return (
        wp * p[0] + wq * q[0] + wr * r[0] + wt * t[0],
        wp * p[1] + wq * q[1] + wr * r[1] + wt * t[1],
        wp * p[2] + wq * q[2] + wr * r[2] + wt * t[2],
        alpha,
    )
