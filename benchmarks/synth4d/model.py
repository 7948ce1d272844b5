"""A model: what moves and how. Parts with fixed topology, implicit surfaces, or both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64, Int32

from .colors import BLACK, WHITE, Color, over, paint, step
from .shapes import Shape, Vec, sphere
from .skin import FrameAt, Move, rigid, still

Points = Float64[np.ndarray, "N 3"]


@dataclass(frozen=True)
class Surface:
    """A coloured surface at one time.

    Attributes:
        vertices: positions.
        faces: outward.
        albedo: sRGB in [0, 1], not shaded.
        lump: which lump a vertex belongs to; lumps are the proxy spheres of the shading. -1: none.
        thin: how much light shines through.
    """

    vertices: Points
    faces: Int32[np.ndarray, "F 3"]
    albedo: Points
    lump: Int32[np.ndarray, " N"]
    thin: Float64[np.ndarray, " N"]


@dataclass(frozen=True)
class Part:
    """A surface of fixed topology. `casts`: whether it is a lump that darkens its neighbours."""

    shape: Shape
    albedo: Points
    move: Move = still
    casts: bool = True
    thin: float = 0.0


@dataclass(frozen=True)
class Model:
    """An object before normalisation. Its front looks to -y, or to +x for animals seen from the side.

    Attributes:
        at: seconds -> surface.
        outline: seconds -> points that bound the surface, cheaper than `at`.
        watertight: every connected part is a closed 2-manifold at all times.
        yaw: degrees about z, applied to the result.
        description: one line.
    """

    at: Callable[[float], Surface]
    outline: Callable[[float], Points]
    watertight: bool
    yaw: float
    description: str


def part(shape: Shape, color: Color | Points, move: Move = still, casts: bool = True) -> Part:
    """A part of one colour (or with a colour per vertex [N,3]) that rests or moves."""
    albedo = np.asarray(color, np.float64)
    return Part(shape, paint(len(shape.vertices), color) if albedo.ndim == 1 else albedo, move, casts)


def solid(shape: Shape, color: Color | Points, frame: FrameAt, casts: bool = True) -> Part:
    """A part that follows a rigid frame."""
    return part(shape, color, rigid(frame), casts)


def _lumps(shape: Shape) -> Int32[np.ndarray, " N"]:
    """Cut a part along its longest side into pieces about as long as wide."""
    v = shape.vertices
    span = v.max(0) - v.min(0)
    order = np.argsort(span)
    axis, middle = int(order[2]), max(float(span[order[1]]), 1e-6)
    pieces = int(np.clip(np.floor(span[axis] / middle + 0.5), 1, 6))
    t = (v[:, axis] - v[:, axis].min()) / max(float(span[axis]), 1e-9)
    return np.minimum((t * pieces + 0.0137).astype(np.int32), pieces - 1)


@dataclass(frozen=True)
class Body:
    """Parts put together."""

    parts: Sequence[Part]
    faces: Int32[np.ndarray, "F 3"] = field(init=False)
    albedo: Points = field(init=False)
    lump: Int32[np.ndarray, " N"] = field(init=False)
    thin: Float64[np.ndarray, " N"] = field(init=False)

    def __post_init__(self) -> None:
        faces, lumps, start, pieces = [], [], 0, 0
        for p in self.parts:
            faces.append(p.shape.faces + start)
            start += len(p.shape.vertices)
            own = _lumps(p.shape) + pieces if p.casts else np.full(len(p.shape.vertices), -1)
            pieces = max(pieces, int(own.max()) + 1)
            lumps.append(own)
        object.__setattr__(self, "faces", np.concatenate(faces).astype(np.int32))
        object.__setattr__(self, "albedo", np.concatenate([p.albedo for p in self.parts]))
        object.__setattr__(self, "lump", np.concatenate(lumps).astype(np.int32))
        object.__setattr__(self, "thin", np.concatenate([np.full(len(p.albedo), p.thin) for p in self.parts]))

    def points(self, time: float) -> Points:
        return np.concatenate([p.move(p.shape.vertices, time) for p in self.parts])

    def at(self, time: float) -> Surface:
        return Surface(self.points(time), self.faces, self.albedo, self.lump, self.thin)


def assemble(parts: Sequence[Part], yaw: float, description: str, watertight: bool = True) -> Model:
    body = Body(parts)
    return Model(body.at, body.points, watertight, yaw, description)


def wave(time: float, period: float = 1.0, phase: float = 0.0) -> float:
    """sin(2 pi (time / period + phase))."""
    return float(np.sin(2 * np.pi * (time / period + phase)))


def pulse(time: float, period: float = 2.0, phase: float = 0.0) -> float:
    """From 0 to 1 and back in one period, at rest at both ends."""
    return float(0.5 - 0.5 * np.cos(2 * np.pi * (time / period + phase)))


def ease(t: float) -> float:
    """0 below 0, 1 above 1, smooth between."""
    t = min(max(t, 0.0), 1.0)
    return t * t * (3 - 2 * t)


def eye(center: Vec, radius: float, look: Vec, move: Move, iris: Color = BLACK, white: Color = WHITE) -> list[Part]:
    """An eyeball with a pupil towards `look` and a glint."""
    look_ = np.asarray(look, np.float64)
    look_ = look_ / np.sqrt((look_ * look_).sum())
    ball = sphere((0, 0, 0), radius, 24, 24)
    height = ball.vertices[:, 2] / radius
    albedo = paint(len(height), white)
    albedo = over(albedo, iris, step(height, 0.62, 0.1))
    albedo = over(albedo, BLACK, step(height, 0.78, 0.08))
    middle = np.asarray(center, np.float64)
    up = np.array([0, 0, 1.0]) - look_[2] * look_
    glint = middle + radius * (0.86 * look_ + 0.36 * up)
    return [
        part(ball.spanning(middle, middle + look_), albedo, move, casts=False),
        part(sphere(glint, 0.2 * radius, 8, 12), WHITE, move, casts=False),
    ]
