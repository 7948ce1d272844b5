"""The small layers that SS4D's networks share."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Shaped
from torch import Tensor, nn

from bench4d.errors import FormatError

from . import kernels


class LayerNorm32(nn.LayerNorm):
    """Layer norm over the last axis, computed in float32 whatever the input's dtype; its parameters stay float32."""

    fused = False  # see `use_fused`

    def __init__(self, channels: int, affine: bool, eps: float = 1e-6) -> None:
        super().__init__(channels, eps=eps, elementwise_affine=affine)

    def forward(
        self, x: Float[Tensor, "*batch C"], shift: Tensor | None = None, scale: Tensor | None = None, silu: bool = False
    ) -> Float[Tensor, "*batch C"]:
        """The norm, then `modulate` if there are `shift` and `scale`, then perhaps SiLU."""
        one_row = scale is None or scale.numel() == x.shape[-1]
        if self.fused and one_row and not torch.is_grad_enabled():
            factor, added = (self.weight, self.bias) if scale is None else (scale, shift)
            return kernels.norm_modulate(x, factor, added, self.eps, scale is not None, silu)
        y = super().forward(x.float()).to(x.dtype)
        if shift is not None and scale is not None:
            y = modulate(y, shift, scale)
        return F.silu(y) if silu else y


class MultiHeadRMSNorm(nn.Module):
    """Each head's vector scaled to length sqrt(D), times a learnt gain; computed in float32."""

    def __init__(self, head_channels: int, heads: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(heads, head_channels))

    def forward(self, x: Float[Tensor, "*batch H D"]) -> Float[Tensor, "*batch H D"]:
        return (F.normalize(x.float(), dim=-1) * self.gamma * math.sqrt(x.shape[-1])).to(x.dtype)


class FeedForward(nn.Module):
    def __init__(self, channels: int, ratio: float) -> None:
        super().__init__()
        hidden = int(channels * ratio)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, channels))

    def forward(self, x: Float[Tensor, "*batch C"]) -> Float[Tensor, "*batch C"]:
        return self.mlp(x)


class TimestepEmbedder(nn.Module):
    """Flow time (times 1000) to a vector, always in float32."""

    FEATURES = 256

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(self.FEATURES, channels), nn.SiLU(), nn.Linear(channels, channels))

    def forward(self, t: Float32[Tensor, " F"]) -> Float32[Tensor, "F C"]:
        half = self.FEATURES // 2
        k = torch.arange(half, dtype=torch.float32, device=t.device)
        angles = t[:, None].float() * torch.exp(-math.log(10000) * k / half)  # [F, 128]
        return self.mlp(torch.cat([angles.cos(), angles.sin()], dim=-1))


def position_embedding(positions: Shaped[Tensor, "N 3"], channels: int) -> Float32[Tensor, "N C"]:
    """Absolute embedding of integer voxel indices: for x, y and z sines then cosines, zero-padded to `channels`."""
    count = channels // 6
    if count == 0:
        raise FormatError("position embedding", "at least 6 channels", f"{channels}")
    frequencies = 10000 ** (-torch.arange(count, dtype=torch.float32, device=positions.device) / count)
    angles = positions.float()[..., None] * frequencies  # [N, 3, count]
    embedding = torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(1)  # [N, 6 count]
    return F.pad(embedding, (0, channels - 6 * count))


class Rotation(NamedTuple):
    """Cosines and sines of the angles by which the channel pairs of each token turn, the same for all its heads."""

    cos: Float32[Tensor, "*batch P"]
    sin: Float32[Tensor, "*batch P"]


def rotation(frame: Shaped[Tensor, "*batch"], head_channels: int, base: float = 10000.0) -> Rotation:
    """Rotary embedding in time: adjacent channel pairs turn by frame * base^(-pair / pairs).

    Args:
        frame: index of each token's frame within its clip; its shape must broadcast to that of the tokens.
        head_channels: D, two for each pair.
        base: the lowest frequency is about 1 / base.
    """
    pairs = head_channels // 2
    frequencies = base ** (-torch.arange(pairs, dtype=torch.float32, device=frame.device) / pairs)
    angles = frame.float()[..., None] * frequencies
    return Rotation(angles.cos(), angles.sin())


def rotate(x: Float[Tensor, "*batch H D"], by: Rotation) -> Float[Tensor, "*batch H D"]:
    """Queries or keys, turned; computed in float32."""
    cos, sin = by.cos[..., None, :], by.sin[..., None, :]
    real, imaginary = x.float().unflatten(-1, (-1, 2)).unbind(-1)  # [*batch, H, D/2] each
    turned = torch.stack([real * cos - imaginary * sin, real * sin + imaginary * cos], dim=-1)
    return turned.flatten(-2).to(x.dtype)


def modulate(x: Float[Tensor, "*batch C"], shift: Tensor, scale: Tensor) -> Float[Tensor, "*batch C"]:
    return x * (1 + scale) + shift


def initialise_linears(network: nn.Module) -> None:
    """The common start of all transformers: Xavier weights and no biases, but modulations and the output at zero.

    The modulation of an inserted temporal attention, `adaLN_modulation_temporal`, is not among those at zero.
    """
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Linear):
            parts = name.split(".")
            if parts[0] == "out_layer" or "adaLN_modulation" in parts:
                nn.init.zeros_(layer.weight)
            elif parts[0] == "t_embedder":
                nn.init.normal_(layer.weight, std=0.02)
            else:
                nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def torso_to_half(torso: nn.Module, kinds: tuple[type[nn.Module], ...] = (nn.Linear, nn.Conv3d)) -> None:
    """Store the layers of these `kinds` inside `torso` in float16; norms and gains keep their float32."""
    for layer in torso.modules():
        if isinstance(layer, kinds):
            layer.half()
