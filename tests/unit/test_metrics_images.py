"""psnr, ssim, silhouette-iou and jitter against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench4d.errors import FormatError
from bench4d.metric import View
from metrics import METRICS

IMAGE_METRICS = ["psnr", "psnr-masked", "ssim", "ssim-masked", "silhouette-iou", "jitter"]


def score(id: str, predicted: View, truth: View) -> np.ndarray:
    return METRICS[id].load({})(predicted, truth)


def flat(grey: int, alpha: int = 255, frames: int = 1, size: int = 16) -> View:
    return View(np.full((frames, size, size, 3), grey, np.uint8), np.full((frames, size, size), alpha, np.uint8))


def noise(seed: int, frames: int = 3, size: int = 16) -> View:
    """Random colours on a random disc, white elsewhere."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    centre, radius = random.uniform(0.3, 0.7, 2) * size, random.uniform(0.2, 0.4) * size
    inside = np.hypot(x - centre[0], y - centre[1]) < radius
    rgb = np.where(inside[..., None], random.integers(0, 256, (frames, size, size, 3)), 255).astype(np.uint8)
    return View(rgb, np.broadcast_to(np.where(inside, 255, 0).astype(np.uint8), (frames, size, size)).copy())


@pytest.mark.parametrize("id", IMAGE_METRICS)
def test_identical_views_are_perfect_exactly(id):
    view = noise(0, frames=5)
    values = score(id, view, view)
    assert values.dtype == np.float64 and values.shape == (5,)
    assert (values[~np.isnan(values)] == METRICS[id].perfect).all()
    assert np.isnan(values).sum() == (2 if id == "jitter" else 0)


@pytest.mark.parametrize("id", IMAGE_METRICS)
def test_different_shapes_are_refused(id):
    with pytest.raises(FormatError, match="shape"):
        score(id, flat(0, size=16), flat(0, size=17))
    with pytest.raises(FormatError, match="shape"):
        score(id, flat(0, frames=3), flat(0, frames=4))


@pytest.mark.parametrize("id", IMAGE_METRICS)
def test_two_empty_views_are_perfect(id):
    view = flat(255, alpha=0, frames=3)
    assert score(id, view, view)[1] == METRICS[id].perfect


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**16), st.integers(0, 2**16), st.randoms())
def test_metrics_without_time_do_not_depend_on_the_order_of_frames(first, second, shuffler):
    predicted, truth = noise(first, frames=4), noise(second, frames=4)
    order = list(range(4))
    shuffler.shuffle(order)
    for id in ["psnr", "psnr-masked", "ssim", "ssim-masked", "silhouette-iou"]:
        shuffled = score(id, *(View(v.rgb[order], v.alpha[order]) for v in (predicted, truth)))
        np.testing.assert_array_equal(shuffled, score(id, predicted, truth)[order])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**16), st.integers(0, 2**16))
def test_metrics_that_are_symmetric(first, second):
    a, b = noise(first), noise(second)
    for id in ["psnr", "psnr-masked", "silhouette-iou"]:
        np.testing.assert_array_equal(score(id, a, b), score(id, b, a))
    np.testing.assert_allclose(score("ssim", a, b), score("ssim", b, a), rtol=0, atol=1e-12)


def test_view_refuses_other_arrays():
    with pytest.raises(FormatError, match="uint8 frames"):
        View(np.zeros((1, 4, 4, 3)), np.zeros((1, 4, 4), np.uint8))
    with pytest.raises(FormatError, match=r"View\.alpha"):
        View(np.zeros((1, 4, 4, 3), np.uint8), np.zeros((1, 4, 5), np.uint8))


# psnr


@pytest.mark.parametrize("difference", [1, 10, 255])
def test_psnr_of_a_constant_difference(difference):
    assert score("psnr", flat(0), flat(difference))[0] == pytest.approx(20 * np.log10(255 / difference), abs=1e-12)


def test_psnr_does_not_infer_its_range_from_the_image():
    """Two dark frames: with max - min of the truth as the range, the value would be 20 dB lower."""
    truth, predicted = flat(0), flat(1)
    truth.rgb[0, 0, 0] = 25
    assert score("psnr", predicted, truth)[0] > 40


def test_psnr_is_capped():
    a = flat(0, size=256)
    b = View(a.rgb.copy(), a.alpha)
    b.rgb[0, 0, 0, 0] = 1  # 10 log10(255^2 * 3 * 256^2) = 101.07 dB
    assert score("psnr", a, b)[0] == 100
    b.rgb[0, 0, 0, 0] = 2  # a quarter of that ratio: 95.05 dB
    assert score("psnr", a, b)[0] == pytest.approx(10 * np.log10(255**2 * 3 * 256**2 / 4))


def test_psnr_masked_sees_the_object_only():
    truth, predicted = flat(200, alpha=0), flat(200, alpha=0)
    truth.alpha[0, :4] = 255  # 64 pixels of object
    predicted.rgb[0, :4] = 190
    predicted.rgb[0, 10:] = 0  # background: not in either silhouette
    assert score("psnr-masked", predicted, truth)[0] == pytest.approx(20 * np.log10(25.5))
    predicted.alpha[0, 10:] = 128  # now predicted as object
    mean = (64 * 10**2 + 96 * 200**2) / 160
    assert score("psnr-masked", predicted, truth)[0] == pytest.approx(10 * np.log10(255**2 / mean))


@pytest.mark.parametrize("id", ["psnr-masked", "ssim-masked"])
def test_a_faint_veil_does_not_dilute_the_masked_metrics(id):
    truth, predicted = noise(1), noise(2)
    veiled = View(predicted.rgb, np.maximum(predicted.alpha, 127))
    np.testing.assert_array_equal(score(id, veiled, truth), score(id, predicted, truth))


# ssim


def test_ssim_of_two_constants():
    """Without variance only the luminance term is left."""
    c1 = 2.55**2
    expected = (2 * 100 * 150 + c1) / (100**2 + 150**2 + c1)
    assert score("ssim", flat(100), flat(150))[0] == pytest.approx(expected, abs=1e-9)


def slow_ssim_map(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The definition, window by window, on one channel; interior pixels only."""
    y, x = np.mgrid[-5:6, -5:6]
    window = np.exp(-(x**2 + y**2) / (2 * 1.5**2))
    window /= window.sum()
    a, b = a.astype(np.float64), b.astype(np.float64)
    values = np.empty((a.shape[0] - 10, a.shape[1] - 10))
    for i, j in np.ndindex(*values.shape):
        p, q = a[i : i + 11, j : j + 11], b[i : i + 11, j : j + 11]
        mean_p, mean_q = (window * p).sum(), (window * q).sum()
        var_p, var_q = (window * (p - mean_p) ** 2).sum(), (window * (q - mean_q) ** 2).sum()
        cov = (window * (p - mean_p) * (q - mean_q)).sum()
        c1, c2 = 2.55**2, 7.65**2
        values[i, j] = (
            (2 * mean_p * mean_q + c1) * (2 * cov + c2) / ((mean_p**2 + mean_q**2 + c1) * (var_p + var_q + c2))
        )
    return values


def test_ssim_equals_the_definition_window_by_window():
    a, b = noise(3, frames=1, size=24), noise(4, frames=1, size=24)
    expected = np.mean([slow_ssim_map(a.rgb[0, ..., c], b.rgb[0, ..., c]).mean() for c in range(3)])
    assert score("ssim", a, b)[0] == pytest.approx(expected, abs=1e-12)


def test_ssim_masked_averages_the_same_map_over_the_silhouettes():
    a, b = noise(5, frames=1, size=24), noise(6, frames=1, size=24)
    alpha = np.zeros((1, 24, 24), np.uint8)
    alpha[0, 5:-5, 5:-5] = 255  # exactly the pixels that ssim uses
    assert score("ssim-masked", View(a.rgb, alpha), View(b.rgb, alpha))[0] == pytest.approx(score("ssim", a, b)[0])
    corner = np.zeros_like(alpha)
    corner[0, 0, 0] = 255  # its window is mirrored at the border: still a value
    assert score("ssim-masked", View(a.rgb, corner), View(b.rgb // 2, corner))[0] < 0.9


def test_ssim_refuses_images_smaller_than_its_window():
    with pytest.raises(FormatError, match="11 x 11"):
        score("ssim", flat(0, size=10), flat(0, size=10))


# silhouette-iou


def test_silhouette_iou_of_half_overlapping_squares_and_of_soft_ones():
    a, b = flat(0, alpha=0), flat(0, alpha=0)
    a.alpha[0, :8, :8], b.alpha[0, 4:12, :8] = 255, 255
    assert score("silhouette-iou", a, b)[0] == pytest.approx(1 / 3)
    assert score("silhouette-iou", flat(0, alpha=51), flat(0, alpha=204))[0] == pytest.approx(0.25)
    assert score("silhouette-iou", flat(0, alpha=0), flat(0, alpha=255))[0] == 0


# jitter


def test_jitter_of_a_flicker_over_a_still_truth():
    truth, predicted = flat(100, frames=5), flat(100, frames=5)
    predicted.rgb[1::2] = 110  # |100 - 2 * 110 + 100| = 20 in every inner frame
    values = score("jitter", predicted, truth)
    np.testing.assert_allclose(values[1:-1], 20 / 255)
    assert np.isnan(values[[0, -1]]).all()


def test_jitter_counts_only_what_the_truth_does_not_do():
    truth, predicted = flat(100, frames=3), flat(100, frames=3)
    truth.rgb[1], predicted.rgb[1] = 110, 125
    assert score("jitter", predicted, truth)[1] == pytest.approx(30 / 255)
    assert score("jitter", truth, predicted)[1] == 0  # calmer than the truth: no jitter
    assert score("jitter", flat(100, frames=3), truth)[1] == 0  # frozen: none either


def test_jitter_ignores_the_background_and_steady_change():
    truth = flat(0, alpha=0, frames=4)
    truth.alpha[:, :4] = 255
    predicted = View(truth.rgb.copy(), truth.alpha)
    predicted.rgb[:, :4] = np.array([0, 40, 80, 120], np.uint8)[:, None, None, None]  # constant speed
    predicted.rgb[1, 8:] = 255  # background
    np.testing.assert_array_equal(score("jitter", predicted, truth)[1:-1], 0)
    assert np.isnan(score("jitter", flat(0, frames=2), flat(0, frames=2))).all()
