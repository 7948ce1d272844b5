"""Frechet distances between sets of single pictures, by Inception v3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from bench4d.errors import FormatError
from bench4d.metric import Metric, MetricUnavailable, Score

from .features.pictures import INCEPTION_FID, INCEPTION_TF1
from .frechet import Frechet
from .sets import floor


class FramesFrechet:
    """A `SetScore`: the mean over frame numbers of the Frechet distance between all pictures at that number.

    Args:
        frames: T, how many pictures of a view are scored. Rows come view by view and do not say it themselves.
    """

    def __init__(self, frames: int | None = None) -> None:
        if frames is None:
            raise MetricUnavailable("needs the option `frames`: how many frames of a clip the protocol scores")
        if frames < 1:
            raise FormatError("fid-vid-frames: frames", "a whole number of at least 1", str(frames))
        self._numbers = [Frechet() for _ in range(frames)]

    def add(self, predicted: Float32[np.ndarray, "n d"], truth: Float32[np.ndarray, "n d"]) -> None:
        """One clip: V T rows, view by view."""
        frames = len(self._numbers)
        if len(predicted) != len(truth) or len(truth) % frames:
            found = f"{len(predicted)} predicted and {len(truth)} true"
            raise FormatError("fid-vid-frames", f"rows of views of {frames} frames", found, "Is the option frames T?")
        for k, distance in enumerate(self._numbers):
            distance.add(predicted[k::frames], truth[k::frames])

    def value(self) -> float:
        """Raises MetricUnavailable where a frame number has fewer than two pictures."""
        return float(np.mean([distance.value() for distance in self._numbers]))


def load_pooled(weights: Mapping[str, Path]) -> Score:
    return Frechet


def load_frames(weights: Mapping[str, Path]) -> Score:
    return FramesFrechet


FID = Metric(
    id="fid-inception",
    version=1,
    definition=(
        "Frechet distance between all predicted and all true pictures: 2,048 pooled features of Inception v3 "
        "(TensorFlow's of 2015-12-05), resized to 299 x 299 as pytorch-fid does (bilinear, not antialiased)."
    ),
    unit="set",
    needs="features",
    direction="lower",
    units="1",
    perfect=0.0,
    weights=(),
    reference="Heusel et al. 2017; package pytorch-fid 0.3.0",
    load=load_pooled,
    feature=INCEPTION_FID,
)
FID_FLOOR = floor(FID)
FID_VID_FRAMES = replace(
    FID,
    id="fid-vid-frames",
    definition=(
        "STAG4D's FID-VID: the mean over frame numbers of the Frechet distance between all predicted and all true "
        "pictures at that number; Inception v3 as in fid-inception, but resized to 299 x 299 as TensorFlow 1 did."
    ),
    reference="STAG4D (Zeng et al. 2024), in the words of its author; torchmetrics' and torch-fidelity's network",
    load=load_frames,
    feature=INCEPTION_TF1,
)
FID_VID_FRAMES_FLOOR = floor(FID_VID_FRAMES)
