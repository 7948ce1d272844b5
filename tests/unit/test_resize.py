"""metrics/features/resize.py against Pillow itself, byte for byte."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bench4d.errors import FormatError
from metrics.features.resize import coefficients, resize, resize_float

PILLOW = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
SIDES = st.integers(1, 90)


def pillow(pictures: np.ndarray, size: tuple[int, int], filter: str) -> np.ndarray:
    """Through PIL, a picture at a time: [n,H,W,3] uint8, or each channel of float32 in mode "F"."""
    if pictures.dtype == np.uint8:
        return np.stack([np.asarray(Image.fromarray(p).resize(size[::-1], PILLOW[filter])) for p in pictures])
    planes = [
        [np.asarray(Image.fromarray(p[..., c]).resize(size[::-1], PILLOW[filter])) for c in range(p.shape[2])]
        for p in pictures
    ]
    return np.stack([np.stack(channels, -1) for channels in planes])


def pictures_of(height: int, width: int, seed: int, count: int = 2) -> np.ndarray:
    """Noise, and noise of black and white alone, which overshoots both ends with the cubic filter."""
    pictures = np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    pictures[1::2] = np.where(pictures[1::2] < 128, 0, 255)
    return pictures


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES, st.sampled_from(["bilinear", "bicubic"]), st.integers(0, 2**32 - 1))
def test_bytes_are_pillows(height, width, new_height, new_width, filter, seed):
    pictures = pictures_of(height, width, seed)
    ours = resize(torch.from_numpy(pictures), (new_height, new_width), filter).numpy()
    assert ours.dtype == np.uint8
    np.testing.assert_array_equal(ours, pillow(pictures, (new_height, new_width), filter))


@settings(max_examples=30, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES, st.sampled_from(["bilinear", "bicubic"]), st.integers(0, 2**32 - 1))
def test_floats_are_pillows_mode_f(height, width, new_height, new_width, filter, seed):
    pictures = np.random.default_rng(seed).uniform(-300, 300, (2, height, width, 3)).astype(np.float32)
    ours = resize_float(torch.from_numpy(pictures), (new_height, new_width), filter).numpy()
    assert ours.dtype == np.float32
    theirs = pillow(pictures, (new_height, new_width), filter)
    # One unit in the last place of the largest value: sums halfway between two floats may be rounded to either.
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2**-15)
    assert ours.size < 1000 or (ours == theirs).mean() > 0.99


@pytest.mark.parametrize("filter", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size, new", [((512, 512), (224, 224)), ((640, 256), (560, 224)), ((7, 900), (224, 31))])
def test_sizes_of_renders(size, new, filter):
    pictures = pictures_of(*size, seed=3)
    np.testing.assert_array_equal(
        resize(torch.from_numpy(pictures), new, filter).numpy(), pillow(pictures, new, filter)
    )


def test_a_picture_does_not_depend_on_its_batch(monkeypatch):
    pictures = torch.from_numpy(pictures_of(40, 50, seed=4, count=7))
    whole = resize(pictures, (13, 29), "bicubic")
    alone = torch.cat([resize(picture[None], (13, 29), "bicubic") for picture in pictures])
    monkeypatch.setattr("metrics.features.resize.BATCH_VALUES", 3 * 40 * 50 * 3)
    assert torch.equal(whole, alone)
    assert torch.equal(whole, resize(pictures, (13, 29), "bicubic"))


def test_half_precision_around_it_changes_nothing():
    pictures = torch.from_numpy(pictures_of(64, 64, seed=5))
    floats = pictures.float() / 3
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = resize(pictures, (31, 17), "bicubic"), resize_float(floats, (31, 17), "bicubic")
    assert torch.equal(half[0], resize(pictures, (31, 17), "bicubic"))
    assert torch.equal(half[1], resize_float(floats, (31, 17), "bicubic"))


def test_coefficients_of_a_row_sum_to_one():
    for filter in ("bilinear", "bicubic"):
        rows = coefficients(301, 77, filter, False).sum(dim=1)
        torch.testing.assert_close(rows, torch.ones(77, dtype=torch.float64), rtol=0, atol=1e-14)


def test_the_same_size_is_a_copy_and_no_pictures_are_none():
    pictures = torch.from_numpy(pictures_of(9, 11, seed=6))
    same = resize(pictures, (9, 11), "bicubic")
    assert torch.equal(same, pictures)
    assert same.data_ptr() != pictures.data_ptr()
    assert resize(pictures[:0], (4, 5), "bilinear").shape == (0, 4, 5, 3)


def test_wrong_input_is_named():
    with pytest.raises(FormatError, match="uint8"):
        resize(torch.zeros(1, 4, 4, 3), (2, 2), "bilinear")
    with pytest.raises(FormatError, match="float32"):
        resize_float(torch.zeros(1, 4, 4, 3, dtype=torch.uint8), (2, 2), "bilinear")
    with pytest.raises(FormatError, match="at least 1 x 1"):
        resize(torch.zeros(1, 4, 4, 3, dtype=torch.uint8), (0, 2), "bilinear")


@pytest.mark.gpu
@pytest.mark.parametrize("filter", ["bilinear", "bicubic"])
def test_the_gpu_gives_the_same_bytes(filter):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    pictures = torch.from_numpy(pictures_of(512, 480, seed=7, count=4))
    ours = resize(pictures.cuda(), (224, 210), filter).cpu()
    np.testing.assert_array_equal(ours.numpy(), pillow(pictures.numpy(), (224, 210), filter))
