"""What latents can bear and what flows know of them: where docs/training.md has its diagnosis from.

python tools/latent_figures.py --data data/val-latents --checkpoint runs/networks --structure-flow RUN --latent-flow RUN

The data set is encoded, both latents with views; runs may be `slim`. Printed are: IoU and PSNR of decoded latents with
noise of some of their deviation, IoU of shapes with themselves moved by a voxel, and of each flow, at some times, the
mean squared error of its velocity and how much of the latents' variance its estimate of the data explains.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor

from ss4d.data.augment import on_black
from ss4d.data.store import Store
from ss4d.loading import load_strictly, read_tensors
from ss4d.training import losses, state
from ss4d.training.evaluate_flow import section_of
from ss4d.training.latent_flow import LatentFlow
from ss4d.training.structure_flow import StructureFlow
from ss4d.training.task import Backend

NOISE = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7)  # of the latents' deviation
TIMES = (0.1, 0.3, 0.5, 0.7, 0.85, 0.95, 0.999)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True, help="decoders, image encoder, as exported")
    parser.add_argument("--structure-flow", type=Path, required=True, metavar="RUN")
    parser.add_argument("--latent-flow", type=Path, required=True, metavar="RUN")
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    for kind, run in ((StructureFlow, options.structure_flow), (LatentFlow, options.latent_flow)):
        task, store = opened(kind, run, options)
        clips = range(min(options.clips, len(store)))
        generator = torch.Generator(task.backend.device).manual_seed(0)
        with torch.no_grad():
            sys.stdout.write(f"\n{task.section.name}\n")
            for amount in NOISE:
                found = torch.cat([decoded(task, store, clip, amount, generator) for clip in clips])
                name = "IoU" if kind is StructureFlow else "PSNR"
                sys.stdout.write(f"latents with noise of {amount}: {name} {found.mean().item():.4g}\n")
            if kind is StructureFlow:
                moved = torch.cat([moved_by_a_voxel(task, store, clip) for clip in clips])
                sys.stdout.write(f"a shape and itself, moved by a voxel: IoU {moved.mean().item():.4g}\n")
            for t in TIMES:
                parts = torch.stack([known(task, store, clip, t, generator) for clip in clips]).mean(0)
                sys.stdout.write(f"t {t}: velocity mse {parts[0]:.3f}, explained {1 - parts[1] / parts[2]:.0%}\n")


def opened(kind: type[Any], run: Path, options: argparse.Namespace) -> tuple[Any, Store]:
    """A flow with the moving average of a run, on the first frames of clips, and the data set as it reads it."""
    backend = Backend.of(options.device)
    store = Store.read(options.data, backend.device, parts=kind.validation_parts)
    path = state.latest(run)
    task = kind(section_of(path, run, [f"train.frames={options.frames}"]), backend, store, options.checkpoint)
    load_strictly(task.networks, read_tensors(path / "average.safetensors"), path / "average.safetensors")
    return task, store


def decoded(task: Any, store: Store, clip: int, amount: float, generator: torch.Generator) -> Tensor:
    """IoU of each frame or PSNR of each picture, of true latents with noise."""
    batch, unit = task.cut(store, clip), task.networks["normalisation"]
    latents = (batch.structure_latents if isinstance(task, StructureFlow) else batch.latents).float()
    x = unit.to_unit(latents)
    latents = unit.to_data(x + amount * torch.randn(x.shape, generator=generator, device=x.device))
    if isinstance(task, LatentFlow):
        truth, found = task.pictures(batch, latents)
        return losses.psnr(found, truth)
    assert task.decoder is not None
    return losses.iou(task.decoder(latents), batch.occupancy(task.section.resolution))


def moved_by_a_voxel(task: Any, store: Store, clip: int) -> Tensor:
    truth = task.cut(store, clip).occupancy(task.section.resolution)
    return torch.cat([losses.iou(2 * truth.roll(1, axis) - 1, truth) for axis in (2, 3, 4)])


def known(task: Any, store: Store, clip: int, t: float, generator: torch.Generator) -> Tensor:
    """Squared errors of the velocity and of the data it points to, and the variance of the data; means of a clip."""
    inputs, unit = task.prepare(task.cut(store, clip)), task.networks["normalisation"]
    dense = isinstance(task, StructureFlow)
    x0 = unit.to_unit(inputs.latents if dense else inputs.latents.feats)
    noise = torch.randn(x0.shape, generator=generator, device=x0.device)
    x, times = (1 - t) * x0 + t * noise, torch.full((inputs.n_frames,), 1000 * t, device=x0.device)
    with task.backend.autocast():
        if dense:
            cond = task._tokens(task.networks, on_black(inputs.condition))
            v = task.networks["structure_flow"](x, times, cond, inputs.n_frames).float()
        else:
            cond = task._tokens(on_black(inputs.condition))
            v = task.networks["latent_flow"](inputs.latents.replace(x), times, cond, inputs.n_frames).feats.float()
    error = (v - (noise - x0)).square().mean()
    axes = tuple(k for k in range(x0.ndim) if k != 1)
    return torch.stack([error, error * t * t, (x0 - x0.mean(axes, keepdim=True)).square().mean()])


if __name__ == "__main__":
    main()
