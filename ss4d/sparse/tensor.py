"""`SparseTensor`: feature vectors on `Sites`, the occupied voxels of F frame slots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int32, Int64, Integer
from torch import Tensor

from bench4d.errors import FormatError

Made = TypeVar("Made")


class Sites:
    """The voxels of F slots. Slots come in ascending order, voxels within a slot in any; slots may be empty.

    Sites never change, so whatever is worked out from them (neighbours, windows, coarser sites) is worked out once and
    kept here; all tensors on the same sites share it, over all layers and all steps of a sampler.
    """

    def __init__(self, coords: Int32[Tensor, "N 4"], slots: int) -> None:
        if coords.ndim != 2 or coords.shape[1] != 4 or coords.dtype != torch.int32:
            raise FormatError("coords", "int32 [N,4] = (slot, x, y, z)", f"{coords.dtype} {list(coords.shape)}")
        if not len(coords):
            raise FormatError("coords", "at least one voxel", "none", "The predicted structure is empty.")
        slot = coords[:, 0]
        low, high = coords.amin(0).tolist(), coords.amax(0).tolist()
        if min(low) < 0 or high[0] >= slots:
            expected = f"voxel indices >= 0 and slots from 0 to {slots - 1}"
            raise FormatError("coords", expected, f"(slot, x, y, z) from {low} to {high}")
        if bool((slot[1:] < slot[:-1]).any()):
            raise FormatError("coords", "slots in ascending order", "another order", "Sort the rows by slot.")
        self.coords, self.slots = coords, slots
        self.extent = [size + 1 for size in high[1:]]  # no x, y, z reaches these
        keys, self.order = pack(coords, [slots, *self.extent]).sort()
        if bool((keys[1:] == keys[:-1]).any()):
            raise FormatError("coords", "each voxel once", f"{int((keys[1:] == keys[:-1]).sum())} repeated rows")
        self.lengths: list[int] = torch.bincount(slot, minlength=slots).tolist()  # voxels of each slot
        self._memory: dict[Any, Any] = {}

    def remember(self, what: Any, make: Callable[[], Made]) -> Made:
        """What `make` returned the first time it was asked for `what`."""
        if what not in self._memory:
            self._memory[what] = make()
        return self._memory[what]

    def clips(self, num_frames: int) -> int:
        """How many clips of `num_frames` slots these are."""
        if num_frames < 1 or self.slots % num_frames:
            raise FormatError("num_frames", f"a divisor of the number of slots, {self.slots}", f"{num_frames}")
        return self.slots // num_frames


@dataclass(frozen=True)
class Step:
    """One step of down-sampling: what it started from, and which coarse row each fine row went into."""

    kind: str  # "space" or "time"
    fine: Sites
    parent: Int64[Tensor, " N"]


class SparseTensor:
    """A feature vector for each voxel.

    Attributes:
        feats: [N, C]
        coords: int32 [N, 4] = (slot, x, y, z); slot = clip * T + frame.
        slots: F. Given, not guessed: the last slots may be empty.
        sites: the coordinates as an object that tensors share.
        trail: the steps of down-sampling that led here, outermost first; up-sampling walks them back.
    """

    def __init__(self, feats: Float[Tensor, "N C"], coords: Integer[Tensor, "N 4"], slots: int) -> None:
        self._set(feats, Sites(coords if coords.is_floating_point() else coords.int().contiguous(), slots), ())

    @classmethod
    def on(cls, sites: Sites, feats: Float[Tensor, "N C"], trail: tuple[Step, ...] = ()) -> SparseTensor:
        """Features on sites that exist already."""
        tensor = cls.__new__(cls)
        tensor._set(feats, sites, trail)
        return tensor

    def _set(self, feats: Tensor, sites: Sites, trail: tuple[Step, ...]) -> None:
        if feats.ndim != 2 or len(feats) != len(sites.coords):
            raise FormatError("feats", f"[{len(sites.coords)}, C]: one row per voxel", f"{list(feats.shape)}")
        if feats.device != sites.coords.device:
            raise FormatError("feats", f"the device of coords, {sites.coords.device}", f"{feats.device}")
        self.feats, self.sites, self.trail = feats, sites, trail

    @property
    def coords(self) -> Int32[Tensor, "N 4"]:
        return self.sites.coords

    @property
    def slots(self) -> int:
        return self.sites.slots

    def __len__(self) -> int:
        return len(self.feats)

    def __repr__(self) -> str:
        return f"SparseTensor({len(self)} voxels in {self.slots} slots, {self.feats.shape[1]} channels)"

    def replace(self, feats: Float[Tensor, "N K"]) -> SparseTensor:
        """Other features on the same voxels."""
        return SparseTensor.on(self.sites, feats, self.trail)

    def rows(self, values: Float[Tensor, "F K"]) -> Float[Tensor, "N K"] | Float[Tensor, "1 K"]:
        """For each voxel the value of its slot, in the dtype of the features; a single row serves all, [1, K]."""
        if len(values) == 1:
            return values.to(self.feats.dtype)
        if len(values) != self.slots:
            raise FormatError("values per slot", f"{self.slots} rows", f"{len(values)}")
        return values.to(self.feats.dtype).index_select(0, self.coords[:, 0])

    def per_slot(self) -> list[Float[Tensor, "N_slot C"]]:
        """The features of each slot."""
        return list(self.feats.split(self.sites.lengths))


def pack(columns: Integer[Tensor, "N K"], extent: Sequence[int]) -> Int64[Tensor, " N"]:
    """One integer per row that sorts as the rows do; column k holds values from 0 to extent[k] - 1."""
    capacity = 1
    for size in extent:
        capacity *= size
    if capacity >= 2**62:
        raise FormatError("coords", "a grid whose voxels can be numbered in 62 bits", f"{list(extent)}")
    key = torch.zeros(len(columns), dtype=torch.int64, device=columns.device)
    for column, size in zip(columns.unbind(1), extent, strict=True):
        key = key * size + column
    return key
