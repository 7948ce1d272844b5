"""Two folders of results against each other: whatever has the same relative path in both is a pair.

No protocol, no alignment: images are compared as they are, and of geometry both sides are rendered by our renderer at
four cameras around the origin. For numbers that compare with other people's there are benchmarks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from .asset import Asset4D, Gaussians, Mesh
from .cameras import orbit
from .errors import FormatError
from .geometry import SUFFIXES, read_geometry
from .metric_loading import Loaded
from .pictures import Pictures, ahead
from .render import composite
from .renders import Color, Shown, has_pictures, read_images
from .score import AtTimes
from .scoring_engine import Cell, Engine, Pair, call, cell_of, empty
from .scoring_folder import NO_ALPHA
from .video import FILMS

PAIR_ROW = {
    "path": "string",
    "metric": "string",
    "metric_version": "int64",
    "metric_weights_sha256": "string",
    "value": "float64",
    "status": "string",  # ok | failed (the pair) | not-run (the metric has no value here)
    "reason": "string",
    "n_frames": "int64",
}
SET = "(set)"  # instead of a path: a metric of all pairs together
AZIMUTHS, ELEVATION, RADIUS, FOV_Y, SIZE = (0, 90, 180, 270), 15, 2, 40, 256  # how geometry is looked at


@dataclass(frozen=True)
class Item:
    """Something that can be compared: a film or folder of pictures ("images"), or a moving object ("geometry")."""

    path: Path
    kind: Literal["images", "geometry"]


def find_items(folder: Path) -> dict[str, Item]:
    """Relative path (of a film without its suffix) -> item, at any depth. Raises FormatError if there is none."""
    if not folder.is_dir():
        raise FormatError(folder, "a folder", "none there")
    found: dict[str, Item] = {}
    for place, folders, files in os.walk(folder):
        here = Path(place)
        suffixes = {Path(name).suffix.lower() for name in files}
        if "asset.json" in files or suffixes & set(SUFFIXES):
            _add(found, folder, here, Item(here, "geometry"))
        elif has_pictures(here) or has_pictures(here / "rgb"):
            _add(found, folder, here, Item(here, "images"))
        else:
            for name in sorted(files):
                if Path(name).suffix.lower() in (".gif", *FILMS):
                    _add(found, folder, here / Path(name).stem, Item(here / name, "images"))
            continue
        folders.clear()  # what lies below belongs to this item
    if not found:
        step = (
            "Films (.mp4, .webm, .gif ...), folders of pictures, asset/ folders, or one GLB, OBJ or PLY file a frame."
        )
        raise FormatError(folder, "something to compare", "nothing", step)
    return dict(sorted(found.items()))


def _add(found: dict[str, Item], folder: Path, place: Path, item: Item) -> None:
    key = place.relative_to(folder).as_posix()
    if key in found:
        raise FormatError(place, "one item of that name", f"{found[key].path.name} and {item.path.name}")
    found[key] = item


def score_pairs(
    folder: Path,
    truth: Path,
    loaded: Sequence[Loaded],
    background: Color,
    fps: float,
    progress: Callable[[str], None],
) -> pd.DataFrame:
    """A row for every item of `truth` and metric, then one for every metric of a set. What `folder` lacks, or has in
    another form, has failed.

    Args:
        background: of images with alpha, and of the renders of geometry; sRGB in [0, 1].
        fps: of sequences of geometry files.
    """
    mine, items, rows = find_items(folder), find_items(truth), list[dict[str, Any]]()
    if not set(mine) & set(items):
        step = f"{truth} has {', '.join(list(items)[:4])} ...: the same names must stand in both."
        raise FormatError(folder, f"items of {truth}", f"{list(mine)[:4]}", step)
    blind = {item.metric.id for item in loaded if item.metric.alpha}
    engine, of_pairs = Engine(loaded, background), [item for item in loaded if not item.is_set]
    read = lambda key: _read(key, mine.get(key), items[key], folder, background, fps)  # noqa: E731
    for key, found in ahead(items, read):
        progress(key)
        reason = found.reason
        try:
            rows += [{"path": key} | row for row in _score(found, engine, of_pairs, blind)] if not reason else []
        except FormatError as error:
            reason = str(error)
        if reason:
            rows += [{"path": key} | _row(item, empty(None, "failed", reason)) for item in of_pairs]
        if reason and found.pair is not None:
            list(engine.score(replace(found.pair, predicted=None)))  # sets alone
        del found
    cells = [*engine.set_cells(), *((i, empty(None, "not-run", i.reason)) for i in loaded if i.is_set and not i.score)]
    rows += [{"path": SET} | _row(item, cell) for item, cell in cells]
    return pd.DataFrame(rows, columns=list(PAIR_ROW)).astype(PAIR_ROW)


@dataclass(frozen=True)
class _Read:
    """An item of both folders, read.

    Attributes:
        pair: its pictures; None if even the truth cannot be read. If `reason` is there, only the truth counts.
        geometry: what metrics of geometry compare; None for images.
        has_alpha: whether both have, for images.
        reason: why the pair has failed, else "".
    """

    pair: Pair | None
    geometry: tuple[AtTimes, AtTimes] | None = None
    has_alpha: bool = True
    reason: str = ""


def _read(key: str, mine: Item | None, true: Item, folder: Path, background: Color, fps: float) -> _Read:
    pair = None
    try:
        if true.kind == "images":
            shown = read_images(true.path, background)
            pair = _pair(key, Pictures(shown.view.rgb[None], shown.view.alpha[None]))
            return _read_images(pair, shown, _found(key, mine, true, folder).path, background)
        asset = _read_asset(true.path, fps)
        times = [float(time) for time in asset.times]
        pair = _pair(key, look_at(asset, times, background))
        other = _read_asset(_found(key, mine, true, folder).path, fps)
        geometry = AtTimes(other, times, "nearest", np.eye(4)), AtTimes(asset, times, "refuse", np.eye(4))
        return _Read(replace(pair, predicted=look_at(other, times, background)), geometry)
    except FormatError as error:
        return _Read(pair, reason=str(error))


def _pair(key: str, truth: Pictures) -> Pair:
    return Pair(key, None, truth, (None,) * len(truth), {"": tuple(range(len(truth)))})


def _found(key: str, mine: Item | None, true: Item, folder: Path) -> Item:
    if mine is None:
        raise FormatError(folder, f"an item {key}", "none")
    if mine.kind != true.kind:
        raise FormatError(mine.path, f"{true.kind}, as {true.path}", mine.kind)
    return mine


def _read_images(pair: Pair, true: Shown, path: Path, background: Color) -> _Read:
    mine = read_images(path, background)
    if mine.view.rgb.shape != true.view.rgb.shape:
        (t, h, w, _), (tt, hh, ww, _) = mine.view.rgb.shape, true.view.rgb.shape
        raise FormatError(path, f"{tt} frames of {ww} x {hh}, as the truth has", f"{t} of {w} x {h}")
    predicted = Pictures(mine.view.rgb[None], mine.view.alpha[None])
    return _Read(replace(pair, predicted=predicted), None, mine.has_alpha and true.has_alpha)


def _read_asset(path: Path, fps: float) -> Asset4D:
    asset = read_geometry(path, fps)
    if asset.kind == "views":
        raise FormatError(path, "meshes or Gaussians", "images at cameras", "Compare the folders of its images.")
    return asset


def _score(found: _Read, engine: Engine, items: Sequence[Loaded], blind: set[str]) -> list[dict[str, Any]]:
    """A row for each of `items`; sets are fed on the way."""
    assert found.pair is not None
    cells: dict[str, list[Cell]] = {}
    if found.geometry is not None:  # first: a pair that fails here must not be in a set yet
        for item in (i for i in items if i.metric.needs == "geometry" and i.score is not None):
            cells[item.metric.id] = [cell_of(None, [], partial(call, item, *found.geometry))]
    for item, cell in engine.score(found.pair):
        cells.setdefault(item.metric.id, []).append(cell)
    rows = []
    for item in items:
        reason = item.reason if item.score is None else ""
        if item.metric.needs == "geometry" and found.geometry is None:
            reason = "images have no geometry"
        elif item.metric.id in blind and not found.has_alpha:
            reason = NO_ALPHA
        rows.append(_row(item, empty(None, "not-run", reason) if reason else _mean(cells[item.metric.id])))
    return rows


def _mean(cells: Sequence[Cell]) -> Cell:
    """Over views, of means over frames."""
    bad = [cell for cell in cells if cell.status != "ok"]
    return bad[0] if bad else replace(cells[0], value=float(np.mean([cell.value for cell in cells])))


def look_at(asset: Asset4D, times: Sequence[float], background: Color) -> Pictures:
    """The asset from each of the four cameras, at these times (the nearest frame)."""
    from .rendering import render_frame  # here: it compiles

    cameras = orbit(AZIMUTHS, ELEVATION, RADIUS, FOV_Y, SIZE)
    shape = (len(AZIMUTHS), len(times), SIZE, SIZE)
    rgb, alpha = np.empty((*shape, 3), np.uint8), np.empty(shape, np.uint8)
    for k, time in enumerate(times):
        frame = asset.frame_at(time, "nearest")
        assert isinstance(frame, Mesh | Gaussians)
        rgb[:, k], alpha[:, k] = composite(render_frame(frame, cameras), background)
    return Pictures(rgb, alpha)


def _row(item: Loaded, cell: Cell) -> dict[str, Any]:
    about = {"metric": item.metric.id, "metric_version": item.metric.version, "value": cell.value}
    about |= {"metric_weights_sha256": item.weights_sha256, "status": cell.status, "reason": cell.reason}
    return about | {"n_frames": cell.n_frames}


def means(rows: pd.DataFrame) -> pd.DataFrame:
    """By metric: the mean over the pairs that have a value, how many have, and of how many (k, n)."""
    groups = rows.groupby("metric", sort=False)
    good = rows["value"].where(rows["status"] == "ok").groupby(rows["metric"], sort=False)
    return pd.DataFrame({"value": good.mean(), "k": good.count(), "n": groups.size()})


def to_csv(rows: pd.DataFrame) -> str:
    """One line a pair and one column a metric; empty where there is no value. The last line has the means."""
    values = rows.assign(value=rows["value"].where(rows["status"] == "ok"))
    names = list(dict.fromkeys(rows["metric"]))
    wide = values.pivot(index="path", columns="metric", values="value")[names]
    wide.loc["(mean)"] = means(rows)["value"]
    return str(wide.to_csv(lineterminator="\n"))


def to_text(rows: pd.DataFrame) -> str:
    """For a terminal: pairs, then means with the coverage k/n, then why cells are empty."""
    names = list(dict.fromkeys(rows["metric"]))
    summary = means(rows)
    lines = [["path", *names]]
    for path, part in rows.groupby("path", sort=False):
        lines.append([str(path), *(_shown(v) for v in part.set_index("metric")["value"].reindex(names))])
    cells = []
    for name in names:
        value, k, n = summary.loc[name]
        cells.append(_shown(value) + ("" if k == n else f" ({int(k)}/{int(n)})"))
    lines.append(["mean", *cells])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    ]
    for (status, reason), part in rows[rows["reason"] != ""].groupby(["status", "reason"], sort=False):
        what = "path" if status == "failed" else "metric"
        word = {"failed": "Failed", "not-run": "Empty", "ok": "Note"}[str(status)]
        text.append(f"{word}: {', '.join(dict.fromkeys(part[what]))}: {reason}.")
    return "\n".join(text) + "\n"


def _shown(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.4g}"
