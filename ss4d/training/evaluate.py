"""The figures by which trained autoencoders are accepted, over all clips of a data set that was not trained on.

G1: structure autoencoder, mean over frames of the intersection over union of occupied voxels: more than 0.95.
G2: latent autoencoder with Gaussian decoder, mean PSNR over all frames and stored views, 8 bit on white: more than 26.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from bench4d.errors import FormatError
from bench4d.files import write_png

from ..attention import use_kernel
from ..data.store import Store
from . import latent_vae, losses, structure_vae
from .lpips import Perceptual
from .task import Backend

GATES = {"structure_vae": ("G1", "iou", 0.95), "latent_vae": ("G2", "psnr", 26.0)}
GATES |= {"structure_flow": ("G3", "iou", 0.8), "latent_flow": ("G4", "psnr", 22.0)}  # evaluate_flow.py
SHEET = 6  # clips a sheet


@dataclass(frozen=True)
class Evaluation:
    """Figures of one network family.

    Attributes:
        figures: name -> mean over all frames (and views).
        clips: clip -> the figure of the gate.
    """

    section: str
    figures: dict[str, float]
    clips: dict[str, float]

    @property
    def met(self) -> bool:
        _, name, limit = GATES[self.section]
        return self.figures[name] > limit

    def __str__(self) -> str:
        gate, name, limit = GATES[self.section]
        lines = [f"{key} {value:.4f}" for key, value in self.figures.items()]
        worst = sorted(self.clips, key=lambda clip: self.clips[clip])[:5]
        lines.append("worst clips: " + ", ".join(f"{clip} {self.clips[clip]:.4f}" for clip in worst))
        lines.append(f"{gate}: {name} {self.figures[name]:.4f}, wanted > {limit:g}: {'met' if self.met else 'NOT met'}")
        return "\n".join(lines)


@torch.no_grad()
def evaluate(
    section: str,
    networks: nn.ModuleDict,
    store: Store,
    backend: Backend,
    out: Path,
    lpips: Perceptual | None = None,
) -> Evaluation:
    """Measure, and write sheets of truth beside reconstruction to `out`.

    Args:
        lpips: adds that distance; None leaves it out.
    """
    if not len(store):
        raise FormatError("data set", "at least one clip", "none")
    half = all(getattr(network.config, "use_fp16", False) for network in networks.values())
    use_kernel(networks, backend.attention if half else "grouped")  # the other kernel is for half precision only
    figures: dict[str, list[Tensor]] = {}
    clips: dict[str, float] = {}
    name = GATES[section][1]
    for number, clip in enumerate(store.ids):
        found = _clip(section, networks, store, number, backend, lpips)
        for key, values in found.items():
            figures.setdefault(key, []).append(values.double().cpu())
        clips[clip] = figures[name][-1].mean().item()
    for start in range(0, len(store), SHEET):
        write_png(out / f"sheet-{start:04d}.png", _sheet(section, networks, store, start, backend))
    return Evaluation(section, {key: torch.cat(values).mean().item() for key, values in figures.items()}, clips)


def _clip(
    section: str, networks: nn.ModuleDict, store: Store, clip: int, backend: Backend, lpips: Perceptual | None
) -> dict[str, Tensor]:
    """Figures of one clip, one number a frame or picture."""
    if section == "structure_vae":
        return {"iou": torch.cat([losses.iou(o, x) for x, o in structure_vae.reconstruct(networks, store, [clip])])}
    parts: list[dict[str, Tensor]] = []
    for truth, found in latent_vae.reconstruct(networks, store, [clip], backend.rasteriser):
        figures = {"psnr": losses.psnr(found, truth), "ssim": losses.ssim(found.double(), truth.double())}
        parts.append(figures | ({"lpips-alex": lpips(found, truth)} if lpips else {}))
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def _sheet(
    section: str, networks: nn.ModuleDict, store: Store, start: int, backend: Backend
) -> UInt8[np.ndarray, "H W 3"]:
    clips = range(start, min(start + SHEET, len(store)))
    if section == "structure_vae":
        return structure_vae.comparison(networks, store, clips)
    return latent_vae.comparison(networks, store, clips, backend.rasteriser)
