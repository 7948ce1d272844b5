"""The figures of docs/footguns.md, one for each demonstration of tools/footguns.py.

python tools/footgun_figures.py                             all, to docs/images
python tools/footgun_figures.py film --out /tmp             one, elsewhere

Needs matplotlib (`python tools/install.py figures`). Every function makes the data of its demonstration, with the same
options (`size` and the like), and writes one PNG.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from PIL import Image

from bench4d.figures.drawing import ACCENT, FAINT, INK, SOFT, save, settings
from tools import footguns

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DPI = 130
WARN = "#c2571a"  # the misleading one of two
TIMES = 20  # a difference of pictures is shown enlarged


def draw_one_pair(path: Path, **options: Any) -> None:
    """The covariance of one row under old and new numpy, and the two terms that the script adds up, on a log scale."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    value = dict(footguns.one_pair(**options)[1:])
    script, _, square = [float(value[name]) for name in list(value)[2:]]
    figure = Figure(figsize=(7, 1.9), layout="constrained")
    shapes, terms = figure.subplots(1, 2, width_ratios=[1, 1.3])
    shapes.add_patch(Rectangle((0.2, 0.48), 0.02, 0.02, color=ACCENT))
    shapes.add_patch(Rectangle((0.55, 0.24), 0.5, 0.5, facecolor="none", edgecolor=WARN, hatch="xxx", linewidth=0.8))
    side = footguns.LOGITS
    for x, above, below in ((0.21, "numpy before 2.2", "one number"), (0.8, "from 2.2 on", f"{side} x {side} of NaN")):
        shapes.text(x, 0.82, above, ha="center")
        shapes.text(x, 0.1, below, ha="center", color=SOFT)
    shapes.set(xlim=(-0.1, 1.15), ylim=(0, 0.95), aspect="equal", title=f"np.cov of one film's {side} logits")
    shapes.set_axis_off()
    widths = [square, script - square]
    terms.barh([0, 1], widths, color=[ACCENT, WARN], height=0.5)
    for k, width in enumerate(widths):
        terms.annotate(f"{width:.3g}", (width, k), (3, 0), textcoords="offset points", va="center")
    terms.set_yticks([0, 1], ["|a - b|²", "(std a - std b)²"])
    terms.set(
        xscale="log", xlim=(1e-5, 1e5), ylim=(1.6, -0.6), title='the two terms of its "FVD", with numpy before 2.2'
    )
    powers(terms)
    bare(terms)
    save(figure, path, DPI)


def draw_small_sets(path: Path, **options: Any) -> None:
    """The distances of `small_sets` over n: where the lines of one panel cross, the order of two methods turns over."""
    from matplotlib.figure import Figure

    rows = footguns.small_sets(**options)[1:]
    n = [row[0] for row in rows]
    figure = Figure(figsize=(7, 2.3), layout="constrained")
    for panel, title, start in zip(figure.subplots(1, 2), ("Fréchet distance", "kernel distance"), (1, 4), strict=True):
        for column, label, style in ((start, "perfect", lines(ACCENT)), (start + 1, "collapsed", lines(WARN, "s--"))):
            panel.plot(n, [row[column] for row in rows], label=label, **style)
        panel.set(xscale="log", xlabel="films a set (n)", title=title)
        panel.set_xticks(n, [str(count) for count in n])
        panel.minorticks_off()
        panel.legend(frameon=False)
        bare(panel)
    save(figure, path, DPI)


def draw_filters(path: Path, crop: int = 56, times: int = 3, **options: Any) -> None:
    """The head of the object after each filter, pixels enlarged."""
    made = footguns.resized(**options)
    names = [name for name in made if "nearest" in name or "bicubic (" in name or "torch bilinear" in name]
    top, left = corner(made[names[0]])
    write(path, [enlarged(made[name][top : top + crop, left : left + crop], times) for name in names])


def draw_data_range(path: Path, **options: Any) -> None:
    """PSNR of the same noise over the object's contrast; the last point of an inferred range has no place on paper."""
    from matplotlib.figure import Figure

    rows = footguns.data_range(**options)[1:]
    contrast = [row[0] for row in rows]
    finite = [row for row in rows if not isinstance(row[3], str)]
    figure = Figure(figsize=(4.6, 2.3), layout="constrained")
    panel = figure.subplots()
    panel.plot(contrast, [row[2] for row in rows], label="peak 255", **lines(ACCENT))
    inferred = [row[3] for row in finite]
    panel.plot([row[0] for row in finite], inferred, label="peak max - min", **lines(WARN, "s--"))
    bottom = min(inferred) - 6
    panel.annotate(
        "-∞ at 0", (0, bottom), (0.08, bottom + 2), color=WARN, arrowprops={"arrowstyle": "->", "color": WARN}
    )
    panel.set(xlabel="contrast of the object", ylabel="PSNR (dB)", title="the same error, ever paler objects")
    panel.set(xlim=(-0.02, 1.04), ylim=(bottom, max(row[2] for row in rows) + 3))
    panel.legend(frameon=False, loc="lower right")
    bare(panel)
    save(figure, path, DPI)


def draw_film(path: Path, crop: int = 96, times: int = 2, **options: Any) -> None:
    """The object's head in the last frame, the same after the film, and their difference times 20 around grey."""
    truth, back, _ = footguns.filmed(**options)
    pair = [view.rgb[-1] for view in (truth, back)]
    top, left = corner(pair[0])
    before, after = (image[top : top + crop, left : left + crop] for image in pair)
    difference = np.clip(128 + TIMES * (after.astype(int) - before), 0, 255).astype(np.uint8)
    write(path, [enlarged(tile, times) for tile in (before, after, difference)], colours=128)


def draw_empty_render(path: Path, **options: Any) -> None:
    """One frame of one view of the truth and of each candidate, over what the metrics say of it (the page's means)."""
    from matplotlib.figure import Figure

    truth, others = footguns.candidates(**options)
    figure = Figure(figsize=(7, 2.45), layout="constrained")
    scored = {"the truth": truth, **others}
    for panel, (name, views) in zip(figure.subplots(1, len(scored)), scored.items(), strict=True):
        panel.imshow(views[0].rgb[0], interpolation="antialiased")
        panel.set(title=name, xticks=[], yticks=[])
        panel.spines[:].set_color(FAINT)
        everywhere, structure, masked, _, overlap = footguns.scores_of(views, truth)
        panel.set_xlabel(
            f"PSNR {everywhere:.1f}   SSIM {structure:.3f}\nPSNR masked {masked:.1f}\nsilhouette IoU {overlap:.2f}",
            color=INK,
            linespacing=1.4,
        )
    save(figure, path, DPI)


def draw_chamfer_units(path: Path, **options: Any) -> None:
    """One pair of shapes under eight conventions, on a log scale; this project's own has another colour."""
    from matplotlib.figure import Figure

    rows = [row for row in footguns.chamfer_units(**options)[1:] if "F-score" not in row[0]]
    rows.sort(key=lambda row: -row[1])
    figure = Figure(figsize=(7, 2.3), layout="constrained")
    panel = figure.subplots()
    ours = "mean of both directions, not squared, cube of side 1"
    panel.barh(
        range(len(rows)), [row[1] for row in rows], height=0.6, color=[ACCENT if r[0] == ours else FAINT for r in rows]
    )
    for k, row in enumerate(rows):
        text = f"{row[1]:.4f}   (x {row[2]:.3g})"
        panel.annotate(text, (row[1], k), (3, 0), textcoords="offset points", va="center")
    panel.set_yticks(range(len(rows)), [row[0] for row in rows])
    panel.set(
        xscale="log",
        xlim=(min(r[1] for r in rows) / 3, max(r[1] for r in rows) * 5),
        title="Chamfer distance of one pair (x: over the smallest)",
    )
    panel.invert_yaxis()
    powers(panel)
    bare(panel)
    save(figure, path, DPI)


def lines(colour: str, style: str = "o-") -> dict[str, Any]:
    return {"color": colour, "marker": style[0], "linestyle": style[1:], "markersize": 3.5, "linewidth": 1.2}


def powers(panel: Axes) -> None:
    """Ticks of a log axis as plain numbers, those of whole powers of ten alone."""
    panel.minorticks_off()
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def bare(panel: Axes) -> None:
    panel.spines[["top", "right"]].set_visible(False)


def corner(image: np.ndarray) -> tuple[int, int]:
    """Row and column of the top left corner of what is not white in uint8 [H,W,3]."""
    covered = (image < 250).any(axis=2)
    return tuple(int(np.flatnonzero(covered.any(axis=axis))[0]) for axis in (1, 0))  # type: ignore[return-value]


def enlarged(tile: np.ndarray, times: int) -> np.ndarray:
    """Every pixel as a square of `times` x `times`."""
    return tile.repeat(times, axis=0).repeat(times, axis=1)


def write(path: Path, tiles: Sequence[np.ndarray], colours: int = 64) -> None:
    """Tiles of one height side by side, 6 white pixels between them."""
    gap = np.full((len(tiles[0]), 6, 3), 255, np.uint8)
    sheet = np.concatenate([part for tile in tiles for part in (tile, gap)][:-1], axis=1)
    Image.fromarray(sheet).quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)


FIGURES: dict[str, Callable[..., None]] = {
    "one-pair": draw_one_pair,
    "small-sets": draw_small_sets,
    "filters": draw_filters,
    "data-range": draw_data_range,
    "film": draw_film,
    "empty-render": draw_empty_render,
    "chamfer-units": draw_chamfer_units,
}


def draw(name: str, folder: Path, **options: Any) -> Path:
    """Writes the figure of a demonstration into the folder. Raises FormatError without matplotlib."""
    path = folder / f"footguns_{name.replace('-', '_')}.png"
    with settings():
        FIGURES[name](path, **options)
    return path


def main() -> None:
    form = partial(argparse.RawDescriptionHelpFormatter, max_help_position=30)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("name", nargs="?", choices=[*FIGURES], help="default: every figure")
    parser.add_argument("--out", type=Path, default=Path("docs/images"), help="folder of the figures")
    options = parser.parse_args()
    for name in [options.name] if options.name else FIGURES:
        print(draw(name, options.out))


if __name__ == "__main__":
    main()
