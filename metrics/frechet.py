"""The Frechet distance between Gaussians fitted to two sets of vectors: the statistic of FID, FVD and FID-VID.

    |mu1 - mu2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2)          (S: unbiased covariances, divided by n - 1)

With F'F = S the last trace is the sum of the singular values of F1 F2' (nuclear norm), so no square root of a matrix is
taken: rows of F are the centred vectors while there are few of them, which is exact for n < d too, and a triangular
factor of d rows once there are many. Squares of singular values never appear, so that a covariance without full rank
costs no accuracy.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, Float64

from bench4d.errors import FormatError
from bench4d.metric import MetricUnavailable

from .sets import check_rows


class Moments:
    """Count, mean and a factor F with F'F = the sum of (x - mean)(x - mean)', of rows given bit by bit, in float64.

    Chan's update, on the factor: the new rows minus their mean and one row for the shift of the mean are put under it.
    Beyond 2 d rows a QR decomposition makes them d again: at most 16 d^2 bytes, whatever n is. Order and batches of the
    rows change nothing but rounding.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: Float64[np.ndarray, " d"] = np.zeros(0)
        self._factor: Float64[np.ndarray, "k d"] = np.zeros((0, 0))

    def add(self, rows: Float[np.ndarray, "n d"]) -> None:
        check_rows(rows, len(self.mean) if self.count else None)
        rows = np.asarray(rows, np.float64)
        if not len(rows):
            return
        if not self.count:
            self.mean, self._factor = np.zeros(rows.shape[1]), np.zeros((0, rows.shape[1]))
        total, mean = self.count + len(rows), rows.mean(axis=0)
        shift = mean - self.mean
        between = np.sqrt(self.count * len(rows) / total) * shift
        added = [rows - mean, between[None]] if self.count else [rows - mean]
        self._factor = np.concatenate([self._factor, *added])
        self.mean = self.mean + shift * (len(rows) / total)
        self.count = total
        if len(self._factor) > 2 * rows.shape[1]:
            self._factor = _triangle(self._factor)

    @property
    def factor(self) -> Float64[np.ndarray, "k d"]:
        """F with F'F = the unbiased covariance; k <= d."""
        factor = self._factor
        if len(factor) > factor.shape[1]:
            factor = _triangle(factor)
        return factor / np.sqrt(self.count - 1)


def _triangle(factor: Float64[np.ndarray, "k d"]) -> Float64[np.ndarray, "d d"]:
    """R with R'R = F'F, for k >= d."""
    return np.asarray(np.linalg.qr(factor, mode="r"))


def distance_of_factors(
    mean1: Float64[np.ndarray, " d"],
    factor1: Float64[np.ndarray, "k d"],
    mean2: Float64[np.ndarray, " d"],
    factor2: Float64[np.ndarray, "m d"],
) -> float:
    """The distance; not below 0, where rounding may lead."""
    shift = mean1 - mean2
    shared = np.linalg.svd(factor1 @ factor2.T, compute_uv=False).sum()
    return max(0.0, float(shift @ shift + (factor1**2).sum() + (factor2**2).sum() - 2 * shared))


def frechet_distance(
    mean1: Float64[np.ndarray, " d"],
    covariance1: Float64[np.ndarray, "d d"],
    mean2: Float64[np.ndarray, " d"],
    covariance2: Float64[np.ndarray, "d d"],
) -> float:
    """From means and covariances (symmetric, positive semidefinite up to rounding).

    >>> frechet_distance(np.zeros(2), np.eye(2), np.array([3.0, 0.0]), 4 * np.eye(2))
    11.0
    """
    factors = []
    for covariance in (covariance1, covariance2):
        covariance = np.asarray(covariance, np.float64)
        if covariance.shape != (len(mean1), len(mean1)) or len(mean1) != len(mean2):
            found = f"{len(mean1)} and {len(mean2)} numbers, {list(covariance.shape)}"
            raise FormatError("Frechet distance", "means [d] and covariances [d,d]", found)
        values, vectors = np.linalg.eigh(covariance)
        factors.append(np.sqrt(np.maximum(values, 0))[:, None] * vectors.T)
    return distance_of_factors(np.asarray(mean1, np.float64), factors[0], np.asarray(mean2, np.float64), factors[1])


class Frechet:
    """A `SetScore`: the Frechet distance between all predicted and all true rows.

    Order and batches of `add` change the value by less than 1e-10 of its scale, |mu1 - mu2|^2 + tr S1 + tr S2; equal
    sets give less than 1e-12 of it. Biased: two samples of one distribution are apart, the more so the fewer they are
    and the wider the vectors, so values compare only at equal n.
    """

    def __init__(self) -> None:
        self._predicted, self._truth = Moments(), Moments()

    def add(self, predicted: Float32[np.ndarray, "n d"], truth: Float32[np.ndarray, "m d"]) -> None:
        """Rows of both sides; they need not be equally many."""
        check_rows(truth, np.shape(predicted)[-1] if np.ndim(predicted) else None)
        self._predicted.add(predicted)
        self._truth.add(truth)

    def value(self) -> float:
        """Raises MetricUnavailable where a side has fewer than two rows."""
        one, two = self._predicted, self._truth
        if min(one.count, two.count) < 2:
            raise MetricUnavailable(
                f"a Frechet distance needs at least 2 films or pictures a side, there are {one.count} predicted and "
                f"{two.count} true"
            )
        return distance_of_factors(one.mean, one.factor, two.mean, two.factor)
