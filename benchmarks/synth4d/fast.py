"""Fast motion: a spinning top, a bouncing ball, pinwheels. They look to -y."""

from __future__ import annotations

import numpy as np

from .colors import (
    BLACK,
    CREAM,
    GOLD,
    RED,
    STEEL,
    WHITE,
    WOOD,
    Draw,
    Palette,
    hsv,
    over,
    paint,
    palette,
    spots,
    step,
    stripes,
)
from .model import Model, Part, assemble, eye, part, solid, wave
from .shapes import Shape, capsule, cylinder, lathe, resample, smooth, sphere, torus, vec
from .skin import Frame, compose, rigid, shift, stretch, turn


def top(draw: Draw) -> Model:
    """A spinning top on a stand: it spins fast, leans, and its axis runs round slowly."""
    wide, tall = draw.between(0.36, 0.42), draw.between(0.62, 0.74)
    style = draw.pick(["onion", "disc", "cone"])
    belly = {
        "onion": [[0.012, 0.0], [0.05, 0.06], [0.7 * wide, 0.24], [wide, 0.38], [0.8 * wide, 0.50], [0.3 * wide, 0.57]],
        "disc": [
            [0.012, 0.0],
            [0.04, 0.10],
            [0.45 * wide, 0.23],
            [wide, 0.31],
            [wide, 0.37],
            [0.4 * wide, 0.45],
            [0.16 * wide, 0.52],
        ],
        "cone": [
            [0.012, 0.0],
            [0.08, 0.06],
            [0.6 * wide, 0.30],
            [wide * 0.97, 0.47],
            [wide * 0.9, 0.54],
            [0.2 * wide, 0.58],
        ],
    }[style]
    neck = belly[-1]
    knob = [[0.032, neck[1] + 0.02], [0.030, tall], [0.055, tall + 0.02], [0.06, tall + 0.05], [0.035, tall + 0.085]]
    shape = lathe(
        [[0, -0.004], *smooth(belly, 64), *smooth([[neck[0] * 0.6, neck[1] + 0.01], *knob], 30), [0, tall + 0.09]], 120
    )
    v = shape.vertices
    colors = palette(draw)
    angle, r = np.arctan2(v[:, 1], v[:, 0]) / (2 * np.pi), np.sqrt(v[:, 0] ** 2 + v[:, 1] ** 2)
    albedo = paint(len(v), colors.main)
    pattern = draw.pick(["sectors", "spiral", "dots"])
    upper = step(v[:, 2], belly[3][1], 0.01)
    if pattern == "sectors":
        albedo = over(albedo, colors.accent, stripes(angle, 1 / draw.pick([3, 4, 5]), 0.5, 0, 0.05) * upper)
        albedo = over(albedo, colors.belly, stripes(angle, 1 / draw.pick([3, 5, 6]), 0.5, 0.2, 0.05) * (1 - upper))
    elif pattern == "spiral":
        albedo = over(albedo, colors.belly, stripes(angle + 1.1 * v[:, 2] / 0.5, 1 / draw.pick([2, 3]), 0.45, 0, 0.06))
    else:
        n = draw.pick([5, 6])
        a = 2 * np.pi * np.arange(n) / n
        for z, size, lag in ((belly[3][1] + 0.06, 0.075, 0.0), (belly[2][1] - 0.01, 0.055, 0.5)):
            rr = np.interp(z, [q[1] for q in belly], [q[0] for q in belly])
            c = np.stack([rr * np.cos(a + lag), rr * np.sin(a + lag), 0 * a + z], -1)
            albedo = over(albedo, colors.belly if lag else colors.accent, spots(v, c, size, 0.015))
    albedo = over(
        albedo, colors.mark, (1 - step(np.abs(v[:, 2] - belly[3][1] + 0.01), 0.022, 0.01)) * step(r, 0.6 * wide, 0.05)
    )
    albedo = over(albedo, WOOD, step(v[:, 2], neck[1] + 0.012, 0.01))
    albedo = over(albedo, colors.accent, step(v[:, 2], tall + 0.01, 0.01))
    albedo = over(albedo, STEEL, step(-v[:, 2], -0.035, 0.01))
    rate, lean = draw.pick([1.25, 1.5, 1.75]), draw.between(0.20, 0.28)

    def spin(t: float) -> Frame:
        run = 2 * np.pi * t / 2.0
        tilt = lean * (1 + 0.25 * wave(t, 1.0))
        axis = turn([np.cos(run), np.sin(run), 0], tilt, (0, 0, 0.10))
        return compose(axis, turn("z", -2 * np.pi * rate * t))

    lifted = Shape(v + vec(0, 0, 0.1), shape.faces, shape.uv)
    stand = lathe(
        [
            [0, 0],
            [0.28, 0],
            [0.30, 0.015],
            *resample([[0.30, 0.015], [0.28, 0.05]], 0.02),
            [0.26, 0.075],
            [0.20, 0.09],
            [0.1, 0.093],
            [0, 0.094],
        ],
        64,
    )
    ring = step(np.sqrt((stand.vertices[:, :2] ** 2).sum(1)), 0.235, 0.01) * step(stand.vertices[:, 2], 0.05, 0.01)
    parts = [solid(lifted, albedo, spin), part(stand, over(paint(len(stand.vertices), CREAM), colors.mark, ring))]
    return assemble(parts, 0.0, f"a spinning {style} top, its axis running round")


def ball(draw: Draw) -> Model:
    """A ball on a trampoline: it stretches in flight, is squashed on impact, and turns as it flies."""
    radius, jump = draw.between(0.20, 0.23), draw.between(0.46, 0.56)
    period = draw.pick([1.0, 0.8])
    colors = palette(draw)
    sphere_ = sphere((0, 0, 0), 1.0, 72, 112)
    v = sphere_.vertices
    angle = np.arctan2(v[:, 1], v[:, 0]) / (2 * np.pi)
    style = draw.pick(["beach", "dots", "star", "tennis"])
    if style == "beach":
        n = draw.pick([6, 8])
        sector = np.floor(((angle + 0.0011) % 1) * n)  # off the meridians: no vertex lies on a border
        albedo = over(paint(len(v), WHITE), colors.main, (sector % 2 == 0).astype(float))
        albedo = over(albedo, colors.accent, (sector % 4 == 1).astype(float))
        albedo = over(albedo, colors.mark, step(np.abs(v[:, 2]), 0.93, 0.02))
    elif style == "dots":
        k = np.arange(22)
        z, a = 1 - 2 * (k + 0.5) / 22, k * np.pi * (3 - np.sqrt(5))
        c = np.stack([np.sqrt(1 - z * z) * np.cos(a), np.sqrt(1 - z * z) * np.sin(a), z], -1)
        albedo = over(paint(len(v), colors.main), colors.belly, spots(v, c, 0.23, 0.05))
    elif style == "star":
        a = 2 * np.pi * angle
        r = np.sqrt(v[:, 0] ** 2 + v[:, 1] ** 2)
        albedo = over(paint(len(v), colors.main), colors.belly, 1 - step(np.abs(v[:, 2]), 0.20, 0.04))
        albedo = over(albedo, GOLD, 1 - step(r, 0.38 + 0.28 * (0.5 + 0.5 * np.cos(5 * a)) ** 1.5, 0.04))
    else:
        seam = v[:, 2] - 0.72 * np.sin(2 * 2 * np.pi * angle) * (1 - v[:, 2] ** 2)
        albedo = over(paint(len(v), colors.main), WHITE, 1 - step(np.abs(seam), 0.075, 0.04))
    mat, flight = 0.26, 0.80
    sideways, lag = draw.between(0.10, 0.15), draw.between(0, 1)
    rolls = draw.pick([0.5, 1.0])

    def height(t: float) -> tuple[float, float, float]:
        """Bottom of the ball above the mat, its vertical stretch, and how far the mat is pushed down."""
        s = (t / period) % 1.0
        if s < flight:
            u = s / flight
            fast = abs(1 - 2 * u)
            # at take-off and landing the shape joins the squashed phase smoothly
            return jump * 4 * u * (1 - u), 1 + 0.20 * fast * fast * (1 - fast**6), 0.0
        u = (s - flight) / (1 - flight)
        push = float(np.sin(np.pi * u))
        return 0.0, 1 - 0.34 * push, 0.11 * push

    def place(t: float) -> tuple[Frame, Frame]:
        z, long, push = height(t)
        c = [sideways * wave(t, 2 * period if period == 1.0 else 4.0, lag), 0.0, mat + z - push + radius * long]
        wide = radius / np.sqrt(long)
        return shift(c), stretch([wide, wide, radius * long])

    def fly(t: float) -> Frame:
        at, size = place(t)
        roll = compose(turn("y", 2 * np.pi * rolls * t), turn("x", 0.9))
        return compose(at, compose(size, roll))

    parts = [solid(sphere_, albedo, fly)]
    plate = lathe(
        [
            [0, -0.012],
            *resample([[0.06, -0.012], [0.345, -0.012]], 0.014),
            [0.35, -0.012],
            [0.35, 0.012],
            *resample([[0.345, 0.012], [0.06, 0.012]], 0.014),
            [0, 0.012],
        ],
        72,
    )

    def dip(points: np.ndarray, t: float) -> np.ndarray:
        _, _, push = height(t)
        ring = 0.030 * np.sin(2 * np.pi * 4 * ((t / period) % 1.0)) * np.exp(-6 * ((t / period) % 1.0))
        x = place(t)[0][0, 3]
        r2 = ((points[:, 0] - x) ** 2 + points[:, 1] ** 2) / 0.35**2
        edge = (1 - (points[:, 0] ** 2 + points[:, 1] ** 2) / 0.35**2).clip(0)
        fall = (push + ring * step_in(t / period % 1.0)) * edge**0.5 * np.exp(-1.2 * r2)
        return np.stack([points[:, 0], points[:, 1], mat - 0.012 + points[:, 2] - fall], -1)

    def step_in(s: float) -> float:
        return min(1.0, s / 0.05) * min(1.0, (1 - s) / 0.2)

    r = np.sqrt((plate.vertices[:, :2] ** 2).sum(1))
    cloth = over(paint(len(r), colors.mark), colors.belly, stripes(r, 0.14, 0.4, 0.1, 0.08))
    parts.append(part(plate, cloth, dip, casts=False))
    hoop = torus(0.365, 0.034, 96, 20)
    around = np.arctan2(hoop.vertices[:, 1], hoop.vertices[:, 0]) / (2 * np.pi)
    parts.append(
        part(
            hoop.moved([0, 0, mat - 0.012]),
            over(paint(len(around), colors.main), WHITE, stripes(around, 1 / 12, 0.5, 0, 0.06)),
            casts=False,
        )
    )
    for k in range(4):
        a = np.pi / 4 + k * np.pi / 2
        leg = cylinder(
            [0.40 * np.cos(a), 0.40 * np.sin(a), 0], [0.365 * np.cos(a), 0.365 * np.sin(a), mat - 0.03], 0.028, 0.022
        )
        parts += [
            part(leg, STEEL, casts=False),
            part(sphere([0.40 * np.cos(a), 0.40 * np.sin(a), 0.02], [0.045, 0.045, 0.028], 12, 18), BLACK, casts=False),
        ]
    return assemble(parts, draw.between(-20, 20), f"a {style} ball bouncing on a trampoline")


def pinwheel(draw: Draw) -> Model:
    """One or two pinwheels of folded paper on sticks, with a face on the hub of the large one."""
    colors = palette(draw, vivid=True)
    double = draw.chance(0.5)
    leans = [(-0.30, 0.66, 0.32), (0.62, 0.52, 0.205)] if double else [(draw.between(-0.08, 0.08), 0.60, 0.44)]
    parts: list[Part] = []
    for k, (lean, long, radius) in enumerate(leans):
        tilt = turn("y", lean, (0, 0, 0.05))
        stick = cylinder([0, 0, 0.05 + 0.007 * k], [0, 0, long + 0.05], 0.028, 0.024)
        parts.append(solid(stick, _barber(stick, colors), lambda t, tilt=tilt: tilt))
        parts.append(solid(sphere([0, 0, long + 0.06], 0.04), colors.accent, lambda t, tilt=tilt: tilt))
        tints = colors if k == 0 else palette(draw, vivid=True)
        rate = draw.pick([1.0, 1.25]) * draw.pick([1, -1])
        parts += _wheel(draw, np.array([0, -0.10, long]), radius, tints, rate, draw.whole(5, 7), k == 0, tilt)
    base = lathe(
        [
            [0, 0],
            [0.19, 0],
            [0.19, 0],
            [0.20, 0.02],
            [0.195, 0.05],
            *smooth([[0.18, 0.065], [0.08, 0.085], [0.045, 0.13]], 10),
            [0, 0.135],
        ],
        48,
    )
    parts.append(part(base, colors.mark))
    return assemble(
        parts, draw.yaw(14, 28), "two pinwheels spinning on sticks" if double else "a pinwheel spinning on a stick"
    )


def _barber(stick: Shape, colors: Palette) -> np.ndarray:
    v = stick.vertices
    turnings = np.arctan2(v[:, 1], v[:, 0]) / (2 * np.pi) + v[:, 2] / 0.22
    return over(paint(len(v), WHITE), colors.accent, stripes(turnings, 1.0, 0.5, 0, 0.08))


def _wheel(
    draw: Draw, hub: np.ndarray, radius: float, colors: Palette, rate: float, vanes: int, face: bool, tilt: Frame
) -> list[Part]:
    """Curled vanes: each leaves the hub flat and curls forward along its leading edge."""
    lag = draw.between(0, 1)

    def spin(t: float) -> Frame:
        return compose(tilt, compose(shift(hub), turn("y", 2 * np.pi * (rate * t + lag + 0.03 * wave(t, 2.0)))))

    def rest(t: float) -> Frame:
        return tilt

    parts: list[Part] = []
    for k in range(vanes):
        vane, front = _vane(radius, 0.92 * 2 * np.pi / vanes, np.sign(rate))
        color = (
            (colors.main, colors.accent, colors.belly)[k % (2 if vanes % 2 == 0 else 3)]
            if vanes != 5
            else (colors.main, colors.accent, GOLD, colors.belly, hsv(0.36, 0.5, 0.85))[k]
        )
        albedo = over(paint(len(front), tuple(0.45 + 0.55 * c for c in color)), color, front)
        w = vane.uv[:, 0]
        albedo = over(albedo, WHITE, 0.9 * (1 - step(np.abs(w - 0.80), 0.035, 0.02)) * front)
        parts.append(solid(vane.rotated("y", 360.0 * k / vanes), albedo, spin, casts=False))
    size = 0.17 * radius
    cap = lathe(
        [
            [0, -0.01],
            [size, -0.01],
            *[[size * np.cos(a), 0.75 * size * np.sin(a)] for a in np.linspace(0, np.pi / 2, 12)[:-1]],
            [0, 0.75 * size],
        ],
        32,
    ).rotated("x", 90)
    parts.append(solid(cap.moved(hub) if face else cap, GOLD if face else RED, rest if face else spin, casts=False))
    parts.append(solid(capsule(hub + vec(0, -0.01, 0), [hub[0], 0.03, hub[2]], 0.014), STEEL, rest, casts=False))
    if face:
        for side in (1, -1):
            parts += eye(hub + vec(side * 0.4 * size, -0.72 * size, 0.2 * size), 0.28 * size, [0, -1, 0.0], rigid(rest))
        smile = capsule(
            hub + vec(-0.25 * size, -0.8 * size, -0.38 * size),
            hub + vec(0.25 * size, -0.8 * size, -0.38 * size),
            0.10 * size,
            rows=4,
            around=12,
        )
        parts.append(solid(smile, (0.35, 0.15, 0.1), rest, casts=False))
    return parts


def _vane(radius: float, width: float, way: float) -> tuple[Shape, np.ndarray]:
    """A thin closed vane in the xz plane, front to -y; `front`: 1 on the side seen first."""
    n, m = 26, 22
    s, w = np.meshgrid(np.linspace(0.10, 1, n), np.linspace(0, 1, m), indexing="ij")
    angle = way * (w - 0.5) * width * (0.55 + 0.45 * np.sqrt(1 - (1 - w) ** 2))
    tip = 1 - 0.22 * (2 * w - 1) ** 2
    curl = w * w * np.sin(np.pi * np.clip(s, 0, 1) * 0.85)
    r = radius * s * tip
    middle = np.stack([r * np.sin(angle), 0.02 - 0.30 * radius * curl, r * np.cos(angle)], -1)
    du, dv = np.gradient(middle, axis=0), np.gradient(middle, axis=1)
    normal = np.cross(du, dv)
    normal = normal / np.sqrt((normal**2).sum(-1, keepdims=True))
    normal = normal * np.where((normal[..., 1] > 0).mean() > 0.5, -1, 1)
    half = 0.009
    a, b = middle + half * normal, middle - half * normal
    i = (np.arange(n - 1)[:, None] * m + np.arange(m - 1)).ravel()
    quad = np.stack([i, i + m, i + m + 1, i + 1], -1)
    tri = np.concatenate([quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]])
    e1, e2 = a[1, 0] - a[0, 0], a[0, 1] - a[0, 0]
    if np.cross(e1, e2) @ normal[0, 0] < 0:
        tri = tri[:, ::-1]
    border = np.concatenate(
        [np.arange(m), m * np.arange(1, n) + m - 1, (n - 1) * m + np.arange(m - 2, -1, -1), m * np.arange(n - 2, 0, -1)]
    )
    nxt = np.roll(border, -1)
    # walk the border in the sense of the front faces, so that the rim faces outwards
    edges = {(int(p), int(q)) for t in tri for p, q in ((t[0], t[1]), (t[1], t[2]), (t[2], t[0]))}
    if (int(border[0]), int(nxt[0])) not in edges:
        border, nxt = nxt, border
    vertices = np.concatenate([a.reshape(-1, 3), b.reshape(-1, 3), a.reshape(-1, 3)[border], b.reshape(-1, 3)[border]])
    k, size = len(border), n * m
    at = {int(x): j for j, x in enumerate(border)}
    follow = np.array([at[int(x)] for x in nxt])
    p, q = 2 * size + np.arange(k), 2 * size + follow
    rim = np.concatenate([np.stack([p, p + k, q + k], -1), np.stack([p, q + k, q], -1)])
    faces = np.concatenate([tri, tri[:, ::-1] + size, rim]).astype(np.int32)
    front = np.concatenate([np.ones(size), np.zeros(size), np.ones(2 * k)])
    uv = np.stack([s.ravel(), w.ravel()], -1)
    return Shape(vertices, faces, np.concatenate([uv, uv, uv[border], uv[border]])), front
