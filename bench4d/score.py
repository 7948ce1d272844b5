"""The score stage: one job per method and seed. Rendered frames and geometry in, result rows out.

Metrics are passed in (this package does not know them). Two clips are in memory at a time: the one that is
scored, and the next one, which a thread decodes.
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
from .files import read_json, sha256_file
from .method import ROOT, Method
from .metric_loading import Loaded
from .pictures import ahead, indices, read_pictures
from .scoring_engine import Cell, Engine, Pair, call, cell_of, empty
from .similarity import transformed


def score_clip(
    benchmark: Benchmark,
    clip: str,
    folder: Path,
    truth: Path,
    loaded: Sequence[Loaded],
    engine: Engine,
    pair: Pair | None,
) -> Iterator[tuple[Loaded, Cell]]:
    """Every metric of clips, one cell a view for metrics of pictures; metrics of sets take note of the clip.

    `pair`: its pictures (`read_pair`).
    """
    render = read_json(folder / "frames" / "render.json")
    failed = render["status"] != "ok"
    for item in (i for i in loaded if not i.is_set):
        views: list[str | None] = list(benchmark.views) if item.metric.needs in ("frames", "features") else [None]
        if failed:
            yield from ((item, empty(v, "failed", render["reason"])) for v in views)
        elif item.score is None:
            yield from ((item, empty(v, "not-run", item.reason)) for v in views)
    if pair is not None:
        yield from engine.score(pair)
    runnable = [item for item in loaded if item.score is not None and not failed]
    yield from _score_geometry(benchmark, folder, truth, [i for i in runnable if i.metric.needs == "geometry"])
    record = read_json(folder / "generate.json")
    for item in (i for i in runnable if i.metric.needs == "record"):
        yield item, cell_of(None, [], partial(_number, item, record))


def read_pair(
    benchmark: Benchmark, clip: str, folder: Path, truth: Path, engine: Engine, threads: int = 1
) -> Pair | None:
    """The pictures of a clip that the engine's metrics look at; None if they look at none.

    Of a clip that has failed, sets see the truth alone.
    """
    failed = read_json(folder / "frames" / "render.json")["status"] != "ok"
    if not (engine.set_items if failed else engine.looks):
        return None
    form = benchmark.views, len(benchmark.times), benchmark.data["size"], threads
    predicted = None if failed else read_pictures(folder / "frames", *form)
    true = read_pictures(truth / "frames", *form)
    prompt = next(entry.get("prompt") for entry in benchmark.data["clips"] if entry["id"] == clip)
    total = true.sha256 if engine.of_features else ""
    return Pair(clip, predicted, true, tuple(benchmark.views), indices(benchmark.group_of), prompt, total)


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
        yield from ((item, empty(None, "not-run", reason)) for item in items)
        return
    asset = read_asset(folder / "asset")
    matrix = np.array(read_json(folder / "aligned.json")["matrix"])
    rule = benchmark.data["time_rule"]
    true_asset = read_asset(truth / "asset")
    for item in items:
        kept = range(0, len(benchmark.times), item.stride)
        times = [float(benchmark.times[k]) for k in kept]
        predicted, true = AtTimes(asset, times, rule, matrix), AtTimes(true_asset, times, "refuse", np.eye(4))
        yield item, cell_of(None, kept, partial(call, item, predicted, true))


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


def score_method(
    benchmark: Benchmark,
    method: Method,
    seed: int,
    root: Path,
    truth: Path,
    loaded: Sequence[Loaded],
    progress: Callable[[str], None],
    threads: int = 1,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows and per-frame rows of one method and seed.

    Args:
        root: results/<benchmark>/<method>/seed<k>.
        truth: results/<benchmark>/truth; its vectors are kept in the folder features/ beside it.
        progress: is told of every clip before it is scored.
        threads: for decoding and for metrics without networks; values do not depend on it.
    """
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
    rows, frame_rows, about = [], [], dict[str, dict[str, Any]]()
    engine = Engine(loaded, benchmark.data["background"], truth.parent / "features", threads)
    read = lambda clip: read_pair(benchmark, clip, root / clip, truth / clip, engine, threads)  # noqa: E731
    for clip, pair in ahead(benchmark.clips, read):
        progress(clip)
        aligned, made = read_json(root / clip / "aligned.json"), read_json(root / clip / "generate.json")
        about[clip] = {
            "alignment": aligned["alignment"],
            "object": benchmark.object_of[clip],
            "clip": clip,
            "asset_sha256": aligned["asset_sha256"],
            "truth_sha256": read_json(truth / clip / "frames" / "render.json")["asset_sha256"],
            "status": aligned["status"],
        }
        for item, cell in score_clip(benchmark, clip, root / clip, truth / clip, loaded, engine, pair):
            device = made["device"] if item.metric.needs == "record" else item.device
            rows.append(_row(common, about[clip], item, cell, device))
            frame_rows += _frame_rows(rows[-1], cell)
        del pair
    rows += [_row(common, _of_all(about), item, cell, item.device) for item, cell in _set_cells(engine, benchmark)]
    return rows, frame_rows


def _set_cells(engine: Engine, benchmark: Benchmark) -> Iterator[tuple[Loaded, Cell]]:
    yield from engine.set_cells()
    for item in (i for i in engine.items if i.is_set and i.score is None):
        yield from ((item, empty(group, "not-run", item.reason)) for group in indices(benchmark.group_of))


def _row(common: Mapping[str, Any], clip: Mapping[str, Any], item: Loaded, cell: Cell, device: str) -> dict[str, Any]:
    return (
        dict(common)
        | {key: clip[key] for key in ("alignment", "object", "clip", "asset_sha256", "truth_sha256")}
        | {
            "view": cell.view,
            "metric": item.metric.id,
            "metric_version": item.metric.version,
            "metric_weights_sha256": item.weights_sha256,
            "value": cell.value,
            "status": cell.status,
            "reason": cell.reason,
            "n_frames": cell.n_frames,
            "device": device,
        }
    )


def _frame_rows(row: Mapping[str, Any], cell: Cell) -> list[dict[str, Any]]:
    key = {name: row[name] for name in ("benchmark", "method", "seed", "clip", "view", "metric")}
    return [key | {"frame": k, "value": v} for k, v in cell.frames.items()]


def _of_all(about: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What a set's row says of its clips: no clip, the alignment of those that did not fail, hashes over all hashes."""
    done = [clip for clip in about.values() if clip["status"] == "ok"] or list(about.values())
    sums = {
        name: hashlib.sha256("".join(f"{c['clip']}\0{c[name]}\n" for c in about.values()).encode()).hexdigest()
        for name in ("asset_sha256", "truth_sha256")
    }
    return {"alignment": ", ".join(sorted({clip["alignment"] for clip in done})), "object": "", "clip": ""} | sums


def code_version() -> str:
    """The version, and a hash over the code that makes numbers: equal code gives an equal string, in git or not."""
    total = hashlib.sha256()
    for folder in ("bench4d", "metrics"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.is_relative_to(ROOT / "bench4d" / "cli") or path.is_relative_to(ROOT / "bench4d" / "scaffold"):
                continue  # they make no numbers
            total.update(f"{path.relative_to(ROOT).as_posix()}\0{sha256_file(path)}\n".encode())
    return f"{__version__}+{total.hexdigest()[:12]}"
