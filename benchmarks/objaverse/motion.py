"""Whether an object moves enough to be a test, and which two seconds of it a clip shows.

The first animation and window that pass are taken: of at most ANIMATIONS animations, in the file's order, the windows
of SECONDS one after the other, at most WINDOWS. An animation that is shorter is one window. The same file gives the
same answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int32

from bench4d.errors import FormatError
from bench4d.gltf import Animation, read_animated

VERSION = 1  # raised whenever the answer for a file could change
SECONDS = 2.0
SHORTEST = 0.25  # seconds
ANIMATIONS, WINDOWS = 8, 8
TIMES = 17
MOVED, FILLED = 0.03, 0.4
LONG, TURNED = 1.25, 45.0  # what is so much deeper than wide is turned by so many degrees
MAX_BYTES, MAX_FACES, MAX_VERTICES = 128 * 2**20, 200_000, 400_000


class Unfit(Exception):
    """An object that is no test; the message says why, in a few words."""


@dataclass(frozen=True)
class Motion:
    """What a clip shows of an object.

    Attributes:
        animation: index in the file.
        start, end: seconds; the frames fill [start, end).
        yaw: degrees by which the object is turned, counter-clockwise seen from above: TURNED for one that would show
            the input camera only its narrow side, as most animals would, else 0.
        moved: how far the surface gets from where it is at `start`, on average over its area, in sides of the box
            around the whole motion (its longest).
        filled: the longest side of the smallest frame's box, in the same unit.
    """

    animation: int
    name: str
    start: float
    end: float
    yaw: float
    moved: float
    filled: float


def find_motion(model: Path) -> Motion:
    """Raises Unfit."""
    if model.stat().st_size > MAX_BYTES:
        raise Unfit(f"more than {MAX_BYTES >> 20} MiB")
    try:
        animated = read_animated(model)
        vertices = sum(part.count for part in animated.parts)
        if len(animated.faces) > MAX_FACES or vertices > MAX_VERTICES:
            raise Unfit(f"more than {MAX_FACES} faces or {MAX_VERTICES} vertices")
        seen: list[Motion] = []
        for index, animation in enumerate(animated.animations[:ANIMATIONS]):
            for start, end in windows(animation):
                points = animated.vertices(index, np.linspace(start, end, TIMES).tolist()).astype(np.float64)
                motion = Motion(index, animation.name, start, end, facing(points[0]), *measure(points, animated.faces))
                if motion.moved >= MOVED and motion.filled >= FILLED:
                    return motion
                seen.append(motion)
    except FormatError as error:
        raise Unfit(f"not readable: expected {error.expected}; found {error.found}"[:300]) from None
    if not seen:
        raise Unfit(f"no animation of {SHORTEST} s or more")
    best = max(seen, key=lambda motion: motion.moved)
    raise Unfit(f"moves {best.moved:.4f} and fills {best.filled:.2f} of its box")


def windows(animation: Animation) -> Iterator[tuple[float, float]]:
    """Start and end in seconds; none if the animation is too short."""
    if SHORTEST <= animation.end - animation.start < SECONDS:
        yield animation.start, animation.end
    for k in range(min(int((animation.end - animation.start) / SECONDS), WINDOWS)):
        yield animation.start + k * SECONDS, animation.start + (k + 1) * SECONDS


def facing(points: Float64[np.ndarray, "V 3"]) -> float:
    """`Motion.yaw`, from the first frame. The input camera looks along y."""
    width, depth, _ = np.ptp(points, axis=0)
    return TURNED if depth > LONG * width else 0.0


def measure(points: Float64[np.ndarray, "T V 3"], faces: Int32[np.ndarray, "F 3"]) -> tuple[float, float]:
    """`Motion.moved` and `Motion.filled` of positions at several times, to 4 digits: last bits differ between machines.

    Raises FormatError without extent.
    """
    boxes = np.ptp(points, axis=1).max(-1)  # of each time, the longest side
    whole = float(np.ptp(points.reshape(-1, 3), axis=0).max())
    a, b, c = (points[0, faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=-1)
    if not whole > 0 or not area.sum() > 0:
        raise FormatError("animation", "an object of some extent", "none")
    furthest = np.zeros(len(faces))
    middle = points[0, faces].mean(1)
    for later in points[1:]:
        np.maximum(furthest, np.linalg.norm(later[faces].mean(1) - middle, axis=-1), out=furthest)
    moved = float((furthest * area).sum() / area.sum())
    return round(moved / whole, 4), round(float(boxes.min()) / whole, 4)
