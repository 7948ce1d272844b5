"""Exact attention through PyTorch's scaled_dot_product_attention, and the projections around it.

Tokens come either as a batch [B, L, ...] of equally long sequences or packed, [N, ...], one sequence after the other.
The projections do not care; `attend` takes the first form and `attend_packed` the second.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any, Literal, NamedTuple, cast, get_args

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from bench4d.errors import FormatError

from . import adapters, kernels
from .layers import LayerNorm32, MultiHeadRMSNorm, Rotation, rotate, rotation

# How packed sequences are computed if they form more than `RUNS` runs. "grouped": those of equal lengths as one batch;
# runs anywhere, in any precision. "varlen": all in one launch, for thousands of short sequences; NVIDIA GPUs, half
# precision, D a multiple of 8. "xformers" and "flash-attn": any sequences, by that package; see adapters.py.
Kernel = Literal["grouped", "varlen", "xformers", "flash-attn"]
PACKAGES = ("xformers", "flash-attn")
# Where things are kept that follow from the lengths of sequences alone: `Sites.remember`, for all layers and steps.
Remember = Callable[[Any, Callable[[], Any]], Any]
RUNS = 8  # up to so many runs of equally long sequences are computed one after the other, without sorting anything


def attend(
    q: Float[Tensor, "B L H D"],
    k: Float[Tensor, "B M H D"],
    v: Float[Tensor, "B M H D"],
    kernel: Kernel = "grouped",
) -> Float[Tensor, "B L H D"]:
    """softmax(q k^T / sqrt(D)) v for each sequence and head."""
    if kernel in PACKAGES:
        return adapters.attend(kernel, q, k, v)
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # [B, H, L, D]
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)


def anew(what: Any, make: Callable[[], Any]) -> Any:
    """A `Remember` that keeps nothing."""
    return make()


@torch.compiler.disable  # lengths are numbers of the host, and other ones at every step
def attend_packed(
    q: Float[Tensor, "N H D"],
    k: Float[Tensor, "M H D"],
    v: Float[Tensor, "M H D"],
    q_lengths: Sequence[int],
    k_lengths: Sequence[int],
    kernel: Kernel = "grouped",
    remember: Remember = anew,
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
        remember: keeps orders and starts on the device of `q`, so that later calls do not send them again.
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
    pairs = list(zip(q_sizes.tolist(), k_sizes.tolist(), strict=True))
    runs = [(size, len(list(members))) for size, members in groupby(pairs)]
    # Equally long neighbours are a batch as they stand. With "varlen" only if it is one: SDPA plans every new shape.
    if len(runs) <= (1 if kernel == "varlen" else RUNS):
        q_runs, k_runs = ([count * size[i] for size, count in runs] for i in range(2))
        batches = zip(runs, q.split(q_runs), k.split(k_runs), v.split(k_runs), strict=True)
        found = []
        for ((queries, _), count), *part in batches:
            if queries:
                ours = [x.unflatten(0, (count, -1)) for x in part]
                found.append(attend(ours[0], ours[1], ours[2], kernel).flatten(0, 1))
        return torch.cat(found) if len(found) > 1 else found[0] if found else torch.empty_like(q)
    lengths = tuple(q_sizes.tolist()), tuple(k_sizes.tolist())
    if kernel in PACKAGES:
        return adapters.attend_packed(kernel, q, k, v, *lengths, remember)
    if kernel == "varlen":
        return _attend_varlen(q, k, v, q_sizes, k_sizes, remember)
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for i, size in enumerate(pairs):
        if size[0]:
            groups[size].append(i)

    # Bring sequences of equal lengths next to each other, attend group by group, and put the results back.
    q_order, k_order = remember(
        ("orders", lengths), lambda: [_rows(sizes, groups.values(), q.device) for sizes in (q_sizes, k_sizes)]
    )
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


def _attend_varlen(
    q: Tensor, k: Tensor, v: Tensor, q_sizes: np.ndarray, k_sizes: np.ndarray, remember: Remember = anew
) -> Tensor:
    """`attend_packed` in one launch; the derivative's sums have no fixed order, so its last bits vary."""
    half = (torch.float16, torch.bfloat16)
    if not (q.is_cuda and q.dtype == k.dtype == v.dtype and q.dtype in half and q.shape[-1] % 8 == 0):
        found = f"{q.dtype}, {k.dtype}, {v.dtype} on {q.device} with {q.shape[-1]} channels"
        next_step = 'Elsewhere choose the kernel "grouped".'
        raise FormatError('kernel "varlen"', "half precision on CUDA, heads of 8 n channels", found, next_step)
    from torch.nn.attention.varlen import varlen_attn  # torch 2.10 or later

    starts = [adapters.starts(tuple(sizes.tolist()), q.device, remember) for sizes in (q_sizes, k_sizes)]
    longest = int(q_sizes.max(initial=0)), int(k_sizes.max(initial=0))
    out = varlen_attn(q.contiguous(), k.contiguous(), v.contiguous(), starts[0], starts[1], longest[0], longest[1])
    return cast(Tensor, out)


def use_kernel(network: nn.Module, kernel: Kernel) -> None:
    """Let all attention inside `network` use this kernel from now on."""
    if kernel not in get_args(Kernel):
        raise FormatError("attention", f"one of {', '.join(get_args(Kernel))}", repr(kernel))
    for layer in network.modules():
        if isinstance(layer, SelfAttention | CrossAttention):
            layer.kernel = kernel


def use_fused(network: nn.Module, on: bool = True) -> None:
    """Let norms, modulations and rotations inside `network` run as Triton kernels where no derivative is wanted."""
    for layer in network.modules():
        if isinstance(layer, SelfAttention | LayerNorm32):
            layer.fused = on


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

    kernel: Kernel = "grouped"  # see `use_kernel`
    fused = False  # see `use_fused`

    def __init__(self, channels: int, heads: int, qk_rms_norm: bool, rope_base: float = 10000.0) -> None:
        super().__init__()
        check_heads(channels, heads)
        self.heads, self.rope_base = heads, rope_base
        self.to_qkv = nn.Linear(channels, 3 * channels)
        self.q_rms_norm = MultiHeadRMSNorm(channels // heads, heads) if qk_rms_norm else None
        self.k_rms_norm = MultiHeadRMSNorm(channels // heads, heads) if qk_rms_norm else None
        self.to_out = nn.Linear(channels, channels)

    def rotation(self, frame: Shaped[Tensor, "*batch"]) -> Rotation:
        """For `qkv`, from each token's frame within its clip (broadcast to the tokens)."""
        return rotation(frame, self.to_qkv.in_features // self.heads, self.rope_base)

    def qkv(
        self, x: Float[Tensor, "*batch C"], turn: Rotation | None = None
    ) -> tuple[Float[Tensor, "*batch H D"], Float[Tensor, "*batch H D"], Float[Tensor, "*batch H D"]]:
        """Queries, keys and values; the first two turned if `turn` is given."""
        qkv = self.to_qkv(x).unflatten(-1, (3, self.heads, -1))
        if self.fused and not torch.is_grad_enabled() and qkv.shape[-1] & (qkv.shape[-1] - 1) == 0:
            return self._fused(qkv, turn)
        q, k, v = qkv.unbind(-3)  # [*batch, H, D] each
        if turn is not None:  # before the norm
            q, k = rotate(q, turn), rotate(k, turn)
        if self.q_rms_norm is not None and self.k_rms_norm is not None:
            q, k = self.q_rms_norm(q), self.k_rms_norm(k)
        return q, k, v

    def _fused(self, qkv: Float[Tensor, "*batch 3 H D"], turn: Rotation | None) -> tuple[Tensor, Tensor, Tensor]:
        angles = (None, None) if turn is None else tuple(a.reshape(-1, a.shape[-1]) for a in turn)
        norms = self.q_rms_norm, self.k_rms_norm
        gains = None if norms[0] is None or norms[1] is None else (norms[0].gamma, norms[1].gamma)
        q, k = kernels.turn_norm(qkv.flatten(0, -4), angles[0], angles[1], gains)
        v = qkv.select(-3, 2)
        return q.view(v.shape), k.view(v.shape), v

    def out(self, h: Float[Tensor, "*batch H D"]) -> Float[Tensor, "*batch C"]:
        return self.to_out(h.flatten(-2))


class Context(NamedTuple):
    """A context as one cross attention sees it. It does not depend on the tokens: once a clip is enough."""

    k: Float[Tensor, "*others H D"]
    v: Float[Tensor, "*others H D"]


class Nothing(NamedTuple):
    """A context of zeros, however long: all keys are equal and all values too, so every token gets this answer."""

    answer: Float[Tensor, " C"]


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

    def q(self, x: Float[Tensor, "*batch C"]) -> Float[Tensor, "*batch H D"]:
        q = self.to_q(x).unflatten(-1, (self.heads, -1))
        return q if self.q_rms_norm is None else self.q_rms_norm(q)

    def context(self, context: Float[Tensor, "*others K"]) -> Context:
        k, v = self.to_kv(context).unflatten(-1, (2, self.heads, -1)).unbind(-3)  # [*others, H, D] each
        return Context(k if self.k_rms_norm is None else self.k_rms_norm(k), v)

    def nothing(self) -> Nothing:
        return Nothing(self.to_out(self.to_kv.bias.chunk(2)[1]))

    def out(self, h: Float[Tensor, "*batch H D"]) -> Float[Tensor, "*batch C"]:
        return self.to_out(h.flatten(-2))


def check_heads(channels: int, heads: int) -> None:
    if heads < 1 or channels % heads:
        raise FormatError("num_heads", f"a divisor of model_channels = {channels}", f"{heads}")
