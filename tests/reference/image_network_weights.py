"""Random weights at full size for the networks that see pictures, as small files in their published forms; pictures.

Matrices are overlapping windows of one long row of random numbers, so that 150 million parameters make some megabytes.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import torch

from metrics.features import clip, dreamsim, inception


def windows(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, torch.Tensor]:
    """Random tensors: matrices with deviation 0.03, norms' weights near 1, everything else near 0."""
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


def photographs(height: int, width: int, count: int = 2) -> np.ndarray:
    """Smooth colours and noise, uint8 [n,H,W,3]."""
    random = np.random.default_rng(count)
    y, x = np.mgrid[:height, :width]
    waves = random.uniform(0.01, 0.2, (count, 3, 2))
    found = 127 + 90 * np.sin(waves[:, None, None, :, 0] * x[..., None] + waves[:, None, None, :, 1] * y[..., None])
    return (found + random.normal(0, 12, found.shape)).clip(0, 255).astype(np.uint8)


def write_clip(folder: Path) -> Path:
    """A state dict with the shapes of OpenAI's ViT-B/32. Raises MetricUnavailable without the package open_clip."""
    package = clip.open_clip()
    with torch.device("meta"):
        network = package.CLIP(**package.get_model_config("ViT-B-32"))
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    torch.save(windows(shapes), folder / "clip-vit-b32.pt")
    return folder / "clip-vit-b32.pt"


def write_inception(folder: Path) -> Path:
    """The FID's Inception v3, as pytorch-fid publishes it."""
    generator = torch.Generator().manual_seed(2)
    state = {}
    for name, shape in inception.shapes().items():
        fan_in = int(np.prod(shape[1:]))
        state[name] = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5 if len(shape) > 1 else None
        if name.endswith(("running_var", "bn.weight")):
            state[name] = 0.7 + 0.6 * torch.rand(shape, generator=generator)
        elif len(shape) == 1:
            state[name] = 0.1 * torch.randn(shape, generator=generator)
    torch.save(state, folder / "inception-fid.pth")
    return folder / "inception-fid.pth"


def write_dreamsim(folder: Path) -> Path:
    """DreamSim's archive of the ensemble, without the package: three networks, and an adapter of one layer of each."""
    pack = folder / "pack"
    (adapters := pack / "ensemble_lora").mkdir(parents=True)
    generator, low = torch.Generator().manual_seed(5), {}
    for k, branch in enumerate(dreamsim.ENSEMBLE):
        state = windows(dreamsim.shapes(branch), seed=k)
        if branch is dreamsim.DINO:
            state = {f"backbone.{name}": tensor for name, tensor in state.items()}
        torch.save({"teacher" if branch is dreamsim.DINO else "state_dict": state}, pack / branch.member)
        for part, shape in (("A", (4, dreamsim.WIDTH)), ("B", (3 * dreamsim.WIDTH, 4))):
            name = f"base_model.model.extractor_list.{k}.model.blocks.3.attn.qkv.lora_{part}.weight"
            low[name] = 0.05 * torch.randn(shape, generator=generator)
    torch.save(low, adapters / "adapter_model.bin")
    (adapters / "adapter_config.json").write_text(json.dumps({"r": 4, "lora_alpha": 2}))
    archive = shutil.make_archive(str(folder / "dreamsim-ensemble"), "zip", pack)
    shutil.rmtree(pack)
    return Path(archive)
