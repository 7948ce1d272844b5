"""Rendered frames on disk: `<view>/rgb/0000.png` (on the protocol's background) and `<view>/alpha/0000.png`.

Colour and coverage are apart, so that a PNG viewer shows what is scored and silhouettes stay exact.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from .errors import FormatError
from .files import read_png_sequence, write_png
from .metric import View


def write_frame(
    folder: Path, view: str, k: int, rgb: UInt8[np.ndarray, "H W 3"], alpha: UInt8[np.ndarray, "H W"]
) -> None:
    write_png(folder / view / "rgb" / f"{k:04d}.png", rgb)
    write_png(folder / view / "alpha" / f"{k:04d}.png", alpha[..., None])


def read_view(folder: Path, view: str, n_frames: int, size: int) -> View:
    """All frames of one view. Missing frames and other sizes raise FormatError."""
    rgb = read_png_sequence(folder / view / "rgb", n_frames, 3)
    alpha = read_png_sequence(folder / view / "alpha", n_frames, 1)[..., 0]
    for name, array in (("rgb", rgb), ("alpha", alpha)):
        if array.shape[1:3] != (size, size):
            raise FormatError(folder / view / name, f"{size} x {size} pixels", f"{array.shape[2]} x {array.shape[1]}")
    return View(rgb, alpha)
