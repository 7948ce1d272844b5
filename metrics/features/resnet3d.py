"""3D ResNet-50 (Hara, Kataoka and Satoh 2018, shortcut B) trained on Kinetics-400, the network of DisCo's FID-VID.

Run as DisCo runs it: pieces of 16 frames, the last frame repeated to fill the last piece; 112 x 112; ActivityNet's mean
taken off, no scaling; the 2,048 numbers before the last layer, averaged over the pieces.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float32, UInt8
from torch import Tensor
from torch.nn.functional import conv3d, max_pool3d, relu

from bench4d.metric import Network

from .resize import resize_float
from .state import Shapes, fold, norm_shapes, place, read_state

SIDE = 112
PIECE = 16  # frames
MEAN = (114.7748, 107.7354, 99.4750)  # of ActivityNet, RGB, 0 to 255
EPSILON = 1e-5  # of BatchNorm
WIDTH = 2048
LAYERS = {"layer1": (64, 3), "layer2": (128, 4), "layer3": (256, 6), "layer4": (512, 3)}  # inner channels, blocks


def blocks() -> dict[str, tuple[int, int, bool]]:
    """Every bottleneck: channels in, inner channels (four times as many out), whether its shortcut is a convolution."""
    every, into = {}, 64
    for layer, (inner, count) in LAYERS.items():
        for k in range(count):
            every[f"{layer}.{k}"] = (into, inner, k == 0)
            into = 4 * inner
    return every


def convolutions() -> dict[str, tuple[str, tuple[int, ...]]]:
    """Every convolution: the BatchNorm after it, its shape."""
    every: dict[str, tuple[str, tuple[int, ...]]] = {"conv1": ("bn1", (64, 3, 7, 7, 7))}
    for name, (into, inner, projected) in blocks().items():
        every[f"{name}.conv1"] = (f"{name}.bn1", (inner, into, 1, 1, 1))
        every[f"{name}.conv2"] = (f"{name}.bn2", (inner, inner, 3, 3, 3))
        every[f"{name}.conv3"] = (f"{name}.bn3", (4 * inner, inner, 1, 1, 1))
        if projected:
            every[f"{name}.downsample.0"] = (f"{name}.downsample.1", (4 * inner, into, 1, 1, 1))
    return every


def shapes() -> Shapes:
    """The tensors of the published file, without its prefix "module."."""
    every: dict[str, tuple[int, ...]] = {"fc.weight": (400, WIDTH), "fc.bias": (400,)}
    for name, (norm, shape) in convolutions().items():
        every[f"{name}.weight"] = shape
        every |= norm_shapes(norm, shape[0])
    return every


def prepare(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights that `resnet50` takes: BatchNorm folded into the convolutions, no classifier."""
    w = {}
    for name, (norm, _) in convolutions().items():
        w[f"{name}.weight"], w[f"{name}.bias"] = fold(state[f"{name}.weight"], state, norm, EPSILON)
    return w


def resnet50(x: Float32[Tensor, "N 3 16 112 112"], w: Mapping[str, Tensor]) -> Float32[Tensor, "N 2048"]:
    """The mean activation of the last block; `w` from `prepare`."""

    def convolve(x: Tensor, name: str, stride: int | tuple[int, ...] = 1) -> Tensor:
        weight = w[f"{name}.weight"]
        return conv3d(x, weight, w[f"{name}.bias"], stride=stride, padding=weight.shape[2] // 2)

    x = relu(convolve(x, "conv1", stride=(1, 2, 2)))  # 16 x 56 x 56
    x = max_pool3d(x, 3, stride=2, padding=1)  # 8 x 28 x 28
    for name, (_, _, projected) in blocks().items():
        stride = 2 if projected and not name.startswith("layer1") else 1  # at last 1 x 4 x 4
        shortcut = convolve(x, f"{name}.downsample.0", stride) if projected else x
        x = relu(convolve(x, f"{name}.conv1"))
        x = relu(convolve(x, f"{name}.conv2", stride))
        x = relu(convolve(x, f"{name}.conv3") + shortcut)
    return x.mean(dim=(2, 3, 4))


def pieces(film: UInt8[Tensor, "T H W 3"]) -> Float32[Tensor, "P 3 16 112 112"]:
    """The film as the network sees it: each channel resized by Pillow in float (bicubic), aspect ratio not kept."""
    x = resize_float(film.float(), (SIDE, SIDE), "bicubic") - torch.tensor(MEAN, device=film.device)
    missing = -len(x) % PIECE
    x = torch.cat([x, x[-1:].expand(missing, -1, -1, -1)])
    return x.view(-1, PIECE, SIDE, SIDE, 3).permute(0, 4, 1, 2, 3)


def load(weights: Mapping[str, Path], device: torch.device) -> Network:
    """Films of any number of frames, one after the other, so that no batch changes a value."""
    state = read_state(weights["resnet50-kinetics"], shapes(), inside=("state_dict",), prefix="module.")
    w = place(prepare(state), device)

    def network(pictures: UInt8[Tensor, "n T H W 3"]) -> Float32[Tensor, "n 2048"]:
        return torch.stack([resnet50(pieces(film), w).float().mean(dim=0) for film in pictures])

    return network
