"""Metrics whose range is the span of the pictures: closed forms, and the same metrics with a range of 255."""

from __future__ import annotations

import numpy as np

from bench4d.metric import View
from metrics import METRICS

RNG = np.random.default_rng(0)
PSNR, SSIM = METRICS["psnr-span"].load({}), METRICS["ssim-span"].load({})


def view(rgb: np.ndarray) -> View:
    return View(rgb, np.full(rgb.shape[:3], 255, np.uint8))


def noise(low: int, high: int) -> View:
    return view(RNG.integers(low, high + 1, (3, 24, 32, 3)).astype(np.uint8))


def test_psnr_is_lower_by_the_share_of_the_span():
    truth, predicted = noise(60, 200), noise(0, 255)
    spans = truth.rgb.max(axis=(1, 2, 3)).astype(float) - truth.rgb.min(axis=(1, 2, 3))
    assert (spans < 255).all()
    whole = METRICS["psnr"].load({})(predicted, truth)
    np.testing.assert_allclose(PSNR(predicted, truth), whole - 20 * np.log10(255 / spans), atol=1e-9)


def test_ssim_is_the_usual_one_where_the_pictures_span_everything():
    truth, predicted = noise(0, 255), noise(60, 200)
    usual = METRICS["ssim"].load({})(predicted, truth)
    np.testing.assert_allclose(SSIM(predicted, truth), usual, atol=1e-9)
    assert (np.abs(SSIM(predicted, predicted) - 1) < 1e-12).all()


def test_ssim_takes_the_larger_span_of_the_two():
    """Values and range scaled together change nothing: half the span, half the constants' root."""
    truth, predicted = view(noise(0, 100).rgb), view(noise(20, 60).rgb)
    doubled = [view(v.rgb * np.uint8(2)) for v in (predicted, truth)]
    np.testing.assert_allclose(SSIM(predicted, truth), SSIM(*doubled), atol=1e-12)
    np.testing.assert_allclose(SSIM(predicted, truth), SSIM(truth, predicted), atol=1e-12)


def test_pictures_of_one_value():
    white, grey = view(np.full((2, 16, 16, 3), 255, np.uint8)), view(np.full((2, 16, 16, 3), 99, np.uint8))
    assert (PSNR(white, white) == 100).all() and (SSIM(white, white) == 1).all()
    assert np.isnan(PSNR(grey, white)).all()  # the ruler has no length
