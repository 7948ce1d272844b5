"""What statistics of sets share: the check of their rows, and the floor that says how much two equal sets differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from bench4d.errors import FormatError
from bench4d.metric import Metric, MetricUnavailable, SetScore

SPLITS = 16
SEED = 0


def check_rows(rows: Float32[np.ndarray, "n d"], width: int | None = None) -> None:
    """Raise FormatError unless these are finite vectors of one width (`width`, if given)."""
    rows = np.asarray(rows)
    if rows.ndim != 2 or not rows.shape[1] or (width is not None and rows.shape[1] != width):
        raise FormatError("features", f"rows [n,{'d' if width is None else width}]", f"{list(rows.shape)}")
    if not np.isfinite(rows).all():
        raise FormatError("features", "finite numbers", f"{int((~np.isfinite(rows)).sum())} that are not")


class Floor:
    """The mean distance between two random halves of the true clips, over fixed splits: predictions are not looked at.

    A half has half of the clips (an odd one out is left out of that split). Differences smaller than the floor are
    within what another draw of clips would change. A statistic with a bias at small n, as the Frechet distance has,
    shows it here at n / 2, so larger than it is at n. Keeps the true rows: 4 n d bytes.

    Args:
        distance: makes the statistic between two halves; called with `options`.
    """

    def __init__(self, distance: Callable[..., SetScore], **options: Any) -> None:
        self._distance, self._options = distance, options
        self._clips: list[Float32[np.ndarray, "n d"]] = []

    def add(self, predicted: Float32[np.ndarray, "n d"], truth: Float32[np.ndarray, "n d"]) -> None:
        check_rows(truth, self._clips[0].shape[1] if self._clips else None)
        self._clips.append(np.array(truth, np.float32))

    def value(self) -> float:
        """Raises MetricUnavailable for fewer than two clips, and where a half is too little for the statistic."""
        if len(self._clips) < 2:
            raise MetricUnavailable(f"a floor needs at least 2 clips, there are {len(self._clips)}")
        order, half = np.random.default_rng(SEED), len(self._clips) // 2
        return float(np.mean([self._between(order.permutation(len(self._clips)), half) for _ in range(SPLITS)]))

    def _between(self, order: np.ndarray, half: int) -> float:
        score = self._distance(**self._options)
        for first, second in zip(order[:half], order[half : 2 * half], strict=True):
            score.add(self._clips[first], self._clips[second])
        return score.value()


def floor(metric: Metric) -> Metric:
    """The record `<id>-floor` of a metric of sets."""

    def load(weights: Mapping[str, Path]) -> Callable[..., SetScore]:
        distance = metric.load(weights)
        return lambda **options: Floor(distance, **options)

    return replace(
        metric,
        id=f"{metric.id}-floor",
        definition=(
            f"The mean {metric.id} between two random halves of the true clips, over {SPLITS} fixed splits: what that "
            "number of clips cannot tell apart, the same for every method."
        ),
        perfect=None,
        reference="defined here",
        load=load,
    )
