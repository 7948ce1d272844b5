"""The structure autoencoder in training: occupancy -> latent -> occupancy, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor, nn

from ..data.config import strict
from ..data.store import Batch, Store
from . import losses
from .config import Section
from .pictures import voxel_sheet
from .task import Backend, Draws, build_networks, check_store

CHUNK = 64  # frames at a time in validation


@dataclass(frozen=True)
class StructureLoss:
    """Weights of the terms."""

    dice: float = 1.0
    kl: float = 1e-3


class StructureVAE:
    """See `Task`."""

    parts: tuple[str, ...] = ("voxels",)
    validation_parts: tuple[str, ...] = parts

    def __init__(self, section: Section, backend: Backend) -> None:
        self.section, self.backend = section, backend
        loss = strict(StructureLoss, section.loss, f"{section.name}.loss")
        self.weights: Mapping[str, float] = {"dice": loss.dice, "kl": loss.kl}
        self.networks = build_networks(section).to(backend.device)

    def check(self, store: Store) -> None:
        check_store(self.section, store)

    def prepare(self, batch: Batch) -> Float32[Tensor, "F 1 R R R"]:
        return batch.occupancy(self.section.resolution)

    def loss(
        self, networks: nn.ModuleDict, inputs: Float32[Tensor, "F 1 R R R"], step: int, draws: Draws
    ) -> dict[str, Float32[Tensor, ""]]:
        with self.backend.autocast():
            _, mean, logvar = networks["structure_encoder"](inputs)  # [F, C, r, r, r]
            clips = len(draws.generators)
            noise = draws.normal([(len(mean) // clips, *mean.shape[1:])] * clips)
            logits = networks["structure_decoder"](mean + torch.exp(logvar / 2) * noise)
        return {"dice": losses.dice(logits, inputs), "kl": losses.kl(mean, logvar).mean()}

    def validate(self, networks: nn.ModuleDict, store: Store, clips: Sequence[int]) -> dict[str, float]:
        with self.backend.autocast():
            found = [losses.iou(logits, truth) for truth, logits in reconstruct(networks, store, clips)]
        return {"iou": torch.cat(found).mean().item()}

    def picture(self, networks: nn.ModuleDict, store: Store, clips: Sequence[int]) -> UInt8[np.ndarray, "H W 3"]:
        with self.backend.autocast():
            return comparison(networks, store, clips)


@torch.no_grad()
def reconstruct(
    networks: nn.ModuleDict, store: Store, clips: Sequence[int]
) -> Iterator[tuple[Float32[Tensor, "F 1 R R R"], Float32[Tensor, "F 1 R R R"]]]:
    """Occupancy and logits of all frames, a clip at a time. Latents are means; nothing is drawn."""
    device = next(networks.parameters()).device
    for clip in clips:
        batch = store.batch(torch.tensor([clip]), torch.tensor([0]), store.lengths[clip])
        truth = batch.occupancy(store.config.resolution).to(device)
        parts = [networks["structure_decoder"](networks["structure_encoder"](x)[0]) for x in truth.split(CHUNK)]
        yield truth, torch.cat(parts)


def comparison(networks: nn.ModuleDict, store: Store, clips: Sequence[int]) -> UInt8[np.ndarray, "H W 3"]:
    """A row a clip: truth and reconstruction of a few frames, seen from the front."""
    return voxel_sheet(reconstruct(networks, store, clips))
