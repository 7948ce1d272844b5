"""Throughput of SS4D's training on one GPU, beside the floor that its matrix products alone would take.

    python tools/training_timing.py

Data are drawn: breathing ellipsoids in the grid of each configuration, random pictures. Cost depends on the number of
voxels, frames and pixels, not on what they show. The perceptual term is timed with random weights. Under 3 minutes.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from safetensors.torch import save_file
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench4d.cameras import orbit
from bench4d.errors import FormatError
from ss4d.attention import use_kernel
from ss4d.data.config import DataConfig
from ss4d.data.store import Store
from ss4d.gaussian_decoder import SLatGaussianDecoder
from ss4d.random_checkpoint import FULL
from ss4d.sparse import SparseTensor
from ss4d.structure_flow import SparseStructureFlow4DModel
from ss4d.training import latent_vae, losses
from ss4d.training.config import read_training
from ss4d.training.latent_vae import LatentVAE
from ss4d.training.prefetch import Prefetch
from ss4d.training.runlog import matmul_rate
from ss4d.training.structure_vae import StructureVAE
from ss4d.training.task import Backend, Draws, Task
from ss4d.training.trainer import Training, World

CUDA = torch.device("cuda")


def shells(resolution: int, frames: int, clip: int) -> list[torch.Tensor]:
    """Voxels [n,3] of the surface of an ellipsoid that breathes; about 1.5 x resolution^2 a frame."""
    axis = (torch.arange(resolution, device=CUDA) + 0.5) / resolution - 0.5
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)
    found = []
    for t in range(frames):
        swing = 0.04 * torch.sin(torch.tensor([0.2 * t + clip, 0.2 * t, 0.3 * t], device=CUDA))
        radii = torch.tensor([0.36, 0.3, 0.42], device=CUDA) + swing
        distance = ((grid / radii).square().sum(-1).sqrt() - 1) * 0.35
        found.append((distance.abs() < 0.55 / resolution).nonzero())
    return found


def drawn_store(config: DataConfig, clips: int) -> Store:
    """A data set of this configuration's sizes, on the GPU."""
    voxels = [xyz for clip in range(clips) for xyz in shells(config.resolution, config.frames, clip)]
    frames, views, size = len(voxels), config.views.count, config.views.size
    cameras = orbit([360 * k / views for k in range(views)], 15.0, config.views.radius, config.views.fov, size)
    poses, matrices = (torch.from_numpy(x).float().to(CUDA) for x in (cameras.camera_to_world, cameras.intrinsics))
    counts = torch.tensor([0] + [len(xyz) for xyz in voxels], device=CUDA)
    total = int(counts.sum())
    tensors = {
        "voxels": torch.cat(voxels).to(torch.uint8),
        "features": torch.randn(total, config.features.width, device=CUDA).half(),
        "frame_starts": counts.cumsum(0),
        "clip_starts": torch.arange(clips + 1, device=CUDA) * config.frames,
        "views": torch.randint(0, 256, (frames, views, size, size, 4), device=CUDA, dtype=torch.uint8),
        "view_camera_to_world": poses.expand(frames, -1, -1, -1).contiguous(),
        "view_intrinsics": matrices.expand(frames, -1, -1, -1).contiguous(),
    }
    return Store(config, tuple(f"drawn-{k}" for k in range(clips)), ("drawn",) * clips, tensors)


def random_lpips(folder: Path) -> Path:
    shapes = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}
    features = {f"features.{k}.weight": 0.02 * torch.randn(shape) for k, shape in shapes.items()}
    features |= {f"features.{k}.bias": torch.zeros(shape[0]) for k, shape in shapes.items()}
    save_file(features, folder / "alexnet-features.safetensors")
    heads = {f"lin{k}.weight": torch.rand(1, shape[0], 1, 1) for k, shape in enumerate(shapes.values())}
    save_file(heads, folder / "lpips-alex-heads.safetensors")
    return folder


def timed(function: Callable[[], Any], repeats: int) -> str:
    """Milliseconds of a call by events: median (smallest to largest)."""
    for _ in range(2):
        function()
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        function()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return f"{statistics.median(times):.1f} ({min(times):.1f} to {max(times):.1f})"


def time_training(title: str, task: Task, store: Store, backend: Backend, rate: float, steps: int) -> None:
    """Steps as the trainer runs them, with the next inputs made meanwhile."""
    training = Training(task, store, backend, World(), 1)
    prefetch = Prefetch(training.inputs, backend.device)
    inputs = prefetch(0)
    flops = training.flops(0, inputs)
    torch.cuda.reset_peak_memory_stats()
    for number in range(steps + 10):
        if number == 10:
            torch.cuda.synchronize()
            began = time.perf_counter()
        training.step(number, inputs)
        inputs = prefetch(number + 1)
    torch.cuda.synchronize()
    seconds = (time.perf_counter() - began) / steps
    s = training.settings
    peak = torch.cuda.max_memory_allocated() / 2**30
    print(
        f"| {title} | {1000 * seconds:.1f} | {flops / rate / 1e9:.1f} | {s.clips / seconds:.0f} | "
        f"{s.clips * s.frames / seconds:.0f} | {s.steps * seconds / 60:.1f} | {peak:.1f} |",
        flush=True,
    )


def time_parts(task: LatentVAE, store: Store, repeats: int) -> None:
    """The latent autoencoder's step by part, each alone and without overlap."""
    training = Training(task, store, task.backend, World(), 1)
    (inputs, seeds), networks = training.inputs(0)[0], task.networks
    with task.backend.autocast():
        mean, _ = networks["latent_encoder"](inputs.x, inputs.n_frames)
        gaussians = latent_vae.decode(networks["gaussian_decoder"], mean, inputs.n_frames)
    image = latent_vae.render(gaussians, inputs, "cuda")[:, 0]
    white = torch.ones(len(image), dtype=torch.bool, device=CUDA)
    found = losses.composite(image, white).detach().requires_grad_()
    truth = losses.composite(losses.pictures(inputs.views[:, 0]), white)
    leaves = [getattr(gaussians, name).detach().requires_grad_() for name in vars(gaussians) if name.startswith("raw_")]
    alone = replace(gaussians, **dict(zip([n for n in vars(gaussians) if n.startswith("raw_")], leaves, strict=True)))

    def network(name: str, x: SparseTensor) -> None:
        with task.backend.autocast():
            networks[name].transform(x, inputs.n_frames).square().mean().backward()

    def whole_loss() -> None:
        terms = task.loss(networks, inputs, 10**9, Draws(seeds, CUDA))
        torch.stack(list(terms.values())).sum().backward()

    z = mean.replace(mean.feats.detach())
    parts: dict[str, Callable[[], Any]] = {
        "inputs (batch, sites, windows)": lambda: training.inputs(1),
        "encoder, forward and backward": lambda: network("latent_encoder", inputs.x),
        "decoder, forward and backward": lambda: network("gaussian_decoder", z),
        "rasteriser, forward": lambda: latent_vae.render(gaussians, inputs, "cuda").detach(),
        "rasteriser, forward and backward": lambda: latent_vae.render(alone, inputs, "cuda").mean().backward(),
        "L1 and SSIM, forward and backward": lambda: (
            (found - truth).abs().mean() + losses.ssim(found, truth).mean()
        ).backward(),
        "whole loss, forward and backward": whole_loss,
        "clipping, optimiser, average": lambda: (whole_loss_grads(training), training.optimiser.step(1e-3)),
    }
    if (lpips := task.perceptual) is not None:
        parts["LPIPS, forward and backward"] = lambda: lpips(found, truth).mean().backward()
    print("\n| part of the latent autoencoder's step | ms, median (range) |\n|---|---:|")
    for name, function in parts.items():
        print(f"| {name} | {timed(function, repeats)} |", flush=True)


def whole_loss_grads(training: Training) -> None:
    """Gradients of some size without computing any, then clipping and averaging."""
    for parameter in training.parameters:
        parameter.grad = torch.full_like(parameter, 1e-3)
    training.clip(training.parameters)


def time_stack(title: str, network: nn.Module, call: Callable[[], torch.Tensor], rate: float, repeats: int) -> None:
    """Forward and backward of a few blocks of the full size."""

    def run() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            out = call()
        out.float().square().mean().backward()
        network.zero_grad(set_to_none=True)

    with FlopCounterMode(display=False) as counter:
        run()
    torch.cuda.reset_peak_memory_stats()
    ms = timed(run, repeats)
    floor = counter.get_total_flops() / rate / 1e9
    print(f"| {title} | {ms} | {floor:.1f} | {torch.cuda.max_memory_allocated() / 2**30:.1f} |", flush=True)


def full_size(rate: float, blocks: int, frames: int, repeats: int) -> None:
    print(f"\n| {blocks} blocks of `full`, {frames} frames, forward and backward | ms | floor, ms | peak, GiB |")
    print("|---|---:|---:|---:|")
    args: dict[str, Any] = FULL["sparse_structure_flow_model"][2]
    args = args | {"num_blocks": blocks, "use_fp16": False, "use_checkpoint": False}
    flow = SparseStructureFlow4DModel.from_args(args).to(CUDA)
    x, t = torch.randn(frames, 8, 16, 16, 16, device=CUDA), torch.full((frames,), 500.0, device=CUDA)
    cond = torch.randn(frames, 1374, 1024, device=CUDA)
    time_stack("stage 1, windows of 8 frames", flow, lambda: flow(x, t, cond, frames), rate, repeats)
    del flow, x, cond
    args = read_training("full", "latent_vae").networks["gaussian_decoder"]
    changes = {"num_blocks": blocks, "use_fp16": False, "use_checkpoint": False}
    decoder = SLatGaussianDecoder.from_args({**args, **changes}).to(CUDA)
    voxels = shells(64, frames, 0)
    slots = torch.cat([torch.full((len(xyz), 1), t, device=CUDA) for t, xyz in enumerate(voxels)])
    coords = torch.cat([slots, torch.cat(voxels)], 1).int()
    for kernel in ("varlen", "grouped"):
        use_kernel(decoder, kernel)  # type: ignore[arg-type]
        z = SparseTensor(torch.randn(len(coords), 8, device=CUDA), coords, frames)
        title = f"Gaussian decoder, {len(coords) / frames:.0f} voxels a frame, {kernel}"
        time_stack(title, decoder, lambda z=z: decoder.transform(z, frames), rate, repeats)  # type: ignore[misc]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60, help="timed steps of each training")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--frames", type=int, default=32, help="of the full size's blocks")
    parser.add_argument("--no-lpips", action="store_true", help="where `metrics` cannot be imported")
    options = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    rate = matmul_rate(CUDA)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {rate:.0f} TFLOP/s in bfloat16 products\n")
    store = drawn_store(DataConfig.read("tiny"), 16)
    voxels = int(store.voxels_before[-1]) / int(store.frames_before[-1])
    print(f"tiny: {voxels:.0f} voxels a frame\n")
    print("| training of `tiny` | ms a step | floor, ms | clips/s | frames/s | whole run, minutes | peak, GiB |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    backend = Backend.of("cuda")
    for precision in ("bfloat16", "float32"):
        chosen = replace(backend, precision=precision)  # type: ignore[arg-type]
        task: Task = StructureVAE(read_training("tiny", "structure_vae"), chosen)
        time_training(f"structure autoencoder, {precision}", task, store, chosen, rate, options.steps)
    with tempfile.TemporaryDirectory() as name:
        weights = random_lpips(Path(name))
        no_lpips = ["loss.lpips=0"] if options.no_lpips else []
        try:
            for size, changes in (("256", ["loss.coarse_steps=0"]), ("128", ["loss.coarse_steps=100000"])):
                task = LatentVAE(read_training("tiny", "latent_vae", changes + no_lpips), backend, weights)
                time_training(f"latent autoencoder, {size} pixels", task, store, backend, rate, options.steps)
            task = LatentVAE(read_training("tiny", "latent_vae", no_lpips), backend, weights)
            time_parts(task, store, options.repeats)
        except FormatError as error:
            print(f"latent autoencoder: not timed: {error}")
    del store, task
    full_size(rate, 4, options.frames, options.repeats)


if __name__ == "__main__":
    main()
