"""The records of the networks that see single pictures. Importing this does not import torch: their files do that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bench4d.metric import Feature, Network

if TYPE_CHECKING:
    import torch


def _clip_vit_b32(weights: Mapping[str, Path], device: torch.device) -> Network:
    from .clip import load

    return load(weights["clip-vit-b32"], "ViT-B-32-quickgelu", device)


def _clip_vit_b32_text(weights: Mapping[str, Path], device: torch.device) -> Callable[[str], torch.Tensor]:
    from .clip import load_text

    return load_text(weights["clip-vit-b32"], "ViT-B-32-quickgelu", device)


def _clip_bigg14(weights: Mapping[str, Path], device: torch.device) -> Network:
    from .clip import load

    return load(weights["clip-bigg14"], "ViT-bigG-14", device)


def _inception_fid(weights: Mapping[str, Path], device: torch.device) -> Network:
    from .inception import load, prepare

    return load(weights["inception-fid"], prepare, device)


def _inception_tf1(weights: Mapping[str, Path], device: torch.device) -> Network:
    from .inception import load, prepare_tf1

    return load(weights["inception-fid"], prepare_tf1, device)


def _dreamsim_ensemble(weights: Mapping[str, Path], device: torch.device) -> Network:
    from .dreamsim import ENSEMBLE, load

    return load(weights["dreamsim-ensemble"], ENSEMBLE, "ensemble_lora", device)


def _dreamsim_ensemble_bilinear(weights: Mapping[str, Path], device: torch.device) -> Network:
    from .dreamsim import ENSEMBLE, load

    return load(weights["dreamsim-ensemble"], ENSEMBLE, "ensemble_lora", device, "bilinear")


def _dreamsim_dino_vitb16(weights: Mapping[str, Path], device: torch.device) -> Network:
    from .dreamsim import SINGLE, load

    return load(weights["dreamsim-dino-vitb16"], SINGLE, "dino_vitb16_single_lora", device)


CLIP_VIT_B32 = Feature(
    id="clip-vit-b32",
    version=1,
    of="picture",
    width=512,
    weights=("clip-vit-b32",),
    load=_clip_vit_b32,
    text=_clip_vit_b32_text,
)
CLIP_BIGG14 = Feature(
    id="clip-bigg14", version=1, of="picture", width=1280, weights=("clip-bigg14",), load=_clip_bigg14
)
INCEPTION_FID = Feature(
    id="inception-fid", version=1, of="picture", width=2048, weights=("inception-fid",), load=_inception_fid
)
INCEPTION_TF1 = Feature(
    id="inception-tf1", version=1, of="picture", width=2048, weights=("inception-fid",), load=_inception_tf1
)
DREAMSIM_ENSEMBLE = Feature(
    id="dreamsim-ensemble",
    version=1,
    of="picture",
    width=1792,
    weights=("dreamsim-ensemble",),
    load=_dreamsim_ensemble,
)
DREAMSIM_ENSEMBLE_BILINEAR = Feature(
    id="dreamsim-ensemble-bilinear",
    version=1,
    of="picture",
    width=1792,
    weights=("dreamsim-ensemble",),
    load=_dreamsim_ensemble_bilinear,
)
DREAMSIM_DINO_VITB16 = Feature(
    id="dreamsim-dino-vitb16",
    version=1,
    of="picture",
    width=768,
    weights=("dreamsim-dino-vitb16",),
    load=_dreamsim_dino_vitb16,
)
