"""One comparer per kind of case: runs it and returns the largest error of each recorded output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ss4d import preprocess, sampler, structure_vae
from ss4d.checkpoint import NETWORKS
from ss4d.gaussians import GaussianFrame
from ss4d.sparse import SparseConv, SparseTensor, pool_space, pool_time, unpool

from . import pipeline
from .fixtures import Case, fill_case, worst

Errors = dict[str, float]


def networks(case: Case) -> dict[str, nn.Module]:
    """The networks of a case as built, by the prefix of their names."""
    if "model" in case.record:
        return {"": NETWORKS[case.record["model"]].from_args(case.record["args"])}
    if "models" in case.record:
        models = case.record["models"].items()
        return {f"{role}:": NETWORKS[name].from_args(args) for role, (name, args) in models}
    if case.kind == "sparse_ops":
        kernels = {"conv3d.": (3, 3, 3), "conv4d.": (3, 3, 3, 3), "conv1d.": (3, 1, 1, 1)}
        shape = {name: shape for name, shape, _ in case.record["state_dict"]}["conv1d.conv.weight"]
        return {prefix: SparseConv(shape[-1], shape[0], kernel) for prefix, kernel in kernels.items()}
    return {}


def errors(case: Case, device: str = "cpu") -> Errors:
    """Largest absolute error of each output; infinite where something does not agree at all."""
    built = networks(case)
    fill_case(case, built)  # on the CPU: the weights follow from its random numbers
    case = case.to(device)
    built = {prefix: network.to(device) for prefix, network in built.items()}
    with torch.no_grad():
        return COMPARERS[case.kind](case, built)


def structure_flow(case: Case, built: dict[str, nn.Module]) -> Errors:
    given = case.part("in")
    y = built[""](given["x"], given["t"], given["cond"], case.record["num_frames"])
    return worst({"y": y}, case.part("out"))


def structure_decoder(case: Case, built: dict[str, nn.Module]) -> Errors:
    y = built[""](case.part("in")["x"])
    return worst({"y": y, "coords": structure_vae.occupied(y)}, case.part("out"))


def structure_encoder(case: Case, built: dict[str, nn.Module]) -> Errors:
    z, mean, logvar = built[""](case.part("in")["x"])
    return worst({"z": z, "mean": mean, "logvar": logvar}, case.part("out"))


def sparse_input(case: Case) -> SparseTensor:
    given = case.part("in")
    return SparseTensor(given["feats"], given["coords"], slots=int(given["coords"][:, 0].max()) + 1)


def latent_flow(case: Case, built: dict[str, nn.Module]) -> Errors:
    given = case.part("in")
    y = built[""](sparse_input(case), given["t"], given["cond"], case.record["num_frames"])
    return worst({"feats": y.feats, "coords": y.coords}, case.part("out"))


def gaussian_decoder(case: Case, built: dict[str, nn.Module]) -> Errors:
    """Raw numbers, called `0_xyz`, and what they stand for, `0.xyz`, of each slot."""
    frames = built[""](sparse_input(case), case.record["num_frames"])
    return worst(gaussians(frames), case.part("out"))


def gaussians(frames: list[GaussianFrame]) -> dict[str, Tensor]:
    names = ("xyz", "features", "scaling", "rotation", "opacity")
    raw_names = ("xyz", "features_dc", "scaling", "rotation", "opacity")
    found = {f"{i}.{name}": getattr(frame, name) for i, frame in enumerate(frames) for name in names}
    return found | {
        f"{i}_{name}": getattr(frame, f"raw_{name}") for i, frame in enumerate(frames) for name in raw_names
    }


def latent_encoder(case: Case, built: dict[str, nn.Module]) -> Errors:
    mean, logvar = built[""](sparse_input(case), case.record["num_frames"])
    return worst({"mean": mean.feats, "logvar": logvar.feats}, case.part("out"))


def sparse_ops(case: Case, built: dict[str, nn.Module]) -> Errors:
    x, frames = sparse_input(case), case.record["num_frames"]
    found = {prefix.removesuffix("."): conv(x, frames) for prefix, conv in built.items()}
    found["down"], found["down_t"] = pool_space(x), pool_time(x, frames)
    found["up"], found["up_t"] = unpool(found["down"], "space"), unpool(found["down_t"], "time")
    tensors = {f"{name}_feats": y.feats for name, y in found.items()}
    tensors |= {f"{name}_coords": y.coords for name, y in found.items()}
    return worst(tensors, case.part("out"))


def samplers(case: Case, _: dict[str, nn.Module]) -> Errors:
    """Five steps with rescale_t 3 of dx = sin(x) t + mean(cond) num_frames; without a condition, cond is zero."""

    def field(x: Tensor, t: Tensor, cond: Tensor, num_frames: int) -> Tensor:
        return torch.sin(x) * t.view(-1, 1, 1, 1, 1) / 1000 + cond.mean() * num_frames

    x, cond = case.part("in")["x"], case.part("in")["cond"]
    options: dict[str, Any] = {
        "steps": 5, "rescale_t": 3.0, "trajectory": True, "num_frames": case.record["num_frames"],
    }  # fmt: skip
    none = torch.zeros_like(cond)
    interval = {"cfg_strength": 7.5, "cfg_interval": (0.5, 1.0)}
    runs = {
        "euler": sampler.FlowEulerSampler().sample(field, x, cond, **options),
        "cfg": sampler.FlowEulerCfgSampler().sample(field, x, cond, none, cfg_strength=3.0, **options),
        "interval": sampler.FlowEulerGuidanceIntervalSampler().sample(field, x, cond, none, **interval, **options),
    }
    found = {name: run.x for name, run in runs.items()}
    found |= {f"{name}_xt": torch.stack(run.x_t) for name, run in runs.items()}
    found |= {f"{name}_x0": torch.stack(run.x_0) for name, run in runs.items()}
    return worst(found, case.part("out"))


def preprocessing(case: Case, _: dict[str, nn.Module]) -> Errors:
    """Frames are compared exactly. `frames` in the record names those that were kept; all by default."""
    images = [Image.fromarray(frame.numpy()) for frame in case.part("in")["frames"]]
    cropped = torch.from_numpy(np.stack([np.asarray(image) for image in preprocess.preprocess(images)]))
    return worst({"frames": cropped[case.record.get("frames", slice(None))]}, case.part("out"))


COMPARERS: dict[str, Callable[[Case, dict[str, nn.Module]], Errors]] = {
    "SparseStructureFlow4DModel": structure_flow,
    "SparseStructureDecoder": structure_decoder,
    "SparseStructureEncoder": structure_encoder,
    "SLatFlow4DModel": latent_flow,
    "ElasticSLatFlow4DModel": latent_flow,
    "SLatGaussianDecoder": gaussian_decoder,
    "ElasticSLatGaussianDecoder": gaussian_decoder,
    "SLatEncoder": latent_encoder,
    "sparse_ops": sparse_ops,
    "sampler": samplers,
    "preprocess": preprocessing,
    "pipeline": pipeline.compare,
}
