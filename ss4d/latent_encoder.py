"""Image features gathered in voxels to structured latents: the other half of the Gaussian decoder, for training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from .config import config_from_args
from .sparse import SparseTensor
from .sparse_transformer import SparseTransformer, SparseTransformerConfig


@dataclass(frozen=True, kw_only=True)
class LatentEncoderConfig(SparseTransformerConfig):
    """The "args" of SLatEncoder: those of the transformer and the channels of its input."""

    in_channels: int


class SLatEncoder(SparseTransformer):
    config: LatentEncoderConfig

    def __init__(self, config: LatentEncoderConfig) -> None:
        super().__init__(config, config.in_channels, 2 * config.latent_channels)

    @classmethod
    def from_args(cls, args: Mapping[str, Any]) -> SLatEncoder:
        return cls(config_from_args(LatentEncoderConfig, args))

    def forward(self, x: SparseTensor, num_frames: int) -> tuple[SparseTensor, SparseTensor]:
        """Mean and logarithm of the variance of each voxel's latent."""
        mean, logvar = self.transform(x, num_frames).chunk(2, dim=1)  # [N, C] each
        return x.replace(mean), x.replace(logvar)


def draw_latent(mean: SparseTensor, logvar: SparseTensor, generator: torch.Generator | None = None) -> SparseTensor:
    """A sample of the latent distribution."""
    noise = torch.randn(mean.feats.shape, generator=generator, device=mean.feats.device, dtype=mean.feats.dtype)
    return mean.replace(mean.feats + torch.exp(0.5 * logvar.feats) * noise)
