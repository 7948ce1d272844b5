"""Which voxels are neighbours: for each tap of a kernel, the pairs of rows that it connects."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

from .tensor import Sites, pack

Kernel = tuple[int, int, int, int]  # odd sizes along t, x, y, z


class Tap(NamedTuple):
    """The pairs of one tap: out[output] += W[place] @ in[input]. No row occurs twice in `output`, nor in `input`."""

    place: int  # of the tap in the kernel, the last axis fastest
    output: Int64[Tensor, " P"]
    input: Int64[Tensor, " P"]


def neighbours(sites: Sites, kernel: Kernel, num_frames: int) -> list[Tap]:
    """The pairs of all taps but the central one, which connects every row with itself.

    Tap a connects output p with input p + a - kernel // 2, where that voxel exists. Frames of other clips are no
    neighbours in time, whatever their slot.
    """
    frames = num_frames if kernel[0] > 1 else 1  # kernels without extent in time know no clips
    return sites.remember(("neighbours", kernel, frames), lambda: _find(sites, kernel, frames))


def _find(sites: Sites, kernel: Kernel, frames: int) -> list[Tap]:
    slot, *xyz = sites.coords.long().unbind(1)
    reach = [size // 2 for size in kernel]
    columns = [slot // frames, slot % frames, *xyz]
    # Margins as wide as the kernel's reach: a step over the edge of one axis cannot arrive at a voxel of another row.
    extent = [sites.clips(frames), *(n + 2 * r for n, r in zip([frames, *sites.extent], reach, strict=True))]
    padded = torch.stack(columns, dim=1) + torch.tensor([0, *reach], device=slot.device)
    keys, order = pack(padded, extent).sort()

    taps: list[Tap] = []
    offsets = list(itertools.product(*(range(-r, r + 1) for r in reach)))
    for number, offset in enumerate(offsets[: len(offsets) // 2]):
        delta = 0
        for step, size in zip(offset, extent[1:], strict=True):
            delta = delta * size + step
        wanted = keys + delta
        match = torch.searchsorted(keys, wanted).clamp_(max=len(keys) - 1)
        found = (keys[match] == wanted).nonzero()[:, 0]
        here, there = order[found], order[match[found]]
        taps.append(Tap(number, here, there))
        taps.append(Tap(len(offsets) - 1 - number, there, here))  # the opposite tap connects the same pairs
    return sorted(taps, key=lambda tap: tap.place)
