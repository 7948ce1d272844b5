"""How a sampler gets from one time to the next, given one velocity a step.

Euler is what SS4D and TRELLIS use. The others remember what the step before saw and so come closer with as few passes:

    adams  second-order Adams-Bashforth for the velocity, with steps of any length
    dpm    DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095, algorithm 2): the line through the last two estimates of
           the data, in half the logarithm of signal over noise, carried through the exact solution of the linear part

All agree with Euler on straight paths. Each starts anew where the velocity jumps: where guidance begins or ends.
"""

from __future__ import annotations

import math
from typing import Literal, Protocol, get_args

from torch import Tensor

from bench4d.errors import FormatError

SolverName = Literal["euler", "adams", "dpm"]


class Solver(Protocol):
    """The rule of a run. Times fall from 1 to 0."""

    def step(self, x: Tensor, v: Tensor, t: float, t_next: float) -> Tensor:
        """The state at t_next, from state and velocity at t."""

    def forget(self) -> None:
        """The next velocity does not continue the ones before."""


class Euler:
    def step(self, x: Tensor, v: Tensor, t: float, t_next: float) -> Tensor:
        return x - (t - t_next) * v

    def forget(self) -> None:
        pass


class Adams:
    def __init__(self) -> None:
        self._last: tuple[Tensor, float] | None = None  # velocity, and length of the step that it began

    def step(self, x: Tensor, v: Tensor, t: float, t_next: float) -> Tensor:
        length, mean = t - t_next, v
        if self._last is not None:
            before, length_before = self._last
            mean = v + length / (2 * length_before) * (v - before)
        self._last = v, length
        return x - length * mean

    def forget(self) -> None:
        self._last = None


class Dpm:
    def __init__(self, sigma: float) -> None:
        self.sigma = sigma  # of sampler.py: the noise that is left at t = 0
        self._last: tuple[Tensor, float] | None = None  # estimate of the data, and its lambda

    def step(self, x: Tensor, v: Tensor, t: float, t_next: float) -> Tensor:
        noise, noise_next = (self.sigma + (1 - self.sigma) * time for time in (t, t_next))
        data = (1 - self.sigma) * x - noise * v
        here, there = _lambda(1 - t, noise), _lambda(1 - t_next, noise_next)
        aim = data
        # The first step begins where lambda is minus infinity, and the last one ends where it is infinite.
        if self._last is not None and math.isfinite(self._last[1]) and t_next > 0:
            before, earlier = self._last
            aim = data + (there - here) / (2 * (here - earlier)) * (data - before)
        self._last = data, here
        ratio = noise_next / noise
        return ratio * x + ((1 - t_next) - ratio * (1 - t)) * aim

    def forget(self) -> None:
        self._last = None


def _lambda(signal: float, noise: float) -> float:
    return -math.inf if signal <= 0 else math.inf if noise <= 0 else math.log(signal / noise)


def make_solver(name: str, sigma: float) -> Solver:
    """A new one, for one run."""
    if name not in get_args(SolverName):
        raise FormatError("solver", f"one of {', '.join(get_args(SolverName))}", repr(name))
    return Euler() if name == "euler" else Adams() if name == "adams" else Dpm(sigma)
