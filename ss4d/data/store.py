"""`Store`: a data set on one device, and `Batch`: windows of its clips, cut out there by index arithmetic alone.

On disk a data set is a folder: `index.json` and `shard-00000.safetensors` ... with these tensors, clip after clip. A
shard counts from 0 in its own `frame_starts` and `clip_starts`; loading joins shards end to end.

    clip_starts               int64 [C+1]        frames before each clip
    frame_starts              int64 [F+1]        voxels before each frame
    voxels                    uint8 [N,3]        x, y, z of the surface's voxels, in lexicographic order within a frame
    features                  float16 [N,K]      see features.py
    views                     uint8 [F,V,S,S,4]  pictures by other cameras in each frame; premultiplied RGBA
    view_camera_to_world      float32 [F,V,4,4]
    view_intrinsics           float32 [F,V,3,3]
    condition                 uint8 [F,Q,S',S',4]  pictures for the image encoder, cropped; premultiplied RGBA
    condition_camera_to_world float32 [C,Q,4,4]
    condition_intrinsics      float32 [C,Q,3,3]  of the cropped picture
    structure_latents         float16 [F,L,r,r,r]  in encoded data sets (encode.py), as
    latents                   float16 [N,L]      those of `voxels`; neither is normalised

Colours are premultiplied because that composites on any background with one multiplication.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float16, Float32, Int32, Int64, UInt8
from safetensors import SafetensorError, safe_open
from torch import Tensor

from bench4d.errors import FormatError
from bench4d.files import read_json, sha256_file

from .config import DataConfig, strict

VERSION = 1
PARTS: dict[str, tuple[str, ...]] = {  # what may be asked for -> its tensors
    "features": ("features",),
    "views": ("views", "view_camera_to_world", "view_intrinsics"),
    "condition": ("condition", "condition_camera_to_world", "condition_intrinsics"),
    "structure_latents": ("structure_latents",),
    "latents": ("latents",),
}
STRUCTURE = ("voxels", "frame_starts", "clip_starts")  # always read
FORM: dict[str, tuple[torch.dtype, str, int]] = {  # tensor -> type, what its rows are, number of axes
    "clip_starts": (torch.int64, "clips + 1", 1),
    "frame_starts": (torch.int64, "frames + 1", 1),
    "voxels": (torch.uint8, "voxels", 2),
    "features": (torch.float16, "voxels", 2),
    "views": (torch.uint8, "frames", 5),
    "view_camera_to_world": (torch.float32, "frames", 4),
    "view_intrinsics": (torch.float32, "frames", 4),
    "condition": (torch.uint8, "frames", 5),
    "condition_camera_to_world": (torch.float32, "clips", 4),
    "condition_intrinsics": (torch.float32, "clips", 4),
    "structure_latents": (torch.float16, "frames", 5),
    "latents": (torch.float16, "voxels", 2),
}
READERS = 8  # threads that check files

Generators = torch.Generator | Sequence[torch.Generator] | None


@dataclass(frozen=True)
class Batch:
    """B clips of T frames: F = B T slots, slot = b T + t. What the store did not read is None.

    Attributes:
        n_frames: T.
        slots: F.
        coords: (slot, x, y, z), slots ascending.
        feats: of each voxel.
        views: one view a frame, premultiplied; [F,V,S,S,4] and so on if all views were asked for.
        camera_to_world, intrinsics: of `views`.
        condition: one condition camera a clip, premultiplied.
        latents, structure_latents: of encoded data sets.
    """

    n_frames: int
    slots: int
    coords: Int32[Tensor, "N 4"]
    feats: Float16[Tensor, "N K"] | None = None
    views: UInt8[Tensor, "F *V S S 4"] | None = None
    camera_to_world: Float32[Tensor, "F *V 4 4"] | None = None
    intrinsics: Float32[Tensor, "F *V 3 3"] | None = None
    condition: UInt8[Tensor, "F Z Z 4"] | None = None
    latents: Float16[Tensor, "N L"] | None = None
    structure_latents: Float16[Tensor, "F L r r r"] | None = None

    def occupancy(self, resolution: int) -> Float32[Tensor, "F 1 R R R"]:
        """1 in the voxels of the surface, 0 elsewhere. The coordinates have to lie below `resolution`."""
        grid = torch.zeros((self.slots, 1, *[resolution] * 3), device=self.coords.device)
        slot, x, y, z = self.coords.long().unbind(1)
        grid.view(-1).index_fill_(0, ((slot * resolution + x) * resolution + y) * resolution + z, 1.0)
        return grid


@dataclass(frozen=True)
class Store:
    """A data set on one device.

    Attributes:
        config: the data section it was made with.
        ids, sources: of the clips: "walker-21", "synth4d".
        tensors: name -> tensor, as in the table above, joined over shards.
        normalisation: of encoded data sets: {"mean": [L], "std": [L]} of the structured latents.
        frames_before, voxels_before: `clip_starts` and `frame_starts` on the CPU, so that sizes need no round trip.
    """

    config: DataConfig
    ids: tuple[str, ...]
    sources: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    normalisation: Mapping[str, tuple[float, ...]] | None = None
    frames_before: Int64[Tensor, " C1"] = field(init=False)
    voxels_before: Int64[Tensor, " F1"] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "frames_before", self.tensors["clip_starts"].cpu())
        object.__setattr__(self, "voxels_before", self.tensors["frame_starts"].cpu())
        if len(self.ids) + 1 != len(self.frames_before):
            raise FormatError("Store", f"{len(self.frames_before) - 1} clips as in clip_starts", f"{len(self.ids)} ids")

    @staticmethod
    def read(
        folder: Path, device: torch.device | str = "cpu", only: str | None = None, parts: Collection[str] | None = None
    ) -> Store:
        """A data set, each file checked against its sha256 before use.

        Args:
            folder: with `index.json`.
            only: the name of a split; None for all shards.
            parts: which of `PARTS` to read, None for all there are. Voxels are always read.
        """
        index = read_index(folder)
        shards = chosen_shards(index, only, folder)
        names = wanted_tensors(index, parts, folder)
        check_files(folder, shards)
        return open_shards(folder, index, shards, names, device)

    def __len__(self) -> int:
        """Clips."""
        return len(self.ids)

    @property
    def device(self) -> torch.device:
        return self.tensors["voxels"].device

    @property
    def lengths(self) -> list[int]:
        """Frames of each clip."""
        return self.frames_before.diff().tolist()

    def batch(
        self,
        clips: Int64[Tensor, " B"],
        starts: Int64[Tensor, " B"],
        n_frames: int,
        generator: Generators = None,
        all_views: bool = False,
    ) -> Batch:
        """Frames starts[b] to starts[b] + n_frames - 1 of clips[b], on the store's device.

        Args:
            clips, starts: on the CPU (elsewhere they cost a round trip).
            generator: draws which view of each frame and which condition camera of each clip; on any device.
                One generator for each clip makes what a clip gets independent of the others.
            all_views: give every view of each frame instead of one.
        """
        clips, starts = clips.cpu(), starts.cpu()
        self._check_windows(clips, starts, n_frames)
        frames = (self.frames_before[clips] + starts)[:, None] + torch.arange(n_frames)  # [B,T]
        frames = frames.flatten()  # [F]
        counts = self.voxels_before[frames + 1] - self.voxels_before[frames]
        total, slots = int(counts.sum()), len(frames)
        shift = self.voxels_before[frames] - (counts.cumsum(0) - counts)  # row in the store - row in the batch
        here = torch.stack([counts, shift, frames]).to(self.device, non_blocking=True)
        counts, shift, frames = here.unbind(0)
        slot = torch.arange(slots, device=self.device).repeat_interleave(counts, output_size=total)
        rows = torch.arange(total, device=self.device) + shift[slot]
        coords = torch.cat([slot[:, None].int(), self.tensors["voxels"][rows].int()], dim=1)
        taken = {name: self.tensors.get(name) for name in ("features", "latents", "structure_latents")}
        return Batch(
            n_frames,
            slots,
            coords,
            feats=taken["features"][rows] if taken["features"] is not None else None,
            latents=taken["latents"][rows] if taken["latents"] is not None else None,
            structure_latents=taken["structure_latents"][frames] if taken["structure_latents"] is not None else None,
            condition=self._condition(frames, len(clips), generator),
            **self._views(frames, generator, all_views),
        )

    def _views(self, frames: Tensor, generator: Generators, all_views: bool) -> dict[str, Tensor]:
        """`views` and their cameras of these frames."""
        named = zip(("views", "camera_to_world", "intrinsics"), PARTS["views"], strict=True)
        held = {name: self.tensors[tensor] for name, tensor in named if tensor in self.tensors}
        held = {name: tensor for name, tensor in held.items() if tensor.shape[1]}
        if all_views or not held:
            return {name: tensor[frames] for name, tensor in held.items()}
        which = _draw(held["views"].shape[1], len(frames), generator).to(self.device, non_blocking=True)
        return {name: tensor[frames, which] for name, tensor in held.items()}

    def _condition(self, frames: Tensor, clips: int, generator: Generators) -> Tensor | None:
        if "condition" not in self.tensors or not self.tensors["condition"].shape[1]:
            return None
        condition = self.tensors["condition"]
        which = _draw(condition.shape[1], clips, generator).to(self.device, non_blocking=True)
        return condition[frames, which.repeat_interleave(len(frames) // clips)]

    def _check_windows(self, clips: Tensor, starts: Tensor, n_frames: int) -> None:
        if clips.ndim != 1 or clips.shape != starts.shape or not len(clips) or n_frames < 1:
            found = f"{list(clips.shape)}, {list(starts.shape)}, {n_frames} frames"
            raise FormatError("clips, starts", "as many clips as starts, and at least one frame", found)
        if int(clips.min()) < 0 or int(clips.max()) >= len(self):
            raise FormatError("clips", f"numbers from 0 to {len(self) - 1}", f"{clips.min()} to {clips.max()}")
        room = self.frames_before.diff()[clips] - n_frames
        if bool((starts < 0).any()) or bool((starts > room).any()):
            b = int(((starts < 0) | (starts > room)).nonzero()[0])
            found = (
                f"{n_frames} frames from {int(starts[b])} in {self.ids[int(clips[b])]}, {int(room[b]) + n_frames} long"
            )
            raise FormatError("starts", "windows inside their clips", found)


def _draw(count: int, size: int, generator: Generators) -> Tensor:
    """`size` numbers below `count`, on the generator's device; of several generators each draws as many."""
    if isinstance(generator, Sequence):
        return torch.cat([_draw(count, size // len(generator), one) for one in generator])
    return torch.randint(count, (size,), generator=generator, device=generator.device if generator else "cpu")


# ---- reading ---------------------------------------------------------------------------------------------------------


def read_index(folder: Path) -> dict[str, Any]:
    """`index.json`, its form checked. Raises FormatError."""
    path = folder / "index.json"
    if not path.is_file():
        raise FormatError(path, "the index of a data set", "no such file", "Was `python -m ss4d.data build` finished?")
    index = read_json(path)
    keys = {"version", "config", "config_sha256", "tensors", "shards", "splits", "normalisation", "made_from"}
    if not isinstance(index, dict) or set(index) != keys or index["version"] != VERSION:
        raise FormatError(path, f"version {VERSION} with the keys {sorted(keys)}", f"{index!r:.120}")
    for shard in index["shards"]:
        if set(shard) != {"file", "sha256", "clips"} or "/" in shard["file"] or "\\" in shard["file"]:
            raise FormatError(path, "shards with file (no folder), sha256 and clips", f"{shard!r:.120}")
    if unknown := sorted(set(index["tensors"]) - set(FORM)):
        raise FormatError(path, f"tensors among {sorted(FORM)}", f"{unknown}")
    return index


def chosen_shards(index: Mapping[str, Any], only: str | None, folder: Path) -> list[dict[str, Any]]:
    """The shards of a split, or all."""
    if only is None:
        return list(index["shards"])
    if only not in index["splits"]:
        raise FormatError(folder, f"a split {only!r}", f"the splits {sorted(index['splits'])}")
    files = set(index["splits"][only])
    return [shard for shard in index["shards"] if shard["file"] in files]


def wanted_tensors(index: Mapping[str, Any], parts: Collection[str] | None, folder: Path) -> list[str]:
    if parts is None:
        return list(index["tensors"])
    if unknown := sorted(set(parts) - set(PARTS) - {"voxels"}):
        raise FormatError("parts", f"names among voxels, {', '.join(PARTS)}", f"{unknown}")
    names = [*STRUCTURE, *(name for part in PARTS if part in parts for name in PARTS[part])]
    if missing := [name for name in names if name not in index["tensors"]]:
        raise FormatError(folder, f"a data set with {', '.join(missing)}", f"only {', '.join(index['tensors'])}")
    return names


def check_files(folder: Path, shards: Collection[Mapping[str, Any]]) -> None:
    """Raise FormatError unless every shard has the sha256 that the index says."""

    def check(shard: Mapping[str, Any]) -> None:
        path = folder / shard["file"]
        if not path.is_file():
            raise FormatError(path, "a shard of the data set", "no such file", "Run the build again: it is resumed.")
        if (found := sha256_file(path)) != shard["sha256"]:
            raise FormatError(path, f"sha256 {shard['sha256']}", found, "The file is damaged: run the build again.")

    with ThreadPoolExecutor(READERS) as pool:
        for _ in pool.map(check, shards):
            pass


def open_shards(
    folder: Path,
    index: Mapping[str, Any],
    shards: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    device: torch.device | str,
) -> Store:
    """These tensors of these shards, whose files have been checked."""
    clips = [clip for shard in shards for clip in shard["clips"]]
    mean_std = index["normalisation"]
    return Store(
        strict(DataConfig, index["config"], f"{folder}/index.json: config"),
        tuple(clip["id"] for clip in clips),
        tuple(clip["source"] for clip in clips),
        _join(folder, shards, names, torch.device(device)),
        {key: tuple(value) for key, value in mean_std.items()} if mean_std else None,
    )


def _join(
    folder: Path, shards: Sequence[Mapping[str, Any]], names: Sequence[str], device: torch.device
) -> dict[str, Tensor]:
    """The tensors of all shards end to end. Each is allocated once: memory is that of the data set."""
    if not shards:
        raise FormatError(folder, "at least one shard", "none")
    counts = [_counts(shard) for shard in shards]
    forms = {name: _form(folder, shards, counts, name) for name in names}
    whole = {name: torch.empty(shape, dtype=FORM[name][0], device=device) for name, shape in forms.items()}
    done = dict.fromkeys(("clips", "frames", "voxels"), 0)
    for shard, count in zip(shards, counts, strict=True):
        with safe_open(folder / shard["file"], "pt") as file:
            for name, tensor in whole.items():
                _, rows, _ = FORM[name]
                unit, extra = rows.removesuffix(" + 1"), rows.endswith(" + 1")
                part = file.get_tensor(name)
                if extra:
                    _check_starts(folder / shard["file"], name, part, count)
                    part = part + done["frames" if unit == "clips" else "voxels"]
                tensor[done[unit] : done[unit] + len(part)].copy_(part)
        done = {unit: done[unit] + count[unit] for unit in done}
    return whole


def _counts(shard: Mapping[str, Any]) -> dict[str, int]:
    """Clips, frames and voxels of a shard, as the index says."""
    clips = shard["clips"]
    frames, voxels = (sum(int(clip[key]) for clip in clips) for key in ("n_frames", "n_voxels"))
    return {"clips": len(clips), "frames": frames, "voxels": voxels}


def _form(folder: Path, shards: Sequence[Mapping[str, Any]], counts: list[dict[str, int]], name: str) -> list[int]:
    """The shape of a joined tensor; every shard has to agree on it and with the index."""
    dtype, rows, axes = FORM[name]
    unit, extra = rows.removesuffix(" + 1"), int(rows.endswith(" + 1"))
    rest: list[int] | None = None
    for shard, count in zip(shards, counts, strict=True):
        path = folder / shard["file"]
        try:
            with safe_open(path, "pt") as file:
                part = file.get_slice(name)
                shape, kind = list(part.get_shape()), part.get_dtype()
        except SafetensorError as error:
            raise FormatError(path, f"a tensor {name}", str(error)) from None
        rest = shape[1:] if rest is None else rest
        if shape[1:] != rest or len(shape) != axes or shape[0] != count[unit] + extra or kind != DTYPES[dtype]:
            expected = f"{name} {DTYPES[dtype]} with {count[unit] + extra} rows of {rest}"
            raise FormatError(path, expected, f"{kind} {shape}")
    return [sum(count[unit] for count in counts) + extra, *(rest or [])]


DTYPES = {torch.int64: "I64", torch.uint8: "U8", torch.float16: "F16", torch.float32: "F32"}  # safetensors' names


def _check_starts(path: Path, name: str, starts: Tensor, count: Mapping[str, int]) -> None:
    end = count["frames" if name == "clip_starts" else "voxels"]
    if int(starts[0]) != 0 or int(starts[-1]) != end or bool((starts.diff() < 0).any()):
        raise FormatError(path, f"{name} rising from 0 to {end}", f"{starts[:3].tolist()} ... {starts[-1:].tolist()}")
