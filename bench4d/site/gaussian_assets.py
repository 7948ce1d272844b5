"""Gaussian sequences for the viewer, fitted into a budget of bytes: first coarser numbers, then fewer splats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int64, UInt32

from ..asset import Gaussians
from .packing import Delta, Packed, pack, quantised, stretched

SH0 = 0.28209479177387814  # the constant spherical harmonic


@dataclass(frozen=True)
class Precision:
    """Levels of a position along an axis and of a scale's logarithm; steps of a rotation and of a colour, of 256."""

    position: int
    scale: int
    rotation: int
    color: int


FINE = Precision(2**16, 256, 1, 1)
LADDER = (FINE, Precision(2**13, 64, 4, 2), Precision(2**12, 32, 8, 4), Precision(2**11, 16, 16, 8))
SAMPLE = 4  # frames that tell how small the others become
Box = tuple[np.ndarray, np.ndarray]
Stored = tuple[list[dict[str, Any]], int, bytes]  # as `pack` makes it


def gaussian_arrays(frames: Sequence[Gaussians], box: Box, budget: int) -> tuple[Stored, list[int], str]:
    """(what is stored, of at most `budget` deflated bytes; [splats shown, splats there are] in all; a note if they
    differ).

    Colours are the part that does not depend on the view.
    """
    there = sum(len(frame.means) for frame in frames)
    some = list(frames[:: max(1, len(frames) // SAMPLE)])
    part = sum(len(frame.means) for frame in some) / max(1, there)
    for precision in LADDER:
        if precision != LADDER[-1] and len(pack(_smaller(some, box, precision))[2]) > 1.1 * part * budget:
            continue  # a sample says that it is far too much
        stored = pack(_smaller(frames, box, precision))
        if len(stored[2]) <= budget:
            return stored, [there, there], ""
    share = 1.0
    while len(stored[2]) > budget:  # what is left out changes what the rest is packed to, so it is tried
        share *= 0.97 * budget / len(stored[2])
        kept = [_most_visible(frame, share) for frame in frames]
        stored = pack(_smaller(kept, box, LADDER[-1]))
    shown = sum(len(frame.means) for frame in kept)
    return stored, [shown, there], f"the viewer shows the {shown / there:.0%} of the splats that cover most"


def _most_visible(frame: Gaussians, share: float) -> Gaussians:
    """By opacity times the area of the largest cross section; the order is kept."""
    scales = np.sort(frame.scales, axis=1)
    weight = frame.opacities * scales[:, 1] * scales[:, 2]
    kept = np.sort(np.argsort(-weight, kind="stable")[: max(1, round(share * len(weight)))])
    return _taken(frame, kept)


def _taken(frame: Gaussians, index: Int64[np.ndarray, " n"]) -> Gaussians:
    names = ("means", "scales", "quaternions", "opacities", "sh")
    return replace(frame, **{name: getattr(frame, name)[index] for name in names})


def _smaller(frames: Sequence[Gaussians], box: Box, precision: Precision) -> list[Packed]:
    """Splats that stay the same ones are stored as changes from frame to frame, others in an order along which
    neighbours are near; which of the two is smaller is tried on a few frames."""
    apart = [_taken(frame, _order(frame, box)) for frame in frames]
    counts = {len(frame.means) for frame in frames}
    if len(counts) > 1 or len(frames) < 2:
        return _arrays(apart, box, precision, "row")
    first = _order(frames[0], box)
    together = [_taken(frame, first) for frame in frames]
    by_frame = len(pack(_arrays(together[:3], box, precision, "frame"))[2])
    if by_frame <= len(pack(_arrays(apart[:3], box, precision, "row"))[2]):
        return _arrays(together, box, precision, "frame")
    return _arrays(apart, box, precision, "row")


def _order(frame: Gaussians, box: Box) -> Int64[np.ndarray, " n"]:
    """Along a Morton curve of 4096 cells a side."""
    cells = quantised(frame.means, box[0], box[1], 4096).astype(np.uint64)
    code = np.zeros(len(cells), np.uint64)
    for bit in range(12):
        for axis in range(3):
            code |= ((cells[:, axis] >> np.uint64(bit)) & np.uint64(1)) << np.uint64(3 * bit + axis)
    return np.argsort(code, kind="stable")


def _arrays(frames: Sequence[Gaussians], box: Box, precision: Precision, delta: Delta) -> list[Packed]:
    rows = tuple(len(frame.means) for frame in frames)
    scales = np.log(np.concatenate([frame.scales for frame in frames]).astype(np.float64))
    low, high = scales.min(axis=0).tolist(), scales.max(axis=0).tolist()
    center = quantised(np.concatenate([frame.means for frame in frames]), box[0], box[1], precision.position)
    size = quantised(scales, low, high, precision.scale)
    rotation = _smallest_three(np.concatenate([frame.quaternions for frame in frames]), precision.rotation)
    color = _colors(frames, precision.color)
    far = stretched(box[0], box[1], precision.position, "u16"), stretched(low, high, precision.scale, "u8")
    near = tuple(map(float, box[0]))
    whole = [
        Packed("center", "u16", center, rows, False, delta, near, far[0]),
        Packed("scale", "u8", size, rows, False, delta, tuple(low), far[1], log=True),
        Packed("rotation", "u8", rotation, rows, False, delta),
        Packed("color", "u8", color, rows, False, delta),
    ]
    return [_once(array) if delta == "frame" else array for array in whole]


def _once(array: Packed) -> Packed:
    """Stored once if all frames are equal."""
    frames = array.values.reshape(len(array.rows), array.rows[0], -1)
    if not (frames == frames[:1]).all():
        return array
    return Packed(array.name, array.type, frames[0], array.rows[:1], True, "row", array.low, array.high, array.log)


def gaussians_of(data: Mapping[str, Any], k: int) -> Gaussians:
    """Frame k of what `packing.read_packed` has read: what the viewer shows."""
    rows: dict[str, np.ndarray] = {}
    for head in data["arrays"]:
        start, stop = np.cumsum([0, *head["rows"]])[[0, 1] if head["shared"] else [k, k + 1]]
        rows[head["name"]] = data["values"][head["name"]][start:stop].astype(np.float64)
    rest = (rows["rotation"][:, :3] / 255 * 2 - 1) / np.sqrt(2)
    largest = np.sqrt((1 - (rest**2).sum(axis=1, keepdims=True)).clip(0))  # w: `_smallest_three` leaves out no other
    color = rows["color"] / 255
    arrays = {
        "means": rows["center"],
        "scales": rows["scale"],
        "quaternions": np.concatenate([largest, rest], axis=1),
        "opacities": color[:, 3],
        "sh": (color[:, None, :3] - 0.5) / SH0,
    }
    single: dict[str, Any] = {name: array.astype(np.float32) for name, array in arrays.items()}
    return Gaussians(**single, dilation=data["dilation"], compensate=data["compensate"])


def _stepped(values: Float[np.ndarray, "n c"], step: int) -> UInt32[np.ndarray, "n c"]:
    """Numbers from 0 to 255 as the nearest multiples of `step`, and 255."""
    return np.minimum(255, np.rint(values / step) * step).astype(np.uint32)


def _smallest_three(quaternions: Float32[np.ndarray, "n 4"], step: int) -> UInt32[np.ndarray, "n 4"]:
    """The three smaller components of (w, x, y, z), and which one is left out: always w, made the largest and positive.

    A Gaussian that is turned by half a circle about an axis of its own is the same one, and that turn swaps w with any
    other component.
    """
    q = quaternions.astype(np.float64)
    q /= np.linalg.norm(q, axis=1, keepdims=True).clip(1e-12)
    w, x, y, z = q.T
    turned = np.stack([q, np.stack([-x, w, z, -y], 1), np.stack([-y, -z, w, x], 1), np.stack([-z, y, -x, w], 1)])
    q = turned[np.argmax(np.abs(q), axis=1), np.arange(len(q))]
    q *= np.where(q[:, :1] < 0, -1, 1)
    bytes_ = _stepped(((q[:, 1:] * np.sqrt(2) + 1) / 2).clip(0, 1) * 255, step)
    return np.concatenate([bytes_, np.zeros((len(q), 1), np.uint32)], axis=1)


def _colors(frames: Sequence[Gaussians], step: int) -> UInt32[np.ndarray, "n 4"]:
    rgb = np.concatenate([0.5 + SH0 * frame.sh[:, 0] for frame in frames]).clip(0, 1)
    alpha = np.concatenate([frame.opacities for frame in frames]).clip(0, 1)
    return _stepped(np.concatenate([rgb, alpha[:, None]], axis=1) * 255, step)
