"""A fish or a shark. It looks to +x."""

from __future__ import annotations

import numpy as np

from .colors import BLACK, PINK, WHITE, Color, Draw, Palette, hsv, over, paint, palette, spots, step, stripes
from .model import Model, assemble, eye, part, wave
from .shapes import Shape, capsule, oval, pillow, smooth, tube
from .skin import Frame, rigid, turn


def fish(draw: Draw) -> Model:
    """A fish or a shark that swims on the spot, bending its spine from side to side."""
    shark = draw.chance(0.35)
    tall, wide = (draw.between(0.12, 0.14), 0.115) if shark else (draw.between(0.17, 0.25), draw.between(0.10, 0.13))
    t = np.linspace(0, 1, 72)
    nose, belly = (0.75, 1.25) if shark else (0.55, draw.between(0.9, 1.2))
    profile = (np.sin(np.pi * t**0.72 * 0.985 + 0.02).clip(0) ** nose) * (1 - 0.25 * t**belly)
    curve = np.stack([0.42 - 0.86 * t, 0 * t, 0.02 * np.sin(3 * t)], -1)
    body = tube(curve, np.stack([wide * profile + 0.004, tall * profile + 0.012], -1), 56)
    colors = palette(draw, vivid=not shark)
    if shark:
        blue = hsv(draw.between(0.52, 0.64), draw.between(0.25, 0.6), draw.between(0.6, 0.8))
        colors = Palette(blue, WHITE, tuple(0.45 * c for c in blue), colors.accent)
    v = body.vertices
    round_ = np.interp(v[:, 0], curve[::-1, 0], (tall * profile + 0.012)[::-1])
    level = v[:, 2] / round_
    if shark:
        albedo = over(paint(len(v), colors.main), WHITE, step(-level, 0.18, 0.2))
        for gill in range(3):
            albedo = over(
                albedo, colors.mark, _line(v, 0.17 - 0.035 * gill, 0.009) * step(-np.abs(level - 0.05), -0.5, 0.2)
            )
    else:
        albedo = _scales(draw, v, level, colors)
        albedo = over(albedo, colors.belly, step(-level, 0.55, 0.4))
    sway, lag = draw.between(0.13, 0.17), draw.between(0.75, 1.0)

    def swim(points: np.ndarray, time: float) -> np.ndarray:
        """A wave runs down the spine; cross-sections turn with it."""
        s = (0.42 - points[:, 0]).clip(0)
        phase = 2 * np.pi * (time - lag * s)
        amount = sway * (0.18 + s * s * 1.25)
        side = amount * np.sin(phase)
        slope = -(sway * 2.5 * s * np.sin(phase) - amount * 2 * np.pi * lag * np.cos(phase))
        bend = points[:, 1] / np.sqrt(1 + slope * slope)
        return np.stack([points[:, 0] - slope * bend, side + bend, points[:, 2] + 0.02 * np.sin(np.pi * time)], -1)

    parts = [part(body, albedo, swim)]
    high = tall * (0.9 if shark else 0.82)
    tail = _fin(
        [[0, -0.02], [-0.10, 0.05], [-0.20, 0.19 if shark else 0.17], [-0.15, 0.02], [-0.19, -0.15], [-0.10, -0.05]],
        0.016,
    )
    back = _fin(
        [[0.14, -0.03], [0.0, 0.13 if shark else 0.10], [-0.12, 0.11 if not shark else 0.15], [-0.14, -0.03]], 0.016
    )
    fin_colors = colors.main if shark else colors.accent
    for fin, at in ((tail, [-0.42, 0, 0.0]), (back, [0.0 if shark else -0.03, 0, high])):
        parts.append(
            part(fin.moved(at), _rays(fin, fin_colors, colors.mark if not shark else colors.main), swim, casts=False)
        )
    low = _fin([[0.06, 0.03], [-0.10, 0.03], [-0.13, -0.09], [-0.05, -0.06]], 0.013).moved([-0.12, 0, -high * 0.86])
    parts.append(part(low, _rays(low, fin_colors, fin_colors), swim, casts=False))
    for side in (1, -1):
        root = np.array([0.16, side * wide * 0.82, -0.05])
        paddle = (
            pillow(oval(0.19, 0.10, -0.25), 0.012, 8)
            .moved([-0.075, 0, 0])
            .rotated("x", side * -35)
            .rotated("z", side * -38)
            .moved(root)
        )

        def flap(time: float, side: int = side, root: np.ndarray = root) -> Frame:
            return turn("x", side * (0.25 + 0.45 * wave(time, 1.0, 0.1)), root)

        parts.append(part(paddle, fin_colors, lambda p, time, flap=flap: swim(rigid(flap)(p, time), time), casts=False))
        x = 0.29 if shark else 0.27
        gap = float(np.interp(x, curve[::-1, 0], profile[::-1])) * wide
        parts += eye([x, side * gap * 0.86, 0.045], 0.034 if shark else 0.048, [0.35, side, 0.12], swim)
    mouth = (
        np.array([[0.415, 0, -0.025], [0.36, 0, -0.05]])
        if not shark
        else np.array([[0.40, 0, -0.03], [0.30, 0, -0.075]])
    )
    lips = capsule(mouth[0], mouth[1], 0.012, 0.012, 5, 12)
    lips = Shape(lips.vertices * [1, 4.2 if shark else 3.2, 1], lips.faces, lips.uv)
    parts.append(part(lips, PINK if not shark else colors.mark, swim, casts=False))
    what = "a shark swimming with strokes of its tail" if shark else "a fish swimming with strokes of its tail"
    return assemble(parts, draw.pick([0.0, 180.0]) + draw.yaw(22, 38), what)


def _line(v: np.ndarray, x: float, width: float) -> np.ndarray:
    return 1 - step(np.abs(v[:, 0] - x), width, 0.008)


def _scales(draw: Draw, v: np.ndarray, level: np.ndarray, colors: Palette) -> np.ndarray:
    """Bands like a clownfish, spots, or a fade from nose to tail."""
    out = paint(len(v), colors.main)
    style = draw.pick(["bands", "spots", "fade", "lines"])
    if style == "bands":
        for x in (0.17, -0.07, -0.29):
            out = over(out, BLACK, _line(v, x, 0.058))
            out = over(out, WHITE, _line(v, x, 0.042))
    elif style == "spots":
        low, high = v.min(0), v.max(0)
        out = over(out, colors.mark, spots(v, draw.points(70, low, high), 0.032, 0.02))
    elif style == "lines":
        out = over(out, colors.mark, stripes(level + 0.2 * np.sin(9 * v[:, 0]), 0.45, 0.4))
    else:
        out = over(out, colors.accent, step(-v[:, 0], 0.05, 0.5))
    return over(out, colors.accent if style != "fade" else colors.mark, step(v[:, 0], 0.22, 0.02) * (style != "bands"))


def _fin(outline: list[list[float]], thickness: float) -> Shape:
    """A fin in the xz plane from a coarse outline, rounded."""
    points = np.array(outline)
    center = points.mean(0)
    ring = np.array(smooth([*(points - center), points[0] - center], 73))[:-1]
    area = (ring[:, 0] * np.roll(ring[:, 1], -1) - np.roll(ring[:, 0], -1) * ring[:, 1]).sum()
    fin = pillow(ring if area > 0 else ring[::-1], thickness, 10).rotated("x", 90)
    return fin.moved([center[0], 0, center[1]])


def _rays(fin: Shape, color: Color, tip: Color) -> np.ndarray:
    """Fin rays: thin lines of the colour `tip`."""
    return over(paint(len(fin.vertices), color), tip, 0.4 * stripes(fin.uv[:, 1], 1 / 18, 0.4, 0, 0.4))
