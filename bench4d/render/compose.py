"""From premultiplied float images to the 8-bit images that are stored and scored: one rounding, half up."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, UInt8

from ..errors import FormatError


def composite(
    rgba: Float32[np.ndarray, "V H W 4"], background: tuple[float, float, float]
) -> tuple[UInt8[np.ndarray, "V H W 3"], UInt8[np.ndarray, "V H W"]]:
    """The images over a background of sRGB values in [0, 1], and their coverage.

    >>> half = np.array([[[[0.5, 0.0, 0.0, 0.5]]]], np.float32)
    >>> rgb, alpha = composite(half, (1, 1, 1))
    >>> rgb.tolist(), alpha.tolist()
    ([[[[255, 128, 128]]]], [[[128]]])
    """
    color = np.asarray(background, np.float64)
    if color.shape != (3,) or not ((color >= 0) & (color <= 1)).all():
        raise FormatError("background", "three values in [0, 1]", f"{background}")
    rgb, alpha = np.empty((*rgba.shape[:-1], 3), np.uint8), np.empty(rgba.shape[:-1], np.uint8)
    for k, view in enumerate(rgba):  # one camera at a time: float64 needs four times the memory of a whole view
        clear = 1.0 - view[..., 3:].astype(np.float64)
        rgb[k], alpha[k] = _to_uint8(view[..., :3] + clear * color), _to_uint8(view[..., 3])
    return rgb, alpha


def to_straight(rgba: Float32[np.ndarray, "V H W 4"]) -> UInt8[np.ndarray, "V H W 4"]:
    """The images with straight alpha, as a `Clip` holds them. Where alpha rounds to 0 the colour is 0 too.

    >>> to_straight(np.array([[[[0.5, 0.25, 0.0, 0.5]]]], np.float32)).tolist()
    [[[[255, 128, 0, 128]]]]
    """
    straight = np.zeros(rgba.shape, np.uint8)
    for k, view in enumerate(rgba):
        straight[k, ..., 3] = _to_uint8(view[..., 3])
        seen = straight[k, ..., 3] > 0
        straight[k, seen, :3] = _to_uint8(view[seen, :3].astype(np.float64) / view[seen, 3:])
    return straight


def _to_uint8(values: np.ndarray) -> np.ndarray:
    """[0, 1] to 0..255, half up; what lies outside is limited. In float64: float32 could round x * 255 to a half."""
    return np.floor(np.clip(values.astype(np.float64), 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
