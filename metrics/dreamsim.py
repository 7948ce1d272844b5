"""DreamSim (Fu et al. 2023): one less the cosine between two pictures' vectors of networks tuned on human choices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64

from bench4d.metric import Metric, Score

from .clip import cosine
from .features.pictures import DREAMSIM_DINO_VITB16, DREAMSIM_ENSEMBLE, DREAMSIM_ENSEMBLE_BILINEAR


def distance(predicted: Float32[np.ndarray, "n d"], truth: Float32[np.ndarray, "n d"]) -> Float64[np.ndarray, " n"]:
    """1 - cosine of each pair of rows; equal rows give exactly 0."""
    return 1 - cosine(predicted, truth)


def load(weights: Mapping[str, Path]) -> Score:
    return distance


DREAMSIM = Metric(
    id="dreamsim-ensemble",
    version=1,
    definition=(
        "DreamSim 0.2 with its default ensemble (DINO, CLIP, OpenCLIP ViT-B/16): 1 - cosine of the vectors, in [0, 2]; "
        "resized to 224 x 224 by Pillow (bicubic)."
    ),
    unit="clip",
    needs="features",
    direction="lower",
    units="1",
    perfect=0.0,
    weights=(),
    reference="Fu et al. 2023; package dreamsim 0.2.1",
    load=load,
    feature=DREAMSIM_ENSEMBLE,
)
DREAMSIM_DINO = replace(
    DREAMSIM,
    id="dreamsim-dino-vitb16",
    definition=(
        "DreamSim 0.2 with its single DINO ViT-B/16: 1 - cosine of the vectors, in [0, 2]; resized to 224 x 224 by "
        "Pillow (bicubic)."
    ),
    feature=DREAMSIM_DINO_VITB16,
)
DREAMSIM_BILINEAR = replace(
    DREAMSIM,
    id="dreamsim-ensemble-bilinear",
    definition=(
        "DreamSim 0.2 with its default ensemble as V2M4's script feeds it: 1 - cosine of the vectors, in [0, 2]; "
        "resized to 224 x 224 as torchvision does it on tensors (bilinear, antialiased, in float)."
    ),
    reference="Fu et al. 2023; evaluation code of WindVChen/V2M4",
    feature=DREAMSIM_ENSEMBLE_BILINEAR,
)
