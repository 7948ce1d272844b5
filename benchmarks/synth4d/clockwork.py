"""Clockwork: a toy clock with gears, a wind-up robot. They look to -y."""

from __future__ import annotations

import numpy as np

from .colors import (
    BLACK,
    CREAM,
    DARK,
    GOLD,
    RED,
    STEEL,
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
from .model import Model, Part, assemble, eye, part, solid, wave
from .shapes import Shape, box, capsule, cylinder, extrude, lathe, sphere, torus, vec
from .skin import Frame, FrameAt, chain, compose, rigid, shift, turn

GLASS = (0.62, 0.83, 0.93)


def gear(teeth: int, radius: float, depth: float, tooth: float, hole: float) -> Shape:
    """A gear wheel about z; a tooth is centred on the x axis."""
    per = 10  # vertices of a tooth
    n = teeth * per
    a = 2 * np.pi * (np.arange(n) + 0.5) / n
    wave_ = np.clip(1.9 * np.cos(teeth * a), -1, 1)
    r = radius + tooth * wave_
    return extrude(np.stack([r * np.cos(a), r * np.sin(a)], -1), depth, hole, 0.007)


def clock(draw: Draw) -> Model:
    """A toy clock: meshing gears on a wooden frame, a pendulum that swings, hands that turn."""
    colors, second = palette(draw, vivid=True), palette(draw, vivid=True)
    module = 0.0135
    teeth = [draw.pick([20, 22, 24]), draw.pick([12, 14]), draw.pick([14, 16])]
    radii = [module * t for t in teeth]
    center = np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    center[0] = [-0.05, 0.60]
    for k, a in ((1, draw.between(-0.5, -0.1)), (2, draw.between(3.5, 3.9))):
        center[k] = center[0] + (radii[0] + radii[k]) * np.array([np.cos(a), np.sin(a)])
    rate = draw.pick([0.25, 0.5]) * draw.pick([1, -1])
    tints = [colors.main, colors.accent, second.main]
    front = -0.13
    parts: list[Part] = []
    for k in range(3):
        ratio = 1.0 if k == 0 else -teeth[0] / teeth[k]
        toward = center[k] - center[0]
        a = float(np.arctan2(toward[1], toward[0]))
        # a tooth of the first wheel at angle `a` meets a gap of the other at a + pi
        phase = 0.0 if k == 0 else a + np.pi + ratio * (0.0 - a) + np.pi / teeth[k]
        wheel = gear(teeth[k], radii[k], 0.075 - 0.004 * k, 0.0125, 0.30 * radii[k])
        v = wheel.vertices
        r, angle = np.sqrt(v[:, 0] ** 2 + v[:, 1] ** 2), np.arctan2(v[:, 1], v[:, 0])
        holes = np.cos(angle * (6 if k == 0 else 5)) - 3.5 * np.abs(r / radii[k] - 0.62)
        albedo = over(paint(len(v), tints[k]), tuple(0.45 * c + 0.55 for c in tints[k]), step(holes, 0.0, 0.25))

        def turning(t: float, k: int = k, ratio: float = ratio, phase: float = phase) -> Frame:
            return compose(
                shift([center[k][0], front, center[k][1]]),
                compose(turn("x", np.pi / 2), turn("z", ratio * 2 * np.pi * rate * (t + 0.03 * wave(t, 0.5)) + phase)),
            )

        parts.append(solid(wheel, albedo, turning, casts=False))
        axle = cylinder(
            [center[k][0], front - 0.065, center[k][1]],
            [center[k][0], 0.0, center[k][1]],
            (0.32 if k else 0.42) * radii[k],
            bevel=0.01,
            around=32,
        )
        parts.append(part(axle, GOLD if k else CREAM, casts=False))
    for k in (1, 2):  # a bar carries each axle
        start, end = ([center[j][0], -0.06, center[j][1]] for j in (0, k))
        parts.append(part(capsule(start, end, 0.038), colors.mark, casts=False))
    parts += _dial(center[0], 0.40 * radii[0], front - 0.066, rate)
    board = box([0, 0.03, 0.55], [0.52, 0.12, 0.92], 0.03, 18)
    bv = board.vertices
    grain = 0.5 + 0.5 * np.sin(70 * bv[:, 0] + 3 * np.sin(6 * bv[:, 2]))
    wood = over(paint(len(bv), WOOD), (0.60, 0.38, 0.22), 0.6 * grain)
    parts.append(part(board, wood))
    parts.append(part(box([0, 0, 0.05], [0.70, 0.38, 0.10], 0.03, 14), colors.mark))
    for side in (1, -1):
        roof = box([0, 0, 0], [0.40, 0.26, 0.05], 0.02, 10).rotated("y", side * 32).moved([side * 0.155, 0.0, 1.06])
        tiles = stripes(roof.vertices[:, 0] * side, 0.085, 0.5, 0, 0.1)
        parts.append(
            part(
                roof,
                over(paint(len(roof.vertices), RED if draw.chance(0.3) else second.mark), second.main, 0.8 * tiles),
            )
        )
    swing_by, pivot = draw.between(0.45, 0.6), (0.02, front + 0.0, 0.46)

    def swing(t: float) -> Frame:
        return turn("y", swing_by * wave(t, 1.0), pivot)

    parts.append(solid(cylinder([0.02, front, 0.17], [0.02, front, 0.46], 0.013), GOLD, swing, casts=False))
    bob = (
        lathe([[0, -0.02], [0.06, -0.02], [0.085, -0.01], [0.085, 0.01], [0.06, 0.02], [0, 0.02]], 40)
        .rotated("x", 90)
        .moved([0.02, front, 0.185])
    )
    parts.append(solid(bob, GOLD, swing))
    for side in (1, -1):
        parts += eye([0.02 + side * 0.03, front - 0.022, 0.195], 0.02, [0, -1, 0.0], rigid(swing))
    parts.append(part(cylinder([0.02, front - 0.025, 0.46], [0.02, 0.0, 0.46], 0.022), STEEL, casts=False))
    return assemble(parts, draw.yaw(16, 32), "a toy clock with meshing gears and a pendulum")


def _dial(center: np.ndarray, radius: float, y: float, rate: float) -> list[Part]:
    """Hands on the face of the large wheel."""
    parts: list[Part] = []
    for long, wide, speed, color in ((1.15, 0.009, rate * -2, BLACK), (0.8, 0.012, -abs(rate), RED)):
        hand = box([0, 0, 0.42 * long * radius], [2 * wide, 0.008, long * radius], 0.003, 4).moved(
            [0, -0.006 if color == BLACK else -0.014, 0]
        )

        def go(t, speed=speed):
            return compose(shift([center[0], y, center[1]]), turn("y", -2 * np.pi * speed * t + 0.6 * speed))

        parts.append(solid(hand, color, go, casts=False))
    parts.append(part(sphere([center[0], y - 0.012, center[1]], 0.016, 10, 14), GOLD, casts=False))
    return parts


def robot(draw: Draw) -> Model:
    """A wind-up robot that marches: legs and arms swing, the head looks about, the key on its back turns."""
    colors: Palette = palette(draw)
    metal = draw.pick([STEEL, (0.80, 0.82, 0.86), colors.belly])
    wide, tall = draw.between(0.30, 0.36), draw.between(0.30, 0.36)
    hip = 0.26
    pace = draw.pick([1.0, 2.0])
    swing_leg, swing_arm = draw.between(0.42, 0.52), draw.between(0.7, 0.9)

    def body(t: float) -> Frame:
        return compose(
            shift([0, 0, 0.018 * abs(wave(t, pace)) - 0.01]),
            compose(turn("y", 0.07 * wave(t, pace), (0, 0, 0)), turn("z", 0.14 * wave(t, pace, 0.1))),
        )

    chest = box([0, 0, hip + 0.03 + tall / 2], [wide, 0.24, tall], 0.045, 22)
    v = chest.vertices
    albedo = paint(len(v), colors.main)
    front = step(-v[:, 1], 0.112, 0.006)
    low, top = hip + 0.03, hip + 0.03 + tall
    panel = 1 - step(
        np.maximum(np.abs(v[:, 0]) / (0.34 * wide), np.abs(v[:, 2] - (low + 0.56 * tall)) / (0.24 * tall)), 1.0, 0.1
    )
    albedo = over(albedo, colors.belly, panel * front)
    albedo = over(albedo, colors.mark, step(-v[:, 2], -(low + 0.045), 0.01))
    parts = [solid(chest, albedo, body)]
    for k, tint in enumerate((RED, GOLD, hsv(0.35, 0.6, 0.8))):
        knob = sphere([(k - 1) * 0.2 * wide, -0.12, low + 0.70 * tall], [0.026, 0.018, 0.026], 12, 18)
        parts.append(solid(knob, tint, body, casts=False))
    gauge = cylinder([0, -0.115, low + 0.42 * tall], [0, -0.137, low + 0.42 * tall], 0.055, bevel=0.006)
    parts.append(solid(gauge, WHITE, body, casts=False))

    def needle(t: float) -> Frame:
        return chain(body, lambda t: turn("y", 0.9 * wave(t, pace / 2), (0, -0.14, low + 0.42 * tall)))(t)

    parts.append(
        solid(box([0, -0.141, low + 0.42 * tall + 0.018], [0.010, 0.008, 0.05], 0.003, 4), RED, needle, casts=False)
    )
    neck = np.array([0, 0, top])
    look: FrameAt = chain(
        body,
        lambda t: compose(
            turn("z", 0.5 * wave(t, 2.0 if pace == 1.0 else 4.0), neck), turn("y", 0.10 * wave(t, pace, 0.2), neck)
        ),
    )
    parts.append(solid(cylinder(neck - [0, 0, 0.02], neck + vec(0, 0, 0.06), 0.06), DARK, body, casts=False))
    parts += _head(draw, neck, wide, colors, metal, look)
    for side in (1, -1):
        shoulder = np.array([side * (wide / 2 + 0.035), 0, top - 0.07])
        go: FrameAt = chain(body, lambda t, side=side, p=shoulder: turn("x", side * swing_arm * wave(t, pace), p))
        elbow = shoulder + vec(side * 0.03, 0, -0.15)
        hand: FrameAt = chain(go, lambda t, side=side, p=elbow: turn("x", 0.45 - side * 0.35 * wave(t, pace, -0.08), p))
        parts.append(solid(sphere(shoulder, 0.058, 16, 24), metal, go))
        parts.append(solid(cylinder(shoulder, elbow, 0.036, 0.034), DARK, go, casts=False))
        parts.append(solid(sphere(elbow, 0.043, 14, 20), metal, go, casts=False))
        cuff = cylinder(elbow, elbow + vec(0, 0, -0.12), 0.044, 0.058, around=28)
        parts.append(
            solid(
                cuff,
                over(
                    paint(len(cuff.vertices), colors.main),
                    colors.mark,
                    step(-cuff.vertices[:, 2], -(elbow[2] - 0.085), 0.008),
                ),
                hand,
            )
        )
        for f in range(3):
            a = 2 * np.pi * f / 3 + 0.5
            at = elbow + vec(0.036 * np.cos(a), 0.036 * np.sin(a), -0.12)
            parts.append(
                solid(
                    capsule(at, at + vec(0.012 * np.cos(a), 0.012 * np.sin(a), -0.045), 0.017, 0.014, 4, 12),
                    metal,
                    hand,
                    casts=False,
                )
            )
        joint = np.array([side * 0.24 * wide, 0, hip + 0.03])

        def stride(t: float, side: int = side, p: np.ndarray = joint) -> Frame:
            return compose(
                turn("x", -side * swing_leg * wave(t, pace), p),
                shift([0, 0, 0.045 * max(0.0, side * wave(t, pace, 0.25))]),
            )

        leg = cylinder(joint, [joint[0], 0, 0.06], 0.05, 0.055)
        parts.append(
            solid(
                leg, over(paint(len(leg.vertices), metal), DARK, stripes(leg.vertices[:, 2], 0.05, 0.4, 0, 0.1)), stride
            )
        )
        foot = box([joint[0], -0.035, 0.045], [0.13, 0.24, 0.09], 0.028, 10)
        parts.append(
            solid(
                foot,
                over(paint(len(foot.vertices), colors.accent), colors.mark, step(-foot.vertices[:, 2], -0.022, 0.006)),
                stride,
            )
        )
    hub = np.array([0, 0.11, low + 0.55 * tall])
    wind: FrameAt = chain(body, lambda t: turn("y", 2 * np.pi * 0.5 * t, hub))
    parts.append(solid(cylinder(hub, hub + vec(0, 0.1, 0), 0.02), GOLD, wind, casts=False))
    for side in (1, -1):
        loop = torus(0.05, 0.016, 32, 12).rotated("x", 90).moved(hub + vec(side * 0.055, 0.11, 0))
        parts.append(solid(loop, GOLD, wind, casts=False))
    return assemble(parts, draw.yaw(22, 36), "a wind-up robot, marching")


def _head(draw: Draw, neck: np.ndarray, wide: float, colors: Palette, metal: Color, look: FrameAt) -> list[Part]:
    size, middle = np.array([0.80 * wide, 0.22, 0.21]), neck + vec(0, 0, 0.15)
    if draw.chance(0.5):
        skull = box(middle, size, 0.045, 16)
    else:
        skull = lathe(
            [
                [0, -0.10],
                [0.10, -0.10],
                [0.125, -0.085],
                *[[0.13, z] for z in np.linspace(-0.07, 0.02, 8)],
                *[[0.13 * np.cos(a), 0.02 + 0.10 * np.sin(a)] for a in np.linspace(0.1, np.pi / 2, 14)[:-1]],
                [0, 0.12],
            ],
            64,
        ).moved(middle)
    v = skull.vertices
    visor = 1 - step(np.maximum(np.abs(v[:, 0]) / 0.115, np.abs(v[:, 2] - middle[2] - 0.015) / 0.055), 1.0, 0.12)
    albedo = over(paint(len(v), metal), DARK, visor * step(-v[:, 1], 0.045, 0.01))
    parts = [solid(skull, albedo, look)]
    for side in (1, -1):
        parts += eye(middle + vec(side * 0.052, -0.098, 0.015), 0.042, [0, -1, 0.0], rigid(look), colors.accent)
        ear = cylinder(
            middle + vec(side * (0.5 * wide * 0.72), 0, 0),
            middle + vec(side * (0.5 * wide * 0.72 + 0.05), 0, 0),
            0.045,
            0.035,
        )
        parts.append(solid(ear, colors.accent, look, casts=False))
    grille = box(middle + vec(0, -0.112, -0.068), [0.11, 0.02, 0.032], 0.008, 16)
    parts.append(
        solid(
            grille,
            over(paint(len(grille.vertices), WHITE), DARK, stripes(grille.vertices[:, 0], 0.022, 0.4, 0, 0.2)),
            look,
            casts=False,
        )
    )
    parts.append(solid(cylinder(middle + vec(0, 0, 0.09), middle + vec(0, 0, 0.18), 0.010), STEEL, look, casts=False))
    parts.append(solid(sphere(middle + vec(0, 0, 0.19), 0.028, 14, 20), RED, look, casts=False))
    return parts
