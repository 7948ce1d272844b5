"""Peak signal-to-noise ratio of 8-bit images: over all pixels, and over the silhouettes only."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64

from bench4d.metric import Metric, View

from .silhouette import check_pair, union

PEAK = 255.0
CAP = 100.0  # dB; identical frames have no finite value, and a mean needs one


def decibels(squared_error: Int64[np.ndarray, " T"], values: Int64[np.ndarray, " T"]) -> Float64[np.ndarray, " T"]:
    """10 log10(255^2 / mean squared error), at most `CAP`; `values` is how many numbers the sum ran over."""
    some = np.maximum(squared_error, 1)
    finite = 10 * np.log10(PEAK**2 * np.maximum(values, 1) / some)
    return np.where(squared_error == 0, CAP, np.minimum(CAP, finite))


def squared_differences(predicted: View, truth: View) -> Int64[np.ndarray, "T H W"]:
    """Summed over the three channels; exact in integers."""
    check_pair(predicted, truth)
    difference = predicted.rgb.astype(np.int32) - truth.rgb
    return np.einsum("thwc,thwc->thw", difference, difference).astype(np.int64)


def psnr(predicted: View, truth: View) -> Float64[np.ndarray, " T"]:
    squares = squared_differences(predicted, truth)
    return decibels(squares.sum(axis=(1, 2)), np.full(len(squares), 3 * squares[0].size))


def psnr_masked(predicted: View, truth: View) -> Float64[np.ndarray, " T"]:
    """Over the union of both silhouettes; `CAP` where both are empty."""
    mask = union(predicted, truth)
    squares = np.where(mask, squared_differences(predicted, truth), 0)
    return decibels(squares.sum(axis=(1, 2)), 3 * mask.sum(axis=(1, 2)))


PSNR = Metric(
    id="psnr",
    version=1,
    definition=(
        "10 log10(255^2 / mean squared error) over all pixels and channels of a frame in 8-bit sRGB, capped at 100 "
        "dB; full size, background counts."
    ),
    unit="clip",
    needs="frames",
    direction="higher",
    units="dB",
    perfect=CAP,
    weights=(),
    reference="ITU-T J.340",
    load=lambda weights: psnr,
)
PSNR_MASKED = Metric(
    id="psnr-masked",
    version=1,
    definition=(
        "PSNR (peak 255, cap 100 dB) over the pixels where the predicted or the true alpha is at least 128; 100 dB "
        "if there are none."
    ),
    unit="clip",
    needs="frames",
    direction="higher",
    units="dB",
    perfect=CAP,
    weights=(),
    reference="ITU-T J.340, restricted to the object",
    load=lambda weights: psnr_masked,
    alpha=True,
)
