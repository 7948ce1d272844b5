"""The Frechet distance: closed forms, few rows and many, order and batches, and its floor."""

from __future__ import annotations

import numpy as np
import pytest

from bench4d.errors import FormatError
from bench4d.metric import Metric, MetricUnavailable
from metrics.frechet import Frechet, Moments, frechet_distance
from metrics.kernel import Kernel
from metrics.sets import SPLITS, Floor, floor


def features(count, width, seed=0, mean=0.0):
    """Correlated vectors with a decaying spectrum, far from the origin, as those of networks are."""
    random = np.random.default_rng(seed)
    mixed = np.random.default_rng(99).normal(size=(width, width)) / np.arange(1, width + 1)[:, None]
    return np.float32(random.normal(size=(count, width)) @ mixed + 20 + mean)


def between(predicted, truth, batch=None):
    score = Frechet()
    for k in range(0, max(len(predicted), len(truth)), batch or max(len(predicted), len(truth))):
        stop = k + batch if batch else None
        score.add(predicted[k:stop], truth[k:stop])
    return score.value()


def by_definition(x, y):
    """Covariances as matrices; the eigenvalues of S1 S2 are those of (S1 S2)^(1/2), squared."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    s1, s2 = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = np.sqrt(np.maximum(np.linalg.eigvals(s1 @ s2).real, 0)).sum()
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * root


def test_gaussians_on_a_line_and_with_common_axes_have_closed_forms():
    one, four = np.array([[1.0]]), np.array([[4.0]])
    assert frechet_distance(np.zeros(1), one, np.array([3.0]), four) == pytest.approx(9 + (2 - 1) ** 2)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    a, b = np.arange(1.0, 7), np.array([4.0, 0, 1, 9, 2, 5])  # one axis without any spread
    shift = np.arange(6.0)
    expected = shift @ shift + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    assert frechet_distance(shift, (turn * a) @ turn.T, 0 * shift, (turn * b) @ turn.T) == pytest.approx(expected)


def test_samples_tend_to_the_distance_of_their_gaussians():
    random = np.random.default_rng(1)
    spread = np.array([1.0, 2.0, 0.5])
    x = np.float32(random.normal(size=(60_000, 3)))
    y = np.float32(random.normal(size=(60_000, 3)) * spread + [1, 0, -2])
    assert between(x, y, 1000) == pytest.approx(5 + ((spread - 1) ** 2).sum(), rel=0.01)


@pytest.mark.parametrize("counts", [(2, 2), (5, 30), (30, 30), (31, 33), (64, 9), (200, 150)])
def test_few_rows_and_many_equal_the_definition(counts):
    """32 numbers wide: less than full rank on both sides, on one, around the switch to d rows, and on none."""
    x, y = features(counts[0], 32, 1), features(counts[1], 32, 2, mean=0.3)
    assert between(x, y) == pytest.approx(by_definition(x, y), rel=1e-5)  # the definition itself has 1e-6
    assert between(y, x) == pytest.approx(between(x, y), rel=1e-12)


def test_full_rank_equals_the_definition_closely():
    x, y = features(400, 12, 1), features(300, 12, 2, mean=0.3)
    moments = [(v.mean(0), np.cov(v, rowvar=False)) for v in (x.astype(np.float64), y.astype(np.float64))]
    assert between(x, y, 7) == pytest.approx(frechet_distance(*moments[0], *moments[1]), rel=1e-10)
    assert between(x, y, 7) == pytest.approx(by_definition(x, y), rel=1e-10)


@pytest.mark.parametrize("count", [20, 500])
def test_batches_and_order_change_only_rounding(count):
    x, y = features(count, 24, 1), features(count, 24, 2)
    scale = np.var(x, axis=0).sum() + np.var(y, axis=0).sum()
    order = np.random.default_rng(0).permutation(count)
    for batch in (1, 3, 16, 64):
        assert abs(between(x, y, batch) - between(x, y)) < 1e-12 * scale
        assert abs(between(x[order], y[order], batch) - between(x, y)) < 1e-12 * scale


@pytest.mark.parametrize("count", [5, 24, 500])
def test_equal_sets_are_at_distance_0_in_any_order(count):
    x = features(count, 24)
    scale = np.var(x, axis=0).sum()
    shuffled = x[np.random.default_rng(0).permutation(count)]
    assert between(x, x, 7) < 1e-12 * scale and between(x, shuffled, 7) < 1e-10 * scale


def test_memory_stays_flat():
    moments = Moments()
    for k in range(200):
        moments.add(features(3, 8, k))
        assert len(moments._factor) <= 16 + 4
    rows = np.concatenate([features(3, 8, k) for k in range(200)]).astype(np.float64)
    np.testing.assert_allclose(moments.factor.T @ moments.factor, np.cov(rows, rowvar=False), rtol=0, atol=1e-12)
    np.testing.assert_allclose(moments.mean, rows.mean(axis=0), rtol=1e-13)


def test_a_frechet_distance_of_few_rows_is_not_that_of_the_distributions():
    """Why docs/statistics.md prefers the kernel distance: a collapsed generator beats a perfect one at n = 28."""
    random = np.random.default_rng(0)
    truth, perfect, collapsed = (np.float32(random.normal(size=(28, 400))) for _ in range(3))
    assert between(perfect, truth) > between(collapsed / 2, truth) > 300  # of the distributions: 0 and 100


@pytest.mark.parametrize("score", [Frechet, Kernel])
def test_too_few_rows_are_an_empty_cell_and_broken_ones_an_error(score):
    made = score()
    made.add(features(1, 4), features(3, 4))
    with pytest.raises(MetricUnavailable, match="at least 2 films or pictures a side, there are 1 predicted and 3"):
        made.value()
    made.add(features(1, 4, 1), features(0, 4))
    assert np.isfinite(made.value())
    for bad in (np.zeros(4, np.float32), np.zeros((2, 5), np.float32), np.full((2, 4), np.nan, np.float32)):
        for pair in ((bad, features(2, 4)), (features(2, 4), bad)):
            with pytest.raises(FormatError, match="features"):
                made.add(*pair)


def test_the_floor_of_two_clips_is_the_distance_between_them():
    clips, noise = [features(6, 5, k) for k in (0, 1)], features(6, 5, 7)
    made = Floor(Frechet)
    for clip in clips:
        made.add(noise, clip)
    assert made.value() == pytest.approx(between(*clips), rel=1e-12)


@pytest.mark.parametrize("distance", [Frechet, Kernel])
def test_a_floor_is_the_mean_over_splits_and_does_not_see_predictions(distance):
    clips = [features(4, 5, k) for k in range(7)]
    values = []
    for prediction in (features(4, 5, 50), features(4, 5, 51)):
        made = Floor(distance)
        for clip in clips:
            made.add(prediction, clip)
        values.append(made.value())
    assert values[0] == values[1]
    random, expected = np.random.default_rng(0), []
    for _ in range(SPLITS):
        order, score = random.permutation(7), distance()
        score.add(np.concatenate([clips[k] for k in order[:3]]), np.concatenate([clips[k] for k in order[3:6]]))
        expected.append(score.value())
    assert values[0] == pytest.approx(np.mean(expected), rel=1e-10) and np.std(expected) > 0


def test_a_floor_of_one_clip_is_an_empty_cell():
    made = Floor(Frechet)
    made.add(features(4, 5), features(4, 5))
    with pytest.raises(MetricUnavailable, match="at least 2 clips, there are 1"):
        made.value()


def test_the_record_of_a_floor():
    metric = Metric("fvd-x", 3, "A.", "set", "features", "lower", "1", 0.0, (), "r", lambda weights: Frechet)
    made = floor(metric)
    assert (made.id, made.version, made.unit, made.perfect) == ("fvd-x-floor", 3, "set", None)
    assert made.definition.startswith("The mean fvd-x between") and isinstance(made.load({})(), Floor)
