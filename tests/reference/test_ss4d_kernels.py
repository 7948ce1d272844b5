"""Triton kernels of SS4D against their twins in plain torch: on a GPU, or by the interpreter (tests/conftest.py)."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ss4d.attention import SelfAttention, use_fused
from ss4d.layers import LayerNorm32
from ss4d.sparse import SparseTensor
from ss4d.sparse.conv import SparseConv, use_convolution

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
# Of the largest value: half precision differs by its own rounding, since a twin rounds after every step.
LIMIT = {torch.float32: 3e-6, torch.float16: 4e-3}
TYPES = list(LIMIT)


def close(found: Tensor, expected: Tensor, dtype: torch.dtype, limit: float | None = None) -> None:
    assert found.dtype == expected.dtype and found.shape == expected.shape
    found, expected = found.detach().float(), expected.detach().float()
    error = float((found - expected).abs().max() / expected.abs().max())
    assert error < (limit or LIMIT[dtype])


def pair(layer: Any, inputs: tuple[Any, ...]) -> tuple[Any, Any]:
    with torch.no_grad():
        expected = layer(*inputs)
        use_fused(layer)
        return layer(*inputs), expected


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    ("affine", "modulated", "silu"), [(False, True, False), (True, False, True), (False, True, True)]
)
def test_norm_modulate(dtype: torch.dtype, affine: bool, modulated: bool, silu: bool) -> None:
    torch.manual_seed(0)
    norm = LayerNorm32(24, affine).to(DEVICE)
    for parameter in norm.parameters():
        torch.nn.init.normal_(parameter)
    x = (3 * torch.randn(7, 3, 24) + 1).to(DEVICE, dtype)
    shift, scale = torch.randn(2, 1, 1, 24).to(DEVICE, dtype) if modulated else (None, None)
    close(*pair(norm, (x, shift, scale, silu)), dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("turned", "normed"), [(True, True), (False, True), (True, False)])
def test_turn_norm(dtype: torch.dtype, turned: bool, normed: bool) -> None:
    torch.manual_seed(0)
    attention = SelfAttention(24, 3, normed).to(DEVICE)
    attention.to_qkv.to(dtype)
    for norm in (attention.q_rms_norm, attention.k_rms_norm):
        if norm is not None:
            torch.nn.init.normal_(norm.gamma)
    x = torch.randn(6, 5, 24).to(DEVICE, dtype)
    turn = attention.rotation(torch.arange(6, device=DEVICE)[:, None]) if turned else None
    with torch.no_grad():
        expected = attention.qkv(x, turn)
        use_fused(attention)
        found = attention.qkv(x, turn)
    for a, b in zip(found, expected, strict=True):
        close(a, b, dtype)


def voxels(channels: int, dtype: torch.dtype) -> SparseTensor:
    coords = torch.cat([torch.randperm(6**3)[:60].sort().values + 216 * k for k in range(4)])
    coords = torch.stack([coords // 216, coords // 36 % 6, coords // 6 % 6, coords % 6], 1).int().to(DEVICE)
    return SparseTensor(torch.randn(len(coords), channels).to(DEVICE, dtype), coords, 4)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    ("kernel", "ins", "outs"),
    [((3, 3, 3), 24, 40), ((3, 1, 1, 1), 16, 16), ((3, 3, 3, 3), 8, 16), ((3, 3, 3), 40, 130)],
)
def test_implicit_gemm(dtype: torch.dtype, kernel: tuple[int, ...], ins: int, outs: int) -> None:
    torch.manual_seed(0)
    layer = SparseConv(ins, outs, kernel).to(DEVICE, dtype)
    x = voxels(ins, dtype)
    seed = torch.randn(len(x), outs).to(DEVICE, dtype)
    results = []
    for method in ("taps", "triton"):
        use_convolution(layer, method)  # type: ignore[arg-type]
        feats = x.feats.clone().requires_grad_()
        out = layer(x.replace(feats), 2).feats
        results.append([out, *torch.autograd.grad(out, [feats, layer.conv.weight, layer.conv.bias], seed)])
    for expected, found in zip(*results, strict=True):
        close(found, expected, dtype)


@pytest.mark.gpu
@pytest.mark.skipif(not CUDA, reason="needs a CUDA device")
def test_implicit_gemm_gives_equal_bits() -> None:
    torch.manual_seed(0)
    layer, x = SparseConv(64, 64, (3, 3, 3)).to(DEVICE), voxels(64, torch.float32)
    use_convolution(layer, "triton")
    grads = []
    for _ in range(2):
        feats = x.feats.clone().requires_grad_()
        grads.append(torch.autograd.grad(F.silu(layer(x.replace(feats), 2).feats).sum(), [feats, layer.conv.weight]))
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
