"""Self-occlusion: a teddy that folds its arms, a carousel; a snake is in `snake.py`. They look to -y."""

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
    Draw,
    Palette,
    coat,
    hsv,
    over,
    paint,
    palette,
    step,
    stripes,
)
from .model import Model, Part, assemble, eye, part, pulse, solid, wave
from .shapes import Shape, cone, cylinder, lathe, resample, rope, smooth, sphere, vec
from .skin import Frame, FrameAt, Limb, blob, chain, clay, compose, rigid, shift, skinned, turn


def hugger(draw: Draw) -> Model:
    """A teddy (bear, rabbit or mouse) that throws its arms wide and crosses them before its body."""
    style = draw.pick(["bear", "rabbit", "mouse"])
    fat, head = draw.between(0.165, 0.19), draw.between(0.155, 0.175)
    neck = np.array([0, 0, 0.50])
    skull = np.array([0, -0.01, 0.62])
    shoulder, elbow, wrist = [0.13, 0, 0.44], [0.285, 0, 0.44], [0.475, 0, 0.44]
    limbs = [
        blob(0, [0, 0, 0.28], [fat, fat * 0.85, 0.205]),
        blob(1, skull, [head * 1.08, head * 0.95, head]),
        blob(1, skull + vec(0, -head * 0.82, -0.045), [0.072, 0.055, 0.052]),
    ]
    for side, up, low in ((1, 2, 3), (-1, 4, 5)):
        s, e, w = ([side * p[0], p[1], p[2]] for p in (shoulder, elbow, wrist))
        limbs += [Limb(up, s, e, 0.060, 0.052), Limb(low, e, w, 0.052, 0.058)]
    for side, bone in ((1, 6), (-1, 7)):
        limbs += [
            Limb(bone, [side * 0.10, 0, 0.16], [side * 0.13, -0.02, 0.06], 0.075, 0.068),
            blob(bone, [side * 0.135, -0.055, 0.05], [0.066, 0.095, 0.055]),
        ]
    body = clay(limbs, 8, blend=0.045, cell=0.0185, soft=0.028)
    pace, lag = draw.pick([2.0, 4.0 / 3]), 0.06

    def sway(t: float) -> Frame:
        return compose(
            shift([0, 0, 0.012 * wave(t, pace / 2)]),
            turn("y", 0.09 * wave(t, 2 * pace if pace == 2.0 else 4.0), (0, 0, 0.1)),
        )

    def fold(t: float) -> float:
        """0: arms wide, 1: crossed."""
        p = pulse(t, pace)
        return p * p * (3 - 2 * p)

    over_, _under = draw.pick([(1, -1), (-1, 1)])

    def arm(side: int) -> list[FrameAt]:
        high = 1.0 if side == over_ else 0.0
        s, e = np.array([side * shoulder[0], shoulder[1], shoulder[2]]), np.array([side * elbow[0], elbow[1], elbow[2]])

        def upper(t: float) -> Frame:
            f = fold(t + lag * side)
            lift = turn("y", -side * (0.55 * (1 - f) - (0.42 - 0.44 * high) * f), s)
            return compose(turn("z", -side * (1.26 + 0.06 * high) * f, s), lift)

        def lower(t: float) -> Frame:
            f = fold(t + lag * side - 0.03)
            return compose(
                turn("z", -side * (1.72 - 0.04 * high) * f, e),
                turn("y", -side * (0.35 * (1 - f) * wave(t, pace / 2) + 0.12 * high * f), e),
            )

        return [chain(sway, upper), chain(sway, upper, lower)]

    def nod(t: float) -> Frame:
        return compose(turn("y", 0.14 * wave(t, 2.0, 0.1), neck), turn("z", 0.22 * wave(t, 4.0), neck))

    step_: list[FrameAt] = [
        lambda t, side=side: turn("x", 0.16 * wave(t, pace / 2, 0.25 * side), (0, 0, 0.17)) for side in (1, -1)
    ]
    frames: list[FrameAt] = [sway, chain(sway, nod), *arm(1), *arm(-1), chain(sway, step_[0]), chain(sway, step_[1])]
    colors = palette(draw)
    v = body.shape.vertices
    albedo = paint(len(v), colors.main)
    shirt = draw.chance(0.6)
    if not shirt and draw.chance(0.6):
        albedo = coat(draw, v, colors, size=0.9)
    torso = body.shares[:, 0]
    if shirt:
        cloth = torso + body.shares[:, 3] + body.shares[:, 5]
        band = over(
            paint(len(v), colors.accent),
            WHITE,
            stripes(np.where(np.abs(v[:, 0]) > 0.17, np.abs(v[:, 0]), v[:, 2]), 0.11, 0.42, 0.1, 0.1),
        )
        mask = step(cloth, 0.5, 0.2)[:, None] * step(v[:, 2], 0.15, 0.02)[:, None]
        albedo = albedo + (band - albedo) * mask
    else:
        patch = 1 - step(np.sqrt((v[:, 0] / 0.11) ** 2 + ((v[:, 2] - 0.27) / 0.145) ** 2), 1.0, 0.12)
        albedo = over(albedo, colors.belly, patch * step(-v[:, 1], 0.02, 0.05) * step(torso, 0.4, 0.3))
    albedo = over(albedo, colors.belly, step(body.shares[:, 2], 0.55, 0.2))
    feet = body.shares[:, -1] + body.shares[:, -3]
    albedo = over(albedo, colors.mark, 0.9 * step(feet, 0.75, 0.25))
    hands = step(np.abs(v[:, 0]), 0.43, 0.02) * (body.shares[:, 4] + body.shares[:, 6])
    albedo = over(albedo, colors.belly, step(hands, 0.4, 0.3))
    parts = [part(body.shape, albedo, skinned(body.weights, frames))]
    on_head = rigid(frames[1])
    parts.append(
        part(
            sphere(skull + vec(0, -head * 0.82 - 0.055, -0.025), [0.03, 0.02, 0.022], 12, 18),
            BLACK,
            on_head,
            casts=False,
        )
    )
    for side in (1, -1):
        parts += eye(skull + vec(side * 0.072, -head * 0.82, 0.03), 0.036, [side * 0.15, -1, 0.05], on_head)
        parts += _teddy_ear(style, skull, head, side, colors, frames[1], pace)
        parts.append(
            part(
                sphere(skull + vec(side * 0.115, -head * 0.68, -0.04), [0.03, 0.02, 0.024], 12, 16),
                PINK,
                on_head,
                casts=False,
            )
        )
    return assemble(parts, draw.between(-18, 18), f"a toy {style} that opens its arms and crosses them")


def _teddy_ear(
    style: str, skull: np.ndarray, head: float, side: int, colors: Palette, frame: FrameAt, pace: float
) -> list[Part]:
    if style == "rabbit":
        root = skull + vec(side * 0.07, 0.01, head * 0.8)

        def flop(t: float) -> Frame:
            return compose(frame(t), turn("y", side * (0.22 + 0.16 * wave(t, pace / 2, 0.2)), root))

        shapes = [
            (sphere(root + vec(0, 0, 0.1), [0.045, 0.028, 0.14], 20, 24), colors.main),
            (sphere(root + vec(0, -0.016, 0.1), [0.027, 0.018, 0.105], 16, 20), PINK),
        ]
        return [solid(s, c, flop, casts=False) for s, c in shapes]
    size = 0.105 if style == "mouse" else 0.066
    at = skull + vec(side * head * (0.92 if style == "mouse" else 0.78), 0.015, head * 0.8)
    return [
        solid(sphere(at, [size, size * 0.5, size], 18, 24), colors.main, frame, casts=False),
        solid(
            sphere(at + vec(0, -size * 0.28, 0), [size * 0.65, size * 0.3, size * 0.65], 14, 20),
            PINK,
            frame,
            casts=False,
        ),
    ]


def carousel(draw: Draw) -> Model:
    """A merry-go-round: animals on poles rise and fall as they go round under a striped roof."""
    colors = palette(draw, vivid=True)
    count, rate = draw.whole(4, 6), draw.pick([0.25, 0.5]) * draw.pick([1, -1])
    wide = 0.45

    def go(t: float) -> Frame:
        return turn("z", 2 * np.pi * rate * t)

    floor = lathe(
        [
            [0, 0],
            [wide, 0],
            [wide, 0],
            [wide + 0.01, 0.01],
            [wide + 0.01, 0.055],
            [wide, 0.065],
            [wide, 0.065],
            *resample([[wide, 0.065], [0.1, 0.065]], 0.03),
            [0, 0.065],
        ],
        96,
    )
    v = floor.vertices
    angle, r = np.arctan2(v[:, 1], v[:, 0]) / (2 * np.pi), np.sqrt(v[:, 0] ** 2 + v[:, 1] ** 2)
    boards = over(paint(len(v), CREAM), WOOD, 0.6 * stripes(angle, 1 / 24, 0.5, 0, 0.1))
    boards = over(boards, colors.mark, step(r, wide - 0.01, 0.01) * (1 - stripes(angle, 1 / 24, 0.5, 0, 0.08)))
    boards = over(boards, colors.accent, step(r, wide - 0.01, 0.01) * stripes(angle, 1 / 24, 0.5, 0, 0.08))
    pillar = lathe(
        [
            [0, 0.05],
            [0.10, 0.05],
            *smooth([[0.10, 0.06], [0.085, 0.12], [0.10, 0.32], [0.085, 0.52], [0.12, 0.60]], 56),
            [0, 0.61],
        ],
        72,
    )
    spiral = np.arctan2(pillar.vertices[:, 1], pillar.vertices[:, 0]) / (2 * np.pi) * 2 + pillar.vertices[:, 2] / 0.25
    n = 2 * draw.whole(6, 9)
    brim = 0.47
    roof = lathe(
        [
            [0, 0.60],
            [brim - 0.02, 0.60],
            *resample([[brim, 0.58], [brim, 0.64]], 0.01),
            [brim, 0.64],
            *smooth([[brim, 0.64], [0.28, 0.73], [0.10, 0.84], [0.02, 0.92]], 30),
            [0, 0.93],
        ],
        8 * n,
    )
    rv = roof.vertices.copy()
    a = np.arctan2(rv[:, 1], rv[:, 0]) / (2 * np.pi)
    scallop = np.abs(np.sin(np.pi * a * n))
    lowest = step(-rv[:, 2], -0.615, 0.03) * step(np.sqrt((rv[:, :2] ** 2).sum(1)), brim - 0.01, 0.01)
    rv[:, 2] -= 0.045 * scallop * lowest
    tent = over(paint(len(rv), colors.main), WHITE, stripes(a, 2 / n, 0.5, 0.25, 0.06))
    tent = over(tent, CREAM, step(-np.sqrt((rv[:, :2] ** 2).sum(1)), -0.449, 0.002) * step(-rv[:, 2], -0.605, 0.002))
    parts = [
        solid(floor, boards, go, casts=False),
        solid(pillar, over(paint(len(spiral), CREAM), RED, stripes(spiral, 1.0, 0.4, 0, 0.08)), go),
        solid(Shape(rv, roof.faces, roof.uv), tent, go, casts=False),
        solid(sphere([0, 0, 0.95], 0.035), GOLD, go, casts=False),
    ]
    for k in range(count):
        parts += _mount(draw, 2 * np.pi * k / count, k / count, go, np.sign(rate))
    return assemble(parts, 0.0, f"a carousel with {count} animals rising and falling")


def _mount(draw: Draw, around: float, phase: float, go: FrameAt, way: float) -> list[Part]:
    """One animal on its pole: modelled looking to +x at the origin, then carried to its place on the rim."""
    colors = palette(draw)
    kind = draw.pick(["horse", "pig", "swan"])
    place = compose(turn("z", around), compose(shift([0.315, 0, 0]), turn("z", way * np.pi / 2)))

    def ride(t: float) -> Frame:
        return compose(go(t), compose(place, shift([0, 0, 0.30 + 0.075 * wave(t, 1.0, 2 * phase)])))

    pole = cylinder([0, 0, 0.06], [0, 0, 0.61], 0.011, bevel=0.002, around=14)
    parts = [solid(pole, GOLD, lambda t: compose(go(t), place), casts=False)]
    head = [0.155, 0, 0.12] if kind != "pig" else [0.14, 0, 0.04]
    limbs = [Limb(0, [-0.075, 0, 0], [0.07, 0, 0], 0.058 if kind != "pig" else 0.075, 0.056 if kind != "pig" else 0.07)]
    if kind == "swan":
        limbs += [
            Limb(0, [0.08, 0, 0.02], [0.125, 0, 0.10], 0.036, 0.028),
            Limb(0, [0.125, 0, 0.10], head, 0.028, 0.036),
            Limb(0, [-0.08, 0, 0.02], [-0.15, 0, 0.06], 0.045, 0.02),
        ]
    else:
        limbs += [
            Limb(0, [0.08, 0, 0.02], head, 0.048, 0.042),
            Limb(0, head, [head[0] + 0.055, 0, head[2] - 0.03], 0.042, 0.03),
        ]
        for x, s in ((0.07, 1), (0.07, -1), (-0.08, 1), (-0.08, -1)):
            limbs.append(
                Limb(0, [x, 0.032 * s, -0.02], [x + 0.035 * (1 if x > 0 else -1), 0.038 * s, -0.115], 0.026, 0.021)
            )
        limbs.append(Limb(0, [-0.12, 0, 0.02], [-0.17, 0, -0.03], 0.02, 0.016))
    body = clay(limbs, 1, blend=0.03, cell=0.0155)
    v = body.shape.vertices
    base = {"horse": colors.main, "pig": PINK, "swan": WHITE}[kind]
    saddle = 1 - step(np.abs(v[:, 0]), 0.042, 0.012)
    albedo = over(paint(len(v), base), colors.accent, saddle)
    if kind != "swan":
        albedo = over(albedo, colors.mark, step(-v[:, 2], 0.095, 0.01))
    parts.append(solid(body.shape, albedo, ride))
    for s in (1, -1):
        ball = sphere([head[0] + 0.015, s * 0.036, head[2] + 0.014], 0.014, 8, 12)
        parts.append(solid(ball, BLACK, ride, casts=False))
        if kind != "swan":
            ear = cone(
                [head[0] - 0.02, s * 0.024, head[2] + 0.025], [head[0] - 0.02, s * 0.032, head[2] + 0.075], 0.018, 10
            )
            parts.append(solid(ear, colors.mark, ride, casts=False))
    if kind == "swan":
        parts.append(
            solid(
                cone([head[0] + 0.02, 0, head[2]], [head[0] + 0.095, 0, head[2] - 0.015], 0.022, 12),
                hsv(0.08, 0.85, 0.98),
                ride,
                casts=False,
            )
        )
    if kind == "horse":
        mane = rope(np.array(smooth([[0.16, 0, 0.165], [0.12, 0, 0.15], [0.075, 0, 0.06]], 16)), 0.022, (0, 1, 0), 10)
        parts.append(solid(mane, colors.mark, ride, casts=False))
    return parts
