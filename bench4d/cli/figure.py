"""`bench4d figure`: figures for papers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bench4d.errors import FormatError

if TYPE_CHECKING:
    import pandas as pd

    from bench4d.benchmark import Benchmark
    from bench4d.figures.strips import Inset
    from bench4d.method import Method

NAME, HELP = "figure", "draw strips of pictures and plots of metrics for papers"
DESCRIPTION = """Draw figures from a workflow run, as PDF (text stays text, frames lossless) and PNG (docs/figures.md).

  bench4d figure strip results/synth4d --clips robot-1000020 --frames 0,7,15 --crop --out robot
  bench4d figure strip results/synth4d --clips walker-1000000 --views az075 --inset 0.4,0.2,0.25 --out walker.pdf
  bench4d figure metrics results/synth4d --metrics lpips-vgg,psnr,chamfer --out metrics
  bench4d figure differences results/synth4d --against own_static --out differences

--out without a suffix writes both files. They need matplotlib: `python tools/install.py figures`."""
STRIP = """Pictures of the input, the truth and methods, side by side, at some times and views."""
DIFFERENCES = """Paired differences of every method to one, with intervals, column by column of the table."""
METRICS = """Means with intervals of some columns of the table, object by object behind them, from scores.parquet."""


def arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="figure", required=True, metavar="KIND")
    strip = kinds.add_parser("strip", help=STRIP, description=STRIP)
    strip.add_argument("results", type=Path, metavar="RESULTS", help="results/<benchmark> of a workflow run")
    strip.add_argument("--clips", metavar="A,B", default="", help="(default: the first)")
    strip.add_argument("--methods", metavar="A,B", default="", help="in this order (default: all but references)")
    strip.add_argument("--views", metavar="A,B", default="", help="(default: all novel views)")
    strip.add_argument("--frames", metavar="K,L", default="", help="counted from 0 (default: first, middle and last)")
    strip.add_argument("--no-truth", action="store_true", help="leave the truth out")
    strip.add_argument("--crop", action="store_true", help="to a square around what is seen, the same for all methods")
    inset_help = "enlarge a square, in parts of the picture; up to twice"
    strip.add_argument("--inset", metavar="X,Y,SIDE", action="append", default=[], help=inset_help)
    strip.add_argument("--methods-in", choices=("columns", "rows"), default="columns", help="(default: columns)")
    metrics = kinds.add_parser("metrics", help=METRICS, description=METRICS)
    metrics.add_argument("rows", type=Path, metavar="DIR|FILE", help="scores.parquet, or a folder that has it")
    metrics.add_argument("--metrics", metavar="A,B", help="panels, in this order (default: the protocol's table)")
    metrics.add_argument("--methods", metavar="A,B", default="", help="(default: all but the truth)")
    differences = kinds.add_parser("differences", help=DIFFERENCES, description=DIFFERENCES)
    differences.add_argument("rows", type=Path, metavar="DIR|FILE", help="scores.parquet, or a folder that has it")
    differences.add_argument("--against", metavar="METHOD", required=True, help="whose difference to itself is 0")
    differences.add_argument("--metrics", metavar="A,B", help="panels, in this order (default: the protocol's table)")
    differences.add_argument("--methods", metavar="A,B", default="", help="in this order (default: all)")
    for kind in (strip, metrics, differences):
        kind.add_argument("--out", type=Path, metavar="NAME", required=True, help="NAME.pdf, NAME.png, or NAME: both")
        kind.add_argument("--width", type=float, default=7.0, metavar="INCHES", help="(default: 7)")


def run(options: argparse.Namespace) -> int:
    draw = {"strip": strip_figure, "metrics": metrics_figure, "differences": differences_figure}
    written = draw[options.figure](options)
    print("wrote " + " and ".join(map(str, written)))
    return 0


def strip_figure(options: argparse.Namespace) -> list[Path]:
    from bench4d.figures.strips import draw_strip, make_strip, moments_of
    from bench4d.run_frames import RunFrames

    from .score import split

    if len(options.inset) > 2:
        raise FormatError("--inset", "at most two", f"{len(options.inset)}")
    insets = [inset_of(text) for text in options.inset]
    run = RunFrames.open(options.results)
    named = split(options.methods)
    methods = [m.id for m in run.chosen(named) if named or m.kind != "reference"]
    clips = run.clips(split(options.clips)) if options.clips else run.benchmark.clips[:1]
    last = len(run.benchmark.times) - 1
    frames = numbers(options.frames) or sorted({0, last // 2, last})
    moments = moments_of(run, clips, run.views(split(options.views)), frames)
    strip = make_strip(run, methods, moments, truth=not options.no_truth, crop=options.crop)
    return draw_strip(strip, options.out, options.width, insets, options.methods_in)


def metrics_figure(options: argparse.Namespace) -> list[Path]:
    from bench4d.figures.plots import caption, draw_panels, make_panels
    from metrics import METRICS

    made = make_panels(*chosen_rows(options), METRICS)
    written = draw_panels(made, options.out, options.width)
    print(caption(made))
    return written


def differences_figure(options: argparse.Namespace) -> list[Path]:
    from bench4d.figures.differences import caption, draw_differences, make_differences
    from metrics import METRICS

    made = make_differences(*chosen_rows(options, options.against), METRICS, options.against)
    written = draw_differences(made, options.out, options.width)
    print(caption(made))
    return written


def chosen_rows(options: argparse.Namespace, *more: str) -> tuple[pd.DataFrame, Benchmark, list[Method]]:
    """Rows of the chosen methods and of `more`, the benchmark with the chosen columns, the methods in their order."""
    from bench4d.run_frames import among
    from bench4d.scoring_folder import with_columns
    from bench4d.submission import methods_of
    from metrics import METRICS

    from .run_rows import read_run
    from .score import split

    path, rows, benchmark = read_run(options.rows, "figure")
    if options.metrics:
        benchmark = with_columns(benchmark, split(options.metrics), METRICS)
    methods = {method.id: method for method in methods_of(rows, path.parent)[0]}
    named = split(options.methods)
    chosen = among("--methods", [*named, *more] if named else [], list(methods))
    among("--against", list(more), list(methods))
    return rows[rows["method"].isin(chosen)], benchmark, [methods[name] for name in dict.fromkeys(chosen)]


def numbers(text: str) -> list[int]:
    """Frames between commas. Raises FormatError."""
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise FormatError("--frames", "numbers between commas", repr(text)) from None


def inset_of(text: str) -> Inset:
    from bench4d.figures.strips import Inset

    try:
        x, y, side = (float(part) for part in text.split(","))
    except ValueError:
        raise FormatError("--inset", "three numbers X,Y,SIDE between commas", repr(text)) from None
    return Inset(x, y, side)
