"""The figures by which the flows are accepted: samples of a run's moving average, beside the truth.

G3: stage 1 on clips that it was trained on: mean over frames of the IoU of sampled and true voxels: more than 0.8.
G4: stage 2 in the true voxels of unseen clips: mean PSNR over all frames and views, 8 bit on white: more than 22.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from bench4d.errors import FormatError
from bench4d.files import read_json, write_json, write_png

from ..data.store import Store
from ..loading import load_strictly, read_tensors
from . import losses, state
from .config import Section, change, parse_section
from .evaluate import SHEET, Evaluation
from .export import trained
from .flow import Frozen
from .latent_flow import LatentFlow
from .pictures import picture_sheet, voxel_sheet
from .structure_flow import StructureFlow
from .task import Backend

Pair = tuple[Tensor, Tensor]  # truth and sample: voxels and logits [F,1,R,R,R], or pictures [P,3,S,S]


def evaluate_flow(
    run: Path,
    store: Store,
    backend: Backend,
    checkpoint: Path,
    out: Path,
    clips: int | None = None,
    changes: Sequence[str] = (),
    encoder: Frozen | None = None,
) -> Evaluation:
    """Measure, and write figures.json and sheets of truth beside sample to `out`.

    Args:
        run: or what `slim` made of it.
        store: encoded; for latent_flow with views. Samples have the first train.frames frames of its clips.
        checkpoint: folder with the decoder that belongs to the latents, for latent_flow also the image encoder.
        clips: the first so many; None for all.
        changes: of values of the run, as in `read_training`: "loss.sampler.steps=8".
        encoder: of a run that took another image encoder than its own.
    """
    count = len(store) if clips is None else min(clips, len(store))
    if count < 1:
        raise FormatError("clips", "at least one", f"{count}")
    path = state.latest(run)
    section = section_of(path, run, changes)
    kind = {"structure_flow": StructureFlow, "latent_flow": LatentFlow}[section.name]
    task = kind(section, backend, store, checkpoint, encoder)
    task.check(store)
    load_strictly(task.networks, read_tensors(path / "average.safetensors"), path / "average.safetensors")
    figures: dict[str, list[Tensor]] = {}
    by_clip: dict[str, float] = {}
    group: list[Pair] = []
    for clip in range(count):
        pair = next(iter(task.samples(task.networks, store, [clip])))
        found = _figures(section.name, *pair)
        if isinstance(task, LatentFlow):  # no sample in these voxels is expected to be better
            found["psnr of true latents"] = losses.psnr(task.reconstruction(store, clip), pair[0])
        for name, values in found.items():
            figures.setdefault(name, []).append(values.double().cpu())
        by_clip[store.ids[clip]] = next(iter(found.values())).double().mean().item()
        group.append(pair)
        if len(group) == SHEET or clip + 1 == count:
            views = store.tensors["views"].shape[1] if isinstance(task, LatentFlow) else 0
            image = picture_sheet(group, views) if views else voxel_sheet(group)
            write_png(out / f"sheet-{clip + 1 - len(group):04d}.png", image)
            group = []
    means = {name: torch.cat(values).mean().item() for name, values in figures.items()}
    evaluation = Evaluation(section.name, means, by_clip)
    record = {"figures": means, "clips": by_clip, "met": evaluation.met, "run": path.name}
    write_json(out / "figures.json", record | {"sampler": task.options.sampler.to_json()})
    return evaluation


def section_of(path: Path, run: Path, changes: Sequence[str]) -> Section:
    """Of a flow's run, with some values replaced."""
    saved = read_json(path / "state.json")["section"]
    name = saved["name"]
    if name not in ("structure_flow", "latent_flow"):
        raise FormatError(run, "a run of structure_flow or latent_flow", f"one of {name}")
    networks = {key: saved["networks"][key] for key in trained(saved)}
    data = change({"networks": networks, "train": saved["train"], "loss": saved["loss"]}, changes)
    return parse_section(name, data, saved["resolution"], f"{run}")


def _figures(name: str, truth: Tensor, found: Tensor) -> dict[str, Tensor]:
    """One number a frame or picture; the gate's first."""
    if name == "structure_flow":
        return {"iou": losses.iou(found, truth)}
    return {"psnr": losses.psnr(found, truth), "ssim": losses.ssim(found.double(), truth.double())}
