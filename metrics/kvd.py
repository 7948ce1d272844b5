"""Kernel video distances: unbiased also for few films, where a Frechet distance says little."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from bench4d.metric import Score

from .fvd import FVD_I3D, FVD_VIDEOMAE, LOGITS
from .kernel import Kernel
from .sets import floor


def load_kernel(weights: Mapping[str, Path]) -> Score:
    return Kernel


KVD_I3D = replace(
    FVD_I3D,
    id="kvd-i3d",
    definition=(
        "Squared maximum mean discrepancy (unbiased, kernel (x.y / 400 + 1)^3) between all predicted and all true "
        f"films, one film a view: {LOGITS}."
    ),
    reference="Binkowski et al. 2018 for the statistic; the network as in fvd-c4d",
    load=load_kernel,
)
KVD_I3D_FLOOR = floor(KVD_I3D)
KVD_VIDEOMAE = replace(
    FVD_VIDEOMAE,
    id="kvd-videomae",
    definition=(
        "Squared maximum mean discrepancy (unbiased, kernel (x.y / 1408 + 1)^3) between all predicted and all true "
        "films, one film a view: 1,408 features of VideoMAE-v2 ViT-g/14 fine-tuned on Something-Something v2; resized "
        "to 224 x 224 (bilinear, not antialiased), in [0, 1]."
    ),
    reference="Binkowski et al. 2018 for the statistic; Ge et al. 2024 for the features",
    load=load_kernel,
)
KVD_VIDEOMAE_FLOOR = floor(KVD_VIDEOMAE)
