"""Submanifold convolution: outputs where inputs are, stride 1, missing neighbours count as zero."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from bench4d.errors import FormatError

from .. import adapters
from .implicit_gemm import ImplicitGemm, table_of
from .neighbours import Kernel, Tap, neighbours
from .tensor import Sites, SparseTensor

# "taps": gather, GEMM, scatter for each tap; runs anywhere, in any precision. "triton": one kernel, NVIDIA GPUs.
# "spconv": by that package, on GPUs only; see ss4d/adapters.py.
Method = Literal["taps", "triton", "spconv"]


class KernelWeights(nn.Module):
    """The parameters of a convolution, `weight` [C_out, *kernel, C_in] and `bias` [C_out]."""

    def __init__(self, in_channels: int, out_channels: int, kernel: tuple[int, ...]) -> None:
        super().__init__()
        bound = 1 / math.sqrt(in_channels * math.prod(kernel))  # Kaiming-uniform with a = sqrt(5)
        self.weight = nn.Parameter(torch.empty(out_channels, *kernel, in_channels).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(out_channels).uniform_(-bound, bound))


class SparseConv(nn.Module):
    """Cross-correlation with a kernel over (x, y, z), or over (t, x, y, z) within a clip.

    `(3, 3, 3)` looks at the same slot only, `(3, 3, 3, 3)` at space and time together, and `(3, 1, 1, 1)` at the same
    voxel in the frame before, this and the next.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: tuple[int, ...]) -> None:
        super().__init__()
        if len(kernel) not in (3, 4) or any(size < 1 or size % 2 == 0 for size in kernel):
            raise FormatError("kernel", "three or four odd sizes", f"{kernel}")
        self.in_channels = in_channels
        time, x, y, z = (1, *kernel) if len(kernel) == 3 else kernel
        self.kernel: Kernel = (time, x, y, z)
        self.conv = KernelWeights(in_channels, out_channels, kernel)

    method: Method = "taps"  # see `use_convolution`

    def plan(self, sites: Sites, num_frames: int) -> None:
        """Let the sites remember what `forward` needs of them, which makes the host wait for the device."""
        find = table_of if self.method == "triton" else neighbours
        find(sites, self.kernel, num_frames)

    def forward(self, x: SparseTensor, num_frames: int) -> SparseTensor:
        """`num_frames` is the number of slots of a clip now, after any down-sampling in time."""
        if x.feats.shape[1] != self.in_channels:
            raise FormatError("sparse convolution", f"{self.in_channels} channels", f"{x.feats.shape[1]}")
        if self.method == "spconv":
            weights = dict(self.conv.named_parameters())
            return x.replace(adapters.convolve(x.feats, weights, x.sites, self.kernel, num_frames))
        weight = self.conv.weight.flatten(1, -2)  # [C_out, taps, C_in]
        feats, device = x.feats, x.feats.device.type
        if torch.is_autocast_enabled(device):  # here, so that the derivative multiplies in that type too
            feats, weight = (v.to(torch.get_autocast_dtype(device)) for v in (feats, weight))
        if self.method == "triton":
            table = table_of(x.sites, self.kernel, num_frames)
            return x.replace(ImplicitGemm.apply(feats, weight, self.conv.bias, table))
        taps = neighbours(x.sites, self.kernel, num_frames)
        return x.replace(_GatherGemmScatter.apply(feats, weight, self.conv.bias, taps))


def use_convolution(network: nn.Module, method: Method) -> None:
    """Let all sparse convolutions inside `network` be computed this way from now on."""
    if method not in get_args(Method):
        raise FormatError("convolution", f"one of {', '.join(get_args(Method))}", repr(method))
    for layer in network.modules():
        if isinstance(layer, SparseConv):
            layer.method = method


class _GatherGemmScatter(torch.autograd.Function):
    """For each tap: gather the input rows, multiply, add to the output rows; float32 sums for half precision.

    Written out with its derivative because autograd would keep the gathered rows of every tap.
    No tap names a row twice, so index_add_ gives the same bits every time, on GPUs too.
    """

    @staticmethod
    def forward(
        ctx: Any,
        feats: Float[Tensor, "N I"],
        weight: Float[Tensor, "O K I"],
        bias: Float[Tensor, " O"],
        taps: list[Tap],
    ) -> Float[Tensor, "N O"]:
        ctx.save_for_backward(feats, weight)
        ctx.taps = taps
        wide = _sum_dtype(feats.dtype)
        out = (feats @ weight[:, weight.shape[1] // 2].T).to(wide) + bias
        for tap in taps:
            out.index_add_(0, tap.output, (feats[tap.input] @ weight[:, tap.place].T).to(wide))
        return out.to(feats.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Float[Tensor, "N O"]) -> tuple[Tensor | None, ...]:
        feats, weight = ctx.saved_tensors
        wide, centre = _sum_dtype(feats.dtype), weight.shape[1] // 2
        grad_feats = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_feats = (grad @ weight[:, centre]).to(wide)  # [N, I]
            for tap in ctx.taps:
                grad_feats.index_add_(0, tap.input, (grad[tap.output] @ weight[:, tap.place]).to(wide))
            grad_feats = grad_feats.to(feats.dtype)
        if ctx.needs_input_grad[1]:
            grad_weight = torch.empty_like(weight)
            grad_weight[:, centre] = grad.T @ feats
            for tap in ctx.taps:
                grad_weight[:, tap.place] = grad[tap.output].T @ feats[tap.input]
        if ctx.needs_input_grad[2]:
            grad_bias = grad.sum(0)
        return grad_feats, grad_weight, grad_bias, None


def _sum_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32
