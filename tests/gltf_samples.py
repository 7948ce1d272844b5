"""Three small animated GLB files that together hold every feature of `bench4d.gltf`; equal bytes each time.

    python -m tests.gltf_samples tests/fixtures/gltf

Times to compare with Blender stand in `extras`: Blender keeps to the standard between keys for LINEAR translations,
scales and weights and for STEP, but not for rotations (chords) and cubic splines (tangents dropped).
"""

from __future__ import annotations

import io
import json
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CODES = {"int8": 5120, "uint8": 5121, "int16": 5122, "uint16": 5123, "uint32": 5125, "float32": 5126}
KINDS = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}


@dataclass
class Builder:
    """A glTF document as it grows."""

    document: dict[str, Any] = field(
        default_factory=lambda: {"asset": {"version": "2.0"}, "scene": 0, "accessors": [], "bufferViews": []}
    )
    binary: bytes = b""

    def view(self, content: bytes, **more: Any) -> int:
        self.binary += bytes(-len(self.binary) % 4)
        view = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(content), **more}
        self.document["bufferViews"].append(view)
        self.binary += content
        return len(self.document["bufferViews"]) - 1

    def add(self, values: Any, dtype: Any = np.float32, **more: Any) -> int:
        """An accessor of its own view."""
        array = np.asarray(values, dtype)
        array = array.reshape(len(array), -1)
        return self.accessor(array, bufferView=self.view(array.tobytes()), **more)

    def accessor(self, array: np.ndarray, **more: Any) -> int:
        kind, code = KINDS[array.shape[1]], CODES[array.dtype.name]
        entry = {"componentType": code, "count": len(array), "type": kind, **more}
        if kind in ("VEC3", "SCALAR"):
            entry |= {"min": array.min(0).tolist(), "max": array.max(0).tolist()}
        self.document["accessors"].append(entry)
        return len(self.document["accessors"]) - 1

    def sparse(self, base: np.ndarray | None, rows: list[int], values: Any, count: int) -> int:
        """A sparse accessor of float VEC3, over `base` or over zeros."""
        changed = np.zeros((count, 3), np.float32) if base is None else np.array(base, np.float32)
        first = {} if base is None else {"bufferView": self.view(changed.tobytes())}
        changed[rows] = values
        indices = {"bufferView": self.view(np.array(rows, np.uint16).tobytes()), "componentType": 5123}
        given = {"bufferView": self.view(np.array(values, np.float32).tobytes())}
        return self.accessor(changed, sparse={"count": len(rows), "indices": indices, "values": given}, **first)

    def interleaved(self, *arrays: np.ndarray, **more: dict[int, dict[str, Any]]) -> list[int]:
        """One view for several attributes, row by row."""
        rows = [a.tobytes() for a in map(np.ascontiguousarray, arrays)]
        sizes = [a.dtype.itemsize * a.shape[1] for a in arrays]
        count = len(arrays[0])
        joined = b"".join(row[k * size : (k + 1) * size] for k in range(count) for row, size in zip(rows, sizes))  # noqa: B905
        view = self.view(joined, byteStride=sum(sizes))
        starts = np.cumsum([0, *sizes[:-1]]).tolist()
        return [
            self.accessor(a, bufferView=view, byteOffset=start, **more.get("extra", {}).get(k, {}))
            for k, (a, start) in enumerate(zip(arrays, starts))  # noqa: B905
        ]

    def animation(self, name: str, curves: list[tuple[int, str, str, Any, Any]], **more: Any) -> None:
        """Curves are (node, path, interpolation, times, values or an accessor's index)."""
        samplers, channels = [], []
        for node, path, kind, times, values in curves:
            if not isinstance(values, int):
                values = self.add(np.ravel(values) if path == "weights" else values)
            samplers.append({"input": self.add(times), "output": values, "interpolation": kind})
            channels.append({"sampler": len(samplers) - 1, "target": {"node": node, "path": path}})
        entry = {"name": name, "samplers": samplers, "channels": channels, **more}
        self.document.setdefault("animations", []).append(entry)

    def bytes(self) -> bytes:
        binary = self.binary + bytes(-len(self.binary) % 4)
        text = json.dumps(self.document | {"buffers": [{"byteLength": len(binary)}]}, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        head = struct.pack("<5I", 0x46546C67, 2, 28 + len(text) + len(binary), len(text), 0x4E4F534A)
        return head + text + struct.pack("<II", len(binary), 0x004E4942) + binary


def turn(axis: list[float], degrees: float) -> list[float]:
    """A quaternion (x, y, z, w)."""
    half = np.radians(degrees) / 2
    unit = np.array(axis) / np.linalg.norm(axis)
    return [*(np.sin(half) * unit).tolist(), float(np.cos(half))]


def tube(rings: int, sides: int, length: float, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and triangles of an open tube along y."""
    height, angle = np.mgrid[0:rings, 0:sides]
    angle = 2 * np.pi * angle.ravel() / sides
    height = (height / (rings - 1) * length).ravel()
    points = np.stack([radius * np.cos(angle), height, radius * np.sin(angle)], 1).astype(np.float32)
    r, s = (a.ravel() for a in np.mgrid[0 : rings - 1, 0:sides])
    a, b = r * sides + s, r * sides + (s + 1) % sides
    faces = np.concatenate([np.stack([a, a + sides, b], 1), np.stack([b, a + sides, b + sides], 1)])
    return points, faces


def skin() -> Builder:
    """Six joints in two sets, a skeleton below a moved and turned root, a mesh node whose place must not matter.

    Set 0 has joints in bytes and weights in 16 bits, set 1 joints in 16 bits and weights in bytes.
    """
    made, joints = Builder(), 6
    points, faces = tube(11, 6, 2.0, 0.2)
    near = np.exp(-(((points[:, 1:2] - np.arange(joints) * 0.4) / 0.35) ** 2))
    order = np.argsort(-near, 1)
    weights = np.take_along_axis(near, order, 1)
    weights /= weights.sum(1, keepdims=True)
    coarse = np.rint(weights[:, :4] * 65535).astype(np.uint16)
    fine = np.zeros((len(points), 4), np.uint8)
    fine[:, :2] = np.rint(weights[:, 4:] * 255)
    later = np.zeros((len(points), 4), np.uint16)
    later[:, :2] = order[:, 4:]
    place, first_joints, first_weights = made.interleaved(
        points, order[:, :4].astype(np.uint8), coarse, extra={2: {"normalized": True}}
    )
    attributes = {
        "POSITION": place,
        "JOINTS_0": first_joints,
        "WEIGHTS_0": first_weights,
        "JOINTS_1": made.add(later, np.uint16),
        "WEIGHTS_1": made.add(fine, np.uint8, normalized=True),
    }
    binds = np.tile(np.eye(4), (joints, 1, 1))
    binds[:, 1, 3] = -0.4 * np.arange(joints)
    chain = [{"name": f"joint {k}", "children": [k + 3], "translation": [0, 0.4, 0]} for k in range(joints)]
    chain[0] = {"name": "joint 0", "children": [3]}
    del chain[-1]["children"]
    primitive = {"attributes": attributes, "indices": made.add(faces.ravel(), np.uint16), "material": 0}
    made.document |= {
        "scenes": [{"nodes": [0, 1]}],
        "nodes": [
            {"name": "skeleton", "children": [2], "translation": [0.3, -0.2, 0.1], "rotation": turn([1, 2, 0.5], 40)},
            {"name": "tube", "mesh": 0, "skin": 0, "translation": [9, 9, 9]},
            *chain,
        ],
        "meshes": [{"primitives": [primitive]}],
        "skins": [{"joints": list(range(2, 8)), "inverseBindMatrices": made.add(binds.transpose(0, 2, 1))}],
        "materials": [{"pbrMetallicRoughness": {"baseColorFactor": [0.8, 0.2, 0.1, 1]}}],
    }
    bend = [(k, "rotation", "LINEAR", [0, 0.5, 1.0], [turn([0, 0, 1], 0), turn([0.2, 0, 1], 25), turn([1, 0, 1], -20)])
            for k in (3, 4, 5)]  # fmt: skip
    nudge = (2, "translation", "LINEAR", [0.25, 1.0], [[0, 0, 0], [0.1, 0.3, -0.2]])
    made.animation("bend", [*bend, nudge], extras={"times": [0, 0.5, 1.0, 1.75]})
    rows = np.rint(np.array([turn([0, 1, 0], 0), turn([0, 1, 1], 100), turn([1, 1, 1], 170)]) * 32767)
    short = made.add(rows, np.int16, normalized=True)
    spline = np.zeros((2, 3, 3))
    spline[:, 1] = [[0, 0.4, 0], [0.1, 0.6, 0]]
    spline[:, [0, 2]] = [0.3, -0.7, 0.9]
    made.animation(
        "twist",
        [
            (3, "rotation", "STEP", [0, 0.5, 1.0], short),
            (5, "translation", "CUBICSPLINE", [0.0, 1.0], spline.reshape(6, 3)),
            (0, "scale", "LINEAR", [0, 1.0], [[1, 1, 1], [1.5, 1.5, 1.5]]),
        ],
        extras={"times": [0, 1.0]},
    )
    return made


def morph() -> Builder:
    """Targets (one sparse, one sparse over nothing) of a strip and a fan in one mesh at two nodes; a second scene."""
    made = Builder()
    x, y = (a.ravel() for a in np.mgrid[0:6, 0:2])
    strip = np.stack([x * 0.2, y * 0.3, 0 * x], 1).astype(np.float32)
    angle = np.linspace(0, np.pi, 7)
    fan = np.concatenate([[[0, 0, 0.5]], np.stack([np.cos(angle), np.sin(angle), 0 * angle + 0.5], 1)])
    lift = strip * [0, 0, 0] + np.stack([0 * x, 0 * x, np.sin(x)], 1)
    primitives = [
        {
            "mode": 5,
            "attributes": {"POSITION": made.add(strip)},
            "targets": [
                {"POSITION": made.sparse(lift, [2, 3], [[0.1, 0.2, 0.3], [0.3, 0.2, 0.1]], 12)},
                {"POSITION": made.sparse(None, [0, 11], [[-1, 0, 0], [1, 0, 0]], 12)},
            ],
            "material": 0,
        },
        {
            "mode": 6,
            "attributes": {"POSITION": made.add(fan), "COLOR_0": made.add(np.eye(8, 4) * 0.5 + 0.25)},
            "indices": made.add(np.arange(8), np.uint8),
            "targets": [{"POSITION": made.add(-fan)}, {"POSITION": made.add(fan[::-1])}],
        },
    ]
    matrix = np.eye(4)
    matrix[:3, :3] = [[0, 0, 1], [1, 0, 0], [0, -1.0, 0]]  # mirrored
    matrix[:3, 3] = [0.5, 0.25, 2]
    made.document |= {
        "scene": 1,
        "scenes": [{"nodes": [4]}, {"nodes": [0]}],
        "nodes": [
            {"name": "above", "children": [1, 2], "translation": [0, 0, 1], "scale": [1, 2, 1]},
            {"name": "one", "mesh": 0, "rotation": turn([0, 1, 0], 30)},
            {"name": "fixed", "matrix": matrix.T.ravel().tolist(), "children": [3]},
            {"name": "two", "mesh": 0, "weights": [0.5, 0.25]},
            {"name": "elsewhere", "mesh": 0},
        ],
        "meshes": [{"primitives": primitives, "weights": [0.25, 0]}],
        "materials": [{"pbrMetallicRoughness": {"baseColorFactor": [0.1, 0.3, 0.9, 1]}, "alphaMode": "BLEND"}],
    }
    made.animation(
        "wave",
        [
            (1, "weights", "LINEAR", [0, 0.5, 1.5], [[0, 0], [1, 0.5], [0.2, 1]]),
            (0, "translation", "LINEAR", [0.5, 1.0], [[0, 0, 1], [1, 0, 0]]),
            (1, "scale", "STEP", [0, 0.7], [[1, 1, 1], [2, 1, 0.5]]),
        ],
        extras={"times": [0, 0.25, 0.9, 1.2, 2.0]},
    )
    spline = np.zeros((2, 3, 2))
    spline[:, 1], spline[0, 2], spline[1, 0] = [[0, 1], [1, 0]], [3, -1], [0, 2]
    made.animation(
        "spline",
        [
            (3, "weights", "CUBICSPLINE", [0.25, 1.25], spline),
            (3, "rotation", "LINEAR", [0.25, 1.25], [turn([1, 0, 0], 10), turn([1, 0, 0], 190)]),
        ],
        extras={"times": [0, 0.25, 1.25]},
    )
    return made


def picture(seed: int, height: int, width: int) -> bytes:
    stream = io.BytesIO()
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(values).save(stream, format="PNG")
    return stream.getvalue()


def painted() -> Builder:
    """Quantised positions and coordinates, two textures (one moved, one mirrored and clamped), a plain part."""
    made = Builder()
    square = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    packed = np.zeros((4, 4), np.int16)  # rows of 8 bytes: three coordinates and two bytes of padding
    packed[:, :3] = square * 32767
    place = made.view(packed.tobytes(), byteStride=8)
    corners = made.accessor(packed[:, :3], bufferView=place, normalized=True)
    faces = made.add([0, 1, 2, 0, 2, 3], np.uint8)
    uv = np.array([[0, 1], [1, 1], [1, 0], [0, 0]])
    small = made.add(np.pad(uv * 255, ((0, 0), (0, 2))), np.uint8)
    made.document["accessors"][small] |= {"type": "VEC2", "normalized": True}
    made.document["bufferViews"][-1]["byteStride"] = 4
    wide = made.add(uv * 3 - 0.7)
    move = {"offset": [0.25, 0.5], "rotation": 0.5, "scale": [0.5, 2.0], "texCoord": 1}
    info = {"index": 0, "texCoord": 0, "extensions": {"KHR_texture_transform": move}}
    half = made.add(np.tile([[0.5, 1.0, 0.25]], (4, 1)))
    pictures = [{"bufferView": made.view(picture(k, 4 + k, 8)), "mimeType": "image/png"} for k in range(2)]
    attributes = {"POSITION": corners}
    made.document |= {
        "extensionsUsed": ["KHR_texture_transform", "KHR_mesh_quantization"],
        "extensionsRequired": ["KHR_mesh_quantization"],
        "scenes": [{"nodes": [0, 1, 2]}],
        "nodes": [
            {"name": "moved picture", "mesh": 0, "scale": [0.4, 0.4, 0.4]},
            {"name": "clamped picture", "mesh": 1, "translation": [1, 0, 0], "scale": [0.4, 0.4, 0.4]},
            {"name": "plain", "mesh": 2, "translation": [-1, 0, 0], "scale": [0.3, 0.3, 0.3]},
        ],
        "meshes": [
            {"primitives": [{"attributes": {**attributes, "TEXCOORD_0": wide, "TEXCOORD_1": small}, "indices": faces,
                             "material": 0}]},
            {"primitives": [{"attributes": {**attributes, "TEXCOORD_0": wide, "COLOR_0": half}, "indices": faces,
                             "material": 1}]},
            {"primitives": [{"attributes": attributes, "indices": faces, "material": 2}]},
        ],
        "materials": [
            {"name": "moved", "pbrMetallicRoughness": {"baseColorTexture": info, "baseColorFactor": [1, 0.5, 1, 1]}},
            {"name": "clamped", "alphaMode": "MASK", "pbrMetallicRoughness": {"baseColorTexture": {"index": 1}}},
            {"name": "plain", "pbrMetallicRoughness": {"baseColorFactor": [0.2, 0.6, 0.1, 0.5]}},
        ],
        "textures": [{"source": 0}, {"source": 1, "sampler": 0}],
        "samplers": [{"wrapS": 33648, "wrapT": 33071}],
        "images": pictures,
    }  # fmt: skip
    made.animation(
        "slide",
        [
            (0, "translation", "LINEAR", [0, 1.0], [[0, 0, 0], [0, 0, 1]]),
            (2, "rotation", "LINEAR", [0, 0.5], [turn([0, 0, 1], 0), turn([0, 0, 1], 90)]),
        ],
        extras={"times": [0, 0.5, 1.0]},
    )
    return made


SAMPLES = {"skin": skin, "morph": morph, "painted": painted}


def main() -> None:
    for name, make in SAMPLES.items():
        (Path(sys.argv[1]) / f"{name}.glb").write_bytes(make().bytes())


if __name__ == "__main__":
    main()
