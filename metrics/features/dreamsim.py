"""DreamSim's vectors (Fu et al. 2023): ViT-B/16 of DINO, CLIP and OpenCLIP, tuned on people's choices.

The published archive is read as it is: a zip with the untuned networks and a folder with their low-rank adapters.
Adapters are added to the weights they adapt, so that three plain transformers are left.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from zipfile import BadZipFile, ZipFile

import torch
from jaxtyping import Float32, UInt8
from torch import Tensor
from torch.nn.functional import conv2d, gelu, layer_norm, linear, scaled_dot_product_attention

from bench4d.errors import FormatError
from bench4d.metric import Network

from .clip import DEVIATION as CLIP_DEVIATION
from .clip import MEAN as CLIP_MEAN
from .resize import Filter, resize, resize_float

SIDE, PATCH, WIDTH, HEADS, DEPTH = 224, 16, 768, 12, 12
ADAPTER = re.compile(r"extractor_list\.(\d+)\.model\.(.+)\.lora_([AB])(?:\.default)?\.weight")


def quick_gelu(x: Tensor) -> Tensor:
    """OpenAI's stand-in for GELU."""
    return x * torch.sigmoid(1.702 * x)


@dataclass(frozen=True)
class Branch:
    """One of the transformers.

    Attributes:
        member: its file in the archive.
        output: the class token after the last block as it is, or normalised and projected as CLIP does.
        activation, epsilon: of its blocks and of its layer norms.
        mean, deviation: of its pictures.
    """

    member: str
    output: Literal["token", "projected"]
    activation: Callable[[Tensor], Tensor]
    epsilon: float
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


DINO = Branch("dino_vitb16_pretrain.pth", "token", gelu, 1e-6, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = Branch("clip_vitb16_pretrain.pth.tar", "projected", quick_gelu, 1e-5, CLIP_MEAN, CLIP_DEVIATION)
OPEN_CLIP = Branch("open_clip_vitb16_pretrain.pth.tar", "projected", gelu, 1e-5, CLIP_MEAN, CLIP_DEVIATION)
SINGLE, ENSEMBLE = (DINO,), (DINO, CLIP, OPEN_CLIP)


def transformer(x: Float32[Tensor, "n 3 224 224"], w: Mapping[str, Tensor], branch: Branch) -> Float32[Tensor, "n d"]:
    """Dosovitskiy et al. 2021, blocks that normalise first. `w` has DINO's names; CLIP's extra norm is "pos_drop"."""

    def norm(x: Tensor, name: str) -> Tensor:
        return layer_norm(x, (WIDTH,), w[f"{name}.weight"], w[f"{name}.bias"], branch.epsilon)

    def dense(x: Tensor, name: str) -> Tensor:
        return linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    patches = conv2d(x, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=PATCH)
    tokens = torch.cat([w["cls_token"].expand(len(x), -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
    tokens = tokens + w["pos_embed"]
    if branch.output == "projected":
        tokens = norm(tokens, "pos_drop")
    for k in range(DEPTH):
        qkv = dense(norm(tokens, f"blocks.{k}.norm1"), f"blocks.{k}.attn.qkv")
        q, key, v = qkv.unflatten(2, (3, HEADS, WIDTH // HEADS)).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(q, key, v).transpose(1, 2).flatten(2)
        tokens = tokens + dense(mixed, f"blocks.{k}.attn.proj")
        inner = branch.activation(dense(norm(tokens, f"blocks.{k}.norm2"), f"blocks.{k}.mlp.fc1"))
        tokens = tokens + dense(inner, f"blocks.{k}.mlp.fc2")
    if branch.output == "token":
        return tokens[:, 0]
    return norm(tokens[:, 0], "norm") @ w["proj"]


def shapes(branch: Branch) -> dict[str, tuple[int, ...]]:
    """The tensors of one transformer."""
    sizes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, WIDTH),
        "pos_embed": (1, 1 + (SIDE // PATCH) ** 2, WIDTH),
        "patch_embed.proj.weight": (WIDTH, 3, PATCH, PATCH),
        "patch_embed.proj.bias": (WIDTH,),
    }
    norms = ["norm", *(f"blocks.{k}.norm{i}" for k in range(DEPTH) for i in (1, 2))]
    if branch.output == "projected":
        sizes["proj"] = (WIDTH, 512)
        norms.append("pos_drop")
    for name in norms:
        sizes |= {f"{name}.weight": (WIDTH,), f"{name}.bias": (WIDTH,)}
    parts = {"attn.qkv": (3 * WIDTH, WIDTH), "attn.proj": (WIDTH, WIDTH)}
    parts |= {"mlp.fc1": (4 * WIDTH, WIDTH), "mlp.fc2": (WIDTH, 4 * WIDTH)}
    for k in range(DEPTH):
        for part, shape in parts.items():
            sizes |= {f"blocks.{k}.{part}.weight": shape, f"blocks.{k}.{part}.bias": shape[:1]}
    return sizes


class Archive:
    """The published zip. A member is named by its last part, or its last two: folders above them do not matter."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = ZipFile(path)
        except BadZipFile:
            raise FormatError(path, "DreamSim's published archive (zip)", "another kind of file") from None
        self._names = {"/".join(PurePosixPath(n).parts[-k:]): n for n in self._zip.namelist() for k in (1, 2)}

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def tensors(self, name: str) -> dict[str, Any]:
        """A member that torch.save or safetensors wrote; nothing is unpickled but tensors."""
        with self._open(name) as file:
            if name.endswith(".safetensors"):
                from safetensors.torch import load as parse

                return parse(file.read())
            return torch.load(file, map_location="cpu", weights_only=True)

    def table(self, name: str) -> dict[str, Any]:
        """A JSON member."""
        with self._open(name) as file:
            return json.load(file)

    def _open(self, name: str) -> Any:
        if name not in self._names:
            raise FormatError(self.path, f"a member {name}", f"members {sorted(self._zip.namelist())[:12]}")
        return self._zip.open(self._names[name])


def untuned(archive: Archive, branch: Branch) -> dict[str, Tensor]:
    """A branch's tensors before the adapters.

    DINO's own backbone file, if the archive has it, or else the teacher of DINO's full checkpoint, which it was cut
    from.
    """
    if branch is not DINO:
        state = archive.tensors(branch.member)["state_dict"]
    elif "dino_vitbase16_pretrain.pth" in archive:
        state = archive.tensors("dino_vitbase16_pretrain.pth")
    else:
        teacher = archive.tensors(branch.member)["teacher"]
        state = {n.removeprefix("backbone."): t for n, t in teacher.items() if n.startswith("backbone.")}
    expected = shapes(branch)
    if {n: tuple(t.shape) for n, t in state.items()} != expected:
        odd = sorted(state.keys() ^ expected.keys()) or "tensors of other shapes"
        raise FormatError(f"{archive.path}: {branch.member}", "the tensors of ViT-B/16", f"{odd}"[:300])
    return {name: tensor.float() for name, tensor in state.items()}


def adapt(branches: list[dict[str, Tensor]], archive: Archive, folder: str) -> None:
    """Add each adapter to its weight: W + B A alpha / r."""
    config = archive.table(f"{folder}/adapter_config.json")
    files = [f"{folder}/adapter_model.{end}" for end in ("safetensors", "bin")]
    scale = config["lora_alpha"] / config["r"]
    low: dict[tuple[int, str], dict[str, Tensor]] = {}
    for name, tensor in archive.tensors(files[0] if files[0] in archive else files[1]).items():
        match = ADAPTER.search(name)
        if not match or int(match[1]) >= len(branches):
            raise FormatError(f"{archive.path}: {folder}", "low-rank adapters of these networks", name)
        low.setdefault((int(match[1]), f"{match[2]}.weight"), {})[match[3]] = tensor.float()
    if not low:
        raise FormatError(f"{archive.path}: {folder}", "low-rank adapters", "none")
    for (index, name), pair in low.items():
        if pair.keys() != {"A", "B"} or name not in branches[index]:
            raise FormatError(f"{archive.path}: {folder}", "pairs lora_A, lora_B of known layers", name)
        branches[index][name] = branches[index][name] + scale * (pair["B"] @ pair["A"])


def shrink(pictures: UInt8[Tensor, "n H W 3"], filter: Filter) -> Float32[Tensor, "n 3 224 224"]:
    """In [0, 1]: "bicubic" as DreamSim's own preparation, Pillow on 8 bits; "bilinear" as torchvision on tensors."""
    size = (SIDE, SIDE)
    small = resize(pictures, size, filter) if filter == "bicubic" else resize_float(pictures.float(), size, filter)
    return small.permute(0, 3, 1, 2).float() / 255


def load(
    path: Path, branches: tuple[Branch, ...], folder: str, device: torch.device, filter: Filter = "bicubic"
) -> Network:
    """Pictures to unit vectors: all branches' outputs side by side, less their mean, at length 1."""
    archive = Archive(path)
    states = [untuned(archive, branch) for branch in branches]
    adapt(states, archive, folder)
    placed = [{name: tensor.to(device) for name, tensor in state.items()} for state in states]

    def vectors(pictures: UInt8[Tensor, "n H W 3"]) -> Float32[Tensor, "n d"]:
        image = shrink(pictures, filter)
        parts = []
        for branch, w in zip(branches, placed, strict=True):
            mean, deviation = (image.new_tensor(v).view(1, 3, 1, 1) for v in (branch.mean, branch.deviation))
            parts.append(transformer((image - mean) / deviation, w, branch).float())
        joined = torch.cat(parts, dim=1)
        centred = joined - joined.mean(dim=1, keepdim=True)
        return centred / centred.norm(dim=1, keepdim=True)

    return vectors
