"""Volume that changes: an inflating puffer fish, a pulsing jellyfish, growing mushrooms. They look to -y."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .colors import CREAM, WHITE, WOOD, Color, Draw, Palette, hsv, over, paint, palette, spots, step, stripes
from .model import Model, Part, assemble, eye, part, pulse, wave
from .shapes import Shape, cone, lathe, oval, pillow, resample, rope, smooth, sphere, torus, vec
from .skin import Frame, FrameAt, Move, apply, compose, shift, stretch, turn

Level = Callable[[float], float]  # seconds -> a number


def puffer(draw: Draw) -> Model:
    """A puffer fish that swells from a slim fish to a spiny ball. It looks to +x."""
    slim, ball, period = draw.between(0.15, 0.17), draw.between(0.33, 0.37), draw.pick([2.0, 4.0 / 3])
    length = 0.27

    def swell(t: float) -> float:
        return pulse(t, period) ** 0.8 if period == 2.0 else pulse(t, period)

    def radii(s: float) -> tuple[float, float, float]:
        return (
            length + (ball - length) * 0.9 * s,
            slim + (ball * 0.97 - slim) * s,
            0.95 * slim + (ball * 0.95 - 0.95 * slim) * s,
        )

    def swim(t: float) -> Frame:
        return compose(shift([0, 0, 0.03 * wave(t, 2.0)]), turn("z", 0.12 * wave(t, 1.0)))

    unit = sphere((0, 0, 0), 1.0, 64, 96).rotated("y", 90)
    v = unit.vertices
    colors = palette(draw)

    def body(points: np.ndarray, t: float) -> np.ndarray:
        return apply(swim(t), points * np.array(radii(swell(t))))

    albedo = over(paint(len(v), colors.main), colors.belly, step(-v[:, 2] + 0.2 * v[:, 0], 0.22, 0.16))
    back = step(v[:, 2], 0.02, 0.2)
    if draw.chance(0.5):
        directions = draw.points(46, (-1, -1, -0.2), (1, 1, 1))
        directions = directions / np.sqrt((directions**2).sum(1, keepdims=True))
        albedo = over(albedo, colors.mark, spots(v, directions, 0.05 + 0.10 * draw.generator.random(46), 0.04) * back)
    else:
        albedo = over(
            albedo, colors.mark, stripes(v[:, 0] + 0.06 * np.sin(8 * v[:, 1]), 0.42, 0.42, draw.between(0, 1)) * back
        )
    parts = [part(Shape(v, unit.faces, unit.uv), albedo, body)]
    count = draw.whole(60, 90)
    k = np.arange(count)
    height, around = 1 - 2 * (k + 0.5) / count, k * np.pi * (3 - np.sqrt(5))
    ring = np.sqrt(1 - height * height)
    for n in np.stack([ring * np.cos(around), ring * np.sin(around), height], -1):
        if n[0] > 0.80 or n[0] < -0.86:
            continue
        spike = cone((0, 0, 0), (0, 0, 1), 0.25, around=10, rows=4)
        tip = colors.belly if n[2] > -0.1 else colors.mark
        parts.append(
            part(
                spike,
                over(paint(len(spike.vertices), tip), WHITE, step(spike.vertices[:, 2], 0.6, 0.4)),
                _spike(n, radii, swell, swim),
                casts=False,
            )
        )

    def anchored(direction: list[float], inner: Move | None = None) -> Move:
        """Follow the skin at a direction of the unit sphere without being stretched."""

        def move(points: np.ndarray, t: float) -> np.ndarray:
            local = inner(points, t) if inner else points
            return apply(swim(t), local + np.array(radii(swell(t))) * np.array(direction))

        return move

    for side in (1, -1):
        parts += eye([0, 0, 0], 0.066, [0.55, side, 0.12], anchored([0.72, side * 0.56, 0.36]), hsv(0.12, 0.9, 0.9))
        fin = pillow(oval(0.20, 0.15, -0.3), 0.016, 10).moved([-0.09, 0, 0]).rotated("z", -side * 35)

        def flap(p: np.ndarray, t: float, side: int = side) -> np.ndarray:
            return apply(turn("x", side * (0.2 + 0.7 * wave(t, 0.5))), p)

        parts.append(
            part(
                fin,
                over(
                    paint(len(fin.vertices), colors.accent),
                    colors.mark,
                    0.5 * stripes(fin.uv[:, 1], 1 / 16, 0.4, 0, 0.4),
                ),
                anchored([0.02, side * 0.96, -0.08], flap),
                casts=False,
            )
        )
    lips = _ring(0.045, 0.022)
    parts.append(part(lips, hsv(0.98, 0.45, 0.95), anchored([0.99, 0, -0.05]), casts=False))
    tail = pillow(oval(0.22, 0.22, -0.55), 0.018, 10).rotated("x", 90).moved([-0.10, 0, 0])

    def wag(p: np.ndarray, t: float) -> np.ndarray:
        return apply(turn("z", 0.6 * wave(t, 0.5)), p)

    parts.append(
        part(
            tail,
            over(
                paint(len(tail.vertices), colors.accent), colors.mark, 0.5 * stripes(tail.uv[:, 1], 1 / 16, 0.4, 0, 0.4)
            ),
            anchored([-0.96, 0, 0.0], wag),
            casts=False,
        )
    )
    fin = pillow(oval(0.17, 0.12, 0.2), 0.016, 10).rotated("x", 90).rotated("y", 35).moved([0, 0, 0.03])
    parts.append(part(fin, colors.accent, anchored([-0.35, 0, 0.93]), casts=False))
    return assemble(
        parts, draw.pick([-40.0, 180 + 40.0]) + draw.between(-8, 8), "a puffer fish that swells into a spiny ball"
    )


def _spike(n: np.ndarray, radii: Callable[[float], tuple[float, float, float]], swell: Level, swim: FrameAt) -> Move:
    """A spine that stands up and grows with the swelling; n: its direction on the unit sphere."""

    def move(points: np.ndarray, t: float) -> np.ndarray:
        s = swell(t)
        r = np.array(radii(s))
        normal = n / r
        normal = normal / np.sqrt((normal * normal).sum())
        lean = np.array([-1.0, 0, 0]) * 1.2 * (1 - s)  # lies back while the fish is slim
        axis = normal + lean - normal * (lean * normal).sum() * 0.6
        axis = axis / np.sqrt((axis * axis).sum())
        helper = np.array([0.0, 1.0, 0.0]) if abs(axis[1]) < 0.8 else np.array([1.0, 0.0, 0.0])
        right = np.cross(helper, axis)
        right = right / np.sqrt((right * right).sum())
        long = 0.045 + 0.075 * s
        frame = np.stack([right * 0.085, np.cross(axis, right) * 0.085, axis * long, n * r * 0.975], -1)
        return apply(swim(t), apply(frame, points))

    return move


def _ring(radius: float, thickness: float) -> Shape:
    return torus(radius, thickness, 28, 14).scaled([1, 1.25, 1]).rotated("y", 90)


def jellyfish(draw: Draw) -> Model:
    """A jellyfish: the bell closes quickly and opens slowly, tentacles trail behind."""
    wide, tall = draw.between(0.30, 0.35), draw.between(0.26, 0.34)
    period = draw.pick([1.0, 4.0 / 3])
    lobes = draw.whole(8, 14)
    outer = [[wide * np.cos(a) ** 0.85, tall * np.sin(a)] for a in np.linspace(-0.12, np.pi / 2, 34)[:-1]]
    inner = [
        [0.90 * wide * np.cos(a) ** 0.9, 0.80 * tall * np.sin(a) - 0.01] for a in np.linspace(np.pi / 2, 0.0, 22)[1:]
    ]
    bell = lathe([[0, 0.80 * tall - 0.01], *inner, [0.95 * wide, -0.035], *outer, [0, tall]], 112)
    v = bell.vertices.copy()
    angle = np.arctan2(v[:, 1], v[:, 0])
    rim = step(-v[:, 2], -0.14, 0.2)
    v[:, 2] += 0.028 * np.cos(lobes * angle) * rim
    offset = draw.between(0, 1)

    def pumping(t: float) -> float:
        """0 open, 1 closed."""
        a = 2 * np.pi * t / period
        return float(0.5 - 0.5 * np.cos(a + 0.55 * np.sin(a)))

    def bob(t: float) -> float:
        return 0.06 * float(np.sin(2 * np.pi * t / period - 1.9))

    def pump(points: np.ndarray, t: float) -> np.ndarray:
        """The rim moves in and down more than the crown, and a little later."""
        low = (1 - points[:, 2] / tall).clip(0, 1.4)
        late = 0.5 - 0.5 * np.cos(2 * np.pi * t / period + 0.55 * np.sin(2 * np.pi * t / period) - 0.5 * low)
        narrow = 1 - late * (0.12 + 0.34 * low)
        z = points[:, 2] * (1 + 0.22 * late) - 0.10 * late * low + bob(t)
        return np.stack([points[:, 0] * narrow, points[:, 1] * narrow, z], -1)

    def sway(p: np.ndarray, t: float) -> np.ndarray:
        return apply(turn("y", 0.16 * wave(t, 2.0, offset)), p)

    def whole(p: np.ndarray, t: float) -> np.ndarray:
        return sway(pump(p, t), t)

    colors = palette(draw)
    radial = stripes(angle / (2 * np.pi), 1 / lobes, 0.4, 0.0, 0.2)
    albedo = over(paint(len(v), colors.main), colors.belly, 0.75 * step(v[:, 2] / tall, 0.45, 0.9))
    style = draw.pick(["stars", "stripes", "rings"])
    if style == "stripes":
        albedo = over(albedo, colors.mark, 0.8 * radial * step(-v[:, 2] / tall, -0.85, 0.2))
    elif style == "rings":
        albedo = over(albedo, colors.mark, 0.8 * stripes(v[:, 2] / tall, 0.3, 0.35, 0.1))
    else:
        albedo = over(albedo, WHITE, spots(v, draw.points(60, v.min(0), v.max(0)), 0.026, 0.016))
    albedo = over(albedo, colors.accent, step(-v[:, 2], -0.015, 0.03))
    parts = [part(Shape(v, bell.faces, bell.uv), albedo, whole)]
    for side in (1, -1):
        a = -np.pi / 2 + side * 0.42
        z, r = 0.36 * tall, wide * 0.93
        parts += eye([r * 0.97 * np.cos(a), r * 0.97 * np.sin(a), z], 0.05, [side * 0.35, -1, 0.1], whole)
    a = np.linspace(-0.16, 0.16, 11)
    smile = np.stack([1.0 * wide * np.sin(a), -1.0 * wide * np.cos(a), 0.17 * tall + 1.1 * a * a], -1)
    parts.append(part(rope(smile, 0.011, (0, -1, 0)), (0.25, 0.12, 0.2), whole, casts=False))
    for i in range(draw.whole(8, 11)):
        parts.append(_tentacle(draw, i, wide, colors, pumping, bob, sway, period))
    for i in range(4):
        parts.append(_arm(i, tall, colors.belly, pumping, bob, sway, period))
    return assemble(parts, draw.between(-20, 20), "a jellyfish pumping its bell, tentacles trailing")


def _tentacle(
    draw: Draw, index: int, wide: float, colors: Palette, pumping: Level, bob: Level, sway: Move, period: float
) -> Part:
    count, n = 44, 12
    around = 2 * np.pi * (index + 0.3) / 9.7
    long, thick, ripple = draw.between(0.42, 0.58), draw.between(0.014, 0.02), draw.between(0.035, 0.055)
    s = np.linspace(0, 1, count)
    straight = np.stack([0 * s, 0 * s, -long * s], -1)
    shape = rope(straight, thick, (0, 1, 0), n, taper=0.75)
    share = -shape.vertices[:, 2] / long
    local = shape.vertices[:, :2].copy()

    def move(points: np.ndarray, t: float) -> np.ndarray:
        late = 2 * np.pi * t / period - 2.6 * share
        squeeze = 0.5 - 0.5 * np.cos(late - 0.5)
        r = 0.80 * wide * (1 - 0.42 * squeeze) * (1 - 0.30 * share)
        wiggle = ripple * share * np.sin(late - 4 * share + index)
        x = r * np.cos(around) - wiggle * np.sin(around) + local[:, 0]
        y = r * np.sin(around) + wiggle * np.cos(around) + local[:, 1]
        return sway(
            np.stack(
                [x, y, 0.02 - 0.09 * pumping(t) * (1 - share) + points[:, 2] * (1 + 0.10 * np.sin(late)) + bob(t)], -1
            ),
            t,
        )

    albedo = over(paint(len(share), colors.accent), colors.mark, share)
    return part(shape, albedo, move, casts=False)


def _arm(index: int, tall: float, color: Color, pumping: Level, bob: Level, sway: Move, period: float) -> Part:
    """A frilled arm under the middle of the bell."""
    s = np.linspace(0, 1, 40)
    around = 2 * np.pi * index / 4 + 0.4
    straight = np.stack([0 * s, 0 * s, 0.8 * tall - 0.06 - 0.52 * s], -1)
    shape = rope(straight, 0.045, (0, 1, 0), 14, taper=0.7)
    share = (0.8 * tall - 0.06 - shape.vertices[:, 2]) / 0.52
    frill = 1 + 0.25 * np.sin(30 * share)

    def move(points: np.ndarray, t: float) -> np.ndarray:
        late = 2 * np.pi * t / period - 3.0 * share
        r = 0.06 + 0.05 * share * (1 + np.sin(late))
        x, y = points[:, 0] * frill + r * np.cos(around), points[:, 1] * frill + r * np.sin(around)
        return sway(np.stack([x, y, points[:, 2] + bob(t) - 0.04 * pumping(t)], -1), t)

    return part(shape, color, move, casts=False)


def mushroom(draw: Draw) -> Model:
    """Three mushrooms that shoot up from a mossy mound, one after the other, and shrink again."""
    colors = palette(draw)
    mound = lathe(
        [[0, -0.04], [0.2, -0.04], *smooth([[0.33, -0.035], [0.345, 0.0], [0.26, 0.06], [0.10, 0.09]], 30), [0, 0.095]],
        72,
    )
    v = mound.vertices
    moss = paint(len(v), (0.42, 0.66, 0.30))
    moss = over(moss, (0.58, 0.80, 0.36), spots(v, draw.points(50, v.min(0), v.max(0)), 0.04, 0.04))
    moss = over(moss, (0.46, 0.33, 0.22), step(-v[:, 2], -0.012, 0.02))
    parts = [part(Shape(v, mound.faces, mound.uv), moss)]
    start = draw.between(0, 6.28)
    tops = [
        (draw.between(0.50, 0.58), 1.0, 0.03, 0.0),
        (draw.between(0.30, 0.40), 0.70, 0.23, 0.12),
        (draw.between(0.22, 0.32), 0.58, 0.22, 0.25),
    ]
    shape_style = draw.pick(["dome", "bell", "flat"])
    for i, (tall, size, away, delay) in enumerate(tops):
        around = start + i * 2.5
        at = np.array([away * np.cos(around), away * np.sin(around), 0.09 - 0.75 * away * away])
        parts += _toadstool(draw, at, tall, size, delay, shape_style, colors, face=i == 0)
    for _ in range(9):
        around, away = draw.between(0, 6.28), draw.between(0.18, 0.29)
        at = np.array([away * np.cos(around), away * np.sin(around), 0.03])
        tip = at + vec(draw.between(-0.04, 0.04), draw.between(-0.04, 0.04), draw.between(0.08, 0.13))
        parts.append(part(cone(at, tip, 0.014, 10), (0.36, 0.60, 0.24), casts=False))
    return assemble(parts, 0.0, "three mushrooms growing from a mound")


def _toadstool(
    draw: Draw, at: np.ndarray, tall: float, size: float, delay: float, style: str, colors: Palette, face: bool
) -> list[Part]:
    wide = 0.30 * size * draw.between(0.9, 1.05)
    high = wide * {"dome": 0.75, "bell": 1.15, "flat": 0.48}[style]
    stem_r = 0.085 * size + 0.01
    lean = [draw.between(-0.10, 0.10), draw.between(-0.06, 0.06)]
    stem = lathe(
        [
            [0, -0.05],
            *resample([[stem_r * 1.25, -0.05], [stem_r * 1.2, 0.05]], 0.02),
            *smooth([[stem_r * 1.1, 0.10], [stem_r * 0.85, 0.5 * tall], [stem_r * 0.8, tall]], 24),
            [0, tall + 0.01],
        ],
        32,
    )
    around = 96 if face else 64
    angle = np.linspace(0, np.pi / 2, 42 if face else 28)
    dome = np.stack([wide * np.cos(angle) ** 0.8, high * np.sin(angle)], -1)[:-1].tolist()
    cap = lathe(
        [
            [0, 0.03 * size],
            *resample([[stem_r * 0.8, 0.02 * size], [wide * 0.8, -0.02]], 0.015),
            [wide * 0.96, -0.025],
            *dome,
            [0, high],
        ],
        around,
    )

    def growth(t: float) -> tuple[float, float]:
        """Height and cap size, in [0, 1]: the cap opens after the stem has risen."""
        a = pulse(t, 2.0, -delay * 0.5)
        return 0.40 + 0.60 * a, 0.45 + 0.55 * a**1.4

    def bend(points: np.ndarray, t: float) -> np.ndarray:
        h = (points[:, 2] / tall).clip(0)
        sway = 0.05 * tall * wave(t, 1.0, delay)
        return np.stack([points[:, 0] + (lean[0] + sway) * h * h, points[:, 1] + lean[1] * h * h, points[:, 2]], -1)

    def rise(points: np.ndarray, t: float) -> np.ndarray:
        up, open_ = growth(t)
        thick = 0.45 + 0.55 * open_
        return bend(points * [1, 1, up], t) * [thick, thick, 1] + at

    def lift(points: np.ndarray, t: float) -> np.ndarray:
        """The cap sits on the end of the stem; it is a closed bud while small."""
        up, open_ = growth(t)
        thick = 0.45 + 0.55 * open_
        top = bend(np.array([[0.0, 0.0, tall * up]]), t)[0] * [thick, thick, 1] + at
        tilt = compose(
            turn("y", 1.6 * (lean[0] + 0.05 * tall * wave(t, 1.0, delay)) * up),
            stretch([open_, open_, 0.55 * open_ + 0.45 * up]),
        )
        return apply(compose(shift(top), tilt), points)

    v = cap.vertices
    albedo = paint(len(v), colors.main)
    albedo = over(albedo, colors.mark, 0.6 * step(-v[:, 2] / high, -0.25, 0.4))
    dots = draw.points(16, [-wide, -wide, 0.1 * high], [wide, wide, high])
    r = np.sqrt((dots[:, :2] ** 2).sum(1)) / wide
    dots[:, 2] = high * np.sqrt(1 - r.clip(0, 0.98) ** 2.4)
    albedo = over(albedo, WHITE, spots(v, dots, 0.055 * size * (0.5 + 0.8 * draw.generator.random(16)), 0.014))
    gills = stripes(np.arctan2(v[:, 1], v[:, 0]) / (2 * np.pi), 1 / 28, 0.4, 0, 0.4)
    low = np.zeros(len(v))
    rows = len(resample([[stem_r * 0.8, 0.02 * size], [wide * 0.8, -0.02]], 0.015))
    low[: rows * around] = 1
    low[len(v) - 2] = 1
    albedo = over(albedo, CREAM, low)
    albedo = over(albedo, WOOD, 0.5 * gills * low)
    parts = [
        part(
            stem,
            over(
                paint(len(stem.vertices), CREAM), (0.80, 0.68, 0.5), 0.6 * step(-stem.vertices[:, 2] / tall, -0.3, 0.5)
            ),
            rise,
        ),
        part(cap, albedo, lift),
    ]
    if face:
        z = tall * 0.52
        rad = stem_r * 0.86
        for side in (1, -1):
            parts += eye([side * 0.042, -rad * 0.9, z], 0.030, [side * 0.2, -1, 0.1], rise)
        a = np.linspace(-0.35, 0.35, 11)
        smile = np.stack([rad * 1.04 * np.sin(a), -rad * 1.04 * np.cos(a), z - 0.062 + 0.16 * a * a], -1)
        parts.append(part(rope(smile, 0.009, (0, -1, 0)), (0.35, 0.15, 0.12), rise, casts=False))
    return parts
