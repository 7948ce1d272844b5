"""Which kernels compute the networks. All choices give the same numbers up to rounding; docs/performance.md has times.

"torch"    plain PyTorch; runs anywhere, in any precision, with derivatives. The twin of everything else.
"triton"   fused norms and rotations, one-kernel sparse convolutions, and the fastest exact attention for each
           shape. NVIDIA GPUs with Triton, which torch for CUDA on Linux brings along.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench4d.errors import FormatError

from . import adapters
from .attention import Kernel as AttentionKernel
from .attention import use_fused, use_kernel
from .sparse import use_convolution
from .sparse.conv import Method
from .structure_flow import SparseStructureFlow4DModel

Kernels = Literal["auto", "torch", "triton"]
# Of the backends that take a shape and a type, the first is used.
ATTENTION = [
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]


def chosen(kernels: Kernels, device: torch.device) -> Literal["torch", "triton"]:
    """ "auto" is "triton" on a GPU of NVIDIA's, else "torch"."""
    if kernels not in ("auto", "torch", "triton"):
        raise FormatError("kernels", '"auto", "torch" or "triton"', repr(kernels))
    fits = device.type == "cuda" and torch.version.hip is None
    if kernels == "triton" and not fits:
        raise FormatError('kernels "triton"', "an NVIDIA GPU", f"{device}", 'Elsewhere choose "torch".')
    return "triton" if kernels != "torch" and fits else "torch"


def check_choices(attention: AttentionKernel | None, convolution: Method | None, device: torch.device) -> None:
    """Raises FormatError for what is not installed or does not run on this device. Names are checked by use."""
    for kind, name, elsewhere in (("attention", attention, "grouped"), ("convolution", convolution, "taps")):
        if name in adapters.INSTALL:
            adapters.require(name, device)
        elif name in ("varlen", "triton") and device.type != "cuda":
            raise FormatError(f'{kind} "{name}"', "an NVIDIA GPU", f"{device}", f'Elsewhere choose "{elsewhere}".')


def use_kernels(
    networks: Iterable[nn.Module],
    kernels: Literal["torch", "triton"],
    attention: AttentionKernel | None = None,
    convolution: Method | None = None,
) -> None:
    """Let the networks compute this way from now on; `attention` and `convolution` choose these two by name."""
    fast = kernels == "triton"
    for network in networks:
        use_fused(network, fast)
        use_convolution(network, convolution or ("triton" if fast else "taps"))
        half = any(p.dtype in (torch.float16, torch.bfloat16) for p in network.parameters())
        # Stage 1 has a few long windows, which cuDNN computes at 1.6 times the rate of the kernel of "varlen".
        long = isinstance(network, SparseStructureFlow4DModel)
        use_kernel(network, attention or ("varlen" if fast and half and not long else "grouped"))


@contextmanager
def fastest_attention(kernels: Literal["torch", "triton"]) -> Iterator[None]:
    """Attention by the fastest backend that takes the shape; for "torch", by that which PyTorch chooses."""
    if kernels == "torch":
        yield
    else:
        with sdpa_kernel(ATTENTION, set_priority=True):
            yield
