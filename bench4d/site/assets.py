"""`data/assets/<name>.js`: what a method made, small enough for the 4D viewer. Lossy: for eyes alone."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from ..asset import Asset4D, Frame, Gaussians, Mesh
from ..asset_io import read_asset
from ..benchmark import Benchmark
from ..errors import FormatError
from ..files import sha256_folder
from ..similarity import transformed
from .gaussian_assets import gaussian_arrays
from .packing import Packed, pack, quantised, stretched, write_packed
from .run import Run, record

VERSION = 3  # goes up whenever equal assets would become another file
MAX_BYTES = 15_000_000  # of a file
MAX_ROWS = 8_000_000  # vertices, faces or splats of all frames together
LEVELS = (2**16, 2**13, 2**12)  # of a position along an axis, until the file is small enough
FILE_SHARE = 16 / 15  # bytes of text for a packed byte


def make_asset(run: Run, site: Path, stem: str, place: Path, aligned: bool) -> tuple[str | None, str]:
    """(the data's name, ""), or (None, why there is none). `aligned`: `place` has a record of its alignment.

    The name ends with a hash of what is shown, so a file that exists is up to date.
    """
    folder = place / "asset"
    state = record(place / "aligned.json") if aligned else {"status": "ok", "matrix": np.eye(4).tolist()}
    if state.get("status") == "failed":
        return None, f"the clip failed: {state.get('reason', '')}"
    if not (folder / "asset.json").is_file() or "matrix" not in state:
        return None, "the asset was not kept (config: keep)"
    try:
        asset = read_asset(folder)
        if asset.kind == "views":
            return None, "the method makes images, not geometry"
        sums = [
            VERSION,
            state.get("asset_sha256") or sha256_folder(folder),
            state["matrix"],
            run.benchmark.protocol_sha256,
        ]
        name = f"{stem}-{hashlib.sha256(json.dumps(sums).encode()).hexdigest()[:12]}"
        path = site / "data" / f"{name}.js"
        if not path.is_file():
            frames = _frames(asset, run.benchmark, np.array(state["matrix"], np.float64))
            told, deflated = _packed(frames)
            write_packed(path, name, told | _scene(asset, run.benchmark), deflated)
    except (FormatError, OSError) as error:
        return None, f"no asset to show: {error}"
    return name, ""


def _frames(asset: Asset4D, benchmark: Benchmark, matrix: Float64[np.ndarray, "4 4"]) -> list[Mesh] | list[Gaussians]:
    """At the protocol's times, in the world, as they were rendered. Raises FormatError if that is too much."""
    found: list[Any] = []
    rows = 0
    for time in benchmark.times:
        frame = transformed(cast(Frame, asset.frame_at(float(time), benchmark.data["time_rule"])), matrix)
        rows += len(frame.means) if isinstance(frame, Gaussians) else len(frame.vertices) + len(frame.faces)
        if rows > MAX_ROWS:
            raise FormatError("asset", f"at most {MAX_ROWS} elements in all frames for the viewer", "more")
        found.append(frame)
    return found


def _scene(asset: Asset4D, benchmark: Benchmark) -> dict[str, Any]:
    eye = benchmark.cameras.camera_to_world[0, :3, 3]
    camera = {"position": eye.tolist(), "target": [0, 0, 0], "up": [0, 0, 1], "fov_y": benchmark.data["rig"]["fov_y"]}
    count = len(benchmark.times)
    return {"kind": asset.kind, "frames": count, "times": benchmark.times.tolist(), "camera": camera}


def _packed(frames: list[Mesh] | list[Gaussians]) -> tuple[dict[str, Any], bytes]:
    points = [frame.means if isinstance(frame, Gaussians) else frame.vertices for frame in frames]
    every = np.concatenate(points)
    if not len(every):
        raise FormatError("asset", "something to show", "frames without any element")
    box = every.min(axis=0).astype(np.float64), every.max(axis=0).astype(np.float64)
    told: dict[str, Any] = {"box": [side.tolist() for side in box], "textures": [], "note": ""}
    if isinstance(frames[0], Mesh):
        told["textures"] = _textures(frames)
        room = MAX_BYTES - 2 * sum(map(len, told["textures"])) - 4096
        attempts = (_mesh_arrays(frames, box, levels) for levels in LEVELS)
        for arrays in attempts:
            headers, size, deflated = pack(arrays)
            if len(deflated) * FILE_SHARE <= room:
                return told | {"arrays": headers, "bytes": size, "packed": len(deflated)}, deflated
        raise FormatError("asset", f"a mesh of at most {MAX_BYTES / 1e6:g} MB for the viewer", f"{len(deflated)} bytes")
    stored, share, note = gaussian_arrays(frames, box, int((MAX_BYTES - 4096) / FILE_SHARE))
    headers, size, deflated = stored
    first = frames[0]
    assert isinstance(first, Gaussians)
    told |= {"shown": share, "note": note, "dilation": first.dilation, "compensate": first.compensate}
    return told | {"arrays": headers, "bytes": size, "packed": len(deflated)}, deflated


def _mesh_arrays(frames: Sequence[Mesh], box: tuple[np.ndarray, np.ndarray], levels: int) -> list[Packed]:
    faces, faces_shared = _stacked([frame.faces for frame in frames])
    small = max(len(frame.vertices) for frame in frames) <= 2**16
    rows = _rows([frame.faces for frame in frames], faces_shared)
    arrays = [Packed("face", "u16" if small else "u32", faces.astype(np.uint32), rows, faces_shared, "row")]
    points, shared = _stacked([frame.vertices for frame in frames])
    rows = _rows([frame.vertices for frame in frames], shared)
    low, high = tuple(map(float, box[0])), stretched(box[0], box[1], levels, "u16")
    values = quantised(points, box[0], box[1], levels)
    arrays.append(Packed("position", "u16", values, rows, shared, _delta(rows, faces_shared), low, high))
    if frames[0].colors is not None:
        colors, shared = _stacked([frame.colors for frame in frames])  # type: ignore[misc]
        rows = _rows([frame.colors for frame in frames], shared)  # type: ignore[misc]
        return [*arrays, Packed("color", "u8", colors.astype(np.uint32), rows, shared, _delta(rows, faces_shared))]
    uv, shared = _stacked([frame.uv for frame in frames])  # type: ignore[misc]
    rows = _rows([frame.uv for frame in frames], shared)  # type: ignore[misc]
    low, high = tuple(map(float, uv.min(axis=0))), tuple(map(float, uv.max(axis=0)))
    values = quantised(uv, low, high, 2**16)
    return [*arrays, Packed("uv", "u16", values, rows, shared, _delta(rows, faces_shared), low, high)]


def _stacked(arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, bool]:
    """All frames one after the other, or the one that stands for all; and which of them it is."""
    if all(np.array_equal(array, arrays[0]) for array in arrays[1:]):
        return arrays[0], True
    return np.concatenate(arrays), False


def _rows(arrays: Sequence[np.ndarray], shared: bool) -> tuple[int, ...]:
    return (len(arrays[0]),) if shared else tuple(map(len, arrays))


def _delta(rows: tuple[int, ...], same_topology: bool) -> Any:
    """Vertices that stay the same ones move little from frame to frame; others are near their neighbours."""
    return "frame" if same_topology and len(rows) > 1 and len(set(rows)) == 1 else "row"


def _textures(frames: Sequence[Mesh]) -> list[str]:
    """Data URLs: one a frame, one for all if they are equal, none without textures."""
    pictures = [frame.texture for frame in frames if frame.texture is not None]
    if not pictures:
        return []
    if _stacked(pictures)[1]:
        pictures = pictures[:1]
    return [_data_url(picture) for picture in pictures]


def _data_url(picture: UInt8[np.ndarray, "H W 4"]) -> str:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, format="WEBP", quality=85, exact=True)  # colours under alpha 0 stay: no seams
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode("ascii")
