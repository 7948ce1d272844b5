"""Time and peak memory of SS4D's stages on one GPU.

    python -m ss4d random-checkpoint --size full --out build/ss4d-random
    python tools/ss4d_timing.py build/ss4d-random --repeats 3

Frames are a drawn ball that moves: the networks' cost depends on their number and on the voxels, not on what they show.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from PIL import Image, ImageDraw

from ss4d.pipeline import SS4DPipeline

STAGES = {
    "_encode": "image encoder",
    "_sample_structure": "stage 1 and structure decoder",
    "_sample_latents": "stage 2",
}


def frames(count: int, size: int = 512) -> list[Image.Image]:
    images = [Image.new("RGBA", (size, size)) for _ in range(count)]
    for k, image in enumerate(images):
        x = size * (0.35 + 0.3 * k / count)
        ImageDraw.Draw(image).ellipse((x - 100, 156, x + 100, 356), fill=(200, 40 + 5 * k, 60, 255))
    return images


def timed(stages: dict[str, list[tuple[float, int]]], name: str, function: Callable[..., Any]) -> Callable[..., Any]:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    began = time.perf_counter()
    pipeline = SS4DPipeline.from_pretrained(options.checkpoint, device="cuda")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, loaded in {time.perf_counter() - began:.1f} s")
    print(pipeline.checkpoint.report())
    stages: dict[str, list[tuple[float, int]]] = {}
    for method, name in STAGES.items():
        setattr(pipeline, method, timed(stages, name, getattr(pipeline, method)))
    pipeline.gaussian_decoder.forward = timed(stages, "Gaussian decoder", pipeline.gaussian_decoder.forward)
    for _ in range(options.repeats):
        result = pipeline.run(frames(options.frames))
    voxels = [len(coords) for coords in result.coords]
    finite = all(torch.isfinite(frame.xyz).all() for frame in result.gaussians)
    print(f"{options.frames} frames, {min(voxels)} to {max(voxels)} voxels, all Gaussians finite: {finite}")
    print("| stage | seconds, median | all runs | peak memory, GiB |\n|---|---:|---|---:|")
    for name, runs in stages.items():
        seconds = [second for second, _ in runs]
        listed = ", ".join(f"{second:.2f}" for second in seconds)
        peak = max(peak for _, peak in runs) / 2**30
        print(f"| {name} | {statistics.median(seconds):.2f} | {listed} | {peak:.1f} |")


if __name__ == "__main__":
    main()
