"""The score stage on the noise of `toy_results`: run it, and what its toy networks must give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from bench4d.frames import read_view
from bench4d.method import Method, method_folders
from bench4d.metric_loading import load_metrics
from bench4d.results import FRAME_ROW, ROW, frame_of
from bench4d.score import score_method
from tests.fake_features import MAP
from tests.toy_results import FRAMES, SIZE, VIEWS


def run(benchmark, root: Path, metrics, weights=None, name="mine", precision="float32", threads=1) -> pd.DataFrame:
    """The rows of one method, whatever it is called: the record is a real method's."""
    method = Method.read(method_folders()["billboard"])
    loaded = load_metrics(benchmark, metrics, weights or {}, precision)
    places = root / name / "seed0", root / "truth"
    rows, frames = score_method(benchmark, method, 0, *places, loaded, lambda clip: None, threads)
    table = frame_of(rows, ROW)
    table.attrs["frames"] = frame_of(frames, FRAME_ROW)
    return table


def entries(metrics, stride=1) -> list[dict]:
    return [{"id": id, "stride": stride} for id in metrics]


def pixels_of(root: Path, clip: str, views=tuple(VIEWS)) -> np.ndarray:
    return np.stack([read_view(root / clip / "frames", view, FRAMES, SIZE).rgb for view in views])


def by_hand(pictures: np.ndarray) -> np.ndarray:
    """What the toy network gives: uint8 [...,H,W,3] -> [...,4]."""
    return (pictures.sum(axis=(-3, -2), dtype=np.int64) / 256) @ MAP.numpy().astype(np.float64)
