"""Distances between sampled surfaces: what chamfer and fscore share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from scipy.spatial import cKDTree

from bench4d.asset import Gaussians, Mesh
from bench4d.errors import FormatError
from bench4d.surface import Points

FARTHEST = 3**0.5  # the diagonal of the unit cube: the distance that stands for "there is nothing"


def nearest(predicted: Points, truth: Points) -> tuple[Float64[np.ndarray, " P"], Float64[np.ndarray, " Q"]]:
    """Distance from each predicted point to the closest true one, and from each true point to the closest predicted.

    Without predicted points (or true ones) every distance is `FARTHEST`, with one entry where there is no point at all.
    """
    if not len(predicted) or not len(truth):
        return np.full(max(1, len(predicted)), FARTHEST), np.full(max(1, len(truth)), FARTHEST)
    to_truth, _ = cKDTree(truth).query(predicted)
    to_predicted, _ = cKDTree(predicted).query(truth)
    return to_truth, to_predicted


def check_frames(predicted: Sequence[Mesh | Gaussians], truth: Sequence[Mesh | Gaussians]) -> None:
    if len(predicted) != len(truth):
        raise FormatError("predicted frames", f"{len(truth)}, as many as the truth has", f"{len(predicted)}")
