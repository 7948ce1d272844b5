"""One object's pictures in the protocol's size, as `Clip` and `Asset4D` hold them: RGBA with straight alpha."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from bench4d.errors import FormatError
from bench4d.render import composite

from .archives import INPUT, NEXT_STEP, OBJECTS, VIEWS, Picture, Sequences

WHITE = (1.0, 1.0, 1.0)


def on_white(rgba: UInt8[np.ndarray, "H W 4"]) -> UInt8[np.ndarray, "H W 3"]:
    """Composited as the renderer does it, with one rounding."""
    premultiplied = rgba[None].astype(np.float32) / 255
    premultiplied[..., :3] *= premultiplied[..., 3:]
    return composite(premultiplied, WHITE)[0][0]


def resized(rgba: UInt8[np.ndarray, "H W 4"], size: int) -> UInt8[np.ndarray, "S S 4"]:
    """RGBA that on white shows, within one grey level, what the official order gives: white first, then the resize.

    Both parts go through Pillow's bicubic filter. Where it overshoots near an edge, a colour can be darker than its
    alpha allows; there alpha is raised to the least that can show it. A picture of the right size stays as it is.
    """
    if rgba.shape[0] != rgba.shape[1]:
        raise FormatError("picture", "a square one", f"{rgba.shape[1]} x {rgba.shape[0]}")
    if rgba.shape[0] == size:
        return rgba
    filter = Image.Resampling.BICUBIC
    shown = np.asarray(Image.fromarray(on_white(rgba)).resize((size, size), filter)).astype(np.float64)
    alpha = np.asarray(Image.fromarray(np.ascontiguousarray(rgba[..., 3])).resize((size, size), filter))
    needed = 255 - shown.min(axis=2).astype(np.uint8)
    alpha = np.maximum(alpha, needed)[..., None]
    color = 255 - 255 * (255 - shown) / np.maximum(alpha, 1)
    straight = np.where(alpha > 0, np.floor(color + 0.5), 0).astype(np.uint8)
    return np.concatenate([straight, alpha], axis=2)


def object_pictures(sequences: Sequences, object_id: str, size: int) -> UInt8[np.ndarray, "V T S S 4"]:
    """The input view, then the four true views."""
    if object_id not in OBJECTS:
        raise FormatError("clip", f"one of {', '.join(OBJECTS)}", repr(object_id))
    views = []
    for view in (INPUT, *VIEWS):
        if (object_id, view) not in sequences:
            known = sorted({v for o, v in sequences if o == object_id})
            place = f"{object_id}/<n>.png" if view == INPUT else f"{object_id}/{view}/<n>.png"
            raise FormatError(f"Consistent4D, {object_id}", place, f"only {known}" if known else "none", NEXT_STEP)
        views.append(np.stack([_in_size(picture, size) for picture in sequences[object_id, view]]))
    return np.stack(views)


def _in_size(picture: Picture, size: int) -> UInt8[np.ndarray, "S S 4"]:
    try:
        return resized(picture.rgba(), size)
    except FormatError as error:
        if error.where != "picture":
            raise
        raise FormatError(str(picture), error.expected, error.found) from None
