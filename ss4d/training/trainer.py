"""The training loop, the same for all networks and any number of processes.

Between two lines of the log the host never waits for the device: figures are summed there, gradients are clipped there,
and the inputs of the next step are made on a stream of their own.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float32
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.flop_counter import FlopCounterMode

from bench4d.errors import FormatError
from bench4d.files import write_json

from ..data.store import Store
from . import state
from .optim import GradientClip, Optimiser, ema_decay, learning_rate, update_ema
from .order import mix, rows
from .prefetch import Prefetch
from .runlog import Meter, RunLog, matmul_rate, peak_memory
from .task import Backend, Draws, Task, compile_blocks, moved

VIEWS = 3  # purpose of the random numbers that choose views, see order.mix


@dataclass(frozen=True)
class World:
    """This process among those that train together; torch.distributed is initialised if there are several."""

    rank: int = 0
    size: int = 1


@dataclass(frozen=True)
class Options:
    """How one call of `train` runs; the weights that come out do not depend on it beyond rounding.

    Attributes:
        accumulate: parts of a process's batch that are computed one after the other, to save memory.
        minutes: stop after about so long, with a checkpoint.
        until: stop when so many steps are done, with a checkpoint; what is drawn and the rate depend on train.steps.
        resume: go on from the last checkpoint of the run instead of starting one.
        tensorboard: write its files too.
        init: sha256 of the files of weights that networks have begun with; part of what the run is.
    """

    accumulate: int = 1
    minutes: float | None = None
    until: int | None = None
    resume: bool = False
    tensorboard: bool = False
    init: Mapping[str, str] = field(default_factory=dict)


class Forward(nn.Module):
    """The loss as a module, which is what DistributedDataParallel wraps."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.networks, self.task = task.networks, task

    def forward(self, inputs: Any, step: int, draws: Draws) -> dict[str, Float32[Tensor, ""]]:
        return self.task.loss(self.networks, inputs, step, draws)


class Training:
    """Networks, their moving average, the optimiser, and how one step changes them."""

    def __init__(self, task: Task, store: Store, backend: Backend, world: World, accumulate: int) -> None:
        self.task, self.store, self.backend, self.world, self.accumulate = task, store, backend, world, accumulate
        self.settings = task.section.train
        for clips in (phase.clips for phase in self.settings.phases):
            if clips % (world.size * accumulate):
                found = f"{world.size} processes x {accumulate} parts"
                raise FormatError("train.clips", f"a multiple of the parts of a batch, {found}", f"{clips}")
        task.check(store)
        self.networks = task.networks
        self.average = copy.deepcopy(self.networks).requires_grad_(False)
        if self.settings.freeze and not self.settings.freeze_after:
            self.networks[self.settings.freeze].requires_grad_(False)  # the optimiser never hears of it
        if backend.compile:
            compile_blocks(self.networks)
        self.forward = self._forward()
        self.frozen = False
        self.parameters = list(self.networks.parameters())
        s = self.settings
        self.optimiser = Optimiser(self.networks, s, fused=backend.device.type == "cuda")
        self.clip = GradientClip(s.clip_norm, s.clip_percentile, s.clip_window, backend.device)

    def _forward(self) -> nn.Module:
        forward = Forward(self.task)
        return DistributedDataParallel(forward, broadcast_buffers=False) if self.world.size > 1 else forward

    def inputs(self, step: int) -> list[tuple[Any, list[int]]]:
        """This process's parts of a step's batch, with the seeds of what is drawn for their rows."""
        s, parts, phase = self.settings, self.world.size * self.accumulate, self.settings.phase(step)
        clips_of, frames = self.store.lengths, phase.frames
        batch = rows(s.seed, step - phase.begin, phase.clips, clips_of, frames, phase.before)
        each, made = phase.clips // parts, []
        for part in range(self.world.rank * self.accumulate, (self.world.rank + 1) * self.accumulate):
            own = batch[part * each : (part + 1) * each]
            clips, starts = torch.tensor(own.clips), torch.tensor(own.starts)
            generators = [torch.Generator().manual_seed(mix(seed, VIEWS)) for seed in own.seeds]
            cut = self.store.batch(clips, starts, frames, generators)
            made.append((self.task.prepare(moved(cut, self.backend.device)), own.seeds))
        return made

    def freeze(self, step: int) -> None:
        """From its step on, train.freeze's network is its moving average and has no gradients."""
        if self.frozen or not self.settings.freeze or step < self.settings.freeze_after:
            return
        network = self.networks[self.settings.freeze]
        network.load_state_dict(self.average[self.settings.freeze].state_dict())  # after a resume it is already
        network.requires_grad_(False)
        self.forward, self.frozen = self._forward(), True  # the wrapper has to know what has gradients

    def gradients(self, number: int, inputs: list[tuple[Any, list[int]]]) -> dict[str, Float32[Tensor, ""]]:
        """Leave the gradients of a step in the parameters; the terms of the loss."""
        sums: dict[str, Tensor] = {}
        for k, (given, seeds) in enumerate(inputs):
            last = k + 1 == len(inputs)
            ddp = self.forward if isinstance(self.forward, DistributedDataParallel) else None
            with nullcontext() if last or ddp is None else ddp.no_sync():
                terms = self.forward(given, number, Draws(seeds, self.backend.device))
                total = torch.stack([self.task.weights[name] * term for name, term in terms.items()]).sum()
                (total / len(inputs)).backward()
            for name, value in {"loss": total, **terms}.items():
                sums[name] = sums.get(name, 0) + value.detach() / len(inputs)
        return sums

    def flops(self, number: int, inputs: list[tuple[Any, list[int]]]) -> int:
        """Of one step's products in this process. Changes nothing: counted steps round differently."""
        with torch.compiler.set_stance("force_eager"), FlopCounterMode(display=False) as counter:
            self.gradients(number, inputs)
        self.optimiser.zero_grad()
        return counter.get_total_flops()

    def step(self, number: int, inputs: list[tuple[Any, list[int]]]) -> dict[str, Float32[Tensor, ""]]:
        """One update of the weights; the figures of the log, which stay on the device."""
        sums = self.gradients(number, inputs)
        length, allowed = self.clip(self.parameters)
        self.optimiser.step(learning_rate(number, self.settings))
        update_ema(self.average, self.networks, ema_decay(number, self.settings.ema))
        return sums | {"gradient": length, "gradient_limit": allowed}


def train(
    task: Task,
    store: Store,
    run: Path,
    backend: Backend,
    options: Options = Options(),
    validation: Store | None = None,
    world: World = World(),
) -> nn.ModuleDict:
    """Train until train.steps or until the time is over; the moving average of the weights.

    Args:
        run: folder for checkpoints, log and pictures. Starting a run where one is already is an error.
        validation: clips that are not trained on; None leaves validation out.
    """
    training = Training(task, store, backend, world, options.accumulate)
    settings = training.settings
    identity = task.section.to_json() | {"data": {"config": store.config.sha256, "clips": len(store)}}
    identity |= {"init": dict(options.init)} if options.init else {}
    saved = (training.networks, training.average, training.optimiser, training.clip)
    first = 0
    if options.resume:
        first = state.load(state.latest(run), *saved, identity)
    elif state.checkpoints(run):
        raise FormatError(run, "a folder without a run", "checkpoints", "Add --resume, or choose another folder.")
    log = RunLog(run, options.tensorboard, silent=world.rank > 0)
    if world.rank == 0:
        write_json(run / "config.json", identity)
    began = time.perf_counter()
    prefetch = Prefetch(training.inputs, backend.device)
    inputs = prefetch(first) if first < settings.steps else []
    training.freeze(first)
    throughput = Throughput(training, training.flops(first, inputs))
    meter = Meter(backend.device)
    end = min(settings.steps, options.until or settings.steps)
    borders = {phase.until for phase in settings.phases}
    for step in range(first, end):
        training.freeze(step)
        meter.add(training.step(step, inputs))
        done, over = step + 1, False
        if done < end:
            inputs = prefetch(done)
        saving, validating = (done % n == 0 for n in (settings.save_every, settings.validate_every))
        if done % settings.log_every == 0 or saving or validating or done == end or done in borders:
            means, seconds = meter.read()
            means |= {"lr": learning_rate(step, settings), **throughput.figures(step, seconds)}
            log.write("train", done, _mean_of_all(means, world, backend.device))
            over = _agree(options.minutes is not None and time.perf_counter() - began > 60 * options.minutes, world)
        last = over or done == end
        if world.rank == 0 and validation is not None and (validating or last):
            clips = range(min(settings.validate_clips, len(validation)))
            log.write("validation", done, task.validate(training.average, validation, clips))
            log.picture(done, task.picture(training.average, validation, clips[:4]))
        if world.rank == 0 and (saving or last):
            state.save(run, done, *saved, identity, settings.keep)
        if last:
            break
        if done in borders:
            throughput.flops = training.flops(done, inputs)
        if saving or validating or done in borders:
            meter.restart()
    return training.average


class Throughput:
    """Clips and frames a second, and multiplications beside what the GPU can do at best."""

    def __init__(self, training: Training, flops: int) -> None:
        self.flops = flops  # of a step
        self.settings, self.device, self.world = training.settings, training.backend.device, training.world
        self.best = matmul_rate(self.device) if self.device.type == "cuda" else None

    def figures(self, step: int, seconds: float) -> dict[str, float]:
        tera, phase = self.flops / seconds / 1e12, self.settings.phase(step)
        clips = phase.clips / seconds
        found = {"ms": 1000 * seconds, "clips_per_s": clips, "frames_per_s": clips * phase.frames}
        found |= {"tflops_per_device": tera, "memory_gib": peak_memory(self.device)}
        return found | ({"share_of_matmul": tera / self.best} if self.best else {})


def _mean_of_all(figures: dict[str, float], world: World, device: torch.device) -> dict[str, float]:
    if world.size == 1:
        return figures
    values = torch.tensor(list(figures.values()), dtype=torch.float64, device=device)
    dist.all_reduce(values)
    return dict(zip(figures, (values / world.size).tolist(), strict=True))


def _agree(yes: bool, world: World) -> bool:
    """Whether the first process says yes: clocks differ, and all have to stop at the same step."""
    if world.size == 1:
        return yes
    answer = [yes]
    dist.broadcast_object_list(answer, src=0)
    return answer[0]
