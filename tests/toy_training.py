"""Toy configurations of the trainings, and what tests run in processes of their own."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import save_file

from ss4d.training.config import Section, parse_section
from ss4d.training.latent_vae import LatentVAE
from ss4d.training.structure_vae import StructureVAE
from ss4d.training.task import Backend, Task
from ss4d.training.trainer import Options, World, train
from tests.toy_store import toy_store

RESOLUTION = 8
LR = {"_xyz": 1.0, "_features_dc": 1.0, "_opacity": 1.0, "_scaling": 1.0, "_rotation": 0.1}
REPRESENTATION = {
    "lr": LR,
    "perturb_offset": True,
    "voxel_size": 1.5,
    "num_gaussians": 4,
    "2d_filter_kernel_size": 0.1,
    "3d_filter_kernel_size": 9e-4,
    "scaling_bias": 0.04,
    "opacity_bias": 0.1,
    "scaling_activation": "softplus",
}
TRUNK = {"resolution": RESOLUTION, "model_channels": 48, "latent_channels": 4, "num_blocks": 2, "num_heads": 2}
TRUNK |= {"window_size": 4, "pe_mode": "rope_t"}
DENSE = {"latent_channels": 4, "num_res_blocks": 1, "num_res_blocks_middle": 1}
TRAIN = {"steps": 4, "clips": 2, "frames": 2, "lr": 5e-3, "warmup": 2, "schedule": "cosine", "ema": 0.9}
TRAIN |= {"clip_window": 3, "log_every": 2, "validate_every": 100, "save_every": 2, "validate_clips": 1}
SECTIONS: dict[str, dict[str, Any]] = {
    "structure_vae": {
        "networks": {
            "structure_encoder": {"in_channels": 1, **DENSE, "channels": [8, 16]},
            "structure_decoder": {"out_channels": 1, **DENSE, "channels": [16, 8]},
        },
        "train": TRAIN,
        "loss": {},
    },
    "latent_vae": {
        "networks": {
            "latent_encoder": {"in_channels": 16, **TRUNK},
            "gaussian_decoder": {**TRUNK, "representation_config": REPRESENTATION},
        },
        "train": TRAIN,
        "loss": {"lpips": 0.0, "volume": 1.0},
    },
}


def section(name: str, loss: dict[str, Any] | None = None, **settings: Any) -> Section:
    data = copy.deepcopy(SECTIONS[name])
    data["train"] |= settings
    data["loss"] |= loss or {}
    return parse_section(name, data, RESOLUTION, "toy")


def make_task(name: str, loss: dict[str, Any] | None = None, **settings: Any) -> Task:
    kind = {"structure_vae": StructureVAE, "latent_vae": LatentVAE}[name]
    return kind(section(name, loss, **settings), Backend.of("cpu"))


def train_as(rank: int, size: int, name: str, folder: Path) -> None:
    """One of `size` processes that train together; the first writes the weights."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=size)
    try:
        task = make_task(name)
        average = train(task, toy_store(), folder / "run", Backend.of("cpu"), Options(), world=World(rank, size))
        if rank == 0:
            save_file(dict(task.networks.state_dict()), folder / "networks.safetensors")
            save_file(dict(average.state_dict()), folder / "average.safetensors")
    finally:
        dist.destroy_process_group()
