"""Structural similarity (Wang et al. 2004) of 8-bit images: over the whole frame, and over the silhouettes only."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, UInt8
from numba import njit

from bench4d.errors import FormatError
from bench4d.metric import Metric, View

from .silhouette import check_pair, union

RADIUS = 5  # an 11 x 11 window
SIGMA = 1.5
C1 = (0.01 * 255) ** 2
C2 = (0.03 * 255) ** 2


def gaussian() -> Float64[np.ndarray, " 11"]:
    """The window along one axis, summing to 1."""
    offsets = np.arange(-RADIUS, RADIUS + 1)
    window = np.exp(-0.5 * (offsets / SIGMA) ** 2)
    return window / window.sum()


@njit(cache=True, nogil=True)
def _add_channel(
    total: np.ndarray, a: np.ndarray, b: np.ndarray, window: np.ndarray, radius: int, c1: float, c2: float
) -> None:
    """Add the SSIM map of one channel to `total` [H,W]; a, b [H + 2 radius, W + 2 radius] in float64, already padded.

    Five window means (a, b, aa, bb, ab), down the columns first, then along the row: a row at a time stays in cache.
    """
    height, width = total.shape
    padded = width + 2 * radius
    columns = np.empty((5, padded))
    means = np.empty((5, width))
    for y in range(height):
        columns[:] = 0.0
        for k in range(2 * radius + 1):
            weight, row_a, row_b = window[k], a[y + k], b[y + k]
            for x in range(padded):
                p, q = row_a[x], row_b[x]
                columns[0, x] += weight * p
                columns[1, x] += weight * q
                columns[2, x] += weight * (p * p)
                columns[3, x] += weight * (q * q)
                columns[4, x] += weight * (p * q)
        means[:] = 0.0
        for channel in range(5):
            for k in range(2 * radius + 1):
                weight = window[k]
                for x in range(width):
                    means[channel, x] += weight * columns[channel, x + k]
        for x in range(width):
            p, q = means[0, x], means[1, x]
            variance_a, variance_b = means[2, x] - p * p, means[3, x] - q * q
            covariance = means[4, x] - p * q
            above = (2 * (p * q) + c1) * (2 * covariance + c2)
            total[y, x] += above / ((p * p + q * q + c1) * (variance_a + variance_b + c2))


def ssim_map(a: UInt8[np.ndarray, "H W 3"], b: UInt8[np.ndarray, "H W 3"]) -> Float64[np.ndarray, "H W"]:
    """SSIM at every pixel, mean of the three channels; the image is mirrored at its border (edge pixel repeated)."""
    total = np.zeros(a.shape[:2])
    window = gaussian()
    for channel in range(3):
        padded = [np.pad(image[..., channel], RADIUS, mode="symmetric").astype(np.float64) for image in (a, b)]
        _add_channel(total, padded[0], padded[1], window, RADIUS, C1, C2)
    return total / 3


def check_size(view: View) -> None:
    if min(view.rgb.shape[1:3]) < 2 * RADIUS + 1:
        raise FormatError("view", "images of at least 11 x 11 pixels for SSIM", f"{list(view.rgb.shape[1:3])}")


def ssim(predicted: View, truth: View) -> Float64[np.ndarray, " T"]:
    """Mean of the map over the pixels whose window lies inside the image (5 pixels from the border)."""
    check_pair(predicted, truth)
    check_size(truth)
    inside = slice(RADIUS, -RADIUS)
    return np.array([ssim_map(a, b)[inside, inside].mean() for a, b in zip(predicted.rgb, truth.rgb, strict=True)])


def ssim_masked(predicted: View, truth: View) -> Float64[np.ndarray, " T"]:
    """Mean of the map over the union of both silhouettes, border included; 1 where both are empty."""
    check_size(truth)
    mask = union(predicted, truth)
    values = np.ones(len(mask))
    for t, pixels in enumerate(mask):
        if pixels.any():
            values[t] = ssim_map(predicted.rgb[t], truth.rgb[t])[pixels].mean()
    return values


SSIM = Metric(
    id="ssim",
    version=1,
    definition=(
        "SSIM of 8-bit sRGB, range 255, Gaussian window 11 (sigma 1.5), K1 0.01, K2 0.03, population covariance, "
        "mean of the channels and of all pixels 5 or more from the border; full size."
    ),
    unit="clip",
    needs="frames",
    direction="higher",
    units="1",
    perfect=1.0,
    weights=(),
    reference="Wang, Bovik, Sheikh, Simoncelli 2004, Image Quality Assessment",
    load=lambda weights: ssim,
)
SSIM_MASKED = Metric(
    id="ssim-masked",
    version=1,
    definition=(
        "The SSIM map (as for ssim, mirrored border) averaged over the pixels where the predicted or the true "
        "alpha is at least 128; 1 if there are none."
    ),
    unit="clip",
    needs="frames",
    direction="higher",
    units="1",
    perfect=1.0,
    weights=(),
    reference="Wang, Bovik, Sheikh, Simoncelli 2004, restricted to the object",
    load=lambda weights: ssim_masked,
    alpha=True,
)
