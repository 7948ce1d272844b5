"""Packages that a user may choose for attention and sparse convolutions, against our own ways."""

import importlib.util
from typing import Any

import pytest
import torch

from bench4d.errors import FormatError
from ss4d.adapters import INSTALL
from ss4d.attention import attend, attend_packed, use_kernel
from ss4d.sparse import SparseTensor
from ss4d.sparse.conv import SparseConv, use_convolution

CUDA = torch.cuda.is_available()
LENGTHS = [[5, 9, 0, 130, 9, 9, 3, 2, 1, 77, 6], [7, 9, 4, 64, 9, 1, 3, 2, 8, 70, 6]]


def installed(name: str) -> list[Any]:
    reason = "needs a CUDA device" if not CUDA else f"{name} is not installed"
    there = CUDA and importlib.util.find_spec(INSTALL[name][0].partition(".")[0]) is not None
    return [pytest.mark.gpu, pytest.mark.skipif(not there, reason=reason)]


def on_gpu(*shape: int) -> list[torch.Tensor]:
    g = torch.Generator("cuda").manual_seed(0)
    return [torch.randn(*shape, generator=g, device="cuda", dtype=torch.float16) for _ in range(3)]


@pytest.mark.parametrize("name", [pytest.param(n, marks=installed(n)) for n in ("xformers", "flash-attn")])
def test_attention(name: Any) -> None:
    q, k, v = on_gpu(3, 70, 4, 64)
    torch.testing.assert_close(attend(q, k, v, name), attend(q, k, v), atol=4e-3, rtol=0)
    q, k, v = on_gpu(sum(LENGTHS[1]), 4, 64)
    q = q[: sum(LENGTHS[0])] if sum(LENGTHS[0]) < len(q) else torch.cat([q, q])[: sum(LENGTHS[0])]
    ours = attend_packed(q, k, v, *LENGTHS)
    torch.testing.assert_close(attend_packed(q, k, v, *LENGTHS, name), ours, atol=4e-3, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("kernel", [(3, 3, 3), (3, 1, 1, 1), (3, 3, 3, 3)])
@pytest.mark.parametrize("name", [pytest.param("spconv", marks=installed("spconv"))])
def test_convolution(name: Any, kernel: tuple[int, ...], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    cells = torch.stack(torch.meshgrid(*[torch.arange(n) for n in (4, 9, 9, 9)], indexing="ij"), -1).flatten(0, 3)
    coords = cells[torch.rand(len(cells)) < 0.3].int().cuda()
    layer = SparseConv(32, 64, kernel).to("cuda", dtype)
    x = SparseTensor(torch.randn(len(coords), 32, device="cuda", dtype=dtype), coords, 4)
    results = []
    for method in ("taps", name):
        use_convolution(layer, method)
        feats = x.feats.clone().requires_grad_()
        out = layer(x.replace(feats), 2).feats
        gradients = torch.autograd.grad(out.float().square().sum(), [feats, *layer.parameters()])
        results.append([out, *gradients])
    limit = 1e-2 if dtype == torch.float16 else 2e-3  # spconv may multiply in TF32
    for ours, theirs in zip(*results, strict=True):
        assert (ours - theirs).abs().max() < limit * ours.abs().max()


@pytest.mark.parametrize("name", ["xformers", "flash-attn"])
def test_attention_on_a_cpu_is_refused(name: Any) -> None:
    q = torch.zeros(1, 2, 1, 8, dtype=torch.float16)
    with pytest.raises(FormatError, match=f'"{name}".*float16 or bfloat16 on CUDA'):
        attend(q, q, q, name)
    with pytest.raises(FormatError, match="on cpu"):
        attend_packed(q[0], q[0], q[0], [2], [2], name)


def test_convolution_on_a_cpu_is_refused() -> None:
    layer = SparseConv(2, 2, (3, 3, 3))
    use_convolution(layer, "spconv")
    x = SparseTensor(torch.zeros(1, 2), torch.zeros(1, 4, dtype=torch.int32), 1)
    with pytest.raises(FormatError, match=r'"spconv".*on CUDA'):
        layer(x, 1)


def test_unknown_choices_are_refused() -> None:
    layer = SparseConv(2, 2, (3, 3, 3))
    with pytest.raises(FormatError, match="taps, triton, spconv"):
        use_convolution(layer, "scipy")  # type: ignore[arg-type]
    with pytest.raises(FormatError, match="grouped, varlen, xformers, flash-attn"):
        use_kernel(layer, "flash")  # type: ignore[arg-type]
