"""F-score of surfaces: the harmonic mean of precision and recall at one distance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from bench4d.asset import Gaussians, Mesh
from bench4d.metric import Metric
from bench4d.surface import Points, sample

from .surface import check_frames, nearest


def harmonic(predicted: Points, truth: Points, threshold: float) -> float:
    """2 P R / (P + R); 0 where both are 0. A distance equal to the threshold counts as within it."""
    to_truth, to_predicted = nearest(predicted, truth)
    precision, recall = float((to_truth <= threshold).mean()), float((to_predicted <= threshold).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def fscore(
    predicted: Sequence[Mesh | Gaussians],
    truth: Sequence[Mesh],
    *,
    samples: int = 10_000,
    threshold: float = 0.02,
    opacity: float = 0.1,
) -> Float64[np.ndarray, " T"]:
    """Per frame. `threshold` is in world units: 0.02 is 2 % of the side of the object's cube. Rest as in `chamfer`."""
    check_frames(predicted, truth)
    values = [
        harmonic(sample(p, samples, opacity), sample(t, samples, opacity), threshold)
        for p, t in zip(predicted, truth, strict=True)
    ]
    return np.array(values, np.float64)


def fscore_floor(
    truth: Sequence[Mesh], *, samples: int = 10_000, threshold: float = 0.02, opacity: float = 0.1
) -> Float64[np.ndarray, " T"]:
    """The value between two independent draws of each true surface; near 1 if the samples are dense enough."""
    values = [harmonic(sample(t, samples, opacity, draw=1), sample(t, samples, opacity), threshold) for t in truth]
    return np.array(values, np.float64)


FSCORE = Metric(
    id="fscore",
    version=1,
    definition=(
        "F-score at 0.02 (2 % of the side of the object's cube) between 10,000 points a surface, uniform by area, "
        "seeded by content; Gaussians: centres of opacity 0.1 or more."
    ),
    unit="clip",
    needs="geometry",
    direction="higher",
    units="1",
    perfect=1.0,
    weights=(),
    reference="Knapitsch, Park, Zhou, Koltun 2017, Tanks and Temples",
    load=lambda weights: fscore,
)
