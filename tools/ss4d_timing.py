"""SS4D's inference on one GPU: the way of the published code against ours, stage by stage, and the memory of both.

    python -m ss4d random-checkpoint --size full --out build/ss4d-random
    python tools/ss4d_timing.py build/ss4d-random --repeats 2

"Original": FlashAttention for each sequence, keys and values of the images in every pass, no work shared by passes,
gather-GEMM-scatter convolutions (with `--spconv` that package's, as the published code has it), separate norms and
modulations. Ours: the `--ways`, of which `two-gpus` computes guided passes on two. Same weights, noise and voxels.
Frames are a drawn ball that moves: cost depends on their number and on the voxels, not on what they show. `--profile`
says which kernels the time goes to, in two steps of each of our stages.
"""

import argparse
import contextlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from PIL import Image, ImageDraw
from torch.nn.attention import SDPBackend, sdpa_kernel

from ss4d import pipeline as pipeline_module
from ss4d.checkpoint import SamplerSettings
from ss4d.pipeline import SS4DPipeline
from ss4d.sampler import FlowEulerGuidanceIntervalSampler
from ss4d.speed import use_kernels

STAGES = {
    "_encode": "image encoder",
    "_sample_structure": "stage 1 and structure decoder",
    "_sample_latents": "stage 2",
}
WAYS: dict[str, dict[str, Any]] = {"ours": {}, "low-memory": {"low_memory": True}, "two-gpus": {"second": "cuda:1"}}
Runs = dict[str, list[tuple[float, int]]]  # of each stage: seconds and peak bytes


def frames(count: int, size: int = 512) -> list[Image.Image]:
    images = [Image.new("RGBA", (size, size)) for _ in range(count)]
    for k, image in enumerate(images):
        x = size * (0.35 + 0.3 * k / count)
        ImageDraw.Draw(image).ellipse((x - 100, 156, x + 100, 356), fill=(200, 40 + 5 * k, 60, 255))
    return images


def ball(count: int, voxels: int, resolution: int = 64) -> torch.Tensor:
    """Voxels [N,4] of a shell that moves, about `voxels` a frame."""
    axis = torch.arange(resolution) - resolution / 2 + 0.5
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)
    distance = grid.square().sum(-1).sqrt()
    thickness = voxels / (4 * 3.1416 * 20**2)
    shell = ((distance - 20).abs() < thickness / 2).nonzero()
    moved = [shell + torch.tensor([k * 8 // count, 0, 0]) for k in range(count)]
    return torch.cat([torch.cat([torch.full((len(s), 1), k), s], 1) for k, s in enumerate(moved)]).int()


def plain_integrate(
    network: Any, noise: Any, cond: torch.Tensor, settings: SamplerSettings, num_frames: int, title: str, keep: bool
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


def timed(stages: Runs, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, with its seconds and peak bytes noted."""

    def run(*arguments: Any) -> Any:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        began = time.perf_counter()
        result = function(*arguments)
        torch.cuda.synchronize()
        stages.setdefault(name, []).append((time.perf_counter() - began, torch.cuda.max_memory_allocated()))
        return result

    return run


def measure(pipeline: SS4DPipeline, options: argparse.Namespace, repeats: int) -> tuple[Runs, torch.Tensor]:
    """Stages of `repeats` runs after one to warm up, and the last Gaussians' positions and colours."""
    stages: Runs = {}
    for method, name in STAGES.items():
        setattr(pipeline, method, timed(stages, name, getattr(pipeline, method)))
    decode = pipeline.gaussian_decoder.forward
    pipeline.gaussian_decoder.forward = timed(stages, "Gaussian decoder", decode)  # type: ignore[method-assign]
    cond = pipeline._encode(pipeline._preprocess(frames(options.frames)))
    coords = ball(options.frames, options.voxels)
    given = pipeline.checkpoint
    for k in range(repeats + 1):
        noise = torch.Generator().manual_seed(1)
        if k == 0:  # to warm up, a few steps of each kind are enough
            pipeline.sample_with(steps=4)
        pipeline._encode(pipeline._preprocess(frames(options.frames)))
        pipeline._sample_structure(cond, noise)
        latents = pipeline._sample_latents(cond, coords.to(pipeline.device), torch.Generator().manual_seed(2))
        with pipeline._at_work(pipeline.gaussian_decoder):
            gaussians = pipeline.gaussian_decoder(latents, options.frames)
        pipeline.checkpoint = given
    pipeline.gaussian_decoder.forward = decode  # type: ignore[method-assign]
    made = torch.cat([torch.cat([g.raw_xyz, g.raw_features_dc.flatten(1)], 1) for g in gaussians])
    return {name: runs[-repeats:] for name, runs in stages.items()}, made


def shown(name: str, stages: Runs, made: torch.Tensor) -> torch.Tensor:
    """`made`, after the rows of the table."""
    total = 0.0
    for stage, runs in stages.items():
        seconds = [second for second, _ in runs]
        total += statistics.median(seconds)
        peak = max(peak for _, peak in runs) / 2**30
        listed = ", ".join(f"{second:.2f}" for second in seconds)
        print(f"| {name} | {stage} | {statistics.median(seconds):.2f} | {listed} | {peak:.1f} |")
    print(f"| {name} | together | {total:.2f} | | |", flush=True)
    return made


def profile(pipeline: SS4DPipeline, options: argparse.Namespace) -> None:
    """Print the kernels that take the longest, in two steps of both stages."""
    pipeline.sample_with(steps=2)
    cond = pipeline._encode(pipeline._preprocess(frames(options.frames)))
    coords = ball(options.frames, options.voxels).to(pipeline.device)
    for name, run in (
        ("stage 1", lambda: pipeline._sample_structure(cond, torch.Generator().manual_seed(1))),
        ("stage 2", lambda: pipeline._sample_latents(cond, coords, torch.Generator().manual_seed(2))),
    ):
        run()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as record:
            run()
        print(f"{name}, two steps\n{record.key_averages().table(sort_by='cuda_time_total', row_limit=18)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--voxels", type=int, default=9400, help="a frame")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--no-original", action="store_true")
    help = "what is timed beside the original (default: ours low-memory)"
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["ours", "low-memory"], help=help)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--spconv", action="store_true", help="for the original's convolutions; has to be installed")
    options = parser.parse_args()
    began = time.perf_counter()
    pipeline = SS4DPipeline.from_pretrained(options.checkpoint, device="cuda", kernels="torch")
    if options.spconv:
        use_kernels([pipeline.latent_flow], "torch", convolution="spconv")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, loaded in {time.perf_counter() - began:.1f} s")
    print(f"{options.frames} frames, {len(ball(options.frames, options.voxels)) // options.frames} voxels a frame")
    print("| | stage | seconds, median | all runs | peak memory, GiB |\n|---|---|---:|---|---:|")
    made: dict[str, torch.Tensor] = {}
    if not options.no_original:
        with the_original_way():
            made["original"] = shown("original", *measure(pipeline, options, 1))
    for name in options.ways:
        pipeline = SS4DPipeline(pipeline.checkpoint, "cuda", kernels="triton", **WAYS[name])
        torch.cuda.empty_cache()
        made[name] = shown(name, *measure(pipeline, options, options.repeats if name == "ours" else 1))
    if options.profile:
        profile(SS4DPipeline(pipeline.checkpoint, "cuda", kernels="triton"), options)
    reference = next(iter(made.values()))
    for name, values in made.items():
        error = (values - reference).abs()
        print(f"{name}: largest difference {float(error.max()):.2e}, mean {float(error.mean()):.2e},")
        print(f"  of values whose deviation is {float(reference.std()):.2e}; finite: {bool(values.isfinite().all())}")


if __name__ == "__main__":
    main()
