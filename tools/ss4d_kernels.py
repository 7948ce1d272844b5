"""Every fast path of SS4D's inference beside its plain twin: errors against float64, time, and rate.

    python tools/ss4d_kernels.py | tee build/ss4d-kernels.md     # one GPU, under a minute
    python tools/ss4d_kernels.py --quick                         # tiny shapes, on a CPU by Triton's interpreter

Shapes are those of 32 frames through the released sizes. Errors are ||found - expected|| / ||expected||, of the path
and of its twin in the same type, where `expected` is float64 from the same rounded inputs: for norms and rotations on
8,192 rows; for convolutions on 4,096 rows (gradients of weights: all rows); for attention on one head of the first, the
shortest and the longest sequence, of a derivative the largest of three. Twins: layers in plain torch, convolutions by
gathers and products, attention by PyTorch's products and softmax. Rates: GB/s count each input read once and each
output written once; TFLOP/s count products alone, of attention's derivative 2.5 times those of its forward pass.
spconv's derivatives are always both. Drawn inputs, medians. A path that fails says why; packages that are not
installed are left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

if not torch.cuda.is_available():  # before anything imports Triton
    os.environ.setdefault("TRITON_INTERPRET", "1")

import numpy as np
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ss4d import attention, kernels
from ss4d.attention import attend_packed, frame_windows, use_fused
from ss4d.layers import LayerNorm32, MultiHeadRMSNorm, Rotation, rotate, rotation
from ss4d.sparse import SparseTensor, pool_space, pool_time, time_windows
from ss4d.sparse.conv import SparseConv, use_convolution
from ss4d.sparse.implicit_gemm import table_of
from tools.ss4d_floor import lines
from tools.ss4d_timing_ways import attempt, ball, by_parts, relative

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
TYPES = (torch.float16, torch.float32)
BACKENDS = {
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}
PACKAGES = {"xformers": "xformers", "flash-attn": "flash_attn"}
SECONDS = 0.25  # of a measurement, about


@dataclass(frozen=True)
class Sizes:
    """Of the inputs; `tokens` of stage 1 and `images` of the image encoder are those of a frame."""

    frames: int = 32
    tokens: int = 4096
    images: int = 1374
    window: int = 8
    heads: int = 16
    decoder_heads: int = 12
    head: int = 64
    voxels: int = 9400
    conv_voxels: int = 8000
    narrow: int = 128
    resolution: int = 64


QUICK = Sizes(2, 3, 3, 2, 2, 2, 16, 50, 50, 16, 8)


def drawn(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, device=DEVICE).to(dtype)


def milliseconds(function: Callable[[], Any]) -> float:
    """Median of a call."""
    if not CUDA:
        began = time.perf_counter()
        function()
        return 1000 * (time.perf_counter() - began)
    function()
    torch.cuda.synchronize()
    began, found = time.perf_counter(), []
    while not found or (len(found) < 15 and time.perf_counter() - began < SECONDS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        function()
        end.record()
        end.synchronize()
        found.append(start.elapsed_time(end))
    return statistics.median(found)


def show(
    path: str,
    shape: str,
    dtype: torch.dtype,
    direction: str,
    errors: tuple[float, float],
    ms: tuple[float, float | None],
    work: float,
    unit: str,
) -> None:
    """A row: `errors` and `ms` of the path and its twin, `work` in operations or bytes."""
    rate = work / ms[0] / (1e9 if unit == "TFLOP/s" else 1e6)
    twin = "" if ms[1] is None else f"{ms[1]:.3g}"
    kind = str(dtype).removeprefix("torch.")
    print(
        f"| {path} | {shape} | {kind} | {direction} | {errors[0]:.1e} | {errors[1]:.1e} | {ms[0]:.3g} | "
        f"{rate:.4g} {unit} | {twin} |",
        flush=True,
    )


def some(rows: int, count: int) -> Tensor:
    return torch.randperm(rows, device=DEVICE)[:count].sort().values


@torch.no_grad()
def norm(title: str, rows: int, width: int, affine: bool, silu: bool, dtype: torch.dtype) -> None:
    layer = LayerNorm32(width, affine).to(DEVICE)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    x = 3 * drawn(rows, width, dtype=dtype) + 1
    shift, scale = (None, None) if affine else drawn(2, 1, width, dtype=dtype)
    found, ms = [], []
    chosen = some(rows, 8192)
    for fused in (True, False):
        use_fused(layer, fused)
        found.append(layer(x, shift, scale, silu)[chosen])
        ms.append(milliseconds(lambda: layer(x, shift, scale, silu)))
    gains = (layer.weight.double(), layer.bias.double()) if affine else (None, None)
    expected = F.layer_norm(x[chosen].double(), (width,), *gains, layer.eps)
    if shift is not None and scale is not None:
        expected = expected * (1 + scale.double()) + shift.double()
    expected = F.silu(expected) if silu else expected
    errors = relative(found[0], expected), relative(found[1], expected)
    show(title, f"{rows} x {width}", dtype, "forward", errors, (ms[0], ms[1]), 2 * x.numel() * x.element_size(), "GB/s")


@torch.no_grad()
def turn(title: str, frame: Tensor, each: int, sizes: Sizes, dtype: torch.dtype) -> None:
    """Rotation and norm of queries and keys; `frame` [R] of `each` neighbouring tokens."""
    rows, heads, width = len(frame) * each, sizes.heads, sizes.head
    qkv, by = drawn(rows, 3, heads, width, dtype=dtype), rotation(frame, width)
    norms = [MultiHeadRMSNorm(width, heads).to(DEVICE) for _ in range(2)]
    for layer in norms:
        torch.nn.init.normal_(layer.gamma)
    gains = (norms[0].gamma, norms[1].gamma)
    everywhere = Rotation(*(a.repeat_interleave(each, 0) for a in by))
    chosen = some(rows, 8192)

    def plain() -> list[Tensor]:
        return [layer(rotate(x, everywhere)) for x, layer in zip(qkv.unbind(1)[:2], norms, strict=True)]

    cos, sin = (a[chosen][:, None].double() for a in everywhere)
    expected = []
    for x, gain in zip(qkv[chosen].double().unbind(1)[:2], gains, strict=True):
        real, imaginary = x[..., ::2], x[..., 1::2]
        turned = torch.stack([real * cos - imaginary * sin, real * sin + imaginary * cos], -1).flatten(-2)
        expected.append(F.normalize(turned, dim=-1) * gain.double() * width**0.5)
    errors = [
        relative(torch.stack([y[chosen] for y in found]), torch.stack(expected))
        for found in (kernels.turn_norm(qkv, by.cos, by.sin, gains), plain())
    ]
    ms = milliseconds(lambda: kernels.turn_norm(qkv, by.cos, by.sin, gains)), milliseconds(plain)
    work = 4 * rows * heads * width * qkv.element_size()
    show(title, f"{rows} x {heads} x {width}", dtype, "forward", (errors[0], errors[1]), ms, work, "GB/s")


def convolution(title: str, x: SparseTensor, kernel: tuple[int, ...], width: int, dtype: torch.dtype) -> None:
    """Forward and both derivatives, by the Triton kernel and by spconv if it is there."""
    layer = SparseConv(width, width, kernel).to(DEVICE, dtype)
    feats, seed = drawn(len(x), width, dtype=dtype), drawn(len(x), width, dtype=dtype)
    weight, bias = layer.conv.weight, layer.conv.bias
    table = table_of(x.sites, layer.kernel, x.slots)
    chosen = some(len(x), 4096)
    w = weight.detach().flatten(1, -2).double()  # [O, K, I]
    with torch.no_grad():
        forward = bias.double() + sum(_rows(feats, table[k, chosen]) @ w[:, k].T for k in range(len(table)))
        inputs = sum(_rows(seed, table[-1 - k, chosen]) @ w[:, k] for k in range(len(table)))
        weights = torch.stack([seed.double().T @ _rows(feats, table[k]) for k in range(len(table))], 1)
    expected = {"forward": forward, "backward, inputs": inputs, "backward, weights": weights}
    flops = 2 * int((table >= 0).sum()) * width**2

    def outcome(method: Any, direction: str) -> tuple[float, float]:
        """Error and milliseconds."""
        use_convolution(layer, method)
        given = feats.detach().requires_grad_(direction == "backward, inputs")
        weight.requires_grad_(direction == "backward, weights"), bias.requires_grad_(False)
        if direction == "forward":
            with torch.no_grad():
                found = layer(x.replace(given), x.slots).feats[chosen]
                return relative(found, forward), milliseconds(lambda: layer(x.replace(given), x.slots))
        leaf, out = given if given.requires_grad else weight, layer(x.replace(given), x.slots).feats
        found = torch.autograd.grad(out, leaf, seed, retain_graph=True)[0]
        found = found[chosen] if leaf is given else found.flatten(1, -2)
        error = relative(found, expected[direction])
        return error, milliseconds(lambda: torch.autograd.grad(out, leaf, seed, retain_graph=True))

    shape, there = f"{len(x)} voxels x {width}, {len(table)} taps", importlib.util.find_spec("spconv") is not None
    for direction in expected:
        twin = outcome("taps", direction)
        for method in ("triton", *(["spconv"] if there and CUDA else [])):

            def row(method: str = method, direction: str = direction, twin: tuple[float, float] = twin) -> None:
                error, ms = outcome(method, direction)
                path = f"{title}, {'implicit GEMM' if method == 'triton' else method}"
                show(path, shape, dtype, direction, (error, twin[0]), (ms, twin[1]), flops, "TFLOP/s")

            attempt(f"{title}, {method}, {direction}, {dtype}", row)


def _rows(x: Tensor, source: Tensor) -> Tensor:
    """In float64, zeros where `source` is negative."""
    return x[source.clamp(min=0).long()].double() * (source >= 0)[:, None]


@dataclass(frozen=True)
class Case:
    """Packed sequences of attention, and which ways are timed forward and backward."""

    title: str
    queries: Sequence[int]
    keys: Sequence[int]
    heads: int
    forward: tuple[str, ...]
    backward: tuple[str, ...] = ()
    single: tuple[str, ...] = ()  # in float32


def cases(sizes: Sizes) -> list[Case]:
    windows = [frame_windows(sizes.frames, sizes.window, shift) for shift in (0, sizes.window // 2)]
    whole, moved = ([n * sizes.tokens for n in window] for window in windows)
    x = SparseTensor(torch.zeros(1, 1, device=DEVICE).expand(len(voxels := voxels_of(sizes)), 1), voxels, sizes.frames)
    z = pool_time(pool_space(x), sizes.frames)
    thousands = time_windows(x.sites, sizes.frames, sizes.window, 0).lengths
    many = ("flash", "efficient", "varlen", *PACKAGES)  # cuDNN would plan hundreds of shapes
    every, heads = ("cuDNN", *many), sizes.heads
    seen = [2 * sizes.images] * z.slots
    pictures = [sizes.tokens] * sizes.frames, [sizes.images] * sizes.frames
    return [
        Case("stage 1, windows", whole, whole, heads, every, ("cuDNN", "flash"), ("efficient",)),
        Case("stage 1, moved windows", moved, moved, heads, every, ("cuDNN", "flash")),
        Case("stage 1, images", *pictures, heads, every, ("cuDNN", "flash")),
        Case("stage 2, clip", [len(z)], [len(z)], heads, every, ("cuDNN", "flash"), ("efficient",)),
        Case("stage 2, images", z.sites.lengths, seen, heads, every, ("cuDNN", "varlen")),
        Case(
            "decoder, windows",
            thousands,
            thousands,
            sizes.decoder_heads,
            many,
            ("flash", "efficient", "varlen"),
            ("efficient",),
        ),
    ]


def voxels_of(sizes: Sizes) -> Tensor:
    return ball(sizes.frames, sizes.voxels, sizes.resolution).to(DEVICE)


def way_of(name: str, case: Case) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Attention by that backend or package."""
    if name == "varlen":  # also where `attend_packed` would take one batch
        lengths = np.asarray(case.queries), np.asarray(case.keys)
        return lambda q, k, v: attention._attend_varlen(q, k, v, *lengths)
    if name in PACKAGES:
        return lambda q, k, v: attend_packed(q, k, v, case.queries, case.keys, name)  # type: ignore[arg-type]

    def grouped(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with sdpa_kernel(BACKENDS[name]) if CUDA else nullcontext():
            return attend_packed(q, k, v, case.queries, case.keys)

    return grouped


def attention_rows(case: Case, sizes: Sizes, dtype: torch.dtype) -> None:
    heads, width = case.heads, sizes.head
    names = case.forward if dtype == torch.float16 else case.single
    if not names:
        return
    q, seed = (drawn(sum(case.queries), heads, width, dtype=dtype) for _ in range(2))
    k, v = (drawn(sum(case.keys), heads, width, dtype=dtype) for _ in range(2))
    q_starts, k_starts = (np.cumsum([0, *lengths]) for lengths in (case.queries, case.keys))
    chosen = sorted({0, int(np.argmin(case.queries)), int(np.argmax(case.queries))})
    places = [[slice(starts[i], starts[i + 1]) for starts in (q_starts, k_starts, k_starts, q_starts)] for i in chosen]
    given = [[x[place, -1] for x, place in zip((q, k, v, seed), each, strict=True)] for each in places]
    expected, twin = (
        [torch.cat(x) for x in zip(*(by_parts(*g, kind) for g in given), strict=True)]
        for kind in (torch.float64, dtype)
    )  # type: ignore[arg-type]
    outs = [[each[k] for each in places] for k in (0, 0, 1, 2)]  # of the output and of the gradients

    def error(found: Sequence[Tensor], first: int) -> tuple[float, float]:
        """The largest of the path's and of the twin's."""
        numbers = range(first, first + len(found))
        ours = [torch.cat([x[place, -1] for place in outs[n]]) for x, n in zip(found, numbers, strict=True)]
        theirs = [twin[n] for n in numbers]
        errors = [max(relative(x, expected[n]) for x, n in zip(xs, numbers, strict=True)) for xs in (ours, theirs)]
        return errors[0], errors[1]

    flops = 4 * float(np.dot(np.asarray(case.queries, float), np.asarray(case.keys, float))) * heads * width
    distinct = (
        f"{len(case.queries)} x {case.queries[0]}" if len({*case.queries}) == 1 else f"{len(case.queries)} sequences"
    )
    keys = "" if list(case.queries) == list(case.keys) else f", {max(case.keys)} keys"
    shape = f"{distinct}{keys}, {heads} x {width}"
    for name in names if CUDA else ("flash",):  # a CPU has one way
        if name in PACKAGES and importlib.util.find_spec(PACKAGES[name]) is None:
            continue
        way = way_of(name, case)

        def forward(name: str = name, way: Any = way) -> None:
            with torch.no_grad():
                errors = error([way(q, k, v)], 0)
                ms = milliseconds(lambda: way(q, k, v))
            show(f"{case.title}, {name}", shape, dtype, "forward", errors, (ms, None), flops, "TFLOP/s")

        def backward(name: str = name, way: Any = way) -> None:
            leaves = [x.detach().requires_grad_() for x in (q, k, v)]
            out = way(*leaves)
            errors = error(torch.autograd.grad(out, leaves, seed, retain_graph=True), 1)
            ms = milliseconds(lambda: torch.autograd.grad(out, leaves, seed, retain_graph=True))
            show(f"{case.title}, {name}", shape, dtype, "backward", errors, (ms, None), 2.5 * flops, "TFLOP/s")

        attempt(f"{case.title}, {name}, {dtype}, forward", forward)
        if name in case.backward:
            attempt(f"{case.title}, {name}, {dtype}, backward", backward)


def ceilings(quick: bool) -> tuple[float, float]:
    """TFLOP/s of a large half-precision product, and GB/s, read and written, of a large copy."""
    side, count = (256, 2**16) if quick else (8192, 2**31)
    a, b = drawn(side, side, dtype=torch.float16), drawn(side, side, dtype=torch.float16)
    tflops = 2 * side**3 / milliseconds(lambda: a @ b) / 1e9
    source = torch.randint(0, 255, (count,), dtype=torch.uint8, device=DEVICE)
    target = torch.empty_like(source)
    return tflops, 2 * count / milliseconds(lambda: target.copy_(source)) / 1e6


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny shapes")
    options = parser.parse_args(arguments)
    began, sizes = time.perf_counter(), QUICK if options.quick else Sizes()
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = False
    print(f"{torch.cuda.get_device_name() if CUDA else 'CPU, Triton by its interpreter'}, torch {torch.__version__}\n")
    rates = ceilings(options.quick)
    print(f"A large product in half precision: {rates[0]:.0f} TFLOP/s; a large copy: {rates[1]:.0f} GB/s.\n")
    if not options.quick:
        attempt("floor", lambda: print(*lines(voxels_of(sizes), sizes.frames, sizes.images, *rates), "", sep="\n"))
    print("| path | shape | type | direction | relative RMS error | the twin's | ms | rate | the twin's ms |")
    print("|---|---|---|---|---:|---:|---:|---:|---:|", flush=True)
    voxels = ball(sizes.frames, sizes.conv_voxels, sizes.resolution).to(DEVICE)
    x = SparseTensor(torch.zeros(1, 1, device=DEVICE).expand(len(voxels), 1), voxels, sizes.frames)
    level, tokens, wide = pool_space(x), sizes.frames * sizes.tokens, sizes.heads * sizes.head
    z = pool_time(level, sizes.frames)
    each = torch.arange(sizes.frames, device=DEVICE)
    parts: list[tuple[Any, ...]] = []
    for dtype in TYPES:
        parts += [
            (norm, "norm, modulation, stage 1", tokens, wide, False, False, dtype),
            (norm, "norm, modulation, stage 2", len(z), wide, False, False, dtype),
            (norm, "norm, SiLU, stage 2", len(voxels), sizes.narrow, True, True, dtype),
            (turn, "rotation, norm, stage 1", each, sizes.tokens, sizes, dtype),
            (turn, "rotation, norm, stage 2", z.coords[:, 0], 1, sizes, dtype),
            (convolution, "convolution in space", x, (3, 3, 3), sizes.narrow, dtype),
            (convolution, "convolution in time", level, (3, 1, 1, 1), wide, dtype),
        ]
    for dtype in TYPES:
        parts += [(attention_rows, case, sizes, dtype) for case in cases(sizes)]
    for function, *arguments_of in parts:
        attempt(f"{function.__name__}, {arguments_of[0]}", lambda f=function, a=arguments_of: f(*a))  # type: ignore[misc]
        if CUDA:
            torch.cuda.empty_cache()
    print(f"\n{time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
