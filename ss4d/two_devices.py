"""Guidance on two devices: the pass that sees the images on one, the pass that sees nothing on the other."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, TypeVar, cast

import torch
from jaxtyping import Float
from torch import Tensor

from .latent_flow import SLatFlow4DModel
from .sparse import Sites, SparseTensor
from .structure_flow import SparseStructureFlow4DModel

Flow = SparseStructureFlow4DModel | SLatFlow4DModel
State = TypeVar("State", bound=Tensor | SparseTensor)


class TwoDevices:
    """A flow and its copy on another device; a `sampler.Prepared` network like the flow itself.

    The host enqueues both passes without waiting for either, so they run at the same time. What two passes on one
    device share (see `velocities` there) is computed twice.
    """

    def __init__(self, flow: Flow, device: torch.device | str) -> None:
        self.flow, self.device = flow, torch.device(device)
        self.copy = copy.deepcopy(flow).to(self.device)

    def conditions(self, cond: Float[Tensor, "F L K"], keep: bool = True) -> Sequence[Any]:
        return self.flow.conditions(cond, keep)

    def nothing(self) -> Sequence[Any]:
        return self.copy.nothing()

    def velocities(self, x: State, t: Float[Tensor, " 1"], conds: Sequence[Any], num_frames: int) -> list[State]:
        """As the flow's; the second condition, if there is one, is `nothing`."""
        own: Any = self.flow  # of the kind of x
        if len(conds) == 1:
            return cast(list[State], own.velocities(x, t, conds, num_frames))
        other: Any = self.copy
        (without,) = other.velocities(moved(x, self.device), t.to(self.device), conds[1:], num_frames)
        (seeing,) = own.velocities(x, t, conds[:1], num_frames)
        back = without.to(x.device) if isinstance(x, Tensor) else x.replace(without.feats.to(x.feats.device))
        return [seeing, cast(State, back)]


def moved(x: State, device: torch.device) -> State:
    """On another device; the sites there are made once."""
    if isinstance(x, Tensor):
        return cast(State, x.to(device))
    sites = x.sites.remember(("device", device), lambda: Sites(x.coords.to(device), x.slots))
    return cast(State, SparseTensor.on(sites, x.feats.to(device)))
