"""The kernel distance: its definition pair by pair, its mean over many draws, blocks and order."""

from __future__ import annotations

import numpy as np
import pytest

from metrics import kernel
from metrics.kernel import Kernel


def rows(count, width, seed=0, mean=0.0):
    return np.float32(np.random.default_rng(seed).normal(size=(count, width)) + mean)


def between(x, y, batch=None):
    score = Kernel()
    for k in range(0, max(len(x), len(y)), batch or max(len(x), len(y))):
        stop = k + batch if batch else None
        score.add(x[k:stop], y[k:stop])
    return score.value()


def pair_by_pair(x, y):
    k = lambda a, b: (float(np.float64(a) @ np.float64(b)) / len(a) + 1) ** 3  # noqa: E731
    own = [np.mean([k(a, b) for i, a in enumerate(s) for j, b in enumerate(s) if i != j]) for s in (x, y)]
    return own[0] + own[1] - 2 * np.mean([k(a, b) for a in x for b in y])


@pytest.mark.parametrize("counts", [(2, 2), (9, 9), (5, 12)])
def test_it_is_the_mean_over_pairs(counts):
    x, y = rows(counts[0], 6, 1), rows(counts[1], 6, 2, mean=0.4)
    assert between(x, y) == pytest.approx(pair_by_pair(x, y), abs=1e-12)


def test_two_samples_of_one_distribution_are_at_0_on_average_however_few():
    values = [between(rows(4, 8, 2 * k), rows(4, 8, 2 * k + 1)) for k in range(2000)]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 3 * error and error < 0.03 and min(values) < 0
    apart = [between(rows(4, 8, 2 * k), rows(4, 8, 2 * k + 1, mean=1.0)) for k in range(200)]
    assert np.mean(apart) > 20 * error


def test_few_rows_and_many_agree_on_a_known_distance():
    """x = 0, y = +-e in one dimension: (1 + (((1 + 1)^3 + (1 - 1)^3) / 2) - 2) = 3."""
    random = np.random.default_rng(0)
    zero = np.zeros((3000, 1), np.float32)
    signs = np.float32(random.choice([-1, 1], (3000, 1)))
    assert between(zero, signs) == pytest.approx(3, abs=0.05)
    assert np.mean([between(zero[:3], signs[k : k + 3]) for k in range(0, 3000, 3)]) == pytest.approx(3, abs=0.2)


def moments_of_a_gaussian(mean, covariance):
    """E x, E x x, E x x x: arrays with one, two and three axes."""
    pairs = covariance + np.outer(mean, mean)
    mixed = np.einsum("ij,k->ijk", covariance, mean)
    triples = np.einsum("i,j,k->ijk", mean, mean, mean) + mixed + mixed.transpose(0, 2, 1) + mixed.transpose(2, 0, 1)
    return mean, pairs, triples


def expected_kernel(one, two):
    """E (x.y / d + 1)^3 of independent x, y: (x.y)^j is the product of their j-fold tensors, summed over all axes."""
    d = len(one[0])
    return 1 + sum(count * (a * b).sum() / d**j for j, count, a, b in zip((1, 2, 3), (3, 3, 1), one, two, strict=True))


@pytest.mark.parametrize("counts", [(3, 3), (12, 7)])
def test_gaussians_are_as_far_apart_on_average_as_their_moments_say(counts):
    random, d = np.random.default_rng(0), 4
    means, factors = (np.zeros(d), np.full(d, 0.7)), (np.eye(d), 0.5 * random.normal(size=(d, d)) + np.eye(d))
    one, two = (moments_of_a_gaussian(m, f @ f.T) for m, f in zip(means, factors, strict=True))
    expected = expected_kernel(one, one) + expected_kernel(two, two) - 2 * expected_kernel(one, two)
    values = []
    for _ in range(4000):
        samples = [
            np.float32(random.normal(size=(n, d)) @ f.T + m) for n, m, f in zip(counts, means, factors, strict=True)
        ]
        score = Kernel()
        score.add(*samples)
        values.append(score.value())
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values) - expected) < 3 * error and error < 0.04 * expected


def test_blocks_batches_and_order_change_only_rounding(monkeypatch):
    x, y = rows(70, 5, 1), rows(50, 5, 2)
    expected = between(x, y)
    order = np.random.default_rng(0).permutation(50)
    assert between(x, y[order]) == pytest.approx(expected, abs=1e-13)
    assert between(x, y, 7) == expected
    monkeypatch.setattr(kernel, "BLOCK", 16)
    assert between(x, y) == pytest.approx(expected, abs=1e-13)


def test_equal_sets_are_below_0_by_what_each_row_has_with_itself():
    x = rows(20, 5)
    own = ((np.float64(x) ** 2).sum(axis=1) / 5 + 1) ** 3
    across = (np.float64(x) @ np.float64(x).T / 5 + 1) ** 3
    others = (across.sum() - own.sum()) / (20 * 19)
    assert between(x, x) == pytest.approx(2 * others - 2 * across.mean(), abs=1e-12) and between(x, x) < 0
