"""Pillow's antialiased resizing, bit for bit, for batches on any device.

Feature networks were trained and are scored with Pillow's filters; a resize that differs by a grey level moves every
number after it. Pillow works in fixed point: coefficients are rounded to 22 bits, sums are integers, and the picture is
rounded and clipped to 8 bits after the horizontal pass and again after the vertical one. All those integers are below
2^53, so float64 matrix products hold them exactly, in any order of summation, on a GPU as on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from bench4d.errors import FormatError

Filter = Literal["bilinear", "bicubic"]
PRECISION_BITS = 22  # of the fixed-point coefficients: 32 less 8 of the pixel and 2 for sums outside [0, 255]
BATCH_VALUES = 2**23  # pixels times channels in float64 at once: 64 MiB


def triangle(x: float) -> float:
    """Pillow's bilinear filter; reaches 1."""
    return max(0.0, 1.0 - abs(x))


def cubic(x: float) -> float:
    """Pillow's bicubic filter: Keys' cubic with a = -0.5 (others take -0.75); reaches 2."""
    a, x = -0.5, abs(x)
    if x < 1.0:
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    if x < 2.0:
        return (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return 0.0


FILTERS: dict[Filter, tuple[Callable[[float], float], float]] = {"bilinear": (triangle, 1.0), "bicubic": (cubic, 2.0)}


@lru_cache(maxsize=64)
def coefficients(before: int, after: int, filter: Filter, fixed_point: bool) -> Tensor:
    """Float64 [after, before]: what each old pixel gives to each new one, along one axis.

    The filter is stretched when shrinking (antialias) and cut off and normalised at the borders. With `fixed_point` the
    entries are integers, in units of 2^-22.
    """
    function, reach = FILTERS[filter]
    scale = before / after
    stretch = max(scale, 1.0)
    matrix = np.zeros((after, before))
    for row in range(after):
        centre = (row + 0.5) * scale
        first = max(0, int(centre - reach * stretch + 0.5))
        last = min(before, int(centre + reach * stretch + 0.5))
        weights = [function((k - centre + 0.5) * (1.0 / stretch)) for k in range(first, last)]
        total = 0.0  # summed as Pillow does: `sum` compensates its rounding from Python 3.12 on
        for weight in weights:
            total += weight
        matrix[row, first:last] = [weight / total for weight in weights]
    if fixed_point:
        matrix = np.trunc(np.copysign(0.5, matrix) + matrix * (1 << PRECISION_BITS))
    return torch.from_numpy(matrix)


def to_8_bits(sums: Tensor) -> Tensor:
    """Sums in units of 2^-22 to whole grey levels, halves up, cut off at 0 and 255."""
    return sums.add_(1 << (PRECISION_BITS - 1)).mul_(2.0**-PRECISION_BITS).floor_().clamp_(0, 255)


def to_float32(sums: Tensor) -> Tensor:
    """Rounded to single precision, as Pillow keeps pictures of mode "F", and held in double."""
    return sums.float().double()


def vertical_first(height: int, width: int, size: tuple[int, int]) -> bool:
    """Pillow 13's choice, found by comparing its output with both orders over 11,000 random sizes."""
    return size[0] < height and height - size[0] > 2 * (width - size[1])


def both_passes(
    pictures: Tensor, size: tuple[int, int], filter: Filter, fixed_point: bool, keep: Callable[[Tensor], Tensor]
) -> Tensor:
    """[n,H,W,C] to [n,h,w,C], one axis after the other; `keep` is what is stored after a pass."""
    if pictures.ndim != 4 or not pictures.shape[1] or not pictures.shape[2] or min(size) < 1:
        raise FormatError(
            "resize", "pictures [n,H,W,C] and a size of at least 1 x 1", f"{list(pictures.shape)} to {size}"
        )
    height, width = pictures.shape[1:3]
    step = max(1, BATCH_VALUES // (pictures[:1].numel() or 1))
    done = []
    for chunk in pictures.split(step):
        image = chunk.permute(0, 3, 1, 2).to(torch.float64, memory_format=torch.contiguous_format)
        for axis in ("down", "across") if vertical_first(height, width, size) else ("across", "down"):
            if axis == "across" and size[1] != width:
                image = keep(image @ coefficients(width, size[1], filter, fixed_point).to(pictures.device).T)
            if axis == "down" and size[0] != height:
                image = keep(coefficients(height, size[0], filter, fixed_point).to(pictures.device) @ image)
        done.append(image.to(pictures.dtype).permute(0, 2, 3, 1))
    return torch.cat(done).contiguous()


def resize(pictures: UInt8[Tensor, "n H W C"], size: tuple[int, int], filter: Filter) -> UInt8[Tensor, "n h w C"]:
    """PIL.Image.resize of each 8-bit picture to `size` (h, w): the same bytes, on any device."""
    if pictures.dtype != torch.uint8:
        raise FormatError("resize", "uint8 pictures", str(pictures.dtype), "For float32 there is resize_float.")
    return both_passes(pictures, size, filter, fixed_point=True, keep=to_8_bits)


def resize_float(
    pictures: Float32[Tensor, "n H W C"], size: tuple[int, int], filter: Filter
) -> Float32[Tensor, "n h w C"]:
    """PIL.Image.resize in mode "F" of each channel to `size` (h, w): nothing is rounded to 8 bits or clipped.

    Sums are in float64 and stored as float32 after each pass; the order of summation is not Pillow's, so that a sum
    halfway between two floats may be rounded to the other one.
    """
    if pictures.dtype != torch.float32:
        raise FormatError("resize_float", "float32 pictures", str(pictures.dtype), "For uint8 there is resize.")
    return both_passes(pictures, size, filter, fixed_point=False, keep=to_float32)
