"""A folder in Consistent4D's scoring layout, made of arithmetic: the same bytes on every machine.

Imported by the recording script too, which runs in another environment: numpy and Pillow only.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

OBJECTS = ("trump", "skull")
VIEWS = ("eval_0", "eval_1", "eval_2", "eval_3")
FRAMES = {"gt": 4, "pred": 3}  # the prediction is shorter
SIZE = {"gt": 96, "pred": 80}
DARKEST = {"trump": 0, "skull": 40}  # the range that torchmetrics infers depends on it


def picture(part: str, object_id: str, view: int, frame: int) -> np.ndarray:
    """uint8 [H,W,3]: a coloured disc on white, moved and recoloured in the prediction."""
    size = SIZE[part]
    y, x = np.mgrid[:size, :size] * 960 // size  # whole numbers: no rounding differs anywhere
    shift = 24 if part == "pred" else 0
    centre = 400 + 30 * frame + shift, 480 - 20 * view
    inside = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < 250**2
    low = DARKEST[object_id] + (10 if part == "pred" else 0)
    waves = np.stack([(x * (3 + c) + y * (2 + view) + 40 * frame) // 8 % (230 - low) + low for c in range(3)], axis=2)
    return np.where(inside[..., None], waves, 255).astype(np.uint8)


def write_folder(root: Path) -> None:
    """`root`/gt and `root`/pred."""
    for part, frames in FRAMES.items():
        for object_id in OBJECTS:
            for v, view in enumerate(VIEWS):
                folder = root / part / object_id / view
                folder.mkdir(parents=True)
                for frame in range(frames):
                    Image.fromarray(picture(part, object_id, v, frame)).save(folder / f"{frame}.png")
