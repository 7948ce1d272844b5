"""A snake that winds up and down a pole."""

from __future__ import annotations

import numpy as np

from .colors import (
    GOLD,
    RED,
    WHITE,
    WOOD,
    Draw,
    Palette,
    hsv,
    over,
    paint,
    palette,
    step,
    stripes,
)
from .model import Model, Part, assemble, eye, part, solid, wave
from .shapes import Shape, lathe, resample, rings, rope, sphere, tube_rows
from .skin import Frame, compose, rigid, stretch, turn


def snake(draw: Draw) -> Model:
    """A snake that winds up and down a pole and nods."""
    turns, fat = draw.between(1.8, 2.2), draw.between(0.080, 0.094)
    wide, rise = draw.between(0.26, 0.30), draw.between(0.24, 0.27)
    way = draw.pick([1, -1])
    count, around = 150, 28
    s = np.linspace(0, 1, count)
    grow = np.minimum(1, (s / 0.45)) ** 0.7
    end = np.sqrt((1 - ((s - 0.985) / 0.015).clip(0, 1) ** 2).clip(0.02))
    width = fat * (0.14 + 0.86 * grow) * end
    head = np.exp(-(((s - 0.955) / 0.030) ** 2))
    radii = np.stack(
        [width * (1 + 0.50 * head - 0.22 * np.exp(-(((s - 0.89) / 0.03) ** 2))), width * (1 - 0.02 * head)], -1
    )
    start, climb = draw.between(0, 1), draw.between(0.36, 0.5)

    def spine(t: float) -> np.ndarray:
        """A helix; the body slides along it, and the head leaves it to look to the front."""
        slide = climb * wave(t, 2.0, start)
        a = 2 * np.pi * (turns * (s - 0.5) + slide)
        r = wide * (1 + 0.10 * np.sin(2 * np.pi * (3 * s - t)))
        lift = ((s - 0.80) / 0.20).clip(0, 1)
        x, y, z = r * np.cos(way * a), r * np.sin(way * a), rise * (turns * (s - 0.5) + 0.55 * slide)
        out = np.stack([x, y, z], -1)
        radial = np.stack([np.cos(way * a), np.sin(way * a), 0 * a], -1)
        bend = lift * lift
        return (
            out
            + radial * (0.16 * bend)[:, None]
            + np.array([0, 0, 1.0]) * (bend * (0.10 + 0.04 * wave(t, 1.0)))[:, None]
        )

    def skin(t: float) -> np.ndarray:
        return tube_rows(spine(t), radii, around)

    rest = rings(skin(0.0), np.zeros(3), np.zeros(3))

    def move(points: np.ndarray, t: float) -> np.ndarray:
        rows = skin(t)
        curve = spine(t)
        return np.concatenate([rows.reshape(-1, 3), curve[:1], curve[-1:] + 0.15 * (curve[-1:] - curve[-2:-1])])

    colors = palette(draw, vivid=True)
    along, angle = np.repeat(s, around), np.tile(2 * np.pi * np.arange(around) / around, count)
    along, angle = np.append(along, [0, 1]), np.append(angle, [0, 0])
    back = np.sin(angle)
    albedo = paint(len(along), colors.main)
    style = draw.pick(["bands", "diamonds", "dots", "stripe"])
    if style == "bands":
        albedo = over(albedo, colors.mark, stripes(along, 1 / 17, 0.45, 0, 0.12))
    elif style == "diamonds":
        saw = np.abs((along * 17 % 1) - 0.5) * 2
        albedo = over(albedo, colors.mark, step(back * 1.0 - 0.3 - 0.9 * saw, 0, 0.25))
        albedo = over(albedo, colors.accent, step(back * 1.0 - 0.75 - 0.9 * saw, 0, 0.2))
    elif style == "dots":
        saw, turn_ = (along * 26 % 1) - 0.5, (angle / (2 * np.pi) * 5 + np.floor(along * 26) * 0.5) % 1 - 0.5
        albedo = over(albedo, colors.accent, 1 - step(np.sqrt((2 * saw) ** 2 + (2 * turn_) ** 2), 0.62, 0.3))
    else:
        albedo = over(albedo, colors.mark, stripes(angle / (2 * np.pi), 1 / 8, 0.45, 0.1, 0.2))
    albedo = over(albedo, colors.belly, step(-back, 0.35, 0.25))
    albedo = over(albedo, colors.main, step(along, 0.925, 0.01) * step(back, -0.3, 0.2))
    parts = [part(Shape(rest.vertices, rest.faces, np.stack([along, angle], -1)), albedo, move, casts=False)]

    def face(t: float) -> Frame:
        """x forward, y left, z up at the middle of the head."""
        curve = spine(t)
        k = 143
        ahead = curve[k + 3] - curve[k - 3]
        ahead = ahead / np.sqrt((ahead * ahead).sum())
        left = np.cross([0, 0, 1.0], ahead)
        left = left / np.sqrt((left * left).sum())
        return np.stack([ahead, left, np.cross(ahead, left), curve[k]], -1)

    for side in (1, -1):
        parts += eye(
            [0.012, side * fat * 0.84, fat * 0.74],
            fat * 0.54,
            [0.6, side * 0.7, 0.15],
            rigid(face),
            hsv(0.14, 0.9, 0.95),
        )
    tongue = rope(
        np.array([[x, 0, -0.012 - 0.04 * (x - fat) * (x > fat)] for x in np.linspace(0.6 * fat, 2.9 * fat, 14)]),
        0.011,
        (0, 0, 1),
        10,
    )

    def flick(t: float) -> Frame:
        return compose(face(t), stretch([0.72 + 0.28 * wave(t, 0.5), 1, 1], (0.5 * fat, 0, 0)))

    parts.append(solid(tongue, RED, flick, casts=False))
    parts += _pole(draw, 0.5 * rise * turns + 0.26, wide - fat * 1.15, colors)
    return assemble(parts, 0.0, "a snake winding up and down a pole")


def _pole(draw: Draw, half: float, radius: float, colors: Palette) -> list[Part]:
    """A trunk with bark and leaves, or a barber's pole."""
    post = lathe(
        [
            [0, -half],
            [radius, -half],
            [radius, -half],
            *resample([[radius, -half], [radius * 0.92, half]], 0.014),
            [radius * 0.92, half],
            [0, half],
        ],
        96,
    )
    v = post.vertices
    angle = np.arctan2(v[:, 1], v[:, 0]) / (2 * np.pi)
    if draw.chance(0.4):
        twist = over(paint(len(v), WHITE), colors.accent, stripes(angle + v[:, 2] / 0.5, 0.5, 0.5, 0, 0.06))
        return [
            part(post, twist),
            part(sphere([0, 0, half], [radius * 1.06, radius * 1.06, radius * 0.7]), GOLD),
            part(sphere([0, 0, -half], [radius * 1.7, radius * 1.7, 0.05]), colors.mark),
        ]
    grain = 0.5 + 0.5 * np.sin(2 * np.pi * 9 * angle + 2.5 * np.sin(9 * v[:, 2]))
    wood = over(paint(len(v), WOOD), (0.50, 0.33, 0.20), 0.7 * grain)
    ends = step(np.abs(v[:, 2]), half - 0.001, 0.001)
    parts = [part(post, over(wood, (0.88, 0.70, 0.45), ends))]
    for k in range(3):
        a = draw.between(0, 6.28)
        z = half * draw.between(-0.9, 0.9)
        root = np.array([radius * 0.9 * np.cos(a), radius * 0.9 * np.sin(a), z])
        leaf = (
            sphere([0.085, 0, 0], [0.09, 0.04, 0.012], 14, 20)
            .rotated("y", -25)
            .rotated("z", float(np.degrees(a)))
            .moved(root)
        )

        def rustle(t: float, root: np.ndarray = root, k: int = k) -> Frame:
            return turn("x", 0.15 * wave(t, 1.0, 0.3 * k), root)

        parts.append(solid(leaf, (0.36, 0.65, 0.28), rustle, casts=False))
    return parts
