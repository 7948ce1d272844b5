"""Stage 2 in training: condition clips and voxels -> structured latents. The image encoder is frozen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor, nn

from bench4d.cameras import Cameras
from bench4d.errors import FormatError
from bench4d.render import render_gaussians

from ..attention import use_kernel
from ..data.augment import on_black
from ..data.config import strict
from ..data.store import Batch, Store
from ..gaussian_decoder import SLatGaussianDecoder
from ..gaussians import GaussianFrame
from ..image_encoder import SmallImageEncoder
from ..latent_flow import SLatFlow4DModel, SparseResBlock
from ..pipeline import integrate
from ..sparse import Sites, SparseTensor, pool_space, pool_time, use_convolution
from . import latent_vae, losses
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
from .pictures import picture_sheet
from .task import Backend, Draws, build_networks, check_store, moved


class Inputs(NamedTuple):
    """Of B clips of n_frames.

    Attributes:
        latents: as the data set has them, on sites whose neighbours and coarser sites are known.
        clip: of each voxel.
        share: 1 / (clips * voxels of that voxel's clip): sums with it are means over clips.
        counts: voxels of each clip.
        condition: premultiplied pictures.
    """

    n_frames: int
    latents: SparseTensor
    clip: Tensor
    share: Float32[Tensor, " N"]
    counts: list[int]
    condition: UInt8[Tensor, "F S S 4"]


class LatentFlow:
    """See `Task`.

    Args:
        store: the encoded data set that is trained on; its normalisation holds for validation too.
        checkpoint: folder with stage 1's image encoder, and the Gaussian decoder for validation.
        encoder: another image encoder than that.
    """

    parts: tuple[str, ...] = ("voxels", "latents", "condition")
    validation_parts: tuple[str, ...] = ("voxels", "latents", "condition", "views")

    def __init__(
        self, section: Section, backend: Backend, store: Store, checkpoint: Path | None, encoder: Frozen | None = None
    ) -> None:
        self.backend = backend
        self.options = strict(FlowLoss, section.loss, f"{section.name}.loss")
        self.weights: Mapping[str, float] = {"mse": 1.0}
        if store.normalisation is None:
            next_step = "Use what `python -m ss4d.data encode` wrote."
            raise FormatError("data set for latent_flow", "mean and deviation of its latents", "none", next_step)
        self.networks = build_networks(section).to(backend.device)
        use_kernel(self.networks, backend.attention)
        use_convolution(self.networks, backend.convolution)
        mean, std = (torch.tensor(store.normalisation[key]) for key in ("mean", "std"))
        self.networks["normalisation"] = Normalisation(mean, std).to(backend.device)
        if checkpoint is None:
            wanted = "the folder of stage 1's image encoder and of the Gaussian decoder"
            raise FormatError("--checkpoint", wanted, "none", "See docs/training.md: Flows.")
        if encoder is None:
            small, sha256 = read_network(checkpoint, "image_encoder", backend.device)
            encoder = Frozen(cast(SmallImageEncoder, small), sha256)
        self.encoder = encoder.network
        # Part of what a run is: to go on, and to be assembled with stage 1, takes the same encoder.
        self.section = replace(section, networks={**section.networks, "image_encoder": {"sha256": encoder.sha256}})
        augment = store.config.augment if self.options.spoil else None
        self.condition = Condition(self.encoder, augment, backend.device)
        decoder, _ = read_network(checkpoint, "gaussian_decoder", backend.device)
        use_kernel(decoder, backend.attention)
        self.decoder = cast(SLatGaussianDecoder, decoder)

    def check(self, store: Store) -> None:
        check_store(self.section, store)
        config = _flow(self.networks).config
        if (found := store.tensors["latents"].shape[1]) != config.in_channels:
            raise FormatError("data set for latent_flow", f"latents of {config.in_channels} channels", f"{found}")
        self.condition.check(store, config.cond_channels)

    def prepare(self, batch: Batch) -> Inputs:
        if batch.latents is None or batch.condition is None:
            raise FormatError("data set", "latents and condition pictures", "a data set without them")
        sites = Sites(batch.coords, batch.slots)
        plan(_flow(self.networks), sites, batch.n_frames)
        clips = sites.clips(batch.n_frames)
        counts = [sum(sites.lengths[b * batch.n_frames : (b + 1) * batch.n_frames]) for b in range(clips)]
        clip = batch.coords[:, 0].long() // batch.n_frames
        weights = (1.0 / (clips * torch.tensor(counts))).to(clip.device, non_blocking=True)
        latents = SparseTensor.on(sites, batch.latents.float())
        return Inputs(batch.n_frames, latents, clip, weights[clip], counts, batch.condition)

    def loss(self, networks: nn.ModuleDict, inputs: Inputs, step: int, draws: Draws) -> dict[str, Float32[Tensor, ""]]:
        drawn = draw(draws, self.options)
        pictures = self.condition.spoilt(inputs.condition, inputs.n_frames, draws)
        return {"mse": self._mse(networks, inputs, pictures, drawn.t, drawn.keep, draws)}

    def _mse(
        self, networks: nn.ModuleDict, inputs: Inputs, pictures: Tensor, t: Tensor, keep: Tensor, draws: Draws
    ) -> Float32[Tensor, ""]:
        n_frames, sigma = inputs.n_frames, self.options.sampler.sigma_min
        x0 = _normalisation(networks).to_unit(inputs.latents.feats)
        noise = draws.normal([(count, x0.shape[1]) for count in inputs.counts])
        state = inputs.latents.replace(noisy(x0, noise, t[inputs.clip][:, None], sigma))
        with self.backend.autocast():
            cond = dropped(self._tokens(pictures), keep)
            velocity = networks["latent_flow"](state, 1000 * per_frame(t, n_frames), cond, n_frames)
        error = (velocity.feats.float() - target(x0, noise, sigma)).square().mean(1)
        return (error * inputs.share).sum()

    @torch.no_grad()
    def _tokens(self, pictures: Float32[Tensor, "F 3 S S"]) -> Float32[Tensor, "F M K"]:
        return self.condition.tokens(self.encoder, pictures)

    @torch.no_grad()
    def validate(self, networks: nn.ModuleDict, store: Store, clips: Sequence[int]) -> dict[str, float]:
        """PSNR and SSIM of all stored views of samples in the true voxels, and the loss on unspoilt clips, at times and
        noise that never change."""
        figures: dict[str, list[Tensor]] = {"psnr": [], "ssim": [], "mse": []}
        for clip in clips:
            truth, found = next(self.samples(networks, store, [clip]))
            figures["psnr"].append(losses.psnr(found, truth).mean())
            figures["ssim"].append(losses.ssim(found.double(), truth.double()).mean())
            inputs = self.prepare(self.cut(store, clip))
            draws = validation_draws(self.section.train.seed, clip, self.backend)
            drawn, pictures = draw(draws, self.options), on_black(inputs.condition)
            mse = self._mse(networks, inputs, pictures, drawn.t, torch.ones_like(drawn.keep), draws)
            figures["mse"].append(mse)
        return {name: torch.stack(values).mean().item() for name, values in figures.items()}

    def picture(self, networks: nn.ModuleDict, store: Store, clips: Sequence[int]) -> UInt8[np.ndarray, "H W 3"]:
        return picture_sheet(self.samples(networks, store, clips), store.tensors["views"].shape[1])

    @torch.no_grad()
    def samples(
        self, networks: nn.ModuleDict, store: Store, clips: Sequence[int]
    ) -> Iterator[tuple[Float32[Tensor, "P 3 S S"], Float32[Tensor, "P 3 S S"]]]:
        """True and sampled pictures of all views, on white and rounded to 8 bits: the first train.frames frames of a
        clip at a time, frame by frame and view by view."""
        for clip in clips:
            yield self.pictures(self.cut(store, clip), self.sample(networks, store, clip).feats)

    @torch.no_grad()
    def reconstruction(self, store: Store, clip: int) -> Float32[Tensor, "P 3 S S"]:
        """What `samples` gives where a sample is as the encoder has it: the best there is to expect."""
        batch = self.cut(store, clip)
        assert batch.latents is not None  # `prepare` has refused such data
        return self.pictures(batch, batch.latents.float())[1]

    def pictures(
        self, batch: Batch, latents: Float32[Tensor, "N L"]
    ) -> tuple[Float32[Tensor, "P 3 S S"], Float32[Tensor, "P 3 S S"]]:
        decoder = self.decoder
        given = latent_vae.prepare(nn.ModuleDict({"gaussian_decoder": decoder}), replace(batch, feats=batch.latents))
        if self.backend.rasteriser == "cuda":
            with self.backend.autocast():
                gaussians = latent_vae.decode(decoder, given.x.replace(latents), batch.n_frames)
            found = latent_vae.render(gaussians, given, "cuda").flatten(0, 1)
        else:  # nothing needs gradients here, and the benchmark's renderer is the quicker one
            found = _drawn(decoder(given.x.replace(latents), batch.n_frames), given)
        truth = losses.pictures(given.views.flatten(0, 1))
        white = torch.ones(len(truth), dtype=torch.bool, device=truth.device)
        rounded = [(losses.composite(image, white) * 255).round() / 255 for image in (truth, found)]
        return rounded[0], rounded[1]

    @torch.no_grad()
    def sample(self, networks: nn.ModuleDict, store: Store, clip: int) -> SparseTensor:
        """Latents of a clip's first train.frames frames in the true voxels, as the autoencoder has them."""
        inputs = self.prepare(self.cut(store, clip))
        x = inputs.latents
        noise = validation_noise(self.section.train.seed, clip, x.feats.shape, self.backend.device)
        with self.backend.autocast():
            cond = self._tokens(on_black(inputs.condition))
            z = integrate(_flow(networks), x.replace(noise), cond, self.options.sampler, inputs.n_frames)
        return x.replace(_normalisation(networks).to_data(z.feats.float()))

    def cut(self, store: Store, clip: int) -> Batch:
        count = min(self.section.train.frames, store.lengths[clip] // 2 * 2)
        first = [torch.Generator().manual_seed(0)]  # of a clip's condition cameras always the same
        cut = store.batch(torch.tensor([clip]), torch.tensor([0]), count, first, all_views=True)
        return moved(cut, self.backend.device)


def _drawn(frames: Sequence[GaussianFrame], given: latent_vae.Inputs) -> Float32[Tensor, "P 4 S S"]:
    """Premultiplied pictures by all cameras of each frame, on the CPU."""
    height, width = given.views.shape[2:4]
    poses, matrices = (x.double().cpu().numpy() for x in (given.camera_to_world, given.intrinsics))
    rigs = [Cameras(pose, matrix, width, height) for pose, matrix in zip(poses, matrices, strict=True)]
    drawn = [render_gaussians(frame.to_asset(), rig) for frame, rig in zip(frames, rigs, strict=True)]
    return torch.from_numpy(np.concatenate(drawn)).permute(0, 3, 1, 2).to(given.views.device)


def plan(network: SLatFlow4DModel, sites: Sites, n_frames: int) -> None:
    """Let sites remember all that the network asks of them, which makes the host wait for the device."""
    x, frames = SparseTensor.on(sites, sites.coords.new_zeros((len(sites.coords), 1), dtype=torch.float32)), n_frames
    for module in (*network.input_blocks, *network.input_blocks_t):
        block = cast(SparseResBlock, module)
        block.conv1.plan(x.sites, frames)  # also of the out block that comes back here
        for kind in block.down:
            x = pool_space(x) if kind == "space" else pool_time(x, frames)
            frames = frames // 2 if kind == "time" else frames
        block.conv1.plan(x.sites, frames)
    if network.config.conv_type == "non":
        pool_time(x, frames)


def _flow(networks: nn.ModuleDict) -> SLatFlow4DModel:
    return cast(SLatFlow4DModel, networks["latent_flow"])


def _normalisation(networks: nn.ModuleDict) -> Normalisation:
    return cast(Normalisation, networks["normalisation"])
