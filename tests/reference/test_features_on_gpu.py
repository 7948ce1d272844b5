"""Feature networks and the distances of their vectors on a GPU and on the CPU, with random weights at full size.

    python -m pytest -q tests/reference/test_features_on_gpu.py

Needs none of the packages that the networks are compared with elsewhere; CLIP needs open_clip, as it does at work.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bench4d.features import Place, Request, load_feature, vectors
from bench4d.metric import Feature
from metrics import METRICS
from metrics.features import films, pictures
from tests.reference.video_network_weights import random_film
from tools.random_weights import write_all

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
PICTURES = (pictures.CLIP_VIT_B32, pictures.DREAMSIM_ENSEMBLE, pictures.INCEPTION_FID, pictures.INCEPTION_TF1)
FILMS = (films.I3D_400, films.RESNET50_KINETICS)
FEATURES = {feature.id: feature for feature in PICTURES + FILMS}
# Distances of vectors: of pairs, Frechet and kernel distances of sets.
DISTANCES = ("fvd-c4d", "fvd-i3d", "kvd-i3d", "fid-vid-r3d", "fid-inception", "fid-vid-frames")
DISTANCES += ("clip-vit-b32", "dreamsim-ensemble")
OF_FEATURES = 1e-5  # of the largest number
OF_DISTANCES = 1e-4  # of the value
CLIPS, VIEWS, FRAMES = 3, 2, 3


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    used = {id for feature in FEATURES.values() for id in feature.weights}
    return write_all(tmp_path_factory.mktemp("weights"), used)


@pytest.fixture(scope="module")
def clips() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Predicted and true pixels of each clip, [V,T,H,W,3]. The prediction is darker, so that distances are no noise."""

    def views(seed: int) -> np.ndarray:
        return np.stack([random_film(FRAMES, 96, 80, seed=100 * seed + view) for view in range(VIEWS)])

    pairs = [(views(2 * clip) // 2, views(2 * clip + 1)) for clip in range(CLIPS)]
    return [(torch.from_numpy(mine), torch.from_numpy(truth)) for mine, truth in pairs]


class Rows:
    """(feature, films, device) -> the rows of each clip, prediction and truth. Made once."""

    def __init__(self, weights, clips) -> None:
        self.weights, self.clips, self.networks, self.made = weights, clips, {}, {}

    def network(self, feature: Feature, device: str):
        if (feature.id, device) not in self.networks:
            files = {id: self.weights[id] for id in feature.weights}
            if reasons := [entry["reason"] for entry in files.values() if "reason" in entry]:
                pytest.skip(reasons[0])
            place = Place(torch.device(device), "float32", device)
            paths = {id: Path(entry["path"]) for id, entry in files.items()}
            sums = {id: entry["sha256"] for id, entry in files.items()}
            self.networks[feature.id, device] = load_feature(feature, paths, sums, place)
        return self.networks[feature.id, device]

    def __call__(self, feature: Feature, form: str, device: str) -> list[tuple[np.ndarray, np.ndarray]]:
        key = feature.id, form, device
        if key not in self.made:
            request = Request(self.network(feature, device), form, tuple(range(VIEWS)), tuple(range(FRAMES)))
            self.made[key] = [tuple(vectors(request, side.to(device)) for side in clip) for clip in self.clips]
        return self.made[key]


@pytest.fixture(scope="module")
def rows(weights, clips) -> Rows:
    return Rows(weights, clips)


@pytest.mark.parametrize("id", FEATURES)
def test_vectors_are_the_same_on_both_devices(rows, id):
    feature = FEATURES[id]
    form = "frame" if feature.of == "picture" else "view"
    here, there = (np.concatenate([side for clip in rows(feature, form, d) for side in clip]) for d in ("cpu", "cuda"))
    largest = np.abs(here).max()
    assert here.std(axis=0).max() > 1e-3 * largest  # the network does look at the pictures
    assert np.abs(here - there).max() < OF_FEATURES * largest


def value_of(id: str, given: list[tuple[np.ndarray, np.ndarray]]) -> float:
    metric = METRICS[id]
    if metric.unit == "clip":
        return float(np.mean([metric.load({})(mine, truth).mean() for mine, truth in given]))
    score = metric.load({})(**({"frames": FRAMES} if id == "fid-vid-frames" else {}))
    for mine, truth in given:
        score.add(mine, truth)
    return score.value()


@pytest.mark.parametrize("id", DISTANCES)
def test_distances_are_the_same_on_both_devices(rows, id):
    feature, form = METRICS[id].feature, METRICS[id].films
    here, there = (value_of(id, rows(feature, form, device)) for device in ("cpu", "cuda"))
    assert here != 0
    assert there == pytest.approx(here, rel=OF_DISTANCES)
