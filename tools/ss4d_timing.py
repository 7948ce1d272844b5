"""SS4D's inference on one GPU: the way of the published code against ours, stage by stage, and the memory of both.

    python -m ss4d random-checkpoint --size full --out build/ss4d-random
    python tools/ss4d_timing.py build/ss4d-random --repeats 2 --against-float32 --profile

"Original": FlashAttention for each sequence, keys and values of the images in every pass, no work shared by passes,
gather-GEMM-scatter convolutions (with `--spconv` that package's, as the published code has it), separate norms and
modulations. Ours: the `--ways`, of which `two-gpus` computes guided passes on two and `batched` as one batch. Same
weights, noise and voxels. Frames are a drawn ball that moves: cost depends on their number and on the voxels, not on
what they show. After each way, what it made beside what the first one made: the latent and the voxels of stage 1, the
latents of stage 2 (on given voxels, equal for all) and the Gaussians.

`--against-float32` compares single passes of both flows with float32. `--profile` says which kernels the time goes to
and how much of the time the GPU works, in two steps of each of our stages. A part that fails says why and the rest goes
on. Reserved memory is the process's, with what the allocator keeps of earlier stages of the same way.
"""

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor
from torch.autograd import DeviceType

from ss4d.pipeline import SS4DPipeline
from ss4d.speed import use_kernels
from tools.ss4d_timing_ways import Batched, attempt, ball, frames, relative, single_passes, the_original_way

STAGES = {
    "_encode": "image encoder",
    "_sample_structure": "stage 1 and structure decoder",
    "_sample_latents": "stage 2",
}
WAYS: dict[str, dict[str, Any]] = {
    "ours": {},
    "low-memory": {"low_memory": True},
    "two-gpus": {"second": "cuda:1"},
    "batched": {},
}
GAUSSIANS = ("xyz", "features", "scaling", "rotation", "opacity")
Runs = dict[str, list[tuple[float, int, int]]]  # of each stage: seconds, peak bytes allocated and reserved
Made = dict[str, Tensor]  # what a way made, on the CPU


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def timed(stages: Runs, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, with its seconds and peak bytes noted."""

    def run(*arguments: Any) -> Any:
        synchronize()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        began = time.perf_counter()
        result = function(*arguments)
        synchronize()
        seconds, on_gpu = time.perf_counter() - began, torch.cuda.is_available()
        peaks = (torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()) if on_gpu else (0, 0)
        stages.setdefault(name, []).append((seconds, *peaks))
        return result

    return run


@torch.no_grad()
def measure(pipeline: SS4DPipeline, options: argparse.Namespace, repeats: int) -> tuple[Runs, Made]:
    """Stages of `repeats` runs after one to warm up, and what the last one made."""
    stages: Runs = {}
    for method, name in STAGES.items():
        setattr(pipeline, method, timed(stages, name, getattr(pipeline, method)))
    decode = pipeline.gaussian_decoder.forward
    latent: list[Tensor] = []
    hook = pipeline.structure_decoder.register_forward_pre_hook(lambda _, inputs: latent.append(inputs[0]))
    pipeline.gaussian_decoder.forward = timed(stages, "Gaussian decoder", decode)  # type: ignore[method-assign]
    cond = pipeline._encode(pipeline._preprocess(frames(options.frames)))
    coords = ball(options.frames, options.voxels, pipeline.latent_flow.config.resolution)
    given = pipeline.checkpoint
    try:
        for k in range(repeats + 1):
            if k == 0:  # to warm up, a few steps of each kind are enough
                pipeline.sample_with(steps=4)
            pipeline._encode(pipeline._preprocess(frames(options.frames)))
            voxels = pipeline._sample_structure(cond, torch.Generator().manual_seed(1))
            latents = pipeline._sample_latents(cond, coords.to(pipeline.device), torch.Generator().manual_seed(2))
            with pipeline._at_work(pipeline.gaussian_decoder):
                gaussians = pipeline.gaussian_decoder(latents, options.frames)
            pipeline.checkpoint = given
    finally:
        hook.remove()
        pipeline.checkpoint, pipeline.gaussian_decoder.forward = given, decode  # type: ignore[method-assign]
    made = {"latent of stage 1": latent[-1], "voxels of stage 1": voxels, "latents of stage 2": latents.feats}
    made |= {f"Gaussians, {name}": torch.cat([getattr(g, name).flatten(1) for g in gaussians]) for name in GAUSSIANS}
    return {name: runs[-repeats:] for name, runs in stages.items()}, {name: x.cpu() for name, x in made.items()}


def show_times(stages: Runs) -> None:
    total = 0.0
    for stage, runs in stages.items():
        seconds, allocated, reserved = zip(*runs, strict=True)
        total += statistics.median(seconds)
        listed = ", ".join(f"{second:.2f}" for second in seconds)
        peaks = f"{max(allocated) / 2**30:.1f} | {max(reserved) / 2**30:.1f}"
        print(f"| {stage} | {statistics.median(seconds):.2f} | {listed} | {peaks} |", flush=True)
    print(f"| together | {total:.2f} | | | |", flush=True)


def differences(made: Made, reference: Made) -> list[str]:
    """Lines of a table: each quantity beside that of the reference."""
    lines = []
    for name, values in made.items():
        if name.startswith("voxels"):
            lines.append(f"| {name} | IoU {overlap(values, reference[name]):.5f} | {len(values)} voxels | |")
            continue
        values, expected = values.double(), reference[name].double()
        largest, finite = float((values - expected).abs().max()), bool(values.isfinite().all())
        deviation = float(expected.std()) if finite else "not finite"
        lines.append(f"| {name} | {relative(values, expected):.2e} | {largest:.2e} | {deviation:.2g} |")
    return lines


def overlap(a: Tensor, b: Tensor) -> float:
    """Intersection over union of voxels [N,4]."""
    weights = torch.tensor([2**30, 2**20, 2**10, 1])
    a, b = ((x.long() * weights).sum(1) for x in (a, b))
    common = int(torch.isin(a, b).sum())
    return common / max(len(a) + len(b) - common, 1)


@torch.no_grad()
def profile(pipeline: SS4DPipeline, options: argparse.Namespace, row_limit: int = 14) -> None:
    """Print the kernels that take the longest in two steps of both stages, and the share of the time that kernels run.

    Where that is near one, the host waits for the GPU: CUDA graphs, which save the host's work, have nothing to save,
    and passes in one batch would only fill gaps that are not there.
    """
    pipeline.sample_with(steps=2)
    cond = pipeline._encode(pipeline._preprocess(frames(options.frames)))
    coords = ball(options.frames, options.voxels, pipeline.latent_flow.config.resolution).to(pipeline.device)
    for name, run in (
        ("stage 1", lambda: pipeline._sample_structure(cond, torch.Generator().manual_seed(1))),
        ("stage 2", lambda: pipeline._sample_latents(cond, coords, torch.Generator().manual_seed(2))),
    ):
        run()
        seconds = [wall(run)]
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as record:
            seconds.append(wall(run))
        rows = record.key_averages()
        work = [e for e in rows if e.device_type == DeviceType.CUDA and not getattr(e, "is_user_annotation", False)]
        busy = sum(e.self_device_time_total for e in work) / 1e6
        print(f"{name}, two steps: kernels {busy:.3f} s; wall {seconds[0]:.3f} s, {seconds[1]:.3f} s while profiled;")
        print(f"  the GPU is busy for {busy / seconds[0]:.1%} ({busy / seconds[1]:.1%} while profiled)")
        print(rows.table(sort_by="cuda_time_total", row_limit=row_limit, max_name_column_width=70), flush=True)


def wall(run: Callable[[], Any]) -> float:
    """Seconds of a call."""
    synchronize()
    began = time.perf_counter()
    run()
    synchronize()
    return time.perf_counter() - began


def options_of(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--voxels", type=int, default=9400, help="a frame")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--no-original", action="store_true")
    help = "what is timed beside the original (default: ours low-memory); none with --ways alone"
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=["ours", "low-memory"], help=help)
    parser.add_argument("--profile", action="store_true")
    help = "single passes of both flows against float32, with this many frames (16)"
    parser.add_argument("--against-float32", nargs="?", type=int, const=16, metavar="FRAMES", help=help)
    parser.add_argument("--spconv", action="store_true", help="for the original's convolutions; has to be installed")
    parser.add_argument("--device", default="cuda", help='"cpu" to try the tool')
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options = options_of(arguments)
    began = time.perf_counter()
    pipeline = SS4DPipeline.from_pretrained(options.checkpoint, device=options.device, kernels="torch")
    checkpoint = pipeline.checkpoint
    if options.spconv and importlib.util.find_spec("spconv") is None:
        print("spconv is not installed: the original's convolutions are gathers and products")
    elif options.spconv:
        use_kernels([pipeline.latent_flow], "torch", convolution="spconv")
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else options.device
    print(f"{name}, torch {torch.__version__}, loaded in {time.perf_counter() - began:.1f} s")
    resolution = pipeline.latent_flow.config.resolution
    count = len(ball(options.frames, options.voxels, resolution)) // options.frames
    print(f"{options.frames} frames, {count} voxels a frame")
    made: dict[str, Made] = {}

    def one_way(way: str, pipeline: SS4DPipeline, repeats: int) -> None:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        print(
            f"\n| {way} | seconds, median | all runs | peak GiB allocated | reserved |\n|---|---:|---|---:|---:|",
            flush=True,
        )
        stages, made[way] = measure(pipeline, options, repeats)
        show_times(stages)
        first = next(iter(made))
        if way != first:
            print(f"\n| {way} beside {first} | relative RMS error | largest difference | deviation |")
            print("|---|---:|---:|---:|")
            print(*differences(made[way], made[first]), sep="\n", flush=True)

    if not options.no_original:
        with the_original_way():
            attempt("original", lambda: one_way("original", pipeline, 1))
    for way in options.ways:
        repeats = options.repeats if way == "ours" else 1
        attempt(way, lambda way=way, n=repeats: one_way(way, made_for(checkpoint, options, way), n))  # type: ignore[misc]
    if options.against_float32:
        count = options.against_float32
        print(f"\n{count} frames, one pass at t = 0.5, relative RMS error of the velocity against float32")
        print(
            "| | pass | original | ours | ours against original | ours no farther |\n|---|---|---:|---:|---:|---|",
            flush=True,
        )

        def rows() -> None:
            for line in single_passes(made_for(checkpoint, options, "ours"), count, options.voxels):
                print(line, flush=True)

        attempt("against float32", rows)
    if options.profile:
        attempt("profile", lambda: profile(made_for(checkpoint, options, "ours"), options))


def made_for(checkpoint: Any, options: argparse.Namespace, way: str) -> SS4DPipeline:
    pipeline = SS4DPipeline(checkpoint, options.device, **WAYS[way])
    if way == "batched":
        pipeline._guided = tuple(Batched(flow) for flow in (pipeline.structure_flow, pipeline.latent_flow))  # type: ignore[assignment]
    return pipeline


if __name__ == "__main__":
    main()
