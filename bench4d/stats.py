"""Statistics over objects: frames -> views -> clips -> object means, then a bootstrap over objects.

Frames, views and clips of one object are not independent, so the object is the only unit that is resampled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

DRAWS = 10_000
SEED = 0


@dataclass(frozen=True)
class Interval:
    """A mean over `count` objects with a 95 % percentile-bootstrap interval (NaN bounds for fewer than two)."""

    mean: float
    low: float
    high: float
    count: int


def bootstrap_mean(values: Float64[np.ndarray, " n"]) -> Interval:
    """Mean of one value per object, 10,000 draws with a fixed seed.

    >>> bootstrap_mean(np.array([1.0, 2.0, 3.0, 4.0]))
    Interval(mean=2.5, low=1.5, high=3.5, count=4)
    """
    values = np.asarray(values, np.float64)
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(f"expected at least one finite value; found {values}")
    if len(values) < 2:
        return Interval(float(values.mean()), np.nan, np.nan, len(values))
    drawn = np.random.default_rng(SEED).integers(0, len(values), (DRAWS, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high), len(values))
