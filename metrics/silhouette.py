"""Silhouettes: which pixels show the object, and how well two soft silhouettes overlap."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64

from bench4d.errors import FormatError
from bench4d.metric import Metric, View

COVERED = 128  # of 255: a pixel belongs to a silhouette when the object covers at least half of it


def check_pair(predicted: View, truth: View) -> None:
    """Raise FormatError unless both views have the same frames and pixels."""
    if predicted.rgb.shape != truth.rgb.shape:
        found = f"{list(predicted.rgb.shape)}"
        raise FormatError("predicted view", f"the truth's shape {list(truth.rgb.shape)}", found)


def union(predicted: View, truth: View) -> Bool[np.ndarray, "T H W"]:
    """Pixels in either silhouette. Half coverage, not "any": a faint veil, which Gaussians often leave over the whole
    image, would otherwise count the background as object and dilute every masked error."""
    check_pair(predicted, truth)
    mask: Bool[np.ndarray, "T H W"] = (predicted.alpha >= COVERED) | (truth.alpha >= COVERED)
    return mask


def silhouette_iou(predicted: View, truth: View) -> Float64[np.ndarray, " T"]:
    """Sum of min(alpha) over sum of max(alpha), per frame; 1 where both views are empty."""
    check_pair(predicted, truth)
    smaller = np.minimum(predicted.alpha, truth.alpha).sum(axis=(1, 2), dtype=np.int64)
    larger = np.maximum(predicted.alpha, truth.alpha).sum(axis=(1, 2), dtype=np.int64)
    return np.where(larger == 0, 1.0, smaller / np.maximum(larger, 1))


SILHOUETTE_IOU = Metric(
    id="silhouette-iou",
    version=1,
    definition=(
        "Soft overlap of the 8-bit alphas: sum of the smaller over sum of the larger, all pixels of a frame; 1 if "
        "both are empty."
    ),
    unit="clip",
    needs="frames",
    direction="higher",
    units="1",
    perfect=1.0,
    weights=(),
    reference="Jaccard 1912, weighted form (Ruzicka 1958)",
    load=lambda weights: silhouette_iou,
    alpha=True,
)
