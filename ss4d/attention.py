"""Exact attention through PyTorch's scaled_dot_product_attention, and the projections around it.

Tokens come either as a batch [B, L, ...] of equally long sequences or packed, [N, ...], one sequence after the other.
The projections do not care; `attend` takes the first form and `attend_packed` the second.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from bench4d.errors import FormatError

from .layers import MultiHeadRMSNorm, rope_t

# How packed sequences are computed. "grouped": those of equal lengths as one batch; runs anywhere, in any precision.
# "varlen": all in one launch, for thousands of short sequences; NVIDIA GPUs, half precision, D a multiple of 8.
Kernel = Literal["grouped", "varlen"]


def attend(
    q: Float[Tensor, "B L H D"], k: Float[Tensor, "B M H D"], v: Float[Tensor, "B M H D"]
) -> Float[Tensor, "B L H D"]:
    """softmax(q k^T / sqrt(D)) v for each sequence and head."""
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # [B, H, L, D]
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)


def attend_packed(
    q: Float[Tensor, "N H D"],
    k: Float[Tensor, "M H D"],
    v: Float[Tensor, "M H D"],
    q_lengths: Sequence[int],
    k_lengths: Sequence[int],
    kernel: Kernel = "grouped",
) -> Float[Tensor, "N H D"]:
    """Attention within packed sequences: queries of sequence i see the keys of sequence i only.

    No padding and no mask: sequences of equal lengths go through `attend` as one batch, or all through one kernel.

    Args:
        q: queries of all sequences, one sequence after the other.
        k: keys, likewise.
        v: values, likewise.
        q_lengths: how many queries each sequence has; they add up to N. Sequences without queries are skipped.
        k_lengths: how many keys each sequence has; they add up to M.
        kernel: see `Kernel`; the results differ by rounding only.
    """
    q_sizes, k_sizes = np.asarray(q_lengths, dtype=np.int64), np.asarray(k_lengths, dtype=np.int64)
    if len(q_sizes) != len(k_sizes) or q_sizes.sum() != len(q) or k_sizes.sum() != len(k):
        raise FormatError(
            "lengths of packed sequences",
            f"as many of queries as of keys, adding up to {len(q)} and {len(k)}",
            f"{len(q_sizes)} and {len(k_sizes)} adding up to {q_sizes.sum()} and {k_sizes.sum()}",
        )
    if keyless := np.flatnonzero((q_sizes > 0) & (k_sizes == 0)).tolist():
        raise FormatError("lengths of packed sequences", "keys wherever there are queries", f"none in {keyless}")
    if kernel == "varlen":
        return _attend_varlen(q, k, v, q_sizes, k_sizes)
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for i, (queries, keys) in enumerate(zip(q_sizes.tolist(), k_sizes.tolist(), strict=True)):
        if queries:
            groups[queries, keys].append(i)
    if not groups:
        return torch.empty_like(q)
    if len(groups) == 1:
        ((_, keys), members) = next(iter(groups.items()))
        if len(members) * keys == len(k):  # [N, H, D] is [sequences, N / sequences, H, D] as it stands
            return attend(*(x.unflatten(0, (len(members), -1)) for x in (q, k, v))).flatten(0, 1)

    # Bring sequences of equal lengths next to each other, attend group by group, and put the results back.
    q_order, k_order = _rows(q_sizes, groups.values(), q.device), _rows(k_sizes, groups.values(), k.device)
    q_counts = [len(members) * queries for (queries, _), members in groups.items()]
    k_counts = [len(members) * keys for (_, keys), members in groups.items()]
    parts = zip(q[q_order].split(q_counts), k[k_order].split(k_counts), v[k_order].split(k_counts), strict=True)
    results = [
        attend(*(x.unflatten(0, (len(members), -1)) for x in part)).flatten(0, 1)
        for members, part in zip(groups.values(), parts, strict=True)
    ]
    out = torch.empty_like(q)
    out[q_order] = torch.cat(results)
    return out


def _attend_varlen(q: Tensor, k: Tensor, v: Tensor, q_sizes: np.ndarray, k_sizes: np.ndarray) -> Tensor:
    """`attend_packed` in one launch; the derivative's sums have no fixed order, so its last bits vary."""
    half = (torch.float16, torch.bfloat16)
    if not (q.is_cuda and q.dtype == k.dtype == v.dtype and q.dtype in half and q.shape[-1] % 8 == 0):
        found = f"{q.dtype}, {k.dtype}, {v.dtype} on {q.device} with {q.shape[-1]} channels"
        next_step = 'Elsewhere choose the kernel "grouped".'
        raise FormatError('kernel "varlen"', "half precision on CUDA, heads of 8 n channels", found, next_step)
    from torch.nn.attention.varlen import varlen_attn  # torch 2.10 or later

    starts = [
        torch.from_numpy(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)).to(q.device, non_blocking=True)
        for sizes in (q_sizes, k_sizes)
    ]
    longest = int(q_sizes.max(initial=0)), int(k_sizes.max(initial=0))
    out = varlen_attn(q.contiguous(), k.contiguous(), v.contiguous(), starts[0], starts[1], longest[0], longest[1])
    return cast(Tensor, out)


def use_kernel(network: nn.Module, kernel: Kernel) -> None:
    """Let all attention over packed sequences inside `network` use this kernel from now on."""
    if kernel not in ("grouped", "varlen"):
        raise FormatError("attention", '"grouped" or "varlen"', repr(kernel))
    for layer in network.modules():
        if isinstance(layer, SelfAttention | CrossAttention):
            layer.kernel = kernel


def _rows(sizes: np.ndarray, groups: Iterable[list[int]], device: torch.device) -> Tensor:
    """Rows of packed sequences of these sizes, in the order of the groups' members."""
    starts = np.cumsum(sizes) - sizes
    rows = [(starts[group][:, None] + np.arange(sizes[group[0]])).ravel() for group in groups]
    return torch.from_numpy(np.concatenate(rows)).to(device)


def frame_windows(num_frames: int, window: int, shift: int) -> list[int]:
    """Sizes of the windows in time: frame t belongs to window (t + shift) // window. No wrap-around.

    >>> frame_windows(32, 8, 0), frame_windows(32, 8, 4)
    ([8, 8, 8, 8], [4, 8, 8, 8, 4])
    """
    _, sizes = np.unique((np.arange(num_frames) + shift) // window, return_counts=True)
    return sizes.tolist()


class SelfAttention(nn.Module):
    """Projections of self attention. The caller says, by `attend` or `attend_packed`, which tokens see each other."""

    kernel: Kernel = "grouped"  # of packed sequences, see `use_kernel`

    def __init__(self, channels: int, heads: int, qk_rms_norm: bool, rope_base: float = 10000.0) -> None:
        super().__init__()
        check_heads(channels, heads)
        self.heads, self.rope_base = heads, rope_base
        self.to_qkv = nn.Linear(channels, 3 * channels)
        self.q_rms_norm = MultiHeadRMSNorm(channels // heads, heads) if qk_rms_norm else None
        self.k_rms_norm = MultiHeadRMSNorm(channels // heads, heads) if qk_rms_norm else None
        self.to_out = nn.Linear(channels, channels)

    def qkv(
        self, x: Float[Tensor, "*batch C"], frame: Shaped[Tensor, "..."] | None = None
    ) -> tuple[Float[Tensor, "*batch H D"], Float[Tensor, "*batch H D"], Float[Tensor, "*batch H D"]]:
        """Queries, keys and values; turned by the frames' indices within their clips if `frame` is given."""
        q, k, v = self.to_qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(-3)  # [*batch, H, D] each
        if frame is not None:  # before the norm
            q, k = rope_t(q, frame, self.rope_base), rope_t(k, frame, self.rope_base)
        if self.q_rms_norm is not None and self.k_rms_norm is not None:
            q, k = self.q_rms_norm(q), self.k_rms_norm(k)
        return q, k, v

    def out(self, h: Float[Tensor, "*batch H D"]) -> Float[Tensor, "*batch C"]:
        return self.to_out(h.flatten(-2))


class CrossAttention(nn.Module):
    """Projections of attention from tokens to a context; see SelfAttention."""

    kernel: Kernel = "grouped"

    def __init__(self, channels: int, context_channels: int, heads: int, qk_rms_norm: bool) -> None:
        super().__init__()
        check_heads(channels, heads)
        self.heads = heads
        self.to_q = nn.Linear(channels, channels)
        self.to_kv = nn.Linear(context_channels, 2 * channels)
        self.q_rms_norm = MultiHeadRMSNorm(channels // heads, heads) if qk_rms_norm else None
        self.k_rms_norm = MultiHeadRMSNorm(channels // heads, heads) if qk_rms_norm else None
        self.to_out = nn.Linear(channels, channels)

    def q_kv(
        self, x: Float[Tensor, "*batch C"], context: Float[Tensor, "*others K"]
    ) -> tuple[Float[Tensor, "*batch H D"], Float[Tensor, "*others H D"], Float[Tensor, "*others H D"]]:
        q = self.to_q(x).unflatten(-1, (self.heads, -1))  # [*batch, H, D]
        k, v = self.to_kv(context).unflatten(-1, (2, self.heads, -1)).unbind(-3)  # [*others, H, D] each
        if self.q_rms_norm is not None and self.k_rms_norm is not None:
            q, k = self.q_rms_norm(q), self.k_rms_norm(k)
        return q, k, v

    def out(self, h: Float[Tensor, "*batch H D"]) -> Float[Tensor, "*batch C"]:
        return self.to_out(h.flatten(-2))


def check_heads(channels: int, heads: int) -> None:
    if heads < 1 or channels % heads:
        raise FormatError("num_heads", f"a divisor of model_channels = {channels}", f"{heads}")
