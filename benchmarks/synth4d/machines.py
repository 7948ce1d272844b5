"""A rigid machine of many parts: an excavator. It looks to +x. Clockwork is in `clockwork.py`."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from .colors import (
    DARK,
    GOLD,
    STEEL,
    WHITE,
    Color,
    Draw,
    hsv,
    over,
    paint,
    step,
    stripes,
)
from .model import Model, Part, assemble, part, solid, wave
from .shapes import Shape, box, capsule, cylinder, extrude, sphere, vec
from .skin import Frame, FrameAt, chain, turn

GLASS = (0.62, 0.83, 0.93)


def excavator(draw: Draw) -> Model:
    """An excavator that digs: the house swings on its tracks, boom, stick and bucket fold. It looks to +x."""
    paint_ = draw.pick(
        [
            hsv(0.12, 0.85, 0.98),
            hsv(0.06, 0.85, 0.96),
            hsv(0.33, 0.55, 0.70),
            hsv(0.57, 0.65, 0.85),
            hsv(0.99, 0.75, 0.88),
        ]
    )
    second = draw.pick([DARK, (0.96, 0.95, 0.92), (0.35, 0.36, 0.42)])
    boom_long, stick_long = draw.between(0.34, 0.40), draw.between(0.26, 0.31)
    tall = draw.between(0.22, 0.26)
    period = draw.pick([2.0, 4.0 / 3])
    parts: list[Part] = []
    for side in (1, -1):
        parts += _track(side * 0.17, period)
    parts.append(part(box([0, 0, 0.10], [0.34, 0.26, 0.07], 0.02, 8), DARK))
    parts.append(part(cylinder([0, 0, 0.12], [0, 0, 0.185], 0.13, 0.12), STEEL))
    swing_by = draw.between(0.35, 0.55)

    def swing(t: float) -> Frame:
        return turn("z", swing_by * wave(t, 2 * period if period == 2.0 else 4.0, 0.05))

    house = box([-0.05, 0, 0.185 + 0.07], [0.44, 0.38, 0.13], 0.03, 14)
    hv = house.vertices
    band = (1 - step(np.abs(hv[:, 2] - 0.235), 0.018, 0.006)) * step(-hv[:, 0], -0.10, 0.01)
    parts.append(solid(house, over(paint(len(hv), paint_), second, band), swing))
    cab = box([0.03, 0.10, 0.31 + tall / 2], [0.22, 0.17, tall], 0.03, 16)
    parts.append(solid(cab, _windows(cab.vertices, paint_, 0.31, tall), swing))
    parts.append(solid(box([0.03, 0.10, 0.315 + tall], [0.25, 0.20, 0.025], 0.011, 6), second, swing))
    hood = box([-0.17, -0.02, 0.35], [0.19, 0.30, 0.11], 0.03, 14)
    grille = (
        stripes(hood.vertices[:, 2], 0.026, 0.45, 0, 0.15)
        * step(-hood.vertices[:, 0], 0.262, 0.004)
        * (1 - step(np.abs(hood.vertices[:, 1] + 0.02), 0.11, 0.01))
    )
    parts.append(solid(hood, over(paint(len(hood.vertices), paint_), DARK, grille), swing))
    parts.append(solid(cylinder([-0.19, -0.11, 0.39], [-0.19, -0.11, 0.49], 0.022, 0.02), STEEL, swing, casts=False))
    beacon = sphere([0.03, 0.10, 0.345 + tall], [0.028, 0.028, 0.034], 12, 18)
    parts.append(solid(beacon, (1.0, 0.55, 0.1), swing, casts=False))
    # joints at rest: boom up at 50 degrees, stick hanging down from its end
    root = np.array([0.13, -0.07, 0.29])
    knee = root + boom_long * np.array([np.cos(0.87), 0, np.sin(0.87)])
    wrist = knee + stick_long * np.array([np.cos(-1.15), 0, np.sin(-1.15)])

    def lift(t: float) -> Frame:
        return turn("y", 0.30 * wave(t, period, 0.0) - 0.05, root)

    def fold(t: float) -> Frame:
        return turn("y", 0.52 * wave(t, period, -0.22) - 0.18, knee)

    def curl(t: float) -> Frame:
        return turn("y", 0.75 * wave(t, period, -0.40) + 0.2, wrist)

    boom, stick, scoop = chain(swing, lift), chain(swing, lift, fold), chain(swing, lift, fold, curl)
    bend = 0.5 * (root + knee) + np.array([-0.03, 0, 0.05])
    for a, b, w in ((root, bend, 0.075), (bend, knee, 0.065)):
        parts.append(solid(_beam(a, b, w, 0.075), paint_, boom))
    parts.append(solid(_beam(knee + (knee - wrist) * 0.18, wrist, 0.06, 0.06), paint_, stick))
    for at, frame, r in ((root, boom, 0.045), (bend, boom, 0.038), (knee, stick, 0.042), (wrist, scoop, 0.035)):
        pin = cylinder(at - [0, 0.055, 0], at + vec(0, 0.055, 0), r, bevel=0.008, around=24)
        parts.append(solid(pin, second, frame, casts=False))
    parts += _piston(root + vec(0.075, 0, -0.06), swing, bend + vec(0.05, 0, -0.02), boom, 0.020)
    parts += _piston(bend + vec(-0.01, 0, 0.045), boom, knee + (knee - wrist) * 0.17, stick, 0.018)
    parts += _bucket(wrist, scoop, second if second != DARK else STEEL)
    return assemble(parts, draw.pick([-28.0, 180 + 28.0]) + draw.between(-8, 8), "an excavator that swings and digs")


def _windows(v: np.ndarray, color: Color, low: float, tall: float) -> np.ndarray:
    """Glass on the four walls of a cab."""
    u = np.abs((v[:, 2] - low) / tall - 0.56)
    upright = step(-u, -0.30, 0.03)
    inside_x = 1 - step(np.abs(v[:, 0] - 0.03), 0.075, 0.008)
    inside_y = 1 - step(np.abs(v[:, 1] - 0.10), 0.055, 0.008)
    glass = over(paint(len(v), GLASS), WHITE, 0.8 * stripes(v[:, 0] + v[:, 1] + v[:, 2], 0.16, 0.22, 0.2, 0.2))
    mask = (upright * np.maximum(inside_x, inside_y))[:, None]
    return paint(len(v), color) * (1 - mask) + glass * mask


def _beam(a: np.ndarray, b: np.ndarray, high: float, wide: float) -> Shape:
    """A bar with a rectangular section between two points of an xz plane."""
    d = b - a
    long = float(np.sqrt((d * d).sum()))
    bar = box([0, 0, 0], [long + 0.03, wide, high], 0.014, 6)
    return bar.rotated("y", -float(np.degrees(np.arctan2(d[2], d[0])))).moved(0.5 * (a + b))


def _piston(a: np.ndarray, base: FrameAt, b: np.ndarray, tip: FrameAt, radius: float) -> list[Part]:
    """A hydraulic cylinder from a point of one frame to a point of another: barrel and rod slide in each other."""

    def ends(t: float) -> tuple[np.ndarray, np.ndarray]:
        return _at(base(t), a), _at(tip(t), b)

    def aim(t: float, start: int) -> Frame:
        p, q = ends(t)
        d = (q - p) * (1 if start == 0 else -1)
        d = d / np.sqrt((d * d).sum())
        side = np.cross(d, [0.3, 0.9, 0.1])
        side = side / np.sqrt((side * side).sum())
        return np.stack([side, np.cross(d, side), d, p if start == 0 else q], -1)

    rest = float(np.sqrt(((b - a) ** 2).sum()))
    barrel = cylinder([0, 0, 0], [0, 0, 0.62 * rest], radius, bevel=0.005, around=18)
    rod = cylinder([0, 0, 0], [0, 0, 0.66 * rest], 0.55 * radius, bevel=0.003, around=14)
    return [
        solid(barrel, DARK, lambda t: aim(t, 0), casts=False),
        solid(rod, (0.85, 0.87, 0.9), lambda t: aim(t, 1), casts=False),
    ]


def _at(frame: Frame, p: np.ndarray) -> np.ndarray:
    return frame[:, 0] * p[0] + frame[:, 1] * p[1] + frame[:, 2] * p[2] + frame[:, 3]


def _bucket(wrist: np.ndarray, frame: FrameAt, color: Color) -> list[Part]:
    """A scoop, open towards the machine, with teeth."""
    a = np.linspace(0.15 * np.pi, 1.32 * np.pi, 24)
    r = 0.105
    outer = np.stack([r * np.cos(a - np.pi / 2), r * np.sin(a - np.pi / 2)], -1)
    inner = outer * 0.80
    outline = np.concatenate([outer, inner[::-1]])
    n = len(outline)
    half = 0.085
    low = np.stack([outline[:, 0], np.full(n, -half), outline[:, 1]], -1)
    shell = _prism(low, half * 2)
    lid_outline = np.concatenate([outer, [[0.0, 0.0]]])
    parts = [solid(shell.moved(wrist + vec(-0.005, 0, -0.085)), color, frame)]
    for side in (1, -1):
        plate = np.stack([lid_outline[:, 0], np.full(len(lid_outline), side * half - 0.008), lid_outline[:, 1]], -1)
        parts.append(solid(_prism(plate, 0.016).moved(wrist + vec(-0.005, 0, -0.085)), color, frame, casts=False))
    lip = outer[0] * 0.9
    for k in range(4):
        y = -0.063 + 0.042 * k
        start = np.array([lip[0], y, lip[1]])
        tip = start + [-0.015, 0, 0] + 0.05 * np.array([-np.sin(a[0] - np.pi / 2), 0, np.cos(a[0] - np.pi / 2)]) * -1
        parts.append(
            solid(
                capsule(start, tip, 0.014, 0.008, 4, 10).moved(wrist + vec(-0.005, 0, -0.085)),
                WHITE,
                frame,
                casts=False,
            )
        )
    return parts


def _prism(outline: Float64[np.ndarray, "N 3"], depth: float) -> Shape:
    """A plate in an xz plane, pushed along y by `depth`. The outline is a band, or a fan if its length is odd."""
    n = len(outline)
    a, b = outline, outline + vec(0, depth, 0)
    if n % 2 == 0:  # a band: point i faces point n - 1 - i
        i = np.arange(n // 2 - 1)
        caps = np.concatenate([np.stack([i, i + 1, n - 2 - i], -1), np.stack([i, n - 2 - i, n - 1 - i], -1)])
    else:  # a fan about the last point
        i = np.arange(n - 2)
        caps = np.stack([i, i + 1, np.full(n - 2, n - 1)], -1)
    j, k = np.arange(n), (np.arange(n) + 1) % n
    # walls have their own vertices, two per corner, so that all edges are hard
    wall = np.stack([a[j], a[k], b[k], b[j]], 1).reshape(-1, 3)
    q = 2 * n + 4 * np.arange(n)
    sides = np.concatenate([np.stack([q, q + 2, q + 1], -1), np.stack([q, q + 3, q + 2], -1)])
    faces = np.concatenate([caps[:, ::-1], caps + n, sides[:, ::-1]])
    vertices = np.concatenate([a, b, wall])
    t = vertices[faces]
    if (np.cross(t[:, 0], t[:, 1]) * t[:, 2]).sum() < 0:
        faces = faces[:, ::-1]
    return Shape(vertices, faces.astype(np.int32), vertices[:, [0, 2]])


def _track(y: float, period: float) -> list[Part]:
    """A crawler with wheels; the whole machine rocks a little on it."""
    n = 72
    a = 2 * np.pi * np.arange(n) / n
    long = np.stack(
        [
            np.clip(0.34 * np.cos(a), -0.2, 0.2) + 0.085 * np.cos(a) * (np.abs(np.cos(a)) > 0.588),
            0.085 * np.sign(np.sin(a)) * np.minimum(1, np.abs(np.sin(a)) * 1.24),
        ],
        -1,
    )
    belt = extrude(long, 0.11, bevel=0.012).rotated("x", 90).moved([0, y, 0.088])
    v = belt.vertices
    around = np.arctan2(v[:, 2] - 0.088, (v[:, 0]) * 0.45)
    on_rim = np.maximum(np.abs(v[:, 2] - 0.088) / 0.085, np.abs(v[:, 0]) / 0.285)
    lugs = stripes(around / (2 * np.pi), 1 / 26, 0.45, 0, 0.2) * step(on_rim, 0.86, 0.05)
    parts = [part(belt, over(paint(len(v), (0.23, 0.24, 0.27)), (0.45, 0.46, 0.50), lugs))]
    out = 0.058 if y > 0 else -0.058
    for x in (-0.19, -0.065, 0.065, 0.19):
        wheel = cylinder([x, y, 0.085], [x, y + out * 1.12, 0.085], 0.048, bevel=0.008, around=24)
        hub = cylinder([x, y, 0.085], [x, y + out * 1.25, 0.085], 0.018, bevel=0.005, around=16)
        parts += [part(wheel, STEEL, casts=False), part(hub, GOLD, casts=False)]
    return parts
