"""Random weights at full size for the feature networks, as small files in the forms that are published; and pictures.

What tests and measurements use where the published weights are not there. Numbers of such networks mean nothing: only
what does not depend on weights (equality, invariance, rounding, time) can be learnt from them. The same on every
machine with the same release of torch.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from bench4d.files import sha256_file
from bench4d.metric import MetricUnavailable
from metrics.features import clip, dreamsim, i3d, inception, resnet3d

Shapes = Mapping[str, tuple[int, ...]]
Writers = Mapping[str, Callable[[Path], Path]]
# Convolutions of LPIPS's trunks, number -> (channels out, channels in, kernel).
ALEX = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
VGG = {0: (64, 3, 3), 2: (64, 64, 3), 5: (128, 64, 3), 7: (128, 128, 3), 10: (256, 128, 3), 12: (256, 256, 3)}
VGG |= {14: (256, 256, 3), 17: (512, 256, 3)} | dict.fromkeys((19, 21, 24, 26, 28), (512, 512, 3))
# DreamSim's adapters.
RANK = 4
ADAPTER_SHAPES = {"A": (RANK, dreamsim.WIDTH), "B": (3 * dreamsim.WIDTH, RANK)}
ADAPTERS = {"peft_type": "LORA", "r": RANK, "lora_alpha": 2, "lora_dropout": 0.0, "bias": "none"}
ADAPTERS |= {"target_modules": ["qkv"], "inference_mode": True}


def windows(shapes: Shapes, seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """For transformers: matrices with deviation 0.03, norms' weights near 1, everything else near 0.

    Matrices are overlapping windows of one long row, so that 150 million parameters make a file of some megabytes.
    """
    generator = torch.Generator().manual_seed(seed)
    row = (0.03 * torch.randn(2_000_000, generator=generator)).to(dtype)
    state = {}
    for name, shape in shapes.items():
        width = int(np.prod(shape[1:]))
        if len(shape) < 2 or shape[0] == 1:
            near_one = float(len(shape) == 1 and name.endswith("weight"))
            state[name] = (near_one + 0.1 * torch.randn(shape, generator=generator)).to(dtype)
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


def write_clip(folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    """A state dict with the shapes of OpenAI's ViT-B/32. Raises MetricUnavailable without the package open_clip."""
    package = clip.open_clip()
    with torch.device("meta"):
        network = package.CLIP(**package.get_model_config("ViT-B-32"))
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    return _saved(windows(shapes, dtype=dtype), folder / "clip-vit-b32.pt")


def write_inception(folder: Path) -> Path:
    """The FID's Inception v3, as pytorch-fid publishes it."""
    return _saved(convolutional(inception.shapes(), seed=2), folder / "inception-fid.pth")


def write_i3d(folder: Path) -> Path:
    return _saved(convolutional(i3d.shapes(), seed=3), folder / "i3d-400.pt")


def write_resnet3d(folder: Path) -> Path:
    state = {f"module.{name}": tensor for name, tensor in convolutional(resnet3d.shapes(), seed=4).items()}
    return _saved({"state_dict": state}, folder / "resnet50-kinetics.pth")


def write_trunk(folder: Path, id: str, layers: Mapping[int, tuple[int, int, int]]) -> Path:
    """The convolutions of a network that LPIPS looks into."""
    shapes: dict[str, tuple[int, ...]] = {}
    for k, (out, into, side) in layers.items():
        shapes |= {f"features.{k}.weight": (out, into, side, side), f"features.{k}.bias": (out,)}
    save_file(convolutional(shapes), folder / f"{id}.safetensors")
    return folder / f"{id}.safetensors"


def write_heads(folder: Path, id: str, channels: tuple[int, ...]) -> Path:
    """LPIPS's weights of the channels of each activation: not negative."""
    generator = torch.Generator().manual_seed(3)
    heads = {f"lin{k}.weight": torch.rand(1, c, 1, 1, generator=generator) for k, c in enumerate(channels)}
    save_file(heads, folder / f"{id}.safetensors")
    return folder / f"{id}.safetensors"


def write_dreamsim(folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    """The archive of the ensemble. Needs no package."""
    return _archive(folder, "dreamsim-ensemble", dreamsim.ENSEMBLE, "ensemble_lora", dtype)


def write_dreamsim_dino(folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    """The archive of the single network."""
    return _archive(folder, "dreamsim-dino-vitb16", dreamsim.SINGLE, "dino_vitb16_single_lora", dtype)


def _archive(
    folder: Path, id: str, branches: tuple[dreamsim.Branch, ...], adapters_name: str, dtype: torch.dtype
) -> Path:
    """The networks, and an adapter of every block of each, as the package wants them: block 3's alone is not zero."""
    pack = folder / "pack"
    (adapters := pack / adapters_name).mkdir(parents=True)
    generator, low = torch.Generator().manual_seed(5), {}
    for k, branch in enumerate(branches):
        state = windows(dreamsim.shapes(branch), k, dtype)
        if branch is dreamsim.DINO:
            state = {f"backbone.{name}": tensor for name, tensor in state.items()}
        else:
            state["proj"] = state["proj"].float()  # the package multiplies by it as it is
        torch.save({"teacher" if branch is dreamsim.DINO else "state_dict": state}, pack / branch.member)
        for block, (part, shape) in product(range(dreamsim.DEPTH), ADAPTER_SHAPES.items()):
            name = f"base_model.model.extractor_list.{k}.model.blocks.{block}.attn.qkv.lora_{part}.weight"
            low[name] = 0.05 * torch.randn(shape, generator=generator) if block == 3 else torch.zeros(shape)
    torch.save(low, adapters / "adapter_model.bin")
    (adapters / "adapter_config.json").write_text(json.dumps(ADAPTERS))
    archive = shutil.make_archive(str(folder / id), "zip", pack)
    shutil.rmtree(pack)
    return Path(archive)


WRITERS: Writers = {
    "clip-vit-b32": write_clip,
    "dreamsim-ensemble": write_dreamsim,
    "dreamsim-dino-vitb16": write_dreamsim_dino,
    "inception-fid": write_inception,
    "i3d-400": write_i3d,
    "resnet50-kinetics": write_resnet3d,
    "alexnet-features": partial(write_trunk, id="alexnet-features", layers=ALEX),
    "vgg16-features": partial(write_trunk, id="vgg16-features", layers=VGG),
    "lpips-alex-heads": partial(write_heads, id="lpips-alex-heads", channels=(64, 192, 384, 256, 256)),
    "lpips-vgg-heads": partial(write_heads, id="lpips-vgg-heads", channels=(64, 128, 256, 512, 512)),
}
# Transformers in half precision. Who reads them in single precision gets matrices that no longer share their numbers:
# what times and memory are measured with.
HALF_WRITERS: Writers = {
    **WRITERS,
    "clip-vit-b32": partial(write_clip, dtype=torch.float16),
    "dreamsim-ensemble": partial(write_dreamsim, dtype=torch.float16),
    "dreamsim-dino-vitb16": partial(write_dreamsim_dino, dtype=torch.float16),
}


def write_all(
    folder: Path, ids: Iterable[str] = tuple(WRITERS), writers: Writers = WRITERS
) -> dict[str, dict[str, str]]:
    """By id in weights.yaml, as `bench4d.metric_loading.Loader` takes them; of what cannot be made, the reason.

    Args:
        folder: where the files go; it exists.
        writers: `WRITERS` or `HALF_WRITERS`.
    """
    found = {}
    for id in ids:
        if id not in writers:
            found[id] = {"reason": "no random weights are made for it"}
            continue
        try:
            path = writers[id](folder)
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
