"""GLB files (binary glTF 2.0): export of a mesh or of a sequence of fixed topology; import: `glb_read.py`.

Our colours are emitted sRGB, so materials are unlit (KHR_materials_unlit). A glTF vertex colour is linear by the
standard; it is written so, in 16 bits, from which the 8-bit sRGB value comes back exactly. Textures are sRGB in both.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from .asset import Mesh
from .errors import FormatError
from .files import atomic
from .glb_read import read_glb
from .gltf_file import BIN_CHUNK, COMPONENTS, GLTF_FROM_WORLD, JSON_CHUNK, MAGIC
from .gltf_surface import linear_from_srgb

__all__ = ["read_glb", "write_glb", "write_glb_sequence"]

CODES = {np.dtype(code): number for number, code in COMPONENTS.items()}
ARRAY_BUFFER, ELEMENT_BUFFER = 34962, 34963


@dataclass
class _Buffer:
    """The binary chunk as it grows, with the JSON that describes it."""

    data: bytearray = field(default_factory=bytearray)
    views: list[dict[str, Any]] = field(default_factory=list)
    accessors: list[dict[str, Any]] = field(default_factory=list)

    def view(self, content: bytes, **more: Any) -> int:
        self.data += bytes(-len(self.data) % 4)
        self.views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(content), **more})
        self.data += content
        return len(self.views) - 1

    def accessor(self, array: np.ndarray, kind: str, bounds: bool = False, **more: Any) -> int:
        view = self.view(np.ascontiguousarray(array).tobytes(), **more)
        entry = {"bufferView": view, "componentType": CODES[array.dtype], "count": len(array), "type": kind}
        if bounds:
            rows = array.reshape(len(array), -1)
            entry |= {"min": rows.min(0).tolist(), "max": rows.max(0).tolist()}
        if array.dtype == np.uint16:
            entry["normalized"] = True
        self.accessors.append(entry)
        return len(self.accessors) - 1


def write_glb(path: Path, mesh: Mesh) -> None:
    """One unlit mesh. A mesh without faces is refused: glTF has no empty geometry."""
    _write(path, *_document(path, [mesh]))


def write_glb_sequence(path: Path, meshes: Sequence[Mesh], times: Sequence[float]) -> None:
    """An animation in one file: frame 0 and a morph target for each later frame; between frames vertices move linearly.

    Args:
        meshes: frames that differ in their vertices only.
        times: seconds, from 0 or later, strictly increasing; one a frame.
    """
    seconds = np.asarray(times, np.float32)
    if len(seconds) != len(meshes) or not len(seconds) or seconds[0] < 0 or (np.diff(seconds) <= 0).any():
        raise FormatError(
            path, "strictly increasing times >= 0, one a frame", f"{len(seconds)} for {len(meshes)} frames"
        )
    for k, mesh in enumerate(meshes):
        for name in ("faces", "colors", "uv", "texture"):
            if not np.array_equal(getattr(mesh, name), getattr(meshes[0], name)):
                found = f"other {name} in frame {k}"
                raise FormatError(path, "frames that differ in their vertices only", found, "Write one GLB a frame.")
        if mesh.vertices.shape != meshes[0].vertices.shape:
            raise FormatError(path, f"{len(meshes[0].vertices)} vertices in frame {k}", f"{len(mesh.vertices)}")
    document, buffer = _document(path, meshes)
    count = len(meshes)
    if count > 1:
        weights = np.eye(count, count - 1, -1, dtype=np.float32)  # row k: frame k is all of target k - 1
        sampler = {
            "input": buffer.accessor(seconds, "SCALAR", bounds=True),
            "output": buffer.accessor(weights.reshape(-1), "SCALAR"),
            "interpolation": "LINEAR",
        }
        channel = {"sampler": 0, "target": {"node": 0, "path": "weights"}}
        document["animations"] = [{"samplers": [sampler], "channels": [channel]}]
    _write(path, document, buffer)


def _document(path: Path, meshes: Sequence[Mesh]) -> tuple[dict[str, Any], _Buffer]:
    first, buffer = meshes[0], _Buffer()
    if not len(first.faces):
        raise FormatError(path, "a mesh with at least one face", "none")
    positions = [mesh.vertices @ GLTF_FROM_WORLD.T.astype(np.float32) for mesh in meshes]
    attributes = {"POSITION": buffer.accessor(positions[0], "VEC3", bounds=True, target=ARRAY_BUFFER)}
    material: dict[str, Any] = {"doubleSided": True, "extensions": {"KHR_materials_unlit": {}}}
    document: dict[str, Any] = {"asset": {"version": "2.0", "generator": "bench4d"}}
    pbr: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    if first.colors is not None:
        linear = linear_from_srgb(first.colors / 255)
        linear[:, 3] = first.colors[:, 3] / 255
        attributes["COLOR_0"] = buffer.accessor(np.rint(linear * 65535).astype("<u2"), "VEC4", target=ARRAY_BUFFER)
        opaque = (first.colors[:, 3] == 255).all()
    else:
        assert first.uv is not None and first.texture is not None  # Mesh checks it
        attributes["TEXCOORD_0"] = buffer.accessor(first.uv, "VEC2", target=ARRAY_BUFFER)
        document["images"] = [{"bufferView": buffer.view(_png(first.texture)), "mimeType": "image/png"}]
        document["samplers"] = [{"magFilter": 9729, "minFilter": 9729}]  # linear; repeats by default, as our renderer
        document["textures"] = [{"source": 0, "sampler": 0}]
        pbr["baseColorTexture"] = {"index": 0}
        opaque = (first.texture[..., 3] == 255).all()
    if not opaque:
        material |= {"alphaMode": "MASK", "alphaCutoff": 0.5}
    indices = buffer.accessor(first.faces.astype("<u4").reshape(-1), "SCALAR", target=ELEMENT_BUFFER)
    primitive: dict[str, Any] = {"attributes": attributes, "indices": indices, "material": 0}
    moves = [buffer.accessor(p - positions[0], "VEC3", bounds=True, target=ARRAY_BUFFER) for p in positions[1:]]
    if moves:
        primitive["targets"] = [{"POSITION": index} for index in moves]
    document |= {
        "extensionsUsed": ["KHR_materials_unlit"],
        "materials": [{"pbrMetallicRoughness": pbr, **material}],
        "meshes": [{"primitives": [primitive]} | ({"weights": [0.0] * len(moves)} if moves else {})],
        "nodes": [{"mesh": 0}],
        "scenes": [{"nodes": [0]}],
        "scene": 0,
    }
    return document, buffer


def _png(image: UInt8[np.ndarray, "H W 4"]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="PNG")
    return stream.getvalue()


def _write(path: Path, document: dict[str, Any], buffer: _Buffer) -> None:
    binary = bytes(buffer.data) + bytes(-len(buffer.data) % 4)
    document |= {"bufferViews": buffer.views, "accessors": buffer.accessors, "buffers": [{"byteLength": len(binary)}]}
    text = json.dumps(document, separators=(",", ":"), sort_keys=True, allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    header = struct.pack("<III", MAGIC, 2, 12 + 8 + len(text) + 8 + len(binary))
    with atomic(path) as temporary, temporary.open("wb") as file:
        file.write(header + struct.pack("<II", len(text), JSON_CHUNK) + text)
        file.write(struct.pack("<II", len(binary), BIN_CHUNK) + binary)
