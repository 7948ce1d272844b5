"""What the training loop asks of a network family, and the random numbers it gives.

A task owns networks and knows their loss; it has no state that training changes other than their weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8
from torch import Tensor, nn

from bench4d.errors import FormatError

from ..attention import Kernel
from ..checkpoint import NETWORKS
from ..data.store import Batch, Store
from ..image_encoder import SmallBlock
from ..sparse.conv import Method
from ..structure_flow import Block
from .config import CLASSES, Section, with_half

Precision = Literal["float32", "bfloat16"]
Rasteriser = Literal["torch", "numba", "cuda"]


@dataclass(frozen=True)
class Backend:
    """Where and how a training runs; nothing of it is guessed later.

    Attributes:
        device: of the networks.
        precision: "bfloat16" multiplies under autocast; weights and their updates are float32 either way.
        attention: kernel of packed attention, see `ss4d.attention`.
        convolution: of sparse tensors, see `ss4d.sparse.conv`.
        rasteriser: "torch" is slow and runs anywhere; "numba" is for CPUs; "cuda" needs gsplat.
        compile: let TorchInductor fuse the blocks of stage 1 and of the small image encoder, see `compile_blocks`.
    """

    device: torch.device
    precision: Precision
    attention: Kernel
    convolution: Method
    rasteriser: Rasteriser
    compile: bool = False

    @staticmethod
    def of(device: str) -> Backend:
        """The usual choices for "cpu", "cuda" or "cuda:1"."""
        place = torch.device(device)
        if place.type == "cpu":
            return Backend(place, "float32", "grouped", "taps", "numba")
        if place.type != "cuda" or not torch.cuda.is_available():
            raise FormatError("device", '"cpu", or "cuda" on a machine with a GPU', repr(device))
        place = torch.device("cuda", torch.cuda.current_device() if place.index is None else place.index)
        return Backend(place, "bfloat16", "varlen", "triton", "cuda")

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")


class Draws:
    """Random numbers of the rows of a batch: each row's come from its own seed, whatever else is in the batch."""

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self.device = device
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def normal(self, shapes: Sequence[Sequence[int]]) -> Float32[Tensor, "..."]:
        """Standard normal numbers: one shape a row, joined along the first axis."""
        parts = zip(shapes, self.generators, strict=True)
        return torch.cat([torch.randn(tuple(shape), generator=g, device=self.device) for shape, g in parts])

    def uniform(self, count: int) -> Float32[Tensor, "rows*count"]:
        """`count` numbers in [0, 1) a row."""
        return torch.cat([torch.rand(count, generator=g, device=self.device) for g in self.generators])

    def coin(self, count: int) -> Bool[Tensor, "rows*count"]:
        """`count` fair coins a row."""
        return self.uniform(count) < 0.5


class Task(Protocol):
    """A network family in training.

    Attributes:
        section: its configuration.
        networks: what is trained, by name.
        parts, validation_parts: tensors of a data set that training and validation need.
        weights: of the terms of the loss.
    """

    section: Section
    networks: nn.ModuleDict
    parts: tuple[str, ...]
    validation_parts: tuple[str, ...]
    weights: Mapping[str, float]

    def check(self, store: Store) -> None:
        """Raise FormatError if the data set does not fit the networks."""

    def prepare(self, batch: Batch) -> Any:
        """What `loss` needs of a batch: all that makes the host wait for the device happens here."""

    def loss(self, networks: nn.ModuleDict, inputs: Any, step: int, draws: Draws) -> dict[str, Float32[Tensor, ""]]:
        """The terms named in `weights`, unweighted; each a mean over the rows."""

    def validate(self, networks: nn.ModuleDict, store: Store, clips: Sequence[int]) -> dict[str, float]:
        """Figures over whole clips; the first one is what the family is judged by."""

    def picture(self, networks: nn.ModuleDict, store: Store, clips: Sequence[int]) -> UInt8[np.ndarray, "H W 3"]:
        """Truth beside reconstruction, for people."""


def build_networks(section: Section) -> nn.ModuleDict:
    """New networks in float32, from the section's seed; released half-precision arguments are for export."""
    networks = nn.ModuleDict()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(section.train.seed)
        for name, args in section.networks.items():
            kind = NETWORKS[CLASSES[name]]
            networks[name] = kind.from_args(with_half(name, args, False))  # type: ignore[attr-defined]
    return networks


def compile_blocks(networks: nn.Module) -> None:
    """Compile each transformer block on dense tokens, on its first use with new shapes. Results differ by rounding.

    Blocks of one kind share what was compiled. Those on sparse tokens stay as they are: their shapes always change.
    """
    torch._dynamo.config.cache_size_limit = 64  # phases of the curriculum x moved and unmoved windows
    for layer in networks.modules():
        if isinstance(layer, Block | SmallBlock):
            layer.compile(dynamic=False)


def check_store(section: Section, store: Store, features: int | None = None) -> None:
    """Raise FormatError unless the data set has the section's resolution and, if given, this width of features."""
    found = store.config
    if found.resolution != section.resolution:
        expected = f"resolution {section.resolution}, as the configuration says"
        raise FormatError(f"data set for {section.name}", expected, f"{found.resolution}")
    if features is not None and found.features.width != features:
        expected = f"{features} features a voxel, as latent_encoder's in_channels says"
        raise FormatError(f"data set for {section.name}", expected, f"{found.features.width}")


def moved(batch: Batch, device: torch.device) -> Batch:
    """The batch on `device`; itself if it is there."""
    if batch.coords.device == device:
        return batch
    tensors: dict[str, Any] = {
        name: value.to(device, non_blocking=True) for name, value in vars(batch).items() if isinstance(value, Tensor)
    }
    return replace(batch, **tensors)
