"""Traps of evaluation, shown with numbers. docs/footguns.md explains them.

python tools/footguns.py                     all, as tables in Markdown
python tools/footguns.py small-sets          one

tools/footgun_figures.py draws the page's figures.
Each function makes its own data from a fixed seed or from synth4d and returns a table: a row of headings, then rows.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from PIL import Image

from bench4d.metric import View
from metrics.chamfer import chamfer
from metrics.frechet import Frechet
from metrics.fscore import fscore
from metrics.kernel import Kernel
from metrics.psnr import psnr, psnr_masked
from metrics.silhouette import silhouette_iou
from metrics.ssim import ssim, ssim_masked
from tools.sanity_set import FPS, loaded_metrics, seen, shifted, variants

Row = tuple[Any, ...]
OBJECT = "walker-1000000"
LOGITS = 400  # of I3D
SIZES = (28, 80, 280, 800, 2048)


def one_pair(seed: int = 0) -> list[Row]:
    """The Fréchet distance of one film a side: what numpy makes of "the covariance" of a single row of logits."""
    a, b = np.random.default_rng(seed).normal(size=(2, 1, LOGITS))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # "degrees of freedom <= 0": all that a script's user gets to see
        cov = np.cov(a, rowvar=False)
    flat = [float(np.cov(x.ravel())) for x in (a, b)]  # numpy before 2.2 took a single row for a single variable
    square = float(((a - b) ** 2).sum())
    script = square + flat[0] + flat[1] - 2 * np.sqrt(flat[0] * flat[1])
    spread = float((a.std(ddof=1) - b.std(ddof=1)) ** 2)
    return [
        ("what", "value"),
        (f"np.cov of one row of {LOGITS} logits, numpy {np.__version__}: shape", str(list(np.shape(cov)))),
        ("share of it that is NaN", float(np.isnan(cov).mean())),
        ("the script's formula with numpy before 2.2", f"{script:.9f}"),
        ("closed form \\|a - b\\|² + (std a - std b)²", f"{square + spread:.9f}"),
        ("of which \\|a - b\\|²", f"{square:.9f}"),
    ]


def small_sets(sizes: Sequence[int] = SIZES, width: int = LOGITS, vectors: int = 4000) -> list[Row]:
    """Two methods against the truth, Gaussian vectors: a perfect one (another draw of the truth) and one whose spread
    has collapsed to half. Means over at least 8 draws, about `vectors` vectors together; and how often a draw puts the
    perfect one first."""
    rows: list[Row] = [
        ("n", "Fréchet: perfect", "collapsed", "right order", "kernel: perfect", "collapsed", "right order")
    ]
    for n in sizes:
        found = []
        for seed in range(max(8, vectors // n)):
            truth, same, other = np.random.default_rng(seed).normal(size=(3, n, width)).astype(np.float32)
            found.append([[distance(s(), m, truth) for m in (same, 0.5 * other)] for s in (Frechet, Kernel)])
        both = np.array(found)  # [draw, statistic, method]
        right = (both[..., 0] < both[..., 1]).mean(axis=0)
        means = both.mean(axis=0).tolist()
        rows.append((n, *(part for k in range(2) for part in (*means[k], f"{right[k]:.0%}"))))
    return rows


def distance(statistic: Any, predicted: np.ndarray, truth: np.ndarray) -> float:
    statistic.add(predicted, truth)
    return float(statistic.value())


def picture(size: int, azimuth: float = 75.0) -> View:
    """A frame of the object on white."""
    from benchmarks.synth4d.generator import make_object

    return seen([make_object(OBJECT).mesh_at(0.0)], azimuth, size)


def resized(size: int = 512, to: int = 224) -> dict[str, np.ndarray]:
    """One picture made smaller by every filter that some script uses, by name."""
    import torch

    image = Image.fromarray(picture(size).rgb[0])
    made = {
        f"Pillow {name}": np.array(image.resize((to, to), filter))
        for name, filter in (
            ("bicubic (the default since 7.0)", Image.Resampling.BICUBIC),
            ("bilinear", Image.Resampling.BILINEAR),
            ("Lanczos", Image.Resampling.LANCZOS),
            ("nearest (the default before)", Image.Resampling.NEAREST),
        )
    }
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    for mode, antialias in (("bilinear", True), ("bilinear", False), ("bicubic", False)):
        small = torch.nn.functional.interpolate(pixels, (to, to), mode=mode, align_corners=False, antialias=antialias)
        name = f"torch {mode}" + ("" if antialias else " without antialiasing (its default)")
        made[name] = small[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy()
    return made


def filters(size: int = 512, to: int = 224) -> list[Row]:
    """How far a picture, made smaller by other filters, is from itself made smaller by Pillow's bicubic one."""
    made = resized(size, to)
    views = [View(image[None], np.full((1, to, to), 255, np.uint8)) for image in made.values()]
    lpips = perceptual()
    rows: list[Row] = [("filter", "PSNR dB", "SSIM", "LPIPS (alex)")]
    for name, view in zip(made, views, strict=True):
        rows.append((name, *(score(view, views[0]) for score in (first(psnr), first(ssim), lpips))))
    return rows


def first(score: Callable[[View, View], Any]) -> Callable[[View, View], float]:
    return lambda predicted, truth: float(score(predicted, truth).mean())


def perceptual() -> Callable[[View, View], Any]:
    """lpips-alex, or dashes without its weights."""
    items, _ = loaded_metrics(["lpips-alex"])
    return first(items[0].score) if items and items[0].score else lambda predicted, truth: "–"


def data_range(size: int = 256, noise: float = 4.0) -> list[Row]:
    """The same noise on the same object in ever paler colours; the peak 255, or max - min of the true picture."""
    truth = picture(size).rgb.astype(np.float64)
    error = np.random.default_rng(0).normal(0, noise, truth.shape)
    rows: list[Row] = [("contrast of the object", "max - min", "PSNR, peak 255", "PSNR, peak max - min")]
    for contrast in (1.0, 0.5, 0.25, 0.1, 0.0):
        pale = np.round(255 + contrast * (truth - 255))
        span, mean = float(np.ptp(pale)), float((error**2).mean())
        inferred = 10 * np.log10(span**2 / mean) if span else "-inf"
        rows.append((contrast, span, 10 * np.log10(255**2 / mean), inferred))
    return rows


def filmed(size: int = 256, n_frames: int = 16) -> tuple[View, View, int]:
    """Frames of the truth, the same read back from an H.264 film of them, and the film's bytes."""
    from bench4d.video import read_video, write_video

    truth = variants(OBJECT, size, n_frames, [75.0])["truth"].views[0]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        write_video(path, truth.rgb, FPS)
        back = View(np.ascontiguousarray(read_video(path).frames[..., :3]), truth.alpha)
        return truth, back, path.stat().st_size


def film(size: int = 256, n_frames: int = 16) -> list[Row]:
    """Frames through an H.264 film and back: what is lost before anything is compared."""
    truth, back, size_of = filmed(size, n_frames)
    rows: list[Row] = [("", "PSNR dB", "PSNR masked dB", "SSIM", "LPIPS (alex)")]
    scores = (first(psnr), first(psnr_masked), first(ssim), perceptual())
    rows.append(("frames kept as PNG", *(score(truth, truth) for score in scores)))
    rows.append((f"frames through H.264 ({size_of} bytes)", *(score(back, truth) for score in scores)))
    return rows


def candidates(size: int = 256, n_frames: int = 8) -> tuple[list[View], dict[str, list[View]]]:
    """The truth by every view, and what is compared with it: nothing, a card, the truth moved aside."""
    made = variants(OBJECT, size, n_frames)
    truth = made["truth"].views
    found = {"nothing, on white": made["empty"].views, "the input view on a card": made["billboard"].views}
    found[f"the truth, {size // 16} pixels aside"] = [shifted_by(view, size // 16) for view in truth]
    return truth, found


def empty_render(size: int = 256, n_frames: int = 8) -> list[Row]:
    """What metrics that count the background say of nothing at all."""
    truth, others = candidates(size, n_frames)
    rows: list[Row] = [("", "PSNR dB", "SSIM", "PSNR masked dB", "SSIM masked", "silhouette IoU")]
    return rows + [(name, *scores_of(views, truth)) for name, views in others.items()]


def scores_of(predicted: Sequence[View], truth: Sequence[View]) -> list[float]:
    """Means over frames and views, in the order of `empty_render`'s columns."""
    pairs = list(zip(predicted, truth, strict=True))
    scores = (psnr, ssim, psnr_masked, ssim_masked, silhouette_iou)
    return [float(np.mean([score(p, t) for p, t in pairs])) for score in scores]


def shifted_by(view: View, pixels: int) -> View:
    for _ in range(pixels):
        view = shifted(view)
    return view


def chamfer_units(samples: int = 20_000) -> list[Row]:
    """One pair of shapes, the conventions of the literature."""
    from bench4d.similarity import transformed
    from benchmarks.synth4d.generator import make_object

    thing = make_object(OBJECT)
    pair = [thing.mesh_at(0.0)], [thing.mesh_at(0.3)]
    double = tuple([transformed(mesh, np.diag([2.0, 2.0, 2.0, 1.0])) for mesh in side] for side in pair)
    rows: list[Row] = [("Chamfer", "value", "times the smallest")]
    for cube, meshes in (("1", pair), ("2", double)):
        for reduction in ("mean", "sum"):
            for squared in (False, True):
                value = float(chamfer(*meshes, samples=samples, squared=squared, reduction=reduction)[0])
                how = f"{reduction} of both directions, {'squared' if squared else 'not squared'}, cube of side {cube}"
                rows.append((how, value))
    least = min(row[1] for row in rows[1:])
    rows[1:] = [(*row, row[1] / least) for row in rows[1:]]
    for threshold, meshes, cube in ((0.02, pair, "1"), (0.02, double, "2"), (0.01, pair, "1")):
        value = float(fscore(*meshes, samples=samples, threshold=threshold)[0])
        rows.append((f"(F-score at {threshold}, cube of side {cube})", value, "–"))
    return rows


def as_text(rows: Sequence[Row]) -> str:
    """A table in Markdown.

    >>> print(as_text([("a", "b"), ("x", 1.23456), ("y", 2000.0)]))
    | a | b |
    |---|---|
    | x | 1.235 |
    | y | 2000 |
    """
    lines = ["| " + " | ".join(cell(c) for c in row) + " |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def cell(value: Any) -> str:
    """Four significant digits, and whole numbers whole."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4g}" if abs(value) < 1000 else str(round(value))


DEMONSTRATIONS: dict[str, Callable[..., list[Row]]] = {
    "one-pair": one_pair,
    "small-sets": small_sets,
    "filters": filters,
    "data-range": data_range,
    "film": film,
    "empty-render": empty_render,
    "chamfer-units": chamfer_units,
}


def main() -> None:
    form = partial(argparse.RawDescriptionHelpFormatter, max_help_position=30)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("name", nargs="?", choices=[*DEMONSTRATIONS], help="default: every table")
    options = parser.parse_args()
    for name in [options.name] if options.name else DEMONSTRATIONS:
        print(f"{name}\n\n{as_text(DEMONSTRATIONS[name]())}\n")


if __name__ == "__main__":
    main()
