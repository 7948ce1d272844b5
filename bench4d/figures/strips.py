"""Comparison strips: methods x times x views, from the lossless frames, pixel for pixel; the input first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from bench4d.errors import FormatError
from bench4d.run_frames import RunFrames

from .drawing import ACCENT, FAINT, FONT, INK, POINTS, SOFT, save, settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Picture = UInt8[np.ndarray, "H W 3"]
INPUT, TRUTH = "Input", "Truth"
LINE = 1.45 * FONT  # points that a line of labels takes
GAP = 0.02  # between pictures, of their side
GROUP_GAP = 0.08  # between views and clips
MARGIN = 0.06  # around the object when cropped, of the box
INSET_COLORS = (ACCENT, "#c2410c")


@dataclass(frozen=True)
class Moment:
    """One line of pictures: a clip, seen from a view, at a frame."""

    clip: str
    view: str
    frame: int


@dataclass(frozen=True)
class Inset:
    """A square of every picture that is shown enlarged below it; left, top and side as parts of it."""

    x: float
    y: float
    side: float

    def __post_init__(self) -> None:
        if not (min(self.x, self.y) >= 0 and 0 < self.side <= 0.5 and max(self.x, self.y) + self.side <= 1):
            raise FormatError("--inset", "X,Y,SIDE within the picture, SIDE at most 0.5", f"{self}")


@dataclass(frozen=True)
class Strip:
    """Pictures of one size: `cells[source][moment]`, or the reason (a text) why there is none.

    Attributes:
        times, groups: labels of each moment, alone and shared with its neighbours.
    """

    sources: tuple[str, ...]
    moments: tuple[Moment, ...]
    cells: Mapping[str, Sequence[Picture | str]]
    times: tuple[str, ...]
    groups: tuple[str, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of every picture."""
        height, width = next(c.shape[:2] for line in self.cells.values() for c in line if not isinstance(c, str))
        return width, height


def moments_of(run: RunFrames, clips: Sequence[str], views: Sequence[str], frames: Sequence[int]) -> tuple[Moment, ...]:
    """Clip by clip, view by view. Raises FormatError for a frame that is not there."""
    count = len(run.benchmark.times)
    if wrong := [k for k in frames if not 0 <= k < count]:
        raise FormatError("--frames", f"numbers from 0 to {count - 1}", f"{wrong}")
    return tuple(Moment(clip, view, k) for clip in clips for view in views for k in frames)


def make_strip(
    run: RunFrames, methods: Sequence[str], moments: Sequence[Moment], truth: bool = True, crop: bool = False
) -> Strip:
    """Read the pictures. `crop`: all to one size, around what is seen of each clip; nothing is resized."""
    size = int(run.benchmark.data["size"])
    has_truth = truth and all(run.has_truth(m.clip, [m.view]) for m in moments)
    sources = (INPUT, *([TRUTH] if has_truth else []), *methods)
    if len(set(sources)) < len(sources):
        raise FormatError("--methods", f"different methods, none of them called {INPUT} or {TRUTH}", f"{list(methods)}")
    cells: dict[str, list[Picture | str]] = {source: [] for source in sources}
    seen: dict[tuple[str, str, str], UInt8[np.ndarray, "T H W 3"]] = {}
    for moment in moments:
        for source in sources:
            why = run.why_missing(source, moment.clip) if source in methods else ""
            where = (source, moment.clip, "" if source == INPUT else moment.view)
            if not why and where not in seen:
                seen[where] = _film(run, *where)
            cells[source].append(why or _sized(seen[where][moment.frame], size))
    if not any(not isinstance(cell, str) for name in methods for cell in cells[name]):
        raise FormatError("strip", "a picture of a method", "none: it failed on these clips")
    if crop:
        cells = _cropped(cells, moments, np.rint(255 * np.array(run.benchmark.data["background"])).astype(int))
    fps = run.benchmark.data["fps"]
    times = tuple(f"{moment.frame / fps:.2f} s" for moment in moments)
    return Strip(sources, tuple(moments), cells, times, _groups(run, moments))


def _film(run: RunFrames, source: str, clip: str, view: str) -> UInt8[np.ndarray, "T H W 3"]:
    if source == INPUT:
        return run.of_input(clip)
    return run.of_truth(clip, view) if source == TRUTH else run.of_method(source, clip, view)


def _sized(picture: Picture, size: int) -> Picture:
    """The input may have another size than the views."""
    if picture.shape[0] == picture.shape[1] == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.LANCZOS))


def _groups(run: RunFrames, moments: Sequence[Moment]) -> tuple[str, ...]:
    azimuths = {view["id"]: f"{view['azimuth']:g}°" for view in run.benchmark.data["views"]}
    many = len({moment.clip for moment in moments}) > 1
    return tuple((f"{m.clip}, " if many else "") + f"view {azimuths[m.view]}" for m in moments)


def _cropped(
    cells: Mapping[str, Sequence[Picture | str]], moments: Sequence[Moment], background: np.ndarray
) -> dict[str, list[Picture | str]]:
    """One size for all clips; the box of a clip lies around everything that any of its pictures shows."""
    spans: dict[str, list[tuple[int, int]]] = {}  # rows and columns
    for clip in dict.fromkeys(moment.clip for moment in moments):
        line = [c for own in cells.values() for c, m in zip(own, moments, strict=True) if m.clip == clip]
        seen = np.any([(c != background).any(axis=-1) for c in line if not isinstance(c, str)], axis=0)
        spans[clip] = [_span(seen.any(axis=1)), _span(seen.any(axis=0))]
        size = len(seen)
    margin = 2 * MARGIN * max(high - low for both in spans.values() for low, high in both)
    sides = [min(size, math.ceil(max(both[k][1] - both[k][0] for both in spans.values()) + margin)) for k in (0, 1)]

    def cut(cell: Picture | str, clip: str) -> Picture | str:
        if isinstance(cell, str):
            return cell
        middles = [sum(span) / 2 for span in spans[clip]]
        top, left = (round(np.clip(m - side / 2, 0, size - side)) for m, side in zip(middles, sides, strict=True))
        return cell[top : top + sides[0], left : left + sides[1]]

    return {name: [cut(c, m.clip) for c, m in zip(own, moments, strict=True)] for name, own in cells.items()}


def _span(seen: Bool[np.ndarray, " n"]) -> tuple[int, int]:
    """From the first to behind the last; everything, if there is none."""
    where = np.flatnonzero(seen)
    return (int(where[0]), int(where[-1]) + 1) if len(where) else (0, len(seen))


@dataclass(frozen=True)
class _Layout:
    """Everything in pixels, from the top left.

    Attributes:
        across: methods are columns.
        cell: width and height of a picture with its insets.
        sources, moments: places along their axes.
        dpi, left, top: of the figure, and the room for labels.
    """

    across: bool
    cell: tuple[int, int]
    sources: tuple[int, ...]
    moments: tuple[int, ...]
    dpi: float
    left: int
    top: int

    @property
    def line(self) -> float:
        return LINE / POINTS * self.dpi

    @property
    def total(self) -> tuple[int, int]:
        x, y = (self.sources, self.moments) if self.across else (self.moments, self.sources)
        return self.left + x[-1] + self.cell[0], self.top + y[-1] + self.cell[1]

    def corner(self, s: int, m: int) -> tuple[int, int]:
        x, y = (self.sources[s], self.moments[m]) if self.across else (self.moments[m], self.sources[s])
        return self.left + x, self.top + y


def _lay_out(strip: Strip, width: float, insets: int, across: bool) -> _Layout:
    wide, high = strip.size
    gap = round(GAP * wide)
    high += (gap + _inset_side(wide, insets)) if insets else 0
    lines = (2, 1) if across else (1, 2)  # of labels on the left, and above
    sides = (wide, high) if across else (high, wide)
    sources = tuple(k * (sides[0] + gap) for k in range(len(strip.sources)))
    moments = [0]
    for before, now in pairwise(strip.groups):
        moments.append(moments[-1] + sides[1] + (gap if now == before else round(GROUP_GAP * wide)))
    pictures = wide + (sources if across else moments)[-1]
    if not (1 <= width <= 100):
        raise FormatError("--width", "1 to 100 inches", f"{width}")
    dpi = pictures / (width - lines[0] * LINE / POINTS)
    left, top = (math.ceil(n * LINE / POINTS * dpi) for n in lines)
    return _Layout(across, (wide, high), sources, tuple(moments), dpi, left, top)


def _inset_side(width: int, count: int) -> int:
    """Insets fill the width of the picture, side by side."""
    return (width - (count - 1) * round(GAP * width)) // count


def draw_strip(
    strip: Strip, out: Path, width: float = 7.0, insets: Sequence[Inset] = (), methods_in: str = "columns"
) -> list[Path]:
    """Write the strip, `width` inches wide. In the PNG one pixel is one pixel of the frames.

    Args:
        methods_in: "columns" (moments are rows) or "rows".
    """
    layout = _lay_out(strip, width, len(insets), methods_in == "columns")
    with settings():
        from matplotlib.figure import Figure

        total = layout.total
        figure = Figure(figsize=(total[0] / layout.dpi, total[1] / layout.dpi), dpi=layout.dpi)
        for s, source in enumerate(strip.sources):
            for m, cell in enumerate(strip.cells[source]):
                _draw(figure, layout, layout.corner(s, m), cell, strip.size, insets)
        _label(figure, layout, strip)
        return save(figure, out, layout.dpi)


def _draw(
    figure: Figure,
    layout: _Layout,
    corner: tuple[int, int],
    cell: Picture | str,
    size: tuple[int, int],
    insets: Sequence[Inset],
) -> None:
    """One picture, and its enlarged squares below it."""
    from matplotlib.patches import Rectangle

    wide, high = size
    axes = _axes(figure, layout, corner, size)
    if isinstance(cell, str):
        axes.add_patch(Rectangle((0, 0), wide, high, facecolor="#f3f4f6", edgecolor=FAINT, linewidth=0.6))
        axes.text(wide / 2, high / 2, "failed", ha="center", va="center", color=SOFT)
        return
    _show(axes, cell)
    side, gap = _inset_side(wide, len(insets) or 1), round(GAP * wide)
    for k, inset in enumerate(insets):
        color = INSET_COLORS[k % len(INSET_COLORS)]
        x, y, span = round(inset.x * wide), round(inset.y * high), round(inset.side * wide)
        y = min(y, high - span)
        frame: Any = {"fill": False, "edgecolor": color, "linewidth": 0.7, "zorder": 4}
        axes.add_patch(Rectangle((x, y), span, span, **frame))
        below = _axes(figure, layout, (corner[0] + k * (side + gap), corner[1] + high + gap), (side, side))
        _show(below, cell[y : y + span, x : x + span])
        below.add_patch(Rectangle((0, 0), span, span, **frame))


def _axes(figure: Figure, layout: _Layout, corner: tuple[int, int], size: tuple[int, int]) -> Axes:
    """From pixels to pixels: the picture is not resampled. Coordinates are pixels of the picture, downwards."""
    wide, high = layout.total
    place = (corner[0] / wide, 1 - (corner[1] + size[1]) / high, size[0] / wide, size[1] / high)
    axes = figure.add_axes(place)
    axes.set_axis_off()
    axes.set_xlim(0, size[0])
    axes.set_ylim(size[1], 0)
    return axes


def _show(axes: Axes, picture: Picture) -> None:
    high, wide = picture.shape[:2]
    axes.imshow(picture, extent=(0, wide, high, 0), interpolation="none", aspect="auto")
    axes.set_xlim(0, wide)
    axes.set_ylim(high, 0)


def _label(figure: Figure, layout: _Layout, strip: Strip) -> None:
    """Sources on one side; times, and beyond them what they share, on the other."""
    along = layout.cell if layout.across else layout.cell[::-1]  # along the axis of sources, and of moments
    for place, source in zip(layout.sources, strip.sources, strict=True):
        _text(figure, layout, place, along[0], 0, source, layout.across)
    for place, time in zip(layout.moments, strip.times, strict=True):
        _text(figure, layout, place, along[1], 0, time, not layout.across, SOFT)
    for first, last in _spans(strip.groups):
        start, end = layout.moments[first], layout.moments[last] + along[1]
        _text(figure, layout, start, end - start, 1, strip.groups[first], not layout.across)


def _text(
    figure: Figure, layout: _Layout, start: int, length: int, depth: int, text: str, above: bool, color: str = INK
) -> None:
    """Centred over `length` pixels from `start`, `depth` lines away from the pictures; smaller if it is too long."""
    middle = (layout.left if above else layout.top) + start + length / 2
    away = (layout.top if above else layout.left) - (depth + 0.5) * layout.line
    x, y = (middle, away) if above else (away, middle)
    wide, high = layout.total
    turn = 0 if above else 90
    made = figure.text(x / wide, 1 - y / high, text, ha="center", va="center", rotation=turn, color=color)
    box = made.get_window_extent()
    made.set_fontsize(FONT * min(1.0, length / max(1.0, box.width if above else box.height)))


def _spans(groups: Sequence[str]) -> list[tuple[int, int]]:
    """First and last place of each run of equal labels.

    >>> _spans(["a", "a", "b"])
    [(0, 1), (2, 2)]
    """
    starts = [k for k in range(len(groups)) if k == 0 or groups[k] != groups[k - 1]]
    return list(zip(starts, [*(k - 1 for k in starts[1:]), len(groups) - 1], strict=True))
