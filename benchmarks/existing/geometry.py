"""Moving geometry in the folders of ActionBench or of Motion-80, scored by their distances."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bench4d.asset import Asset4D, Gaussians, Mesh
from bench4d.errors import FormatError
from bench4d.foreign_geometry import is_tracked_points, is_vertex_frames, read_foreign, read_numbered_glbs
from bench4d.geometry import read_geometry
from bench4d.metric import Metric
from bench4d.metric_loading import Loader
from bench4d.scoring_engine import Cell, call, cell_of, empty

FPS = 8.0  # of no consequence: frames are compared by number
Row = dict[str, Any]


def read_truth(folder: Path) -> Asset4D:
    """One object of a truth: `surfaces.npy`, or Motion-80's arrays. Raises FormatError."""
    asset = read_foreign(folder, FPS)
    if asset is None:
        raise FormatError(folder, "surfaces.npy, or faces.npy with frame_0000.npy ...", "neither")
    return asset


def read_result(folder: Path) -> Asset4D:
    """One object of the results: mesh_00.glb ..., Motion-80's arrays, or whatever `bench4d score` reads."""
    if not folder.is_dir():
        raise FormatError(folder, "a folder of results", "none")
    if any(folder.glob("mesh_*.glb")):
        return read_numbered_glbs(folder, FPS)
    return read_foreign(folder, FPS) or read_geometry(folder, FPS)


def frames_of(result: Asset4D, truth: Asset4D) -> tuple[Sequence[Mesh | Gaussians], Sequence[Mesh | Gaussians]]:
    """Frame by frame as ActionBench pairs them: what the result has more than the truth is not looked at. Raises
    FormatError if it has less, or is made of images."""
    if result.kind == "views":
        raise FormatError("results", "meshes or Gaussians", "images")
    count = len(truth.frames)
    if len(result.frames) < count:
        raise FormatError("results", f"{count} frames, as many as the truth has", f"{len(result.frames)}")
    return result.frames[:count], truth.frames[:count]  # type: ignore[return-value]


def objects_of(truth: Path) -> list[str]:
    """Names of the folders that hold a truth."""
    found = sorted(p.name for p in truth.iterdir() if is_tracked_points(p) or is_vertex_frames(p))
    if not found:
        step = "surfaces.npy (ActionBench), or faces.npy with frame_0000.npy ... (Motion-80), in a folder each."
        raise FormatError(truth, "folders of objects", "none", step)
    return found


def score(
    results: Path,
    truth: Path,
    metrics: Sequence[Metric],
    options: Mapping[str, Mapping[str, Any]],
    tell: Callable[[str], object],
) -> list[Row]:
    """A row for every object of the truth and metric; an object that the results lack, or that breaks, has failed.

    Args:
        options: of metrics, by id.
    """
    if not results.is_dir() or not truth.is_dir():
        raise FormatError(results if truth.is_dir() else truth, "a folder", "none there")
    loader, rows = Loader({}), list[Row]()
    loaded = [loader.load(metric, 1, options.get(metric.id)) for metric in metrics]
    for name in objects_of(truth):
        tell(name)
        try:
            pair = frames_of(read_result(results / name), read_truth(truth / name))
            cells = [cell_of(None, range(len(pair[1])), partial(call, item, *pair)) for item in loaded]
        except FormatError as error:
            cells = [empty(None, "failed", str(error)) for _ in loaded]
        rows += [row(name, item.metric, cell) for item, cell in zip(loaded, cells, strict=True)]
    return rows


def row(name: str, metric: Metric, cell: Cell) -> Row:
    about = {"object": name, "metric": metric.id, "metric_version": metric.version, "value": cell.value}
    return about | {"status": cell.status, "reason": cell.reason, "n_frames": cell.n_frames}
