"""What `ss4d_timing.py` times: inputs, the published code's way, guided passes as one batch, float32 mathematics."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ss4d import pipeline as pipeline_module
from ss4d.checkpoint import SamplerSettings
from ss4d.pipeline import SS4DPipeline
from ss4d.sampler import FlowEulerGuidanceIntervalSampler
from ss4d.sparse import Sites, SparseTensor
from ss4d.speed import fastest_attention, use_kernels

CHUNK = 2048  # queries at a time, of which all scores are held


def frames(count: int, size: int = 512) -> list[Image.Image]:
    images = [Image.new("RGBA", (size, size)) for _ in range(count)]
    for k, image in enumerate(images):
        x = size * (0.35 + 0.3 * k / count)
        ImageDraw.Draw(image).ellipse((x - 100, 156, x + 100, 356), fill=(200, 40 + 5 * k, 60, 255))
    return images


def ball(count: int, voxels: int, resolution: int = 64) -> Tensor:
    """Voxels [N,4] of a shell that moves, about `voxels` a frame."""
    axis = torch.arange(resolution) - resolution / 2 + 0.5
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)
    distance, radius = grid.square().sum(-1).sqrt(), resolution * 20 / 64
    thickness = voxels / (4 * 3.1416 * radius**2)
    shell = ((distance - radius).abs() < thickness / 2).nonzero()
    moved = [shell + torch.tensor([k * resolution // 8 // count, 0, 0]) for k in range(count)]
    return torch.cat([torch.cat([torch.full((len(s), 1), k), s], 1) for k, s in enumerate(moved)]).int()


def plain_integrate(
    network: Any, noise: Any, cond: Tensor, settings: SamplerSettings, num_frames: int, title: str, keep: bool
) -> Any:
    """`ss4d.pipeline.integrate` without anything shared between steps and passes."""
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        sampler = FlowEulerGuidanceIntervalSampler(settings.sigma_min)
        return sampler.sample(
            network, noise, cond, torch.zeros_like(cond), steps=settings.steps, rescale_t=settings.rescale_t,
            cfg_strength=settings.cfg_strength, cfg_interval=settings.cfg_interval, num_frames=num_frames,
            progress=title,
        ).x  # fmt: skip


@contextlib.contextmanager
def the_original_way() -> Iterator[None]:
    ours = pipeline_module.integrate
    pipeline_module.integrate = plain_integrate
    try:
        yield
    finally:
        pipeline_module.integrate = ours


class Batched:
    """A flow whose guided passes are one batch of twice the frames; a `sampler.Prepared` network like the flow.

    The second half's condition is zeros, of which nothing is left out; the first block is not shared.
    """

    def __init__(self, flow: Any) -> None:
        self.flow = flow

    def conditions(self, cond: Tensor, keep: bool = True) -> tuple[Any, Any]:
        return self.flow.conditions(cond, keep), self.flow.conditions(torch.cat([cond, torch.zeros_like(cond)]), keep)

    def nothing(self) -> None:
        return None  # stands in `conditions`

    def velocities(self, x: Any, t: Tensor, conds: Sequence[Any], num_frames: int) -> list[Any]:
        alone, both = conds[0]
        if len(conds) == 1:
            return self.flow.velocities(x, t, [alone], num_frames)
        if isinstance(x, Tensor):
            return list(self.flow.velocities(torch.cat([x, x]), t, [both], num_frames)[0].chunk(2))
        sites = x.sites.remember("twice", lambda: twice(x.sites))
        (found,) = self.flow.velocities(SparseTensor.on(sites, torch.cat([x.feats, x.feats])), t, [both], num_frames)
        return [x.replace(half) for half in found.feats.chunk(2)]


def twice(sites: Sites) -> Sites:
    """The same clips once more, in slots behind them."""
    again = sites.coords + torch.tensor([sites.slots, 0, 0, 0], dtype=torch.int32, device=sites.coords.device)
    return Sites(torch.cat([sites.coords, again]), 2 * sites.slots)


def attention_by_chunks(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(D)) v, [B, H, L, D], by products and a softmax in the type of `q`, queries in parts."""
    k = k.transpose(-2, -1) * q.shape[-1] ** -0.5
    return torch.cat([(part @ k).softmax(-1) @ v for part in q.split(CHUNK, -2)], -2)


def by_parts(q: Tensor, k: Tensor, v: Tensor, seed: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """Of one sequence and head: attention by products and softmax in this type, and its derivatives, [L,D] each."""
    k, v = (x.detach().to(dtype).requires_grad_() for x in (k, v))
    found: list[list[Tensor]] = [[], [], [], []]
    for part, grad in zip(q.split(CHUNK), seed.split(CHUNK), strict=True):
        part = part.detach().to(dtype).requires_grad_()
        with sdpa_kernel(SDPBackend.MATH):
            out = F.scaled_dot_product_attention(part[None, None], k[None, None], v[None, None])[0, 0]
        for values, more in zip(found, (out, *torch.autograd.grad(out, (part, k, v), grad.to(dtype))), strict=True):
            values.append(more.detach())
    sums = [torch.stack([x.to(torch.promote_types(dtype, torch.float32)) for x in xs]).sum(0) for xs in found[2:]]
    return [torch.cat(found[0]), torch.cat(found[1]), *sums]


@contextlib.contextmanager
def plain_mathematics() -> Iterator[None]:
    """Attention by `attention_by_chunks`, products of float32 without TF32."""
    fused, tf32 = F.scaled_dot_product_attention, torch.backends.cuda.matmul.allow_tf32
    F.scaled_dot_product_attention = attention_by_chunks  # type: ignore[assignment]
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        F.scaled_dot_product_attention = fused
        torch.backends.cuda.matmul.allow_tf32 = tf32


def relative(found: Tensor, expected: Tensor) -> float:
    """||found - expected|| / ||expected||, in float64."""
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def single_passes(pipeline: SS4DPipeline, count: int, voxels: int, t: float = 500.0) -> Iterator[str]:
    """Lines of a table: a pass of each flow with images and one without, the original way and ours, against float32.

    All get the same weights, noise and image features. The reference has the weights in float32, float32 sums and
    products, and `plain_mathematics`.
    """
    device, resolution = pipeline.device, pipeline.latent_flow.config.resolution
    cond = pipeline._encode(pipeline._preprocess(frames(count)))
    generator = torch.Generator().manual_seed(3)
    config = pipeline.structure_flow.config
    shape = (count, config.in_channels, *[config.resolution] * 3)
    coords = ball(count, voxels, resolution).to(device)
    feats = torch.randn(len(coords), pipeline.latent_flow.config.in_channels, generator=generator)
    inputs: list[tuple[str, Any, Any]] = [
        ("stage 1", pipeline.structure_flow, torch.randn(shape, generator=generator).to(device)),
        ("stage 2", pipeline.latent_flow, SparseTensor.on(Sites(coords, count), feats.to(device))),
    ]
    for name, flow, x in inputs:
        all_times, zeros = torch.full((count,), t, device=device), torch.zeros_like(cond)

        def plain(network: Any, x: Any = x, times: Tensor = all_times, none: Tensor = zeros) -> list[Tensor]:
            return [_values(network(x, times, c, count)).cpu() for c in (cond, none)]

        with torch.no_grad():
            with device:  # where drawing weights, to be replaced, takes no time
                single = type(flow)(replace(flow.config, use_fp16=False))
            single.load_state_dict(flow.state_dict())
            with plain_mathematics():
                expected = plain(single)
            del single
            use_kernels([flow], "torch")
            with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
                original = plain(flow)
            use_kernels([flow], pipeline.kernels)
            with fastest_attention(pipeline.kernels):
                conds = [flow.conditions(cond), flow.nothing()]
                ours = [_values(v).cpu() for v in flow.velocities(x, all_times[:1], conds, count)]
        for which, reference, theirs, mine in zip(("with images", "without"), expected, original, ours, strict=True):
            errors = relative(theirs, reference), relative(mine, reference)
            yield (
                f"| {name} | {which} | {errors[0]:.2e} | {errors[1]:.2e} | {relative(mine, theirs):.2e} | "
                f"{'yes' if errors[1] <= errors[0] else 'no'} |"
            )


def _values(x: Any) -> Tensor:
    return x if isinstance(x, Tensor) else x.feats


def attempt(what: str, function: Callable[[], Any]) -> Any:
    """The result, or None after a line that says why not: the rest of a run on a rented machine goes on."""
    try:
        return function()
    except Exception as error:
        text = str(error).strip().replace("\n", " ")[:300]
        print(f"| {what} | failed: {type(error).__name__}: {text} |", flush=True)
        return None
