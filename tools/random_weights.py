"""Random weights at full size for the feature networks, as small files in the forms that are published; and pictures.

What tests and measurements use where the published weights are not there. Numbers of such networks mean nothing: only
what does not depend on weights (equality, invariance, rounding, time) can be learnt from them. The same on every
machine with the same release of torch.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import torch

from bench4d.files import sha256_file
from bench4d.metric import MetricUnavailable
from metrics.features import clip, dreamsim, i3d, inception, resnet3d

Shapes = Mapping[str, tuple[int, ...]]


def windows(shapes: Shapes, seed: int = 0) -> dict[str, torch.Tensor]:
    """For transformers: matrices with deviation 0.03, norms' weights near 1, everything else near 0.

    Matrices are overlapping windows of one long row, so that 150 million parameters make a file of some megabytes.
    """
    generator = torch.Generator().manual_seed(seed)
    row = 0.03 * torch.randn(2_000_000, generator=generator)
    state = {}
    for name, shape in shapes.items():
        width = int(np.prod(shape[1:]))
        if len(shape) < 2 or shape[0] == 1:
            near_one = float(len(shape) == 1 and name.endswith("weight"))
            state[name] = near_one + 0.1 * torch.randn(shape, generator=generator)
        else:
            start = int(torch.randint(len(row) - 11 * shape[0] - width, (), generator=generator))
            strides = torch.empty((1, *shape[1:])).stride()[1:]
            state[name] = row.as_strided(shape, (11, *strides), start)
    return state


def convolutional(shapes: Shapes, seed: int = 0) -> dict[str, torch.Tensor]:
    """For networks of convolutions and batch norms: activations neither fade nor grow fast (He et al. 2015)."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        if len(shape) > 1:
            state[name] = torch.randn(shape, generator=generator) * (2 / int(np.prod(shape[1:]))) ** 0.5
        elif name.endswith(("running_var", "weight")):
            state[name] = 0.7 + 0.6 * torch.rand(shape, generator=generator)
        else:
            state[name] = 0.1 * torch.randn(shape, generator=generator)
    return state


def write_clip(folder: Path) -> Path:
    """A state dict with the shapes of OpenAI's ViT-B/32. Raises MetricUnavailable without the package open_clip."""
    package = clip.open_clip()
    with torch.device("meta"):
        network = package.CLIP(**package.get_model_config("ViT-B-32"))
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    return _saved(windows(shapes), folder / "clip-vit-b32.pt")


def write_inception(folder: Path) -> Path:
    """The FID's Inception v3, as pytorch-fid publishes it."""
    return _saved(convolutional(inception.shapes(), seed=2), folder / "inception-fid.pth")


def write_i3d(folder: Path) -> Path:
    return _saved(convolutional(i3d.shapes(), seed=3), folder / "i3d-400.pt")


def write_resnet3d(folder: Path) -> Path:
    state = {f"module.{name}": tensor for name, tensor in convolutional(resnet3d.shapes(), seed=4).items()}
    return _saved({"state_dict": state}, folder / "resnet50-kinetics.pth")


def write_dreamsim(folder: Path) -> Path:
    """The archive of the ensemble. Needs no package."""
    return _archive(folder, "dreamsim-ensemble", dreamsim.ENSEMBLE, "ensemble_lora")


def write_dreamsim_dino(folder: Path) -> Path:
    """The archive of the single network."""
    return _archive(folder, "dreamsim-dino-vitb16", dreamsim.SINGLE, "dino_vitb16_single_lora")


def _archive(folder: Path, id: str, branches: tuple[dreamsim.Branch, ...], adapters_name: str) -> Path:
    """The networks, and an adapter of one layer of each."""
    pack = folder / "pack"
    (adapters := pack / adapters_name).mkdir(parents=True)
    generator, low = torch.Generator().manual_seed(5), {}
    for k, branch in enumerate(branches):
        state = windows(dreamsim.shapes(branch), seed=k)
        if branch is dreamsim.DINO:
            state = {f"backbone.{name}": tensor for name, tensor in state.items()}
        torch.save({"teacher" if branch is dreamsim.DINO else "state_dict": state}, pack / branch.member)
        for part, shape in (("A", (4, dreamsim.WIDTH)), ("B", (3 * dreamsim.WIDTH, 4))):
            name = f"base_model.model.extractor_list.{k}.model.blocks.3.attn.qkv.lora_{part}.weight"
            low[name] = 0.05 * torch.randn(shape, generator=generator)
    torch.save(low, adapters / "adapter_model.bin")
    (adapters / "adapter_config.json").write_text(json.dumps({"r": 4, "lora_alpha": 2}))
    archive = shutil.make_archive(str(folder / id), "zip", pack)
    shutil.rmtree(pack)
    return Path(archive)


WRITERS: dict[str, Callable[[Path], Path]] = {
    "clip-vit-b32": write_clip,
    "dreamsim-ensemble": write_dreamsim,
    "dreamsim-dino-vitb16": write_dreamsim_dino,
    "inception-fid": write_inception,
    "i3d-400": write_i3d,
    "resnet50-kinetics": write_resnet3d,
}


def write_all(folder: Path, ids: Iterable[str] = tuple(WRITERS)) -> dict[str, dict[str, str]]:
    """By id in weights.yaml, as `bench4d.metric_loading.Loader` takes them; where a package lacks, the reason."""
    found = {}
    for id in ids:
        try:
            path = WRITERS[id](folder)
            found[id] = {"path": str(path), "sha256": sha256_file(path)}
        except MetricUnavailable as lacking:
            found[id] = {"reason": str(lacking)}
    return found


def photographs(height: int, width: int, count: int = 2) -> np.ndarray:
    """Smooth colours and noise, uint8 [n,H,W,3]."""
    random = np.random.default_rng(count)
    y, x = np.mgrid[:height, :width]
    waves = random.uniform(0.01, 0.2, (count, 3, 2))
    found = 127 + 90 * np.sin(waves[:, None, None, :, 0] * x[..., None] + waves[:, None, None, :, 1] * y[..., None])
    return (found + random.normal(0, 12, found.shape)).clip(0, 255).astype(np.uint8)


def _saved(state: object, path: Path) -> Path:
    torch.save(state, path)
    return path
