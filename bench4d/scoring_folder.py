"""A folder of results against a benchmark: the workflow's own programs and functions, without the workflow.

Clips and truth are made by the benchmark's build.py; the stages align, render and score are those of the workflow. Only
what the folder lacks is treated apart: missing clips are failures, and metrics that look at alpha stay empty for images
without any.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .align import align_clip
from .benchmark import Benchmark
from .errors import FormatError
from .features import Precision
from .files import read_json, sha256_folder, write_json
from .method import Method
from .metric import Metric
from .metric_loading import Weights, load_metrics
from .rendering import RENDERERS, Backend, render_method_clip, render_truth
from .results import FRAME_ROW, ROW, frame_of, read_rows, write_rows
from .score import score_method
from .submission import Submission, collect, methods_of

STDERR = 2  # its file descriptor
PICTURES = ("frames", "features")  # what metrics with a value for each group of views need
NO_ALPHA = "the renders have no alpha: give RGBA pictures, or rgb/ and alpha/"
NO_VIEW = "the folder has no renders of the view {view}"
LOSSY = "Films and JPEG pictures have lost detail, which costs a method decibels; PNG is the fair choice. Of: {clips}."


@dataclass(frozen=True)
class Scored:
    """Rows of the folder and of the references beside it, their methods, and what the reader must know."""

    rows: pd.DataFrame
    methods: list[Method]
    notes: tuple[str, ...]


def make_truth(
    benchmark: Benchmark, work: Path, progress: Callable[[str], None], threads: int = 1, renderer: Backend = "cpu"
) -> None:
    """Make what is missing of `work/clips/<clip>` and `work/truth/<clip>/{asset,frames}`, each clip whole or not.

    Raises FormatError if the truth that is there was drawn by another renderer than ours will be.
    """
    missing = [clip for clip in benchmark.clips if not _is_made(benchmark, work, clip, RENDERERS[renderer])]
    if not missing:
        return
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work, prefix=".making.") as temporary:
        new = Path(temporary)
        for clip in missing:
            progress(clip)
            places = ["--clip-out", new / "clips" / clip, "--truth-out", new / "truth" / clip, "--threads", threads]
            program = benchmark.path.parent / "build.py"
            run_script(program, ["--protocol", benchmark.path, "--clip", clip, *places])
            render_truth(benchmark, new / "truth" / clip, threads, renderer)
        for part in (f"{kind}/{clip}" for clip in missing for kind in ("clips", "truth")):
            shutil.rmtree(work / part, ignore_errors=True)
            (work / part).parent.mkdir(exist_ok=True)
            (new / part).rename(work / part)


def _is_made(benchmark: Benchmark, work: Path, clip: str, renderer: str) -> bool:
    record, asset = work / "truth" / clip / "frames" / "render.json", work / "truth" / clip / "asset"
    if not ((work / "clips" / clip / "clip.json").is_file() and record.is_file() and asset.is_dir()):
        return False
    made = read_json(record)
    same = made["views"] == benchmark.views and made["n_frames"] == len(benchmark.times)
    if same and made["renderer"] != renderer:
        step = "Give --renderer as the workflow's config does, or another --work."
        raise FormatError(record, f"truth drawn by {renderer}", str(made["renderer"]), step)
    return same and made["status"] == "ok" and made["asset_sha256"] == sha256_folder(asset)


def run_script(program: Path, arguments: Sequence[object]) -> None:
    """A program of this repository; its messages go to our stderr."""
    done = subprocess.run([sys.executable, str(program), *map(str, arguments)], check=False, stdout=STDERR)
    if done.returncode:
        raise FormatError(program, "exit status 0", f"{done.returncode}", "What it said stands above.")


def score_folder(
    benchmark: Benchmark,
    submission: Submission,
    work: Path,
    out: Path,
    metrics: Mapping[str, Metric],
    weights: Weights,
    progress: Callable[[str], None],
    threads: int = 1,
    renderer: Backend = "cpu",
    precision: Precision = "float32",
) -> Scored:
    """Align, render and score `submission`; `out` gets scores.parquet and frames.parquet of it and its references.

    Args:
        work: has the benchmark's clips and truth (`make_truth`), and scores.parquet if the workflow has run there.
        metrics, weights, precision: as for `bench4d.metric_loading.load_metrics`.
        progress: is told of each clip before it is rendered, and before it is scored.
    """
    references, notes = reference_rows(benchmark, work)
    # Rows of two methods under one name would be averaged.
    if any((rows["method"] == submission.name).any() for rows in references):
        found = f"rows of a method {submission.name!r}"
        raise FormatError(work / "scores.parquet", "other rows beside the folder's", found, "Give another --name.")
    given = collect(benchmark, submission, out)
    for clip in benchmark.clips:
        if not (out / clip / "aligned.json").is_file():  # else renders were given
            progress(f"render {clip}")
            aligned = align_clip(
                benchmark, out / clip, truth=work / "truth" / clip / "asset", clip=work / "clips" / clip
            )
            write_json(out / clip / "aligned.json", aligned)
            render_method_clip(benchmark, out / clip, threads, renderer)
    seen = [view for view in benchmark.data["views"] if view["id"] in given.views]
    loaded = load_metrics(benchmark, metrics, weights, precision)
    told = lambda clip: progress(f"score {clip}")  # noqa: E731
    shown = replace(benchmark, data=benchmark.data | {"views": seen})
    own, frames = score_method(shown, given.method, 0, out, work / "truth", loaded, told, threads)
    blind = {item.metric.id for item in loaded if item.metric.alpha}
    hidden = lambda row: (row["clip"], row["view"]) in given.opaque and row["metric"] in blind  # noqa: E731
    own = [without_value(row, NO_ALPHA) if hidden(row) else row for row in own]
    own += rows_without_view(own, benchmark, given.views)
    frames = [row for row in frames if not hidden(row)]
    notes += (LOSSY.format(clips=", ".join(given.lossy)),) if given.lossy else ()
    rows = pd.concat([frame_of(own, ROW), *references], ignore_index=True)
    write_rows(out / "scores.parquet", rows)
    write_rows(out / "frames.parquet", frame_of(frames, FRAME_ROW))
    methods, _ = methods_of(rows, out)
    return Scored(rows, methods, notes)


def reference_rows(benchmark: Benchmark, work: Path) -> tuple[list[pd.DataFrame], tuple[str, ...]]:
    """The rows that the workflow left in `work`, if they are of this very protocol; and what to tell about them."""
    path = work / "scores.parquet"
    if not path.is_file():
        return [], (f"No other rows: {path} does not exist; `snakemake --cores all` makes it.",)
    rows = read_rows(path, ROW)
    same = rows[(rows["protocol"] == benchmark.protocol_sha256) & (rows["benchmark_version"] == benchmark.version)]
    if same.empty:
        return [], (f"No other rows: those of {path} were scored by another version of the protocol.",)
    return [same], ()


def without_value(row: dict[str, Any], reason: str) -> dict[str, Any]:
    """The row of a metric that cannot be had. A failure stays one."""
    if row["status"] == "failed":
        return row
    return row | {"value": np.nan, "status": "not-run", "reason": reason, "n_frames": 0}


def rows_without_view(
    own: Sequence[dict[str, Any]], benchmark: Benchmark, given: Sequence[str]
) -> list[dict[str, Any]]:
    """Rows of the views, and groups of views, that the folder lacks, made after those of the first view that it has."""
    absent = {view: group for view, group in benchmark.group_of.items() if view not in given}
    first, group = given[0], benchmark.group_of[given[0]]
    found = []
    for row in own:
        names = absent if row["clip"] and row["view"] == first else dict.fromkeys(absent.values())
        if row["view"] == (first if row["clip"] else group):
            found += [without_value(row | {"view": name}, NO_VIEW.format(view=name)) for name in names]
    return found


def with_columns(benchmark: Benchmark, names: Sequence[str], metrics: Mapping[str, Metric]) -> Benchmark:
    """The benchmark with these metrics alone, as its table's columns in this order, each over every group of views.

    Raises FormatError for an id that the protocol does not score.
    """
    scored = [entry["id"] for entry in benchmark.data["metrics"]]
    if unknown := [name for name in names if name not in scored]:
        raise FormatError("--metrics", f"ids among {scored}", f"{unknown}", "`bench4d explain ID` tells what one is.")
    groups = list(dict.fromkeys(view["group"] for view in reversed(benchmark.data["views"])))
    columns: list[dict[str, str]] = [
        {"metric": name, "views": group} for group in groups for name in names if metrics[name].needs in PICTURES
    ]
    columns += [{"metric": name} for name in names if metrics[name].needs not in PICTURES]
    chosen = [entry for entry in benchmark.data["metrics"] if entry["id"] in names]
    return replace(benchmark, data=benchmark.data | {"table": columns, "metrics": chosen})
