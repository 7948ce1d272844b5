"""Random weights of the scoring networks, in the published files' forms: for timings and tests that need no download.

Matrices of `windows` overlap in one long row of numbers, so that a file of 150 million parameters has some megabytes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from bench4d.files import sha256_file
from metrics.features import dreamsim, i3d, inception
from metrics.features.torchvision_import import import_torchvision

Shapes = dict[str, tuple[int, ...]]
# Convolutions of the trunks: (number, channels out, channels in, kernel).
ALEX = ((0, 64, 3, 11), (3, 192, 64, 5), (6, 384, 192, 3), (8, 256, 384, 3), (10, 256, 256, 3))
VGG_CHANNELS = {0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128), 12: (256, 256), 14: (256, 256)}
VGG_CHANNELS |= {17: (512, 256)} | dict.fromkeys((19, 21, 24, 26, 28), (512, 512))
HEADS = {"vgg": (64, 128, 256, 512, 512), "alex": (64, 192, 384, 256, 256)}
DREAMSIM = {"dreamsim-ensemble": dreamsim.ENSEMBLE, "dreamsim-dino-vitb16": dreamsim.SINGLE}
ADAPTERS = {"dreamsim-ensemble": "ensemble_lora", "dreamsim-dino-vitb16": "dino_vitb16_single_lora"}
RANK = 4


def windows(shapes: Shapes, seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Random tensors: matrices with deviation 0.03, norms' weights near 1, everything else near 0."""
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


def filled(shapes: Shapes, seed: int = 0) -> dict[str, Tensor]:
    """Random tensors that keep the spread of numbers through convolutions and ReLU; norms do nothing."""
    random, tensors = torch.Generator().manual_seed(seed), {}
    for name, shape in shapes.items():
        spread = (2 / max(1, int(np.prod(shape[1:])))) ** 0.5 if len(shape) > 1 else 0.0
        base = 1.0 if name.endswith(("running_var", "bn.weight")) else 0.0
        tensors[name] = base + spread * torch.randn(shape, generator=random)
    return tensors


def inception_state(seed: int = 2) -> dict[str, Tensor]:
    """As `filled`, of Inception v3, but norms and biases do something."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in inception.shapes().items():
        if name.endswith(("running_var", "bn.weight")):
            state[name] = 0.7 + 0.6 * torch.rand(shape, generator=generator)
        else:
            spread = (2 / int(np.prod(shape[1:]))) ** 0.5 if len(shape) > 1 else 0.1
            state[name] = spread * torch.randn(shape, generator=generator)
    return state


def clip_package() -> tuple[torch.nn.Module, Callable[[Image.Image], Tensor]]:
    """open_clip's network with random weights and its own preprocessing. ImportError if it is not here."""
    import_torchvision()
    import open_clip

    network, _, transform = open_clip.create_model_and_transforms("ViT-B-32-quickgelu", pretrained=None)
    return network.eval(), transform


def dreamsim_archive(id: str, folder: Path) -> Path:
    """DreamSim's archive `<folder>/<id>.zip`, and beside it unpacked, as the package wants it.

    In half precision, projections excepted.
    """
    place = folder / id
    (place / ADAPTERS[id]).mkdir(parents=True)
    adapters = {}
    generator = torch.Generator().manual_seed(5)
    for k, branch in enumerate(DREAMSIM[id]):
        state = windows(dreamsim.shapes(branch), k, torch.float16)
        if branch is dreamsim.DINO:
            torch.save({"teacher": {f"backbone.{n}": t for n, t in state.items()}}, place / branch.member)
        else:
            state["proj"] = state["proj"].float()  # the package multiplies by it as it is
            torch.save({"state_dict": state}, place / branch.member)
        for block in range(dreamsim.DEPTH):
            layer = f"base_model.model.extractor_list.{k}.model.blocks.{block}.attn.qkv"
            for part, shape in {"A": (RANK, dreamsim.WIDTH), "B": (3 * dreamsim.WIDTH, RANK)}.items():
                adapters[f"{layer}.lora_{part}.weight"] = 0.05 * torch.randn(shape, generator=generator)
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 2, "lora_dropout": 0.0, "bias": "none"}
    config |= {"target_modules": ["qkv"], "inference_mode": True}
    (place / ADAPTERS[id] / "adapter_config.json").write_text(json.dumps(config))
    save_file(adapters, place / ADAPTERS[id] / "adapter_model.safetensors")
    with ZipFile(folder / f"{id}.zip", "w") as archive:
        for path in sorted(path for path in place.rglob("*") if path.is_file()):
            archive.write(path, path.relative_to(place))
    return folder / f"{id}.zip"


def _trunk(layers: Iterable[tuple[int, int, int, int]]) -> Shapes:
    shapes: Shapes = {}
    for k, out, into, side in layers:
        shapes |= {f"features.{k}.weight": (out, into, side, side), f"features.{k}.bias": (out,)}
    return shapes


def _heads(name: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {f"lin{k}.weight": torch.rand(1, c, 1, 1, generator=generator) for k, c in enumerate(HEADS[name])}


MAKERS: dict[str, Callable[[], dict[str, Tensor]]] = {
    "alexnet-features": lambda: filled(_trunk(ALEX)),
    "vgg16-features": lambda: filled(_trunk((k, *c, 3) for k, c in VGG_CHANNELS.items())),
    "lpips-vgg-heads": lambda: _heads("vgg"),
    "lpips-alex-heads": lambda: _heads("alex"),
    "i3d-400": lambda: filled(dict(i3d.shapes())),
    "inception-fid": inception_state,
    "clip-vit-b32": lambda: clip_package()[0].state_dict(),
}


def random_weights(ids: Collection[str], folder: Path, left_out: list[str]) -> dict[str, dict[str, Any]]:
    """Files of random weights, as `load_metrics` takes them. What cannot be made is missing and told in `left_out`."""
    folder.mkdir()
    found: dict[str, dict[str, Any]] = {}
    for id in ids:
        try:
            if id in DREAMSIM:
                path = dreamsim_archive(id, folder)
            elif id in MAKERS:
                path = folder / f"{id}.safetensors"
                save_file({name: tensor.contiguous().clone() for name, tensor in MAKERS[id]().items()}, path)
            else:
                left_out.append(f"{id}: no random weights are made for it")
                continue
        except ImportError as error:
            left_out.append(f"{id}: {error}")
            continue
        found[id] = {"path": str(path), "sha256": sha256_file(path)}
    return found
