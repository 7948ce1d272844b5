"""A contact sheet of a data set, for looking at it: views, voxels from the same cameras, condition frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from PIL import Image

from bench4d.cameras import Cameras
from bench4d.files import write_png

from .features import project
from .store import Batch, Store, check_files, chosen_shards, open_shards, read_index

CELL = 192  # pixels
FRAMES = 4  # of each clip, evenly spread
GREY = 0.92  # behind condition frames, so that their alpha shows


def write_sheet(folder: Path, out: Path, clips: int = 6, first: int = 0) -> None:
    """A PNG with three rows of `FRAMES` pictures a clip."""
    index = read_index(folder)
    wanted, count = range(first, first + clips), 0
    rows: list[np.ndarray] = []
    for shard in chosen_shards(index, None, folder):
        inside = [k - count for k in wanted if count <= k < count + len(shard["clips"])]
        count += len(shard["clips"])
        if inside:
            check_files(folder, [shard])
            store = open_shards(folder, index, [shard], index["tensors"], "cpu")
            rows += [clip_rows(store, k) for k in inside]
    write_png(out, np.concatenate(rows))


def clip_rows(store: Store, clip: int) -> UInt8[np.ndarray, "H W 3"]:
    length = store.lengths[clip]
    times = np.linspace(0, length - 1, FRAMES).round().astype(int)
    frames = [
        store.batch(torch.tensor([clip]), torch.tensor([int(t)]), 1, torch.Generator().manual_seed(0)) for t in times
    ]
    rows = []
    if frames[0].views is not None:
        rows.append([over(frame.views, 1.0) for frame in frames])
        rows.append([cell(draw_voxels(frame, store.config.resolution)) for frame in frames])
    if frames[0].condition is not None:
        rows.append([over(frame.condition, GREY) for frame in frames])
    return np.concatenate([np.concatenate(row, axis=1) for row in rows])


def over(picture: torch.Tensor | None, background: float) -> UInt8[np.ndarray, "C C 3"]:
    """A premultiplied picture [1,S,S,4] over a grey, in a cell."""
    assert picture is not None
    x = picture[0].numpy().astype(np.float64) / 255
    return cell(np.rint(255 * (x[..., :3] + (1 - x[..., 3:]) * background)).astype(np.uint8))


def cell(picture: UInt8[np.ndarray, "S S 3"]) -> UInt8[np.ndarray, "C C 3"]:
    return np.asarray(Image.fromarray(picture).resize((CELL, CELL), Image.Resampling.BOX))


def draw_voxels(batch: Batch, resolution: int) -> UInt8[np.ndarray, "S S 3"]:
    """The first frame's voxels as squares, far ones first, by the camera of its view."""
    assert batch.views is not None and batch.camera_to_world is not None and batch.intrinsics is not None
    size = batch.views.shape[1]
    pose = batch.camera_to_world[:1].double().numpy()
    pose[:, :3, :3] = np.linalg.svd(pose[:, :3, :3])[0] @ np.linalg.svd(pose[:, :3, :3])[2]  # exactly rigid again
    camera = Cameras(pose, batch.intrinsics[:1].double().numpy(), size, size)
    points = project((batch.coords[:, 1:].numpy() + 0.5) / resolution - 0.5, camera)[0]
    picture = np.full((size, size, 3), 255, np.uint8)
    for k in np.argsort(-points[:, 2]):
        x, y, z = points[k]
        half = 0.5 * camera.intrinsics[0, 0, 0] / resolution / z
        left, right, top, bottom = (int(max(round(v), 0)) for v in (x - half, x + half, y - half, y + half))
        picture[top:bottom, left:right] = voxel_color(batch, int(k), resolution)
    return picture


def voxel_color(batch: Batch, k: int, resolution: int) -> Sequence[int] | Float64[np.ndarray, " 3"]:
    """The mean colour of the surface where features hold it, otherwise one by position."""
    if batch.feats is not None and batch.feats.shape[1] == 16:
        return np.clip(127.5 * (batch.feats[k, :3].double().numpy() + 1), 0, 255)
    return (255 * batch.coords[k, 1:].double() / resolution).numpy()
