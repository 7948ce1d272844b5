"""Geometry in the layouts of other people's evaluations, as an `Asset4D`. Nothing is turned, scaled or cut.

ActionBench    truth: <uid>/surfaces.npy, float [T,N,6] (position, normal) of points that are followed through time
               results: <uid>/mesh_00.glb, mesh_01.glb ...
Motion-80      both: faces.npy, integer [F,3], and frame_0000.npy, frame_0001.npy ... , float [V,3]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any, overload

import numpy as np
from jaxtyping import Float32

from .asset import MAX_POINTS, Asset4D, Frame, Gaussians, Mesh
from .clip import MAX_FRAMES
from .errors import FormatError, within
from .files import inside, natural
from .glb_read import read_glb
from .gltf_file import GLTF_FROM_WORLD
from .similarity import similarity, transformed

SURFACES, FACES = "surfaces.npy", "faces.npy"
GREY = (128, 128, 128, 255)
RADIUS = 0.005  # standard deviation of a point when it is drawn; no metric of geometry looks at it


def is_tracked_points(folder: Path) -> bool:
    """Whether this is a truth of ActionBench."""
    return (folder / SURFACES).is_file()


def is_vertex_frames(folder: Path) -> bool:
    """Whether this is an object in Motion-80's form."""
    return (folder / FACES).is_file() and any(folder.glob("frame_*.npy"))


def read_foreign(folder: Path, fps: float) -> Asset4D | None:
    """An object in one of the forms that only arrays have; None if the folder holds neither. Raises FormatError."""
    if is_tracked_points(folder):
        return read_tracked_points(folder, fps)
    return read_vertex_frames(folder, fps) if is_vertex_frames(folder) else None


def read_tracked_points(folder: Path, fps: float) -> Asset4D:
    """`surfaces.npy` as Gaussians: point k of every frame is the same point of the surface. Raises FormatError.

    The file stays on disk, one frame is read at a time. Frame k is at k / fps seconds.
    """
    path = inside(folder, folder / SURFACES)
    array = _load(path)
    if array.ndim != 3 or array.shape[2] not in (3, 6) or array.dtype.kind != "f" or not array.size:
        raise FormatError(path, "floats [T,N,6] (or [T,N,3])", f"{array.dtype} {list(array.shape)}")
    if len(array) > MAX_FRAMES or array.shape[1] > MAX_POINTS:
        raise FormatError(path, f"at most {MAX_FRAMES} frames of {MAX_POINTS} points", f"{list(array.shape)}")

    def frame(k: int) -> Gaussians:
        with within(f"{path}: frame {k}"):
            return points_frame(np.array(array[k, :, :3], np.float32))

    frames = Lazy(len(array), frame)
    return Asset4D("gaussians", np.arange(len(array)) / fps, frames)


def points_frame(points: Float32[np.ndarray, "N 3"]) -> Gaussians:
    """Points as small opaque grey balls."""
    count = len(points)
    quaternions = np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1))
    sizes = np.full((count, 3), RADIUS, np.float32)
    return Gaussians(points, sizes, quaternions, np.ones(count, np.float32), np.zeros((count, 1, 3), np.float32))


def read_vertex_frames(folder: Path, fps: float) -> Asset4D:
    """`faces.npy` and one array of vertices a frame as meshes of one topology. Raises FormatError."""
    faces = _load(inside(folder, folder / FACES))
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.dtype.kind not in "iu":
        raise FormatError(folder / FACES, "integers [F,3]", f"{faces.dtype} {list(faces.shape)}")
    if len(faces) > MAX_POINTS:
        raise FormatError(folder / FACES, f"at most {MAX_POINTS} faces", f"{len(faces)}")
    if faces.size and (faces.min() < 0 or faces.max() > np.iinfo(np.int32).max):
        raise FormatError(folder / FACES, "indices from 0", f"{faces.min()} to {faces.max()}")
    files = _numbered(folder, "frame_*.npy")
    known = np.array(faces, np.int32)
    frames = Lazy(len(files), lambda k: _vertex_frame(files[k], known))
    return Asset4D("mesh", np.arange(len(files)) / fps, frames)


def read_numbered_glbs(folder: Path, fps: float) -> Asset4D:
    """`mesh_*.glb` in the files' own axes: ActionBench's truth says nothing of axes, and its alignment tries many.

    Other GLB files beside them (an animation of the whole clip) are not looked at. Raises FormatError.
    """
    files = _numbered(folder, "mesh_*.glb")
    back = similarity(GLTF_FROM_WORLD)
    frames = Lazy(len(files), lambda k: transformed(read_glb(files[k]), back))
    return Asset4D("mesh", np.arange(len(files)) / fps, frames)


@dataclass(frozen=True)
class Lazy(Sequence[Frame]):
    """Frames that are read one by one."""

    length: int
    read: Callable[[int], Frame]

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> list[Frame]: ...
    def __getitem__(self, index: int | slice) -> Frame | list[Frame]:
        chosen = range(self.length)[index]
        return [self.read(k) for k in chosen] if isinstance(chosen, range) else self.read(chosen)


def _numbered(folder: Path, pattern: str) -> list[Path]:
    files = sorted(folder.glob(pattern), key=natural)
    if not 1 <= len(files) <= MAX_FRAMES:
        raise FormatError(folder, f"1 to {MAX_FRAMES} files {pattern}", f"{len(files)}")
    return [inside(folder, file) for file in files]


def _load(path: Path) -> np.ndarray[Any, Any]:
    """An array that stays on disk; nothing is unpickled."""
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError, OverflowError, SyntaxError, TokenError) as error:  # a header is Python text
        raise FormatError(path, "an array in NumPy's format, without objects", f"{error}"[:200]) from None


def _vertex_frame(path: Path, faces: np.ndarray[Any, Any]) -> Mesh:
    vertices = _load(path)
    if vertices.ndim != 2 or vertices.shape[1] != 3 or vertices.dtype.kind != "f":
        raise FormatError(path, "floats [V,3]", f"{vertices.dtype} {list(vertices.shape)}")
    if len(vertices) > MAX_POINTS:
        raise FormatError(path, f"at most {MAX_POINTS} vertices", f"{len(vertices)}")
    with within(path):
        return Mesh(np.array(vertices, np.float32), faces, np.tile(np.array(GREY, np.uint8), (len(vertices), 1)))
