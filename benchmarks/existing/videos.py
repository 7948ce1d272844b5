"""Films as V2M4 scores them: 512 x 512, in pieces of 32 frames, every piece by itself; what is left over is dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from bench4d.errors import FormatError
from bench4d.metric_loading import Loaded
from bench4d.pictures import Pictures
from bench4d.renders import Color, read_images
from bench4d.scoring_engine import Cell, Engine, Pair, empty
from bench4d.scoring_pairs import find_items
from metrics.features.resize import resize

from .geometry import Row, row

SIDE, PIECE = 512, 32
WHITE: Color = (1.0, 1.0, 1.0)


def read_pieces(path: Path) -> list[Pictures]:
    """A film's pieces, each picture resized by Pillow's bilinear filter. None of them if it is shorter than a piece."""
    view = read_images(path, WHITE).view
    whole = len(view) // PIECE * PIECE
    rgb, alpha = resized(view.rgb[:whole]), resized(view.alpha[:whole, ..., None])[..., 0]
    return [Pictures(rgb[None, k : k + PIECE], alpha[None, k : k + PIECE]) for k in range(0, whole, PIECE)]


def resized(pictures: UInt8[np.ndarray, "T H W C"]) -> UInt8[np.ndarray, "T 512 512 C"]:
    return resize(torch.from_numpy(np.ascontiguousarray(pictures)), (SIDE, SIDE), "bilinear").numpy()


def score(results: Path, truth: Path, loaded: Sequence[Loaded], tell: Callable[[str], object]) -> list[Row]:
    """A row for every film of the truth and metric of pictures, and one (object "") for every metric of all pieces.

    A film of results that is missing, unreadable or of other length than the truth's has failed: all pieces of all
    metrics of sets count it as bare background. Films of the truth under 32 frames are not run, as theirs.
    """
    films, mine = find_items(truth), find_items(results)
    engine, rows = Engine(loaded, WHITE), list[Row]()
    singles = [item for item in loaded if not item.is_set]
    for name, film in films.items():
        tell(name)
        true = read_pieces(film.path)
        cells: dict[str, list[Cell]] = {item.metric.id: [] for item in singles}
        reason, predicted = "", list[Pictures]()
        try:
            if name not in mine:
                raise FormatError(results, f"a film {name}", "none")
            predicted = read_pieces(mine[name].path)
            if len(predicted) != len(true):
                raise FormatError(mine[name].path, f"{len(true)} pieces of {PIECE} frames", f"{len(predicted)}")
        except FormatError as error:
            reason = str(error)
        for k, piece in enumerate(true):
            pair = Pair(f"{name}/{k}", None if reason else predicted[k], piece, ("",), {"": (0,)})
            for item, cell in engine.score(pair):
                cells[item.metric.id].append(cell)
        rows += [row(name, item.metric, _joined(item, cells[item.metric.id], len(true), reason)) for item in singles]
    sets = [*engine.set_cells(), *((i, empty(None, "not-run", i.reason)) for i in loaded if i.is_set and not i.score)]
    return rows + [row("", item.metric, cell) for item, cell in sets]


def _joined(item: Loaded, cells: Sequence[Cell], pieces: int, reason: str) -> Cell:
    """Of a film's pieces, all equally long, the mean."""
    if not pieces:
        return empty(None, "not-run", f"the true film has fewer than {PIECE} frames")
    if reason:
        return empty(None, "failed", reason)
    if item.score is None:
        return empty(None, "not-run", item.reason)
    bad = next((cell for cell in cells if cell.status != "ok"), None)
    return bad or Cell(None, float(np.mean([c.value for c in cells])), "ok", "", {}, sum(c.n_frames for c in cells))
