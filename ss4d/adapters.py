"""Packages that compute attention or sparse convolutions, where a user has installed them and asks for them.

Nothing here is needed: `attention.py` and `sparse/conv.py` do the same in torch and Triton, and name these as choices.
All run on NVIDIA GPUs in half precision; spconv in float32 too. Its CPU build is refused: with several threads its sums
are wrong.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from itertools import accumulate
from types import ModuleType
from typing import Any, cast

import torch
from jaxtyping import Float, Int32
from torch import Tensor, nn

from bench4d.errors import FormatError

from .sparse.neighbours import Kernel as Extent
from .sparse.tensor import Sites

INSTALL = {
    "xformers": ("xformers.ops", "pip install xformers (its build has to fit torch and CUDA's runtime)"),
    "flash-attn": ("flash_attn", "pip install flash-attn --no-build-isolation"),
    "spconv": ("spconv.pytorch", "pip install spconv-cu126"),
}


def require(name: str, device: torch.device) -> ModuleType:
    """The package. Raises FormatError where it is not installed, and for another device than a GPU."""
    module, command = INSTALL[name]
    if device.type != "cuda":
        raise FormatError(f'choice "{name}"', "an NVIDIA GPU", f"{device}", "Choose another.")
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise FormatError(
            f'choice "{name}"', f"the package {name}", f"{error}", f"{command}, or another choice."
        ) from None


def package(name: str, x: Tensor, floats: tuple[torch.dtype, ...] = (torch.float16, torch.bfloat16)) -> ModuleType:
    """The package, if it is installed and takes `x`."""
    if not x.is_cuda or x.dtype not in floats:
        wanted = " or ".join(str(kind).removeprefix("torch.") for kind in floats)
        raise FormatError(f'choice "{name}"', f"{wanted} on CUDA", f"{x.dtype} on {x.device}", "Choose another.")
    return require(name, x.device)


def attend(
    name: str, q: Float[Tensor, "B L H D"], k: Float[Tensor, "B M H D"], v: Float[Tensor, "B M H D"]
) -> Float[Tensor, "B L H D"]:
    """As `attention.attend`."""
    module = package(name, q)
    call = module.memory_efficient_attention if name == "xformers" else module.flash_attn_func
    return cast(Tensor, call(q.contiguous(), k.contiguous(), v.contiguous()))


def attend_packed(
    name: str,
    q: Float[Tensor, "N H D"],
    k: Float[Tensor, "M H D"],
    v: Float[Tensor, "M H D"],
    q_lengths: tuple[int, ...],
    k_lengths: tuple[int, ...],
    remember: Callable[[Any, Callable[[], Any]], Any],
) -> Float[Tensor, "N H D"]:
    """As `attention.attend_packed`, all sequences in one launch."""
    module, (q, k, v) = package(name, q), (x.contiguous() for x in (q, k, v))
    if name == "xformers":
        make = module.fmha.BlockDiagonalMask.from_seqlens
        mask = remember(("mask", q_lengths, k_lengths), lambda: make(list(q_lengths), list(k_lengths)))
        return cast(Tensor, module.memory_efficient_attention(q[None], k[None], v[None], attn_bias=mask)[0])
    q_starts, k_starts = (starts(lengths, q.device, remember) for lengths in (q_lengths, k_lengths))
    return cast(Tensor, module.flash_attn_varlen_func(q, k, v, q_starts, k_starts, max(q_lengths), max(k_lengths)))


def starts(
    lengths: tuple[int, ...], device: torch.device, remember: Callable[[Any, Callable[[], Any]], Any]
) -> Int32[Tensor, " S+1"]:
    """Where each of the sequences begins, and the end."""

    def send() -> Tensor:
        return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32).to(device, non_blocking=True)

    return cast(Tensor, remember(("starts", lengths), send))


def convolve(
    feats: Float[Tensor, "N I"],
    weights: dict[str, nn.Parameter],
    sites: Sites,
    kernel: Extent,
    num_frames: int,
) -> Float[Tensor, "N O"]:
    """As `sparse.conv.SparseConv`, by spconv's implicit GEMM, whose layout of weights is ours.

    Args:
        weights: "weight" [O, *kernel, I] and "bias" [O], in the type of `feats`.
    """
    spconv = package("spconv", feats, (torch.float16, torch.float32))
    coords, extent = sites.coords, sites.extent
    clips = sites.slots
    if kernel[0] > 1:  # the frame becomes an axis of space
        clips, extent = sites.clips(num_frames), [num_frames, *extent]
        slot = coords[:, :1]
        coords = torch.cat([slot // num_frames, slot % num_frames, coords[:, 1:]], dim=1)
    sizes = list(kernel if kernel[0] > 1 else kernel[1:])
    weight = weights["weight"]
    build = spconv.SubMConv4d if kernel[0] > 1 else spconv.SubMConv3d
    with torch.device("meta"):
        layer = build(weight.shape[-1], weight.shape[0], sizes, indice_key=f"{kernel}")
    layer.weight, layer.bias = weight, weights["bias"]
    layer.train(torch.is_grad_enabled())
    memory: dict[str, Any] = sites.remember(("spconv", num_frames if kernel[0] > 1 else 1), dict)
    given = spconv.SparseConvTensor(feats, coords.contiguous(), extent, clips, indice_dict=memory)
    return cast(Tensor, layer(given).features)
