"""Closed surfaces in rest pose, built from rings of vertices. Outward faces, one vertex at a pole, no seams.

A hard edge is a repeated ring: the two copies coincide in space but share no vertices, so that their normals differ.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int32

Points = Float64[np.ndarray, "N 3"]
Vec = Sequence[float] | np.ndarray  # three numbers
Line = Sequence[Sequence[float]] | np.ndarray  # points in a plane


@dataclass(frozen=True)
class Shape:
    """A surface in rest pose.

    Attributes:
        vertices: positions.
        faces: vertex indices, counter-clockwise seen from outside.
        uv: surface parameters for patterns: (along, around), both in [0, 1].
    """

    vertices: Points
    faces: Int32[np.ndarray, "F 3"]
    uv: Float64[np.ndarray, "N 2"]

    def moved(self, offset: Vec) -> Shape:
        return replace(self, vertices=self.vertices + np.asarray(offset, np.float64))

    def scaled(self, factors: Vec | float) -> Shape:
        return replace(self, vertices=self.vertices * np.asarray(factors, np.float64))

    def rotated(self, axis: str, degrees: float) -> Shape:
        """Turn about the "x", "y" or "z" axis through the origin."""
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
        out = self.vertices.copy()
        out[:, i] = c * self.vertices[:, i] - s * self.vertices[:, j]
        out[:, j] = s * self.vertices[:, i] + c * self.vertices[:, j]
        return replace(self, vertices=out)

    def spanning(self, start: Vec, end: Vec) -> Shape:
        """Put the z axis of the shape on the line from `start` to `end`, its origin on `start`."""
        start_, along = np.asarray(start, np.float64), np.subtract(end, start).astype(np.float64)
        along = along / np.sqrt((along * along).sum())
        helper = np.array([1.0, 0.0, 0.0]) if abs(along[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
        right = np.cross(helper, along)
        right = right / np.sqrt((right * right).sum())
        v = self.vertices
        out = v[:, :1] * right + v[:, 1:2] * np.cross(along, right) + v[:, 2:] * along
        return replace(self, vertices=out + start_)


def vec(x: float, y: float, z: float) -> Float64[np.ndarray, " 3"]:
    return np.array([x, y, z], np.float64)


def rings(rows: Float64[np.ndarray, "M K 3"], first: Points | None, last: Points | None, closed: bool = False) -> Shape:
    """Stitch M rings of K points. With the rings going "up", each ring runs counter-clockwise seen from above.

    Rings that coincide with their successor are a hard edge and are not stitched.
    `first`, `last`: poles [3] that close the ends; `closed` joins the last ring to the first instead.
    """
    m, k, _ = rows.shape
    along = np.linspace(0, 1, m)
    same = np.abs(rows - np.roll(rows, -1, axis=0)).max(axis=(1, 2)) < 1e-12
    start = np.array([i for i in range(m if closed else m - 1) if not same[i]], np.int32)
    j = np.arange(k, dtype=np.int32)
    a, b = start[:, None] * k + j, start[:, None] * k + (j + 1) % k
    c, d = ((start + 1) % m)[:, None] * k + (j + 1) % k, ((start + 1) % m)[:, None] * k + j
    faces = [np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)]
    vertices = [rows.reshape(-1, 3)]
    uv = [np.stack([np.repeat(along, k), np.tile(j / k, m)], -1)]
    count = m * k
    nxt = (j + 1) % k
    if first is not None:
        vertices.append(np.asarray(first, np.float64)[None])
        uv.append(np.array([[0.0, 0.5]]))
        faces.append(np.stack([np.full(k, count), nxt, j], -1))
        count += 1
    if last is not None:
        vertices.append(np.asarray(last, np.float64)[None])
        uv.append(np.array([[1.0, 0.5]]))
        faces.append(np.stack([(m - 1) * k + j, (m - 1) * k + nxt, np.full(k, count)], -1))
    return Shape(np.concatenate(vertices), np.concatenate(faces).astype(np.int32), np.concatenate(uv))


def lathe(profile: Line, around: int = 48, closed: bool = False) -> Shape:
    """Turn a profile of (radius, z) about z. It starts and ends on the axis (radius 0) unless `closed`.

    The profile goes up on the outside. A point given twice is a hard edge.
    """
    points = np.asarray(profile, np.float64)
    angle = 2 * np.pi * np.arange(around) / around
    body = points if closed else points[1:-1]
    rows = np.stack(
        [body[:, :1] * np.cos(angle), body[:, :1] * np.sin(angle), np.repeat(body[:, 1:], around, axis=1)], -1
    )
    if closed:
        return rings(rows, None, None, closed=True)
    return rings(rows, np.array([0, 0, points[0, 1]]), np.array([0, 0, points[-1, 1]]))


def resample(profile: Line, step: float) -> list[list[float]]:
    """Insert points on long segments of a polyline, so that patterns and deformations have vertices to act on."""
    points = np.asarray(profile, np.float64)
    out: list[list[float]] = []
    for a, b in itertools.pairwise(points):
        pieces = max(1, int(np.ceil(np.sqrt(((b - a) ** 2).sum()) / step - 1e-6)))
        out += [list(a + (b - a) * (i / pieces)) for i in range(pieces)]
    return [*out, list(points[-1])]


def smooth(profile: Line, count: int) -> list[list[float]]:
    """A Catmull-Rom curve of `count` points through the given points, ends included."""
    p = np.asarray(profile, np.float64)
    p = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    at = np.linspace(0, len(p) - 3, count)
    i = np.minimum(at.astype(int), len(p) - 4)
    t = (at - i)[:, None]
    a, b, c, d = p[i], p[i + 1], p[i + 2], p[i + 3]
    return (0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t * t + (3 * b - a - 3 * c + d) * t**3)).tolist()


def sphere(center: Vec, radii: Vec | float, rows: int = 20, around: int = 32) -> Shape:
    """An ellipsoid with its poles on the z axis."""
    angle = np.pi * np.arange(rows + 1) / rows
    profile = np.stack([np.sin(angle), -np.cos(angle)], -1)
    return lathe(profile, around).scaled(radii).moved(center)


def capsule(start: Vec, end: Vec, ra: float, rb: float | None = None, rows: int = 6, around: int = 24) -> Shape:
    """A rod with round ends, of radius `ra` at `start` and `rb` at `end`."""
    rb = ra if rb is None else rb
    length = float(np.sqrt((np.subtract(end, start) ** 2).sum()))
    angle = 0.5 * np.pi * np.arange(rows + 1) / rows
    low = np.stack([ra * np.sin(angle), -ra * np.cos(angle)], -1)
    high = np.stack([rb * np.cos(angle), length + rb * np.sin(angle)], -1)
    profile = [*low[:-1].tolist(), *resample([low[-1], high[0]], max(length / 12, 0.02)), *high[1:].tolist()]
    return lathe(profile, around).spanning(start, end)


def cylinder(
    start: Vec,
    end: Vec,
    ra: float,
    rb: float | None = None,
    bevel: float = 0.01,
    around: int = 32,
) -> Shape:
    """A straight rod with flat ends and a small bevel."""
    rb = ra if rb is None else rb
    length = float(np.sqrt((np.subtract(end, start) ** 2).sum()))
    bevel = min(bevel, 0.4 * ra, 0.4 * rb, 0.4 * length)
    low, high = [ra - bevel, 0.0], [rb - bevel, length]
    a, b = [ra, bevel], [rb, length - bevel]
    cap = [[ra * 0.35, 0.0], [ra * 0.7, 0.0]] if ra > 0.05 else []
    lid = [[rb * 0.7, length], [rb * 0.35, length]] if rb > 0.05 else []
    side = resample([a, b], max(length / 10, 0.02))
    return lathe([[0, 0], *cap, low, low, a, *side, b, high, high, *lid, [0, length]], around).spanning(start, end)


def cone(start: Vec, tip: Vec, radius: float, around: int = 20, rows: int = 6) -> Shape:
    """A cone with a slightly rounded tip and a flat base."""
    length = float(np.sqrt((np.subtract(tip, start) ** 2).sum()))
    t = np.arange(rows + 1) / rows
    side = np.stack([radius * (1 - 0.9 * t), length * 0.96 * t], -1).tolist()
    return lathe([[0, 0], [radius * 0.6, 0], [radius, 0], *side, [0, length]], around).spanning(start, tip)


def torus(radius: float, thickness: float, around: int = 48, section: int = 20) -> Shape:
    """A ring about z with a round section."""
    angle = 2 * np.pi * np.arange(section) / section
    return lathe(
        np.stack([radius + thickness * np.cos(angle), thickness * np.sin(angle)], -1).tolist(), around, closed=True
    )


def box(center: Vec, size: Vec, bevel: float = 0.02, n: int = 10) -> Shape:
    """A box with rounded edges. `n` cells a face inside the bevel; two more rows make the bevel itself."""
    half = 0.5 * np.asarray(size, np.float64)
    bevel = min(bevel, 0.45 * 2 * float(half.min()))
    inner = np.linspace(-1, 1, n + 1)
    # cube coordinates: |c| <= 1 is the flat part, beyond it the bevel turns by 45 degrees to the neighbour face
    line = np.concatenate([[-2.0, -1.5], inner, [1.5, 2.0]])
    u, v = np.meshgrid(line, line, indexing="ij")
    m = len(line)
    quads, cloud = [], []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            grid = np.empty((m, m, 3))
            grid[..., axis], grid[..., (axis + 1) % 3], grid[..., (axis + 2) % 3] = 2.0 * sign, u, v
            cloud.append(grid.reshape(-1, 3))
            i = (np.arange(m - 1)[:, None] * m + np.arange(m - 1)).ravel() + (len(cloud) - 1) * m * m
            quad = np.stack([i, i + m, i + m + 1, i + 1], -1)
            quads.append(quad if sign > 0 else quad[:, ::-1])
    cube = np.concatenate(cloud)
    unique, index = np.unique(np.rint(cube * 4096).astype(np.int64), axis=0, return_inverse=True)
    cube = unique / 4096.0
    quad = index.reshape(-1)[np.concatenate(quads)]
    faces = np.concatenate([quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]]).astype(np.int32)
    core = np.clip(cube, -1, 1) * (half - bevel)
    beyond = np.sign(cube) * np.maximum(np.abs(cube) - 1, 0)
    beyond = np.tan(beyond * (np.pi / 4))
    beyond = beyond / np.sqrt((beyond * beyond).sum(1, keepdims=True))
    return Shape(core + bevel * beyond + np.asarray(center, np.float64), faces, 0.25 * (cube[:, :2] + 2))


def pillow(outline: Float64[np.ndarray, "K 2"], thickness: float, rows: int = 12, power: float = 0.5) -> Shape:
    """A flat closed cushion in the xy plane; the outline is star-shaped about the origin, counter-clockwise.

    Half thickness (1 - rho^2)^power at the relative distance rho from the centre. uv = (0.5 +- rho / 2, around).
    """
    rho = np.sin(0.5 * np.pi * np.arange(1, rows + 1) / rows)
    height = thickness * (1 - rho * rho).clip(0) ** power
    flat = rho[:, None, None] * np.asarray(outline, np.float64)
    up = np.concatenate([flat, np.broadcast_to(height[:, None, None], (*flat.shape[:2], 1))], -1)
    down = up * [1, 1, -1]
    return rings(np.concatenate([down, up[:-1][::-1]]), np.array([0, 0, -thickness]), np.array([0, 0, thickness]))


def extrude(outline: Float64[np.ndarray, "K 2"], depth: float, hole: float = 0.0, bevel: float = 0.01) -> Shape:
    """A plate from z = -depth / 2 to depth / 2 with hard edges. Star-shaped outline; `hole`: radius of a round hole."""
    flat = np.asarray(outline, np.float64)
    radius = np.sqrt((flat * flat).sum(1, keepdims=True))
    inset, h = flat * (1 - bevel / radius), 0.5 * depth
    center = flat / radius * hole
    levels = [center + (inset - center) * t for t in (0.0, 0.25, 0.5, 0.75, 1.0)]

    def row(points: np.ndarray, z: float) -> np.ndarray:
        return np.concatenate([points, np.full((len(points), 1), z)], 1)

    low, high = [row(p, -h) for p in levels], [row(p, h) for p in levels[::-1]]
    side = [row(flat, z) for z in (-h + bevel, -h + bevel, h - bevel, h - bevel)]
    if hole:
        every = [*low, low[-1], *side, high[0], *high, high[-1], low[0]]
        return rings(np.stack(every), None, None, closed=True)
    every = [*low[1:], low[-1], *side, high[0], *high[:-1]]
    return rings(np.stack(every), np.array([0, 0, -h]), np.array([0, 0, h]))


def tube_rows(
    curve: Float64[np.ndarray, "M 3"], radii: Float64[np.ndarray, "M 2"], around: int, up: Vec = (0, 0, 1)
) -> Float64[np.ndarray, "M K 3"]:
    """Rings about a curve: radii (sideways, upward) in each point. `up` is never parallel to the curve."""
    forward = np.gradient(curve, axis=0)
    forward = forward / np.sqrt((forward * forward).sum(1, keepdims=True))
    side = np.cross(np.broadcast_to(np.asarray(up, np.float64), forward.shape), forward)
    side = side / np.sqrt((side * side).sum(1, keepdims=True))
    top = np.cross(forward, side)
    angle = 2 * np.pi * np.arange(around)[:, None] / around
    return (
        curve[:, None]
        + (radii[:, None, :1] * np.cos(angle)) * side[:, None]
        + (radii[:, None, 1:] * np.sin(angle)) * top[:, None]
    )


def tube(curve: Points, radii: np.ndarray, around: int = 24, up: Vec = (0, 0, 1)) -> Shape:
    """A tube along a curve with radii [M] or [M, 2] (sideways, upward), closed by poles on its two ends."""
    curve = np.asarray(curve, np.float64)
    both = np.asarray(radii, np.float64)
    both = np.stack([both, both], -1) if both.ndim == 1 else both
    return rings(tube_rows(curve, both, around, up), curve[0], curve[-1])


def sheet(columns: int, rows: int) -> Shape:
    """An open unit square in the xz plane, seen from -y."""
    u, v = np.meshgrid(np.linspace(0, 1, columns + 1), np.linspace(0, 1, rows + 1), indexing="ij")
    flat = np.stack([u.ravel(), np.zeros(u.size), v.ravel()], -1)
    m = rows + 1
    i = (np.arange(columns)[:, None] * m + np.arange(rows)).ravel()
    faces = np.concatenate([np.stack([i, i + m, i + m + 1], -1), np.stack([i, i + m + 1, i + 1], -1)])
    return Shape(flat, faces.astype(np.int32), flat[:, [0, 2]])


def star_outline(points: int, inner: float, count: int = 120, roundness: float = 0.0) -> Float64[np.ndarray, "K 2"]:
    """A star (or with a large `inner` a scalloped disc) of unit radius."""
    angle = 2 * np.pi * np.arange(count) / count
    wave = np.abs(((angle * points / (2 * np.pi) + 0.25) % 1) * 2 - 1)
    wave = (1 - roundness) * wave + roundness * (0.5 - 0.5 * np.cos(np.pi * wave))
    radius = inner + (1 - inner) * wave
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)


def oval(length: float, width: float, point: float = 0.0, count: int = 48) -> Float64[np.ndarray, "K 2"]:
    """An egg, leaf or feather outline centred on the origin, its narrow end towards +x as `point` grows to 1."""
    angle = 2 * np.pi * np.arange(count) / count
    x = np.cos(angle)
    return np.stack([0.5 * length * x, 0.5 * width * np.sin(angle) * (1 - point * (0.5 + 0.5 * x))], -1)


def rope(curve: Points, radius: float, up: Vec, around: int = 12, taper: float = 0.0) -> Shape:
    """A thin tube with rounded ends, thinner towards its end by `taper`."""
    t = np.linspace(0, 1, len(curve))
    return tube(curve, radius * (1 - taper * t) * np.sqrt((1 - (2 * t - 1) ** 6).clip(0.02)), around, up)
