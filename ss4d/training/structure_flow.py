"""Stage 1 in training: condition clips -> structure latents. A small image encoder is trained along; DINOv2 is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor, nn

from bench4d.errors import FormatError

from ..attention import use_kernel
from ..data.augment import on_black
from ..data.config import strict
from ..data.store import Batch, Store
from ..image_encoder import SmallImageEncoder
from ..pipeline import integrate
from ..structure_flow import SparseStructureFlow4DModel
from ..structure_vae import SparseStructureDecoder, SparseStructureEncoder
from . import losses
from .config import Section
from .export import read_network
from .flow import (
    Condition,
    FlowLoss,
    Frozen,
    Normalisation,
    draw,
    dropped,
    noisy,
    per_frame,
    target,
    validation_draws,
    validation_noise,
)
from .pictures import voxel_sheet
from .task import Backend, Draws, build_networks, check_store, moved

CHUNK = 2048  # frames at a time where deviations are measured


class Inputs(NamedTuple):
    """Of B clips of n_frames: latents as the data set has them, and premultiplied pictures."""

    n_frames: int
    latents: Float32[Tensor, "F L r r r"]
    condition: UInt8[Tensor, "F S S 4"]


class StructureFlow:
    """See `Task`. Latents are divided by their deviation per channel; `fold_scale` is what becomes of it.

    Args:
        store: the encoded data set that is trained on.
        checkpoint: folder with the structure autoencoder that encoded it; only validation needs its decoder.
        encoder: taken as it is, where the section has none to train.
    """

    parts: tuple[str, ...] = ("voxels", "structure_latents", "condition")
    validation_parts: tuple[str, ...] = parts

    def __init__(
        self,
        section: Section,
        backend: Backend,
        store: Store,
        checkpoint: Path | None = None,
        encoder: Frozen | None = None,
    ) -> None:
        if ("image_encoder" in section.networks) == (encoder is not None):
            expected = "one: networks.image_encoder is trained, or --image-encoder is taken as it is"
            raise FormatError(f"image encoder of {section.name}", expected, "both" if encoder else "neither")
        self.section, self.backend, self.encoder = section, backend, encoder
        self.options = strict(FlowLoss, section.loss, f"{section.name}.loss")
        self.weights: Mapping[str, float] = {"mse": 1.0}
        self.networks = build_networks(section).to(backend.device)
        use_kernel(self.networks, backend.attention)
        std = deviations(store)
        self.networks["normalisation"] = Normalisation(torch.zeros_like(std), std).to(backend.device)
        if encoder:
            self.section = replace(section, networks={"image_encoder": {"sha256": encoder.sha256}, **section.networks})
        own = encoder.network if encoder else cast(SmallImageEncoder, self.networks["image_encoder"])
        self.condition = Condition(own, store.config.augment if self.options.spoil else None, backend.device)
        self.decoder: nn.Module | None = None
        if checkpoint is not None:
            self.decoder, _ = read_network(checkpoint, "structure_decoder", backend.device)

    def check(self, store: Store) -> None:
        check_store(self.section, store)
        config = _flow(self.networks).config
        shape = [config.in_channels, *[config.resolution] * 3]
        if (found := list(store.tensors["structure_latents"].shape[1:])) != shape:
            raise FormatError("data set for structure_flow", f"structure latents {shape}", f"{found}")
        self.condition.check(store, config.cond_channels)

    def prepare(self, batch: Batch) -> Inputs:
        if batch.structure_latents is None or batch.condition is None:
            raise FormatError("data set", "structure latents and condition pictures", "a data set without them")
        return Inputs(batch.n_frames, batch.structure_latents.float(), batch.condition)

    def loss(self, networks: nn.ModuleDict, inputs: Inputs, step: int, draws: Draws) -> dict[str, Float32[Tensor, ""]]:
        drawn = draw(draws, self.options)
        pictures = self.condition.spoilt(inputs.condition, inputs.n_frames, draws)
        return {"mse": self._mse(networks, inputs, pictures, drawn.t, drawn.keep, draws)}

    def _mse(
        self, networks: nn.ModuleDict, inputs: Inputs, pictures: Tensor, t: Tensor, keep: Tensor, draws: Draws
    ) -> Float32[Tensor, ""]:
        n_frames, sigma = inputs.n_frames, self.options.sampler.sigma_min
        x0 = cast(Normalisation, networks["normalisation"]).to_unit(inputs.latents)
        noise = draws.normal([(n_frames, *x0.shape[1:])] * len(t))
        t = per_frame(t, n_frames)  # [F]
        state = noisy(x0, noise, t[:, None, None, None, None], sigma)
        with self.backend.autocast():
            cond = dropped(self._tokens(networks, pictures), keep)
            velocity = networks["structure_flow"](state, 1000 * t, cond, n_frames)
        return (velocity.float() - target(x0, noise, sigma)).square().mean()

    def _tokens(self, networks: nn.ModuleDict, pictures: Float32[Tensor, "F 3 S S"]) -> Float32[Tensor, "F M K"]:
        if self.encoder is None:
            return self.condition.tokens(networks["image_encoder"], pictures)
        with torch.no_grad():
            return self.condition.tokens(self.encoder.network, pictures)

    @torch.no_grad()
    def validate(self, networks: nn.ModuleDict, store: Store, clips: Sequence[int]) -> dict[str, float]:
        """IoU of sampled and true voxels, and the loss on unspoilt clips, at times and noise that never change."""
        found = [losses.iou(logits, truth) for truth, logits in self.samples(networks, store, clips)]
        mse = []
        for clip in clips:
            inputs = self.prepare(self.cut(store, clip))
            draws = validation_draws(self.section.train.seed, clip, self.backend)
            drawn = draw(draws, self.options)
            pictures = on_black(inputs.condition)
            mse.append(self._mse(networks, inputs, pictures, drawn.t, torch.ones_like(drawn.keep), draws))
        return {"iou": torch.cat(found).mean().item(), "mse": torch.stack(mse).mean().item()}

    def picture(self, networks: nn.ModuleDict, store: Store, clips: Sequence[int]) -> UInt8[np.ndarray, "H W 3"]:
        return voxel_sheet(self.samples(networks, store, clips))

    @torch.no_grad()
    def samples(
        self, networks: nn.ModuleDict, store: Store, clips: Sequence[int]
    ) -> Iterator[tuple[Float32[Tensor, "F 1 R R R"], Float32[Tensor, "F 1 R R R"]]]:
        """Occupancy, and the decoded logits of a sample, clip after clip."""
        if self.decoder is None:
            raise FormatError("--checkpoint", "the folder of the structure decoder, for validation", "none")
        for clip in clips:
            truth = self.cut(store, clip).occupancy(self.section.resolution)
            yield truth, self.decoder(self.sample(networks, store, clip))

    @torch.no_grad()
    def sample(self, networks: nn.ModuleDict, store: Store, clip: int) -> Float32[Tensor, "F L r r r"]:
        """Structure latents of a clip's first train.frames frames, as the autoencoder has them; always one noise."""
        flow, inputs = _flow(networks), self.prepare(self.cut(store, clip))
        noise = validation_noise(self.section.train.seed, clip, inputs.latents.shape, self.backend.device)
        with self.backend.autocast():
            cond = self._tokens(networks, on_black(inputs.condition))
            z = integrate(flow, noise, cond, self.options.sampler, inputs.n_frames)
        return cast(Normalisation, networks["normalisation"]).to_data(z.float())

    def cut(self, store: Store, clip: int) -> Batch:
        count = min(self.section.train.frames, store.lengths[clip])
        first = [torch.Generator().manual_seed(0)]  # of a clip's condition cameras always the same
        return moved(store.batch(torch.tensor([clip]), torch.tensor([0]), count, first), self.backend.device)


def deviations(store: Store) -> Float32[Tensor, " L"]:
    """Of each channel of the structure latents, over all voxels of all frames."""
    latents = store.tensors["structure_latents"]
    sums = torch.zeros((2, latents.shape[1]), dtype=torch.float64, device=latents.device)
    for part in latents.split(CHUNK):
        x = part.double()
        sums += torch.stack([x.sum((0, 2, 3, 4)), x.square().sum((0, 2, 3, 4))])
    mean, square = sums / (latents.numel() / latents.shape[1])
    return (square - mean.square()).clamp_min(0).sqrt().float()


@torch.no_grad()
def fold_scale(
    encoder: SparseStructureEncoder | None, decoder: SparseStructureDecoder, std: Float32[Tensor, " L"]
) -> None:
    """Change an autoencoder's weights so that its latents are z / std: stage 1 of the pipeline knows no normalisation.

    Reconstructions stay what they were up to rounding. There is no such way for a mean: convolutions pad with zeros.
    """
    decoder.input_layer.weight.mul_(std.view(1, -1, 1, 1, 1))
    if encoder is None:
        return
    last = cast(nn.Conv3d, encoder.out_layer[-1])
    bias = cast(Tensor, last.bias)
    mean_rows, logvar_rows = slice(0, len(std)), slice(len(std), None)
    last.weight[mean_rows].div_(std.view(-1, 1, 1, 1, 1))
    bias[mean_rows].div_(std)
    bias[logvar_rows].sub_(2 * std.log())


def _flow(networks: nn.ModuleDict) -> SparseStructureFlow4DModel:
    return cast(SparseStructureFlow4DModel, networks["structure_flow"])
