"""Half precision deviates by what docs/precision.md says; on the device that is here, with random weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench4d.metric import MetricUnavailable, View
from tests.reference.video_network_weights import random_film
from tools import half_precision, sanity_set
from tools.half_precision import deviation, line
from tools.random_weights import write_all
from tools.sanity_set import Variant

BOUND = 0.02  # of the largest number of a vector


@pytest.fixture(scope="module")
def made() -> dict[str, Variant]:
    """Two pictures in all: in bfloat16, networks take seconds for each on a CPU without instructions for it."""
    film = random_film(2, 64, 64, seed=0)
    view = lambda frames: [View(film[frames], np.full((2, 64, 64), 255, np.uint8))]  # noqa: E731
    return {"truth": Variant(view([0, 1]), None), "frozen": Variant(view([0, 0]), None)}


@pytest.mark.parametrize("metric", ["clip-vit-b32", "fid-inception"])
def test_half_precision_is_near_single_and_another(metric, made, monkeypatch, tmp_path):
    monkeypatch.setattr(half_precision, "files_here", lambda ids: {id: {"reason": "not looked for"} for id in ids})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = deviation(metric, made, tmp_path)
    finally:
        torch.set_num_threads(threads)
    assert not found.reason and found.weights == "random" and found.largest[0] == "frozen"
    assert 1e-6 < found.vectors < BOUND
    assert f"| {metric} | random | {found.vectors:.1e} |" in line(found)


def test_a_metric_of_frames_runs_under_half_precision_too(made, monkeypatch, tmp_path):
    monkeypatch.setattr(half_precision, "files_here", lambda ids: write_all(tmp_path, ids))
    found = deviation("lpips-alex", made, tmp_path)
    assert found.weights == "published" and np.isnan(found.vectors)
    assert 1e-6 < found.largest[1] < 0.05


def test_what_cannot_be_run_is_a_line_with_its_reason(made, monkeypatch, tmp_path):
    monkeypatch.setattr(half_precision, "files_here", lambda ids: {id: {"reason": "not here: fetch it"} for id in ids})
    found = deviation("fvd-videomae", made, tmp_path)
    assert "videomae-ssv2: not here: fetch it" in line(found)


def test_numbers_beyond_half_precision_are_a_line_with_their_reason(made, monkeypatch, tmp_path):
    monkeypatch.setattr(half_precision, "files_here", lambda ids: {id: {"reason": "not looked for"} for id in ids})

    def too_large(request, pixels):
        if request.network.place.precision == "half":
            raise MetricUnavailable("numbers that are not finite")
        return np.ones((len(pixels), request.network.feature.width), np.float32)

    monkeypatch.setattr(sanity_set, "vectors", too_large)
    assert line(deviation("fid-inception", made, tmp_path)).split("|")[4].strip() == (
        "beyond half precision with random weights"
    )
