"""Is a data set what its index says? Shard after shard, so that memory is that of one shard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from bench4d.errors import FormatError

from .config import DataConfig, strict
from .store import Store, check_files, open_shards, read_index

UNIT = 1e-4  # tolerance of a rotation in float32


def shards_of(folder: Path) -> Iterator[tuple[Path, Store]]:
    """Each shard's file and content, its sha256 checked."""
    index = read_index(folder)
    for shard in index["shards"]:
        check_files(folder, [shard])
        yield folder / shard["file"], open_shards(folder, index, [shard], index["tensors"], "cpu")


def verify(folder: Path) -> dict[str, Any]:
    """Read everything and check it. Returns what `describe` does. Raises FormatError at the first fault."""
    index = read_index(folder)
    config = strict(DataConfig, index["config"], f"{folder}/index.json: config")
    if config.sha256 != index["config_sha256"]:
        raise FormatError(folder / "index.json", f"config_sha256 {config.sha256}", index["config_sha256"])
    files = [shard["file"] for shard in index["shards"]]
    listed = [file for split in index["splits"].values() for file in split]
    if sorted(listed) != sorted(files) or len(set(files)) != len(files):
        raise FormatError(
            folder / "index.json", "each shard in one split", f"{len(files)} shards, {len(listed)} listed"
        )
    ids = [clip["id"] for shard in index["shards"] for clip in shard["clips"]]
    if repeated := [name for name, count in Counter(ids).items() if count > 1]:
        raise FormatError(folder / "index.json", "each clip once", f"several times: {repeated[:3]}")
    for path, store in shards_of(folder):
        check_content(path, store)
    return describe(folder)


def check_content(path: Path, store: Store) -> None:
    """Voxels in the grid, in order and each once; floats finite; poses rigid; colours at most their alpha."""
    held, size = store.tensors, store.config.resolution
    voxels, starts = held["voxels"].long(), store.voxels_before
    if int(voxels.max()) >= size:
        raise FormatError(path, f"voxels below {size}", f"{int(voxels.max())}")
    frame = torch.arange(len(starts) - 1).repeat_interleave(starts.diff())
    key = ((frame * size + voxels[:, 0]) * size + voxels[:, 1]) * size + voxels[:, 2]
    if bool((key.diff() <= 0).any()):
        raise FormatError(path, "voxels of a frame in lexicographic order, each once", "another order")
    for name, tensor in held.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise FormatError(path, f"finite numbers in {name}", "NaN or infinity")
    for name in ("view_camera_to_world", "condition_camera_to_world"):
        if name in held:
            turn = held[name][..., :3, :3]
            if bool(((turn @ turn.transpose(-1, -2) - torch.eye(3)).abs() > UNIT).any()):
                raise FormatError(path, f"rigid poses in {name}", "another matrix")
    for name in ("views", "condition"):
        if name in held and bool((held[name][..., :3] > held[name][..., 3:]).any()):
            raise FormatError(path, f"premultiplied colours in {name}", "a colour above its alpha")


def describe(folder: Path) -> dict[str, Any]:
    """Counts and sizes, from the index and the files' sizes alone."""
    index = read_index(folder)
    clips = [clip for shard in index["shards"] for clip in shard["clips"]]
    frames, voxels = (sum(clip[key] for clip in clips) for key in ("n_frames", "n_voxels"))
    size = sum((folder / shard["file"]).stat().st_size for shard in index["shards"])
    return {
        "clips": len(clips),
        "frames": frames,
        "voxels": voxels,
        "voxels_per_frame": round(voxels / max(frames, 1), 1),
        "bytes": size,
        "bytes_per_clip": round(size / max(len(clips), 1)),
        "shards": len(index["shards"]),
        "splits": {name: len(files) for name, files in index["splits"].items()},
        "sources": dict(Counter(clip["source"] for clip in clips)),
        "tensors": index["tensors"],
        "config_sha256": index["config_sha256"],
        "made_from": index["made_from"],
    }
