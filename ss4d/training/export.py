"""Trained networks in the layout that ss4d.checkpoint reads: <name>.json and <name>.safetensors, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import nn

from bench4d.errors import FormatError
from bench4d.files import read_json, sha256_file

from ..checkpoint import NETWORKS, Model, save_model
from ..loading import load_strictly, read_tensors
from . import state
from .config import CLASSES, SECTIONS, with_half

Precision = Literal["float32", "half", "stored-half"]


def export(run: Path, folder: Path, precision: Precision = "float32") -> list[Path]:
    """Write the moving averages of a run's last checkpoint; the files of weights.

    Args:
        precision: "half": blocks in float16 (first and last layers and norms stay float32), as released models are.
            "stored-half": the same files, computed in float32: for CPUs, on which half convolutions are very slow.
    """
    path = state.latest(run)
    section = read_json(path / "state.json")["section"]
    tensors = read_tensors(path / "average.safetensors")
    files = []
    for name in SECTIONS[section["name"]]:
        args = with_half(name, section["networks"][name], precision == "half")
        stored = with_half(name, args, precision != "float32")
        network = NETWORKS[CLASSES[name]].from_args(stored)  # type: ignore[attr-defined]
        own = {key.removeprefix(f"{name}."): x for key, x in tensors.items() if key.startswith(f"{name}.")}
        load_strictly(network, own, path / "average.safetensors")
        save_model(folder, Model(name, CLASSES[name], args, network))
        files.append(folder / f"{name}.safetensors")
    return files


def read_networks(folder: Path, section: str, device: torch.device) -> tuple[nn.ModuleDict, dict[str, str]]:
    """The networks of an exported family, strictly, in evaluation mode; and the sha256 of each file of weights."""
    networks, hashes = nn.ModuleDict(), {}
    for name in SECTIONS[section]:
        networks[name], hashes[name] = read_network(folder, name, device)
    return networks, hashes


def read_network(folder: Path, name: str, device: torch.device) -> tuple[nn.Module, str]:
    """One exported network, strictly, in evaluation mode; and the sha256 of its file of weights."""
    described, file = folder / f"{name}.json", folder / f"{name}.safetensors"
    data = read_json(described)
    if not isinstance(data, dict) or data.get("name") != CLASSES[name] or "args" not in data:
        raise FormatError(described, f'"name": "{CLASSES[name]}" and "args"', f"{data!r:.80}")
    network = NETWORKS[CLASSES[name]].from_args(data["args"])  # type: ignore[attr-defined]
    load_strictly(network, read_tensors(file), file)
    return network.eval().requires_grad_(False).to(device), sha256_file(file)
