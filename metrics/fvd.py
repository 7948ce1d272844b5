"""Frechet video distances, and what papers call by that name.

`fvd-c4d` is no distance between distributions: Consistent4D's script fits a "Gaussian" to a single film on each side.
All others pool the films of all clips.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64

from bench4d.errors import FormatError
from bench4d.metric import Metric, Score

from .features.films import I3D_400, I3D_TORCHSCRIPT, I3D_TORCHSCRIPT_32, VIDEOMAE_SSV2
from .frechet import Frechet
from .sets import floor


def fvd_c4d(predicted: Float32[np.ndarray, "n d"], truth: Float32[np.ndarray, "n d"]) -> Float64[np.ndarray, " n"]:
    """|a - b|^2 + (s(a) - s(b))^2 of each pair of rows; s: standard deviation over a row's d numbers, with d - 1.

    What Consistent4D's script gives with NumPy before 2.2: there the covariance of a single row is the variance of its
    numbers, one number instead of a matrix, and the trace formula leaves the squared difference of two deviations.
    """
    if predicted.shape != truth.shape or predicted.ndim != 2 or predicted.shape[1] < 2:
        found = f"{list(predicted.shape)} and {list(truth.shape)}"
        raise FormatError("fvd-c4d", "as many predicted as true rows [n,d], d at least 2", found)
    a, b = predicted.astype(np.float64), truth.astype(np.float64)
    return ((a - b) ** 2).sum(axis=1) + (a.std(axis=1, ddof=1) - b.std(axis=1, ddof=1)) ** 2


def load_fvd_c4d(weights: Mapping[str, Path]) -> Score:
    return fvd_c4d


def squared(predicted: Float32[np.ndarray, "n d"], truth: Float32[np.ndarray, "n d"]) -> Float64[np.ndarray, " n"]:
    """|a - b|^2 of each pair of rows: what is left of a Frechet distance without covariances."""
    return ((predicted.astype(np.float64) - truth.astype(np.float64)) ** 2).sum(axis=1)


def load_squared(weights: Mapping[str, Path]) -> Score:
    return squared


def load_frechet(weights: Mapping[str, Path]) -> Score:
    return Frechet


LOGITS = (
    "400 logits of I3D (Kinetics-400, PyTorch port in DisCo's form) averaged over time; every channel resized by "
    "Pillow (bicubic, in float) to 224 x 224, scaled to [-1, 1]"
)
FVD_C4D = Metric(
    id="fvd-c4d",
    version=1,
    definition=(
        f"Consistent4D's per-pair number, |a - b|^2 + (std(a) - std(b))^2 of one view's film and its truth: {LOGITS}."
    ),
    unit="clip",
    needs="features",
    direction="lower",
    units="1",
    perfect=0.0,
    weights=(),
    reference="Consistent4D (Jiang et al. 2024), evaluation/compute_fvd.py with NumPy 1.26",
    load=load_fvd_c4d,
    feature=I3D_400,
    films="view",
)
FVD_I3D = Metric(
    id="fvd-i3d",
    version=1,
    definition=f"Frechet distance between all predicted and all true films, one film a view: {LOGITS}.",
    unit="set",
    needs="features",
    direction="lower",
    units="1",
    perfect=0.0,
    weights=(),
    reference="Unterthiner et al. 2018; the network as in fvd-c4d",
    load=load_frechet,
    feature=I3D_400,
    films="view",
)
FVD_I3D_FLOOR = floor(FVD_I3D)
FVD_STYLEGAN_V = replace(
    FVD_I3D,
    id="fvd-stylegan-v",
    definition=(
        "Frechet distance between all predicted and all true films, one film a view: 400 features of StyleGAN-V's "
        "TorchScript I3D; shorter side to 224 (bilinear, not antialiased), the middle square, scaled to [-1, 1]."
    ),
    reference="Skorokhodov et al. 2022 (StyleGAN-V)",
    feature=I3D_TORCHSCRIPT,
)
FVD_STYLEGAN_V_FLOOR = floor(FVD_STYLEGAN_V)
FVD_STYLEGAN_V_PAIR = replace(
    FVD_C4D,
    id="fvd-stylegan-v-pair",
    definition=(
        "Motion 3-to-4's per-pair number, |a - b|^2 of one view's film and its truth: the mean over pieces of 32 "
        "frames (shorter films filled up with their last frames in reverse) of 400 features of StyleGAN-V's "
        "TorchScript I3D; "
        "shorter side to 224 (bilinear, not antialiased), the middle square, scaled to [-1, 1]."
    ),
    reference="Motion 3-to-4 2026 (arXiv 2601.14253), evaluation code of Inception3D/Motion324",
    load=load_squared,
    feature=I3D_TORCHSCRIPT_32,
)
FVD_VIDEOMAE = replace(
    FVD_I3D,
    id="fvd-videomae",
    definition=(
        "Content-debiased Frechet distance between all predicted and all true films, one film a view: 1,408 features "
        "of VideoMAE-v2 ViT-g/14 fine-tuned on Something-Something v2; resized to 224 x 224 (bilinear, not "
        "antialiased), in [0, 1]."
    ),
    reference="Ge et al. 2024; package cd-fvd 0.1.1",
    feature=VIDEOMAE_SSV2,
)
FVD_VIDEOMAE_FLOOR = floor(FVD_VIDEOMAE)

# SV4D's four (Xie et al. 2024). It is known which pictures make a film, not which I3D sees them. Here it is that of
# Consistent4D: it takes films of any length, and SV4D's table on Consistent4D's objects quotes numbers of that script.
SV4D = "Xie et al. 2024 (SV4D) for the films; the network as in fvd-c4d"
FVD_F = replace(
    FVD_I3D,
    id="fvd-f",
    definition=f"SV4D's FVD-F, a view's frames make a film; the same number as fvd-i3d: {LOGITS}.",
    reference=SV4D,
)
FVD_V = replace(
    FVD_I3D,
    id="fvd-v",
    definition=f"SV4D's FVD-V, all views of a moment make a film, in the order of the protocol: {LOGITS}.",
    reference=SV4D,
    films="time",
)
FVD_DIAG = replace(
    FVD_I3D,
    id="fvd-diag",
    definition=f"SV4D's FVD-Diag, one film a clip goes through views and frames at once (the diagonal): {LOGITS}.",
    reference=SV4D,
    films="diagonal",
)
FV4D = replace(
    FVD_I3D,
    id="fv4d",
    definition=f"SV4D's FV4D, all pictures of a clip make one film, every other view backwards: {LOGITS}.",
    reference=SV4D,
    films="raster",
)
FVD_F_FLOOR, FVD_V_FLOOR, FVD_DIAG_FLOOR, FV4D_FLOOR = map(floor, (FVD_F, FVD_V, FVD_DIAG, FV4D))
