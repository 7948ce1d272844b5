"""Triton kernels of the transformers. Each does in one launch what a twin in plain torch does in several:

    norm_modulate   layers.LayerNorm32.modulated    layer norm, then scale and shift (then perhaps SiLU)
    turn_norm       attention.SelfAttention.qkv     rotary embedding in time, then RMS norm, of queries and keys

Sums and products are in float32 and rounded once at the end, where a twin in half precision rounds after each step.
Without derivative: training uses the twins.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from bench4d.triton_jit import jit, tl

ROWS, TOKENS = 4, 16  # of a program


def norm_modulate(
    x: Float[Tensor, "*batch C"],
    scale: Float[Tensor, " C"] | None,
    shift: Float[Tensor, " C"] | None,
    eps: float,
    plus_one: bool,
    silu: bool = False,
) -> Float[Tensor, "*batch C"]:
    """(x - mean) / sqrt(variance + eps) over the last axis, times `scale` (plus 1 if `plus_one`), plus `shift`."""
    rows, channels = x.numel() // x.shape[-1], x.shape[-1]
    x, out = x.contiguous(), torch.empty(x.shape, dtype=x.dtype, device=x.device)
    some = x if scale is None else scale  # a pointer that is not read
    width = _power_of_two(channels)
    with torch.cuda.device_of(x):  # Triton launches on the current device, wherever its arguments are
        _norm_modulate[((rows + ROWS - 1) // ROWS,)](
            x, some if scale is None else scale, some if shift is None else shift, out, rows, channels, eps,
            ROWS=ROWS, WIDTH=width, SCALE=scale is not None, PLUS_ONE=plus_one, SHIFT=shift is not None, SILU=silu,
            num_warps=4 if width < 2048 else 8,
        )  # fmt: skip
    return out


def turn_norm(
    qkv: Float[Tensor, "N 3 H D"],
    cos: Float32[Tensor, "R P"] | None,
    sin: Float32[Tensor, "R P"] | None,
    gains: tuple[Float32[Tensor, "H D"], Float32[Tensor, "H D"]] | None,
) -> tuple[Float[Tensor, "N H D"], Float[Tensor, "N H D"]]:
    """Queries and keys, turned by the angles of row n R // N (if any), then of length sqrt(D) times the gains (if any).

    D must be a power of two.
    """
    (tokens, _, heads, width), qkv = qkv.shape, qkv.contiguous()
    q, k = (torch.empty(tokens, heads, width, dtype=qkv.dtype, device=qkv.device) for _ in range(2))
    repeat = 1 if cos is None else tokens // len(cos)
    some = gains[0] if gains else qkv
    with torch.cuda.device_of(qkv):
        _turn_norm[((tokens + TOKENS - 1) // TOKENS, heads, 2)](
            qkv, qkv if cos is None else cos, qkv if sin is None else sin, some, gains[1] if gains else some, q, k,
            tokens, heads, repeat, math.sqrt(width),
            TOKENS=TOKENS, WIDTH=width, TURN=cos is not None, NORM=gains is not None, num_warps=2,
        )  # fmt: skip
    return q, k


def _power_of_two(count: int) -> int:
    return 1 << (count - 1).bit_length()


@jit
def _norm_modulate(  # type: ignore[no-untyped-def]
    x, scale, shift, out, rows, channels, eps, ROWS: tl.constexpr, WIDTH: tl.constexpr, SCALE: tl.constexpr,
    PLUS_ONE: tl.constexpr, SHIFT: tl.constexpr, SILU: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    channel = tl.arange(0, WIDTH)[None, :]
    inside = (row < rows) & (channel < channels)
    values = tl.load(x + row * channels + channel, mask=inside, other=0).to(tl.float32)
    mean = tl.sum(values, axis=1)[:, None] / channels
    centred = tl.where(channel < channels, values - mean, 0.0)
    variance = tl.sum(centred * centred, axis=1)[:, None] / channels
    y = centred / tl.sqrt(variance + eps)
    if SCALE:
        factor = tl.load(scale + channel, mask=channel < channels, other=0).to(tl.float32)
        y = y * (factor + 1.0 if PLUS_ONE else factor)
    if SHIFT:
        y += tl.load(shift + channel, mask=channel < channels, other=0).to(tl.float32)
    if SILU:
        y = y / (1.0 + tl.exp(-y))
    tl.store(out + row * channels + channel, y.to(out.dtype.element_ty), mask=inside)


@jit
def _turn_norm(  # type: ignore[no-untyped-def]
    qkv, cos, sin, q_gain, k_gain, q, k, tokens, heads, repeat, root, TOKENS: tl.constexpr, WIDTH: tl.constexpr,
    TURN: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64) * TOKENS + tl.arange(0, TOKENS)[:, None]
    head, which = tl.program_id(1), tl.program_id(2)  # which: 0 for queries, 1 for keys
    channel = tl.arange(0, WIDTH)[None, :]
    inside = token < tokens
    y = tl.load(qkv + ((token * 3 + which) * heads + head) * WIDTH + channel, mask=inside, other=0).to(tl.float32)
    if TURN:
        angle = (token // repeat) * (WIDTH // 2) + tl.arange(0, WIDTH // 2)[None, :]
        c = tl.load(cos + angle, mask=inside, other=0)
        s = tl.load(sin + angle, mask=inside, other=0)
        real, imaginary = tl.split(tl.reshape(y, (TOKENS, WIDTH // 2, 2)))
        y = tl.reshape(tl.join(real * c - imaginary * s, real * s + imaginary * c), (TOKENS, WIDTH))
    if NORM:
        length = tl.sqrt(tl.sum(y * y, axis=1))[:, None]
        y = y / tl.maximum(length, 1e-12) * root
        if which == 0:
            y *= tl.load(q_gain + head * WIDTH + channel)
        else:
            y *= tl.load(k_gain + head * WIDTH + channel)
    place = (token * heads + head) * WIDTH + channel
    if which == 0:
        tl.store(q + place, y.to(q.dtype.element_ty), mask=inside)
    else:
        tl.store(k + place, y.to(k.dtype.element_ty), mask=inside)
