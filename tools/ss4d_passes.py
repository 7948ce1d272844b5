"""What sharing saves on a CPU: both samplers of a configuration with plain passes and with shared work, side by side.

    python tools/ss4d_passes.py --config tiny --repeats 5 > build/ss4d-passes.md

Plain: every pass by itself, with keys and values of the images worked out anew. Same random weights, noise and voxels
(of a spherical shell). Seconds are those of the processor, on one thread, so that other programs disturb little.

    git worktree add --detach ../before 889bd65
    python tools/ss4d_passes.py --config tiny --repeats 3 --package ../before

puts another checkout beside this one: a pass with images of each flow, and its sampler as that checkout runs it, in
processes of their own that take turns. Same networks, weights, noise and voxels.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
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

ROOT = Path(__file__).resolve().parents[1]
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


def beside(other: Path, given: dict[str, Any], repeats: int) -> None:
    """Print a table of another checkout's seconds and ours; `given` as ss4d_passes_worker.py describes it."""
    found: dict[Path, list[dict[str, Any]]] = {other: [], ROOT: []}
    with tempfile.TemporaryDirectory() as name:
        inputs, outputs = Path(name) / "inputs", Path(name) / "outputs"
        torch.save(given, inputs)
        for k in range(repeats):
            for checkout in [other, ROOT][:: 1 if k % 2 == 0 else -1]:
                worker = str(ROOT / "tools/ss4d_passes_worker.py")
                subprocess.run([sys.executable, worker, str(checkout), str(inputs), str(outputs)], check=True)
                found[checkout].append(torch.load(outputs, weights_only=True))
    print("| | before, s | now, s | now / before | all, before | all, now | largest difference |")
    print("|---|---:|---:|---:|---|---|---:|")
    for key in found[ROOT][0]["seconds"]:
        before, now = ([run["seconds"][key] for run in runs] for runs in found.values())
        a, b = (runs[0]["values"][key] for runs in found.values())
        lists = " | ".join(", ".join(f"{x:.2f}" for x in times) for times in (before, now))
        medians = statistics.median(before), statistics.median(now)
        error = float((a - b).abs().max() / a.abs().max())
        print(
            f"| {', '.join(key)} | {medians[0]:.2f} | {medians[1]:.2f} | {medians[1] / medians[0]:.2f} | {lists} | "
            f"{error:.0e} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="tiny")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=256, help="of a frame's image")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--package", type=Path, metavar="CHECKOUT", help="compare with that one")
    parser.add_argument("--passes", type=int, default=3, help="of each process, with --package")
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
    print(
        f"{options.frames} frames, {len(coords) // options.frames} voxels a frame, {SETTINGS.steps} steps\n", flush=True
    )
    if options.package:
        shape = options.frames, options.tokens
        conds = {"stage 1": first["cond_channels"], "stage 2": second["cond_channels"]}
        given = {
            "networks": {"stage 1": ("structure_flow", dict(first)), "stage 2": ("latent_flow", dict(second))},
            "noises": {stage: x if isinstance(x, Tensor) else x.feats for stage, x in noises.items()},
            "conds": {stage: torch.randn(*shape, channels) for stage, channels in conds.items()},
            "settings": {k: v for k, v in asdict(SETTINGS).items() if k != "solver"},
            "frames": options.frames, "coords": coords, "passes": options.passes,
        }  # fmt: skip
        beside(options.package, given, options.repeats)
        return
    networks: dict[str, Any] = {
        "stage 1": SparseStructureFlow4DModel.from_args(first),
        "stage 2": SLatFlow4DModel.from_args(second),
    }
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
