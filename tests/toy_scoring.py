"""The score stage on the noise of `toy_results`: run it, and what its toy networks must give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file

from bench4d.frames import read_view
from bench4d.method import Method, method_folders
from bench4d.metric_loading import load_metrics
from bench4d.results import FRAME_ROW, ROW, frame_of
from bench4d.score import score_method
from metrics.lpips import WEIGHTS
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


def random_alexnet(folder: Path) -> dict[str, dict[str, str]]:
    """Random weights for lpips-alex, in the form of `load_metrics`."""
    random = torch.Generator().manual_seed(0)
    shapes = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
    trunk = {f"features.{k}.weight": torch.randn(a, b, s, s, generator=random) / 50 for k, (a, b, s) in shapes.items()}
    trunk |= {f"features.{k}.bias": torch.zeros(a) for k, (a, _, _) in shapes.items()}
    heads = {f"lin{n}.weight": torch.rand(1, s[0], 1, 1, generator=random) for n, s in enumerate(shapes.values())}
    found = {}
    for id, tensors in zip(WEIGHTS["alex"], (trunk, heads), strict=True):
        save_file(tensors, folder / id)
        found[id] = {"path": str(folder / id), "sha256": id.ljust(64, "0")}
    return found
