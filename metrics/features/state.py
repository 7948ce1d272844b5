"""Reading the weights of a published network: exactly the tensors that the network has, or an error that lists them."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench4d.errors import FormatError

Shapes = Mapping[str, tuple[int, ...]]


def read_state(path: Path, shapes: Shapes, inside: Iterable[str] = (), prefix: str = "") -> dict[str, Tensor]:
    """The tensors of a state dict in single precision, by name.

    Args:
        path: a safetensors file, or one of torch.save (read without Python's pickle).
        shapes: what must be there. BatchNorm's count of batches may be there too; it changes no output.
        inside: names under which a checkpoint may hold the state dict; the first one present is opened.
        prefix: what the file puts before every name.
    """
    state = _read(path)
    for name in inside:
        if isinstance(state, Mapping) and name in state:
            state = state[name]
            break
    if not isinstance(state, Mapping) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise FormatError(path, "a state dict, tensors by name", type(state).__name__, "Is it another network's file?")
    found = {
        name.removeprefix(prefix): tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")
    }
    differ = [f"no {name}" for name in shapes if name not in found]
    differ += [f"an unknown {name}" for name in found if name not in shapes]
    for name in shapes.keys() & found.keys():
        if tuple(found[name].shape) != tuple(shapes[name]):
            differ.append(f"{name} {list(found[name].shape)} instead of {list(shapes[name])}")
    if differ:
        shown = "; ".join(sorted(differ)[:5]) + ("" if len(differ) <= 5 else f"; {len(differ) - 5} more")
        raise FormatError(path, f"the {len(shapes)} tensors of this network", shown, "Is it another network's file?")
    return {name: found[name].float() for name in shapes}


def fold(weight: Tensor, state: Mapping[str, Tensor], norm: str, epsilon: float) -> tuple[Tensor, Tensor]:
    """A convolution's weight and bias that do what it and the BatchNorm `norm` after it do. Float64 inside."""
    scale = state[f"{norm}.weight"].double() / (state[f"{norm}.running_var"].double() + epsilon).sqrt()
    bias = state[f"{norm}.bias"].double() - state[f"{norm}.running_mean"].double() * scale
    return (weight.double() * scale.view(-1, *[1] * (weight.ndim - 1))).float(), bias.float()


def place(w: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """The weights on their device. On a CPU those of 3D convolutions lie channels last: a fifth less time."""
    last = device.type == "cpu"
    form = {True: torch.channels_last_3d, False: torch.preserve_format}
    return {name: tensor.to(device, memory_format=form[last and tensor.ndim == 5]) for name, tensor in w.items()}


def norm_shapes(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    """The tensors of a BatchNorm."""
    return {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
