"""Structured latents to Gaussians: a transformer over the voxels, then G Gaussians in each voxel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .config import config_from_args
from .gaussians import GaussianFrame, Representation, read_gaussians
from .sparse import SparseTensor
from .sparse_transformer import SparseTransformer, SparseTransformerConfig


@dataclass(frozen=True, kw_only=True)
class GaussianDecoderConfig(SparseTransformerConfig):
    """The "args" of SLatGaussianDecoder: those of the transformer and `representation_config`."""

    representation_config: Representation


class SLatGaussianDecoder(SparseTransformer):
    config: GaussianDecoderConfig
    offset_perturbation: Tensor  # [G, 3]

    def __init__(self, config: GaussianDecoderConfig) -> None:
        super().__init__(config, config.latent_channels, config.representation_config.channels)
        self.register_buffer("offset_perturbation", config.representation_config.lattice())

    @classmethod
    def from_args(cls, args: Mapping[str, Any]) -> SLatGaussianDecoder:
        if "representation_config" in args:
            args = {**args, "representation_config": Representation.from_args(args["representation_config"])}
        return cls(config_from_args(GaussianDecoderConfig, args))

    def forward(self, x: SparseTensor, num_frames: int) -> list[GaussianFrame]:
        """The Gaussians of each slot."""
        raw = x.replace(self.transform(x, num_frames))  # [N, 14 G]
        xyz = x.coords[:, 1:].split(x.sites.lengths)
        representation = self.config.representation_config
        return [
            read_gaussians(feats, voxels, self.offset_perturbation, self.config.resolution, representation)
            for feats, voxels in zip(raw.per_slot(), xyz, strict=True)
        ]
