"""Statistics over objects: frames -> views -> clips -> object means, then a bootstrap over objects.

Frames, views and clips of one object are not independent, so the object is the only unit that is resampled.
docs/statistics.md has the formulas, and what they cannot say.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

DRAWS = 10_000
SEED = 0
LEVEL = 0.05
DECIMALS = 12  # numbers that agree to so many places are equal: rounding must not break a tie


@dataclass(frozen=True)
class Interval:
    """A mean over `count` objects with a 95 % percentile-bootstrap interval (NaN bounds for fewer than two)."""

    mean: float
    low: float
    high: float
    count: int


def shares(count: int) -> Float64[np.ndarray, "DRAWS n"]:
    """How much of each draw every one of n objects is; the rows sum to 1. The same for equal n: draws are paired."""
    drawn = np.random.default_rng(SEED).integers(0, count, (DRAWS, count))
    drawn += np.arange(DRAWS)[:, None] * count
    return np.bincount(drawn.ravel(), minlength=DRAWS * count).reshape(DRAWS, count) / count


def bounds(draws: Float64[np.ndarray, " DRAWS"]) -> tuple[float, float]:
    low, high = np.quantile(draws, [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)


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
    return Interval(float(values.mean()), *bounds(shares(len(values)) @ values), len(values))


def ranks(values: Float64[np.ndarray, "*k m"]) -> Float64[np.ndarray, "*k m"]:
    """Along the last axis, 1 for the smallest; equal values share the mean of their ranks.

    >>> ranks(np.array([3.0, 1.0, 3.0, 0.5]))
    array([3.5, 2. , 3.5, 1. ])
    """
    values = np.round(values, DECIMALS)
    smaller = (values[..., None, :] < values[..., :, None]).sum(axis=-1)
    equal = (values[..., None, :] == values[..., :, None]).sum(axis=-1)
    return smaller + (equal + 1) / 2


def signed_rank(differences: Float64[np.ndarray, " n"]) -> tuple[float, int]:
    """Wilcoxon's signed-rank test, differences of 0 left out: two-sided p, and the sign of the heavier side.

    Exact up to 50 objects (up to 13 where differences are equal), else by the normal approximation. (1, 0) if all
    are 0.
    """
    from scipy.stats import wilcoxon  # slow to import

    rounded = np.round(differences, DECIMALS)
    rounded = rounded[rounded != 0]
    if not len(rounded):
        return 1.0, 0
    side = np.sign((np.sign(rounded) * ranks(np.abs(rounded))).sum())
    return float(wilcoxon(rounded).pvalue), int(side)


def smallest_p(count: int) -> float:
    """What `signed_rank` gives at least: all of n differences on one side.

    >>> smallest_p(7)
    0.015625
    """
    return min(1.0, 2.0 ** (1 - count))


def holm(p: Float64[np.ndarray, " m"]) -> Float64[np.ndarray, " m"]:
    """Holm's adjusted p: below 0.05 is what the step-down test rejects at 0.05 over all m tests.

    >>> holm(np.array([0.01, 0.04, 0.03]))
    array([0.03, 0.06, 0.06])
    """
    p = np.asarray(p, np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, stepped)
    return adjusted
