"""Motion of points: rigid frames, chains of joints, smooth skinning, and clay bodies blended from limbs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from .implicit import ball, polygonise, rod, smooth_union
from .shapes import Shape, Vec

Points = Float64[np.ndarray, "N 3"]
Frame = Float64[np.ndarray, "3 4"]  # [R | t]: p -> R p + t
FrameAt = Callable[[float], Frame]
Move = Callable[[Points, float], Points]  # rest positions and seconds -> positions

STILL = np.eye(3, 4)


def apply(frame: Frame, points: Points) -> Points:
    """R p + t, written out so that every machine rounds alike."""
    columns = [points[:, i : i + 1] * frame[:, i] for i in range(3)]
    return columns[0] + columns[1] + columns[2] + frame[:, 3]


def compose(outer: Frame, inner: Frame) -> Frame:
    """First `inner`, then `outer`."""
    out = np.empty((3, 4))
    for j in range(4):
        out[:, j] = outer[:, 0] * inner[0, j] + outer[:, 1] * inner[1, j] + outer[:, 2] * inner[2, j]
    out[:, 3] += outer[:, 3]
    return out


def into(frame: Frame, points: Points) -> Points:
    """The inverse of a frame that only rotates and moves: world -> local."""
    q = points - frame[:, 3]
    return np.stack([q[:, 0] * frame[0, i] + q[:, 1] * frame[1, i] + q[:, 2] * frame[2, i] for i in range(3)], -1)


def turn(axis: str | Vec, angle: float, pivot: Vec = (0, 0, 0)) -> Frame:
    """A rotation by `angle` radians about an axis ("x", "y", "z" or a vector) through `pivot`."""
    table: dict[str, tuple[float, float, float]] = {"x": (1, 0, 0), "y": (0, 1, 0), "z": (0, 0, 1)}
    a = np.asarray(table[axis] if isinstance(axis, str) else axis, np.float64)
    x, y, z = a / np.sqrt((a * a).sum())
    c, s = np.cos(angle), np.sin(angle)
    r = np.array(
        [
            [c + x * x * (1 - c), x * y * (1 - c) - z * s, x * z * (1 - c) + y * s],
            [y * x * (1 - c) + z * s, c + y * y * (1 - c), y * z * (1 - c) - x * s],
            [z * x * (1 - c) - y * s, z * y * (1 - c) + x * s, c + z * z * (1 - c)],
        ]
    )
    p = np.asarray(pivot, np.float64)
    return np.concatenate([r, (p - (r[:, 0] * p[0] + r[:, 1] * p[1] + r[:, 2] * p[2]))[:, None]], 1)


def shift(offset: Vec) -> Frame:
    return np.concatenate([np.eye(3), np.asarray(offset, np.float64)[:, None]], 1)


def stretch(factors: Vec, pivot: Vec = (0, 0, 0)) -> Frame:
    """Scale along the axes, keeping `pivot` in place."""
    f, p = np.asarray(factors, np.float64), np.asarray(pivot, np.float64)
    return np.concatenate([np.diag(f), (p - f * p)[:, None]], 1)


def chain(*frames: FrameAt) -> FrameAt:
    """The first frame carries the second, and so on."""

    def at(time: float) -> Frame:
        out = frames[0](time)
        for frame in frames[1:]:
            out = compose(out, frame(time))
        return out

    return at


def rigid(frame: FrameAt) -> Move:
    return lambda points, time: apply(frame(time), points)


def still(points: Points, time: float) -> Points:
    return points


def then(first: Move, second: Move) -> Move:
    return lambda points, time: second(first(points, time), time)


def skinned(weights: Float64[np.ndarray, "N B"], frames: Sequence[FrameAt]) -> Move:
    """Linear blend skinning."""

    def move(points: Points, time: float) -> Points:
        out = np.zeros_like(points)
        for b, frame in enumerate(frames):
            out += weights[:, b : b + 1] * apply(frame(time), points)
        return out

    return move


@dataclass(frozen=True)
class Limb:
    """A piece of a clay body: a rod from `a` to `b`, or an ellipsoid at `a` if `radii` is given. It follows `bone`."""

    bone: int
    a: Vec
    b: Vec
    ra: float
    rb: float
    radii: Vec | None = None

    def distance(self, points: Points) -> Float64[np.ndarray, " N"]:
        if self.radii is not None:
            return ball(points, self.a, self.radii)
        return rod(points, self.a, self.b, self.ra, self.rb)


@dataclass(frozen=True)
class Clay:
    """A body blended from limbs.

    Attributes:
        shape: one closed surface.
        weights: of the bones, each row sums to one.
        shares: of the limbs, likewise (for colouring).
    """

    shape: Shape
    weights: Float64[np.ndarray, "N B"]
    shares: Float64[np.ndarray, "N L"]


def blob(bone: int, center: Vec, radii: Vec | float) -> Limb:
    r = [float(x) for x in np.broadcast_to(np.asarray(radii, np.float64), (3,))]
    return Limb(bone, center, center, max(r), max(r), r)


def mirrored(limb: Limb, bone: int) -> Limb:
    """The same limb on the other side (y -> -y)."""
    a, b = [limb.a[0], -limb.a[1], limb.a[2]], [limb.b[0], -limb.b[1], limb.b[2]]
    return Limb(bone, a, b, limb.ra, limb.rb, limb.radii)


def clay(limbs: Sequence[Limb], bones: int, blend: float = 0.06, cell: float = 0.022, soft: float = 0.03) -> Clay:
    """Blend limbs into one closed surface with smooth skinning weights.

    Args:
        limbs: in the order of blending.
        bones: number of bones.
        blend: width over which limbs melt together.
        cell: size of the polygonisation grid.
        soft: reach of the skinning weights across a joint.
    """

    def field(points: Points) -> Float64[np.ndarray, " N"]:
        value = limbs[0].distance(points)
        for limb in limbs[1:]:
            value = smooth_union(value, limb.distance(points), blend)
        return value

    ends = np.array([[limb.a, limb.b] for limb in limbs], np.float64)
    reach = np.array([limb.radii or [max(limb.ra, limb.rb)] * 3 for limb in limbs])[:, None]
    low = (ends - reach).min((0, 1)) - blend - 2 * cell
    high = (ends + reach).max((0, 1)) + blend + 2 * cell
    vertices, faces = polygonise(field, low, high, cell)
    near = np.stack([np.maximum(limb.distance(vertices), 0) for limb in limbs], -1) + soft
    inverse = 1 / (near * near)
    inverse = inverse * inverse
    shares = inverse / inverse.sum(1, keepdims=True)
    weights = np.zeros((len(vertices), bones))
    for j, limb in enumerate(limbs):
        weights[:, limb.bone] += shares[:, j]
    span = vertices.max(0) - vertices.min(0)
    return Clay(Shape(vertices, faces, ((vertices - vertices.min(0)) / span)[:, :2]), weights, shares)
