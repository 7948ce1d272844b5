"""A user's clips: found in a folder, cut to one square around the object, as many frames as the protocol asks for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from bench4d.clip import checked_id
from bench4d.errors import FormatError
from bench4d.renders import has_pictures
from bench4d.video import FILMS, Video, read_video, resample

RADIUS, FOV_Y = 2.0, 40.0  # where methods put the camera of a clip without one
# The object's longer side over the picture's: as large as one unit at the origin, seen from there.
SHARE = 1 / (2 * RADIUS * np.tan(np.radians(FOV_Y / 2)))
COVERED = 8  # less alpha is a film's noise
ALPHA = "Cut the object out first (the package rembg does), and give RGBA pictures or a film with alpha (VP9 in WebM)."


def find_clips(folder: Path) -> dict[str, Path]:
    """Clip id -> folder of pictures or film: `folder` itself, or all that lie in it. Raises FormatError."""
    if folder.is_file() or has_pictures(folder):
        places = [folder]
    elif folder.is_dir():
        places = [p for p in sorted(folder.iterdir()) if has_pictures(p) or p.suffix.lower() in (".gif", *FILMS)]
    else:
        raise FormatError(folder, "a folder of clips, or one clip", "nothing there")
    found: dict[str, Path] = {}
    for place in places:
        name = checked_id(place.name if place.is_dir() else place.stem, place)
        if name in found:
            raise FormatError(place, "one clip of that name", f"also {found[name]}", "Rename one of them.")
        found[name] = place
    if not found:
        raise FormatError(folder, f"folders of pictures, or films {('.gif', *FILMS)}", "neither")
    return found


def read_clip(path: Path) -> Video:
    """All its frames, RGBA. Raises FormatError where nothing tells the object from its background."""
    video = read_video(path)
    if not video.has_alpha:
        raise FormatError(path, "an object that is cut out: pictures with alpha", "no alpha", ALPHA)
    return video


def prepared(path: Path, count: int, size: int) -> UInt8[np.ndarray, "T S S 4"]:
    """`count` frames, evenly spread over the clip, in one square that holds the object at all times."""
    frames = resample(read_clip(path), count).frames
    covered = np.any(frames[..., 3] >= COVERED, axis=0)
    if not covered.any():
        raise FormatError(path, "an object", "transparent frames")
    rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
    (left, right), (top, bottom) = ((places[0], places[-1] + 1) for places in (columns, rows))
    side = max(1, round(max(right - left, bottom - top) / SHARE))
    corner = round((left + right - side) / 2), round((top + bottom - side) / 2)
    return np.stack([_cut(frame, corner, side, size) for frame in frames])


def _cut(
    frame: UInt8[np.ndarray, "H W 4"], corner: tuple[int, int], side: int, size: int
) -> UInt8[np.ndarray, "S S 4"]:
    """Straight alpha in and out; colours count by their alpha in between. What lies outside is transparent.

    Bilinear: it does not overshoot, so that no colour is brighter than its film."""
    x, y = corner
    image = Image.fromarray(frame).crop((x, y, x + side, y + side))
    return np.array(image.convert("RGBa").resize((size, size), Image.Resampling.BILINEAR).convert("RGBA"))
