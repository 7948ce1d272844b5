"""Similarity of CLIP's vectors: of a picture and its truth, of a picture and the prompt, of successive pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64

from bench4d.errors import FormatError
from bench4d.metric import Metric, Score

from .features.pictures import CLIP_BIGG14, CLIP_VIT_B32

Rows = Float32[np.ndarray, "n d"]


def cosine(predicted: Rows, truth: Rows) -> Float64[np.ndarray, " n"]:
    """Cosine of the angle between each pair of rows; `truth` may be one row for all. Equal rows give exactly 1.

    >>> cosine(np.array([[3, 4], [0, 2]], np.float32), np.array([[6, 8]], np.float32)).tolist()
    [1.0, 0.8]
    """
    if predicted.ndim != 2 or truth.shape not in (predicted.shape, (1, *predicted.shape[1:])):
        found = f"{list(predicted.shape)} and {list(truth.shape)}"
        raise FormatError("cosine", "rows [n,d] and as many true ones, or one", found)
    a, b = predicted.astype(np.float64), np.broadcast_to(truth.astype(np.float64), predicted.shape)
    squares = (a * a).sum(axis=1) * (b * b).sum(axis=1)
    if not squares.all():
        raise FormatError("cosine", "vectors with a direction", "one of length 0", "Are the network's weights whole?")
    return np.clip((a * b).sum(axis=1) / np.sqrt(squares), -1, 1)


def successive(predicted: Rows, truth: Rows) -> Float64[np.ndarray, " n"]:
    """Cosine between each row and the next; NaN for the last. The truth is not looked at."""
    return np.append(cosine(predicted[:-1], predicted[1:]), np.nan)


def load_cosine(weights: Mapping[str, Path]) -> Score:
    return cosine


def load_successive(weights: Mapping[str, Path]) -> Score:
    return successive


PREPARED = "shorter side to 224 by Pillow (bicubic), the middle square, CLIP's mean and deviation, projected vectors"
CLIP_IMAGE = Metric(
    id="clip-vit-b32",
    version=1,
    definition=(
        "Cosine between the CLIP ViT-B/32 (OpenAI) image vectors of a picture and of its truth, same view and "
        f"frame, in [-1, 1]: {PREPARED}."
    ),
    unit="clip",
    needs="features",
    direction="higher",
    units="1",
    perfect=1.0,
    weights=(),
    reference="Radford et al. 2021; used so by Consistent4D (Jiang et al. 2024)",
    load=load_cosine,
    feature=CLIP_VIT_B32,
)
CLIP_IMAGE_BIGG14 = replace(
    CLIP_IMAGE,
    id="clip-bigg14",
    definition=(
        "Cosine between the OpenCLIP ViT-bigG/14 (laion2b_s39b_b160k) image vectors of a picture and of its truth, "
        f"same view and frame, in [-1, 1]: {PREPARED}."
    ),
    reference="Cherti et al. 2023 (OpenCLIP); used so by V2M4 (Chen et al. 2025)",
    feature=CLIP_BIGG14,
)
CLIP_TEXT = replace(
    CLIP_IMAGE,
    id="clip-text-vit-b32",
    definition=(
        "Cosine between the CLIP ViT-B/32 (OpenAI) vectors of a picture and of the clip's prompt, in [-1, 1]: "
        f"{PREPARED}."
    ),
    perfect=None,
    reference="Radford et al. 2021; Hessel et al. 2021 without their factor 2.5 and their cut at 0",
    against="prompt",
)
CLIP_TEMPORAL = replace(
    CLIP_IMAGE,
    id="clip-temporal-vit-b32",
    definition=(
        "Cosine between the CLIP ViT-B/32 (OpenAI) image vectors of successive predicted pictures of one view, in "
        f"[-1, 1]; a picture that stands still has 1: {PREPARED}."
    ),
    perfect=None,
    reference="Esser et al. 2023 (frame consistency)",
    load=load_successive,
)
