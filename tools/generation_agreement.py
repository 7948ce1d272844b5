"""Whether a checkpoint makes the same of a clip every time, and how far a GPU and a CPU are apart.

python tools/generation_agreement.py --checkpoint ss4d/checkpoints/tiny                  # this machine's CPU, twice
python tools/generation_agreement.py --checkpoint ss4d/checkpoints/tiny --device cuda    # the GPU twice, then the CPU

Clips are those of synth4d's test objects. Everything is computed in float32.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from bench4d.benchmark import find_benchmark
from bench4d.render import render_mesh, to_straight
from benchmarks.synth4d.generator import make_object
from ss4d.gaussians import GaussianFrame
from ss4d.pipeline import Result, SS4DPipeline, pictures

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--objects", nargs="+", default=["ball-1000013", "donut-1000011", "pinwheel-1000014"])
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--steps", type=int, default=8)
    options = parser.parse_args()
    devices = list(dict.fromkeys((options.device, "cpu")))
    made = {name: SS4DPipeline.from_pretrained(options.checkpoint, device=name, float32=True) for name in devices}
    for pipeline in made.values():
        pipeline.sample_with(options.steps, None, None)
    for name in options.objects:
        film = frames_of(name, options.frames)
        runs = [made[options.device].run(film, seed=0) for _ in range(2)]
        names = [sha256_of(run)[:16] for run in runs]
        verdict = "equal" if names[0] == names[1] else "DIFFER"
        sys.stdout.write(f"{name}, {options.device}: {' '.join(names)} {verdict}\n")
        if options.device != "cpu":
            sys.stdout.write(compared(made[options.device], made["cpu"], film))
        sys.stdout.flush()


def frames_of(name: str, count: int) -> list[Image]:
    """The clip of an object as synth4d's protocol draws it, at 16 frames a second."""
    thing, camera = make_object(name), find_benchmark("synth4d", ROOT).cameras[0]
    drawn = [to_straight(render_mesh(thing.mesh_at(k / 16), camera))[0] for k in range(count)]
    return pictures(np.stack(drawn))


def sha256_of(result: Result) -> str:
    """Of all voxels and all numbers of all Gaussians."""
    found = hashlib.sha256()
    for tensor in (*result.coords, *(x for frame in result.gaussians for x in tensors(frame).values())):
        found.update(tensor.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def tensors(frame: GaussianFrame) -> dict[str, Tensor]:
    """The numbers of a frame, as the decoder has them."""
    values = {field.name: getattr(frame, field.name) for field in dataclasses.fields(frame)}
    return {name: value.detach().float().cpu() for name, value in values.items() if isinstance(value, Tensor)}


def compared(gpu: SS4DPipeline, cpu: SS4DPipeline, film: list[Image]) -> str:
    """Voxels of both devices, and Gaussians in the CPU's voxels."""
    one, other = gpu.run_structure(film, seed=0).cpu(), cpu.run_structure(film, seed=0)
    overlaps = []
    for k in range(len(film)):
        a, b = ({tuple(row) for row in x[x[:, 0] == k].tolist()} for x in (one, other))
        overlaps.append(len(a & b) / max(1, len(a | b)))
    lines = [f"  voxels: IoU of a frame at least {min(overlaps):.5f}, {sum(x == 1 for x in overlaps)} frames equal\n"]
    results = [pipeline.run(film, seed=0, coords=other.to(pipeline.device)) for pipeline in (gpu, cpu)]
    for name in tensors(results[0].gaussians[0]):
        a, b = (torch.cat([tensors(frame)[name].flatten() for frame in result.gaussians]) for result in results)
        off = (a - b).abs()
        figures = f"{off.max():.2g} at most, {off.mean():.2g} in the mean; deviation {b.std():.2g}"
        lines.append(f"  {name}: off by {figures}\n")
    return "".join(lines)


if __name__ == "__main__":
    main()
