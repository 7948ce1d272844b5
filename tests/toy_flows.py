"""Toy flows: their networks and settings, an encoded data set, untrained autoencoders."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ss4d.checkpoint import Model, save_model
from ss4d.data.store import Store
from ss4d.image_encoder import SmallImageEncoder
from ss4d.training.config import CLASSES, Section, parse_section
from ss4d.training.latent_flow import LatentFlow
from ss4d.training.structure_flow import StructureFlow
from ss4d.training.task import Backend
from tests.toy_store import toy_store
from tests.toy_training import make_task

CPU = Backend.of("cpu")
SIDE, WIDTH = 16, 48  # of condition pictures and tokens
FLOW = {"model_channels": 48, "cond_channels": WIDTH, "in_channels": 4, "out_channels": 4, "num_blocks": 2}
FLOW |= {"num_heads": 2, "pe_mode": "rope_t", "qk_rms_norm": True, "expand_self_attn": True}
NETWORKS: dict[str, dict[str, Any]] = {
    "structure_flow": {
        "image_encoder": {"image_size": SIDE, "patch_size": 8, "width": WIDTH, "depth": 1, "heads": 2},
        "structure_flow": {**FLOW, "resolution": 4, "patch_size": 1, "window_size": 2, "share_mod": True},
    },
    "latent_flow": {
        "latent_flow": {**FLOW, "resolution": 8, "patch_size": 2, "io_block_channels": [16]}
        | {"io_block_channels_t": [48], "conv_type": "3D_1D"},
    },
}
TRAIN = {"steps": 5, "clips": 2, "frames": 2, "lr": 3e-3, "warmup": 2, "schedule": "cosine", "ema": 0.9}
TRAIN |= {"clip_window": 1000, "log_every": 1, "validate_every": 1000, "save_every": 2, "validate_clips": 1}
LOSS = {"sampler": {"steps": 8, "cfg_strength": 1.0, "cfg_interval": [0.5, 1.0], "rescale_t": 1.0}}


def section(name: str, loss: dict[str, Any] | None = None, **settings: Any) -> Section:
    networks = copy.deepcopy(NETWORKS[name])
    return parse_section(name, {"networks": networks, "train": TRAIN | settings, "loss": LOSS | (loss or {})}, 8, "toy")


def encoded(clips: int = 2, frames: int = 2) -> Store:
    """The toy data set with latents of both kinds and condition pictures; latents 4^3 with 4 channels."""
    store = toy_store(clips, frames)
    tensors = dict(store.tensors)
    sizes, waves = torch.tensor([0.5, 1.0, 2.0, 3.0]), torch.tensor([[2.0, 1, 0], [0, 2, 1], [1, 0, 2], [2, -1, 1]])
    at = torch.cartesian_prod(*[torch.linspace(-1, 1, 4)] * 3) @ waves.T  # [64,4]
    phase = torch.arange(clips * frames).view(-1, 1, 1)  # another picture in each frame
    tensors["structure_latents"] = ((at + phase).sin() * sizes).mT.reshape(-1, 4, 4, 4, 4).half()
    slot = torch.arange(clips * frames).repeat_interleave(tensors["frame_starts"].diff())
    at = (tensors["voxels"] / 3.5 - 1) @ waves.T  # [N,4]
    tensors["latents"] = ((at + slot[:, None]).sin() * sizes + 1).half()
    small = tensors["views"][:, :1, ::2, ::2]
    tensors["condition"] = small.contiguous()
    tensors["condition_camera_to_world"] = tensors["view_camera_to_world"][::frames, :1].contiguous()
    tensors["condition_intrinsics"] = tensors["view_intrinsics"][::frames, :1].contiguous()
    x = tensors["latents"].float()
    normalisation = {"mean": tuple(x.mean(0).tolist()), "std": tuple(x.std(0).tolist())}
    return replace(store, tensors=tensors, normalisation=normalisation)


@pytest.fixture(scope="module")
def autoencoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of both autoencoders, untrained."""
    folder = tmp_path_factory.mktemp("autoencoders")
    for family in ("structure_vae", "latent_vae"):
        task = make_task(family)
        for name, network in task.networks.items():
            save_model(folder, Model(name, CLASSES[name], task.section.networks[name], network))
    args = NETWORKS["structure_flow"]["image_encoder"]
    save_model(folder, Model("image_encoder", "SmallImageEncoder", args, SmallImageEncoder.from_args(args)))
    return folder


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


def make(name: str, store: Store, checkpoint: Path | None = None, **settings: Any) -> Any:
    kind = {"structure_flow": StructureFlow, "latent_flow": LatentFlow}[name]
    return kind(section(name, **settings), CPU, store, checkpoint)
