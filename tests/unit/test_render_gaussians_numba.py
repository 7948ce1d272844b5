"""The differentiable CPU rasteriser draws and differentiates as its plain twin does, which takes all pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from bench4d.cameras import orbit
from bench4d.render import gaussians_numba, gaussians_torch

FRAMES, COUNT, SIDE = 2, 120, 45  # tiles are cut at the right and at the lower edge
SIZE = (SIDE, SIDE)


def scene(seed: int, dtype: torch.dtype, terms: int = 0) -> list[Tensor]:
    """Gaussians of all kinds: behind the camera, out of sight, invisible, nearly opaque, as small as a pixel."""
    rng = np.random.default_rng(seed)
    opacities = rng.uniform(0, 1, (FRAMES, COUNT))
    opacities[:, :20], opacities[:, 20:30] = rng.uniform(0.98, 1, (FRAMES, 20)), 0
    means = rng.normal(0, 0.3, (FRAMES, COUNT, 3))
    means[:, 30:40] *= 20
    scales = np.exp(rng.uniform(np.log(0.002), np.log(0.2), (FRAMES, COUNT, 3)))
    colors = rng.normal(0, 0.6, (FRAMES, COUNT, terms, 3)) if terms else rng.uniform(0, 1.2, (FRAMES, COUNT, 3))
    arrays = [means, scales, rng.normal(size=(FRAMES, COUNT, 4)), opacities, colors]
    return [torch.tensor(array, dtype=dtype) for array in arrays]


def rig(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    cameras = [orbit([10, 130], 15, 2.0, 40, SIDE), orbit([200, 300], -30, 1.2, 60, SIDE)]
    poses, matrices = (
        torch.tensor(np.stack([getattr(one, name) for one in cameras]), dtype=dtype)
        for name in ("camera_to_world", "intrinsics")
    )
    return poses, matrices


def drawn(module, given: list[Tensor], compensate: bool, weights: Tensor) -> tuple[Tensor, list[Tensor]]:  # type: ignore[no-untyped-def]
    leaves = [x.clone().requires_grad_() for x in given]
    image = module.rasterise(*leaves, *rig(given[0].dtype), SIZE, 0.1, compensate)
    (image * weights).sum().backward()
    return image.detach(), [leaf.grad for leaf in leaves]  # type: ignore[misc]


@pytest.mark.parametrize("terms", [0, 9])
@pytest.mark.parametrize("compensate", [True, False])
def test_picture_and_gradients_are_those_of_the_twin(compensate: bool, terms: int) -> None:
    given = scene(0, torch.float64, terms)
    weights = torch.randn(FRAMES, 2, *SIZE, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    (image, gradients), (wanted, truth) = (
        drawn(module, given, compensate, weights) for module in (gaussians_numba, gaussians_torch)
    )
    assert float(wanted[..., 3].mean()) > 0.2
    torch.testing.assert_close(image, wanted, rtol=0, atol=1e-12)
    for found, expected in zip(gradients, truth, strict=True):
        assert expected.abs().max() > 1e-3
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


def test_single_precision_is_kept_and_close() -> None:
    weights = torch.ones(FRAMES, 2, *SIZE, 4)
    image, gradients = drawn(gaussians_numba, scene(1, torch.float32), True, weights)
    wanted, truth = drawn(gaussians_numba, scene(1, torch.float64), True, weights.double())
    assert image.dtype == torch.float32
    assert (image - wanted).abs().mean() < 1e-6
    for found, expected in zip(gradients, truth, strict=True):
        assert (found - expected).norm() < 1e-3 * expected.norm()


def test_nothing_in_sight_is_an_empty_picture() -> None:
    given = scene(2, torch.float32)
    given[3] = torch.zeros_like(given[3])
    image, gradients = drawn(gaussians_numba, given, True, torch.ones(FRAMES, 2, *SIZE, 4))
    assert not image.any() and not any(gradient.any() for gradient in gradients)
