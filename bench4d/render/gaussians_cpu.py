"""Gaussians on the CPU: EWA splatting with the rules of 3DGS (Kerbl et al. 2023) in numba.

Screen positions are in pixels, the centre of pixel (i, j) at (j + 0.5, i + 0.5). Everything is float64; the blending
order is by depth, rounded to float32, and by index where that is equal.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from math import ceil, exp, floor, log, sqrt

import numpy as np
from jaxtyping import Float32
from numba import njit

from ..asset import Gaussians
from ..cameras import Cameras
from .bands import bin_bands, for_each, plain, thread_count

NEAR = 0.2  # Gaussians whose centre is closer to the camera's plane are dropped
MARGIN = 0.3  # the projection's Jacobian is taken at most this share of the half-width outside the image
MIN_ALPHA = 1 / 255
MAX_ALPHA = 0.99
MIN_TRANSMITTANCE = 1e-4
MIN_DETERMINANT = 1e-6
TILE = 16  # pixels: the height of a band, and the width of the blocks whose unfinished pixels are counted
CHUNK = 16384  # Gaussians that are projected at a time
# A projected Gaussian: centre, inverse covariance C^-1 (xx, xy, yy), opacity, colour, the largest d' C^-1 d at which it
# shows, and half of its width
X, Y, XX, XY, YY, OPACITY, RED, GREEN, BLUE, REACH, HALF_WIDTH, FIELDS = range(12)


def render(gaussians: Gaussians, cameras: Cameras, threads: int | None) -> Float32[np.ndarray, "V H W 4"]:
    """See `bench4d.render.render_gaussians`."""
    image = np.zeros((len(cameras), cameras.height, cameras.width, 4), np.float32)
    with ThreadPoolExecutor(thread_count(threads)) as pool:
        for camera, view in enumerate(image):
            _draw(gaussians, cameras, camera, view, pool)
    return image


def _draw(gaussians: Gaussians, cameras: Cameras, camera: int, view: np.ndarray, pool: ThreadPoolExecutor) -> None:
    """Fill view [H,W,4], which is zero, with what one camera sees."""
    splats, first, last = _visible(gaussians, cameras, camera, pool)
    offsets, items = bin_bands(first, last, ceil(cameras.height / TILE))

    def band(b: int) -> None:
        draw_band(splats, items[offsets[b] : offsets[b + 1]], b * TILE, view[b * TILE : (b + 1) * TILE])

    for_each(band, len(offsets) - 1, pool)


def _visible(gaussians: Gaussians, cameras: Cameras, camera: int, pool: ThreadPoolExecutor) -> tuple[np.ndarray, ...]:
    """The projected Gaussians that one camera sees, front to back [n, FIELDS], and the bands int32 [n] they touch."""
    count = len(gaussians.means)
    splats, depth = np.empty((count, FIELDS)), np.empty(count, np.float32)
    bands = np.empty((2, count), np.int32)
    pose, eye = cameras.world_to_camera[camera], cameras.camera_to_world[camera, :3, 3]
    k = cameras.intrinsics[camera]
    lens = np.array([k[0, 0], k[1, 1], k[0, 2], k[1, 2]])

    def work(chunk: int) -> None:
        part = slice(chunk * CHUNK, (chunk + 1) * CHUNK)
        project(
            plain(gaussians.means[part]), plain(gaussians.scales[part]), plain(gaussians.quaternions[part]),
            plain(gaussians.opacities[part]), plain(gaussians.sh[part]), pose, eye, lens, cameras.width, cameras.height,
            float(gaussians.dilation), bool(gaussians.compensate),
            splats[part], depth[part], bands[0, part], bands[1, part],
        )  # fmt: skip

    for_each(work, ceil(count / CHUNK), pool)
    visible = np.flatnonzero(bands[1] >= bands[0])
    # by depth, then index, as one integer (positive floats order like their bits): twice as fast as a stable argsort
    keys = depth[visible].view(np.uint32).astype(np.uint64) << 32 | visible.astype(np.uint64)
    order = (np.sort(keys) & 0xFFFFFFFF).astype(np.int64)
    return splats[order], bands[0, order], bands[1, order]


@njit(cache=True, nogil=True)
def project(
    means: np.ndarray,
    scales: np.ndarray,
    quaternions: np.ndarray,
    opacities: np.ndarray,
    sh: np.ndarray,
    pose: np.ndarray,
    eye: np.ndarray,
    lens: np.ndarray,
    width: int,
    height: int,
    dilation: float,
    compensate: bool,
    splats: np.ndarray,
    depth: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
) -> None:
    """Fill splats, depth and the bands first to last of each Gaussian; last < first where it cannot be seen."""
    fx, fy, cx, cy = lens
    m, basis = np.empty((2, 3)), np.empty(16)
    left, right = -cx / fx - MARGIN * width / (2 * fx), (width - cx) / fx + MARGIN * width / (2 * fx)
    up, down = -cy / fy - MARGIN * height / (2 * fy), (height - cy) / fy + MARGIN * height / (2 * fy)
    for n in range(len(means)):
        first[n], last[n] = 0, -1
        a, b, c = np.float64(means[n, 0]), np.float64(means[n, 1]), np.float64(means[n, 2])
        x = pose[0, 0] * a + pose[0, 1] * b + pose[0, 2] * c + pose[0, 3]
        y = pose[1, 0] * a + pose[1, 1] * b + pose[1, 2] * c + pose[1, 3]
        z = pose[2, 0] * a + pose[2, 1] * b + pose[2, 2] * c + pose[2, 3]
        opacity = np.float64(opacities[n])
        if z < NEAR or opacity < MIN_ALPHA:
            continue
        tx, ty = min(max(x / z, left), right), min(max(y / z, up), down)
        half_covariance(quaternions[n], scales[n], pose, fx / z, fy / z, tx, ty, m)
        xx = m[0, 0] * m[0, 0] + m[0, 1] * m[0, 1] + m[0, 2] * m[0, 2]
        xy = m[0, 0] * m[1, 0] + m[0, 1] * m[1, 1] + m[0, 2] * m[1, 2]
        yy = m[1, 0] * m[1, 0] + m[1, 1] * m[1, 1] + m[1, 2] * m[1, 2]
        det = (xx + dilation) * (yy + dilation) - xy * xy
        if compensate:
            before, after = max(xx * yy - xy * xy, MIN_DETERMINANT), max(det, MIN_DETERMINANT)
            if before <= MIN_DETERMINANT or after <= MIN_DETERMINANT:
                continue
            opacity *= sqrt(before / (after + 1e-6) + 1e-6)
        if det <= 0 or opacity < MIN_ALPHA:
            continue
        reach = 2 * log(opacity / MIN_ALPHA) * (1 + 1e-9) + 1e-9  # widened: draw_band's own test decides
        half_width, half_height = sqrt(reach * (xx + dilation)), sqrt(reach * (yy + dilation))
        u, v = fx * x / z + cx, fy * y / z + cy
        if not (-half_width <= u <= width + half_width and -half_height <= v <= height + half_height):
            continue
        first[n] = int(max(v - half_height, 0.0)) // TILE
        last[n] = int(min(v + half_height, height - 0.5)) // TILE
        depth[n] = z
        splats[n, X], splats[n, Y], splats[n, OPACITY] = u, v, opacity
        splats[n, XX], splats[n, XY], splats[n, YY] = (yy + dilation) / det, -xy / det, (xx + dilation) / det
        splats[n, REACH], splats[n, HALF_WIDTH] = reach, half_width
        a, b, c = a - eye[0], b - eye[1], c - eye[2]
        length = sqrt(a * a + b * b + c * c)
        harmonics(a / length, b / length, c / length, sh.shape[1], basis)
        for channel in range(3):
            color = 0.5
            for term in range(sh.shape[1]):
                color += basis[term] * sh[n, term, channel]
            splats[n, RED + channel] = max(color, 0.0)


@njit(cache=True, nogil=True)
def half_covariance(
    q: np.ndarray, scale: np.ndarray, pose: np.ndarray, gx: float, gy: float, tx: float, ty: float, m: np.ndarray
) -> None:
    """m [2,3] = Jacobian . world-to-camera . rotation . diag(scale), so that m m' is the projected covariance.

    gx, gy: focal lengths over depth; tx, ty: the (limited) slopes x / z and y / z at which the Jacobian is taken.
    """
    w, x, y, z = np.float64(q[0]), np.float64(q[1]), np.float64(q[2]), np.float64(q[3])
    length = sqrt(w * w + x * x + y * y + z * z)
    w, x, y, z = w / length, x / length, y / length, z / length
    axes = (
        (1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)),
        (2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)),
        (2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)),
    )  # the columns of the rotation
    for axis in range(3):
        a, b, c = axes[axis]
        cx = (pose[0, 0] * a + pose[0, 1] * b + pose[0, 2] * c) * scale[axis]
        cy = (pose[1, 0] * a + pose[1, 1] * b + pose[1, 2] * c) * scale[axis]
        cz = (pose[2, 0] * a + pose[2, 1] * b + pose[2, 2] * c) * scale[axis]
        m[0, axis], m[1, axis] = gx * (cx - tx * cz), gy * (cy - ty * cz)


@njit(cache=True, nogil=True)
def harmonics(x: float, y: float, z: float, terms: int, basis: np.ndarray) -> None:
    """The first `terms` (1, 4, 9 or 16) real spherical harmonics at a unit vector, signs and order as in 3DGS."""
    basis[0] = 0.28209479177387814  # sqrt(1 / 4 pi)
    if terms > 1:
        c = 0.4886025119029199  # sqrt(3 / 4 pi)
        basis[1], basis[2], basis[3] = -c * y, c * z, -c * x
    if terms > 4:
        c = 1.0925484305920792  # sqrt(15 / 4 pi)
        basis[4], basis[5], basis[7] = c * x * y, -c * y * z, -c * x * z
        basis[6] = 0.31539156525252005 * (2 * z * z - x * x - y * y)  # sqrt(5 / 16 pi)
        basis[8] = 0.5462742152960396 * (x * x - y * y)  # sqrt(15 / 16 pi)
    if terms > 9:
        c = 0.5900435899266435  # sqrt(35 / 32 pi)
        basis[9], basis[15] = -c * y * (3 * x * x - y * y), -c * x * (x * x - 3 * y * y)
        c = 0.4570457994644658  # sqrt(21 / 32 pi)
        basis[11], basis[13] = -c * y * (4 * z * z - x * x - y * y), -c * x * (4 * z * z - x * x - y * y)
        basis[10] = 2.890611442640554 * x * y * z  # sqrt(105 / 4 pi)
        basis[12] = 0.3731763325901154 * z * (2 * z * z - 3 * x * x - 3 * y * y)  # sqrt(7 / 16 pi)
        basis[14] = 1.445305721320277 * z * (x * x - y * y)  # sqrt(105 / 16 pi)


@njit(cache=True, nogil=True)
def draw_band(splats: np.ndarray, items: np.ndarray, top: int, out: np.ndarray) -> None:
    """Blend the splats `items`, nearest first, into the pixel rows out [h,W,4], of which `top` is the first."""
    h, width = out.shape[0], out.shape[1]
    light = np.ones((h, width))  # transmittance; negative once the pixel is finished
    color = np.zeros((h, width, 3))
    unfinished = np.zeros((width + TILE - 1) // TILE, np.int32)  # pixels of each tile
    for column in range(width):
        unfinished[column // TILE] += h
    for n in items:
        x, y, xx, xy, yy = splats[n, X], splats[n, Y], splats[n, XX], splats[n, XY], splats[n, YY]
        opacity, reach, half_width = splats[n, OPACITY], splats[n, REACH], splats[n, HALF_WIDTH]
        tile0, tile1 = int(max(x - half_width, 0.0)) // TILE, int(min(x + half_width, width - 0.5)) // TILE
        left = 0
        for tile in range(tile0, tile1 + 1):
            left += unfinished[tile]
        if left == 0:
            continue
        for row in range(h):
            dy = top + row + 0.5 - y
            # q = xx dx^2 + 2 xy dx dy + yy dy^2 <= reach holds between the roots of a quadratic in dx
            middle = -xy * dy / xx
            square = middle * middle - (yy * dy * dy - reach) / xx
            if square < 0:
                continue
            reach_x = sqrt(square) + 1e-6
            x0 = int(min(max(ceil(x + middle - reach_x - 0.5), 0.0), width))  # limited before the conversion to int
            x1 = int(min(max(floor(x + middle + reach_x - 0.5), -1.0), width - 1))
            for column in range(x0, x1 + 1):
                before = light[row, column]
                if before < 0:
                    continue
                dx = column + 0.5 - x
                alpha = min(MAX_ALPHA, opacity * exp(-0.5 * (xx * dx * dx + yy * dy * dy) - xy * dx * dy))
                if alpha < MIN_ALPHA:
                    continue
                after = before * (1 - alpha)
                if after < MIN_TRANSMITTANCE:
                    light[row, column] = -before
                    unfinished[column // TILE] -= 1
                    continue
                weight = alpha * before
                color[row, column, 0] += weight * splats[n, RED]
                color[row, column, 1] += weight * splats[n, GREEN]
                color[row, column, 2] += weight * splats[n, BLUE]
                light[row, column] = after
    for row in range(h):
        for column in range(width):
            for channel in range(3):
                out[row, column, channel] = min(color[row, column, channel], 1.0)
            out[row, column, 3] = 1 - abs(light[row, column])
