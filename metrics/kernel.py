"""The kernel distance between two sets of vectors: the statistic of KID and KVD, which small sets do not bias.

With k(x, y) = (x.y / d + 1)^3 the squared maximum mean discrepancy, in its unbiased form:

    mean of k over pairs of different predicted rows + the same of true rows - 2 mean of k over predicted x true pairs

Its expectation is 0 for two samples of one distribution, whatever their number, so it can be negative. Two *equal* sets
give a value below 0, not 0: each row meets itself in the last term and in no other.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from bench4d.metric import MetricUnavailable

from .sets import check_rows

BLOCK = 1024  # rows: a block of the kernel is 8 MB


class Kernel:
    """A `SetScore`. Keeps all rows in single precision, 4 (n + m) d bytes (34 MB for 4,096 rows of 2,048 numbers in
    all); sums in float64, block by block. Order changes the value by rounding alone: less than 1e-12 of the mean of k.
    """

    def __init__(self) -> None:
        self._predicted: list[Float32[np.ndarray, "n d"]] = []
        self._truth: list[Float32[np.ndarray, "n d"]] = []

    def add(self, predicted: Float32[np.ndarray, "n d"], truth: Float32[np.ndarray, "m d"]) -> None:
        """Rows of both sides; they need not be equally many."""
        check_rows(predicted, self._predicted[0].shape[1] if self._predicted else None)
        check_rows(truth, np.shape(predicted)[1])
        self._predicted.append(np.array(predicted, np.float32))
        self._truth.append(np.array(truth, np.float32))

    def value(self) -> float:
        """Raises MetricUnavailable where a side has fewer than two rows."""
        n, m = (sum(map(len, side)) for side in (self._predicted, self._truth))
        if min(n, m) < 2:
            raise MetricUnavailable(
                f"a kernel distance needs at least 2 films or pictures a side, there are {n} predicted and {m} true"
            )
        x, y = np.concatenate(self._predicted), np.concatenate(self._truth)
        return _among(x) / (n * (n - 1)) + _among(y) / (m * (m - 1)) - 2 * _total(x, y) / (n * m)


def _total(x: Float32[np.ndarray, "n d"], y: Float32[np.ndarray, "m d"]) -> float:
    """The sum of k over all pairs."""
    total = 0.0
    for i in range(0, len(x), BLOCK):
        left = x[i : i + BLOCK].astype(np.float64)
        for j in range(0, len(y), BLOCK):
            total += float(((left @ y[j : j + BLOCK].astype(np.float64).T / x.shape[1] + 1) ** 3).sum())
    return total


def _among(x: Float32[np.ndarray, "n d"]) -> float:
    """The sum of k over ordered pairs of different rows."""
    own = np.einsum("nd,nd->n", x, x, dtype=np.float64)
    return _total(x, x) - float(((own / x.shape[1] + 1) ** 3).sum())
