"""Gaussians on a CPU, differentiable: what `gaussians_torch` draws, tile by tile in numba, and its gradient.

Projection is that module's; here is the blending, of which the plain twin takes every pixel against every Gaussian.
"""

from __future__ import annotations

from math import exp, log, sqrt
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numba import njit
from torch import Tensor

from .gaussians_cpu import MAX_ALPHA, MIN_ALPHA, MIN_TRANSMITTANCE
from .gaussians_torch import each_camera, project

TILE = 8  # pixels


def rasterise(
    means: Float[Tensor, "F N 3"],
    scales: Float[Tensor, "F N 3"],
    quaternions: Float[Tensor, "F N 4"],
    opacities: Float[Tensor, "F N"],
    colors: Float[Tensor, "F N 3"] | Float[Tensor, "F N K 3"],
    camera_to_world: Float[Tensor, "F V 4 4"],
    intrinsics: Float[Tensor, "F V 3 3"],
    size: tuple[int, int],
    dilation: float,
    compensate: bool,
) -> Float[Tensor, "F V H W 4"]:
    """See `gaussians_torch.rasterise`, of which this is the quick twin; on a CPU only."""
    scene = (means, scales, quaternions, opacities, colors, camera_to_world, intrinsics)
    return each_camera(_splat, scene, size, dilation, compensate)


def _splat(*scene: Any) -> Float[Tensor, "H W 4"]:
    """As `gaussians_torch.splat`."""
    image: Tensor = Blend.apply(*project(*scene), scene[7])
    return image.clamp(0, 1)


class Blend(torch.autograd.Function):
    """Gaussians on the screen, front to back, to an image [H,W,4] that is not clamped."""

    @staticmethod
    def forward(
        ctx: Any,
        center: Float[Tensor, "n 2"],
        precision: Float[Tensor, "n 2 2"],
        opacity: Float[Tensor, " n"],
        color: Float[Tensor, "n 3"],
        size: tuple[int, int],
    ) -> Float[Tensor, "H W 4"]:
        arrays: Any = tuple(x.detach().contiguous().numpy() for x in (center, precision, opacity, color))
        footprints: Any = (*arrays[:3], *size)
        tiles = bin_tiles(*footprints)
        kind = arrays[0].dtype
        image, light, end = np.zeros((*size, 4), kind), np.ones(size, kind), np.zeros(size, np.int64)
        given: Any = (*arrays, *tiles, image, light, end)
        draw(*given)
        ctx.arrays, ctx.given = arrays, (*arrays, *tiles, light, end)
        return torch.from_numpy(image)

    @staticmethod
    def backward(ctx: Any, gradient: Float[Tensor, "H W 4"]) -> tuple[Tensor | None, ...]:
        found = [np.zeros_like(array) for array in ctx.arrays]
        given: Any = (*ctx.given, gradient.contiguous().numpy(), *found)
        draw_backward(*given)
        return (*(torch.from_numpy(array) for array in found), None)


@njit(cache=True, nogil=True)
def bin_tiles(
    center: np.ndarray, precision: np.ndarray, opacity: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """The Gaussians that may show in each tile, in ascending order: tile k holds items[offsets[k]:offsets[k + 1]]."""
    columns, rows = (width + TILE - 1) // TILE, (height + TILE - 1) // TILE
    reach = np.empty((len(center), 4), np.int64)  # first and last column, first and last row of tiles
    offsets = np.zeros(columns * rows + 1, np.int64)
    for n in range(len(center)):
        reach[n, 0], reach[n, 1] = 0, -1
        if opacity[n] < MIN_ALPHA:
            continue
        xx, xy, yy = precision[n, 0, 0], precision[n, 0, 1], precision[n, 1, 1]
        squared = (2 * log(opacity[n] / MIN_ALPHA) + 1e-3) / (xx * yy - xy * xy)  # widened: `draw`'s own test decides
        half_width, half_height = sqrt(squared * yy), sqrt(squared * xx)
        x, y = center[n, 0], center[n, 1]
        if x + half_width < 0 or x - half_width > width or y + half_height < 0 or y - half_height > height:
            continue
        reach[n, 0], reach[n, 1] = int(max(x - half_width, 0.0)) // TILE, int(min(x + half_width, width - 0.5)) // TILE
        reach[n, 2], reach[n, 3] = (
            int(max(y - half_height, 0.0)) // TILE,
            int(min(y + half_height, height - 0.5)) // TILE,
        )
        for row in range(reach[n, 2], reach[n, 3] + 1):
            for column in range(reach[n, 0], reach[n, 1] + 1):
                offsets[row * columns + column + 1] += 1
    for tile in range(columns * rows):
        offsets[tile + 1] += offsets[tile]
    items, free = np.empty(offsets[-1], np.int64), offsets[:-1].copy()
    for n in range(len(center)):
        if reach[n, 1] < reach[n, 0]:
            continue
        for row in range(reach[n, 2], reach[n, 3] + 1):
            for column in range(reach[n, 0], reach[n, 1] + 1):
                items[free[row * columns + column]] = n
                free[row * columns + column] += 1
    return offsets, items


@njit(cache=True, nogil=True)
def draw(
    center: np.ndarray,
    precision: np.ndarray,
    opacity: np.ndarray,
    color: np.ndarray,
    offsets: np.ndarray,
    items: np.ndarray,
    image: np.ndarray,
    light: np.ndarray,
    end: np.ndarray,
) -> None:
    """Fill the image, each pixel's last transmittance, and where in `items` its last Gaussian is passed."""
    height, width = light.shape
    columns = (width + TILE - 1) // TILE
    for i in range(height):
        for j in range(width):
            tile, left = i // TILE * columns + j // TILE, 1.0
            for place in range(offsets[tile], offsets[tile + 1]):
                n = items[place]
                dx, dy = j + 0.5 - center[n, 0], i + 0.5 - center[n, 1]
                p = precision[n]
                alpha = opacity[n] * exp(-0.5 * (p[0, 0] * dx * dx + p[1, 1] * dy * dy) - p[0, 1] * dx * dy)
                alpha = min(alpha, MAX_ALPHA)
                if alpha < MIN_ALPHA:
                    continue
                if left * (1 - alpha) < MIN_TRANSMITTANCE:
                    break
                for channel in range(3):
                    image[i, j, channel] += alpha * left * color[n, channel]
                left *= 1 - alpha
                end[i, j] = place + 1
            light[i, j], image[i, j, 3] = left, 1 - left


@njit(cache=True, nogil=True)
def draw_backward(
    center: np.ndarray,
    precision: np.ndarray,
    opacity: np.ndarray,
    color: np.ndarray,
    offsets: np.ndarray,
    items: np.ndarray,
    light: np.ndarray,
    end: np.ndarray,
    gradient: np.ndarray,
    d_center: np.ndarray,
    d_precision: np.ndarray,
    d_opacity: np.ndarray,
    d_color: np.ndarray,
) -> None:
    """Add to d_... what `gradient`, the image's, comes to; from back to front, where `behind` is the colour seen."""
    height, width = light.shape
    columns = (width + TILE - 1) // TILE
    behind = np.empty(3)
    for i in range(height):
        for j in range(width):
            tile, left = i // TILE * columns + j // TILE, light[i, j] * 1.0
            behind[:] = 0.0
            for place in range(end[i, j] - 1, offsets[tile] - 1, -1):
                n = items[place]
                dx, dy = j + 0.5 - center[n, 0], i + 0.5 - center[n, 1]
                p = precision[n]
                height_here = exp(-0.5 * (p[0, 0] * dx * dx + p[1, 1] * dy * dy) - p[0, 1] * dx * dy)
                alpha = min(opacity[n] * height_here, MAX_ALPHA)
                if alpha < MIN_ALPHA:
                    continue
                left /= 1 - alpha  # what reaches this Gaussian
                d_alpha = gradient[i, j, 3] * light[i, j] / (1 - alpha)
                for channel in range(3):
                    d_color[n, channel] += alpha * left * gradient[i, j, channel]
                    d_alpha += left * (color[n, channel] - behind[channel]) * gradient[i, j, channel]
                    behind[channel] += alpha * (color[n, channel] - behind[channel])
                if opacity[n] * height_here > MAX_ALPHA:
                    continue
                d_opacity[n] += d_alpha * height_here
                d_exponent = d_alpha * alpha
                d_precision[n, 0, 0] -= 0.5 * dx * dx * d_exponent
                d_precision[n, 1, 1] -= 0.5 * dy * dy * d_exponent
                d_precision[n, 0, 1] -= dx * dy * d_exponent  # of the symmetric pair, the one that is read
                d_center[n, 0] += (p[0, 0] * dx + p[0, 1] * dy) * d_exponent
                d_center[n, 1] += (p[0, 1] * dx + p[1, 1] * dy) * d_exponent
