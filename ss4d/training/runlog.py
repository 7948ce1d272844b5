"""What a run writes for people: RUN/log.jsonl, pictures, TensorBoard if asked for, and lines on stderr."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from bench4d.errors import FormatError
from bench4d.files import write_png


class RunLog:
    """Lines of figures. Only the first process of several writes."""

    def __init__(self, run: Path, tensorboard: bool = False, silent: bool = False) -> None:
        self.run, self.silent = run, silent
        self.board: Any = None
        if tensorboard and not silent:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ModuleNotFoundError as error:
                next_step = "pip install tensorboard, or leave the option out: log.jsonl has the same figures."
                raise FormatError("--tensorboard", "the package tensorboard", f"{error}", next_step) from None
            self.board = SummaryWriter(str(run / "tensorboard"))

    def write(self, kind: str, step: int, figures: Mapping[str, float]) -> None:
        if self.silent:
            return
        self.run.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"kind": kind, "step": step, **figures})
        with (self.run / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
        shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        sys.stderr.write(f"{kind} {step}: {shown}\n")
        for name, value in figures.items() if self.board else ():
            self.board.add_scalar(f"{kind}/{name}", value, step)

    def picture(self, step: int, image: UInt8[np.ndarray, "H W 3"]) -> None:
        if not self.silent:
            write_png(self.run / "pictures" / f"step-{step:08d}.png", image)


class Meter:
    """Sums of figures on the device, brought to the host once in a while, and how long their steps took."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.names: list[str] = []
        self.sum: Float32[Tensor, " figures"] | None = None
        self.steps = 0
        self.began = time.perf_counter()

    def add(self, figures: Mapping[str, Float32[Tensor, ""]]) -> None:
        values = torch.stack([value.detach().float() for value in figures.values()])
        self.names = list(figures)
        self.sum = values if self.sum is None else self.sum + values
        self.steps += 1

    def read(self) -> tuple[dict[str, float], float]:
        """Means since the last time, and seconds a step; waits for the device. Raises FormatError if not finite."""
        assert self.sum is not None  # the trainer reads after at least one step
        means = dict(zip(self.names, (self.sum / self.steps).tolist(), strict=True))
        seconds = (time.perf_counter() - self.began) / self.steps
        if bad := [name for name, value in means.items() if not np.isfinite(value)]:
            next_step = "Resume from the last checkpoint with a lower train.lr or another train.seed."
            raise FormatError("training", "finite losses and gradients", f"{', '.join(bad)} are not", next_step)
        self.restart()
        return means, seconds

    def restart(self) -> None:
        """Begin to measure again."""
        self.sum, self.steps, self.began = None, 0, time.perf_counter()


def peak_memory(device: torch.device) -> float:
    """GiB: of tensors on a GPU, of the whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return rss / (2**30 if sys.platform == "darwin" else 2**20)


def matmul_rate(device: torch.device, size: int = 8192, repeats: int = 20) -> float:
    """TFLOP/s of bfloat16 matrix products on this GPU: what a training can at best come near."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(repeats):
        a @ b
    end.record()
    end.synchronize()
    return 2 * size**3 * repeats / start.elapsed_time(end) / 1e9
