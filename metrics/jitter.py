"""Jitter: how much more a rendered video shakes from frame to frame than the true one."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from bench4d.metric import Metric, View

from .silhouette import union


def acceleration(rgb: UInt8[np.ndarray, "T H W 3"], mask: Bool[np.ndarray, "S H W"]) -> Float64[np.ndarray, " S"]:
    """Mean of |I[t-1] - 2 I[t] + I[t+1]| / 255 over the channels of the masked pixels, for S = T - 2 inner frames."""
    values = np.zeros(len(mask))
    for t, pixels in enumerate(mask):
        if pixels.any():
            before, now, after = rgb[t : t + 3, pixels].astype(np.int32)
            values[t] = np.abs(before - 2 * now + after).mean() / 255
    return values


def jitter(predicted: View, truth: View) -> Float64[np.ndarray, " T"]:
    """The prediction's acceleration beyond the truth's, never below 0; NaN at the two ends.

    Both accelerations are taken over the same pixels: those of either silhouette in any of the three frames.
    """
    covered = union(predicted, truth)
    values = np.full(len(truth), np.nan)
    if len(truth) >= 3:
        mask = covered[:-2] | covered[1:-1] | covered[2:]
        values[1:-1] = np.maximum(0, acceleration(predicted.rgb, mask) - acceleration(truth.rgb, mask))
    return values


JITTER = Metric(
    id="jitter",
    version=1,
    definition=(
        "max(0, a(prediction) - a(truth)), a = mean |I[t-1] - 2 I[t] + I[t+1]| / 255 over pixels where either "
        "alpha is at least 128 in any of the three frames; no value at the ends."
    ),
    unit="clip",
    needs="frames",
    direction="lower",
    units="1",
    perfect=0.0,
    weights=(),
    reference="defined here",
    load=lambda weights: jitter,
    alpha=True,
)
