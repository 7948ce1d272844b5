"""What each voxel knows of its surface: 16 numbers, or the first 9. (DINOv2's tokens: token_features.py.)

Channels, all about [-1, 1]:

    0-2    mean colour, 2 c - 1 of sRGB in [0, 1]
    3-5    mean unit normal of the faces
    6-8    mean position of the surface from the voxel's centre, in half sides
    9-11   colour around the voxel in the stored views that see it, 2 c - 1; 0 where none does
    12-14  twice the standard deviation of that colour; 0 where no view sees it
    15     share of the stored views that see the voxel

The first nine depend on the surface alone. The others depend on which few views there are, which no generator can
know: latents made from them are harder to predict, and a data set of many views should have them only.

A view sees a voxel unless another voxel covers the projected centre from nearer by more than 1.5 sides; a voxel covers
the upright square that its cube's face would be at its depth. Around a voxel means the square of `patch` pixels around
the pixel that its centre falls into; pixels count by their alpha, over all views that see it together.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float16, Float64, UInt8
from numba import njit

from bench4d.cameras import Cameras

from .voxels import SurfaceVoxels

BEHIND = 1.5  # sides by which a voxel may lie behind what covers it and still be seen


def surface_features(
    surface: SurfaceVoxels, resolution: int, views: UInt8[np.ndarray, "V S S 4"], cameras: Cameras | None, patch: int
) -> Float16[np.ndarray, "N K"]:
    """The table above. `views` are premultiplied pictures of this frame by `cameras`; none for no patches."""
    columns = [2 * surface.color - 1, surface.normal, surface.offset]
    if not patch:
        return np.concatenate(columns, axis=1, dtype=np.float32).astype(np.float16)
    assert cameras is not None
    points = project(surface.centers(resolution), cameras)
    sides = cameras.intrinsics[:, 0, 0] / resolution  # of a voxel in pixels, times depth
    patches = look(points, sides, 1.0 / resolution, views, patch)
    return np.concatenate([*columns, patches], axis=1, dtype=np.float32).astype(np.float16)


def project(centers: Float64[np.ndarray, "N 3"], cameras: Cameras) -> Float64[np.ndarray, "V N 3"]:
    """x, y in pixels from the upper left corner, and depth."""
    local = np.einsum("vij,nj->vni", cameras.world_to_camera[:, :3, :3], centers)
    local += cameras.world_to_camera[:, None, :3, 3]
    pixels = np.einsum("vij,vnj->vni", cameras.intrinsics, local)
    return np.concatenate([pixels[..., :2] / pixels[..., 2:], pixels[..., 2:]], axis=2)


@njit(cache=True, nogil=True)
def look(points: np.ndarray, sides: np.ndarray, side: float, views: np.ndarray, patch: int) -> np.ndarray:
    """Channels 9 to 15, float32 [N,7].

    Args:
        points: [V,N,3], pixels and depth.
        sides: [V], side of a voxel in pixels times depth.
        side: of a voxel in the world.
        views: uint8 [V,S,S,4], premultiplied.
    """
    n_views, n, height, width = len(points), points.shape[1], views.shape[1], views.shape[2]
    sums, seen = np.zeros((n, 7)), np.zeros(n)  # alpha c, alpha c^2, alpha
    nearest = np.empty((height, width))
    for v in range(n_views):
        nearest[:] = np.inf
        for p in range(n):
            x, y, z = points[v, p, 0], points[v, p, 1], points[v, p, 2]
            half = 0.5 * sides[v] / z
            for row in range(max(int(np.ceil(y - half - 0.5)), 0), min(int(np.floor(y + half - 0.5)), height - 1) + 1):
                left, right = max(int(np.ceil(x - half - 0.5)), 0), min(int(np.floor(x + half - 0.5)), width - 1)
                for column in range(left, right + 1):
                    nearest[row, column] = min(nearest[row, column], z)
        for p in range(n):
            column, row = int(np.floor(points[v, p, 0])), int(np.floor(points[v, p, 1]))
            if not (0 <= row < height and 0 <= column < width):
                continue
            if points[v, p, 2] > nearest[row, column] + BEHIND * side:
                continue
            alpha = add_patch(views, v, row, column, patch // 2, sums, p)
            if alpha > 0:
                seen[p] += 1
    out = np.zeros((n, 7), np.float32)
    for p in range(n):
        if seen[p] > 0:
            for channel in range(3):
                mean = sums[p, channel] / sums[p, 6]
                variance = max(sums[p, 3 + channel] / sums[p, 6] - mean * mean, 0.0)
                out[p, channel] = 2 * mean - 1
                out[p, 3 + channel] = 2 * np.sqrt(variance)
        out[p, 6] = seen[p] / n_views
    return out


@njit(cache=True, nogil=True)
def add_patch(views: np.ndarray, v: int, row: int, column: int, reach: int, sums: np.ndarray, p: int) -> float:
    """Add the pixels within `reach` of a pixel to sums[p]; returns their alpha."""
    total = 0.0
    for y in range(max(row - reach, 0), min(row + reach, views.shape[1] - 1) + 1):
        for x in range(max(column - reach, 0), min(column + reach, views.shape[2] - 1) + 1):
            alpha = views[v, y, x, 3] / 255.0
            if alpha == 0:
                continue
            total += alpha
            for channel in range(3):
                value = views[v, y, x, channel] / 255.0
                sums[p, channel] += value
                sums[p, 3 + channel] += value * value / alpha
    sums[p, 6] += total
    return total
