"""Films of a study: lossless WebP sheets of frames, which every browser draws exactly and in step."""

from __future__ import annotations

import io
import math
import random
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from bench4d.errors import FormatError

SHEET_SIDE = 4096  # phones show larger pictures at half their size
MAX_SIDE = 16383  # of a WebP file
BLOCK = 12  # pixels of a spoilt frame are this coarse at 256 x 256


@dataclass(frozen=True)
class Sheet:
    """All frames of one view in one picture: frame k is at column k % columns, row k // columns."""

    webp: bytes
    frames: int
    columns: int
    width: int
    height: int


def sheet(frames: UInt8[np.ndarray, "T H W 3"], where: str) -> Sheet:
    """Raises FormatError where the frames do not fit into one picture. The file holds pixels and nothing else."""
    count, height, width = frames.shape[:3]
    columns = min(count, max(1, SHEET_SIDE // width))
    rows = math.ceil(count / columns)
    if max(columns * width, rows * height) > MAX_SIDE:
        raise FormatError(where, f"frames that fit into {MAX_SIDE} pixels a side", f"{count} of {width} x {height}")
    filled = np.zeros((rows * columns, height, width, 3), np.uint8)
    filled[:count] = frames
    picture = filled.reshape(rows, columns, height, width, 3).transpose(0, 2, 1, 3, 4)
    out = io.BytesIO()
    Image.fromarray(picture.reshape(rows * height, columns * width, 3)).save(out, "WEBP", lossless=True, method=2)
    return Sheet(out.getvalue(), count, columns, width, height)


def order_of(count: int, rng: random.Random) -> list[int]:
    """An order of frames in which nothing moves smoothly: no frame where it was, if there are two or more."""
    order = list(range(count))
    while count > 1 and any(k == was for k, was in enumerate(order)):
        rng.shuffle(order)
    return order


def spoil(frames: UInt8[np.ndarray, "T H W 3"], order: list[int]) -> UInt8[np.ndarray, "T H W 3"]:
    """Worse in every question, for everybody to see: coarse pixels, other colours, and times out of order."""
    height, width = frames.shape[1:3]
    block = max(2, round(BLOCK * width / 256))
    rows, columns = (np.arange(side) // block * block for side in (height, width))
    coarse = frames[order][:, rows][:, :, columns]
    return np.ascontiguousarray(coarse[..., [1, 2, 0]])
