"""Frames of a clip as the networks want them: one square crop for all, at the image encoder's size, on black."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from bench4d.errors import FormatError

SIDE = 518  # of DINOv2's pictures: 37 patches of 14 pixels
MARGIN = 1.2  # side of the crop / longer side of what is visible


def preprocess(frames: Sequence[Image.Image], side: int = SIDE) -> list[Image.Image]:
    """RGBA frames of one size -> RGB frames of `side` x `side`, cropped with one box around what is visible in any."""
    box = crop_box(frames)
    return [_on_black(frame.crop(box).resize((side, side), Image.Resampling.LANCZOS)) for frame in frames]


def crop_box(frames: Sequence[Image.Image]) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) in pixels of the square around all visible pixels of all frames; may leave the image.

    The right- and bottommost visible pixels count as edges themselves, without adding one.
    """
    check_frames(frames)
    visible = np.zeros((frames[0].height, frames[0].width), bool)
    for frame in frames:
        visible |= np.asarray(frame.getchannel("A")) != 0
    y, x = visible.nonzero()
    if not len(x):
        raise FormatError("frames", "something visible", f"alpha 0 everywhere in all {len(frames)} frames")
    x0, x1, y0, y1 = int(x.min()), int(x.max()), int(y.min()), int(y.max())
    centre_x, centre_y = (x0 + x1) / 2, (y0 + y1) / 2
    half = max(x1 - x0, y1 - y0) / 2 * MARGIN
    if half == 0:
        raise FormatError("frames", "an object of several pixels", f"one visible pixel, ({x0}, {y0}), in all frames")
    return int(centre_x - half), int(centre_y - half), int(centre_x + half), int(centre_y + half)


def check_frames(frames: Sequence[Image.Image]) -> None:
    """Raise FormatError unless there are frames, all RGBA and all of one size."""
    if not frames:
        raise FormatError("frames", "at least one image", "none")
    for i, frame in enumerate(frames):
        if frame.mode != "RGBA":
            next_step = "Cut the object out first; the alpha channel says what belongs to it."
            raise FormatError(f"frame {i}", "RGBA", f"{frame.mode}", next_step)
        if frame.size != frames[0].size:
            sizes = [f"{width} x {height}" for width, height in (frames[0].size, frame.size)]
            raise FormatError(f"frame {i}", f"the size of frame 0, {sizes[0]}", sizes[1])


def _on_black(frame: Image.Image) -> Image.Image:
    """Composite on black; fractions of a grey level are cut off."""
    pixels = np.asarray(frame).astype(np.float32) / 255
    return Image.fromarray((pixels[..., :3] * pixels[..., 3:] * 255).astype(np.uint8))
