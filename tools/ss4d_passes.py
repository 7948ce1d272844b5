"""What sharing saves on a CPU: both samplers of a configuration with plain passes and with shared work, side by side.

    python tools/ss4d_passes.py --config tiny --repeats 5 > build/ss4d-passes.md

Plain: every pass by itself, with keys and values of the images worked out anew. Same random weights, noise and voxels
(of a spherical shell). Seconds are those of the processor, on one thread, so that other programs disturb little.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

from ss4d.checkpoint import SamplerSettings
from ss4d.latent_flow import SLatFlow4DModel
from ss4d.pipeline import integrate
from ss4d.sampler import FlowEulerGuidanceIntervalSampler
from ss4d.sparse import SparseTensor
from ss4d.structure_flow import SparseStructureFlow4DModel
from ss4d.training.config import read_training

SETTINGS = SamplerSettings(steps=4, cfg_strength=3.0, cfg_interval=(0.5, 1.0), rescale_t=3.0)


def shell(frames: int, resolution: int) -> Tensor:
    """Voxels [N,4] of a sphere's surface, the same in every frame."""
    axis = torch.arange(resolution) - resolution / 2 + 0.5
    distance = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).square().sum(-1).sqrt()
    voxels = ((distance - 0.375 * resolution).abs() < 0.55).nonzero()
    return torch.cat([torch.cat([torch.full((len(voxels), 1), k), voxels], 1) for k in range(frames)]).int()


def plain(network: nn.Module, noise: Any, cond: Tensor, frames: int) -> Any:
    return FlowEulerGuidanceIntervalSampler(SETTINGS.sigma_min).sample(
        network, noise, cond, torch.zeros_like(cond), steps=SETTINGS.steps, rescale_t=SETTINGS.rescale_t,
        cfg_strength=SETTINGS.cfg_strength, cfg_interval=SETTINGS.cfg_interval, num_frames=frames,
    ).x  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="tiny")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=256, help="of a frame's image")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    first = read_training(options.config, "structure_flow", []).networks["structure_flow"]
    second = read_training(options.config, "latent_flow", []).networks["latent_flow"]
    coords = shell(options.frames, second["resolution"])
    sides = [first["resolution"]] * 3
    noises = {
        "stage 1": torch.randn(options.frames, first["in_channels"], *sides),
        "stage 2": SparseTensor(torch.randn(len(coords), second["in_channels"]), coords, options.frames),
    }
    networks: dict[str, Any] = {
        "stage 1": SparseStructureFlow4DModel.from_args(first),
        "stage 2": SLatFlow4DModel.from_args(second),
    }
    print(f"{options.frames} frames, {len(coords) // options.frames} voxels a frame, {SETTINGS.steps} steps")
    print("| | plain, s | shared, s | ratio, median | all ratios | largest difference |\n|---|---:|---:|---:|---|---:|")
    for name, network in networks.items():
        for parameter in network.parameters():  # new networks answer with zeros
            nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.02)
        cond = torch.randn(options.frames, options.tokens, network.config.cond_channels)
        times: list[tuple[float, float]] = []
        for _ in range(options.repeats):
            began = time.process_time()
            theirs = plain(network, noises[name], cond, options.frames)
            middle = time.process_time()
            ours = integrate(network, noises[name], cond, SETTINGS, options.frames)
            times.append((middle - began, time.process_time() - middle))
        a, b = (x if isinstance(x, Tensor) else x.feats for x in (theirs, ours))
        ratios = [before / after for before, after in times]
        before, after = (statistics.median(x) for x in zip(*times, strict=True))
        listed = ", ".join(f"{x:.2f}" for x in ratios)
        error = float((a - b).abs().max() / a.abs().max())
        print(f"| {name} | {before:.1f} | {after:.1f} | {statistics.median(ratios):.2f} | {listed} | {error:.0e} |")


if __name__ == "__main__":
    main()
