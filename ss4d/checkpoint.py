"""Checkpoints in the released layout: from a folder or a hub repository to networks, strictly, and back.

    pipeline.json             which model plays which role, samplers, normalisation of the latents, image encoder
    ckpts/<model>.json        {"name": class, "args": {...}}
    ckpts/<model>.safetensors

The same layout holds TRELLIS's image-to-3D models. They are read into the 4-D networks, see `trellis.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch import nn

from bench4d.errors import FormatError
from bench4d.files import atomic, read_json, sha256_file, write_json

from .gaussian_decoder import SLatGaussianDecoder
from .hub import fetch
from .image_encoder import DinoV2, ImageEncoder, SmallImageEncoder, find_dino
from .latent_encoder import SLatEncoder
from .latent_flow import SLatFlow4DModel
from .loading import LoadReport, load_strictly, read_tensors
from .solvers import make_solver
from .structure_flow import SparseStructureFlow4DModel
from .structure_vae import SparseStructureDecoder, SparseStructureEncoder
from .trellis import WarmStart, is_trellis, to_4d, warm_start_latent_flow

NETWORKS: dict[str, type[nn.Module]] = {
    "SparseStructureFlow4DModel": SparseStructureFlow4DModel,
    "SparseStructureDecoder": SparseStructureDecoder,
    "SparseStructureEncoder": SparseStructureEncoder,
    "SLatFlow4DModel": SLatFlow4DModel,
    "ElasticSLatFlow4DModel": SLatFlow4DModel,
    "SLatGaussianDecoder": SLatGaussianDecoder,
    "ElasticSLatGaussianDecoder": SLatGaussianDecoder,
    "SLatEncoder": SLatEncoder,
    "ElasticSLatEncoder": SLatEncoder,
    "SmallImageEncoder": SmallImageEncoder,
}
ROLES: dict[str, type[nn.Module]] = {
    "sparse_structure_flow_model": SparseStructureFlow4DModel,
    "sparse_structure_decoder": SparseStructureDecoder,
    "slat_flow_model": SLatFlow4DModel,
    "slat_decoder_gs": SLatGaussianDecoder,
}
DINO = "dinov2_vitl14_reg"
SAMPLERS = ("FlowEulerSampler", "FlowEulerCfgSampler", "FlowEulerGuidanceIntervalSampler")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass(frozen=True)
class SamplerSettings:
    """One of `sampler.py`'s samplers and its settings; the defaults are TRELLIS's for both stages."""

    name: str = "FlowEulerGuidanceIntervalSampler"
    sigma_min: float = 1e-5
    steps: int = 25
    cfg_strength: float = 5.0
    cfg_interval: tuple[float, float] = (0.5, 1.0)
    rescale_t: float = 3.0
    solver: str = "euler"

    @staticmethod
    def from_json(data: Any, where: str) -> SamplerSettings:
        try:
            args, params = dict(data.get("args", {})), dict(data["params"])
            if data["name"] not in SAMPLERS:
                raise FormatError(where, f"one of {SAMPLERS}", repr(data["name"]))
            if "cfg_interval" in params:
                low, high = params["cfg_interval"]
                params["cfg_interval"] = (float(low), float(high))
            settings = SamplerSettings(data["name"], **args, **params)
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            if isinstance(error, FormatError):
                raise
            expected = "name, args {sigma_min}, params {steps, cfg_strength, cfg_interval, rescale_t}"
            raise FormatError(where, expected, f"{type(error).__name__}: {error}") from None
        make_solver(settings.solver, settings.sigma_min)
        if not (isinstance(settings.steps, int) and settings.steps >= 1 and settings.rescale_t > 0):
            raise FormatError(where, "at least one step and rescale_t > 0", f"{settings}")
        return settings

    def to_json(self) -> dict[str, Any]:
        params: dict[str, Any] = {"steps": self.steps, "cfg_strength": self.cfg_strength, "rescale_t": self.rescale_t}
        params["cfg_interval"] = list(self.cfg_interval)
        if self.solver != "euler":  # which the released layout does not know
            params["solver"] = self.solver
        return {"name": self.name, "args": {"sigma_min": self.sigma_min}, "params": params}


@dataclass(frozen=True)
class Model:
    """A network as a checkpoint holds it: path without suffix, class name and arguments as in its JSON."""

    path: str
    name: str
    args: Mapping[str, Any]
    network: nn.Module


@dataclass(frozen=True)
class Checkpoint:
    """All that `Pipeline` needs.

    Attributes:
        models: role -> model, for the four roles of `ROLES`.
        image_encoder: what `image_cond_model` names; `encoder_name` is that name.
        mean, std: of the structured latents, per channel.
        files: every file that was read -> its sha256.
        reports: how the weights met the networks.
        unused: what pipeline.json holds beyond what is used here.
    """

    models: Mapping[str, Model]
    image_encoder: ImageEncoder
    encoder_name: str
    structure_sampler: SamplerSettings
    latent_sampler: SamplerSettings
    mean: tuple[float, ...]
    std: tuple[float, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    reports: tuple[LoadReport, ...] = ()
    unused: tuple[str, ...] = ()

    def report(self) -> str:
        lines = [str(report) for report in self.reports]
        return "\n".join([*lines, *(f"not used: {name}" for name in self.unused)])


class Source:
    """A folder or a hub repository, and the files that were taken from it with their sha256."""

    def __init__(self, name: str | Path, revision: str | None) -> None:
        self.name, self.revision, self.files = str(name), revision, dict[str, str]()
        self.folder = Path(name) if Path(name).is_dir() else None
        if self.folder is None and not HUB_ID.fullmatch(self.name):
            raise FormatError("checkpoint", "a folder, or a hub repository owner/name", repr(self.name))
        if self.folder is not None and revision:
            raise FormatError("checkpoint", "no revision for a folder", repr(revision))

    def file(self, name: str) -> Path:
        """One file, by its path inside the checkpoint. Raises FormatError."""
        parts = name.split("/")
        if not name or name.startswith("/") or ".." in parts or "\\" in name:
            raise FormatError(f"{self.name}/pipeline.json", "paths inside the checkpoint", repr(name))
        if self.folder is None:
            path = fetch(self.name, name, self.revision)
        elif (self.folder / name).is_file():
            path = self.folder / name
        elif len(parts) > 2 and name != "pipeline.json" and parts[0] != "ckpts":  # owner/repository/path on the hub
            path = fetch("/".join(parts[:2]), "/".join(parts[2:]), None)
        else:
            raise FormatError(self.folder / name, "a file of the checkpoint", "no such file")
        self.files[name] = sha256_file(path)
        return path


def load_checkpoint(
    source: str | Path,
    revision: str | None = None,
    *,
    image_encoder: str | Path | None = None,
    float32: bool = False,
    warm_start: WarmStart = "xavier",
) -> Checkpoint:
    """Read a checkpoint onto the CPU.

    Args:
        source: a folder, or a hub repository such as lizb6626/SS4D; `revision` is the latter's.
        image_encoder: DINOv2's weights, where they are not beside the checkpoint (see `DinoV2.load`);
            a hub id may end in @revision.
        float32: build the networks without their float16 torso, whatever their arguments say.
        warm_start: how new blocks begin when the checkpoint is TRELLIS's (see trellis.py).
    """
    place = Source(source, revision)
    where = f"{place.name}/pipeline.json"
    args = read_json(place.file("pipeline.json"))
    args = args.get("args") if isinstance(args, dict) else None
    needed = ("models", "sparse_structure_sampler", "slat_sampler", "slat_normalization", "image_cond_model")
    if not isinstance(args, dict) or any(key not in args for key in needed):
        found = sorted(args) if isinstance(args, dict) else type(args).__name__
        raise FormatError(where, f'"args" with the keys {list(needed)}', f"{found}")
    if missing := [role for role in ROLES if role not in args["models"]]:
        raise FormatError(f"{where}: models", f"the roles {list(ROLES)}", f"no {missing}")
    descriptions = {role: _describe(place, args["models"][role]) for role in ROLES}
    trellis = any(is_trellis(name) for name, _ in descriptions.values())
    models, reports = {}, []
    for role, kind in ROLES.items():
        path, (name, model_args) = args["models"][role], descriptions[role]
        if trellis:
            name, model_args = to_4d(name, model_args)
        if float32:
            model_args = model_args | {"use_fp16": False}
        if NETWORKS.get(name) is not kind:
            known = sorted(known for known, network in NETWORKS.items() if network is kind)
            raise FormatError(f"{place.name}/{path}.json", f"a name among {known}", repr(name))
        new = ("input_blocks_t.", "out_blocks_t.") if trellis and kind is SLatFlow4DModel else ()
        with torch.random.fork_rng(devices=[]), torch.device("cpu" if new else "meta"):
            torch.manual_seed(0)  # of new blocks
            network = kind.from_args(model_args)  # type: ignore[attr-defined]
        file = place.file(f"{path}.safetensors")
        reports.append(load_strictly(network, read_tensors(file), file, place.files[f"{path}.safetensors"], new))
        if new:
            warm_start_latent_flow(cast(SLatFlow4DModel, network), warm_start)
        models[role] = Model(path, name, model_args, _frozen(network, file))
    encoder, report, encoder_name = _load_encoder(place, args["image_cond_model"], image_encoder)
    mean, std = _normalisation(args["slat_normalization"], models["slat_flow_model"], where)
    return Checkpoint(
        models=models,
        image_encoder=encoder,
        encoder_name=encoder_name,
        structure_sampler=SamplerSettings.from_json(args["sparse_structure_sampler"], f"{where}: structure sampler"),
        latent_sampler=SamplerSettings.from_json(args["slat_sampler"], f"{where}: slat_sampler"),
        mean=mean,
        std=std,
        files={Path(report.where).name: report.sha256} | place.files if encoder_name == DINO else dict(place.files),
        reports=(*reports, report),
        unused=tuple(sorted(set(args) - set(needed)) + [f"model {r}" for r in args["models"] if r not in ROLES]),
    )


def _describe(place: Source, path: Any) -> tuple[str, dict[str, Any]]:
    """Class name and arguments of one model."""
    if not isinstance(path, str):
        raise FormatError(f"{place.name}/pipeline.json: models", "paths", repr(path))
    data = read_json(place.file(f"{path}.json"))
    if not isinstance(data, dict) or not isinstance(data.get("name"), str) or not isinstance(data.get("args"), dict):
        raise FormatError(f"{place.name}/{path}.json", 'an object with "name" and "args"', f"{data!r:.80}")
    return data["name"], data["args"]


def _load_encoder(place: Source, name: Any, given: str | Path | None) -> tuple[ImageEncoder, LoadReport, str]:
    if name == DINO:
        beside = [] if place.folder is None else [place.folder, place.folder / "ckpts"]
        source, _, revision = str(given if given is not None else find_dino(beside)).partition("@")
        encoder, report = DinoV2.load(source, revision or None)
        return encoder, report, name
    if given is not None:
        raise FormatError("image encoder", f"none to be named: the checkpoint brings its own, {name}", f"{given}")
    kind, args = _describe(place, name)
    if NETWORKS.get(kind) is not SmallImageEncoder:
        raise FormatError(f"{place.name}/{name}.json", f"SmallImageEncoder, or the name {DINO}", repr(kind))
    with torch.device("meta"):
        small = SmallImageEncoder.from_args(args)
    file = place.file(f"{name}.safetensors")
    report = load_strictly(small, read_tensors(file), file, place.files[f"{name}.safetensors"])
    _frozen(small, file)
    return small, report, name


def _frozen(network: nn.Module, where: Path) -> nn.Module:
    """In evaluation mode, without gradients, and whole: nothing may be left that the file had to bring."""
    left = [name for name, tensor in [*network.named_parameters(), *network.named_buffers()] if tensor.is_meta]
    if left:
        raise FormatError(where, "all tensors of the network", f"none for {left[:4]}")
    return network.eval().requires_grad_(False)


def _normalisation(data: Any, flow: Model, where: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    channels = flow.args["in_channels"]
    try:
        mean, std = (tuple(float(x) for x in data[key]) for key in ("mean", "std"))
    except (TypeError, KeyError, ValueError) as error:
        raise FormatError(f"{where}: slat_normalization", "mean and std", f"{type(error).__name__}: {error}") from None
    if len(mean) != channels or len(std) != channels or min(std) <= 0:
        expected = f"{channels} numbers each, std positive"
        raise FormatError(f"{where}: slat_normalization", expected, f"{len(mean)} and {len(std)}, min std {min(std)}")
    return mean, std


def save_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Write the released layout; pipeline.json last. DINOv2's own weights are not copied: the name stands for them."""
    for model in checkpoint.models.values():
        save_model(folder, model)
    if isinstance(checkpoint.image_encoder, SmallImageEncoder):
        encoder = checkpoint.image_encoder
        save_model(folder, Model(checkpoint.encoder_name, type(encoder).__name__, encoder.args(), encoder))
    write_pipeline(
        folder,
        {role: model.path for role, model in checkpoint.models.items()},
        (checkpoint.structure_sampler, checkpoint.latent_sampler),
        {"mean": list(checkpoint.mean), "std": list(checkpoint.std)},
        checkpoint.encoder_name,
    )


def save_model(folder: Path, model: Model) -> None:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.network.state_dict().items()}
    with atomic(folder / f"{model.path}.safetensors") as temporary:
        save_file(tensors, temporary)
    write_json(folder / f"{model.path}.json", {"name": model.name, "args": dict(model.args)})


def write_pipeline(
    folder: Path,
    paths: Mapping[str, str],
    samplers: tuple[SamplerSettings, SamplerSettings],
    normalisation: Mapping[str, list[float]],
    encoder_name: str,
) -> None:
    args = {"models": dict(paths), "slat_normalization": dict(normalisation), "image_cond_model": encoder_name}
    args |= {"sparse_structure_sampler": samplers[0].to_json(), "slat_sampler": samplers[1].to_json()}
    write_json(folder / "pipeline.json", {"name": "SS4DPipeline", "args": args})
