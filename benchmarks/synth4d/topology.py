"""Topology that changes, with implicit surfaces: a dividing cell, a bubbling cauldron, a disc that opens to a ring."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float64

from .colors import GOLD, RED, WHITE, Color, Draw, hsv, over, paint, palette, spots, step
from .implicit import ball, polygonise, smooth_union
from .model import Body, Model, Part, Surface, ease, eye, part, pulse, wave
from .shapes import Shape, capsule, lathe, smooth, sphere, torus, vec
from .skin import Frame, FrameAt, compose, into, rigid, shift, turn

Points = Float64[np.ndarray, "N 3"]
FieldAt = Callable[[Points, float], Float64[np.ndarray, " N"]]


def _model(
    field: FieldAt,
    box: Callable[[float], tuple[Sequence[float], Sequence[float]]],
    cell: float,
    color: Callable[[Points, float], Points],
    lumps: Callable[[Points, float], np.ndarray],
    body: Body,
    yaw: float,
    description: str,
) -> Model:
    """An implicit surface whose topology changes, and parts of fixed topology around it."""

    def surface(time: float, size: float) -> tuple[Points, np.ndarray]:
        low, high = box(time)
        return polygonise(lambda p: field(p, time), low, high, size)

    def at(time: float) -> Surface:
        vertices, faces = surface(time, cell)
        rest = body.at(time)
        start = int(rest.lump.max()) + 1
        return Surface(
            np.concatenate([rest.vertices, vertices]),
            np.concatenate([rest.faces, faces + len(rest.vertices)]).astype(np.int32),
            np.concatenate([rest.albedo, color(vertices, time)]),
            np.concatenate([rest.lump, lumps(vertices, time) + start]).astype(np.int32),
            np.concatenate([rest.thin, np.zeros(len(vertices))]),
        )

    def outline(time: float) -> Points:
        return np.concatenate([body.points(time), surface(time, 2.5 * cell)[0]])

    return Model(at, outline, True, yaw, description)


def _nearest(points: Points, centers: Points, radii: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shares [N, B] of blobs by closeness, and the index of the closest."""
    gaps = []
    for c, r in zip(centers, radii, strict=True):
        d = points - c
        gaps.append(np.sqrt((d * d).sum(1)) / r)
    gap = np.stack(gaps, -1)
    inverse = 1 / (gap * gap + 1e-3)
    inverse = inverse * inverse * inverse
    return inverse / inverse.sum(1, keepdims=True), gap.argmin(1)


def _last_crossing(values: np.ndarray, depth: np.ndarray) -> float:
    """Where a field along a ray turns positive for the first time."""
    k = int(np.argmax(values > 0))
    return (
        float(depth[k - 1] - values[k - 1] * (depth[k] - depth[k - 1]) / (values[k] - values[k - 1]))
        if k
        else float(depth[0])
    )


def cell(draw: Draw) -> Model:
    """A cell with a face divides into two, then four, and the four melt together again."""
    radius, apart = draw.between(0.29, 0.32), draw.between(0.27, 0.30)
    tilt, spin = draw.between(-0.35, 0.35), draw.between(0.5, 0.9)

    def stage(t: float) -> tuple[float, float]:
        """How far the first and the second division have gone, in [0, 1]; the whole takes 2 s."""
        s = (t % 2.0) / 2.0
        back = 1 - ease((s - 0.80) / 0.19)
        return ease((s - 0.04) / 0.30) * back, ease((s - 0.42) / 0.26) * back

    def frame(t: float) -> Frame:
        return turn("y", tilt + spin * wave(t, 4.0, 0.1))

    def centers(t: float) -> Points:
        a, b = stage(t)
        x, z = apart * a * (1.12 - 0.10 * b), 0.5 * apart * b * 1.9
        c = np.array([[-x, 0, -z], [-x, 0, z], [x, 0, -z], [x, 0, z]])
        c[:, 1] = 0.06 * b * np.array([1, -1, -1, 1])
        r = frame(t)
        return c[:, :1] * r[:, 0] + c[:, 1:2] * r[:, 1] + c[:, 2:] * r[:, 2]

    def size(t: float) -> float:
        a, b = stage(t)
        return (radius + 0.03 * wave(t, 1.0)) * (1 - 0.20 * a) * (1 - 0.12 * b)

    def field(p: Points, t: float) -> np.ndarray:
        c, r, (a, b) = centers(t), size(t), stage(t)
        wobble = 0.012 * np.sin(9 * p[:, 0] + 2 * np.pi * t) * np.sin(9 * p[:, 2] - 2 * np.pi * t)
        # balls that coincide must not swell: the blend widens as they part
        near, far = 0.004 + 0.15 * ease(b / 0.5), 0.004 + 0.15 * ease(a / 0.5)
        left = smooth_union(ball(p, c[0], r), ball(p, c[1], r), near)
        right = smooth_union(ball(p, c[2], r), ball(p, c[3], r), near)
        return smooth_union(left, right, far) + wobble

    hue = draw.between(0, 1)
    tints = [hsv(hue + 0.11 * i, 0.55, 0.95) for i in range(4)]
    dots = draw.points(34, (-1, -1, -1), (1, 1, 1))
    dots = dots / np.sqrt((dots**2).sum(1, keepdims=True))
    sizes = 0.10 + 0.16 * draw.generator.random(34)

    def color(p: Points, t: float) -> Points:
        c, r = centers(t), size(t)
        share, near = _nearest(p, c, np.full(4, r))
        a, b = stage(t)
        blend = np.array(tints)
        mean_all, mean_pairs = blend.mean(0), np.stack([blend[:2].mean(0)] * 2 + [blend[2:].mean(0)] * 2)
        now = mean_all + (mean_pairs - mean_all) * a + (blend - mean_pairs) * b
        out = sum(share[:, i : i + 1] * now[i] for i in range(4))
        turned = into(frame(t), p - c[near])
        unit = turned / np.maximum(np.sqrt((turned**2).sum(1, keepdims=True)), 1e-9)
        front = share.max(1)
        return over(
            out,
            tuple(0.62 * x for x in mean_all),
            0.9 * spots(unit, dots, sizes, 0.06) * step(front, 0.42 if b > 0.5 else 0.2, 0.2),
        )

    def lumps(p: Points, t: float) -> np.ndarray:
        return _nearest(p, centers(t), np.full(4, 1.0))[1]

    def face(index: int) -> FrameAt:
        """Where the face of blob `index` sits: on the front of the blob, growing as the blob comes free."""

        def at(t: float) -> Frame:
            a, b = stage(t)
            grown = {0: 1.0, 1: b, 2: a, 3: b}[index]
            c = centers(t)[index]
            depth = np.linspace(0.0, 1.6 * radius, 81)
            ray = c + depth[:, None] * np.array([0, -1.0, 0])
            c = ray[0] + [0, -_last_crossing(field(ray, t), depth), 0]
            # hidden inside the blob, each face at a place of its own, until there is room for it
            free = ease(1.5 * grown - 0.3)
            grow = 0.35 + 0.65 * free
            c = c + vec(0.011 * index, 0.13 + 0.013 * index, 0) * (1 - free)
            f = shift(c)
            f[:, :3] *= grow
            return f

        return at

    parts: list[Part] = []
    scale = radius / 0.27
    for i in range(4):
        move = rigid(face(i))
        for side in (1, -1):
            parts += eye([side * 0.058 * scale, 0.005, 0.03], 0.043 * scale, [side * 0.15, -1, 0.05], move)
        mouth = torus(0.030, 0.011, 24, 10).rotated("x", 90).moved([0, 0.0, -0.05])
        parts.append(part(mouth, (0.35, 0.10, 0.16), move, casts=False))

    def box(t: float) -> tuple[list[float], list[float]]:
        c = centers(t)
        pad = size(t) + 0.10
        return (c.min(0) - pad).tolist(), (c.max(0) + pad).tolist()

    return _model(
        field,
        box,
        0.021,
        color,
        lumps,
        Body(parts),
        draw.between(-20, 20),
        "a cell that divides into four and melts together again",
    )


def cauldron(draw: Draw) -> Model:
    """Slime in a cauldron: blobs rise out of the pool, come off, and fall back into it."""
    wide = draw.between(0.30, 0.33)
    count = draw.whole(3, 4)
    palette(draw, vivid=True)
    hue = draw.pick([0.25, 0.33, 0.47, 0.78, 0.92, 0.08])
    slime, bubble = hsv(hue, 0.62, 0.92), hsv(hue + 0.10, 0.50, 0.98)
    slots = [
        (
            wide * 0.45 * np.cos(a),
            wide * 0.45 * np.sin(a),
            draw.between(0.085, 0.115),
            draw.between(0.44, 0.56),
            i / count + draw.between(-0.04, 0.04),
        )
        for i, a in enumerate(draw.between(0, 6.28) + 2 * np.pi * np.arange(count) / count)
    ]
    level = 0.40

    def centers(t: float) -> tuple[Points, np.ndarray]:
        c, r = [], []
        for x, y, radius, top, phase in slots:
            s = (t / 2.0 + phase) % 1.0
            z = level - 0.10 + (top + 0.06) * 4 * s * (1 - s)
            c.append([x * (1 - 0.2 * np.sin(np.pi * s)), y * (1 - 0.2 * np.sin(np.pi * s)), z])
            r.append(radius * (0.92 + 0.08 * np.cos(4 * np.pi * s)))
        return np.array(c), np.array(r)

    def field(p: Points, t: float) -> np.ndarray:
        c, r = centers(t)
        ripple = 0.008 * np.sin(16 * p[:, 0] + 2 * np.pi * t) + 0.008 * np.sin(14 * p[:, 1] - 2 * np.pi * t)
        value = ball(p, (0, 0, level - 0.07), (wide * 0.97, wide * 0.97, 0.115)) + ripple
        for k, (center, radius) in enumerate(zip(c, r, strict=True)):
            s = (t / 2.0 + slots[k][4]) % 1.0
            long = 1 + 0.22 * abs(1 - 2 * s)
            value = smooth_union(value, ball(p, center, (radius / long**0.5, radius / long**0.5, radius * long)), 0.13)
        return value

    def color(p: Points, t: float) -> Points:
        h = step(p[:, 2], level + 0.20, 0.45)
        out = over(paint(len(p), slime), bubble, h)
        return over(out, WHITE, 0.25 * step(p[:, 2], level + 0.03, 0.03) * (1 - h))

    def lumps(p: Points, t: float) -> np.ndarray:
        c, r = centers(t)
        _, near = _nearest(p, c, r)
        return np.where(p[:, 2] > level + 0.08, near, len(c))

    parts = _pot(draw, wide, slime)
    for k, (_, _, radius, _, _) in enumerate(slots):
        for side in (1, -1):

            def spot(t: float, k: int = k) -> Frame:
                return shift(centers(t)[0][k])

            parts += eye(
                [side * 0.40 * radius, -0.80 * radius, 0.25 * radius],
                0.34 * radius,
                [side * 0.1, -1, 0.05],
                rigid(spot),
            )

    def box(t: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return ((-wide - 0.03, -wide - 0.03, level - 0.25), (wide + 0.03, wide + 0.03, level + 0.80))

    return _model(
        field,
        box,
        0.0225,
        color,
        lumps,
        Body(parts),
        draw.between(-25, 25),
        "slime blobs that rise from a cauldron, come off and fall back",
    )


def _pot(draw: Draw, wide: float, slime: Color) -> list[Part]:
    """The cauldron, its rim, feet, handles and the logs below."""
    iron = draw.pick([(0.27, 0.29, 0.34), (0.36, 0.28, 0.30), (0.30, 0.36, 0.40)])
    outer = smooth([[0.14, 0.075], [0.30, 0.13], [wide + 0.07, 0.26], [wide + 0.03, 0.38]], 52)
    rim = smooth([[wide + 0.03, 0.38], [wide + 0.075, 0.405], [wide + 0.06, 0.44], [wide + 0.01, 0.43]], 12)
    inner = smooth([[wide + 0.01, 0.43], [wide + 0.0, 0.38], [wide - 0.02, 0.30]], 8)
    pot = lathe([[0, 0.07], *outer, *rim[1:], *inner[1:], [0, 0.30]], 96)
    v = pot.vertices
    angle = np.arctan2(v[:, 1], v[:, 0])
    albedo = paint(len(v), iron)
    drip = 0.40 - 0.055 * (np.sin(5 * angle + 1) * 0.5 + 0.5) - 0.06 * (np.sin(11 * angle) * 0.5 + 0.5) ** 3
    r = np.sqrt(v[:, 0] ** 2 + v[:, 1] ** 2)
    albedo = over(albedo, slime, step(v[:, 2] - drip, 0, 0.015) * step(r, wide - 0.05, 0.02))
    albedo = over(albedo, slime, step(v[:, 2], 0.298, 0.004) * step(-r, -wide - 0.014, 0.004))
    band = 1 - step(np.abs(v[:, 2] - 0.24), 0.035, 0.008)
    albedo = over(albedo, GOLD, band * 0.85)
    parts = [part(Shape(v, pot.faces, pot.uv), albedo)]
    for k in range(3):
        a = 2 * np.pi * k / 3 - np.pi / 6
        foot = capsule(
            [0.2 * np.cos(a), 0.2 * np.sin(a), 0.12], [0.25 * np.cos(a), 0.25 * np.sin(a), 0.03], 0.05, 0.035
        )
        parts.append(part(foot, iron, casts=False))
    for side in (1, -1):
        handle = torus(0.06, 0.016, 28, 10).rotated("x", 90).moved([side * (wide + 0.085), 0, 0.31])
        parts.append(part(handle, GOLD, casts=False))
    return parts


def donut(draw: Draw) -> Model:
    """A disc of dough whose hole opens and closes. It stands upright, rocks, and has icing, sprinkles, a face."""
    wide, thick = draw.between(0.26, 0.29), draw.between(0.125, 0.14)
    colors = palette(draw, vivid=True)
    icing = draw.pick([(0.98, 0.62, 0.72), (0.48, 0.29, 0.19), colors.main, hsv(0.48, 0.45, 0.92)])
    waves, phase, lean = draw.whole(6, 9), draw.between(0, 6.28), draw.between(0.30, 0.45)

    def openness(t: float) -> float:
        return pulse(t, 2.0)

    def ring(t: float) -> tuple[float, float, float]:
        """Radius of the ring, its half thickness, and how much dough fills the hole (negative: open)."""
        s = openness(t)
        return wide * (0.80 + 0.28 * s), thick * (1.02 - 0.14 * s), thick * (0.72 - 1.9 * s)

    def pose(t: float) -> Frame:
        """Face to -y, leaning and rocking."""
        return compose(turn("z", lean * wave(t, 2.0, 0.15)), turn("x", np.pi / 2 - 0.32 + 0.10 * wave(t, 4.0)))

    def local(p: Points, t: float) -> Points:
        return into(pose(t), p)

    def field(p: Points, t: float) -> np.ndarray:
        big, r, fill = ring(t)
        q = local(p, t)
        rho = np.sqrt(q[:, 0] ** 2 + q[:, 1] ** 2)
        dough = np.sqrt((rho - big) ** 2 + q[:, 2] ** 2) - r
        web = np.maximum(rho - big, np.abs(q[:, 2]) - fill)
        return smooth_union(dough, web, 0.07)

    edge = draw.between(0.15, 0.3)

    def color(p: Points, t: float) -> Points:
        """Icing on the front, its border in angles about the ring, so that it sticks to the dough."""
        big, r, _ = ring(t)
        q = local(p, t)
        rho = np.sqrt(q[:, 0] ** 2 + q[:, 1] ** 2)
        angle = np.arctan2(q[:, 1], q[:, 0])
        border = edge * (0.3 + 0.5 * np.sin(waves * angle + phase) + 0.3 * np.sin((waves + 4) * angle))
        outside = 0.72 + 0.55 * border - (rho - big) / r  # the icing ends before the outer rim, in drops
        out = over(paint(len(p), (0.86, 0.62, 0.34)), (0.96, 0.80, 0.52), 1 - step(np.abs(q[:, 2]), 0.022, 0.02))
        return over(out, icing, step(outside, 0.0, 0.10) * step(q[:, 2] / r, 0.0, 0.12))

    def lumps(p: Points, t: float) -> np.ndarray:
        q = local(p, t)
        return np.floor((np.arctan2(q[:, 1], q[:, 0]) / (2 * np.pi) + 0.5) * 7.99).astype(int)

    parts: list[Part] = []
    bits = [RED, WHITE, GOLD, hsv(0.55, 0.7, 0.9), hsv(0.3, 0.6, 0.8)]
    for k in range(draw.whole(34, 44)):
        around, up = 2 * np.pi * (k * 0.381966 % 1), np.pi / 2 + draw.between(-0.5, 0.75)
        front = abs(np.angle(np.exp(1j * (around + np.pi / 2))))
        if front < 0.75:
            continue  # the face is here
        tilt = draw.between(0, np.pi)
        rod = capsule([-0.022, 0, 0], [0.022, 0, 0], 0.0115, rows=4, around=10).rotated("z", float(np.degrees(tilt)))
        parts.append(part(rod, draw.pick(bits), rigid(_on_ring(around, up, ring, pose)), casts=False))
    for side in (1, -1):
        spot = _on_ring(-np.pi / 2 + side * 0.36, np.pi / 2 - 0.15, ring, pose)
        parts += eye([0, 0, 0.005], 0.05, [0.0, 0.12, 1.0], rigid(spot))
        spot = _on_ring(-np.pi / 2 + side * 0.66, np.pi / 2 - 0.55, ring, pose)
        parts.append(
            part(sphere((0, 0, 0), [0.032, 0.024, 0.012], 10, 16), hsv(0.97, 0.55, 0.98), rigid(spot), casts=False)
        )
    mouth = _on_ring(-np.pi / 2, np.pi / 2 - 0.35, ring, pose)
    lips = capsule([-0.028, 0, 0], [0.028, 0, 0], 0.012)
    parts.append(part(lips, (0.30, 0.10, 0.12), rigid(mouth), casts=False))
    reach = wide * 1.08 + thick + 0.06

    def box(t: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return ((-reach, -reach, -reach), (reach, reach, reach))

    return _model(
        field,
        box,
        0.0225,
        color,
        lumps,
        Body(parts),
        draw.between(-15, 15),
        "a disc of dough whose hole opens to a doughnut and closes again",
    )


def _on_ring(around: float, up: float, ring: Callable[[float], tuple[float, float, float]], pose: FrameAt) -> FrameAt:
    """A frame on the ring: z outwards, x along the ring. around, up: angles of the ring and of its section."""

    def at(t: float) -> Frame:
        big, r, _ = ring(t)
        out = np.array([np.cos(around), np.sin(around), 0])
        along = np.array([-np.sin(around), np.cos(around), 0])
        normal = out * np.cos(up) + np.array([0, 0, np.sin(up)])
        frame = np.stack([along, np.cross(normal, along), normal, out * big + normal * r], -1)
        return compose(pose(t), frame)

    return at
