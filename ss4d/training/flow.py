"""What the trainings of the two flows share: times, noise, conditions, sampling.

Convention, as in `ss4d.sampler`: x_t = (1 - t) x_0 + (sigma + (1 - sigma) t) noise, and the network is to predict
(1 - sigma) noise - x_0. Each clip has one time and one draw of whether it goes without its condition: stage 2 averages
the embedded times of pairs of frames, and a clip has one noise level when it is sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float32, UInt8
from torch import Tensor, nn

from bench4d.errors import FormatError

from ..checkpoint import SamplerSettings
from ..data.augment import on_black, spoilt
from ..data.config import AugmentConfig
from ..data.store import Store
from ..image_encoder import DinoV2, ImageEncoder, SmallImageEncoder
from .order import mix
from .task import Backend, Draws

SAMPLE = 4  # purpose of the random numbers of validation, see order.mix
SAMPLER = SamplerSettings(cfg_strength=3.0)


@dataclass(frozen=True)
class FlowLoss:
    """How a flow is trained and, in validation, sampled.

    Attributes:
        unconditional: probability that a clip's condition is zero, so that guidance has its second velocity.
        spoil: whether pictures are spoilt (masked, blurred) as the data set's configuration says.
        time_mean, time_std: a clip's time is sigmoid(time_mean + time_std * normal).
        sampler: of validation and of the checkpoint that is made; its sigma_min is the sigma above.
    """

    unconditional: float = 0.1
    spoil: bool = True
    time_mean: float = 1.0
    time_std: float = 1.0
    sampler: SamplerSettings = SAMPLER

    def __post_init__(self) -> None:
        if not (0 <= self.unconditional < 1 and self.time_std > 0):
            raise FormatError("loss", "0 <= unconditional < 1 and time_std > 0", f"{self}")


class Normalisation(nn.Module):
    """Mean and deviation of each channel of the data, kept with a run's weights."""

    mean: Float32[Tensor, " L"]
    std: Float32[Tensor, " L"]

    def __init__(self, mean: Float32[Tensor, " L"], std: Float32[Tensor, " L"]) -> None:
        super().__init__()
        if not bool((std > 0).all()):
            raise FormatError("latents", "numbers that vary in every channel", f"deviations {std.tolist()}", "Trained?")
        self.register_buffer("mean", mean.float())
        self.register_buffer("std", std.float())

    def to_unit(self, x: Float32[Tensor, "N L *xyz"]) -> Float32[Tensor, "N L *xyz"]:
        return (x - self._along(self.mean, x)) / self._along(self.std, x)

    def to_data(self, x: Float32[Tensor, "N L *xyz"]) -> Float32[Tensor, "N L *xyz"]:
        return x * self._along(self.std, x) + self._along(self.mean, x)

    def _along(self, values: Tensor, x: Tensor) -> Tensor:
        return values.view(-1, *[1] * (x.ndim - 2))


@dataclass(frozen=True)
class Drawn:
    """Of the B clips of a batch.

    Attributes:
        t: times in (0, 1).
        keep: which clips have their condition.
    """

    t: Float32[Tensor, " B"]
    keep: Bool[Tensor, " B"]


def draw(draws: Draws, options: FlowLoss) -> Drawn:
    """One time and one choice a clip; two draws of each row's numbers."""
    normal = draws.normal([(1,)] * len(draws.generators))
    t = torch.sigmoid(options.time_mean + options.time_std * normal)
    return Drawn(t, draws.uniform(1) >= options.unconditional)


def noisy(x0: Tensor, noise: Tensor, t: Tensor, sigma: float) -> Tensor:
    """The state at time t; `t` broadcasts."""
    return (1 - t) * x0 + (sigma + (1 - sigma) * t) * noise


def target(x0: Tensor, noise: Tensor, sigma: float) -> Tensor:
    """The velocity that the network is to predict."""
    return (1 - sigma) * noise - x0


def per_frame(values: Tensor, n_frames: int) -> Tensor:
    """[B, ...] -> [B T, ...]: each clip's value for all of its frames. No round trip."""
    return values[:, None].expand(len(values), n_frames, *values.shape[1:]).flatten(0, 1)


class Frozen(NamedTuple):
    """An image encoder that is not trained, and the sha256 of its file of weights."""

    network: ImageEncoder
    sha256: str

    @staticmethod
    def dino(source: str, device: torch.device) -> Frozen:
        """DINOv2, see `DinoV2.load`."""
        encoder, report = DinoV2.load(source)
        return Frozen(encoder.to(device), report.sha256)


class Condition:
    """From condition pictures to the tokens that the flows see, as `ss4d.image_encoder.encode` makes them."""

    def __init__(self, encoder: ImageEncoder, augment: AugmentConfig | None, device: torch.device) -> None:
        self.side, self.width = encoder.image_size, cast(DinoV2 | SmallImageEncoder, encoder).config.width
        self.augment = augment
        self.mean, self.std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (encoder.mean, encoder.std))

    def check(self, store: Store, channels: int) -> None:
        """Raise FormatError unless the data set's pictures fit the encoder, and its tokens a flow's `channels`."""
        pictures, side = store.tensors.get("condition"), self.side
        if pictures is None or not pictures.shape[1] or tuple(pictures.shape[2:4]) != (side, side):
            found = "none" if pictures is None else f"{list(pictures.shape)}"
            raise FormatError("data set", f"condition pictures of {side} x {side}, as the image encoder's", found)
        if channels != self.width:
            raise FormatError("cond_channels", f"{self.width}, the image encoder's width", f"{channels}")

    def spoilt(self, condition: UInt8[Tensor, "F S S 4"], n_frames: int, draws: Draws) -> Float32[Tensor, "F 3 S S"]:
        if self.augment is None:
            return on_black(condition)
        return spoilt(condition, n_frames, self.augment, draws.generators)

    def tokens(self, encoder: nn.Module, pictures: Float32[Tensor, "F 3 S S"]) -> Float32[Tensor, "F M K"]:
        """Of pictures in [0, 1]."""
        features = encoder((pictures - self.mean) / self.std).float()
        return F.layer_norm(features, features.shape[-1:])


def dropped(tokens: Float32[Tensor, "F M K"], keep: Bool[Tensor, " B"]) -> Float32[Tensor, "F M K"]:
    """Zero tokens for the clips that go without."""
    return tokens * per_frame(keep, len(tokens) // len(keep))[:, None, None]


def validation_noise(seed: int, clip: int, shape: Sequence[int], device: torch.device) -> Float32[Tensor, "..."]:
    """The same for a clip whatever the device, the step and the other clips."""
    generator = torch.Generator().manual_seed(mix(seed, SAMPLE, clip))
    return torch.randn(tuple(shape), generator=generator).to(device)


def validation_draws(seed: int, clip: int, backend: Backend) -> Draws:
    """What a clip's loss in validation draws."""
    return Draws([mix(seed, SAMPLE, clip, 1)], backend.device)
