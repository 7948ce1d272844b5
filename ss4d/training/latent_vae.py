"""The structured-latent autoencoder in training: voxel features -> latent -> Gaussians -> pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor, nn

from bench4d.errors import FormatError

from ..attention import use_kernel
from ..data.config import strict
from ..data.store import Batch, Store
from ..gaussian_decoder import SLatGaussianDecoder
from ..gaussians import GaussianFrame, read_gaussians
from ..sparse import Sites, SparseTensor
from ..sparse_transformer import SparseTransformerBlock
from . import losses
from .config import Section
from .lpips import Perceptual, find_weights
from .pictures import picture_sheet
from .task import Backend, Draws, Rasteriser, build_networks, check_store, moved

WINDOW = 16  # frames at a time in validation
EMPTY = (0.0, 0.0, 0.0, 1e-3, 1e-3, 1e-3, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)  # an invisible Gaussian, see `padded`


@dataclass(frozen=True)
class LatentLoss:
    """Weights of the terms, and at which size pictures are compared.

    Attributes:
        l1, ssim, lpips: of the pictures; lpips with AlexNet.
        kl: of the latents. The more, the less detail they hold, and the easier a flow can know them.
        kl_warmup: steps during which that weight rises from 0; the log has the term times the share reached.
        volume: of the Gaussians' mean product of scales. It grows with the cube of their size: coarser grids need less.
        opacity: of their mean squared distance from full opacity.
        coarse_steps, coarse_factor: during so many first steps pictures are this many times smaller.
    """

    l1: float = 1.0
    ssim: float = 0.2
    lpips: float = 0.2
    kl: float = 1e-6
    kl_warmup: int = 0
    volume: float = 1e4
    opacity: float = 1e-3
    coarse_steps: int = 0
    coarse_factor: int = 2


class Inputs(NamedTuple):
    """A batch with all that needed the host.

    Attributes:
        x: features on their sites; windows of attention are known.
        n_frames: of each clip.
        share: 1 / (frames * voxels of that voxel's frame): sums with it are means over frames.
        place: of each Gaussian in [F, longest].
        longest: Gaussians of the largest frame.
    """

    x: SparseTensor
    n_frames: int
    share: Float32[Tensor, " N"]
    place: Int64[Tensor, " NG"]
    longest: int
    views: UInt8[Tensor, "F V S S 4"]
    camera_to_world: Float32[Tensor, "F V 4 4"]
    intrinsics: Float32[Tensor, "F V 3 3"]


class LatentVAE:
    """See `Task`."""

    parts: tuple[str, ...] = ("voxels", "features", "views")
    validation_parts: tuple[str, ...] = parts

    def __init__(self, section: Section, backend: Backend, lpips_weights: Path | None = None) -> None:
        self.section, self.backend = section, backend
        self.options = strict(LatentLoss, section.loss, f"{section.name}.loss")
        terms = ("l1", "ssim", "lpips", "kl", "volume", "opacity")
        self.weights: Mapping[str, float] = {name: w for name in terms if (w := getattr(self.options, name))}
        self.perceptual = None
        if "lpips" in self.weights:
            self.perceptual = Perceptual(find_weights(lpips_weights), backend.device)
        self.networks = build_networks(section).to(backend.device)
        use_kernel(self.networks, backend.attention)

    def check(self, store: Store) -> None:
        check_store(self.section, store, self.section.networks["latent_encoder"]["in_channels"])

    def prepare(self, batch: Batch) -> Inputs:
        return prepare(self.networks, batch)

    def loss(self, networks: nn.ModuleDict, inputs: Inputs, step: int, draws: Draws) -> dict[str, Float32[Tensor, ""]]:
        with self.backend.autocast():
            mean, logvar = networks["latent_encoder"](inputs.x, inputs.n_frames)  # on N voxels
            counts = per_clip(inputs)
            noise = draws.normal([(count, mean.feats.shape[1]) for count in counts])
            z = mean.replace(mean.feats + torch.exp(0.5 * logvar.feats) * noise)
            gaussians = decode(_decoder(networks), z, inputs.n_frames)
        factor = self.options.coarse_factor if step < self.options.coarse_steps else 1
        white = draws.coin(inputs.n_frames)
        found = losses.composite(render(gaussians, inputs, self.backend.rasteriser, factor)[:, 0], white)
        truth = losses.composite(losses.pictures(inputs.views[:, 0], factor), white)
        per_voxel = len(inputs.place) // len(inputs.share)
        share = inputs.share.repeat_interleave(per_voxel) / per_voxel
        rise = min(1.0, step / self.options.kl_warmup) if self.options.kl_warmup else 1.0
        terms = {
            "kl": rise * (losses.kl(mean.feats, logvar.feats).mean(1) * inputs.share).sum(),
            "volume": (losses.volume(gaussians.scaling) * share).sum(),
            "opacity": (losses.opacity(gaussians.opacity[:, 0]) * share).sum(),
            "l1": (found - truth).abs().mean(),
            "ssim": (1 - losses.ssim(found, truth)).mean(),
        }
        if self.perceptual:
            terms["lpips"] = self.perceptual(found, truth).mean()
        return {name: terms[name] for name in self.weights}

    def validate(self, networks: nn.ModuleDict, store: Store, clips: Sequence[int]) -> dict[str, float]:
        figures: dict[str, list[Tensor]] = {"psnr": [], "ssim": []}
        with self.backend.autocast():
            for truth, found in reconstruct(networks, store, clips, self.backend.rasteriser):
                figures["psnr"].append(losses.psnr(found, truth))
                figures["ssim"].append(losses.ssim(found.double(), truth.double()))
        return {name: torch.cat(values).mean().item() for name, values in figures.items()}

    def picture(self, networks: nn.ModuleDict, store: Store, clips: Sequence[int]) -> UInt8[np.ndarray, "H W 3"]:
        with self.backend.autocast():
            return comparison(networks, store, clips, self.backend.rasteriser)


def prepare(networks: nn.ModuleDict, batch: Batch) -> Inputs:
    """Sites, windows and places of Gaussians of a batch. A batch of single views has V = 1."""
    if batch.feats is None or batch.views is None or batch.camera_to_world is None or batch.intrinsics is None:
        raise FormatError("data set", "features and views", "a data set without them")
    sites = Sites(batch.coords, batch.slots)
    x = SparseTensor.on(sites, batch.feats.float())
    for network in networks.values():
        for block in cast(list[SparseTransformerBlock], network.blocks):
            block.sequences(x, batch.n_frames)  # remembered by the sites, for both networks and all blocks
    per_voxel = _decoder(networks).config.representation_config.num_gaussians
    device = batch.coords.device
    lengths = torch.tensor(sites.lengths)
    if int(lengths.min()) == 0:
        raise FormatError("batch", "voxels in every frame", f"none in slot {sites.lengths.index(0)}")
    longest = max(sites.lengths) * per_voxel
    before = lengths.cumsum(0) - lengths
    here = torch.stack([before, lengths]).to(device, non_blocking=True)
    slot = batch.coords[:, 0].long()
    row = torch.arange(len(slot), device=device) - here[0][slot]  # of the voxel in its frame
    first = slot * longest + row * per_voxel
    place = (first[:, None] + torch.arange(per_voxel, device=device)).flatten()
    share = 1.0 / (batch.slots * here[1][slot])
    views, poses, matrices = batch.views, batch.camera_to_world, batch.intrinsics
    if views.ndim == 4:
        views, poses, matrices = views[:, None], poses[:, None], matrices[:, None]
    return Inputs(x, batch.n_frames, share, place, longest, views, poses, matrices)


def _decoder(networks: nn.ModuleDict) -> SLatGaussianDecoder:
    return cast(SLatGaussianDecoder, networks["gaussian_decoder"])


def per_clip(inputs: Inputs) -> list[int]:
    """Voxels of each clip."""
    lengths, frames = inputs.x.sites.lengths, inputs.n_frames
    return [sum(lengths[start : start + frames]) for start in range(0, len(lengths), frames)]


def decode(decoder: SLatGaussianDecoder, z: SparseTensor, n_frames: int) -> GaussianFrame:
    """The Gaussians of all frames in one piece, voxel after voxel: a few launches instead of as many a frame."""
    raw = decoder.transform(z, n_frames)
    config = decoder.config
    lattice = decoder.offset_perturbation
    return read_gaussians(raw, z.coords[:, 1:], lattice, config.resolution, config.representation_config)


def padded(gaussians: GaussianFrame, inputs: Inputs) -> tuple[Tensor, ...]:
    """Means, scales, quaternions, opacities and colours [F, longest, ...]; short frames end in invisible Gaussians."""
    color = (0.5 + 0.28209479177387814 * gaussians.features[:, 0]).clamp(min=0)
    parts = [gaussians.xyz, gaussians.scaling, gaussians.rotation, gaussians.opacity, color]
    rows = torch.cat(parts, dim=1).float()  # [N G, 14]
    frames = inputs.x.slots
    empty = torch.zeros((frames * inputs.longest, len(EMPTY)), device=rows.device)
    for column, value in enumerate(EMPTY):
        if value:
            empty[:, column] = value
    whole = empty.index_copy(0, inputs.place, rows).unflatten(0, (frames, inputs.longest))
    means, scales, quaternions, opacities, colors = whole.split([3, 3, 4, 1, 3], dim=2)
    return means, scales, quaternions, opacities[..., 0], colors


def render(
    gaussians: GaussianFrame, inputs: Inputs, rasteriser: Rasteriser, factor: int = 1
) -> Float32[Tensor, "F V 4 s s"]:
    """Premultiplied pictures by the cameras of the batch, `factor` times as small as the stored ones."""
    if rasteriser == "cuda":
        from bench4d.render.gaussians_cuda import rasterise
    elif rasteriser == "numba":
        from bench4d.render.gaussians_numba import rasterise
    else:
        from bench4d.render.gaussians_torch import rasterise
    height, width = inputs.views.shape[2:4]
    if height % factor or width % factor:
        raise FormatError("coarse_factor", f"a divisor of the pictures' {height} x {width} pixels", f"{factor}")
    matrices = inputs.intrinsics
    if factor > 1:  # pixel coordinates run from 0 at the image's edge: all but the last row shrink alike
        matrices = torch.cat([matrices[..., :2, :] / factor, matrices[..., 2:, :]], dim=-2)
    means, scales, quaternions, opacities, colors = padded(gaussians, inputs)
    size = height // factor, width // factor
    dilation = gaussians.representation.filter_2d
    image = rasterise(
        means, scales, quaternions, opacities, colors, inputs.camera_to_world, matrices, size, dilation, True
    )
    return image.permute(0, 1, 4, 2, 3)  # [F, V, 4, s, s]


@torch.no_grad()
def reconstruct(
    networks: nn.ModuleDict, store: Store, clips: Sequence[int], rasteriser: Rasteriser
) -> Iterator[tuple[Float32[Tensor, "P 3 S S"], Float32[Tensor, "P 3 S S"]]]:
    """True and reconstructed pictures of all views, on white and rounded to 8 bits; clip after clip, some frames at a
    time, frame by frame and view by view. Latents are means; nothing is drawn."""
    device = next(networks.parameters()).device
    for clip in clips:
        for start in range(0, store.lengths[clip], WINDOW):
            count = min(WINDOW, store.lengths[clip] - start)
            batch = store.batch(torch.tensor([clip]), torch.tensor([start]), count, all_views=True)
            inputs = prepare(networks, moved(batch, device))
            mean, _ = networks["latent_encoder"](inputs.x, count)
            found = render(decode(_decoder(networks), mean, count), inputs, rasteriser).flatten(0, 1)
            truth = losses.pictures(inputs.views.flatten(0, 1))
            white = torch.ones(len(truth), dtype=torch.bool, device=device)
            yield tuple((losses.composite(image, white) * 255).round() / 255 for image in (truth, found))  # type: ignore[misc]


def comparison(
    networks: nn.ModuleDict, store: Store, clips: Sequence[int], rasteriser: Rasteriser
) -> UInt8[np.ndarray, "H W 3"]:
    """A row a clip: truth and reconstruction of a few frames by their first cameras."""
    parts = (next(iter(reconstruct(networks, store, [clip], rasteriser))) for clip in clips)
    return picture_sheet(parts, store.tensors["views"].shape[1])
