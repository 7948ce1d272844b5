"""Articulated creatures: a walker on four legs, a flapping bird; a fish is in `fish.py`. They look to +x."""

from __future__ import annotations

import numpy as np

from .colors import BLACK, CREAM, Draw, Palette, coat, hsv, over, paint, palette, step
from .model import Model, Part, assemble, eye, part, solid, wave
from .shapes import Shape, capsule, cone, oval, pillow, smooth, sphere, tube, vec
from .skin import Frame, FrameAt, Limb, Move, blob, chain, clay, compose, rigid, shift, skinned, turn


def walker(draw: Draw) -> Model:
    """A toy animal in walk: dog, cat, cow, pony or dinosaur proportions, limbs swung in diagonal pairs."""
    style = draw.pick(["dog", "cat", "cow", "pony", "dino"])
    dino = style == "dino"
    length, girth = draw.between(0.24, 0.32), draw.between(0.13, 0.16)
    leg, foot = draw.between(0.29, 0.36) * (1.2 if style == "pony" else 1.0), draw.between(0.05, 0.062)
    neck = {"dog": 0.16, "cat": 0.13, "cow": 0.14, "pony": 0.26, "dino": 0.30}[style] * draw.between(0.9, 1.1)
    head, snout = draw.between(0.115, 0.14), {"dog": 0.13, "cat": 0.07, "cow": 0.13, "pony": 0.16, "dino": 0.13}[style]
    hip = leg + 0.04
    chest, rump = np.array([length * 0.5, 0, hip + 0.05]), np.array([-length * 0.5, 0, hip + 0.05])
    throat = chest + vec(0.07, 0, 0.05)
    skull = throat + vec(0.55 * neck + 0.03, 0, 0.95 * neck + 0.04)
    tip = rump + ([-0.34, 0, 0.02] if dino else [-0.17, 0, 0.17 if style in ("dog", "cat") else -0.08])
    middle = 0.5 * (rump + tip) + [-0.03, 0, -0.03]
    thick = 0.085 if dino else 0.035
    torso, skull_bone, tail_a, tail_b = 0, 1, 2, 3
    limbs = [
        Limb(torso, rump, chest, girth * (1.12 if dino else 0.95), girth),
        Limb(skull_bone, throat, skull, girth * 0.62, head * 0.62),
        blob(skull_bone, skull, [head * 1.05, head, head * 0.95]),
        Limb(
            skull_bone,
            skull + vec(head * 0.4, 0, -0.03),
            skull + vec(head * 0.5 + snout, 0, -0.055),
            head * 0.62,
            head * 0.5,
        ),
        Limb(tail_a, rump + vec(-0.06, 0, 0.03), middle, thick * 1.3, thick),
        Limb(tail_b, middle, tip, thick, thick * 0.45),
    ]
    feet = [(x, y) for x in (chest[0] - 0.01, rump[0]) for y in (girth * 0.78, -girth * 0.78)]
    for i, (x, y) in enumerate(feet):
        up, low = 4 + 2 * i, 5 + 2 * i
        knee = [x + (0.015 if i < 2 else -0.025), y, hip * 0.52]
        limbs += [Limb(up, [x, y * 0.9, hip], knee, 0.085, 0.058), Limb(low, knee, [x, y, foot], 0.056, foot)]
        limbs.append(blob(low, [x + 0.025, y, foot * 0.8], [foot * 1.25, foot * 1.02, foot * 0.8]))
    body = clay(limbs, 12, blend=0.055, cell=0.019)

    def body_frame(t: float) -> Frame:
        return compose(shift([0, 0, 0.022 * wave(t, 0.5)]), turn("y", 0.05 * wave(t, 1.0, 0.1), rump))

    def nod(t: float) -> Frame:
        return compose(turn("y", 0.10 * wave(t, 0.5, 0.2), throat), turn("z", 0.22 * wave(t, 2.0), throat))

    wag = 0.55 if not dino else 0.35
    frames: list[FrameAt] = [
        body_frame,
        chain(body_frame, nod),
        chain(body_frame, lambda t: turn("z", 0.6 * wag * wave(t, 1.0), rump)),
        chain(
            body_frame,
            lambda t: turn("z", 0.6 * wag * wave(t, 1.0), rump),
            lambda t: turn("z", wag * wave(t, 1.0, -0.12), middle),
        ),
    ]
    swing = draw.between(0.5, 0.62)
    for i, (x, y) in enumerate(feet):
        frames += _leg(
            [x, y, hip], [x, y, hip * 0.52], 0.5 * ((i + i // 2) % 2), swing, -1.0 if i < 2 else 1.0, body_frame
        )
    colors = palette(draw)
    v = body.shape.vertices
    albedo = coat(draw, v, colors)
    under = step(-(v[:, 2] - hip + 0.02) / girth, 0.0, 0.5) * step(-np.abs(v[:, 0]), -length * 0.6, 0.1)
    albedo = over(albedo, colors.belly, 0.9 * under)
    albedo = over(albedo, colors.belly, step(body.shares[:, 3], 0.55, 0.3))
    albedo = over(albedo, colors.mark if draw.chance(0.5) else colors.belly, step(-v[:, 2], -0.10, 0.03))
    parts = [part(body.shape, albedo, skinned(body.weights, frames))]
    on_head = rigid(frames[skull_bone])
    nose = skull + vec(head * 0.5 + snout + head * 0.42, 0, -0.02)
    if not dino:
        parts.append(part(sphere(nose, [0.03, 0.042, 0.03], 12, 20), BLACK, on_head, casts=False))
    for side in (1, -1):
        at = skull + vec(head * 0.72, side * head * 0.58, head * 0.34)
        parts += eye(at, head * 0.30, [0.8, side * 0.62, 0.1], on_head)
        if dino:
            parts.append(
                part(sphere(nose + vec(-0.012, side * 0.028, 0.002), 0.012, 8, 10), BLACK, on_head, casts=False)
            )
        parts += _ear(style, skull, head, side, colors, on_head)
    if dino:
        parts += _plates(rump, throat, girth, colors, body_frame)
    elif style == "pony":
        mane = Shape(*_mane(throat, skull, head))
        parts.append(part(mane, colors.mark, on_head, casts=False))
    what = f"a {style} on four legs, walking and wagging its tail"
    return assemble(parts, draw.pick([-38.0, -52.0, 180 + 40.0, 180 + 55.0]) + draw.between(-6, 6), what)


def _leg(hip: list[float], knee: list[float], phase: float, swing: float, bend: float, body: FrameAt) -> list[FrameAt]:
    """Thigh and shank: the knee bends while the leg swings forward."""

    def thigh(t: float) -> Frame:
        return turn("y", -swing * wave(t, 1.0, phase), hip)

    def shank(t: float) -> Frame:
        return turn("y", bend * -0.75 * max(0.0, wave(t, 1.0, phase + 0.25)) ** 2, knee)

    return [chain(body, thigh), chain(body, thigh, shank)]


def _ear(style: str, skull: np.ndarray, head: float, side: int, colors: Palette, move: Move) -> list[Part]:
    root = skull + vec(-head * 0.1, side * head * 0.62, head * 0.72)
    if style == "cat":
        ear = cone(root - [0, 0, 0.03], root + vec(-0.01, side * 0.03, 0.13), 0.062, rows=10)
        return [part(ear, colors.mark, move, casts=False)]
    if style == "dog":
        ear = (
            sphere([0, 0, -0.075], [0.055, 0.022, 0.095], 16, 24)
            .rotated("x", side * 24)
            .moved(root + vec(0, side * 0.025, 0.02))
        )
        return [part(ear, colors.mark, move, casts=False)]
    if style == "cow":
        horn = cone(root - [0, 0, 0.02], root + vec(0.02, side * 0.035, 0.1), 0.03, rows=10)
        ear = sphere(root + vec(-0.02, side * 0.075, -0.03), [0.03, 0.07, 0.035], 14, 20)
        return [part(horn, CREAM, move, casts=False), part(ear, colors.mark, move, casts=False)]
    if style == "pony":
        ear = sphere(root + vec(0, -side * 0.02, 0.03), [0.028, 0.03, 0.07], 14, 20)
        return [part(ear, colors.main, move, casts=False)]
    return []


def _plates(rump: np.ndarray, throat: np.ndarray, girth: float, colors: Palette, frame: FrameAt) -> list[Part]:
    """Bony plates along the back of a dinosaur."""
    out = []
    for i in range(5):
        at = rump + (throat - rump) * (i / 4.6)
        size = 0.10 - 0.018 * abs(i - 2)
        plate = pillow(oval(1.7 * size, 1.35 * size, 0.35, 32), 0.026, 8).rotated("y", -90).rotated("z", 90)
        out.append(solid(plate.rotated("z", 90).moved(at + vec(0, 0, girth + 0.03)), colors.accent, frame, casts=False))
    return out


def _mane(throat: np.ndarray, skull: np.ndarray, head: float) -> tuple:
    """A crest from the forehead to the shoulders."""
    curve = np.array(
        smooth(
            [
                skull + vec(head * 0.5, 0, head * 0.85),
                skull + vec(-head * 0.4, 0, head * 0.95),
                0.5 * (skull + throat) + [-0.11, 0, 0.05],
                throat + vec(-0.1, 0, 0.05),
            ],
            40,
        )
    )
    t = np.linspace(0, 1, 40)
    radius = 0.045 * np.sqrt((1 - (2 * t - 1) ** 2).clip(1e-3)) * (1 + 0.25 * np.sin(40 * t))
    shape = tube(curve, np.stack([0.6 * radius, radius], -1), 16, up=(0, 1, 0))
    return shape.vertices, shape.faces, shape.uv


def bird(draw: Draw) -> Model:
    """A bird in flight: wings beat in two joints, the body answers."""
    fat, long = draw.between(0.13, 0.17), draw.between(0.15, 0.20)
    head = draw.between(0.11, 0.135)
    skull = np.array([long + 0.06, 0, 0.10])
    limbs = [
        Limb(0, [-long, 0, 0.0], [long * 0.55, 0, 0.02], fat * 0.55, fat),
        blob(0, skull, head),
        Limb(0, [long * 0.6, 0, 0.03], skull, fat * 0.8, head * 0.8),
    ]
    body = clay(limbs, 1, blend=0.06, cell=0.017)
    beat = draw.pick([0.5, 1.0])
    amplitude = draw.between(0.55, 0.7)

    def flight(t: float) -> Frame:
        return compose(
            shift([0, 0, -0.055 * wave(t, beat, 0.0)]),
            turn("y", 0.10 * wave(t, 2.0) - 0.06 * wave(t, beat, 0.2), (0, 0, 0)),
        )

    colors = palette(draw)
    v = body.shape.vertices
    albedo = coat(draw, v, colors, size=0.8)
    front = -(v[:, 2] - 0.0) + 0.35 * (v[:, 0] - 0.05)
    albedo = over(albedo, colors.belly, step(front, 0.02, 0.05) * step(v[:, 0], -0.12, 0.1))
    parts = [solid(body.shape, albedo, flight)]
    span, chord = draw.between(0.36, 0.44), draw.between(0.28, 0.34)
    for side in (1, -1):
        wing, mask = _wing(span, chord, side)
        root = np.array([0.03, side * fat * 0.55, 0.06])

        def flap(points: np.ndarray, t: float, side: int = side, root: np.ndarray = root) -> np.ndarray:
            """The angle grows along the span and lags towards the tip."""
            out = np.abs(points[:, 1])
            share = out / span
            angle = amplitude * (np.sin(2 * np.pi * t / beat) * 0.9 + 0.10) * 0.65 + 0.55 * amplitude * share * np.sin(
                2 * np.pi * (t / beat - 0.17)
            )
            c, s = np.cos(angle), np.sin(angle)
            turned = np.stack(
                [
                    points[:, 0] - 0.05 * share * np.cos(2 * np.pi * t / beat),
                    side * (c * out - s * points[:, 2]),
                    s * out + c * points[:, 2],
                ],
                -1,
            )
            return turned + root

        feathers = over(paint(len(wing.vertices), colors.main), colors.mark, mask[0])
        feathers = over(feathers, colors.accent, mask[1])
        parts.append(part(wing, feathers, lambda p, t, flap=flap: rigid(flight)(flap(p, t), t), casts=False))
    fan = draw.between(0.10, 0.17)
    outline = np.array(
        smooth(
            [
                [0.05, 0.03],
                [-0.16, fan],
                [-0.22, fan * 0.5],
                [-0.20, 0],
                [-0.22, -fan * 0.5],
                [-0.16, -fan],
                [0.05, -0.03],
            ],
            60,
        )
    )
    tail = (
        pillow(outline - [-0.09, 0], 0.018, 10)
        .moved([-0.09, 0, 0])
        .rotated("y", 12)
        .moved([-long - fat * 0.35, 0, 0.0])
    )

    def steer(t: float) -> Frame:
        return compose(flight(t), turn("y", 0.3 * wave(t, beat, 0.3), (-long, 0, 0)))

    parts.append(
        solid(
            tail,
            over(paint(len(tail.vertices), colors.mark), colors.accent, step(-tail.vertices[:, 0], long + 0.20, 0.03)),
            steer,
            casts=False,
        )
    )
    gold = hsv(0.09 + draw.between(-0.02, 0.03), 0.85, 0.98)
    hook = draw.between(0.09, 0.14)
    parts.append(
        solid(
            cone(skull + vec(head * 0.75, 0, -0.012), skull + vec(head + hook, 0, -0.04), 0.046, rows=10),
            gold,
            flight,
            casts=False,
        )
    )
    for side in (1, -1):
        parts += eye(
            skull + vec(head * 0.55, side * head * 0.66, head * 0.28),
            head * 0.30,
            [0.6, side * 0.8, 0.1],
            rigid(flight),
        )
        foot = capsule([-0.04, side * 0.05, -fat * 0.8], [-0.11, side * 0.055, -fat - 0.05], 0.016, 0.013)
        toes = sphere([-0.13, side * 0.055, -fat - 0.06], [0.035, 0.022, 0.014], 10, 16)
        parts += [solid(foot, gold, flight, casts=False), solid(toes, gold, flight, casts=False)]
    if draw.chance(0.5):
        for i in range(3):
            plume = (
                sphere([0, 0, 0.05], [0.018, 0.012, 0.06], 12, 12)
                .rotated("y", -15 - 28 * i)
                .moved(skull + vec(-0.01 - 0.02 * i, 0, head * 0.86))
            )
            parts.append(solid(plume, colors.accent, flight, casts=False))
    return assemble(
        parts, draw.pick([-42.0, 180 + 42.0]) + draw.between(-10, 10), "a bird in flight, beating its wings"
    )


def _wing(span: float, chord: float, side: int) -> tuple[Shape, tuple[np.ndarray, np.ndarray]]:
    """A wing along +-y with a scalloped trailing edge; masks for the outer feathers and the rim."""
    n = 80
    t = np.linspace(0, 1, n)
    lead = np.stack([0.5 * chord * (1 - 0.9 * t**2.2), span * t], -1)
    notch = 0.045 * np.abs(np.sin(np.pi * 5 * t)) * (0.3 + t)
    trail = np.stack([-0.5 * chord * (1 - 0.25 * t - 0.35 * t**4) - notch, span * t * 0.985], -1)
    ring = np.concatenate([trail[:-1], lead[::-1][:-1]])
    middle = np.array([0, 0.45 * span])
    ring = ring - middle
    area = (ring[:, 0] * np.roll(ring[:, 1], -1) - np.roll(ring[:, 0], -1) * ring[:, 1]).sum()
    wing = pillow(ring if area > 0 else ring[::-1], 0.02, 14, 0.4).moved([0, middle[1], 0])
    x, y = wing.vertices[:, 0], wing.vertices[:, 1] / span
    outer = step(-x + 0.10 * y, 0.035, 0.03)
    rim = step(-x, 0.085, 0.02) * step(y, 0.25, 0.1) + step(y, 0.86, 0.03)
    v, faces = wing.vertices.copy(), wing.faces
    if side < 0:
        v[:, 1] *= -1
        faces = faces[:, ::-1].copy()
    return Shape(v, faces, wing.uv), (outer, np.clip(rim, 0, 1))
