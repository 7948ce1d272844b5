"""The on-disk form of `Asset4D`: `asset.json` and one packed `frames.safetensors` (or PNG sequences for views).

A tensor `X` of the packed file is either shared by all frames, or holds the frames one after another along axis 0;
then `X.offsets` (int64 [T+1]) says where each frame begins. Meshes have `vertices`, `faces` and `colors`, or `uv` and
`texture`; Gaussians have `means`, `scales`, `quaternions`, `opacities`, `sh`. Floats are stored as float32 or float16.
Reading is lazy: one frame is in memory at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, overload

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from .asset import Asset4D, Frame, Gaussians, Mesh, Views
from .cameras import Cameras
from .clip import MAX_FRAMES
from .errors import FormatError, within
from .files import atomic, check_pixels, inside, read_json, read_png, write_json, write_png

FIELDS = {
    "mesh": ("vertices", "faces", "colors", "uv", "texture"),
    "gaussians": ("means", "scales", "quaternions", "opacities", "sh"),
}
OPTIONAL = {"colors", "uv", "texture"}
STORED_TYPES = {"F32": np.float32, "F16": np.float32, "I32": np.int32, "U8": np.uint8}  # on disk -> in memory
MAX_ASSET_BYTES = 64 * 2**30
MAX_HEADER_BYTES = 2**20  # of the packed file; ours have less than 2 KiB
MAX_FRAME_BYTES = 4 * 2**30


def write_asset(asset: Asset4D, folder: Path) -> None:
    """Write `asset.json` last, so that its presence means the rest is complete."""
    data: str | None = None
    if asset.kind == "views":
        for k, frame in enumerate(cast(Sequence[Views], asset.frames)):
            for v, image in enumerate(frame):
                write_png(folder / "views" / str(v) / f"{k:04d}.png", image)
    else:
        data = "frames.safetensors"
        with atomic(folder / data) as temporary:
            save_file(_pack(cast(Sequence[Frame], asset.frames), FIELDS[asset.kind]), temporary)
    description: dict[str, Any] = {
        "version": 1,
        "kind": asset.kind,
        "times": asset.times.tolist(),
        "data": data,
        "input_camera": asset.input_camera.to_json() if asset.input_camera else None,
        "cameras": asset.cameras.to_json() if asset.cameras else None,
    }
    if asset.kind == "gaussians":
        first = cast(Gaussians, asset.frames[0])
        description["gaussians"] = {"dilation": first.dilation, "compensate": first.compensate}
    write_json(folder / "asset.json", description)


def _pack(frames: Sequence[Frame], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Concatenate each field over the frames; a field whose array is the same in all frames is stored once."""
    packed: dict[str, np.ndarray] = {}
    for name in names:
        arrays = [getattr(frame, name) for frame in frames]
        missing = [array is None for array in arrays]
        if all(missing):
            continue
        if any(missing):
            raise FormatError("Asset4D", f"{name} in every frame or in none", f"frame {missing.index(True)} lacks it")
        if all(a is arrays[0] or np.array_equal(a, arrays[0]) for a in arrays[1:]):
            packed[name] = np.ascontiguousarray(arrays[0])
        else:
            packed[name] = np.concatenate(arrays)
            packed[f"{name}.offsets"] = np.cumsum([0, *map(len, arrays)], dtype=np.int64)
    return packed


def read_asset(folder: Path) -> Asset4D:
    """Read strictly and lazily: the description at once, each frame's arrays when it is asked for.

    Nothing outside `folder` is reached: file names are fixed, and links that lead out of it are refused.
    """
    where = inside(folder, folder / "asset.json")
    data = read_json(where)
    keys = {"version", "kind", "times", "data", "input_camera", "cameras"}
    if not isinstance(data, dict) or not keys <= set(data) <= keys | {"gaussians"} or data["version"] != 1:
        raise FormatError(where, f"version 1 with the keys {sorted(keys)}", f"{data!r:.120}")
    kind, times = data["kind"], data["times"]
    if kind not in ("mesh", "gaussians", "views"):
        raise FormatError(where, 'kind "mesh", "gaussians" or "views"', repr(kind)[:80])
    if not isinstance(times, list) or not 1 <= len(times) <= MAX_FRAMES:
        raise FormatError(where, f"a list of 1 to {MAX_FRAMES} times", f"{times!r:.80}")
    if any(isinstance(t, bool) or not isinstance(t, int | float) for t in times):
        raise FormatError(where, "numbers as times", f"{times!r:.80}")
    input_camera, cameras = (
        Cameras.from_json(data[k], f"{where}: {k}") if data[k] else None for k in ("input_camera", "cameras")
    )
    frames: Sequence[Any]
    if kind == "views":
        if cameras is None:
            raise FormatError(where, 'cameras for kind "views"', "null")
        frames = ViewFolder(folder / "views", len(times), cameras)
    else:
        if data["data"] != "frames.safetensors":  # a fixed name: nothing outside the folder can be reached
            raise FormatError(where, '"data": "frames.safetensors"', repr(data["data"])[:80])
        frames = PackedFrames(folder / "frames.safetensors", len(times), kind, _filter_of(data, where))
    with within(where):
        return Asset4D(kind, np.array(times, np.float64), frames, input_camera, cameras)


def _filter_of(data: dict[str, Any], where: Path) -> dict[str, Any]:
    """The Gaussians' screen-space filter; declared, never assumed."""
    if data["kind"] != "gaussians":
        return {}
    options = data.get("gaussians")
    if not isinstance(options, dict) or set(options) != {"dilation", "compensate"}:
        raise FormatError(where, '"gaussians": {"dilation": ..., "compensate": ...}', f"{options!r:.80}")
    if (
        isinstance(options["dilation"], bool)
        or not isinstance(options["dilation"], int | float)
        or not isinstance(options["compensate"], bool)
    ):
        raise FormatError(where, "a number as dilation and true or false as compensate", f"{options!r:.80}")
    return {"dilation": float(options["dilation"]), "compensate": options["compensate"]}


@dataclass(frozen=True)
class PackedFrames(Sequence[Frame]):
    """The frames of a packed file, read one by one."""

    path: Path
    n_frames: int
    kind: str
    options: dict[str, Any]
    offsets: dict[str, np.ndarray] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._check_file()
        with self._open() as file:
            names = set(file.keys())
            expected = set(FIELDS[self.kind])
            tensors = {n for n in names if not n.endswith(".offsets")}
            if not expected - OPTIONAL <= tensors <= expected or names - tensors - {f"{n}.offsets" for n in tensors}:
                raise FormatError(self.path, f"the tensors {sorted(expected)} (+ .offsets)", f"{sorted(names)[:12]}")
            for name in tensors:
                part = file.get_slice(name)
                if part.get_dtype() not in STORED_TYPES or not part.get_shape():
                    found = f"{part.get_dtype()} {part.get_shape()}"
                    raise FormatError(self.path, f"{name} as one of {sorted(STORED_TYPES)}, with axes", found)
                if f"{name}.offsets" in names:
                    self.offsets[name] = self._checked_offsets(file, name, part.get_shape()[0])

    def _check_file(self) -> None:
        """Sizes before anything is allocated: the library would parse a header of 100 MB."""
        if not self.path.is_file():
            raise FormatError(self.path, "a packed safetensors file", "no such file")
        if not 8 <= self.path.stat().st_size <= MAX_ASSET_BYTES:
            raise FormatError(self.path, f"8 to {MAX_ASSET_BYTES} bytes", f"{self.path.stat().st_size}")
        with inside(self.path.parent, self.path).open("rb") as file:
            header = int.from_bytes(file.read(8), "little")
        if header > MAX_HEADER_BYTES:
            raise FormatError(self.path, f"a safetensors header of at most {MAX_HEADER_BYTES} bytes", f"{header}")

    def _open(self) -> Any:
        try:
            return safe_open(self.path, "numpy")
        except (SafetensorError, OSError) as error:
            raise FormatError(self.path, "a safetensors file", str(error)) from None

    def _checked_offsets(self, file: Any, name: str, length: int) -> np.ndarray:
        part = file.get_slice(f"{name}.offsets")
        if (part.get_dtype(), part.get_shape()) != ("I64", [self.n_frames + 1]):
            found = f"{part.get_dtype()} {part.get_shape()}"
            raise FormatError(self.path, f"{name}.offsets as int64 [{self.n_frames + 1}]", found)
        offsets: np.ndarray = file.get_tensor(f"{name}.offsets")
        if offsets[0] != 0 or offsets[-1] != length or (np.diff(offsets) < 0).any():
            raise FormatError(
                self.path, f"{name}.offsets rising from 0 to {length}", f"{offsets[:4].tolist()} ... {offsets[-1]}"
            )
        return offsets

    def __len__(self) -> int:
        return self.n_frames

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> list[Frame]: ...
    def __getitem__(self, index: int | slice) -> Frame | list[Frame]:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(self.n_frames))]
        k = range(self.n_frames)[index]
        arrays: dict[str, Any] = {}
        with self._open() as file:
            for name in FIELDS[self.kind]:
                if name not in file.keys():  # noqa: SIM118 - safe_open is no mapping
                    continue
                arrays[name] = self._rows(file, name, k)
        with within(f"{self.path}, frame {k}"):
            return Mesh(**arrays) if self.kind == "mesh" else Gaussians(**arrays, **self.options)

    def _rows(self, file: Any, name: str, k: int) -> np.ndarray:
        """Field `name` of frame k, in its type in memory."""
        part = file.get_slice(name)
        dtype, shape = STORED_TYPES[part.get_dtype()], part.get_shape()
        start, stop = self.offsets[name][k : k + 2].tolist() if name in self.offsets else (0, shape[0])
        size = (stop - start) * math.prod(shape[1:]) * np.dtype(dtype).itemsize
        if size > MAX_FRAME_BYTES:
            raise FormatError(f"{self.path}, frame {k}", f"at most {MAX_FRAME_BYTES} bytes of {name}", f"{size}")
        if name == "texture":
            check_pixels(f"{self.path}, frame {k}: texture", (math.prod(shape[1:2]), stop - start))
        return np.asarray(part[start:stop], dtype) if start < stop else np.empty((0, *shape[1:]), dtype)

    def __iter__(self) -> Iterator[Frame]:
        return (self[k] for k in range(self.n_frames))


@dataclass(frozen=True)
class ViewFolder(Sequence[Views]):
    """The images `<view>/<frame>.png` of an asset of kind "views", read one time step at a time."""

    folder: Path
    n_frames: int
    cameras: Cameras

    def __post_init__(self) -> None:
        expected = [f"{k:04d}.png" for k in range(self.n_frames)]
        for v in range(len(self.cameras)):
            view = inside(self.folder.parent, self.folder / str(v))
            names = sorted(p.name for p in view.glob("*"))
            if names != expected:
                raise FormatError(
                    self.folder / str(v), f"{self.n_frames} files 0000.png ...", f"{len(names)}: {names[:4]}"
                )

    def __len__(self) -> int:
        return self.n_frames

    @overload
    def __getitem__(self, index: int) -> Views: ...
    @overload
    def __getitem__(self, index: slice) -> list[Views]: ...
    def __getitem__(self, index: int | slice) -> Views | list[Views]:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(self.n_frames))]
        k = range(self.n_frames)[index]
        size = (self.cameras.height, self.cameras.width, 4)
        images = []
        for v in range(len(self.cameras)):
            path = self.folder / str(v) / f"{k:04d}.png"
            image = read_png(inside(self.folder.parent, path), 4)
            if image.shape != size:
                raise FormatError(
                    path, f"the camera's size {size[1]} x {size[0]}", f"{image.shape[1]} x {image.shape[0]}"
                )
            images.append(image)
        return np.stack(images)
