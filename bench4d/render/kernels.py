"""Triton kernels of the CUDA renderers. Each does in one launch what a twin in plain torch does in several:

    project   mesh_cuda.project           vertices to clip space
    average   mesh_cuda.average           samples to pixels
    blending  gaussians_cuda.blending     blending order and compensated opacity, with gradients

The module can be imported without Triton; then every launch raises FormatError.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float32, Float64, Int32
from torch import Tensor

from ..triton_jit import jit, tl

BLOCK, PIXELS = 1024, 256  # Gaussians or vertices, and pixels, a program
WARPS = 8


def project(vertices: Float32[Tensor, "F N 3"], matrices: Float64[Tensor, "F V 4 4"]) -> Float32[Tensor, "FV N 4"]:
    """See `mesh_cuda.project`."""
    (frames, count), views = vertices.shape[:2], matrices.shape[1]
    points = vertices.new_empty(frames * views, count, 4)
    with torch.cuda.device(vertices.device):
        _project[_grid(frames * views, count)](
            vertices.contiguous(), matrices.contiguous(), points, count, views, BLOCK, num_warps=WARPS
        )
    return points


def average(
    samples: Float32[Tensor, "B h w 4"], hits: Float32[Tensor, "B h w 4"] | None, supersample: int
) -> Float32[Tensor, "B H W 4"]:
    """See `mesh_cuda.average`."""
    images, height, width, _ = samples.shape
    out = samples.new_empty(images, height // supersample, width // supersample, 4)
    pixels = out.numel() // 4
    mask = samples if hits is None else hits
    with torch.cuda.device(samples.device):
        _average[(-(-pixels // PIXELS),)](
            samples.contiguous(), mask.contiguous(), out, pixels, out.shape[2], supersample, hits is not None, PIXELS
        )
    return out


def blending(
    opacities: Float32[Tensor, "F N"],
    roots: Float32[Tensor, "F V N"] | None,
    conics: Float32[Tensor, "F V N 3"],
    radii: Int32[Tensor, "F V N 2"],
    means: Float32[Tensor, "F N 3"],
    rows: Float64[Tensor, "F V 4"],
) -> tuple[Float32[Tensor, "F V N"], Float32[Tensor, "F V N"]]:
    """See `gaussians_cuda.blending`."""
    opacity, depth = _Blending.apply(opacities, roots, conics, radii, means, rows)
    return opacity, depth


class _Blending(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, opacities: Tensor, roots: Tensor | None, conics: Tensor, radii: Tensor, *rest: Tensor) -> Any:
        frames, views, count = radii.shape[:3]
        opacities = opacities.contiguous()
        saved = opacities, opacities if roots is None else roots, conics, radii
        inputs = [tensor.contiguous() for tensor in (*saved, *rest)]
        opacity, depth = (conics.new_empty(frames, views, count) for _ in range(2))
        with torch.cuda.device(conics.device):
            _blending[_grid(frames * views, count)](
                *inputs, opacity, depth, count, views, roots is not None, BLOCK, num_warps=WARPS
            )
        ctx.save_for_backward(*inputs[:4])
        ctx.compensate = roots is not None
        ctx.mark_non_differentiable(depth)
        ctx.set_materialize_grads(False)
        return opacity, depth

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: None) -> Any:
        opacities, roots, conics, radii = ctx.saved_tensors
        frames, views, count = radii.shape[:3]
        to_opacities, to_roots, to_conics = torch.empty_like(opacities), None, None
        if ctx.compensate:
            to_roots, to_conics = torch.empty_like(roots), torch.empty_like(conics)
        with torch.cuda.device(conics.device):
            _blending_backward[_grid(frames, count)](
                grad.contiguous(), opacities, roots, conics, radii, to_opacities,
                opacities if to_roots is None else to_roots, conics if to_conics is None else to_conics,
                count, views, ctx.compensate, BLOCK, num_warps=WARPS,
            )  # fmt: skip
        return to_opacities, to_roots, to_conics, None, None, None


def _grid(images: int, count: int) -> tuple[int, int]:
    """A program for each image and BLOCK items. CUDA limits the second number to 65535, that is 67 million items."""
    return images, -(-count // BLOCK)


@jit
def _project(vertices, matrices, points, count, views, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    image = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = n < count
    vertex = vertices + 3 * (image // views * count + n)
    x = tl.load(vertex, mask=inside, other=0).to(tl.float64)
    y = tl.load(vertex + 1, mask=inside, other=0).to(tl.float64)
    z = tl.load(vertex + 2, mask=inside, other=0).to(tl.float64)
    for row in tl.static_range(4):
        at = matrices + 16 * image + 4 * row
        value = tl.load(at) * x + tl.load(at + 1) * y + tl.load(at + 2) * z + tl.load(at + 3)
        tl.store(points + 4 * (image * count + n) + row, value.to(tl.float32), mask=inside)


@jit
def _average(samples, hits, out, pixels, width, S: tl.constexpr, MASKED: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    pixel, channel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)[:, None], tl.arange(0, 4)[None, :]
    inside = pixel < pixels
    line = pixel // width  # the images' rows follow each other
    first = line.to(tl.int64) * (S * width * S) + (pixel - line * width) * S
    total = tl.zeros((BLOCK, 4), tl.float32)
    for row in tl.static_range(S):
        for column in tl.static_range(S):
            at = 4 * (first + row * width * S + column)
            value = tl.load(samples + (at + channel), mask=inside, other=0)
            if MASKED:
                value = tl.where(tl.load(hits + (at + 3), mask=inside, other=0) > 0, value, 0.0)
            total += value
    mean = tl.minimum(total / (S * S), 1.0)
    tl.store(out + (4 * pixel.to(tl.int64) + channel), mean, mask=inside)


@jit
def _blending(  # type: ignore[no-untyped-def]
    opacities, roots, conics, radii, means, rows, opacity, depth, count, views,
    COMPENSATE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    image = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = n < count
    own, pair = image // views * count + n, image * count + n
    z = tl.zeros((BLOCK,), tl.float64) + tl.load(rows + 4 * image + 3)
    for axis in tl.static_range(3):
        z += tl.load(rows + 4 * image + axis) * tl.load(means + 3 * own + axis, mask=inside, other=0).to(tl.float64)
    tl.store(depth + pair, z.to(tl.float32), mask=inside)
    value = tl.load(opacities + own, mask=inside, other=0)
    if COMPENSATE:
        root = tl.load(roots + pair, mask=inside, other=0)
        a = tl.load(conics + 3 * pair, mask=inside, other=0)
        b = tl.load(conics + 3 * pair + 1, mask=inside, other=0)
        c = tl.load(conics + 3 * pair + 2, mask=inside, other=0)
        share, least = root * root, 1e-6 * (a * c - b * b)
        seen = (tl.load(radii + 2 * pair, mask=inside, other=0) > 0) & (share > least)
        value = tl.where(seen, value * tl.sqrt_rn(tl.div_rn(share, 1 + least) + 1e-6), 0.0)
    tl.store(opacity + pair, value, mask=inside)


@jit
def _blending_backward(  # type: ignore[no-untyped-def]
    grad, opacities, roots, conics, radii, to_opacities, to_roots, to_conics, count, views,
    COMPENSATE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    frame = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = n < count
    value = tl.load(opacities + (frame * count + n), mask=inside, other=0)
    total = tl.zeros((BLOCK,), tl.float32)
    for view in range(views):
        pair = (frame * views + view) * count + n
        g = tl.load(grad + pair, mask=inside, other=0)
        if COMPENSATE:  # factor = sqrt(share / (1 + least) + 1e-6)
            root = tl.load(roots + pair, mask=inside, other=0)
            a = tl.load(conics + 3 * pair, mask=inside, other=0)
            b = tl.load(conics + 3 * pair + 1, mask=inside, other=0)
            c = tl.load(conics + 3 * pair + 2, mask=inside, other=0)
            share, least = root * root, 1e-6 * (a * c - b * b)
            seen = (tl.load(radii + 2 * pair, mask=inside, other=0) > 0) & (share > least)
            factor = tl.sqrt_rn(tl.div_rn(share, 1 + least) + 1e-6)
            to_share = tl.div_rn(g * value, 2 * factor * (1 + least))
            to_inverse = -1e-6 * to_share * tl.div_rn(share, 1 + least)  # to a c - b^2
            tl.store(to_roots + pair, tl.where(seen, 2 * root * to_share, 0.0), mask=inside)
            tl.store(to_conics + 3 * pair, tl.where(seen, to_inverse * c, 0.0), mask=inside)
            tl.store(to_conics + 3 * pair + 1, tl.where(seen, -2 * to_inverse * b, 0.0), mask=inside)
            tl.store(to_conics + 3 * pair + 2, tl.where(seen, to_inverse * a, 0.0), mask=inside)
            g = tl.where(seen, g * factor, 0.0)
        total += g
    tl.store(to_opacities + (frame * count + n), total, mask=inside)
