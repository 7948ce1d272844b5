"""`data/clips/<n>.js`: the films, assets and values of one clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ..columns import clip_values, select, split, with_groups
from .films import ERROR_COLORS, ERROR_MAX, Film
from .run import Run, record
from .table_data import views_data

DIGITS = 6  # significant ones: data for pictures of numbers


@dataclass(frozen=True)
class Entry:
    """One method and seed on one clip. `key` tells entries of a clip apart."""

    method: str
    seed: int
    key: str
    title: str


@dataclass(frozen=True)
class Shown:
    """What was made for the eye: of an entry, or of the truth. Films by view."""

    films: dict[str, Film] = field(default_factory=dict)
    errors: dict[str, Film] = field(default_factory=dict)
    asset: str | None = None
    asset_note: str = ""


def entries_of(run: Run) -> list[Entry]:
    """In the table's order; the seed is in the name only where there are several."""
    found = []
    for row in run.lines:
        name, seeds = row.method.id, run.seeds[row.method.id]
        title = run.titles[name]
        for seed in seeds:
            alone = len(seeds) == 1
            found.append(
                Entry(name, seed, name if alone else f"{name} #{seed}", title if alone else f"{title}, seed {seed}")
            )
    return found


@dataclass(frozen=True)
class Values:
    """The rows, arranged by what the pages ask for.

    Attributes:
        cells: (method, seed, clip) -> column -> value.
        frames: (clip, method, seed) -> metric -> view ("" for geometry) -> one value a frame, or None.
        states: (method, seed, clip) -> (status, reason): failed if any of its rows is.
    """

    cells: Mapping[tuple[str, int, str], dict[str, float]]
    frames: Mapping[tuple[str, int, str], dict[str, dict[str, list[float | None]]]]
    states: Mapping[tuple[str, int, str], tuple[str, str]]


def values_of(run: Run) -> Values:
    rows = with_groups(run.rows, run.benchmark, run.metrics)
    cells: dict[tuple[str, int, str], dict[str, float]] = {}
    for name, part in split(rows, run.methods).items():
        for column in run.columns:
            means = clip_values(select(part, column))
            for (_, seed, clip), value in zip(means.index.tolist(), means.tolist(), strict=True):
                cells.setdefault((name, seed, clip), {})[column.key] = rounded(value)
    failed = rows[rows["status"] == "failed"]
    keys = zip(failed["method"].tolist(), failed["seed"].tolist(), failed["clip"].tolist(), strict=True)
    states = {key: ("failed", reason) for key, reason in zip(keys, failed["reason"].tolist(), strict=True)}
    return Values(cells, _frames_of(run.frames, len(run.benchmark.times)), states)


def _frames_of(
    frames: pd.DataFrame, count: int
) -> dict[tuple[str, int, str], dict[str, dict[str, list[float | None]]]]:
    found: dict[tuple[str, int, str], dict[str, dict[str, list[float | None]]]] = {}
    frames = frames.assign(view=frames["view"].fillna(""))
    columns = [frames[name].tolist() for name in ("method", "seed", "clip", "metric", "view", "frame", "value")]
    for method, seed, clip, metric, view, frame, value in zip(*columns, strict=True):
        if not 0 <= frame < count:
            continue
        views = found.setdefault((method, seed, clip), {}).setdefault(metric, {})
        views.setdefault(view, [None] * count)[frame] = rounded(value)
    return found


def rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def clip_data(run: Run, k: int, values: Values, shown: Mapping[str, Shown]) -> dict[str, Any]:
    """`shown`: by an entry's key, and "" for the truth."""
    benchmark, clip = run.benchmark, run.benchmark.clips[k]
    prompt = next(entry.get("prompt") for entry in benchmark.data["clips"] if entry["id"] == clip)
    return {
        "clip": clip,
        "number": k,
        "object": benchmark.object_of[clip],
        "prompt": prompt,
        "frames": len(benchmark.times),
        "fps": benchmark.data["fps"],
        "views": views_data(benchmark),
        "error_scale": {"max": ERROR_MAX, "colors": list(ERROR_COLORS)},
        "truth": _pictures(shown.get("", Shown())),
        "methods": [_entry(run, entry, clip, values, shown.get(entry.key, Shown())) for entry in entries_of(run)],
    }


def _pictures(shown: Shown) -> dict[str, Any]:
    return {
        "videos": {view: film.video for view, film in shown.films.items()},
        "posters": {view: film.poster for view, film in shown.films.items()},
        "asset": shown.asset,
        "asset_note": shown.asset_note,
    }


def _entry(run: Run, entry: Entry, clip: str, values: Values, shown: Shown) -> dict[str, Any]:
    where = entry.method, entry.seed, clip
    status, reason = values.states.get(where, ("ok", ""))
    cells = values.cells.get(where, {})
    place = run.place(*where)
    made = record(place / "generate.json") if place else {}
    if not cells and status == "ok":
        status, reason = "missing", "there are no result rows of this clip"
    return _pictures(shown) | {
        "key": entry.key,
        "id": entry.method,
        "seed": entry.seed,
        "title": entry.title,
        "status": status,
        "reason": reason,
        "log_tail": str(made.get("log_tail", ""))[-4000:],
        "seconds": made.get("seconds"),
        "error": {view: film.video for view, film in shown.errors.items()},
        "error_posters": {view: film.poster for view, film in shown.errors.items()},
        "frames": values.frames.get(where, {}),
        "cells": {key: None if np.isnan(value) else value for key, value in cells.items()},
        "pictures_note": "" if shown.films or status != "ok" else "no rendered pictures were kept (config: keep)",
    }
