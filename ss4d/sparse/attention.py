"""Which voxels attend to which: partitions of the rows into sequences. No padding and no mask is needed.

The order of voxels inside a sequence has no influence on attention.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

from .tensor import Sites, pack


class Sequences(NamedTuple):
    """Rows in groups that see each other.

    Attributes:
        order: rows, group after group; None if they are in that order already.
        back: the place of each row in `order`.
        lengths: how many rows each group has.
    """

    order: Int64[Tensor, " N"] | None
    back: Int64[Tensor, " N"] | None
    lengths: list[int]

    def sort(self, x: Tensor) -> Tensor:
        """[N, ...] in the sites' order -> [N, ...] group after group."""
        return x if self.order is None or self.back is None else _Permute.apply(x, self.order, self.back)

    def unsort(self, x: Tensor) -> Tensor:
        """[N, ...] group after group -> [N, ...] in the sites' order."""
        return x if self.order is None or self.back is None else _Permute.apply(x, self.back, self.order)


class _Permute(torch.autograd.Function):
    """x[order], whose gradient is gathered too: `back` undoes `order`. index_select's own gradient is a sum by atomic
    additions, slower and in no fixed order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(order, back)
        return x.index_select(0, order)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        order, back = ctx.saved_tensors
        return _Permute.apply(gradient, back, order), None, None


def per_slot(sites: Sites) -> Sequences:
    """Each slot by itself."""
    return Sequences(None, None, sites.lengths)


def per_clip(sites: Sites, num_frames: int) -> Sequences:
    """All voxels of all slots of a clip together."""
    clips = sites.clips(num_frames)
    return Sequences(None, None, [sum(sites.lengths[b * num_frames : (b + 1) * num_frames]) for b in range(clips)])


def space_windows(sites: Sites, window: int, shift: int) -> Sequences:
    """Cubes of side `window` within a slot, moved by `shift` along x, y and z."""
    return sites.remember(("space", window, shift), lambda: _windows(sites, sites.coords[:, 0].long(), window, shift))


def time_windows(sites: Sites, num_frames: int, window: int, shift: int) -> Sequences:
    """Cubes of side `window` in space and time, moved by `shift` along all four axes.

    Windows in time count the slots of all clips through, so those of later clips begin at a clip's first frame only if
    num_frames is a multiple of `window`. Adding the clip's number keeps clips apart.
    """
    sites.clips(num_frames)
    slot = sites.coords[:, 0].long()
    group = (slot + shift) // window + slot // num_frames
    return sites.remember(("time", num_frames, window, shift), lambda: _windows(sites, group, window, shift))


def _windows(sites: Sites, group: Int64[Tensor, " N"], window: int, shift: int) -> Sequences:
    cells = (sites.coords[:, 1:].long() + shift) // window
    extent = [2 * (sites.slots + shift), *((size + shift) // window + 1 for size in sites.extent)]
    keys = pack(torch.cat([group[:, None], cells], dim=1), extent)
    order = keys.argsort(stable=True)
    lengths = keys[order].unique_consecutive(return_counts=True)[1].tolist()
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order), device=order.device)
    return Sequences(order, back, lengths)
