"""Compositing and straight alpha: one rounding, half up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bench4d.errors import FormatError
from bench4d.render import composite, to_straight

unit = st.floats(0, 1, width=32)
color = st.tuples(*[st.floats(0, 1)] * 3)


@st.composite
def premultiplied(draw) -> np.ndarray:
    """[V,H,W,4] float32 with colour <= alpha, as every renderer returns it."""
    image = draw(arrays(np.float32, (2, 2, 3, 4), elements=unit))
    image[..., :3] *= image[..., 3:]
    return image


@given(premultiplied(), color)
def test_composite_is_within_half_a_level_of_the_exact_value(image, background):
    rgb, alpha = composite(image, background)
    exact = image.astype(np.float64)
    assert np.abs(rgb - 255 * (exact[..., :3] + (1 - exact[..., 3:]) * background)).max() <= 0.5 + 1e-9
    assert np.abs(alpha - 255 * exact[..., 3]).max() <= 0.5


@given(st.integers(0, 254))
def test_halves_round_up(level):
    half = np.full((1, 1, 1, 4), np.float32((level + 0.5) / 255))
    up = np.nextafter(half, np.float32(2))
    down = np.nextafter(half, np.float32(0))
    assert composite(up, (0, 0, 0))[1].item() == level + 1
    assert composite(down, (0, 0, 0))[1].item() == level
    assert composite(np.float32([[[[0.5, 0.5, 0.5, 0.5]]]]), (0, 0, 0))[0].ravel().tolist() == [128] * 3  # 127.5


@given(arrays(np.uint8, (1, 2, 2, 4)), color)
def test_opaque_8_bit_colours_survive_and_what_is_empty_shows_the_background(levels, background):
    image = (levels / np.float64(255)).astype(np.float32)
    image[..., 3] = 1
    assert np.array_equal(composite(image, background)[0], levels[..., :3])
    assert np.array_equal(to_straight(image)[..., :3], levels[..., :3])
    rgb, alpha = composite(np.zeros_like(image), background)
    assert (rgb == np.floor(np.array(background) * 255 + 0.5)).all()
    assert not alpha.any()


@given(premultiplied(), color)
def test_straight_alpha_composites_to_the_same_picture_within_its_own_rounding(image, background):
    straight = to_straight(image) / np.float64(255)
    again = straight[..., :3] * straight[..., 3:] + (1 - straight[..., 3:]) * background
    direct = image[..., :3] + (1 - image[..., 3:].astype(np.float64)) * background
    assert np.abs(again - direct).max() * 255 <= 1.01  # half a level from the colour and half from alpha
    assert np.array_equal(to_straight(image)[..., 3], composite(image, background)[1])


@given(premultiplied())
def test_invisible_pixels_have_no_colour(image):
    straight = to_straight(image)
    assert not straight[straight[..., 3] == 0].any()


def test_values_outside_the_range_are_limited():
    image = np.array([[[[1.5, -0.5, 0.5, 0.5]]]], np.float32)
    assert composite(image, (0, 0, 0))[0].ravel().tolist() == [255, 0, 128]
    assert to_straight(image).ravel().tolist() == [255, 0, 255, 128]


def test_a_background_outside_0_to_1_is_refused():
    for background in ((255, 255, 255), (0, 0, -0.1), (0, 0), (0, 0, float("nan"))):
        with pytest.raises(FormatError, match="background"):
            composite(np.zeros((1, 1, 1, 4), np.float32), background)
