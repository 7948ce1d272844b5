"""Charts as inline SVG: classes for the stylesheet, no colours and no scripts here. All text is escaped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from ..stats import Interval

SERIES = 8  # colours of the stylesheet


@dataclass(frozen=True)
class Dot:
    """An object's value of a method. `assumed`: the method has none, and the worst of any method stands for it."""

    value: float
    assumed: bool = False


def tag(name: str, text: str | Markup = "", **attributes: float | str) -> Markup:
    """`class_` is class; other underscores are hyphens.

    >>> tag("text", "<", class_="label", text_anchor="end", x=1.25)
    Markup('<text class="label" text-anchor="end" x="1.2">&lt;</text>')
    """
    told = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), value if isinstance(value, str) else _short(value))
        for key, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(name, told, text)


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _svg(width: float, height: float, parts: Sequence[Markup], title: str = "") -> Markup:
    """Without a title it is a picture of what stands beside it as text."""
    box, inner = f"0 0 {_short(width)} {_short(height)}", Markup("").join(parts)
    if not title:
        return tag("svg", inner, class_="chart", viewBox=box, width=width, height=height, aria_hidden="true")
    inner = tag("title", title) + inner
    return tag("svg", inner, class_="chart", viewBox=box, width=width, height=height, role="img", aria_label=title)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that lie within [low, high].

    >>> ticks(0.0, 1.0)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    >>> ticks(3.0, 3.0)
    [3.0]
    """
    if not high > low:
        return [low]
    rough = (high - low) / count
    unit = 10.0 ** math.floor(math.log10(rough))
    step = unit * next(factor for factor in (1, 2, 5, 10) if factor * unit >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) + 0.0 for k in range(first, math.floor(high / step + 1e-9) + 1)]


def dot_plot(values: Mapping[str, Mapping[str, Dot]], references: Sequence[str], title: str, unit: str) -> Markup:
    """Methods along x, a dot for each object, and a line for each object through all methods: the pairing.

    Args:
        values: method -> object -> dot.
        references: methods that bound the others, drawn apart.
    """
    every = [dot.value for dots in values.values() for dot in dots.values()]
    low, high = min(every), max(every)
    if not high > low:
        low, high = low - 0.5, high + 0.5
    left, top, step, height = 64.0, 16.0, 88.0, 220.0
    x = {name: left + step * (k + 0.5) for k, name in enumerate(values)}
    width, bottom = left + step * len(values) + 12, top + height

    def y(value: float) -> float:
        return bottom - 8 - (height - 16) * (value - low) / (high - low)

    parts = []
    for tick in ticks(low, high):
        parts.append(tag("line", class_="grid", x1=left, x2=width - 12, y1=y(tick), y2=y(tick)))
        parts.append(tag("text", f"{tick:g}", class_="label", x=left - 8, y=y(tick) + 4, text_anchor="end"))
    objects = list(dict.fromkeys(object_ for dots in values.values() for object_ in dots))
    for object_ in objects:
        points = [(x[name], y(dots[object_].value)) for name, dots in values.items() if object_ in dots]
        if len(points) > 1:
            path = " ".join(f"{_short(a)},{_short(b)}" for a, b in points)
            parts.append(tag("polyline", tag("title", object_), class_="line", points=path, fill="none"))
    for k, (name, dots) in enumerate(values.items()):
        kind = "reference" if name in references else f"s{k % SERIES}"
        for object_, dot in dots.items():
            told = f"{name}, {object_}: {dot.value:.5g} {unit}".rstrip() + (
                " (assumed: no value)" if dot.assumed else ""
            )
            style = f"dot {kind}" + (" assumed" if dot.assumed else "")
            parts.append(tag("circle", tag("title", told), class_=style, cx=x[name], cy=y(dot.value), r=4.5))
        mean = sum(dot.value for dot in dots.values()) / len(dots)
        parts.append(tag("line", class_=f"mean {kind}", x1=x[name] - 16, x2=x[name] + 16, y1=y(mean), y2=y(mean)))
        shown = name if len(name) <= 13 else name[:12] + "…"
        label = tag("title", name) + escape(shown)
        parts.append(tag("text", label, class_="label", x=x[name], y=bottom + 16, text_anchor="middle"))
    return _svg(width, bottom + 26, parts, title)


def interval_row(interval: Interval, low: float, high: float, at: float | None, width: float = 180) -> Markup:
    """A mean with its interval on an axis from `low` to `high`; `at`: where nothing is different."""

    def x(value: float) -> float:
        return 8 + (width - 16) * (min(max(value, low), high) - low) / (high - low)

    parts = [tag("line", class_="axis", x1=8.0, x2=width - 8, y1=12.0, y2=12.0)]
    if at is not None:
        parts.append(tag("line", class_="grid", x1=x(at), x2=x(at), y1=2.0, y2=22.0))
    if not math.isnan(interval.low):
        parts.append(tag("line", class_="interval", x1=x(interval.low), x2=x(interval.high), y1=12.0, y2=12.0))
    parts.append(tag("circle", class_="dot", cx=x(interval.mean), cy=12.0, r=4.5))
    return _svg(width, 24, parts)
