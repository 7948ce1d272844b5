"""Spoilt condition clips, so that a network learns to fill in what a real video does not show.

SS4D masks condition frames at random against occlusion and blur; how is not published, so this is our own choice. For
each clip of a batch, in this order, each with its probability:

- blur: from a random frame on, for up to half of the clip, each frame is mixed with its neighbours in time,
  (1 - 2 s) x_t + s (x_{t-1} + x_{t+1}) with s in [0.15, 0.33]; at the clip's ends the frame is its own neighbour;
- mask: from a random frame on, for up to the whole clip, a rectangle or an ellipse with half sides of 0.08 to 0.25 of
  the picture hides what is there; it drifts by up to 0.03 of the picture a frame;
- drop: single frames are missing: nothing but background;
- background: one random colour behind all frames, where matting failed; black otherwise, as in inference.

All on the device of the pictures, without round trips; the numbers come from the generator in a fixed number of draws.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float32, UInt8
from torch import Tensor

from bench4d.errors import FormatError

from .config import AugmentConfig

BLUR = (0.15, 0.33)
HALF_SIDE = (0.08, 0.25)
DRIFT = 0.03
DRAWS = 17  # numbers a clip


def on_black(condition: UInt8[Tensor, "F S S 4"]) -> Float32[Tensor, "F 3 S S"]:
    """Unspoilt pictures in [0, 1], as inference makes them."""
    return condition[..., :3].permute(0, 3, 1, 2).float() / 255


def spoilt(
    condition: UInt8[Tensor, "F S S 4"],
    n_frames: int,
    config: AugmentConfig,
    generator: torch.Generator | Sequence[torch.Generator],
) -> Float32[Tensor, "F 3 S S"]:
    """The pictures of F / n_frames clips, spoilt as above, in [0, 1].

    Args:
        condition: premultiplied, as in a `Batch`.
        generator: on any device. One for each clip makes what a clip gets independent of the others.
    """
    slots, side = condition.shape[:2]
    if slots % n_frames or condition.shape[-1] != 4:
        raise FormatError("condition", f"RGBA of clips of {n_frames} frames", f"{list(condition.shape)}")
    x = condition.view(-1, n_frames, side, side, 4).float() / 255  # [B,T,S,S,4]
    clips = len(x)
    u = _numbers(clips, DRAWS, generator).to(x.device)
    lost = _numbers(clips, n_frames, generator).to(x.device) < config.drop
    x = blurred(x, between(u[:, 1], *BLUR)[:, None] * run((u[:, 0] < config.blur), u[:, 2], u[:, 3] / 2, n_frames))
    hidden = run((u[:, 4] < config.mask), u[:, 5], u[:, 6], n_frames)
    keep = ~(region(u[:, 7:14], n_frames, side) & hidden[:, :, None, None]) & ~lost[:, :, None, None]
    x = x * keep[..., None]
    color = u[:, 14:17] * (_numbers(clips, 1, generator).to(x.device) < config.background)
    rgb = x[..., :3] + (1 - x[..., 3:]) * color[:, None, None, None]
    return rgb.flatten(0, 1).permute(0, 3, 1, 2).contiguous()


def _numbers(clips: int, count: int, generator: torch.Generator | Sequence[torch.Generator]) -> Float32[Tensor, "B K"]:
    """`count` numbers in [0, 1) a clip."""
    if isinstance(generator, torch.Generator):
        return torch.rand((clips, count), generator=generator, device=generator.device)
    if len(generator) != clips:
        raise FormatError("generator", f"one for each of {clips} clips", f"{len(generator)}")
    return torch.stack([torch.rand(count, generator=one, device=one.device) for one in generator])


def between(u: Tensor, low: float, high: float) -> Tensor:
    """From [0, 1) to [low, high)."""
    return low + (high - low) * u


def run(
    on: Bool[Tensor, " B"], start: Float32[Tensor, " B"], length: Float32[Tensor, " B"], n_frames: int
) -> Bool[Tensor, "B T"]:
    """Which frames a run covers: from floor(start T) on, 1 + floor(length T) of them; none where it is not on."""
    t = torch.arange(n_frames, device=on.device)
    first, count = (start * n_frames).floor()[:, None], 1 + (length * n_frames).floor()[:, None]
    return on[:, None] & (t >= first) & (t < first + count)


def blurred(x: Float32[Tensor, "B T S S 4"], share: Float32[Tensor, "B T"]) -> Float32[Tensor, "B T S S 4"]:
    """Each frame with `share` of each of its two neighbours in time."""
    before = torch.cat([x[:, :1], x[:, :-1]], dim=1)
    after = torch.cat([x[:, 1:], x[:, -1:]], dim=1)
    s = share[:, :, None, None, None]
    return (1 - 2 * s) * x + s * (before + after)


def region(u: Float32[Tensor, "B 7"], n_frames: int, side: int) -> Bool[Tensor, "B T S S"]:
    """A drifting rectangle or ellipse, from 7 numbers in [0, 1): kind, centre, half sides, drift."""
    t = torch.arange(n_frames, device=u.device) - (n_frames - 1) / 2
    at = (torch.arange(side, device=u.device) + 0.5) / side
    reach = []
    for axis in range(2):
        middle = between(u[:, 1 + axis], 0.2, 0.8)[:, None] + between(u[:, 5 + axis], -DRIFT, DRIFT)[:, None] * t
        half = between(u[:, 3 + axis], *HALF_SIDE)[:, None, None]
        reach.append((at - middle[..., None]) / half)  # [B,T,S], 1 at the edge
    y, x = reach[0][..., :, None].abs(), reach[1][..., None, :].abs()
    ellipse = (u[:, 0] < 0.5)[:, None, None, None]
    return torch.where(ellipse, x.square() + y.square() <= 1, torch.maximum(x, y) <= 1)
