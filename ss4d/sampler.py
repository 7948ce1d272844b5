"""Flow samplers: Euler steps from noise (t = 1) to data (t = 0), for dense and for sparse tensors.

Convention: x_t = (1 - t) x_0 + (sigma + (1 - sigma) t) noise, and a network predicts v = (1 - sigma) noise - x_0.
A step is x <- x - (t_i - t_{i+1}) v, or another of `solvers.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Generic, Protocol, Self, TypeVar, cast

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from bench4d.errors import FormatError

from .solvers import make_solver


class HasFeatures(Protocol):
    """What a sampler needs to know about a sparse tensor."""

    slots: int

    @property
    def feats(self) -> Tensor: ...

    def replace(self, feats: Tensor, /) -> Self: ...


State = TypeVar("State", bound=Tensor | HasFeatures)
Velocity = Callable[[State, float], State]  # of a state at a time from 1 to 0
# Called as model(x, t, cond, **model_args): t [F] is the time times 1000, and the result is a velocity like x.
Model = Callable[..., State]
# Of the F slots, [F, ...], or what a `Prepared` network made of it.
Condition = Tensor | Sequence[Any]


class Prepared(Protocol[State]):
    """A network that works out once a clip what it needs of a condition, and shares work between conditions."""

    def velocities(self, x: State, t: Tensor, conds: Sequence[Any], **model_args: Any) -> list[State]:
        """Of one time t, [1], for all slots."""
        ...


@dataclass
class Samples(Generic[State]):
    """What a sampler made.

    Attributes:
        x: the state at t = 0.
        x_t: the states after each step, if they were asked for.
        x_0: the data that each step's velocity points to, likewise.
    """

    x: State
    x_t: list[State] = field(default_factory=list)
    x_0: list[State] = field(default_factory=list)


@dataclass(frozen=True)
class FlowEulerSampler:
    """Follows the conditional velocity alone.

    Attributes:
        sigma_min: the noise that is left at t = 0.
    """

    sigma_min: float = 1e-5

    def sample(
        self,
        model: Model[State],
        noise: State,
        cond: Condition,
        *,
        steps: int = 50,
        rescale_t: float = 1.0,
        solver: str = "euler",
        trajectory: bool = False,
        progress: str = "",
        **model_args: Any,
    ) -> Samples[State]:
        """Integrate from `noise`.

        Args:
            model: the network, called as model(x, t [F], cond, **model_args).
            noise: the state at t = 1: a dense tensor with F slots in front, or a sparse one.
            cond: conditions of the F slots; a single one is repeated. Or a prepared one, see `Prepared`.
            steps: how many; each evaluates one velocity.
            rescale_t: above 1, more of the steps are taken near the noise.
            solver: the rule of a step, see `solvers.py`.
            trajectory: keep the states and the estimates of x_0 of all steps.
            progress: title of a progress bar; none by default.
            model_args: passed on to the model.
        """

        def velocity(x: State, t: float) -> State:
            return _velocities(model, x, t, [cond], model_args)[0]

        run = Run(times(steps, rescale_t), self.sigma_min, solver, trajectory, progress)
        return _integrate(velocity, noise, run)


@dataclass(frozen=True)
class FlowEulerCfgSampler:
    """Classifier-free guidance at all times: v = (1 + s) v_cond - s v_uncond."""

    sigma_min: float = 1e-5

    def sample(
        self,
        model: Model[State],
        noise: State,
        cond: Condition,
        neg_cond: Condition,
        *,
        cfg_strength: float = 3.0,
        **options: Any,
    ) -> Samples[State]:
        """Like FlowEulerSampler.sample, with the conditions of the second pass and the strength s of guidance."""
        guided = FlowEulerGuidanceIntervalSampler(self.sigma_min)
        interval = (0.0, 1.0)  # times never leave it
        return guided.sample(model, noise, cond, neg_cond, cfg_strength=cfg_strength, cfg_interval=interval, **options)


@dataclass(frozen=True)
class FlowEulerGuidanceIntervalSampler:
    """Classifier-free guidance while the rescaled time lies in an interval, ends included; else v_cond alone."""

    sigma_min: float = 1e-5

    def sample(
        self,
        model: Model[State],
        noise: State,
        cond: Condition,
        neg_cond: Condition,
        *,
        steps: int = 50,
        rescale_t: float = 1.0,
        cfg_strength: float = 3.0,
        cfg_interval: Sequence[float] = (0.0, 1.0),
        solver: str = "euler",
        trajectory: bool = False,
        progress: str = "",
        **model_args: Any,
    ) -> Samples[State]:
        """Like FlowEulerCfgSampler.sample, with the interval of times that are guided."""
        if len(cfg_interval) != 2:
            raise FormatError("cfg_interval", "two times", f"{list(cfg_interval)}")
        low, high = cfg_interval

        def velocity(x: State, t: float) -> State:
            if not (cfg_strength and low <= t <= high):
                return _velocities(model, x, t, [cond], model_args)[0]
            v_cond, v_uncond = _velocities(model, x, t, [cond, neg_cond], model_args)
            return _like(x, (1 + cfg_strength) * _values(v_cond) - cfg_strength * _values(v_uncond))

        run = Run(times(steps, rescale_t), self.sigma_min, solver, trajectory, progress)
        return _integrate(velocity, noise, run, lambda t: low <= t <= high)


@dataclass(frozen=True)
class Run:
    """The times of a run and what is kept of it; see FlowEulerSampler.sample."""

    times: list[float]
    sigma: float
    solver: str
    trajectory: bool
    progress: str


def times(steps: int, rescale_t: float) -> list[float]:
    """The steps + 1 times of a run, from 1 to 0.

    >>> times(2, 3.0)
    [1.0, 0.75, 0.0]
    """
    if steps < 1:
        raise FormatError("steps", "at least 1", f"{steps}")
    t = np.linspace(1, 0, steps + 1)
    return (rescale_t * t / (1 + (rescale_t - 1) * t)).tolist()


@torch.no_grad()
def _integrate(
    velocity: Velocity[State], noise: State, run: Run, regime: Callable[[float], Any] = lambda t: None
) -> Samples[State]:
    """`regime` names the piece of the velocity field that holds at a time: between two of them it jumps."""
    result, solver, sigma = Samples(noise), make_solver(run.solver, run.sigma), run.sigma
    pairs = list(pairwise(run.times))
    for k, (t, t_next) in enumerate(tqdm(pairs, desc=run.progress, disable=not run.progress)):
        if k and regime(t) != regime(pairs[k - 1][0]):
            solver.forget()
        x, v = _values(result.x), _values(velocity(result.x, t))
        if run.trajectory:
            result.x_0.append(_like(noise, (1 - sigma) * x - (sigma + (1 - sigma) * t) * v))
        result.x = _like(noise, solver.step(x, v, t, t_next))
        if run.trajectory:
            result.x_t.append(result.x)
    return result


def _velocities(
    model: Model[State], x: State, t: float, conds: Sequence[Condition], model_args: dict[str, Any]
) -> list[State]:
    """One velocity a condition. All slots have one time: a network that prepared its conditions is given it once."""
    slots = len(x) if isinstance(x, Tensor) else x.slots
    tensors = [cond for cond in conds if isinstance(cond, Tensor)]  # all of them, or none
    count = slots if tensors else 1
    ts = torch.full((count,), 1000 * t, dtype=torch.float32, device=_values(x).device)
    if not tensors:
        return cast(Prepared[State], model).velocities(x, ts, conds, **model_args)
    conds = [cond.expand(slots, *cond.shape[1:]) if len(cond) == 1 else cond for cond in tensors]
    return [model(x, ts, cond, **model_args) for cond in conds]


def _values(x: Tensor | HasFeatures) -> Tensor:
    return x if isinstance(x, Tensor) else x.feats


def _like(x: State, values: Tensor) -> State:
    return cast(State, values if isinstance(x, Tensor) else x.replace(values))
