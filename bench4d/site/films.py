"""Films of rendered frames for browsers, and films of how they differ from the truth. Lossy: for eyes alone.

A file's name ends with a hash of the pictures it shows, so one that exists is up to date: a second build encodes
nothing, and a build that was killed goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ..errors import FormatError
from ..files import atomic, read_png_sequence
from ..video import write_video

SIDE = 256  # pixels, at most
ERROR_MAX = 0.5  # mean absolute difference of R, G and B (of 1) that has the last colour
ERROR_COLORS = ("#0b0b1e", "#4b1d6f", "#a3285e", "#e65c2b", "#fbb61a", "#fcffd6")
VERSION = 1  # goes up whenever equal pictures would become another film
# Every picture is a key picture, so that a browser seeks exactly; the colour matrix is stated, not guessed.
ENCODER = (
    *("-preset", "veryfast", "-crf", "25", "-g", "1", "-bf", "0", "-threads", "1"),
    *("-vf", "scale=out_color_matrix=bt709:out_range=tv", "-color_range", "tv"),
    *("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"),
)


@dataclass(frozen=True)
class Film:
    """Paths relative to the site: an .mp4, and its first picture as .webp."""

    video: str
    poster: str


@dataclass(frozen=True)
class Pictures:
    """`folder`/0000.png ... of one view. Read, and decoded, at most once, and only if somebody looks."""

    folder: Path
    count: int

    @cached_property
    def digest(self) -> bytes:
        """Of the files. Raises OSError if one is missing."""
        total = hashlib.blake2b()
        for k in range(self.count):
            total.update(hashlib.blake2b((self.folder / f"{k:04d}.png").read_bytes()).digest())
        return total.digest()

    @cached_property
    def frames(self) -> UInt8[np.ndarray, "T H W 3"]:
        """Raises FormatError."""
        return read_png_sequence(self.folder, self.count, 3)


def make_film(site: Path, stem: str, shown: Pictures, fps: float, truth: Pictures | None = None) -> Film | None:
    """The film `stem`-<hash>, encoded if it is not there yet; None where the pictures are not (kept), or broken.

    With `truth` it shows the differences from it.
    """
    try:
        key = _key([shown] if truth is None else [shown, truth], fps)
        film = Film(f"{stem}-{key}.mp4", f"{stem}-{key}.webp")
        if (site / film.video).is_file() and (site / film.poster).is_file():
            return film
        frames = shown.frames if truth is None else error_map(shown.frames, truth.frames)
    except (FormatError, OSError):
        return None
    small = [_fit(frame) for frame in frames]
    with atomic(site / film.poster) as temporary:
        Image.fromarray(small[0]).save(temporary, format="WEBP", quality=80)
    write_video(site / film.video, small, fps, ENCODER)
    return film


def _key(each: Sequence[Pictures], fps: float) -> str:
    total = hashlib.blake2b(repr((VERSION, ENCODER, SIDE, fps, ERROR_MAX, ERROR_COLORS)).encode())
    for pictures in each:
        total.update(pictures.digest)
    return total.hexdigest()[:12]


def _fit(frame: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """At most `SIDE` pixels a side, and even, as the encoder wants it."""
    height, width = frame.shape[:2]
    share = min(1.0, SIDE / max(height, width))
    size = tuple(max(2, 2 * round(side * share / 2)) for side in (width, height))
    if size == (width, height):
        return frame
    return np.asarray(
        Image.fromarray(frame).resize(size, Image.Resampling.BOX if share < 1 else Image.Resampling.NEAREST)
    )


def error_map(shown: UInt8[np.ndarray, "T H W 3"], truth: UInt8[np.ndarray, "T H W 3"]) -> UInt8[np.ndarray, "T H W 3"]:
    """The mean absolute difference of the three channels as a colour: dark is none, light `ERROR_MAX` or more.

    Raises FormatError for pictures of two sizes.

    >>> black, white = np.zeros((1, 1, 1, 3), np.uint8), np.full((1, 1, 1, 3), 255, np.uint8)
    >>> error_map(black, black).ravel().tolist(), error_map(black, white).ravel().tolist()
    ([11, 11, 30], [252, 255, 214])
    """
    if shown.shape != truth.shape:
        raise FormatError("pictures", f"the truth's size {truth.shape}", f"{shown.shape}")
    total = np.zeros(shown.shape[:3], np.uint16)
    for channel in range(3):
        a, b = shown[..., channel], truth[..., channel]
        total += np.maximum(a, b) - np.minimum(a, b)
    steps = np.minimum(255, np.rint(np.arange(3 * 255 + 1) / (3 * ERROR_MAX))).astype(np.uint8)
    return _colors()[steps[total]]


def _colors() -> UInt8[np.ndarray, "256 3"]:
    points = np.array([[int(c[k : k + 2], 16) for k in (1, 3, 5)] for c in ERROR_COLORS], np.float64)
    at = np.linspace(0, len(points) - 1, 256)
    return np.rint(np.stack([np.interp(at, range(len(points)), points[:, c]) for c in range(3)], -1)).astype(np.uint8)
