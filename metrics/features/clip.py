"""CLIP's image and text vectors (Radford et al. 2021; OpenCLIP), by the networks of the package open_clip.

Pictures go in as the published models were trained and as Hugging Face's processor feeds them: shorter side to the
model's size (Pillow, bicubic), the middle square, OpenAI's mean and deviation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any
from zipfile import ZipFile, is_zipfile

import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from bench4d.errors import FormatError
from bench4d.metric import MetricUnavailable, Network

from .resize import resize
from .torchvision_import import import_torchvision

MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
# OpenAI's file keeps three facts about the network as tensors.
FACTS = ("input_resolution", "context_length", "vocab_size")


def prepare(pictures: UInt8[Tensor, "n H W 3"], side: int) -> Float32[Tensor, "n 3 side side"]:
    """What the image network takes."""
    height, width = pictures.shape[1:3]
    short = min(height, width)
    small = resize(pictures, (int(side * height / short), int(side * width / short)), "bicubic")
    top, left = (small.shape[1] - side) // 2, (small.shape[2] - side) // 2
    square = small[:, top : top + side, left : left + side].permute(0, 3, 1, 2).float() / 255
    mean, deviation = (square.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
    return (square - mean) / deviation


def open_clip() -> Any:
    """The package, or the reason why its columns stay empty."""
    try:
        import_torchvision()
        return import_module("open_clip")
    except ImportError as error:
        raise MetricUnavailable(
            f"needs the package open-clip-torch ({error}): python tools/install.py metrics"
        ) from None


def read_state(path: Path) -> dict[str, Tensor]:
    """A published file's tensors: OpenAI's TorchScript archive, a state dict of torch.save, or safetensors."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    if is_zipfile(path) and any(name.endswith("constants.pkl") for name in ZipFile(path).namelist()):
        state = torch.jit.load(str(path), map_location="cpu").state_dict()
    else:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))
    return {name: tensor for name, tensor in state.items() if name not in FACTS}


def fill(network: torch.nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Exactly the network's tensors, in single precision, in place of what it had."""
    try:
        network.load_state_dict({name: tensor.float() for name, tensor in state.items()}, strict=True, assign=True)
    except RuntimeError as error:
        raise FormatError(path, "the tensors of this CLIP", str(error)[:500], "Is it another network's file?") from None
    network.eval().requires_grad_(False)


def image_network(config: Mapping[str, Any], path: Path, device: torch.device) -> torch.nn.Module:
    """The image half alone, projection included. It is made without memory first: bigG's text half has 3 GB."""
    with torch.device("meta"):
        network = open_clip().CLIP(**config).visual
    state = read_state(path)
    fill(network, {n.removeprefix("visual."): t for n, t in state.items() if n.startswith("visual.")}, path)
    return network.to(device)


def load(path: Path, name: str, device: torch.device) -> Network:
    """`name`: of the architecture in open_clip; OpenAI's own files need the one with quick GELU."""
    return network_of(open_clip().get_model_config(name), path, device)


def network_of(config: Mapping[str, Any], path: Path, device: torch.device) -> Network:
    """Pictures to projected vectors, of any length."""
    network, side = image_network(config, path, device), int(config["vision_cfg"]["image_size"])

    def vectors(pictures: UInt8[Tensor, "n H W 3"]) -> Float32[Tensor, "n d"]:
        return network(prepare(pictures, side)).float()

    return vectors


def load_text(path: Path, name: str, device: torch.device) -> Callable[[str], Tensor]:
    """A prompt to its projected vector [d], of any length. More than 75 tokens are cut off, as everywhere."""
    package = open_clip()
    network = package.CLIP(**package.get_model_config(name))
    fill(network, read_state(path), path)
    network, tokenizer = network.to(device), package.get_tokenizer(name)

    def vector(prompt: str) -> Float32[Tensor, " d"]:
        with torch.inference_mode():
            return network.encode_text(tokenizer([prompt]).to(device))[0].float()

    return vector
