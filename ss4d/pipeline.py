"""The whole of SS4D's inference: frames in, Gaussians out, in the order that decides which noise meets what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int32, UInt8
from PIL import Image
from torch import Tensor, nn

from bench4d.asset import Asset4D
from bench4d.cameras import Cameras
from bench4d.errors import FormatError

from . import sampler
from .attention import Kernel as AttentionKernel
from .checkpoint import Checkpoint, SamplerSettings, load_checkpoint
from .gaussian_decoder import SLatGaussianDecoder
from .gaussians import GaussianFrame
from .image_encoder import encode
from .latent_flow import SLatFlow4DModel
from .preprocess import check_frames, preprocess
from .solvers import SolverName
from .sparse import Sites, SparseTensor
from .sparse.conv import Method
from .speed import Kernels, check_choices, chosen, fastest_attention, use_kernels
from .structure_flow import SparseStructureFlow4DModel
from .structure_vae import SparseStructureDecoder, occupied
from .two_devices import Flow, TwoDevices


@dataclass(frozen=True)
class Result:
    """What a run made of T frames.

    Attributes:
        coords: occupied voxels of each frame, in its own grid.
        gaussians: what stands in them.
        images: the frames as the image encoder saw them.
    """

    coords: list[Int32[Tensor, "N 3"]]
    gaussians: list[GaussianFrame]
    images: UInt8[np.ndarray, "T S S 3"]

    def to_asset(
        self,
        times: Sequence[float] | Float64[np.ndarray, " T"],
        camera: Cameras | None = None,
        count: int | None = None,
    ) -> Asset4D:
        """World: z up, the object in [-0.5, 0.5]^3.

        Args:
            camera: where the input view is taken to stand in it.
            count: how many frames, from the first; all by default.
        """
        frames = [frame.to_asset() for frame in self.gaussians[:count]]
        return Asset4D("gaussians", np.asarray(times, np.float64), frames, camera)


class SS4DPipeline:
    """Four networks, an image encoder and two samplers on one device.

    Args:
        checkpoint: from `load_checkpoint`. Its networks are moved to `device`.
        progress: whether the samplers draw progress bars on stderr.
        kernels: see `ss4d.speed`.
        attention, convolution: one of `attention.Kernel` and of `sparse.conv.Method` in place of what `kernels` takes;
            FormatError where that package is not installed.
        second: another device for the guided passes that see no image, which then run at the same time.
        shared_noise: all frames begin with the same noise, that of the first frame or of the voxel's place in space.
        low_memory: keep on `device` only the network that runs, and no keys and values from step to step; slower.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: torch.device | str = "cpu",
        progress: bool = False,
        *,
        kernels: Kernels = "auto",
        attention: AttentionKernel | None = None,
        convolution: Method | None = None,
        second: torch.device | str | None = None,
        shared_noise: bool = False,
        low_memory: bool = False,
    ) -> None:
        self.checkpoint, self.device, self.progress = checkpoint, torch.device(device), progress
        self.kernels, self.low_memory = chosen(kernels, self.device), low_memory
        self.shared_noise = shared_noise
        check_choices(attention, convolution, self.device)
        if second is not None and low_memory:
            raise FormatError("second, low_memory", "one of them", "both", "A second device holds the flows' copies.")
        waiting = torch.device("cpu") if low_memory else self.device
        self.image_encoder = checkpoint.image_encoder.to(waiting)
        networks = {role: model.network.to(waiting) for role, model in checkpoint.models.items()}
        use_kernels(networks.values(), self.kernels, attention, convolution)
        self.structure_flow = cast(SparseStructureFlow4DModel, networks["sparse_structure_flow_model"])
        self.structure_decoder = cast(SparseStructureDecoder, networks["sparse_structure_decoder"])
        self.latent_flow = cast(SLatFlow4DModel, networks["slat_flow_model"])
        self.gaussian_decoder = cast(SLatGaussianDecoder, networks["slat_decoder_gs"])
        flows: tuple[Flow, ...] = (self.structure_flow, self.latent_flow)
        self._guided: tuple[Flow | TwoDevices, ...] = flows
        if second is not None:
            self._guided = tuple(TwoDevices(flow, second) for flow in flows)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        revision: str | None = None,
        *,
        device: str = "auto",
        progress: bool = False,
        kernels: Kernels = "auto",
        attention: AttentionKernel | None = None,
        convolution: Method | None = None,
        second: str | None = None,
        shared_noise: bool = False,
        low_memory: bool = False,
        **options: Any,
    ) -> SS4DPipeline:
        """From a folder or a hub repository; `options` are those of `load_checkpoint`."""
        ours = choose_device(device)
        check_choices(attention, convolution, ours)  # before gigabytes are read
        more: dict[str, Any] = {"kernels": kernels, "attention": attention, "convolution": convolution}
        more |= {"second": second, "shared_noise": shared_noise, "low_memory": low_memory}
        return cls(load_checkpoint(source, revision, **options), ours, progress, **more)

    def sample_with(
        self, steps: int | None = None, guidance: float | None = None, solver: SolverName | None = None
    ) -> None:
        """Another number of steps, strength of guidance or solver for both samplers; None keeps the checkpoint's."""
        changes = {"steps": steps, "cfg_strength": guidance, "solver": solver}
        given: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
        stages = (self.checkpoint.structure_sampler, self.checkpoint.latent_sampler)
        first, second = (replace(settings, **given) for settings in stages)
        self.checkpoint = replace(self.checkpoint, structure_sampler=first, latent_sampler=second)

    @torch.no_grad()
    def run(self, frames: Sequence[Image.Image], seed: int = 42, coords: Int32[Tensor, "N 4"] | None = None) -> Result:
        """Gaussians of every frame.

        Args:
            frames: an even number of RGBA images of one size, the object cut out.
            seed: decides all noise; equal seeds give equal results on one machine.
            coords: own voxels, rows (frame, x, y, z) with frames ascending. Stage 1 is then skipped and draws no noise.
        """
        images = self._preprocess(frames)
        cond = self._encode(images)  # [T,L,C]
        generator = torch.Generator().manual_seed(seed)  # on the CPU, and seeded only now: one stream for both stages
        if coords is None:
            coords = self._sample_structure(cond, generator)  # [N,4]
        latents = self._sample_latents(cond, coords.to(self.device), generator)
        with self._at_work(self.gaussian_decoder):
            gaussians = self.gaussian_decoder(latents, len(cond))
        voxels = list(latents.coords[:, 1:].split(latents.sites.lengths))
        return Result(voxels, gaussians, images)

    @torch.no_grad()
    def run_structure(self, frames: Sequence[Image.Image], seed: int = 42) -> Int32[Tensor, "N 4"]:
        """Only the voxels, rows (frame, x, y, z): those that `run` would use with this seed."""
        cond = self._encode(self._preprocess(frames))
        return self._sample_structure(cond, torch.Generator().manual_seed(seed))

    def _preprocess(self, frames: Sequence[Image.Image]) -> UInt8[np.ndarray, "T S S 3"]:
        check_frames(frames)
        if len(frames) % 2:
            raise FormatError(
                "frames", "an even number", f"{len(frames)}", "Stage 2 works on pairs: leave one out or repeat one."
            )
        if all(frame.getchannel("A").getextrema() == (255, 255) for frame in frames):
            raise FormatError(
                "frames",
                "objects cut out of their background by the alpha channel",
                "frames that are opaque everywhere",
                "ss4d.matting.remove_background makes alpha.",
            )
        return np.stack([np.asarray(image) for image in preprocess(frames, self.image_encoder.image_size)])

    def _encode(self, images: UInt8[np.ndarray, "T S S 3"]) -> Float32[Tensor, "T L C"]:
        with self._at_work(self.image_encoder):
            return encode(self.image_encoder, images, self.device)

    @contextmanager
    def _at_work(self, network: nn.Module) -> Iterator[None]:
        """The network on the device, with its kernels."""
        network.to(self.device)
        with fastest_attention(self.kernels):
            yield
        if self.low_memory:
            network.to("cpu")

    def _sample_structure(self, cond: Float32[Tensor, "T L C"], generator: torch.Generator) -> Int32[Tensor, "N 4"]:
        config, count = self.structure_flow.config, len(cond)
        shape = (count, config.in_channels, *[config.resolution] * 3)
        noise = torch.randn(shape, generator=generator).to(self.device)  # [T,8,16,16,16]
        if self.shared_noise:
            noise = noise[:1].expand_as(noise).contiguous()
        settings, title = self.checkpoint.structure_sampler, "structure" if self.progress else ""
        with self._at_work(self.structure_flow):
            z = integrate(self._guided[0], noise, cond, settings, count, title, not self.low_memory)
        with self._at_work(self.structure_decoder):
            return occupied(self.structure_decoder(z))  # from logits [T,1,64,64,64]

    def _sample_latents(
        self, cond: Float32[Tensor, "T L C"], coords: Int32[Tensor, "N 4"], generator: torch.Generator
    ) -> SparseTensor:
        sites = Sites(coords, len(cond))
        flow, decoder = self.latent_flow.config.resolution, self.gaussian_decoder.config.resolution
        for name, resolution in (("latent flow", flow), ("Gaussian decoder", decoder)):
            if max(sites.extent) > resolution:
                expected = f"x, y, z below {resolution}, the resolution of the {name}"
                raise FormatError("coords", expected, f"{max(sites.extent) - 1}")
        channels = self.latent_flow.config.in_channels
        if self.shared_noise:  # of each place in space
            x, y, z = coords[:, 1:].long().cpu().unbind(1)
            feats = torch.randn(flow, flow, flow, channels, generator=generator)[x, y, z]
        else:
            feats = torch.randn(len(coords), channels, generator=generator)
        noise = SparseTensor.on(sites, feats.to(self.device))  # [N,8]
        settings, title = self.checkpoint.latent_sampler, "latents" if self.progress else ""
        with self._at_work(self.latent_flow):
            z = integrate(self._guided[1], noise, cond, settings, len(cond), title, not self.low_memory)
        mean, std = (torch.tensor(v, device=self.device) for v in (self.checkpoint.mean, self.checkpoint.std))  # [8]
        return z.replace(z.feats * std + mean)


def integrate(
    network: Flow | TwoDevices,
    noise: Any,
    cond: Float32[Tensor, "F L C"],
    settings: SamplerSettings,
    num_frames: int,
    title: str = "",
    keep: bool = True,
) -> Any:
    """From noise to data with the settings of a checkpoint; the condition of the second pass is zero.

    What the network sees of the condition is worked out once: it is the same in every step.

    Args:
        num_frames: of each clip.
        title: of a progress bar on stderr; "" for none.
        keep: hold the condition's keys and values of all blocks in memory, instead of working them out in each step.
    """
    options: dict[str, Any] = {"steps": settings.steps, "rescale_t": settings.rescale_t, "num_frames": num_frames}
    options |= {"progress": title, "solver": settings.solver}
    model: Any = network
    with torch.no_grad():
        seen, nothing = model.conditions(cond, keep), model.nothing()
    if settings.name == "FlowEulerSampler":
        return sampler.FlowEulerSampler(settings.sigma_min).sample(model, noise, seen, **options).x
    options |= {"neg_cond": nothing, "cfg_strength": settings.cfg_strength}
    if settings.name == "FlowEulerCfgSampler":
        return sampler.FlowEulerCfgSampler(settings.sigma_min).sample(model, noise, seen, **options).x
    options["cfg_interval"] = settings.cfg_interval
    return sampler.FlowEulerGuidanceIntervalSampler(settings.sigma_min).sample(model, noise, seen, **options).x


def choose_device(name: str) -> torch.device:
    """ "auto" is a GPU if there is one, otherwise the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise FormatError("device", '"auto", "cpu", "cuda" or "cuda:1"', repr(name)) from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise FormatError("device", "a machine on which torch sees a GPU", "none", 'Use "cpu".')
    return device


def pictures(frames: UInt8[np.ndarray, "T H W 4"]) -> list[Image.Image]:
    """An array of frames as the images that `run` takes."""
    return [Image.fromarray(frame) for frame in frames]
