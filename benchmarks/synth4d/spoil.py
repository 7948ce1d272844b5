"""Spoilt input films, as real ones are: for a while something hides a part of the object, for a while there is blur.

The truth stays whole. The first frame is never spoilt. All numbers come from the clip's id, so a clip is always spoilt
the same way.
"""

from __future__ import annotations

import hashlib

import numpy as np
from jaxtyping import Bool, Float64, UInt8

HALF_SIDE = (0.15, 0.3)  # of the ellipse that hides, in sizes of the object's box
CENTRE = (0.25, 0.75)  # in its box
DRIFT = 0.02  # at most, a frame
NEIGHBOURS = 0.3  # share of either neighbour in time in a blurred frame


def spoilt(
    frames: UInt8[np.ndarray, "T S S 4"], clip: str, hidden: float, blurred: float
) -> UInt8[np.ndarray, "T S S 4"]:
    """Straight RGBA of which `blurred` and then `hidden` of the frames, each share in one run, are spoilt."""
    seed = int.from_bytes(hashlib.sha256(f"spoilt/{clip}".encode()).digest()[:8], "little")
    u = np.random.Generator(np.random.PCG64(seed)).random(8)
    x = blur(frames, run(u[0], blurred, len(frames)))
    inside = ellipse(frames[..., 3] > 0, u[2:]) & run(u[1], hidden, len(frames))[:, None, None]
    return np.where(inside[..., None], np.uint8(0), x)


def run(u: float, share: float, count: int) -> Bool[np.ndarray, " T"]:
    """`share` of the frames one after the other, none of them the first; `u` in [0, 1) says from where on."""
    length = min(round(share * count), count - 1)
    start = 1 + int(u * (count - length))
    return (np.arange(count) >= start) & (np.arange(count) < start + length)


def blur(frames: UInt8[np.ndarray, "T S S 4"], on: Bool[np.ndarray, " T"]) -> UInt8[np.ndarray, "T S S 4"]:
    """Those frames mixed with their neighbours in time, premultiplied; the last frame is its own neighbour."""
    x = frames.astype(np.float64)
    x[..., :3] *= x[..., 3:] / 255
    before, after = np.concatenate([x[:1], x[:-1]]), np.concatenate([x[1:], x[-1:]])
    mixed = (1 - 2 * NEIGHBOURS) * x + NEIGHBOURS * (before + after)
    mixed[..., :3] /= np.maximum(mixed[..., 3:], 1e-9) / 255
    return np.where(on[:, None, None, None], np.floor(mixed + 0.5).clip(0, 255).astype(np.uint8), frames)


def ellipse(visible: Bool[np.ndarray, "T S S"], u: Float64[np.ndarray, "6"]) -> Bool[np.ndarray, "T S S"]:
    """A drifting ellipse somewhere in the box of what is ever visible."""
    t = np.arange(len(visible)) - (len(visible) - 1) / 2
    reach = []
    for axis in range(2):  # down, then right
        seen = np.flatnonzero(visible.any((0, 2 - axis)))
        low, side = seen[0], seen[-1] + 1 - seen[0]
        middle = _between(u[axis], CENTRE) + _between(u[4 + axis], (-DRIFT, DRIFT)) * t  # [T], in the box
        half = _between(u[2 + axis], HALF_SIDE) * side
        reach.append((np.arange(visible.shape[1]) + 0.5 - low - middle[:, None] * side) / half)  # [T,S], 1 at the edge
    return np.square(reach[0])[:, :, None] + np.square(reach[1])[:, None, :] <= 1


def _between(u: float, ends: tuple[float, float]) -> float:
    return ends[0] + (ends[1] - ends[0]) * float(u)
