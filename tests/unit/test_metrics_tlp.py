"""tlp-alex against lpips-alex of successive frames, with random weights: none of this depends on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bench4d.errors import FormatError
from bench4d.metric import View
from bench4d.pictures import DeviceView
from metrics import METRICS, tlp
from metrics.lpips import WEIGHTS
from tools.random_weights import write_all

TOLERANCE = 1e-6  # of lpips, to batches and to the order of the two pictures


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    made = write_all(tmp_path_factory.mktemp("weights"), WEIGHTS["alex"])
    return {id: Path(made[id]["path"]) for id in WEIGHTS["alex"]}


@pytest.fixture(scope="module")
def score(paths):
    return METRICS["tlp-alex"].load(paths)


@pytest.fixture(scope="module")
def lpips(paths):
    return METRICS["lpips-alex"].load(paths)


def film(*seeds: int, size: int = 48) -> View:
    """A noisy picture a seed: equal seeds, equal pictures; the higher the seed, the less contrast."""
    rgb = [np.random.default_rng(seed).integers(20 * seed, 256, (size, size, 3), np.uint8) for seed in seeds]
    return View(np.stack(rgb), np.full((len(seeds), size, size), 255, np.uint8))


def still(view: View) -> View:
    return View(np.repeat(view.rgb[:1], len(view), axis=0), view.alpha)


def test_the_truth_against_itself_is_at_zero_exactly(score):
    truth = film(0, 1, 2, 2)
    values = score(truth, truth)
    assert values.dtype == np.float64 and np.isnan(values[0]) and (values[1:] == 0).all()


def test_a_frozen_side_leaves_the_other_sides_distance_between_successive_frames(score, lpips):
    moving = film(0, 3, 1, 1, 5)
    expected = lpips(film(0, 3, 1, 1), film(3, 1, 1, 5))
    assert (expected[[0, 1, 3]] > 0.01).all() and expected[2] == 0
    np.testing.assert_array_equal(score(still(moving), moving), [np.nan, *expected])
    np.testing.assert_array_equal(score(moving, still(moving)), [np.nan, *expected])


def test_a_flicker_over_a_still_truth_costs_its_own_distance_in_every_frame(score, lpips):
    expected = lpips(film(0), film(4))[0]
    values = score(film(0, 4, 0, 4), film(7, 7, 7, 7))
    np.testing.assert_allclose(values[1:], expected, rtol=0, atol=TOLERANCE)


def test_too_much_and_too_little_change_cost_the_same_and_nothing_cancels(score, lpips):
    """A mean of differences with their signs would be 0 here."""
    values = score(film(0, 4, 4), film(0, 0, 4))
    np.testing.assert_allclose(values[1:], lpips(film(0), film(4))[0], rtol=0, atol=TOLERANCE)


def test_as_much_change_as_the_truths_is_not_punished(score):
    """What the page says that it cannot see: time runs backwards here."""
    assert score(film(4, 0), film(0, 4))[1] <= TOLERANCE


def test_the_batch_size_changes_nothing(score):
    predicted, truth = film(0, 3, 1, 1, 5, 6), film(2, 0, 0, 4, 1, 3)
    values = [score(predicted, truth, batch=batch) for batch in (1, 2, 5, None)]
    assert (values[0][1:] > 100 * TOLERANCE).all()
    for other in values[1:]:
        np.testing.assert_allclose(other, values[0], rtol=0, atol=TOLERANCE)


def test_pictures_that_are_on_the_device_give_the_same_and_stay_there(score):
    predicted, truth = film(0, 3, 1, 1), film(2, 0, 0, 4)
    there = [DeviceView(v.rgb, v.alpha, torch.from_numpy(v.rgb.copy())) for v in (predicted, truth)]
    np.testing.assert_array_equal(score(*there), score(predicted, truth))
    for view in there:
        later = tlp.part(view, slice(1, None))
        assert isinstance(later, DeviceView) and later.pixels.data_ptr() == view.pixels[1].data_ptr()
        assert (later.pixels.numpy() == view.rgb[1:]).all()
    assert type(tlp.part(truth, slice(-1))) is View


def test_equal_successive_frames_do_not_reach_the_network(paths, monkeypatch):
    from metrics.features import alexnet

    network, seen = alexnet.alexnet, []

    def counting(image, convolutions):
        seen.append(len(image) // 2)  # pairs of pictures
        return network(image, convolutions)

    monkeypatch.setattr(alexnet, "alexnet", counting)
    score = METRICS["tlp-alex"].load(paths)
    assert (score(film(3, 3, 3), film(5, 5, 5))[1:] == 0).all() and not seen
    score(film(3, 3, 4, 4), film(5, 5, 5, 6))
    assert sum(seen) == 2


def test_fewer_than_two_frames_have_no_value_and_other_shapes_are_refused(score):
    assert np.isnan(score(film(0), film(1))).tolist() == [True]
    for other in (film(0, 1, 2), film(0, size=64), film(0, 1, size=64)):
        with pytest.raises(FormatError, match="shape"):
            score(other, film(0, 1))
    with pytest.raises(FormatError, match="32 pixels"):
        score(film(0, 1, size=24), film(0, 1, size=24))
