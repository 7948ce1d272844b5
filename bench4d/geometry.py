"""Geometry from elsewhere as an `Asset4D`: a folder with one GLB, OBJ or PLY file a frame, with arrays of vertices
(faces.npy, frame_*.npy), or an asset of our own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast, overload

import numpy as np

from .asset import Asset4D, Frame, Mesh
from .asset_io import read_asset
from .clip import MAX_FRAMES
from .errors import FormatError
from .files import inside, natural
from .foreign_geometry import FACES, Lazy, is_vertex_frames, read_vertex_frames
from .glb_read import read_glb
from .gltf_file import GLTF_FROM_WORLD
from .obj import read_obj
from .ply import holds_gaussians, read_gaussians, read_mesh
from .similarity import transformed

SUFFIXES = (".glb", ".obj", ".ply")
WHITE = (255, 255, 255, 255)  # what glTF says of a mesh without colours, taken for OBJ and PLY too


def read_geometry(
    path: Path, fps: float, up: Literal["z", "y"] = "z", dilation: float = 0.3, compensate: bool = False
) -> Asset4D:
    """A folder of `*.glb`, `*.obj` or `*.ply` files, of `faces.npy` and `frame_*.npy`, or of our own `asset.json`.

    Raises FormatError.

    Files are of one kind and in the order of the numbers in their names (2.ply before 10.ply); frame k is at k / fps
    seconds. Each is read when it is asked for, so that one frame is in memory at a time. A PLY file holds a mesh or
    3DGS Gaussians: the first file's header decides for all.

    Args:
        path: the folder; `path/asset` is taken if it has the asset.json. An asset has its own times: `fps` and all
            further arguments are not looked at then.
        up: the axis that points up in OBJ and PLY files and in arrays, which cannot say it themselves. GLB files are y
            up by their standard, and are always turned to our z up.
        dilation, compensate: how the Gaussians of PLY files were rasterised in training (see `Gaussians`).
    """
    if not path.is_dir():
        raise FormatError(path, "a folder of GLB, OBJ or PLY files, or with an asset.json", "no such folder")
    for folder in (path, path / "asset"):
        if (folder / "asset.json").exists():
            return read_asset(inside(path, folder))
    if not (fps > 0 and np.isfinite(fps)):
        raise FormatError("frame rate", "a positive number of frames a second", f"{fps}")
    if up not in ("z", "y"):
        raise FormatError("up", '"z" or "y"', repr(up))
    files = sorted((p for p in path.iterdir() if p.suffix.lower() in SUFFIXES), key=natural)
    if is_vertex_frames(path):
        if files:
            raise FormatError(path, "one form of geometry", f"{FACES} and {files[0].name}", "Leave one in the folder.")
        asset = read_vertex_frames(path, fps)
        return replace(
            asset, frames=Lazy(len(asset.frames), lambda k: _upright(cast(Mesh, asset.frames[k]), up == "y"))
        )
    if not 1 <= len(files) <= MAX_FRAMES:
        raise FormatError(path, f"1 to {MAX_FRAMES} files {SUFFIXES}, or an asset.json", f"{len(files)}")
    suffixes = sorted({file.suffix.lower() for file in files})
    if len(suffixes) > 1:
        raise FormatError(path, "files of one kind", " and ".join(suffixes), "Leave one file a frame in the folder.")
    for file in files:
        inside(path, file)
    gaussians = suffixes == [".ply"] and holds_gaussians(files[0])
    frames = GeometryFiles(tuple(files), gaussians, up == "y", dilation, compensate)
    return Asset4D("gaussians" if gaussians else "mesh", np.arange(len(files)) / fps, frames)


@dataclass(frozen=True)
class GeometryFiles(Sequence[Frame]):
    """One file a frame, read one by one."""

    files: tuple[Path, ...]
    gaussians: bool
    y_up: bool
    dilation: float
    compensate: bool

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> list[Frame]: ...
    def __getitem__(self, index: int | slice) -> Frame | list[Frame]:
        if isinstance(index, slice):
            return [self._read(file) for file in self.files[index]]
        return self._read(self.files[index])

    def __iter__(self) -> Iterator[Frame]:
        return map(self._read, self.files)

    def _read(self, file: Path) -> Frame:
        if file.suffix.lower() == ".glb":
            return read_glb(file)
        frame: Frame
        if file.suffix.lower() == ".obj":
            frame = read_obj(file, WHITE)
        elif self.gaussians:
            frame = read_gaussians(file, self.dilation, self.compensate)
        else:
            frame = read_mesh(file, WHITE)
        return _upright(frame, self.y_up)


def holds_geometry(folder: Path) -> bool:
    """Whether there is something that `read_geometry` could try."""
    return is_vertex_frames(folder) or any(path.suffix.lower() in SUFFIXES for path in folder.iterdir())


def _upright(frame: Frame, y_up: bool) -> Frame:
    matrix = np.eye(4)
    matrix[:3, :3] = GLTF_FROM_WORLD.T if y_up else np.eye(3)
    return transformed(frame, matrix)
