"""Inflated Inception (I3D, RGB; Carreira and Zisserman 2017) in the two published forms that papers take FVD from.

`i3d-400` is the PyTorch port with its file `i3d_pretrained_400.pt`, run as Consistent4D runs it. That script takes the
network from DisCo, which differs in two places from VideoGPT's and cd-fvd's network for the same file: BatchNorm's
epsilon (1e-3, theirs 1e-5) and the last pooling, over single time steps (theirs over two neighbouring ones).

`i3d-torchscript` is the file `i3d_torchscript.pt` of StyleGAN-V: a whole program, which torch.jit runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from pathlib import Path

import torch
from jaxtyping import Float32, UInt8
from torch import Tensor
from torch.nn.functional import avg_pool3d, conv3d, interpolate, max_pool3d, pad, relu

from bench4d.metric import MetricUnavailable, Network

from .resize import resize_float
from .state import Shapes, fold, norm_shapes, place, read_state

SIDE = 224
CLASSES = 400
EPSILON = 1e-3  # of BatchNorm, as in DisCo's network
PIECE = 32  # frames, in V2M4's scripts and those made after them
FEWEST = 10  # frames: with fewer the TorchScript network's last pooling has nothing left

# Convolution: channels out, channels in, kernel.
STEM = {"Conv3d_1a_7x7": (64, 3, 7), "Conv3d_2b_1x1": (64, 64, 1), "Conv3d_2c_3x3": (192, 64, 3)}
# Block: channels in, then out of b0, b1a, b1b, b2a, b2b, b3b.
MIXED = {
    "Mixed_3b": (192, 64, 96, 128, 16, 32, 32),
    "Mixed_3c": (256, 128, 128, 192, 32, 96, 64),
    "Mixed_4b": (480, 192, 96, 208, 16, 48, 64),
    "Mixed_4c": (512, 160, 112, 224, 24, 64, 64),
    "Mixed_4d": (512, 128, 128, 256, 24, 64, 64),
    "Mixed_4e": (512, 112, 144, 288, 32, 64, 64),
    "Mixed_4f": (528, 256, 160, 320, 32, 128, 128),
    "Mixed_5b": (832, 256, 160, 320, 32, 128, 128),
    "Mixed_5c": (832, 384, 192, 384, 48, 128, 128),
}
LAST = 1024


def units() -> dict[str, tuple[int, int, int]]:
    """Every convolution with a BatchNorm: channels out, channels in, kernel."""
    every = dict(STEM)
    for name, (into, b0, b1a, b1b, b2a, b2b, b3b) in MIXED.items():
        every |= {
            f"{name}.b0": (b0, into, 1),
            f"{name}.b1a": (b1a, into, 1),
            f"{name}.b1b": (b1b, b1a, 3),
            f"{name}.b2a": (b2a, into, 1),
            f"{name}.b2b": (b2b, b2a, 3),
            f"{name}.b3b": (b3b, into, 1),
        }
    return every


def shapes() -> Shapes:
    """The tensors of the published file."""
    every: dict[str, tuple[int, ...]] = {}
    for name, (out, into, kernel) in units().items():
        every[f"{name}.conv3d.weight"] = (out, into, kernel, kernel, kernel)
        every |= norm_shapes(f"{name}.bn", out)
    return every | {"logits.conv3d.weight": (CLASSES, LAST, 1, 1, 1), "logits.conv3d.bias": (CLASSES,)}


def prepare(state: Mapping[str, Tensor], epsilon: float = EPSILON) -> dict[str, Tensor]:
    """The weights that `i3d` takes: BatchNorm folded into the convolutions."""
    w = {"logits.weight": state["logits.conv3d.weight"], "logits.bias": state["logits.conv3d.bias"]}
    for name in units():
        folded = fold(state[f"{name}.conv3d.weight"], state, f"{name}.bn", epsilon)
        w[f"{name}.weight"], w[f"{name}.bias"] = folded
    return w


def i3d(x: Float32[Tensor, "N 3 T 224 224"], w: Mapping[str, Tensor], pooled: int = 1) -> Float32[Tensor, "N 400"]:
    """Logits, averaged over time.

    Args:
        x: in [-1, 1].
        w: from `prepare`.
        pooled: time steps that the last pooling averages: 1 as in DisCo, 2 as in VideoGPT (where T must be 9 or more).
    """

    def unit(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = w[f"{name}.weight"]
        x, padding = _same(x, weight.shape[2:], (stride,) * 3)
        return relu(conv3d(x, weight, w[f"{name}.bias"], stride=stride, padding=padding))

    def mixed(x: Tensor, name: str) -> Tensor:
        one = unit(x, f"{name}.b0")
        two = unit(unit(x, f"{name}.b1a"), f"{name}.b1b")
        three = unit(unit(x, f"{name}.b2a"), f"{name}.b2b")
        four = unit(_max_pool(x, (3, 3, 3), (1, 1, 1)), f"{name}.b3b")
        return torch.cat([one, two, three, four], dim=1)

    x = unit(x, "Conv3d_1a_7x7", stride=2)  # T/2, 112
    x = _max_pool(x, (1, 3, 3), (1, 2, 2))  # 56
    x = unit(unit(x, "Conv3d_2b_1x1"), "Conv3d_2c_3x3")
    x = _max_pool(x, (1, 3, 3), (1, 2, 2))  # 28
    x = mixed(mixed(x, "Mixed_3b"), "Mixed_3c")
    x = _max_pool(x, (3, 3, 3), (2, 2, 2))  # T/4, 14
    for name in ("Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e", "Mixed_4f"):
        x = mixed(x, name)
    x = _max_pool(x, (2, 2, 2), (2, 2, 2))  # T/8, 7
    x = mixed(mixed(x, "Mixed_5b"), "Mixed_5c")
    x = avg_pool3d(x, (pooled, 7, 7), stride=1)
    return conv3d(x, w["logits.weight"], w["logits.bias"]).mean(dim=(2, 3, 4))


def _same(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> tuple[Tensor, tuple[int, ...]]:
    """TensorFlow's SAME padding, which depends on the input's size: an odd zero is added here,
    the operator adds the returned rest to both sides."""
    total = [max(k - (n % s or s), 0) for n, k, s in zip(x.shape[2:], kernel, stride, strict=True)]
    even = tuple(t // 2 for t in total)
    if any(t % 2 for t in total):
        sides = [side for t in reversed(total) for side in (0, t % 2)]  # the odd one comes last
        x = pad(x, sides)
    return x, even


def _max_pool(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    """Input is not negative (it comes from a relu), so that padding with 0 and with nothing are the same."""
    x, padding = _same(x, kernel, stride)
    return max_pool3d(x, kernel, stride=stride, padding=padding)


def squash(film: UInt8[Tensor, "T H W 3"]) -> Float32[Tensor, "T 224 224 3"]:
    """Consistent4D's resize: each channel by Pillow in float (bicubic), aspect ratio not kept; to [-1, 1]."""
    return resize_float(film.float(), (SIDE, SIDE), "bicubic") / 127.5 - 1


def crop(film: UInt8[Tensor, "T H W 3"]) -> Float32[Tensor, "3 T 224 224"]:
    """StyleGAN-V's: shorter side to 224 (bilinear, not antialiased), the middle square; to [-1, 1]."""
    x = film.permute(3, 0, 1, 2).float() / 255
    height, width = x.shape[2:]
    scale = SIDE / min(height, width)
    size = (SIDE, ceil(width * scale)) if height < width else (ceil(height * scale), SIDE)
    x = interpolate(x, size=size, mode="bilinear", align_corners=False)
    top, left = (size[0] - SIDE) // 2, (size[1] - SIDE) // 2
    return (x[..., top : top + SIDE, left : left + SIDE] - 0.5) * 2


def load(weights: Mapping[str, Path], device: torch.device) -> Network:
    """`i3d-400`: films of any number of frames, one after the other, so that no batch changes a value."""
    w = place(prepare(read_state(weights["i3d-400"], shapes())), device)

    def network(pictures: UInt8[Tensor, "n T H W 3"]) -> Float32[Tensor, "n 400"]:
        return torch.cat([i3d(squash(film).permute(3, 0, 1, 2)[None], w).float() for film in pictures])

    return network


def load_torchscript(weights: Mapping[str, Path], device: torch.device) -> Network:
    """`i3d-torchscript`: films of 10 frames or more, one after the other; raises MetricUnavailable for shorter ones."""
    program = torch.jit.load(weights["i3d-torchscript"], map_location=device).eval()

    def network(pictures: UInt8[Tensor, "n T H W 3"]) -> Float32[Tensor, "n 400"]:
        if (found := pictures.shape[1]) < FEWEST:
            raise MetricUnavailable(f"i3d-torchscript needs films of {FEWEST} frames or more, these have {found}")
        vectors = [program(crop(film)[None], rescale=False, resize=False, return_features=True) for film in pictures]
        return torch.cat(vectors).float()

    return network


def pieces(film: UInt8[Tensor, "T H W 3"]) -> UInt8[Tensor, "m 32 H W 3"]:
    """V2M4's pieces of 32 frames, the rest left out; a shorter film is filled up, as Motion 3-to-4 does, with its last
    frames in reverse. Raises MetricUnavailable for less than 16 frames, which cannot fill it."""
    lacking = PIECE - len(film)
    if lacking > len(film):
        raise MetricUnavailable(f"pieces of {PIECE} frames need films of {PIECE // 2} or more, these have {len(film)}")
    if lacking > 0:
        film = torch.cat([film, film[-lacking:].flip(0)])
    return film[: len(film) // PIECE * PIECE].unflatten(0, (-1, PIECE))


def load_pieces(weights: Mapping[str, Path], device: torch.device) -> Network:
    """`i3d-torchscript-32`: the mean of the vectors of a film's pieces."""
    network = load_torchscript(weights, device)
    return lambda pictures: torch.stack([network(pieces(film)).mean(0) for film in pictures])
