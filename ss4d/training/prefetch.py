"""Making the next step's inputs while the GPU works on this one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import torch

Made = TypeVar("Made")


class Prefetch(Generic[Made]):
    """Calls `make(step)` a step ahead, on CUDA in a stream of its own.

    Making inputs needs sizes that only the device knows. On a stream of its own the host waits for those few kernels
    and not for the step in flight, which stays queued behind it.
    """

    def __init__(self, make: Callable[[int], Made], device: torch.device) -> None:
        self.make = make
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.used: torch.cuda.Event | None = None  # all that was queued when inputs were last handed out

    def __call__(self, step: int) -> Made:
        """The inputs of `step`. Those of two calls before must not be in use any more."""
        if self.stream is None:
            return self.make(step)
        main = torch.cuda.current_stream(self.stream.device)
        if self.used is not None:  # memory of older inputs is about to be filled again
            self.stream.wait_event(self.used)
        with torch.cuda.stream(self.stream):
            made = self.make(step)
        self.used = main.record_event()
        main.wait_stream(self.stream)
        return made
