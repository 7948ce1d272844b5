"""Pictures of truth beside reconstruction."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

GAP = 2  # pixels between pictures
SHOWN = 4  # frames of a clip
MISSING, EXTRA = (220, 60, 40), (60, 110, 230)


def spread(count: int, shown: int = SHOWN) -> list[int]:
    """Some frames of a clip, evenly spread.

    >>> spread(32)
    [0, 8, 16, 24]
    """
    return [k * count // shown for k in range(min(count, shown))]


def sheet(rows: list[list[UInt8[np.ndarray, "h w 3"]]]) -> UInt8[np.ndarray, "H W 3"]:
    """Pictures of one size in rows, grey between them; short rows end in grey."""
    height, width = rows[0][0].shape[:2]
    columns = max(len(row) for row in rows)
    shape = (len(rows) * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3)
    whole = np.full(shape, 128, np.uint8)
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            top, left = GAP + y * (height + GAP), GAP + x * (width + GAP)
            whole[top : top + height, left : left + width] = picture
    return whole


def compare_voxels(
    truth: Bool[np.ndarray, "R R R"], found: Bool[np.ndarray, "R R R"], size: int = 128
) -> tuple[UInt8[np.ndarray, "s s 3"], UInt8[np.ndarray, "s s 3"]]:
    """Both seen from the front, nearer voxels brighter. In the second, red is missing and blue is too much: voxels
    that only one of the two has, anywhere along the line of sight, tint the pixel by their number."""
    zoom = max(1, size // len(truth))
    pictures = []
    for grid in (truth, found):
        front = grid.transpose(2, 0, 1)[::-1]  # rows from high z to low z, columns x, depth y: the front is low y
        depth = np.where(front.any(2), front.argmax(2), len(grid))
        grey = np.where(front.any(2), 255 - 180 * depth // len(grid), 0)
        picture = np.repeat(grey[..., None], 3, axis=2).astype(np.float64)
        if grid is found:
            for color, wrong in ((MISSING, truth & ~found), (EXTRA, found & ~truth)):
                share = np.clip(wrong.transpose(2, 0, 1)[::-1].sum(2) / 3, 0, 1)[..., None]
                picture = (1 - share) * picture + share * np.array(color)
        pictures.append(picture.round().astype(np.uint8).repeat(zoom, axis=0).repeat(zoom, axis=1))
    return pictures[0], pictures[1]


def voxel_sheet(
    clips: Iterable[tuple[Float[Tensor, "F 1 R R R"], Float[Tensor, "F 1 R R R"]]],
) -> UInt8[np.ndarray, "H W 3"]:
    """A row a clip, of its occupancy and logits: a few frames of both, see `compare_voxels`."""
    rows = []
    for truth, logits in clips:
        true, found = ((grid[:, 0] > 0).cpu().numpy() for grid in (truth, logits))
        rows.append([picture for k in spread(len(true)) for picture in compare_voxels(true[k], found[k])])
    return sheet(rows)


def picture_sheet(
    clips: Iterable[tuple[Float[Tensor, "P 3 S S"], Float[Tensor, "P 3 S S"]]], views: int
) -> UInt8[np.ndarray, "H W 3"]:
    """A row a clip, of its true and found pictures, frame by frame and view by view: a few frames by the first view."""
    rows = []
    for truth, found in clips:
        pairs = [image for k in spread(len(truth) // views) for image in (truth[k * views], found[k * views])]
        rows.append([(255 * image).permute(1, 2, 0).cpu().numpy().astype(np.uint8) for image in pairs])
    return sheet(rows)
