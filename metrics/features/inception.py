"""Inception v3 as the FID uses it (Szegedy et al. 2016; TensorFlow's network of 2015-12-05): 2,048 pooled numbers.

It differs from torchvision's in its poolings: averages leave the padding out, and the last block takes a maximum. Two
ways of preparing pictures are in use, and they give different numbers: `prepare` (package pytorch-fid) and
`prepare_tf1` (TensorFlow's graph, torch-fidelity, torchmetrics).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from jaxtyping import Float32, UInt8
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, interpolate, max_pool2d, relu

from bench4d.metric import Network

from .state import Shapes, fold, norm_shapes, place, read_state

SIDE = 299
EPSILON = 1e-3  # of BatchNorm
# Convolution: channels in, channels out, kernel (height, width).
STEM = {
    "Conv2d_1a_3x3": (3, 32, 3, 3),
    "Conv2d_2a_3x3": (32, 32, 3, 3),
    "Conv2d_2b_3x3": (32, 64, 3, 3),
    "Conv2d_3b_1x1": (64, 80, 1, 1),
    "Conv2d_4a_3x3": (80, 192, 3, 3),
}
BLOCKS_A = {"Mixed_5b": (192, 32), "Mixed_5c": (256, 64), "Mixed_5d": (288, 64)}  # channels in, of the pooled branch
BLOCKS_C = {"Mixed_6b": 128, "Mixed_6c": 160, "Mixed_6d": 160, "Mixed_6e": 192}  # channels inside
BLOCKS_E = {"Mixed_7b": 1280, "Mixed_7c": 2048}  # channels in


def prepare(pictures: UInt8[Tensor, "n H W 3"]) -> Float32[Tensor, "n 3 299 299"]:
    """pytorch-fid's: to [0, 1], bilinear to 299 x 299 (half-pixel centres, not antialiased), to [-1, 1]."""
    image = pictures.permute(0, 3, 1, 2).float() / 255
    return 2 * interpolate(image, size=(SIDE, SIDE), mode="bilinear", align_corners=False) - 1


def prepare_tf1(pictures: UInt8[Tensor, "n H W 3"]) -> Float32[Tensor, "n 3 299 299"]:
    """TensorFlow 1's: bilinear from pixel corners (the picture moves by up to half a pixel), then (x - 128) / 128."""
    image = pictures.permute(0, 3, 1, 2).float()
    for axis in (3, 2):
        size = image.shape[axis]
        place = torch.arange(SIDE, device=image.device, dtype=torch.float32) * torch.tensor(size / SIDE)
        low = place.long().clamp_max(size - 1)
        high = (low + 1).clamp_max(size - 1)
        part = (place - low).view([-1, 1] if axis == 2 else [-1])
        first, second = image.index_select(axis, low), image.index_select(axis, high)
        image = first + (second - first) * part
    return (image - 128) / 128


def convolutions() -> dict[str, tuple[int, int, int, int]]:
    """Every convolution of the network: channels in, channels out, kernel."""
    table = dict(STEM)
    for name, (c, pooled) in BLOCKS_A.items():
        table |= {
            f"{name}.branch1x1": (c, 64, 1, 1),
            f"{name}.branch5x5_1": (c, 48, 1, 1),
            f"{name}.branch5x5_2": (48, 64, 5, 5),
            f"{name}.branch3x3dbl_1": (c, 64, 1, 1),
            f"{name}.branch3x3dbl_2": (64, 96, 3, 3),
            f"{name}.branch3x3dbl_3": (96, 96, 3, 3),
            f"{name}.branch_pool": (c, pooled, 1, 1),
        }
    table |= {
        "Mixed_6a.branch3x3": (288, 384, 3, 3),
        "Mixed_6a.branch3x3dbl_1": (288, 64, 1, 1),
        "Mixed_6a.branch3x3dbl_2": (64, 96, 3, 3),
        "Mixed_6a.branch3x3dbl_3": (96, 96, 3, 3),
    }
    for name, c in BLOCKS_C.items():
        table |= {
            f"{name}.branch1x1": (768, 192, 1, 1),
            f"{name}.branch7x7_1": (768, c, 1, 1),
            f"{name}.branch7x7_2": (c, c, 1, 7),
            f"{name}.branch7x7_3": (c, 192, 7, 1),
            f"{name}.branch7x7dbl_1": (768, c, 1, 1),
            f"{name}.branch7x7dbl_2": (c, c, 7, 1),
            f"{name}.branch7x7dbl_3": (c, c, 1, 7),
            f"{name}.branch7x7dbl_4": (c, c, 7, 1),
            f"{name}.branch7x7dbl_5": (c, 192, 1, 7),
            f"{name}.branch_pool": (768, 192, 1, 1),
        }
    table |= {
        "Mixed_7a.branch3x3_1": (768, 192, 1, 1),
        "Mixed_7a.branch3x3_2": (192, 320, 3, 3),
        "Mixed_7a.branch7x7x3_1": (768, 192, 1, 1),
        "Mixed_7a.branch7x7x3_2": (192, 192, 1, 7),
        "Mixed_7a.branch7x7x3_3": (192, 192, 7, 1),
        "Mixed_7a.branch7x7x3_4": (192, 192, 3, 3),
    }
    for name, c in BLOCKS_E.items():
        table |= {
            f"{name}.branch1x1": (c, 320, 1, 1),
            f"{name}.branch3x3_1": (c, 384, 1, 1),
            f"{name}.branch3x3_2a": (384, 384, 1, 3),
            f"{name}.branch3x3_2b": (384, 384, 3, 1),
            f"{name}.branch3x3dbl_1": (c, 448, 1, 1),
            f"{name}.branch3x3dbl_2": (448, 384, 3, 3),
            f"{name}.branch3x3dbl_3a": (384, 384, 1, 3),
            f"{name}.branch3x3dbl_3b": (384, 384, 3, 1),
            f"{name}.branch_pool": (c, 192, 1, 1),
        }
    return table


def shapes() -> Shapes:
    """The tensors of the published file; its last layer, which pooled features do not use, among them."""
    found: dict[str, tuple[int, ...]] = {"fc.weight": (1008, 2048), "fc.bias": (1008,)}
    for name, (c_in, c_out, height, width) in convolutions().items():
        found |= {f"{name}.conv.weight": (c_out, c_in, height, width), **norm_shapes(f"{name}.bn", c_out)}
    return found


def inception(x: Float32[Tensor, "n 3 299 299"], w: Mapping[str, Tensor]) -> Float32[Tensor, "n 2048"]:
    """`w`: "<convolution>.weight" and ".bias", with BatchNorm folded in."""

    def convolve(x: Tensor, name: str, stride: int = 1, same: bool = True) -> Tensor:
        weight = w[f"{name}.weight"]
        padding = (weight.shape[2] // 2, weight.shape[3] // 2) if same else (0, 0)
        return relu(conv2d(x, weight, w[f"{name}.bias"], stride=stride, padding=padding))

    def chain(x: Tensor, block: str, branch: str, *steps: str) -> Tensor:
        for step in steps:
            x = convolve(x, f"{block}.{branch}_{step}")
        return x

    def average(x: Tensor) -> Tensor:
        return avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)

    x = convolve(x, "Conv2d_1a_3x3", stride=2, same=False)
    x = convolve(x, "Conv2d_2a_3x3", same=False)
    x = max_pool2d(convolve(x, "Conv2d_2b_3x3"), 3, stride=2)
    x = convolve(x, "Conv2d_3b_1x1")
    x = max_pool2d(convolve(x, "Conv2d_4a_3x3", same=False), 3, stride=2)
    for b in BLOCKS_A:
        five, double = chain(x, b, "branch5x5", "1", "2"), chain(x, b, "branch3x3dbl", "1", "2", "3")
        pooled = convolve(average(x), f"{b}.branch_pool")
        x = torch.cat([convolve(x, f"{b}.branch1x1"), five, double, pooled], dim=1)
    double = chain(x, "Mixed_6a", "branch3x3dbl", "1", "2")
    double = convolve(double, "Mixed_6a.branch3x3dbl_3", stride=2, same=False)
    x = torch.cat([convolve(x, "Mixed_6a.branch3x3", stride=2, same=False), double, max_pool2d(x, 3, stride=2)], dim=1)
    for b in BLOCKS_C:
        seven, double = chain(x, b, "branch7x7", "1", "2", "3"), chain(x, b, "branch7x7dbl", "1", "2", "3", "4", "5")
        pooled = convolve(average(x), f"{b}.branch_pool")
        x = torch.cat([convolve(x, f"{b}.branch1x1"), seven, double, pooled], dim=1)
    three = convolve(chain(x, "Mixed_7a", "branch3x3", "1"), "Mixed_7a.branch3x3_2", stride=2, same=False)
    seven = chain(x, "Mixed_7a", "branch7x7x3", "1", "2", "3")
    seven = convolve(seven, "Mixed_7a.branch7x7x3_4", stride=2, same=False)
    x = torch.cat([three, seven, max_pool2d(x, 3, stride=2)], dim=1)
    for b in BLOCKS_E:
        three, double = chain(x, b, "branch3x3", "1"), chain(x, b, "branch3x3dbl", "1", "2")
        split = [convolve(three, f"{b}.branch3x3_2{side}") for side in "ab"]
        split += [convolve(double, f"{b}.branch3x3dbl_3{side}") for side in "ab"]
        pooled = average(x) if b == "Mixed_7b" else max_pool2d(x, 3, stride=1, padding=1)
        x = torch.cat([convolve(x, f"{b}.branch1x1"), *split, convolve(pooled, f"{b}.branch_pool")], dim=1)
    return x.mean(dim=(2, 3))


def load(path: Path, prepared: Callable[[Tensor], Tensor], device: torch.device) -> Network:
    """The network with one of the two ways of preparing pictures."""
    state, folded = read_state(path, shapes()), {}
    for name in convolutions():
        weight = state[f"{name}.conv.weight"]
        folded[f"{name}.weight"], folded[f"{name}.bias"] = fold(weight, state, f"{name}.bn", EPSILON)
    w = place(folded, device)

    def vectors(pictures: UInt8[Tensor, "n H W 3"]) -> Float32[Tensor, "n 2048"]:
        return inception(prepared(pictures), w).float()

    return vectors
