"""Two folders of results against each other: whatever has the same relative path in both is a pair.

No protocol, no alignment: images are compared as they are, and of geometry both sides are rendered by our renderer at
four cameras around the origin. For numbers that compare with other people's there are benchmarks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float64

from .asset import Asset4D, Gaussians, Mesh
from .cameras import orbit
from .errors import FormatError
from .geometry import SUFFIXES, read_geometry
from .metric import MetricUnavailable, View
from .render import composite
from .renders import Color, has_pictures, read_images
from .score import AtTimes, Loaded
from .scoring_folder import NO_ALPHA, looks_at_alpha
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
    """A row for every item of `truth` and metric. What `folder` lacks, or has in another form, has failed.

    Args:
        background: of images with alpha, and of the renders of geometry; sRGB in [0, 1].
        fps: of sequences of geometry files.
    """
    mine, items, rows = find_items(folder), find_items(truth), list[dict[str, Any]]()
    if not set(mine) & set(items):
        step = f"{truth} has {', '.join(list(items)[:4])} ...: the same names must stand in both."
        raise FormatError(folder, f"items of {truth}", f"{list(mine)[:4]}", step)
    blind = {item.metric.id for item in loaded if looks_at_alpha(item)}
    for key, true in items.items():
        progress(key)
        try:
            if key not in mine:
                raise FormatError(folder, f"an item {key}", "none")
            if mine[key].kind != true.kind:
                raise FormatError(mine[key].path, f"{true.kind}, as in {truth}", mine[key].kind)
            score = _images if true.kind == "images" else _geometry
            rows += [{"path": key} | row for row in score(mine[key].path, true.path, loaded, background, fps, blind)]
        except FormatError as error:
            rows += [{"path": key} | _row(item, reason=str(error), status="failed") for item in loaded]
    return pd.DataFrame(rows, columns=list(PAIR_ROW)).astype(PAIR_ROW)


def _images(
    path: Path, truth: Path, loaded: Sequence[Loaded], background: Color, fps: float, blind: set[str]
) -> list[dict[str, Any]]:
    mine, true = read_images(path, background), read_images(truth, background)
    if mine.view.rgb.shape != true.view.rgb.shape:
        (t, h, w, _), (tt, hh, ww, _) = mine.view.rgb.shape, true.view.rgb.shape
        raise FormatError(path, f"{tt} frames of {ww} x {hh}, as the truth has", f"{t} of {w} x {h}")
    rows = []
    for item in loaded:
        if item.metric.needs != "frames":
            rows.append(_row(item, reason="images have no geometry"))
        elif item.metric.id in blind and not (mine.has_alpha and true.has_alpha):
            rows.append(_row(item, reason=NO_ALPHA))
        else:
            rows.append(_value(item, [(mine.view, true.view)]))
    return rows


def _geometry(
    path: Path, truth: Path, loaded: Sequence[Loaded], background: Color, fps: float, blind: set[str]
) -> list[dict[str, Any]]:
    mine, true = read_geometry(path, fps), read_geometry(truth, fps)
    for where, asset in ((path, mine), (truth, true)):
        if asset.kind == "views":
            raise FormatError(where, "meshes or Gaussians", "images at cameras", "Compare the folders of its images.")
    times = [float(time) for time in true.times]
    pair = AtTimes(mine, times, "nearest", np.eye(4)), AtTimes(true, times, "refuse", np.eye(4))
    views = list(zip(look_at(mine, times, background), look_at(true, times, background), strict=True))
    inputs: dict[str, list[tuple[Any, Any]]] = {"frames": list(views), "geometry": [pair]}
    return [_value(item, inputs[item.metric.needs]) for item in loaded]


def look_at(asset: Asset4D, times: Sequence[float], background: Color) -> list[View]:
    """The asset from each of the four cameras, at these times (the nearest frame)."""
    from .rendering import render_frame  # here: it compiles

    cameras = orbit(AZIMUTHS, ELEVATION, RADIUS, FOV_Y, SIZE)
    shape = (len(AZIMUTHS), len(times), SIZE, SIZE)
    rgb, alpha = np.empty((*shape, 3), np.uint8), np.empty(shape, np.uint8)
    for k, time in enumerate(times):
        frame = asset.frame_at(time, "nearest")
        assert isinstance(frame, Mesh | Gaussians)
        rgb[:, k], alpha[:, k] = composite(render_frame(frame, cameras), background)
    return [View(rgb[v], alpha[v]) for v in range(len(AZIMUTHS))]


def _value(item: Loaded, pairs: Sequence[tuple[Any, Any]]) -> dict[str, Any]:
    """The mean over frames, then over views."""
    if item.score is None:
        return _row(item, reason=item.reason)
    try:
        values: list[Float64[np.ndarray, " T"]] = [np.asarray(item.score(*pair, **item.options)) for pair in pairs]
    except MetricUnavailable as reason:
        return _row(item, reason=str(reason))
    if not all(np.isfinite(v).any() for v in values):
        return _row(item, reason="no frame has a value")
    mean = float(np.mean([v[np.isfinite(v)].mean() for v in values]))
    return _row(item, value=mean, status="ok", n_frames=int(np.isfinite(values[0]).sum()))


def _row(
    item: Loaded, value: float = np.nan, status: str = "not-run", reason: str = "", n_frames: int = 0
) -> dict[str, Any]:
    about = {"metric": item.metric.id, "metric_version": item.metric.version, "value": value, "status": status}
    return about | {"metric_weights_sha256": item.weights_sha256, "reason": reason, "n_frames": n_frames}


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
        lines.append([str(path), *(_shown(v) for v in part.set_index("metric").loc[names, "value"])])
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
    for (status, reason), part in rows[rows["status"] != "ok"].groupby(["status", "reason"], sort=False):
        what = "path" if status == "failed" else "metric"
        word = "Failed" if status == "failed" else "Empty"
        text.append(f"{word}: {', '.join(dict.fromkeys(part[what]))}: {reason}.")
    return "\n".join(text) + "\n"


def _shown(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.4g}"
