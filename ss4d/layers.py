"""The small layers that SS4D's networks share."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Shaped
from torch import Tensor, nn

from bench4d.errors import FormatError


class LayerNorm32(nn.LayerNorm):
    """Layer norm over the last axis, computed in float32 whatever the input's dtype; its parameters stay float32."""

    def __init__(self, channels: int, affine: bool, eps: float = 1e-6) -> None:
        super().__init__(channels, eps=eps, elementwise_affine=affine)

    def forward(self, x: Float[Tensor, "*batch C"]) -> Float[Tensor, "*batch C"]:
        return super().forward(x.float()).to(x.dtype)


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


def rope_t(
    x: Float[Tensor, "*batch H D"], frame: Shaped[Tensor, "*batch"], base: float = 10000.0
) -> Float[Tensor, "*batch H D"]:
    """Rotary embedding in time: adjacent channel pairs turn by frame * base^(-pair / pairs); computed in float32.

    Args:
        x: queries or keys.
        frame: index of each token's frame within its clip; its shape must broadcast to that of x without [H, D].
        base: the lowest frequency is about 1 / base.
    """
    pairs = x.shape[-1] // 2
    frequencies = base ** (-torch.arange(pairs, dtype=torch.float32, device=x.device) / pairs)
    angles = (frame.float()[..., None] * frequencies)[..., None, :]  # [*batch, 1, D/2]: the same for all heads
    cos, sin = angles.cos(), angles.sin()
    real, imaginary = x.float().unflatten(-1, (pairs, 2)).unbind(-1)  # [*batch, H, D/2] each
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
