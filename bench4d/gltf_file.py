"""A glTF 2.0 file, opened: its JSON with checked look-ups, its buffers, and the arrays in them. For all who read glTF.

Nothing in the file is believed: indices, sizes and offsets are checked before they are used, nothing outside the file's
folder is opened, and whatever is wrong is a FormatError with the file's name.

Axes: our world has z up and the input camera on the -y side; glTF has y up and the front of an asset towards +z. So
glTF (x, y, z) = world (x, z, -y): a rotation by signed axes, exact in floating point.
"""

from __future__ import annotations

import base64
import binascii
import io
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from jaxtyping import Float64, UInt8

from .asset import MAX_POINTS
from .errors import FormatError
from .files import MAX_JSON_BYTES, named, parse_json, read_picture

MAX_GLB_BYTES = 2**29  # of a file, and of all its buffers together
MAX_SPARSE_NUMBERS = 2**22  # of an accessor that has no data but corrections: a few bytes could ask for any size
MAGIC, JSON_CHUNK, BIN_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942
COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
INTEGERS = ("u1", "u2", "u4")  # what indices may be
NUMBERS = ("f4", "i1", "u1", "i2", "u2")  # what `floats` turns into floats
GLTF_FROM_WORLD = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], np.float64)
COMPRESSED = {"KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_meshopt_compression"}
# What these add is not looked at (light, gloss, glass), or has a plain form beside it
HARMLESS = {
    "KHR_lights_punctual",
    "KHR_materials_anisotropy",
    "KHR_materials_clearcoat",
    "KHR_materials_emissive_strength",
    "KHR_materials_ior",
    "KHR_materials_iridescence",
    "KHR_materials_sheen",
    "KHR_materials_specular",
    "KHR_materials_transmission",
    "KHR_materials_unlit",
    "KHR_materials_volume",
}


@dataclass(frozen=True)
class GltfFile:
    """A parsed file. Its methods look things up in JSON that may hold anything; all raise FormatError.

    Attributes:
        path: for messages; names in the file are relative to its folder.
        data: the JSON.
        buffers: the bytes of each entry of `buffers`; those that were not loaded are empty.
    """

    path: Path
    data: dict[str, Any]
    buffers: tuple[bytes, ...]

    def error(self, expected: str, found: object, next_step: str = "") -> FormatError:
        return FormatError(self.path, expected, f"{found}"[:120], next_step)

    def child(self, owner: dict[str, Any], key: str) -> dict[str, Any]:
        value = owner.get(key, {})
        if not isinstance(value, dict):
            raise self.error(f"an object as {key}", repr(value))
        return value

    def whole(self, owner: dict[str, Any], key: str, default: int | None = None) -> int:
        value = owner.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**32:
            raise self.error(f"a whole number as {key}", repr(value))
        return value

    def items(self, owner: dict[str, Any], key: str) -> list[Any]:
        value = owner.get(key, [])
        if not isinstance(value, list):
            raise self.error(f"a list as {key}", repr(value))
        return value

    def objects(self, owner: dict[str, Any], key: str) -> list[dict[str, Any]]:
        """A list of JSON objects."""
        for value in self.items(owner, key):
            if not isinstance(value, dict):
                raise self.error(f"objects in {key}", repr(value))
        return self.items(owner, key)

    def numbers(self, owner: dict[str, Any], key: str, default: list[float]) -> Float64[np.ndarray, " n"]:
        value = owner.get(key, default)
        sane = isinstance(value, list) and len(value) == len(default)
        if not sane or any(isinstance(v, bool) or not isinstance(v, int | float) or not abs(v) < 1e30 for v in value):
            raise self.error(f"{len(default)} finite numbers as {key}", repr(value))
        return np.array(value, np.float64)

    def entry(self, table: str, index: object) -> dict[str, Any]:
        rows = self.items(self.data, table)
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(rows):
            raise self.error(f"an index into the {len(rows)} {table}", repr(index))
        if not isinstance(rows[index], dict):
            raise self.error(f"an object as {table}[{index}]", repr(rows[index]))
        return dict(rows[index])

    def refuse_extensions(self, understood: set[str]) -> None:
        """Refuse required extensions that are neither understood nor harmless."""
        required = {str(name) for name in self.items(self.data, "extensionsRequired")}
        if required & COMPRESSED:
            next_step = "Decompress it first, for instance with `gltf-transform copy` (and `dequantize`)."
            raise self.error("uncompressed geometry", ", ".join(sorted(required & COMPRESSED)), next_step)
        if required - HARMLESS - understood:
            unknown = ", ".join(sorted(required - HARMLESS - understood))
            raise self.error("no required extensions but harmless ones", unknown, "Export without it.")

    def rest_matrix(self, node: dict[str, Any]) -> Float64[np.ndarray, "4 4"]:
        """From the node to its parent, as the file states it."""
        if "matrix" in node:
            return self.numbers(node, "matrix", [0.0] * 16).reshape(4, 4).T  # stored by columns
        quaternion = self.numbers(node, "rotation", [0.0, 0.0, 0.0, 1.0])
        norm = np.linalg.norm(quaternion)
        if abs(norm - 1) > 1e-3:
            raise self.error("unit quaternions as rotation", quaternion)
        return trs_matrix(
            self.numbers(node, "translation", [0.0] * 3), quaternion / norm, self.numbers(node, "scale", [1.0] * 3)
        )

    def view(self, index: object) -> memoryview:
        """The bytes of a buffer view."""
        view = self.entry("bufferViews", index)
        buffer = self.entry("buffers", view.get("buffer"))
        content = self.buffers[view["buffer"]]
        start, length = self.whole(view, "byteOffset", 0), self.whole(view, "byteLength")
        end = min(len(content), self.whole(buffer, "byteLength"))
        if start + length > end:
            raise self.error(f"buffer views inside the {end} bytes of data", f"bytes {start} to {start + length}")
        return memoryview(content)[start : start + length]

    def accessor(self, index: object, kinds: tuple[str, ...], codes: tuple[str, ...]) -> np.ndarray:
        """The accessor's values as they are stored, [count, width]; a view of the buffer unless it is sparse.

        Args:
            kinds, codes: the types ("VEC3") and numbers ("f4", "u2") that are accepted.
        """
        accessor = self.entry("accessors", index)
        kind, component = accessor.get("type"), accessor.get("componentType")
        code = COMPONENTS.get(component, "") if isinstance(component, int) else ""
        if kind not in kinds or code.lstrip("<") not in codes:
            raise self.error(f"accessor {index} of {kinds} and {codes}", f"{kind} and component {component}")
        item, width, count = np.dtype(code), WIDTHS[kind], self.whole(accessor, "count")
        if not 1 <= count <= 3 * MAX_POINTS:
            raise self.error(f"1 to {3 * MAX_POINTS} elements inside its data, in accessor {index}", count)
        if "bufferView" in accessor:
            values = self._strided(accessor, f"accessor {index}", item, count, width)
        elif count * width <= MAX_SPARSE_NUMBERS:
            values = np.broadcast_to(np.zeros(1, item), (count, width))  # takes no memory
        else:
            raise self.error(f"data for accessor {index}, or at most {MAX_SPARSE_NUMBERS} sparse numbers", count)
        if "sparse" in accessor:
            values = self._corrected(values, self.child(accessor, "sparse"), index)
        if item.kind == "f" and not np.isfinite(values).all():
            raise self.error(f"finite numbers in accessor {index}", "NaN or infinity")
        return values

    def _strided(self, owner: dict[str, Any], name: str, item: np.dtype, count: int, width: int) -> np.ndarray:
        """`owner` is an accessor, or the indices or values of a sparse one."""
        data, offset = self.view(owner["bufferView"]), self.whole(owner, "byteOffset", 0)
        size = width * item.itemsize
        stride = self.whole(self.entry("bufferViews", owner["bufferView"]), "byteStride", 0) or size
        if stride < size or stride > 252:
            raise self.error(f"a byteStride of {size} to 252", stride)
        if offset + (count - 1) * stride + size > len(data):
            raise self.error(f"{name} inside its {len(data)} bytes", f"{count} x {stride} bytes from {offset}")
        return np.ndarray((count, width), item, data, offset, (stride, item.itemsize))

    def _corrected(self, values: np.ndarray, sparse: dict[str, Any], index: object) -> np.ndarray:
        where, what = self.child(sparse, "indices"), self.child(sparse, "values")
        name, component = f"sparse accessor {index}", where.get("componentType")
        code = COMPONENTS.get(component, "") if isinstance(component, int) else ""
        count = sparse.get("count")
        sane = isinstance(count, int) and not isinstance(count, bool) and 1 <= count <= len(values)
        if not sane or code.lstrip("<") not in INTEGERS or "bufferView" not in where or "bufferView" not in what:
            raise self.error(f"1 to {len(values)} indices and values of {name}", f"{count}, component {component}")
        assert isinstance(count, int)  # sane
        rows = self._strided(where, f"indices of {name}", np.dtype(code), count, 1)[:, 0].astype(np.int64)
        if rows.max() >= len(values) or (np.diff(rows) <= 0).any():
            raise self.error(f"increasing indices below {len(values)} in {name}", rows[:8].tolist())
        values = values.copy()
        values[rows] = self._strided(what, f"values of {name}", values.dtype, count, values.shape[1])
        return values

    def floats(self, index: object, *kinds: str) -> np.ndarray:
        """An accessor's values as float32 or float64 [count, width]; integers become what `normalized` says."""
        values = self.accessor(index, kinds, NUMBERS)
        if values.dtype.kind == "f":
            return values
        if not self.entry("accessors", index).get("normalized", False):
            return values.astype(np.float32)
        return np.maximum(values / np.float32(np.iinfo(values.dtype).max), np.float32(-1))

    def picture(self, index: object) -> UInt8[np.ndarray, "H W 4"]:
        """An entry of `images` as RGBA."""
        image = self.entry("images", index)
        if "uri" in image:
            return read_picture(self.path, io.BytesIO(_load(self.path, image["uri"], MAX_GLB_BYTES)))
        return read_picture(self.path, io.BytesIO(self.view(image.get("bufferView"))))


def trs_matrix(translation: np.ndarray, quaternion: np.ndarray, scale: np.ndarray) -> Float64[np.ndarray, "*n 4 4"]:
    """Scale, then rotation by the unit quaternion (x, y, z, w), then translation; over any leading axes."""
    x, y, z, w = np.moveaxis(quaternion, -1, 0)
    matrix = np.zeros((*np.broadcast_shapes(translation.shape[:-1], quaternion.shape[:-1], scale.shape[:-1]), 4, 4))
    matrix[..., 0, 0], matrix[..., 0, 1] = 1 - 2 * (y * y + z * z), 2 * (x * y - z * w)
    matrix[..., 1, 0], matrix[..., 1, 1] = 2 * (x * y + z * w), 1 - 2 * (x * x + z * z)
    matrix[..., 2, 0], matrix[..., 2, 1] = 2 * (x * z - y * w), 2 * (y * z + x * w)
    matrix[..., 0, 2], matrix[..., 1, 2] = 2 * (x * z + y * w), 2 * (y * z - x * w)
    matrix[..., 2, 2], matrix[..., 3, 3] = 1 - 2 * (x * x + y * y), 1
    matrix[..., :3, :3] *= scale[..., None, :]
    matrix[..., :3, 3] = translation
    return matrix


def open_glb(path: Path) -> GltfFile:
    """A GLB file with the data inside it; what URIs name is not loaded."""
    size = _size(path, 20, "a GLB file")
    content = path.read_bytes()
    magic, version, length, text_length, text_kind = struct.unpack_from("<5I", content)
    if (magic, version) != (MAGIC, 2):
        raise FormatError(
            path, "binary glTF, version 2", f"{content[:8]!r}", "Pack a .gltf and its files as GLB first."
        )
    if length != size or text_kind != JSON_CHUNK or text_length > min(size - 20, MAX_JSON_BYTES):
        found = f"{size} bytes, {length} declared, {text_length} of JSON"
        raise FormatError(path, "a JSON chunk first, and the declared length", found)
    start, binary = 20 + text_length, b""
    if start < size:
        if start + 8 > size or sum(struct.unpack_from("<I", content, start)) > size - start - 8:
            raise FormatError(path, "chunks inside the file", f"a chunk at byte {start} of {size}")
        length, kind = struct.unpack_from("<II", content, start)
        binary = content[start + 8 : start + 8 + length] if kind == BIN_CHUNK else b""
    gltf = _parsed(path, content[20 : 20 + text_length])
    count = len(gltf.items(gltf.data, "buffers"))
    return GltfFile(path, gltf.data, (binary, *[b""] * (count - 1))[:count])


def open_gltf(path: Path) -> GltfFile:
    """A .glb or .gltf file with all its buffers: inside it, as data URIs, or beside it in the same folder."""
    if path.suffix.lower() == ".gltf":
        if _size(path, 2, "a glTF file") > MAX_JSON_BYTES:
            raise FormatError(path, f"at most {MAX_JSON_BYTES} bytes of JSON", f"{path.stat().st_size}", "Pack a GLB.")
        gltf = _parsed(path, path.read_bytes())
    else:
        gltf = open_glb(path)
    version = gltf.child(gltf.data, "asset").get("version")
    if not isinstance(version, str) or not version.startswith("2."):
        raise gltf.error("glTF of version 2", repr(version))
    buffers, left = [], MAX_GLB_BYTES
    for k, buffer in enumerate(gltf.objects(gltf.data, "buffers")):
        content = _load(path, buffer["uri"], left) if "uri" in buffer else b"".join(gltf.buffers[k : k + 1])
        if len(content) < gltf.whole(buffer, "byteLength"):
            raise gltf.error(f"{buffer['byteLength']} bytes in buffer {k}", len(content))
        left -= len(content)
        buffers.append(content)
    return GltfFile(path, gltf.data, tuple(buffers))


def _parsed(path: Path, text: bytes) -> GltfFile:
    data = parse_json(path, text)
    if not isinstance(data, dict):
        raise FormatError(path, "a JSON object", f"{data!r}"[:80])
    return GltfFile(path, data, ())


def _size(path: Path, least: int, kind: str) -> int:
    if not path.is_file():
        raise FormatError(path, kind, "no such file")
    size = path.stat().st_size
    if not least <= size <= MAX_GLB_BYTES:
        raise FormatError(path, f"{kind} of {least} to {MAX_GLB_BYTES} bytes", f"{size}")
    return size


def _load(path: Path, uri: object, limit: int) -> bytes:
    """What a URI in `path` stands for: base64 data, or a file in the same folder or below it, at most `limit` bytes."""
    if not isinstance(uri, str):
        raise FormatError(path, "text as uri", f"{uri!r:.80}")
    if uri.startswith("data:"):
        head, _, text = uri.partition(",")
        try:
            if not head.endswith(";base64"):
                raise ValueError(head[:80])
            return base64.b64decode(text, validate=True)
        except (ValueError, binascii.Error) as error:
            raise FormatError(path, "base64 in a data URI", f"{error}"[:120]) from None
    file = named(path.parent, unquote(uri), path)
    if not file.is_file():
        raise FormatError(path, f"the file {uri!r:.120} beside it", "no such file")
    if file.stat().st_size > limit:
        raise FormatError(path, f"at most {limit} bytes in {uri!r:.120}", f"{file.stat().st_size}")
    return file.read_bytes()
