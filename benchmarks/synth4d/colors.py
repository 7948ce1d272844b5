"""Seeded draws, palettes and patterns in rest coordinates."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Float64

T = TypeVar("T")
Points = Float64[np.ndarray, "N 3"]
Mask = Float64[np.ndarray, " N"]
Color = Sequence[float]  # sRGB in [0, 1]

WHITE, BLACK, CREAM = (0.96, 0.96, 0.95), (0.10, 0.09, 0.11), (0.98, 0.90, 0.74)
RED, PINK, WOOD, STEEL = (0.86, 0.20, 0.20), (0.96, 0.56, 0.62), (0.72, 0.50, 0.30), (0.62, 0.66, 0.70)
LEAF, GOLD, DARK = (0.36, 0.65, 0.28), (0.96, 0.76, 0.22), (0.24, 0.25, 0.30)


@dataclass(frozen=True)
class Draw:
    """Random numbers of one object: the same on every machine (PCG64, uniform draws only)."""

    generator: np.random.Generator

    @staticmethod
    def of(kind: str, seed: int) -> Draw:
        return Draw(np.random.Generator(np.random.PCG64([zlib.crc32(kind.encode()), seed])))

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * float(self.generator.random())

    def whole(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both included."""
        return int(self.generator.integers(low, high + 1))

    def pick(self, options: Sequence[T]) -> T:
        return options[self.whole(0, len(options) - 1)]

    def chance(self, probability: float) -> bool:
        return self.between(0, 1) < probability

    def yaw(self, low: float, high: float) -> float:
        """Degrees, to the left or to the right."""
        angle = self.between(low, high)
        return angle if self.chance(0.5) else -angle

    def points(self, count: int, low: Sequence[float], high: Sequence[float]) -> Points:
        return np.asarray(low) + self.generator.random((count, 3)) * np.subtract(high, low)


@dataclass(frozen=True)
class Palette:
    main: Color
    belly: Color
    mark: Color
    accent: Color


def hsv(hue: float, saturation: float, value: float) -> Color:
    """Hue in turns. sRGB."""
    k = [(n + 6 * hue) % 6 for n in (5, 3, 1)]
    return tuple(value * (1 - saturation * max(0.0, min(x, 4 - x, 1.0))) for x in k)


# hue, saturation, value of main and mark; the belly is light, the accent contrasts
_SCHEMES = [
    (0.07, 0.72, 0.97, 0.05, 0.75, 0.50, 0.55),  # orange and chestnut
    (0.54, 0.62, 0.88, 0.60, 0.75, 0.50, 0.10),  # sky blue and navy
    (0.27, 0.55, 0.80, 0.36, 0.70, 0.42, 0.04),  # lime and forest
    (0.78, 0.42, 0.86, 0.74, 0.55, 0.45, 0.14),  # lilac and plum
    (0.97, 0.50, 0.96, 0.95, 0.70, 0.60, 0.50),  # pink and berry
    (0.13, 0.70, 0.98, 0.06, 0.80, 0.55, 0.58),  # yellow and brown
    (0.47, 0.60, 0.78, 0.52, 0.75, 0.42, 0.03),  # turquoise and teal
    (0.02, 0.68, 0.90, 0.00, 0.75, 0.48, 0.15),  # coral and maroon
    (0.09, 0.38, 0.78, 0.07, 0.55, 0.38, 0.95),  # fawn and dark brown
    (0.60, 0.22, 0.78, 0.62, 0.40, 0.35, 0.08),  # slate
]


def palette(draw: Draw, vivid: bool = False) -> Palette:
    """A colour scheme; `vivid` leaves out the two of natural fur (for toys and cloth)."""
    h, s, v, h2, s2, v2, h3 = draw.pick(_SCHEMES[:8] if vivid else _SCHEMES)
    turn = draw.between(-0.02, 0.02)
    belly = hsv(h + turn, 0.22 * s, 0.98)
    return Palette(hsv(h + turn, s, v), belly, hsv(h2 + turn, s2, v2), hsv(h3 + turn, 0.75, 0.95))


def paint(count: int, color: Color) -> Points:
    return np.tile(np.asarray(color, np.float64), (count, 1))


def over(base: Points, color: Color, mask: Mask) -> Points:
    """Paint `color` on `base` where the mask is one."""
    return base + (np.asarray(color, np.float64) - base) * mask[:, None]


def step(value: Mask, edge: float, width: float) -> Mask:
    """0 below the edge, 1 above, smooth over `width`."""
    t = np.clip((value - edge) / width + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def stripes(coordinate: Mask, period: float, share: float = 0.5, phase: float = 0.0, width: float = 0.12) -> Mask:
    """Bands across a coordinate; `share` of each period is painted; `width`: softness relative to a period."""
    at = (coordinate / period + phase) % 1
    distance = 0.5 - np.abs(at - 0.5)  # 0 at the border of a period, 0.5 in its middle
    return step(distance, 0.5 * (1 - share), width)


def spots(points: Points, centers: Points, radius: float | Mask, width: float = 0.02) -> Mask:
    """Discs around the nearest centre."""
    best = np.full(len(points), 1e9)
    sizes = np.broadcast_to(np.asarray(radius, np.float64), (len(centers),))
    for center, size in zip(centers, sizes, strict=True):
        d = points - center
        best = np.minimum(best, np.sqrt((d * d).sum(1)) - size)
    return 1 - step(best, 0.0, width)


def coat(draw: Draw, points: Points, colors: Palette, along: int = 0, size: float = 1.0) -> Points:
    """A two-tone body with a seeded pattern: the belly is light, the back has stripes, spots, patches or a fade."""
    low, high = points.min(0), points.max(0)
    span = high - low
    x, z = (points[:, along] - low[along]) / span[along], (points[:, 2] - low[2]) / span[2]
    out = paint(len(points), colors.main)
    style = draw.pick(["stripes", "spots", "patches", "fade"])
    if style == "stripes":
        wobble = 0.02 * np.sin(11 * points[:, 2] / size)
        out = over(
            out,
            colors.mark,
            stripes(points[:, along] / size + wobble, draw.between(0.11, 0.17), 0.42) * step(z, 0.35, 0.1),
        )
    elif style in ("spots", "patches"):
        count, radius = (70, 0.035) if style == "spots" else (16, 0.095)
        centers = draw.points(count, low, high)
        sizes = radius * size * (0.6 + 0.8 * draw.generator.random(count))
        out = over(out, colors.mark, spots(points, centers, sizes, 0.02 * size))
    else:
        out = over(out, colors.mark, 0.85 * np.clip(1.6 * np.abs(x - 0.5) - 0.1, 0, 1))
    return out
