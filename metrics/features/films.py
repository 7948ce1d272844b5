"""The records of the networks that see films. Importing this does not import torch: the networks' files do that."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bench4d.metric import Feature, Network

if TYPE_CHECKING:
    import torch


def _i3d_400(weights: Mapping[str, Path], device: torch.device) -> Network:
    from .i3d import load

    return load(weights, device)


def _i3d_torchscript(weights: Mapping[str, Path], device: torch.device) -> Network:
    from .i3d import load_torchscript

    return load_torchscript(weights, device)


def _i3d_torchscript_32(weights: Mapping[str, Path], device: torch.device) -> Network:
    from .i3d import load_pieces

    return load_pieces(weights, device)


def _resnet50_kinetics(weights: Mapping[str, Path], device: torch.device) -> Network:
    from .resnet3d import load

    return load(weights, device)


def _videomae_ssv2(weights: Mapping[str, Path], device: torch.device) -> Network:
    from .videomae import load

    return load(weights, device)


I3D_400 = Feature(id="i3d-400", version=1, of="film", width=400, weights=("i3d-400",), load=_i3d_400)
I3D_TORCHSCRIPT = Feature(
    id="i3d-torchscript", version=1, of="film", width=400, weights=("i3d-torchscript",), load=_i3d_torchscript
)
I3D_TORCHSCRIPT_32 = Feature(
    id="i3d-torchscript-32", version=1, of="film", width=400, weights=("i3d-torchscript",), load=_i3d_torchscript_32
)
RESNET50_KINETICS = Feature(
    id="resnet50-kinetics", version=1, of="film", width=2048, weights=("resnet50-kinetics",), load=_resnet50_kinetics
)
VIDEOMAE_SSV2 = Feature(
    id="videomae-ssv2", version=1, of="film", width=1408, weights=("videomae-ssv2",), load=_videomae_ssv2
)
