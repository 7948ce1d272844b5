"""Malformed cases of the readers of arrays: other people's evaluations keep geometry as .npy files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from tests.unit import malformed_makers as make
from tests.unit.malformed_makers import Case, Maker, first_half

MESH = {"faces.npy": np.array([[0, 1, 2]], np.int32), "frame_0000.npy": np.zeros((3, 3), np.float32)}
POINTS = {"surfaces.npy": np.zeros((2, 4, 6), np.float32)}


def arrays(valid: dict[str, Any], **changes: Any) -> Maker:
    """A folder of arrays; a change replaces one of them by an array, or by bytes."""

    def write(folder: Path) -> Path:
        out = folder / "object"
        out.mkdir()
        for name, content in (valid | {f"{key}.npy": value for key, value in changes.items()}).items():
            (out / name).write_bytes(content if isinstance(content, bytes) else saved(content))
        return out

    return write


def saved(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def archive() -> bytes:
    file = io.BytesIO()
    np.savez(file, np.zeros(3))
    return file.getvalue()


def header(shape: str, kind: str = "<f4") -> bytes:
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


NAN = np.full((3, 3), np.nan, np.float32)
ARRAY = "an array in NumPy's format"
ARRAYS = [
    Case("pickled points", "read_tracked_points", arrays(POINTS, surfaces=np.array([{}])), ARRAY, "surfaces.npy"),
    Case("an archive in disguise", "read_foreign", arrays(POINTS, surfaces=archive()), ARRAY, "surfaces.npy"),
    Case("empty", "read_foreign", arrays(POINTS, surfaces=b""), ARRAY, "surfaces.npy"),
    Case("half", "read_foreign", arrays(POINTS, surfaces=first_half(saved(POINTS["surfaces.npy"]))), ARRAY),
    Case("a header bomb", "read_tracked_points", arrays(POINTS, surfaces=header("(10**9, 10**9, 6)")), ARRAY),
    Case("a huge shape", "read_tracked_points", arrays(POINTS, surfaces=header("(9999, 99999999, 6)")), ARRAY),
    Case("a negative shape", "read_tracked_points", arrays(POINTS, surfaces=header("(-1, 4, 6)")), "expected"),
    Case("whole numbers", "read_foreign", arrays(POINTS, surfaces=np.zeros((2, 4, 6), int)), "floats", "surfaces.npy"),
    Case(
        "too many frames", "read_tracked_points", arrays(POINTS, surfaces=np.zeros((5000, 1, 3), "f4")), "at most 4096"
    ),
    Case("NaN", "read_foreign", arrays(POINTS, surfaces=np.full((1, 4, 6), np.nan, "f4")), "frame 0: .*finite"),
    Case("a pickled frame", "read_vertex_frames", arrays(MESH, frame_0000=np.array([{}])), ARRAY, "frame_0000.npy"),
    Case("a frame of NaN", "read_vertex_frames", arrays(MESH, frame_0001=NAN), "finite", "frame_0001.npy"),
    Case("a flat frame", "read_foreign", arrays(MESH, frame_0000=np.zeros(9)), r"floats \[V,3\]", "frame_0000.npy"),
    Case("too few vertices", "read_foreign", arrays(MESH, frame_0000=np.zeros((2, 3))), "indices", "frame_0000.npy"),
    Case("faces of floats", "read_vertex_frames", arrays(MESH, faces=np.zeros((1, 3))), "integers", "faces.npy"),
    Case(
        "faces below zero", "read_vertex_frames", arrays(MESH, faces=np.full((1, 3), -1)), "indices from 0", "faces.npy"
    ),
    Case("huge indices", "read_vertex_frames", arrays(MESH, faces=np.full((1, 3), 2**40)), "indices", "faces.npy"),
    Case("a frame behind a link", "read_foreign", make.moved_out(arrays(MESH), "frame_0000.npy"), "a path inside"),
    Case("no meshes", "read_numbered_glbs", arrays({}), r"1 to 4096 files mesh_\*.glb"),
    Case("a mesh that is none", "read_numbered_glbs", arrays({"mesh_00.glb": b"glTF"}), "GLB", "mesh_00.glb"),
]
