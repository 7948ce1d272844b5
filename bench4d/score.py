"""The score stage: one job per method and seed. Rendered frames and geometry in, result rows out.

Metrics are passed in (this package does not know them). Every network is loaded once. One clip, one view at a time is
in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float64

from . import __version__
from .asset import Asset4D, Frame, Gaussians, Mesh
from .asset_io import read_asset
from .benchmark import Benchmark
from .errors import FormatError
from .files import read_json, sha256_file
from .frames import read_view
from .method import ROOT, Method
from .metric import Metric, MetricUnavailable, Score, View
from .similarity import transformed


@dataclass(frozen=True)
class Loaded:
    """A metric of the protocol, ready to run: `score` is None when it cannot run here, and `reason` says why."""

    metric: Metric
    stride: int
    options: dict[str, Any]
    score: Score | None
    reason: str
    weights_sha256: str
    device: str


@dataclass(frozen=True)
class Cell:
    """One value to become a row: the per-frame values it is the mean of, or why there are none."""

    view: str | None
    value: float
    status: str
    reason: str
    frames: dict[int, float]


def load_metrics(
    benchmark: Benchmark, metrics: Mapping[str, Metric], weights: Mapping[str, dict[str, Any]]
) -> list[Loaded]:
    """The protocol's metrics. `weights`: id -> {"path", "sha256"} or {"reason"} if it could not be had."""
    loaded = []
    for entry in benchmark.data["metrics"]:
        if entry["id"] not in metrics:
            raise FormatError(benchmark.path, f"metrics among {sorted(metrics)}", entry["id"])
        loaded.append(load_metric(metrics[entry["id"]], weights, entry["stride"], entry.get("options", {})))
    return loaded


def load_metric(
    metric: Metric, weights: Mapping[str, dict[str, Any]], stride: int = 1, options: Mapping[str, Any] | None = None
) -> Loaded:
    """One metric, with its networks in memory. Arguments as in `load_metrics`."""
    missing = [f"{w}: {weights[w]['reason']}" for w in metric.weights if "path" not in weights[w]]
    score = None if missing else metric.load({w: Path(weights[w]["path"]) for w in metric.weights})
    sums = "+".join(weights[w].get("sha256", "") for w in metric.weights)
    device = _device() if metric.weights else "cpu"
    return Loaded(metric, stride, dict(options or {}), score, "; ".join(missing), sums, device)


def _device() -> str:
    """Where metrics with a network run: they take the first GPU that they see."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def score_clip(
    benchmark: Benchmark, clip: str, folder: Path, truth: Path, loaded: Sequence[Loaded]
) -> Iterator[tuple[Loaded, Cell]]:
    """Every metric of one clip, one cell per view for metrics of images."""
    render = read_json(folder / "frames" / "render.json")
    for item in loaded:
        views: list[str | None] = list(benchmark.views) if item.metric.needs == "frames" else [None]
        if render["status"] != "ok":
            yield from ((item, Cell(v, np.nan, "failed", render["reason"], {})) for v in views)
        elif item.score is None:
            yield from ((item, Cell(v, np.nan, "not-run", item.reason, {})) for v in views)
    runnable = [item for item in loaded if item.score is not None] if render["status"] == "ok" else []
    yield from _score_images(benchmark, folder, truth, [i for i in runnable if i.metric.needs == "frames"])
    yield from _score_geometry(benchmark, folder, truth, [i for i in runnable if i.metric.needs == "geometry"])
    record = read_json(folder / "generate.json")
    for item in (i for i in runnable if i.metric.needs == "record"):
        yield item, _cell(None, [], partial(_number, item, record))


def _score_images(
    benchmark: Benchmark, folder: Path, truth: Path, items: list[Loaded]
) -> Iterator[tuple[Loaded, Cell]]:
    count, size = len(benchmark.times), benchmark.data["size"]
    for view in benchmark.views if items else []:
        predicted = read_view(folder / "frames", view, count, size)
        true = read_view(truth / "frames", view, count, size)
        for item in items:
            kept = range(0, count, item.stride)
            run = partial(_run, item, every(predicted, kept), every(true, kept))
            yield item, _cell(view, kept, run)


def every(view: View, kept: range) -> View:
    return View(view.rgb[kept.start : kept.stop : kept.step], view.alpha[kept.start : kept.stop : kept.step])


def _score_geometry(
    benchmark: Benchmark, folder: Path, truth: Path, items: list[Loaded]
) -> Iterator[tuple[Loaded, Cell]]:
    if not items:
        return
    reason = "" if benchmark.data["geometry"] else "the benchmark's truth has no geometry"
    given = (folder / "asset").exists()  # else renders were given: `bench4d score`
    if not given or read_asset(folder / "asset").kind == "views":
        reason = "the method makes images, not geometry"
    if reason:
        yield from ((item, Cell(None, np.nan, "not-run", reason, {})) for item in items)
        return
    asset = read_asset(folder / "asset")
    matrix = np.array(read_json(folder / "aligned.json")["matrix"])
    rule = benchmark.data["time_rule"]
    true_asset = read_asset(truth / "asset")
    for item in items:
        kept = range(0, len(benchmark.times), item.stride)
        times = [float(benchmark.times[k]) for k in kept]
        predicted, true = AtTimes(asset, times, rule, matrix), AtTimes(true_asset, times, "refuse", np.eye(4))
        yield item, _cell(None, kept, partial(_run, item, predicted, true))


def _run(item: Loaded, predicted: Any, truth: Any) -> Float64[np.ndarray, " T"]:
    assert item.score is not None
    return np.asarray(item.score(predicted, truth, **item.options), np.float64)


def _number(item: Loaded, record: dict[str, Any]) -> Float64[np.ndarray, " 1"]:
    assert item.score is not None
    return np.array([item.score(record, **item.options)], np.float64)


@dataclass(frozen=True)
class AtTimes(Sequence[Frame]):
    """An asset's frames at the protocol's times, aligned; made one at a time."""

    asset: Asset4D
    times: list[float]
    rule: Any
    matrix: Float64[np.ndarray, "4 4"]

    def __len__(self) -> int:
        return len(self.times)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        frame = self.asset.frame_at(self.times[index], self.rule)
        return transformed(cast(Mesh | Gaussians, frame), self.matrix)


def _cell(view: str | None, kept: Sequence[int], run: Callable[[], Float64[np.ndarray, " T"]]) -> Cell:
    try:
        values = np.asarray(run(), np.float64)
    except MetricUnavailable as reason:
        return Cell(view, np.nan, "not-run", str(reason), {})
    finite = np.isfinite(values)
    if np.isinf(values).any() or not finite.any():
        raise FormatError("metric", "finite values (or MetricUnavailable with a reason)", f"{values}")
    frames = {k: float(v) for k, v in zip(kept, values, strict=True) if np.isfinite(v)} if len(kept) else {}
    return Cell(view, float(values[finite].mean()), "ok", "", frames)


def score_method(
    benchmark: Benchmark,
    method: Method,
    seed: int,
    root: Path,
    truth: Path,
    loaded: Sequence[Loaded],
    progress: Callable[[str], None],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows and per-frame rows of one method and seed. `root`: results/<benchmark>/<method>/seed<k>."""
    rows, frame_rows = [], []
    common = {
        "benchmark": benchmark.id,
        "benchmark_version": benchmark.version,
        "split": benchmark.data["split"],
        "protocol": benchmark.protocol_sha256,
        "method": method.id,
        "method_version": method.version,
        "params_sha256": method.parameters_sha256,
        "weights_sha256": method.weights_sha256,
        "seed": seed,
        "code_version": code_version(),
    }
    for clip in benchmark.clips:
        progress(clip)
        aligned, made = read_json(root / clip / "aligned.json"), read_json(root / clip / "generate.json")
        shared = common | {
            "alignment": aligned["alignment"],
            "object": benchmark.object_of[clip],
            "clip": clip,
            "asset_sha256": aligned["asset_sha256"],
            "truth_sha256": read_json(truth / clip / "frames" / "render.json")["asset_sha256"],
        }
        for item, cell in score_clip(benchmark, clip, root / clip, truth / clip, loaded):
            rows.append(
                shared
                | {
                    "view": cell.view,
                    "metric": item.metric.id,
                    "metric_version": item.metric.version,
                    "metric_weights_sha256": item.weights_sha256,
                    "value": cell.value,
                    "status": cell.status,
                    "reason": cell.reason,
                    "n_frames": len(cell.frames),
                    "device": made["device"] if item.metric.needs == "record" else item.device,
                }
            )
            key = {
                "benchmark": benchmark.id,
                "method": method.id,
                "seed": seed,
                "clip": clip,
                "view": cell.view,
                "metric": item.metric.id,
            }
            frame_rows += [key | {"frame": k, "value": v} for k, v in cell.frames.items()]
    return rows, frame_rows


def code_version() -> str:
    """The version, and a hash over the code that makes numbers: equal code gives an equal string, in git or not."""
    total = hashlib.sha256()
    for folder in ("bench4d", "metrics"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.is_relative_to(ROOT / "bench4d" / "cli") or path.is_relative_to(ROOT / "bench4d" / "scaffold"):
                continue  # they make no numbers
            total.update(f"{path.relative_to(ROOT).as_posix()}\0{sha256_file(path)}\n".encode())
    return f"{__version__}+{total.hexdigest()[:12]}"
