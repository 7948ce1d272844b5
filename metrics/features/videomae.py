"""VideoMAE-v2 ViT-g/14 (Wang et al. 2023) fine-tuned on Something-Something v2, as content-debiased FVD uses it.

Ge et al. 2024 (package cd-fvd): frames to 224 x 224 (bilinear, not antialiased, aspect ratio not kept), values in
[0, 1], no other scaling, all frames of the film at once. The network was trained on 16 frames; for another number its
position codes are stretched along time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor
from torch.nn.functional import conv3d, gelu, interpolate, layer_norm, linear, scaled_dot_product_attention

from bench4d.metric import MetricUnavailable, Network

from .state import Shapes, place, read_state

SIDE, PATCH, TUBE = 224, 14, 2  # pixels, pixels, frames
GRID = SIDE // PATCH
FRAMES = 16  # of the films it was trained on
EPSILON = 1e-6  # of LayerNorm
CLASSES = 174


@dataclass(frozen=True)
class Config:
    """Sizes of the transformer; the defaults are ViT-g's."""

    width: int = 1408
    depth: int = 40
    heads: int = 16
    inner: int = 6144


VIT_G = Config()


def shapes(config: Config) -> Shapes:
    """The tensors of the published file."""
    d, h = config.width, config.inner
    every: dict[str, tuple[int, ...]] = {
        "patch_embed.proj.weight": (d, 3, TUBE, PATCH, PATCH),
        "patch_embed.proj.bias": (d,),
        "fc_norm.weight": (d,),
        "fc_norm.bias": (d,),
        "head.weight": (CLASSES, d),
        "head.bias": (CLASSES,),
    }
    for k in range(config.depth):
        block: dict[str, tuple[int, ...]] = {
            "norm1.weight": (d,),
            "norm1.bias": (d,),
            "attn.q_bias": (d,),
            "attn.v_bias": (d,),
            "attn.qkv.weight": (3 * d, d),
            "attn.proj.weight": (d, d),
            "attn.proj.bias": (d,),
            "norm2.weight": (d,),
            "norm2.bias": (d,),
            "mlp.fc1.weight": (h, d),
            "mlp.fc1.bias": (h,),
            "mlp.fc2.weight": (d, h),
            "mlp.fc2.bias": (d,),
        }
        every |= {f"blocks.{k}.{name}": shape for name, shape in block.items()}
    return every


def positions(frames: int, width: int) -> Float32[Tensor, "P d"]:
    """Sines and cosines of a token's number, in the order time, row, column.

    Another number of frames than 16 stretches the codes along time, by a factor that cd-fvd makes a little too large
    (0.1 of a time step) against rounding; the samples lie where that factor puts them.
    """
    number = np.arange(FRAMES // TUBE * GRID**2)[:, None]
    angle = number / 10000 ** (2 * (np.arange(width) // 2) / width)
    codes = torch.from_numpy(np.where(np.arange(width) % 2, np.cos(angle), np.sin(angle)).astype(np.float32))
    steps = frames // TUBE
    if steps == FRAMES // TUBE:
        return codes
    volume = codes.T.reshape(1, width, FRAMES // TUBE, GRID, GRID)
    factor = (steps + 0.1) / (FRAMES // TUBE)
    return interpolate(volume, scale_factor=(factor, 1, 1), mode="trilinear").reshape(width, -1).T


def videomae(x: Float32[Tensor, "N 3 T 224 224"], w: Mapping[str, Tensor], config: Config) -> Float32[Tensor, "N d"]:
    """The normalised mean of the last tokens; x in [0, 1], an odd last frame is not seen; `w` has the file's names."""
    x = conv3d(x, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=(TUBE, PATCH, PATCH))
    steps = x.shape[2]
    x = x.flatten(2).transpose(1, 2)  # [N, T/2 * 16 * 16, d]
    x = x + positions(TUBE * steps, config.width).to(x)
    for k in range(config.depth):
        name = f"blocks.{k}"
        x = x + attention(_norm(x, w, f"{name}.norm1"), w, f"{name}.attn", config.heads)
        y = gelu(linear(_norm(x, w, f"{name}.norm2"), w[f"{name}.mlp.fc1.weight"], w[f"{name}.mlp.fc1.bias"]))
        x = x + linear(y, w[f"{name}.mlp.fc2.weight"], w[f"{name}.mlp.fc2.bias"])
    return _norm(x.mean(dim=1), w, "fc_norm")


def attention(x: Float32[Tensor, "N P d"], w: Mapping[str, Tensor], name: str, heads: int) -> Float32[Tensor, "N P d"]:
    """Multi-head self-attention; queries and values have a bias, keys none."""
    q, v = w[f"{name}.q_bias"], w[f"{name}.v_bias"]
    qkv = linear(x, w[f"{name}.qkv.weight"], torch.cat([q, torch.zeros_like(q), v]))
    qkv = qkv.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)  # [3, N, heads, P, d / heads]
    x = scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
    return linear(x.transpose(1, 2).flatten(2), w[f"{name}.proj.weight"], w[f"{name}.proj.bias"])


def _norm(x: Tensor, w: Mapping[str, Tensor], name: str) -> Tensor:
    return layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], EPSILON)


def squash(film: UInt8[Tensor, "T H W 3"]) -> Float32[Tensor, "3 T 224 224"]:
    """The film as the network sees it."""
    x = film.permute(3, 0, 1, 2).float() / 255
    return interpolate(x, size=(SIDE, SIDE), mode="bilinear", align_corners=False)


def load(weights: Mapping[str, Path], device: torch.device, config: Config = VIT_G) -> Network:
    """Films of 2 frames or more, one after the other, so that no batch changes a value."""
    w = place(read_state(weights["videomae-ssv2"], shapes(config), inside=("model", "module")), device)

    def network(pictures: UInt8[Tensor, "n T H W 3"]) -> Float32[Tensor, "n d"]:
        if (found := pictures.shape[1]) < TUBE:
            raise MetricUnavailable(f"videomae-ssv2 needs films of {TUBE} frames or more, these have {found}")
        return torch.cat([videomae(squash(film)[None], w, config).float() for film in pictures])

    return network
