"""Learning rate, moving average of the weights, and clipping of gradients, none of which waits for the device."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float32, Int64
from torch import Tensor, nn

from .config import TrainSettings


def learning_rate(step: int, settings: TrainSettings) -> float:
    """Of step 0, 1, ...: linear up to `lr`, then constant or half a cosine down to lr_end * lr."""
    if step < settings.warmup:
        return settings.lr * (step + 1) / settings.warmup
    if settings.schedule == "constant":
        return settings.lr
    progress = (step - settings.warmup) / max(1, settings.steps - 1 - settings.warmup)
    height = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return settings.lr * (settings.lr_end + (1 - settings.lr_end) * height)


def ema_decay(step: int, decay: float) -> float:
    """Decay of the moving average after step 0, 1, ...: young averages forget their start faster."""
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def update_ema(average: nn.Module, network: nn.Module, decay: float) -> None:
    """average <- decay * average + (1 - decay) * network, parameter by parameter; buffers are copied."""
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
    for old, new in zip(average.buffers(), network.buffers(), strict=True):
        old.copy_(new)


class GradientClip:
    """Gradients are shortened to min(limit, a percentile of the lengths of the last `window` gradients).

    The percentile counts once `window` lengths are known.

    Attributes:
        lengths: of the last gradients before clipping; the oldest is overwritten.
        seen: how many there have been.
    """

    def __init__(self, limit: float, percentile: float, window: int, device: torch.device) -> None:
        self.limit, self.percentile = limit, percentile
        self.lengths: Float32[Tensor, " window"] = torch.zeros(window, device=device)
        self.seen = 0

    def __call__(self, parameters: Sequence[nn.Parameter]) -> tuple[Float32[Tensor, ""], Float32[Tensor, ""]]:
        """Shorten the gradients in place; their length before, and the longest that was allowed."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        length = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        self.lengths[self.seen % len(self.lengths)] = length
        self.seen += 1
        allowed = torch.full_like(length, self.limit) if self.seen < len(self.lengths) else self._allowed()
        torch._foreach_mul_(gradients, (allowed / (length + 1e-6)).clamp(max=1.0))
        return length, allowed

    def _allowed(self) -> Float32[Tensor, ""]:
        return torch.quantile(self.lengths, self.percentile / 100).clamp(max=self.limit)

    def state(self) -> dict[str, Tensor]:
        seen: Int64[Tensor, ""] = torch.tensor(self.seen)
        return {"lengths": self.lengths, "seen": seen}

    def load(self, state: dict[str, Tensor]) -> None:
        self.lengths.copy_(state["lengths"])
        self.seen = int(state["seen"])
