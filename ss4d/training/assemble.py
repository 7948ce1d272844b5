"""Trained autoencoders and flows -> one checkpoint that `ss4d.pipeline` runs."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch import Tensor

from bench4d.errors import FormatError
from bench4d.files import atomic, read_json, sha256_file

from ..checkpoint import DINO, SamplerSettings, write_pipeline
from ..data.config import strict
from ..loading import read_tensors
from ..structure_vae import SparseStructureDecoder, SparseStructureEncoder
from . import state
from .config import change
from .export import NAMES, Precision, export, read_network
from .flow import FlowLoss
from .structure_flow import fold_scale

COPIED = ("latent_encoder", "gaussian_decoder")  # encoders only where there are any
FOLDED = ("structure_encoder", "structure_decoder")
CHANGED = ("input_layer.", "out_layer.")  # float32 in files of every precision


def assemble(
    autoencoders: Path,
    structure_run: Path,
    latent_run: Path,
    out: Path,
    precision: Precision = "float32",
    changes: Sequence[str] = (),
) -> Path:
    """Write the checkpoint and return its pipeline.json.

    Args:
        autoencoders: folder that `export` wrote, with the image encoder that stage 2 was trained with; autoencoders
            keep their precision. The scale by which stage 1's latents were divided in training goes into the structure
            autoencoder, see `fold_scale`.
        structure_run, latent_run: of the flows; their moving averages, in `precision` (see `export`).
        changes: of both flows' samplers, which otherwise are those of validation: "loss.sampler.steps=2".
    """
    structure, structure_sampler = _run(structure_run, "structure_flow", changes)
    latent, latent_sampler = _run(latent_run, "latent_flow", changes)
    export(structure_run, out, precision)
    export(latent_run, out, precision)
    encoder = _check_encoder(autoencoders / "image_encoder.safetensors", structure, structure_run, latent_run)
    for name in _present(autoencoders, COPIED):
        for suffix in (".json", ".safetensors"):
            with atomic(out / f"{name}{suffix}") as temporary:
                shutil.copyfile(autoencoders / f"{name}{suffix}", temporary)
    _fold(autoencoders, out, structure["normalisation.std"])
    normalisation = {key: latent[f"normalisation.{key}"].tolist() for key in ("mean", "std")}
    write_pipeline(out, NAMES, (structure_sampler, latent_sampler), normalisation, encoder)
    return out / "pipeline.json"


def _present(folder: Path, names: tuple[str, str]) -> list[str]:
    """An encoder and its decoder, or the decoder alone."""
    return [name for name in names if name.endswith("decoder") or (folder / f"{name}.json").is_file()]


def _check_encoder(file: Path, structure: Mapping[str, Tensor], structure_run: Path, latent_run: Path) -> str:
    """Raise FormatError unless stage 2 was trained with this file, and stage 1 ended with what is in it; or both with
    the same DINOv2. Returns what pipeline.json calls it."""
    runs = (structure_run, latent_run)
    taken = [read_json(state.latest(run) / "state.json")["section"]["networks"]["image_encoder"] for run in runs]
    wanted = taken[1]["sha256"]
    if "sha256" in taken[0]:
        if taken[0]["sha256"] != wanted:
            raise FormatError(structure_run, f"the image encoder of {latent_run}, sha256 {wanted}", taken[0]["sha256"])
        return DINO
    if (found := sha256_file(file)) != wanted:
        raise FormatError(file, f"the image encoder of {latent_run}, sha256 {wanted}", found)
    front = "image_encoder."
    own = {key.removeprefix(front): x for key, x in structure.items() if key.startswith(front)}
    held = read_tensors(file)
    if set(own) != set(held) or not all(_same(own[key], x) for key, x in held.items()):
        next_step = "Train latent_flow with the image encoder that structure_flow exports when it has stopped changing."
        raise FormatError(structure_run, f"the image encoder of {file}", "another one", next_step)
    return "image_encoder"


def _same(a: Tensor, b: Tensor) -> bool:
    """Bit by bit, once both are in the coarser of their types."""
    kind = torch.float16 if torch.float16 in (a.dtype, b.dtype) else torch.float32
    return torch.equal(a.to(kind), b.to(kind))


def _run(run: Path, name: str, changes: Sequence[str]) -> tuple[dict[str, Tensor], SamplerSettings]:
    """The averaged weights of a flow's run, and the sampler it was validated with, or as it was changed."""
    path = state.latest(run)
    section: dict[str, Any] = read_json(path / "state.json")["section"]
    if section["name"] != name:
        raise FormatError(run, f"a run of {name}", f"one of {section['name']}")
    loss = change({"loss": section["loss"]}, changes)["loss"]
    return read_tensors(path / "average.safetensors"), strict(FlowLoss, loss, f"{run}: loss").sampler


def _fold(autoencoders: Path, out: Path, std: Tensor) -> None:
    """The structure autoencoder for latents divided by `std`."""
    present = _present(autoencoders, FOLDED)
    networks = {name: read_network(autoencoders, name, torch.device("cpu"))[0] for name in present}
    encoder = cast(SparseStructureEncoder | None, networks.get("structure_encoder"))
    decoder = cast(SparseStructureDecoder, networks["structure_decoder"])
    fold_scale(encoder, decoder, std)
    for name, network in networks.items():
        tensors, changed = read_tensors(autoencoders / f"{name}.safetensors"), network.state_dict()
        tensors |= {key: changed[key].contiguous() for key in tensors if key.startswith(CHANGED)}
        with atomic(out / f"{name}.safetensors") as temporary:
            save_file(tensors, temporary)
        with atomic(out / f"{name}.json") as temporary:
            shutil.copyfile(autoencoders / f"{name}.json", temporary)
