"""Optimiser, learning rate, moving average of the weights, clipping of gradients: none waits for the device."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from jaxtyping import Float32, Int64
from torch import Tensor, nn

from .config import TrainSettings

MOMENTS = {torch.optim.AdamW: ("exp_avg", "exp_avg_sq", "step"), torch.optim.Muon: ("momentum_buffer",)}


class Optimiser:
    """AdamW; or, with `train.optimiser` "muon", Muon for the matrices of blocks and AdamW for all other parameters.

    Of the parameters that require gradients when it is made.

    Muon (K. Jordan, 2024) makes the singular values of a matrix's averaged gradient about equal. Its steps are scaled
    to the size of AdamW's (J. Liu and others, arXiv 2502.16982, equation 4), so that one learning rate serves both.
    """

    def __init__(self, networks: nn.Module, settings: TrainSettings, fused: bool) -> None:
        self.names = {parameter: name for name, parameter in networks.named_parameters() if parameter.requires_grad}
        matrices = [parameter for parameter, name in self.names.items() if parameter.ndim == 2 and "blocks." in name]
        matrices = matrices if settings.optimiser == "muon" else []
        ours = set(matrices)
        others = [parameter for parameter in self.names if parameter not in ours]
        decay, self.fused = settings.weight_decay, fused
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(others, settings.lr, settings.betas, weight_decay=decay, fused=fused)
        ]
        if matrices:
            muon = torch.optim.Muon(matrices, settings.lr, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
            self.parts.append(muon)

    def step(self, lr: float) -> None:
        """Change the weights by their gradients and forget these."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = lr
            part.step()
            part.zero_grad(set_to_none=True)

    def zero_grad(self) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def _moments(self) -> Iterator[tuple[str, torch.optim.Optimizer, nn.Parameter, str]]:
        for part in self.parts:
            for parameter in (parameter for group in part.param_groups for parameter in group["params"]):
                for key in MOMENTS[type(part)]:
                    yield f"{key}.{self.names[parameter]}", part, parameter, key

    def keys(self) -> set[str]:
        """Of `tensors`."""
        return {name for name, *_ in self._moments()}

    def tensors(self) -> dict[str, Tensor]:
        """What it remembers, by moment and name of the parameter."""
        return {name: part.state[parameter][key] for name, part, parameter, key in self._moments()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `tensors` gave; others may be among them."""
        for name, part, parameter, key in self._moments():
            on = "cpu" if key == "step" and not self.fused else parameter.device  # where AdamW counts steps
            part.state[parameter][key] = tensors[name].to(on)


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
        return {"clip.lengths": self.lengths, "clip.seen": seen}

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.lengths.copy_(state["clip.lengths"])
        self.seen = int(state["clip.seen"])
