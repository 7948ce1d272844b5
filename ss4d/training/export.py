"""Trained networks in the layout that ss4d.checkpoint reads: <name>.json and <name>.safetensors, side by side."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bench4d.errors import FormatError
from bench4d.files import atomic, read_json, sha256_file, write_json

from ..checkpoint import NETWORKS, Model, load_checkpoint, save_model
from ..image_encoder import SmallImageEncoder
from ..loading import load_strictly, read_tensors
from ..trellis import WarmStart
from . import state
from .config import CLASSES, SECTIONS, Section, with_half

Precision = Literal["float32", "half", "stored-half"]
NAMES = {  # role in a checkpoint -> network in training
    "sparse_structure_flow_model": "structure_flow",
    "sparse_structure_decoder": "structure_decoder",
    "slat_flow_model": "latent_flow",
    "slat_decoder_gs": "gaussian_decoder",
}
NORMALISATION = "normalisation.json"


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
    for name in trained(section):
        args = with_half(name, section["networks"][name], precision == "half")
        stored = with_half(name, args, precision != "float32")
        network = NETWORKS[CLASSES[name]].from_args(stored)  # type: ignore[attr-defined]
        own = {key.removeprefix(f"{name}."): x for key, x in tensors.items() if key.startswith(f"{name}.")}
        load_strictly(network, own, path / "average.safetensors")
        if name == "image_encoder" and precision != "float32":
            halve(network)
        save_model(folder, Model(name, CLASSES[name], args, network))
        files.append(folder / f"{name}.safetensors")
    return files


def trained(section: Mapping[str, Any]) -> list[str]:
    """The networks that a run has weights of: all of its section but an image encoder that was taken as it is."""
    return [name for name in SECTIONS[section["name"]] if "sha256" not in section["networks"][name]]


def halve(network: nn.Module) -> nn.Module:
    """In place: matrices in float16, vectors as they are. How the image encoder is stored; it computes in float32."""
    for parameter in network.parameters():
        if parameter.ndim > 1:
            parameter.data = parameter.data.half()
    return network


def slim(run: Path, out: Path) -> Path:
    """Copy what `assemble` and `evaluate` need of a run: its last moving average, matrices in float16; the folder.

    It takes an eighth of a checkpoint's room, and the run does not go on from it.
    """
    path = state.latest(run)
    tensors = read_tensors(path / "average.safetensors")
    kept = {name: tensor.half() if tensor.ndim > 1 else tensor for name, tensor in tensors.items()}
    folder = out / "checkpoints" / path.name
    with atomic(folder / "average.safetensors") as temporary:
        save_file({name: tensor.contiguous() for name, tensor in kept.items()}, temporary)
    write_json(folder / "state.json", read_json(path / "state.json"))
    for old in state.checkpoints(out)[:-1]:
        shutil.rmtree(old)
    return folder


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


def begin_with(networks: nn.ModuleDict, section: Section, folder: Path) -> dict[str, str]:
    """Give a section's networks the weights that `folder` has of them; what it lacks stays as it is.

    Returns the sha256 of each file that was taken. Raises FormatError if there is none, or one of another shape.
    """
    names = [name for name in SECTIONS[section.name] if name in networks and (folder / f"{name}.json").is_file()]
    if not names:
        wanted = " or ".join(f"{name}.json" for name in SECTIONS[section.name])
        raise FormatError(folder, f"an exported network of {section.name}: {wanted}", "none of them")
    hashes = {}
    for name in names:
        network, hashes[name] = read_network(folder, name, torch.device("cpu"))
        load_strictly(networks[name], network.state_dict(), folder / f"{name}.safetensors")
    if (file := folder / NORMALISATION).is_file() and "normalisation" in networks:
        load_strictly(networks["normalisation"], _units(file, section.name), file)
        hashes["normalisation"] = sha256_file(file)
    return hashes


def _units(file: Path, section: str) -> dict[str, Tensor]:
    """Mean and deviation of each channel of a flow's latents."""
    data = read_json(file)
    try:
        units = {key: torch.tensor([float(x) for x in data[section][key]]) for key in ("mean", "std")}
    except (TypeError, KeyError, ValueError, OverflowError) as error:
        expected = f'{{"{section}": {{"mean": [...], "std": [...]}}}}, a number a channel'
        raise FormatError(file, expected, f"{type(error).__name__}: {error}") from None
    if not all(bool(x.isfinite().all()) for x in units.values()) or not bool((units["std"] > 0).all()):
        raise FormatError(file, "finite means and positive deviations", f"{units}")
    return units


def from_checkpoint(source: str, image_encoder: str | None, warm_start: WarmStart, out: Path) -> list[Path]:
    """Networks of a checkpoint in the released layout, SS4D's or TRELLIS's, as `begin_with` takes them; the files.

    Latents keep the units that these flows know: normalisation.json beside the networks.
    """
    checkpoint = load_checkpoint(source, image_encoder=image_encoder, float32=True, warm_start=warm_start)
    files = []
    for role, name in NAMES.items():
        model = checkpoint.models[role]
        save_model(out, Model(name, CLASSES[name], model.args, model.network))
        files.append(out / f"{name}.safetensors")
    if isinstance(encoder := checkpoint.image_encoder, SmallImageEncoder):
        save_model(out, Model("image_encoder", CLASSES["image_encoder"], encoder.args(), encoder))
        files.append(out / "image_encoder.safetensors")
    channels = checkpoint.models["sparse_structure_flow_model"].args["in_channels"]
    units: dict[str, Any] = {"structure_flow": {"mean": [0.0] * channels, "std": [1.0] * channels}}
    units |= {"latent_flow": {"mean": list(checkpoint.mean), "std": list(checkpoint.std)}}
    write_json(out / NORMALISATION, units)
    return [*files, out / NORMALISATION]
