"""Chamfer distance between surfaces, and its floor: what two draws of the same surface still differ by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float64

from bench4d.asset import Gaussians, Mesh
from bench4d.errors import FormatError
from bench4d.metric import Metric
from bench4d.surface import Points, sample

from .surface import check_frames, nearest

Reduction = Literal["mean", "sum"]


def distance(predicted: Points, truth: Points, squared: bool, reduction: Reduction) -> float:
    """Mean distance in each direction, then the mean or the sum of the two."""
    if reduction not in ("mean", "sum"):
        raise FormatError("reduction", '"mean" or "sum" of the two directions', repr(reduction))
    means = [(d**2).mean() if squared else d.mean() for d in nearest(predicted, truth)]
    total = float(means[0] + means[1])
    return total / 2 if reduction == "mean" else total


def chamfer(
    predicted: Sequence[Mesh | Gaussians],
    truth: Sequence[Mesh],
    *,
    samples: int = 10_000,
    squared: bool = False,
    reduction: Reduction = "mean",
    opacity: float = 0.1,
) -> Float64[np.ndarray, " T"]:
    """Per frame, in world units (the object's cube has side 1).

    Args:
        samples: points on each surface.
        squared: square the distances before averaging.
        reduction: "mean" or "sum" of the two directions.
        opacity: Gaussians below it are left out.
    """
    check_frames(predicted, truth)
    values = [
        distance(sample(p, samples, opacity), sample(t, samples, opacity), squared, reduction)
        for p, t in zip(predicted, truth, strict=True)
    ]
    return np.array(values, np.float64)


def chamfer_floor(
    truth: Sequence[Mesh],
    *,
    samples: int = 10_000,
    squared: bool = False,
    reduction: Reduction = "mean",
    opacity: float = 0.1,
) -> Float64[np.ndarray, " T"]:
    """The value between two independent draws of each true surface: differences below it are noise of the sampling."""
    values = [
        distance(sample(t, samples, opacity, draw=1), sample(t, samples, opacity), squared, reduction) for t in truth
    ]
    return np.array(values, np.float64)


CHAMFER = Metric(
    id="chamfer",
    version=1,
    definition=(
        "Mean of the two mean unsquared nearest-neighbour distances between 10,000 points a surface, uniform by "
        "area, seeded by content; Gaussians: centres of opacity 0.1 or more; unit: side of the object's cube."
    ),
    unit="clip",
    needs="geometry",
    direction="lower",
    units="1",
    perfect=0.0,
    weights=(),
    reference="Barrow, Tenenbaum, Bolles, Wolf 1977; variants in docs/metrics/chamfer.md",
    load=lambda weights: chamfer,
)
CHAMFER_FLOOR = Metric(
    id="chamfer-floor",
    version=1,
    definition=(
        "The chamfer distance, with the same options, between two independent draws of the true surface: the noise of "
        "the sampling, the same for every method."
    ),
    unit="clip",
    needs="geometry",
    direction="lower",
    units="1",
    perfect=None,
    weights=(),
    reference="defined here",
    load=lambda weights: lambda predicted, truth, **options: chamfer_floor(truth, **options),
)
