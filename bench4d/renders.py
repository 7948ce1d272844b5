"""Images that somebody else rendered, as a `View`: pictures or a film, with alpha or without."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from .errors import FormatError
from .metric import View
from .render import composite
from .video import FILMS, PICTURES, Video, read_video

Color = tuple[float, float, float]
FORMS = (
    f"a folder of pictures, a folder rgb/ of pictures (and beside it alpha/), or a film {', '.join(('.gif', *FILMS))}"
)


@dataclass(frozen=True)
class Shown:
    """`view.alpha` is 255 everywhere if the images have no alpha (`has_alpha` False)."""

    view: View
    has_alpha: bool


def candidates(place: Path) -> list[Path]:
    """What can hold the images called `place`: that folder, and films of that name."""
    found = [place] if place.is_dir() and (has_pictures(place) or has_pictures(place / "rgb")) else []
    return found + [p for p in (place.with_name(place.name + suffix) for suffix in (".gif", *FILMS)) if p.is_file()]


def find_images(place: Path) -> Path | None:
    """What holds the images called `place`; None if nothing does. Raises FormatError if several do."""
    found = candidates(place)
    if len(found) > 1:
        raise FormatError(place, "one source of its images", " and ".join(p.name for p in found), "Remove the others.")
    return found[0] if found else None


def is_lossy(path: Path) -> bool:
    """Whether a film, or a folder with a JPEG: such images are not what was rendered, as a rule."""
    if path.is_file():
        return True
    folders = [path, path / "rgb"]
    return any(p.suffix.lower() in (".jpg", ".jpeg") for f in folders if f.is_dir() for p in f.iterdir())


def has_pictures(folder: Path) -> bool:
    return folder.is_dir() and any(p.suffix.lower() in PICTURES for p in folder.iterdir())


def read_images(path: Path, background: Color) -> Shown:
    """The frames of a film or folder (see `FORMS`). What has alpha is laid on `background` (sRGB in [0, 1]).

    Raises FormatError. Frames without alpha, and those in `rgb/`, are taken as they are: already on the background.
    """
    if path.is_dir() and has_pictures(path / "rgb"):
        if not has_pictures(path / "alpha"):
            return read_images(path / "rgb", background)
        rgb, alpha = read_video(path / "rgb").frames, read_video(path / "alpha").frames
        if rgb.shape[3] != 3 or rgb.shape[:3] != alpha.shape[:3] or alpha.shape[3] != 3:
            found = f"{list(rgb.shape)} and {list(alpha.shape)}"
            raise FormatError(path, "rgb/ without alpha, and as many grey pictures of that size in alpha/", found)
        return Shown(View(rgb, np.ascontiguousarray(alpha[..., 0])), True)
    video = read_video(path)
    if video.has_alpha:
        return Shown(on_background(video, background), True)
    rgb = np.ascontiguousarray(video.frames[..., :3])
    return Shown(View(rgb, np.full(rgb.shape[:3], 255, np.uint8)), False)


def on_background(video: Video, background: Color) -> View:
    """RGBA with straight alpha, composited as the renderer does it."""
    shape = video.frames.shape[:3]
    rgb: UInt8[np.ndarray, "T H W 3"] = np.empty((*shape, 3), np.uint8)
    alpha: UInt8[np.ndarray, "T H W"] = np.empty(shape, np.uint8)
    for k, frame in enumerate(video.frames):  # one at a time: floats take four times the memory
        image = frame[None].astype(np.float32) / 255
        image[..., :3] *= image[..., 3:]
        rgb[k : k + 1], alpha[k : k + 1] = composite(image, background)
    return View(rgb, alpha)
