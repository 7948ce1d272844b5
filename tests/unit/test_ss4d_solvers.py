"""Solvers against the exact flow of Gaussian data: their order, straight paths, and velocities that jump."""

from typing import Any

import pytest
import torch
from torch import Tensor

from bench4d.errors import FormatError
from ss4d.checkpoint import SamplerSettings
from ss4d.sampler import FlowEulerGuidanceIntervalSampler, FlowEulerSampler

MEAN, DEVIATION = 0.7, 0.3
NOISE = torch.tensor([[-1.5], [-0.2], [0.4], [2.0]], dtype=torch.float64)


def gaussian(x: Tensor, t: Tensor, cond: Tensor, deviation: float = DEVIATION) -> Tensor:
    """The velocity whose flow takes standard normal noise to N(MEAN, deviation^2): x_0 is MEAN + deviation x_1."""
    t = (t.double() / 1000)[:, None]
    variance = (1 - t) ** 2 * deviation**2 + t**2
    data = MEAN + (1 - t) * deviation**2 / variance * (x - (1 - t) * MEAN)  # expected x_0, given x
    noise = t / variance * (x - (1 - t) * MEAN)
    return noise - data


def error(solver: str, steps: int, rescale_t: float = 1.0) -> float:
    options: dict[str, Any] = {"steps": steps, "rescale_t": rescale_t, "solver": solver}
    found = FlowEulerSampler(0.0).sample(gaussian, NOISE, torch.zeros(4, 1), **options).x
    return float((found - (MEAN + DEVIATION * NOISE)).abs().max())


@pytest.mark.parametrize("rescale_t", [1.0, 3.0])
@pytest.mark.parametrize(("solver", "low", "high"), [("euler", 3.5, 4.5), ("adams", 14, 20), ("dpm", 7, 16)])
def test_the_error_falls_with_the_solvers_order(solver: str, low: float, high: float, rescale_t: float) -> None:
    """Four times as many steps: 4 for the first order, 16 for the second. dpm loses some where lambda is infinite."""
    assert low < error(solver, 160, rescale_t) / error(solver, 640, rescale_t) < high


def test_at_equal_passes_the_others_are_closer() -> None:
    for steps in (10, 25, 100):
        assert error("adams", steps) < 0.5 * error("euler", steps)
        assert error("dpm", steps) < 0.8 * error("euler", steps)


@pytest.mark.parametrize("solver", ["euler", "adams", "dpm"])
@pytest.mark.parametrize("sigma", [0.0, 1e-5, 0.1])
def test_one_point_is_reached_in_any_number_of_steps(solver: str, sigma: float) -> None:
    """Data of deviation 0: paths are straight, and sigma of the noise is left."""

    def model(x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        t = (t.double() / 1000)[:, None]
        return (1 - sigma) * (x - (1 - t) * MEAN) / (sigma + (1 - sigma) * t) - MEAN

    for steps in (1, 2, 7):
        found = FlowEulerSampler(sigma).sample(model, NOISE, torch.zeros(4, 1), steps=steps, solver=solver).x
        torch.testing.assert_close(found, MEAN + sigma * NOISE, atol=1e-6, rtol=0)


def test_a_solver_starts_anew_where_guidance_ends() -> None:
    """With a velocity that is constant but for guidance, second order is exact on both sides of the jump."""

    def model(x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        return cond.double()

    sampler, cond = FlowEulerGuidanceIntervalSampler(0.0), torch.ones(4, 1)
    options: dict[str, Any] = {"steps": 8, "cfg_strength": 2.0, "cfg_interval": (0.45, 1.0)}
    euler, adams = (sampler.sample(model, NOISE, cond, -cond, solver=s, **options).x for s in ("euler", "adams"))
    torch.testing.assert_close(adams, euler, atol=1e-12, rtol=0)
    guided = sum(k / 8 >= 0.45 for k in range(1, 9))  # steps whose time is in the interval; there v = 3 + 2
    torch.testing.assert_close(euler, NOISE - (5 * guided + (8 - guided)) / 8, atol=1e-6, rtol=0)


def test_settings_keep_a_solver_and_refuse_others() -> None:
    settings = SamplerSettings(solver="dpm")
    assert SamplerSettings.from_json(settings.to_json(), "here") == settings
    assert "solver" not in SamplerSettings().to_json()["params"]
    with pytest.raises(FormatError, match="euler, adams, dpm"):
        SamplerSettings.from_json({"name": settings.name, "params": {"solver": "heun"}}, "here")
