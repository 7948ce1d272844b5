"""Non-rigid motion: a flag in the wind, a wobbling pudding, a dancing cactus. They look to -y."""

from __future__ import annotations

import numpy as np

from .colors import (
    BLACK,
    CREAM,
    GOLD,
    PINK,
    RED,
    WHITE,
    WOOD,
    Color,
    Draw,
    Palette,
    hsv,
    over,
    paint,
    palette,
    step,
    stripes,
)
from .model import Model, Part, assemble, eye, part
from .shapes import Shape, cylinder, lathe, pillow, resample, rope, sheet, smooth, sphere, star_outline
from .skin import Limb, Move, apply, clay


def flag(draw: Draw) -> Model:
    """A cloth on a pole; waves run from the pole to the free end. The cloth is an open sheet."""
    width, height = draw.between(0.66, 0.78), draw.between(0.46, 0.56)
    top, pole_x = 0.92, -0.38
    cloth = sheet(92, 64)
    u, v = cloth.vertices[:, 0], cloth.vertices[:, 2]
    cut = draw.pick(["plain", "swallow", "pennant"])
    narrow = {"plain": 0.0, "swallow": 0.0, "pennant": 0.6}[cut]
    notch = 0.3 if cut == "swallow" else 0.0
    x = width * u * (1 - notch * (1 - np.abs(2 * v - 1)))
    z = height * (v - 0.5) * (1 - narrow * u)
    rest = np.stack([x, 0 * x, z], -1)
    speed, waves, swing = draw.pick([1.0, 1.5]), draw.between(0.95, 1.35), draw.between(0.15, 0.19)

    def blow(points: np.ndarray, time: float) -> np.ndarray:
        """Transverse waves whose size grows from the pole; the cloth shortens as it folds and droops at the end."""
        s = points[:, 0] / width
        phase = 2 * np.pi * (waves * s - speed * time)
        grow = s * (1.25 - 0.35 * s)
        side = swing * grow * np.sin(phase + 1.6 * points[:, 2]) + 0.035 * s * np.sin(
            2 * phase + 7 * points[:, 2] + np.pi * time
        )
        lift = -0.10 * s * s + 0.05 * s * np.sin(2 * np.pi * (0.5 * time - 0.4 * s))
        return np.stack(
            [pole_x + 0.014 + points[:, 0] * (0.94 - 0.04 * s), side, top - 0.5 * height - 0.03 + points[:, 2] + lift],
            -1,
        )

    colors = palette(draw, vivid=True)
    p = np.stack([u * width, v * height], -1)
    albedo = _emblem(draw, p - [0.42 * width, 0.5 * height], p, width, height, colors)
    parts = [
        Part(Shape(rest, cloth.faces, cloth.uv), albedo, blow, casts=False, thin=0.45),
        part(cylinder([pole_x, 0, 0], [pole_x, 0, top], 0.021, 0.018), WOOD),
        part(sphere([pole_x, 0, top + 0.03], 0.038), GOLD),
        part(
            lathe(
                [
                    [0, 0],
                    [0.13, 0],
                    [0.13, 0],
                    [0.14, 0.015],
                    [0.14, 0.05],
                    *smooth([[0.13, 0.065], [0.06, 0.08], [0.035, 0.12]], 8),
                    [0, 0.125],
                ]
            ).moved([pole_x, 0, 0]),
            colors.mark,
        ),
    ]
    return assemble(parts, draw.between(-22, 22), f"a {cut} flag on a pole, waving", watertight=False)


def _emblem(draw: Draw, c: np.ndarray, p: np.ndarray, width: float, height: float, colors: Palette) -> np.ndarray:
    """The picture on the flag: c is measured from its middle, p from a corner, in units of the cloth."""
    base = paint(len(c), colors.main)
    field = draw.pick(["bars", "columns", "checks", "plain", "rays"])
    r, angle = np.sqrt((c * c).sum(1)), np.arctan2(c[:, 1], c[:, 0])
    if field == "bars":
        base = over(base, colors.belly, stripes(p[:, 1], height / 2.5, 0.5, 0, 0.06))
    elif field == "columns":
        base = over(base, colors.accent, step(p[:, 0], 0.66 * width, 0.012))
        base = over(base, colors.mark, step(-p[:, 0], -0.24 * width, 0.012))
    elif field == "checks":
        a, b = stripes(p[:, 0], width / 3, 0.5, 0, 0.05), stripes(p[:, 1], height / 2, 0.5, 0, 0.05)
        base = over(base, colors.belly, a + b - 2 * a * b)
    elif field == "rays":
        base = over(base, colors.belly, stripes(angle / (2 * np.pi), 1 / 10, 0.5, 0, 0.12))
    sign = draw.pick(["sun", "star", "ring", "heart"])
    if sign == "star":
        k = 0.5 * np.cos(5 * (angle - np.pi / 2)) + 0.5
        mask = 1 - step(r, 0.075 + 0.09 * k**1.5, 0.012)
    elif sign == "ring":
        mask = 1 - step(np.abs(r - 0.11), 0.032, 0.012)
    elif sign == "heart":
        x, y = np.abs(c[:, 0]) / 0.15, c[:, 1] / 0.15 + 0.1
        mask = 1 - step(x * x + (1.15 * y - 0.75 * np.sqrt(x + 1e-9)) ** 2, 0.8, 0.12)
    else:
        mask = 1 - step(r, 0.11 + 0.028 * np.cos(12 * angle), 0.012)
    mark = WHITE if field in ("plain", "columns") else colors.mark
    return over(base, mark, mask)


def pudding(draw: Draw) -> Model:
    """A pudding with a face that wobbles on its plate, topped by a cherry."""
    low, high, tall = draw.between(0.30, 0.34), draw.between(0.19, 0.23), draw.between(0.42, 0.50)
    flutes, depth = draw.pick([0, 8, 12]), draw.between(0.02, 0.035)
    profile = smooth(
        [[low, 0.0], [low * 1.02, 0.05], [0.5 * (low + high), 0.55 * tall], [high, 0.92 * tall], [high * 0.86, tall]],
        64,
    )
    jelly = lathe(
        [
            [0, 0],
            [0.5 * low, 0],
            *profile,
            *[[high * 0.86 * (1 - 0.25 * i), tall + 0.006 * i] for i in range(1, 4)],
            [0, tall + 0.02],
        ],
        128,
    )
    v = jelly.vertices
    angle = np.arctan2(v[:, 1], v[:, 0])
    if flutes:
        v = v * (1 + depth / 0.3 * np.cos(flutes * angle) * step(-v[:, 2], -tall * 0.93, 0.1))[:, None] * [
            1,
            1,
            0,
        ] + v * [0, 0, 1]
    colors = palette(draw, vivid=True)
    body = colors.main if draw.chance(0.6) else CREAM
    drip = tall * (0.72 + 0.09 * np.sin(5 * angle + draw.between(0, 6)) + 0.05 * np.sin(9 * angle + draw.between(0, 6)))
    albedo = over(paint(len(v), body), colors.mark, step(v[:, 2] - drip, 0.0, 0.02))
    albedo = over(albedo, WHITE, 0.25 * step(-v[:, 2], -0.06, 0.06))
    beat = draw.pick([1.0, 0.8])
    amount, spin = draw.between(0.30, 0.38), draw.between(0, 1)

    def wobble(points: np.ndarray, time: float) -> np.ndarray:
        """Sways most at the top, in an ellipse; bulges below while it is low."""
        h = (points[:, 2] / tall).clip(0)
        bend = amount * tall * h * h
        squash = 0.11 * np.sin(4 * np.pi * time / beat)
        bulge = 1 + squash * -0.7 * (1 - h * 0.6) + 0.05 * np.sin(2 * np.pi * time / beat + 5 * h) * h
        x = points[:, 0] * bulge + bend * np.sin(2 * np.pi * (time / beat + spin) - 0.8 * h)
        y = points[:, 1] * bulge + 0.35 * bend * np.cos(2 * np.pi * (time / beat + spin) - 0.8 * h)
        return np.stack([x, y, points[:, 2] * (1 + squash)], -1)

    move: Move = wobble
    parts = [part(Shape(v, jelly.faces, jelly.uv), albedo, move)]
    at = 0.42 * tall

    def skin(a: np.ndarray | float, z: np.ndarray | float) -> np.ndarray:
        """Radius of the jelly at an angle and a height."""
        plain = np.interp(z, [q[1] for q in profile], [q[0] for q in profile])
        return plain * (1 + (depth / 0.3 * np.cos(flutes * np.asarray(a)) if flutes else 0))

    for side in (1, -1):
        a = -np.pi / 2 + side * 0.40
        r = float(skin(a, at))
        parts += eye([0.97 * r * np.cos(a), 0.97 * r * np.sin(a), at], 0.05, [side * 0.25, -1, 0.1], move)
        a = -np.pi / 2 + side * 0.72
        r = float(skin(a, at - 0.075))
        cheek = sphere([0.975 * r * np.cos(a), 0.975 * r * np.sin(a), at - 0.075], 0.034, 12, 16)
        parts.append(part(cheek, PINK, move, casts=False))
    a = np.linspace(-0.20, 0.20, 13)
    z = at - 0.085 + 0.9 * a * a
    r = skin(a - np.pi / 2, z) + 0.004
    smile = np.stack([r * np.sin(a), -r * np.cos(a), z], -1)
    parts.append(part(rope(smile, 0.014, (0, -1, 0)), BLACK, move, casts=False))

    def ride(points: np.ndarray, time: float) -> np.ndarray:
        """The cherry stays round: it follows the middle of the top and leans with it."""
        foot = np.array([[0.0, 0.0, tall], [0.0, 0.0, 0.9 * tall]])
        at_, below = wobble(foot, time)
        axis = (at_ - below) / np.sqrt(((at_ - below) ** 2).sum())
        side = np.cross([0.0, 1.0, 0.0], axis)
        side = side / np.sqrt((side * side).sum())
        frame = np.stack([side, np.cross(axis, side), axis, at_], -1)
        return apply(frame, points - [0, 0, tall])

    parts.append(part(sphere([0, 0, tall + 0.065], 0.068), RED, ride))
    stem = np.stack(
        [0.03 * np.linspace(0, 1, 12) ** 2, 0 * np.linspace(0, 1, 12), tall + 0.12 + 0.11 * np.linspace(0, 1, 12)], -1
    )
    parts.append(part(rope(stem, 0.009, (0, 1, 0)), (0.35, 0.5, 0.2), ride, casts=False))
    plate = resample(
        [[0, -0.035], [0.24, -0.035], [0.44, 0.0], [0.45, 0.012], [0.43, 0.015], [0.30, -0.008], [0, -0.008]], 0.03
    )
    dish = lathe(plate, 72)
    rim = step(np.sqrt((dish.vertices[:, :2] ** 2).sum(1)), 0.40, 0.015)
    parts.append(part(dish, over(paint(len(dish.vertices), (0.90, 0.93, 0.97)), colors.accent, rim), casts=False))
    return assemble(parts, draw.between(-25, 25), "a pudding with a face that wobbles on a plate")


def cactus(draw: Draw) -> Model:
    """A cactus in a pot, dancing: its spine bends like a spring."""
    tall, fat = draw.between(0.56, 0.66), draw.between(0.115, 0.14)
    limbs = [Limb(0, [0, 0, 0.16], [0, 0, 0.16 + tall], fat * 0.92, fat)]
    arms = draw.whole(1, 3)
    first = draw.pick([1, -1])
    for i in range(arms):
        side = first * (1 if i % 2 == 0 else -1)
        z, reach, rise = 0.16 + tall * draw.between(0.28, 0.55), draw.between(0.20, 0.26), draw.between(0.14, 0.22)
        deep = 0.0 if i < 2 else -0.8 * reach
        elbow = [side * reach * (1 if i < 2 else 0.55), deep, z + 0.03]
        limbs += [
            Limb(0, [0, 0, z], elbow, 0.062, 0.064),
            Limb(0, elbow, [elbow[0] * 1.06, deep, z + rise], 0.064, 0.06),
        ]
    body = clay(limbs, 1, blend=0.05, cell=0.02)
    v = body.shape.vertices
    green = hsv(draw.between(0.26, 0.42), draw.between(0.5, 0.65), draw.between(0.62, 0.78))
    light, deep_green = tuple(0.6 * c + 0.4 for c in green), tuple(0.62 * c for c in green)
    colors = palette(draw)
    trunk = body.shares[:, 0]
    ribs = stripes(np.arctan2(v[:, 1], v[:, 0]) / (2 * np.pi), 1 / 12, 0.42, 0, 0.3)
    albedo = over(paint(len(v), green), light, 0.75 * ribs * step(trunk, 0.5, 0.4))
    albedo = over(albedo, deep_green, 0.9 * stripes(v[:, 2], 0.075, 0.35, 0, 0.3) * step(-trunk, -0.5, 0.4))
    beat, amount, twist = draw.pick([1.0, 2.0]), draw.between(0.9, 1.2), draw.between(0.3, 0.7)
    base = 0.20

    def dance(points: np.ndarray, time: float) -> np.ndarray:
        """Constant curvature in a plane, after a twist about the axis: lengths along the spine are kept."""
        h = (points[:, 2] - base).clip(0) / tall
        a = twist * np.sin(2 * np.pi * time / (2 * beat)) * h
        x, y = np.cos(a) * points[:, 0] - np.sin(a) * points[:, 1], np.sin(a) * points[:, 0] + np.cos(a) * points[:, 1]
        curl = amount * np.sin(2 * np.pi * time / beat) + 0.25 * np.sin(4 * np.pi * time / beat + 1)
        curl = curl if abs(curl) > 1e-4 else 1e-4
        angle = curl * h * (0.35 + 0.65 * h)
        radius = h * tall * np.where(h > 0, np.sinc(angle / (2 * np.pi)), 1)
        lean = 0.5 * angle
        z = base + radius * np.cos(lean) + np.minimum(points[:, 2] - base, 0)
        return np.stack([radius * np.sin(lean) + x * np.cos(angle), y, z - x * np.sin(angle)], -1)

    parts = [part(body.shape, albedo, dance)]
    at, gap = 0.16 + tall * 0.78, fat * 0.97
    for side in (1, -1):
        parts += eye([side * 0.052, -gap * 0.88, at], 0.036, [side * 0.3, -1, 0.1], dance)
        parts.append(part(sphere([side * 0.085, -gap * 0.70, at - 0.062], 0.024, 12, 16), PINK, dance, casts=False))
    a = np.linspace(-0.34, 0.34, 13)
    smile = np.stack([gap * 1.01 * np.sin(a), -gap * 1.01 * np.cos(a), at - 0.075 + 0.28 * a * a], -1)
    parts.append(part(rope(smile, 0.011, (0, -1, 0)), BLACK, dance, casts=False))
    top = 0.16 + tall + fat * 0.93
    parts += _flower([0.03, -0.03, top], colors.accent, dance, draw.whole(5, 7))
    parts += _pot(draw, colors)
    return assemble(parts, draw.between(-25, 25), "a cactus with a face, dancing in its pot")


def _flower(at: list[float], color: Color, move: Move, petals: int) -> list[Part]:
    disc = pillow(star_outline(petals, 0.55, 72, 1.0) * 0.085, 0.022, 10).moved(at)
    return [
        part(disc, color, move, casts=False),
        part(sphere([at[0], at[1], at[2] + 0.02], 0.03, 10, 16), GOLD, move, casts=False),
    ]


def _pot(draw: Draw, colors: Palette) -> list[Part]:
    profile = [
        [0, 0],
        [0.15, 0],
        [0.15, 0],
        *resample([[0.16, 0.01], [0.21, 0.19]], 0.02),
        [0.21, 0.19],
        [0.24, 0.19],
        [0.24, 0.19],
        [0.25, 0.20],
        [0.25, 0.25],
        [0.24, 0.26],
        [0.24, 0.26],
        [0.20, 0.26],
        [0.20, 0.26],
        [0.195, 0.23],
        [0.195, 0.23],
        [0.1, 0.235],
        [0, 0.235],
    ]
    pot = lathe(profile, 64)
    v = pot.vertices
    angle = np.arctan2(v[:, 1], v[:, 0])
    clay_color = draw.pick([(0.84, 0.45, 0.30), colors.mark, colors.main, (0.93, 0.90, 0.84)])
    zig = 0.105 + 0.035 * (2 * np.abs((angle * 10 / (2 * np.pi)) % 1 - 0.5) * 2 - 1)
    albedo = over(
        paint(len(v), clay_color),
        colors.accent,
        (1 - step(np.abs(v[:, 2] - zig), 0.018, 0.012)) * step(-v[:, 2], -0.185, 0.01),
    )
    inside = step(v[:, 2], 0.225, 0.004) * step(-np.sqrt((v[:, :2] ** 2).sum(1)), -0.197, 0.004)
    return [part(Shape(v, pot.faces, pot.uv), over(albedo, (0.36, 0.25, 0.18), inside))]
