"""Down- and up-sampling by two, in space or in time.

The pooled value is the children's sum divided by their number plus one. It is not their mean: the networks were
trained with a zero counted among the children.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from bench4d.errors import FormatError

from .tensor import Sites, SparseTensor, Step, pack


class Coarse(NamedTuple):
    """Sites at half the resolution, in lexicographic order of (slot, x, y, z)."""

    sites: Sites
    parent: Int64[Tensor, " N"]  # the coarse row of each fine row
    children: list[Int64[Tensor, " P"]]  # fine rows by their place within the parent: no two share a parent
    divisor: Float32[Tensor, "M 1"]  # children of each coarse row, plus one


def pool_space(x: SparseTensor) -> SparseTensor:
    """Halve x, y and z."""
    return _pool(x, "space")


def pool_time(x: SparseTensor, num_frames: int) -> SparseTensor:
    """Halve the number of slots. `num_frames`, before pooling, must be even: a pair of frames is of one clip."""
    x.sites.clips(num_frames)
    if num_frames % 2:
        raise FormatError("num_frames", "an even number, to pool frames in pairs", f"{num_frames}")
    return _pool(x, "time")


def unpool(x: SparseTensor, kind: str) -> SparseTensor:
    """Undo the last step of down-sampling, of this kind: each fine voxel gets its parent's features."""
    if not x.trail or x.trail[-1].kind != kind:
        found = f"{x.trail[-1].kind!r}" if x.trail else "no down-sampling"
        raise FormatError("up-sampling", f"a tensor whose last down-sampling was in {kind!r}", found)
    *rest, step = x.trail
    return SparseTensor.on(step.fine, x.feats.index_select(0, step.parent), tuple(rest))


def _pool(x: SparseTensor, kind: str) -> SparseTensor:
    coarse = x.sites.remember(("pool", kind), lambda: _coarsen(x.sites, kind))
    total = x.feats.new_zeros(
        (len(coarse.sites.coords), x.feats.shape[1]), dtype=torch.promote_types(x.feats.dtype, torch.float32)
    )
    for rows in coarse.children:  # place by place, so that the sum has one order, on GPUs too
        total = total.index_add(0, coarse.parent[rows], x.feats[rows].to(total.dtype))
    feats = (total / coarse.divisor).to(x.feats.dtype)
    return SparseTensor.on(coarse.sites, feats, (*x.trail, Step(kind, x.sites, coarse.parent)))


def _coarsen(sites: Sites, kind: str) -> Coarse:
    shape = torch.tensor([1, 2, 2, 2] if kind == "space" else [2, 1, 1, 1], device=sites.coords.device)
    coords = sites.coords.long()
    slots = sites.slots if kind == "space" else sites.slots // 2
    keys = pack(coords // shape, [slots, *sites.extent])
    unique, parent, count = keys.unique(return_inverse=True, return_counts=True)
    place = pack(coords % shape, shape.tolist())
    children = [rows for k in range(int(shape.prod())) if len(rows := (place == k).nonzero()[:, 0])]
    coarse_coords = torch.empty(len(unique), 4, dtype=torch.int32, device=coords.device)
    coarse_coords[parent] = (coords // shape).int()  # equal values meet
    return Coarse(Sites(coarse_coords, slots), parent, children, (count + 1).float()[:, None])
