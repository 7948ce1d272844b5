"""Submanifold convolution in one Triton kernel, an implicit GEMM. Its twin in plain torch is in conv.py.

A program makes a tile of outputs: for each tap it gathers the input rows that the table names, multiplies, and adds to
a sum in float32. The derivative with respect to the inputs is the same kernel with the opposite taps; that with respect
to the weights is summed over blocks of rows in a fixed order. So equal inputs give equal bits.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int32
from torch import Tensor
from torch.autograd.function import once_differentiable

from bench4d.triton_jit import jit, tl

from .neighbours import Kernel, neighbours
from .tensor import Sites

ROWS, COLUMNS, DEPTH = 128, 128, 32  # of a tile of outputs, and inputs at a time
BLOCKS = 512  # programs that share the sum of a weight's gradient, about


def table_of(sites: Sites, kernel: Kernel, num_frames: int) -> Int32[Tensor, "K N"]:
    """For each tap and output row the input row, or -1 where there is no voxel. Worked out once for the sites."""
    frames = num_frames if kernel[0] > 1 else 1
    return sites.remember(("table", kernel, frames), lambda: _table(sites, kernel, num_frames))


def _table(sites: Sites, kernel: Kernel, num_frames: int) -> Int32[Tensor, "K N"]:
    count, taps = len(sites.coords), kernel[0] * kernel[1] * kernel[2] * kernel[3]
    table = torch.full((taps, count), -1, dtype=torch.int32, device=sites.coords.device)
    table[taps // 2] = torch.arange(count, dtype=torch.int32, device=table.device)
    for tap in neighbours(sites, kernel, num_frames):
        table[tap.place, tap.output] = tap.input.int()
    return table


class ImplicitGemm(torch.autograd.Function):
    """`conv._GatherGemmScatter` with a table in place of pairs."""

    @staticmethod
    def forward(
        ctx: Any,
        feats: Float[Tensor, "N I"],
        weight: Float[Tensor, "O K I"],
        bias: Float[Tensor, " O"],
        table: Int32[Tensor, "K N"],
    ) -> Float[Tensor, "N O"]:
        ctx.save_for_backward(feats, weight, table)
        return convolve(feats, weight.permute(1, 2, 0), bias, table)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Float[Tensor, "N O"]) -> tuple[Tensor | None, ...]:
        feats, weight, table = ctx.saved_tensors
        grad_feats = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            # Tap k leads from input q to output p; seen from q, p is the neighbour of the opposite tap.
            grad_feats = convolve(grad, weight.flip(1).permute(1, 0, 2), None, table)
        if ctx.needs_input_grad[1]:
            grad_weight = weight_gradient(feats, grad, table).to(weight.dtype)
        if ctx.needs_input_grad[2]:
            grad_bias = grad.sum(0)
        return grad_feats, grad_weight, grad_bias, None


def convolve(
    feats: Float[Tensor, "N I"],
    weight: Float[Tensor, "K I O"],
    bias: Float[Tensor, " O"] | None,
    table: Int32[Tensor, "K N"],
) -> Float[Tensor, "N O"]:
    """out[p] = bias + sum over k of feats[table[k, p]] @ weight[k], in the type of `feats`."""
    (taps, ins, outs), count = weight.shape, table.shape[1]
    feats, weight = feats.contiguous(), weight.to(feats.dtype).contiguous()
    out = torch.empty(count, outs, dtype=feats.dtype, device=feats.device)
    columns = min(COLUMNS, max(16, _power_of_two(outs)))
    grid = ((count + ROWS - 1) // ROWS, (outs + columns - 1) // columns)
    with torch.cuda.device_of(feats):  # Triton launches on the current device, wherever its arguments are
        _convolve[grid](
            feats, weight, weight if bias is None else bias, table, out, count, ins, outs,
            TAPS=taps, ROWS=ROWS, COLUMNS=columns, DEPTH=_depth(ins), BIAS=bias is not None, num_warps=4, num_stages=4,
        )  # fmt: skip
    return out


def weight_gradient(
    feats: Float[Tensor, "N I"], grad: Float[Tensor, "N O"], table: Int32[Tensor, "K N"]
) -> Float[Tensor, "O K I"]:
    """sum over p of grad[p]^T feats[table[k, p]] for each k, in float32."""
    (taps, count), ins, outs = table.shape, feats.shape[1], grad.shape[1]
    feats, grad = feats.contiguous(), grad.to(feats.dtype).contiguous()
    tile_o, tile_i = (min(64, max(16, _power_of_two(n))) for n in (outs, ins))
    tiles = taps * ((outs + tile_o - 1) // tile_o) * ((ins + tile_i - 1) // tile_i)
    splits = max(1, min(BLOCKS * 8 // tiles, (count + 1023) // 1024))
    rows = (count + splits - 1) // splits
    parts = torch.empty(splits, taps, outs, ins, dtype=torch.float32, device=feats.device)
    with torch.cuda.device_of(feats):
        _weight_gradient[((outs + tile_o - 1) // tile_o * ((ins + tile_i - 1) // tile_i), taps, splits)](
            feats, grad, table, parts, count, ins, outs, rows,
            TILE_O=tile_o, TILE_I=tile_i, ROWS=64, num_warps=4, num_stages=3,
        )  # fmt: skip
    return parts.sum(0).transpose(0, 1)


def _depth(ins: int) -> int:
    return min(DEPTH, max(16, _power_of_two(ins)))


def _power_of_two(count: int) -> int:
    return 1 << (count - 1).bit_length()


@jit
def _convolve(  # type: ignore[no-untyped-def]
    feats, weight, bias, table, out, count, ins, outs, TAPS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr, BIAS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    entry = table + row
    for tap in range(TAPS):
        source = tl.load(entry, mask=row < count, other=-1).to(tl.int64)
        entry += count
        for start in range(0, ins, DEPTH):
            channel = start + tl.arange(0, DEPTH)
            there = (source >= 0)[:, None] & (channel < ins)[None, :]
            a = tl.load(feats + source[:, None] * ins + channel[None, :], mask=there, other=0)
            known = (channel < ins)[:, None] & (column < outs)[None, :]
            b = tl.load(weight + (tap * ins + channel)[:, None] * outs + column[None, :], mask=known, other=0)
            total += tl.dot(a, b, input_precision="ieee")
    if BIAS:
        total += tl.load(bias + column, mask=column < outs, other=0).to(tl.float32)[None, :]
    inside = (row < count)[:, None] & (column < outs)[None, :]
    tl.store(out + row[:, None] * outs + column[None, :], total.to(out.dtype.element_ty), mask=inside)


@jit
def _weight_gradient(  # type: ignore[no-untyped-def]
    feats, grad, table, parts, count, ins, outs, rows, TILE_O: tl.constexpr, TILE_I: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    across = (ins + TILE_I - 1) // TILE_I
    o = tl.program_id(0) // across * TILE_O + tl.arange(0, TILE_O)
    i = tl.program_id(0) % across * TILE_I + tl.arange(0, TILE_I)
    tap, split = tl.program_id(1), tl.program_id(2).to(tl.int64)
    total = tl.zeros((TILE_O, TILE_I), tl.float32)
    entries = table + tap.to(tl.int64) * count
    for start in range(0, rows, ROWS):
        row = split * rows + start + tl.arange(0, ROWS)
        mine = (start + tl.arange(0, ROWS) < rows) & (row < count)
        source = tl.load(entries + row, mask=mine, other=-1).to(tl.int64)
        there = source >= 0
        a = tl.load(grad + row[None, :] * outs + o[:, None], mask=there[None, :] & (o < outs)[:, None], other=0)
        b = tl.load(feats + source[:, None] * ins + i[None, :], mask=there[:, None] & (i < ins)[None, :], other=0)
        total += tl.dot(a, b, input_precision="ieee")
    place = ((split * tl.num_programs(1) + tap) * outs + o[:, None]) * ins + i[None, :]
    tl.store(parts + place, total, mask=(o < outs)[:, None] & (i < ins)[None, :])
