"""Import of GLB files (binary glTF 2.0): the triangles of a static scene as one `Mesh`.

Axes: our world has z up and the input camera on the -y side; glTF has y up and the front of an asset towards +z. So
glTF (x, y, z) = world (x, z, -y): a rotation by signed axes, exact in floating point.

Colours: the base colour is taken as the emitted colour; lights, normal maps, metal and emission are not looked at. By
the standard a base colour texture is sRGB, while vertex colours and factors are linear. Alpha follows alphaMode:
OPAQUE is 1 everywhere, MASK keeps the values for the usual cutoff of 0.5 and becomes 0 or 1 for another.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from .asset import MAX_POINTS, Mesh
from .errors import FormatError, within
from .files import MAX_JSON_BYTES, parse_json, read_picture

MAX_GLB_BYTES = 2**29
MAGIC, JSON_CHUNK, BIN_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942
COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
GLTF_FROM_WORLD = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], np.float64)
COMPRESSED = {"KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_mesh_quantization"}
HARMLESS = {"KHR_materials_unlit", "KHR_materials_emissive_strength", "KHR_materials_specular", "KHR_materials_ior"}
REPEAT = 10497


def linear_from_srgb(srgb: np.ndarray) -> np.ndarray:
    """Both in [0, 1] (IEC 61966-2-1)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def srgb_from_linear(linear: np.ndarray) -> np.ndarray:
    """Both in [0, 1] (IEC 61966-2-1)."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)


@dataclass(frozen=True)
class _Material:
    """What decides a primitive's colour. Equal materials are one texture."""

    texture: int | None
    uv_set: int
    factor: tuple[float, ...]
    alpha_mode: str
    cutoff: float


@dataclass(frozen=True)
class _Part:
    """One primitive in our world. `surface` holds colours (RGBA uint8), or uv if the material has a texture."""

    vertices: Float32[np.ndarray, "V 3"]
    faces: Int64[np.ndarray, "F 3"]
    surface: np.ndarray
    material: _Material | None


@dataclass(frozen=True)
class _Gltf:
    """A parsed file. Its methods look things up in JSON that may hold anything."""

    path: Path
    data: dict[str, Any]
    binary: bytes

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


def read_glb(path: Path, vertex_colors: Literal["linear", "srgb"] = "linear", rest_pose: bool = False) -> Mesh:
    """All triangles of the default scene as one mesh in our world, node transforms applied.

    Several primitives are merged if none is textured, or if all share one textured material.

    Args:
        vertex_colors: the standard says linear; some exporters (trimesh, Open3D) put sRGB values there.
        rest_pose: take an animated file's nodes and unmorphed vertices as they stand. Otherwise it is refused: nothing
            here evaluates animations. Skins are refused in any case.
    """
    gltf = _open(path)
    _refuse_what_is_not_read(gltf, rest_pose)
    parts, total = [], 0
    for matrix, mesh in _placed_meshes(gltf):
        for primitive in gltf.items(mesh, "primitives"):
            if not isinstance(primitive, dict):
                raise gltf.error("an object as primitive", repr(primitive))
            part = _read_primitive(gltf, primitive, matrix, vertex_colors, rest_pose)
            total += len(part.vertices) + len(part.faces)
            if total > MAX_POINTS:
                raise gltf.error(f"at most {MAX_POINTS} vertices and faces", "more")
            parts.append(part)
    if not parts:
        raise gltf.error("triangles in the default scene", "none")
    materials = {part.material for part in parts}
    if len(materials) > 1:
        raise gltf.error(
            "one textured material for everything, or none", f"{len(materials)}", "Bake one texture atlas."
        )
    ends = np.cumsum([len(part.vertices) for part in parts])
    vertices = np.concatenate([part.vertices for part in parts])
    faces = np.concatenate(
        [part.faces + end - len(part.vertices) for part, end in zip(parts, ends, strict=True)]
    ).astype(np.int32)
    surface = np.concatenate([part.surface for part in parts])
    (material,) = materials
    texture = _read_texture(gltf, material, surface) if material else None
    with within(path):
        if texture is None:
            return Mesh(vertices, faces, colors=surface)
        return Mesh(vertices, faces, uv=surface, texture=texture)


def _open(path: Path) -> _Gltf:
    if not path.is_file():
        raise FormatError(path, "a GLB file", "no such file")
    size = path.stat().st_size
    if not 20 <= size <= MAX_GLB_BYTES:
        raise FormatError(path, f"a GLB file of 20 to {MAX_GLB_BYTES} bytes", f"{size}")
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
    data = parse_json(path, content[20 : 20 + text_length])
    if not isinstance(data, dict):
        raise FormatError(path, "a JSON object", f"{data!r}"[:80])
    return _Gltf(path, data, binary)


def _refuse_what_is_not_read(gltf: _Gltf, rest_pose: bool) -> None:
    required = {str(name) for name in gltf.items(gltf.data, "extensionsRequired")}
    if required & COMPRESSED:
        next_step = "Decompress it first, for instance with `gltf-transform copy` (and `dequantize`)."
        raise gltf.error("uncompressed geometry", ", ".join(sorted(required & COMPRESSED)), next_step)
    if required - HARMLESS:
        raise gltf.error("no required extensions but harmless ones", ", ".join(sorted(required - HARMLESS)))
    if gltf.items(gltf.data, "skins"):
        raise gltf.error("a scene without skins", "a skinned mesh", "Export each frame as its own static GLB.")
    if gltf.items(gltf.data, "animations") and not rest_pose:
        next_step = "Export each frame as its own static GLB, or ask for the rest pose."
        raise gltf.error("a static scene", "animations, which are not evaluated", next_step)
    buffers = gltf.items(gltf.data, "buffers")
    if len(buffers) > 1 or any("uri" in gltf.entry("buffers", k) for k in range(len(buffers))):
        raise gltf.error("all data inside the file", "several buffers or a URI", "Pack everything into one GLB.")


def _placed_meshes(gltf: _Gltf) -> list[tuple[Float64[np.ndarray, "4 4"], dict[str, Any]]]:
    """(node to glTF world, mesh) for each node of the default scene that has a mesh."""
    scene = gltf.entry("scenes", gltf.data.get("scene", 0))
    stack = [(index, np.eye(4)) for index in reversed(gltf.items(scene, "nodes"))]
    placed, seen = [], set()
    while stack:
        index, parent = stack.pop()
        node = gltf.entry("nodes", index)
        if index in seen:
            raise gltf.error("a tree of nodes", f"node {index} twice")
        seen.add(index)
        if "EXT_mesh_gpu_instancing" in gltf.child(node, "extensions"):
            raise gltf.error("no instancing", "EXT_mesh_gpu_instancing")
        with np.errstate(over="ignore", invalid="ignore"):
            matrix = parent @ _local_matrix(gltf, node)
        if "mesh" in node:
            placed.append((matrix, gltf.entry("meshes", node["mesh"])))
        stack += [(child, matrix) for child in reversed(gltf.items(node, "children"))]
    return placed


def _local_matrix(gltf: _Gltf, node: dict[str, Any]) -> Float64[np.ndarray, "4 4"]:
    if "matrix" in node:
        return gltf.numbers(node, "matrix", [0.0] * 16).reshape(4, 4).T  # stored by columns
    quaternion = gltf.numbers(node, "rotation", [0.0, 0.0, 0.0, 1.0])
    norm = np.linalg.norm(quaternion)
    if abs(norm - 1) > 1e-3:
        raise gltf.error("unit quaternions as rotation", quaternion)
    x, y, z, w = quaternion / norm
    rotation = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(rotation) * gltf.numbers(node, "scale", [1.0] * 3)
    matrix[:3, 3] = gltf.numbers(node, "translation", [0.0] * 3)
    return matrix


def _read_primitive(
    gltf: _Gltf, primitive: dict[str, Any], matrix: Float64[np.ndarray, "4 4"], vertex_colors: str, rest_pose: bool
) -> _Part:
    if gltf.whole(primitive, "mode", 4) != 4:
        raise gltf.error("triangles (mode 4)", f"mode {primitive['mode']}", "Convert strips, fans, lines and points.")
    if gltf.items(primitive, "targets") and not rest_pose:
        next_step = "Export each frame as its own static GLB, or ask for the rest pose."
        raise gltf.error("a static mesh", "morph targets, which are not evaluated", next_step)
    attributes = gltf.child(primitive, "attributes")
    points = _accessor(gltf, attributes.get("POSITION"), ("VEC3",), ("f4",)).astype(np.float64)
    linear = matrix[:3, :3]
    with np.errstate(over="ignore", invalid="ignore"):  # Mesh refuses what is not finite
        vertices = ((points @ linear.T + matrix[:3, 3]) @ GLTF_FROM_WORLD).astype(np.float32)
        mirrored = np.linalg.det(linear) < 0
    if "indices" in primitive:
        flat = _accessor(gltf, primitive["indices"], ("SCALAR",), ("u1", "u2", "u4"))[:, 0].astype(np.int64)
    else:
        flat = np.arange(len(vertices))
    if len(flat) % 3 or flat.max(initial=0) >= len(vertices):
        raise gltf.error(
            f"three indices a triangle, all below {len(vertices)}", f"{len(flat)} up to {flat.max(initial=0)}"
        )
    faces = flat.reshape(-1, 3)
    if mirrored:  # this turns the winding; the standard asks to turn it back
        faces = faces[:, ::-1]
    material = _read_material(gltf, primitive)
    colors = np.ones((len(vertices), 4))
    if "COLOR_0" in attributes:
        given = _accessor(gltf, attributes["COLOR_0"], ("VEC3", "VEC4"), ("f4", "u1", "u2"))
        scale = 1.0 if given.dtype.kind == "f" else np.iinfo(given.dtype).max
        if len(given) != len(vertices):
            raise gltf.error(f"{len(vertices)} vertex colours", f"{len(given)}")
        colors[:, : given.shape[1]] = np.clip(given / scale, 0, 1)
        if vertex_colors == "srgb":
            colors[:, :3] = linear_from_srgb(colors[:, :3])
    if material.texture is None:
        return _Part(vertices, faces, _emitted(colors, material), None)
    if (colors != 1).any():
        raise gltf.error("a texture or vertex colours", "both, to be multiplied", "Bake them into one texture.")
    uv = _accessor(gltf, attributes.get(f"TEXCOORD_{material.uv_set}"), ("VEC2",), ("f4", "u1", "u2"))
    scale = 1.0 if uv.dtype.kind == "f" else np.iinfo(uv.dtype).max
    if len(uv) != len(vertices):
        raise gltf.error(f"{len(vertices)} texture coordinates", f"{len(uv)}")
    return _Part(vertices, faces, (uv / scale).astype(np.float32), material)


def _read_material(gltf: _Gltf, primitive: dict[str, Any]) -> _Material:
    if "material" not in primitive:
        return _Material(None, 0, (1.0, 1.0, 1.0, 1.0), "OPAQUE", 0.5)
    material = gltf.entry("materials", primitive["material"])
    extensions = gltf.child(material, "extensions")
    if "KHR_materials_pbrSpecularGlossiness" in extensions and "pbrMetallicRoughness" not in material:
        raise gltf.error("a base colour", "KHR_materials_pbrSpecularGlossiness only", "Convert the material first.")
    pbr = gltf.child(material, "pbrMetallicRoughness")
    info = gltf.child(pbr, "baseColorTexture")
    if "KHR_texture_transform" in gltf.child(info, "extensions"):
        raise gltf.error(
            "texture coordinates as they are", "KHR_texture_transform", "Apply it to the coordinates first."
        )
    factor = np.clip(gltf.numbers(pbr, "baseColorFactor", [1.0] * 4), 0, 1)
    mode, cutoff = material.get("alphaMode", "OPAQUE"), material.get("alphaCutoff", 0.5)
    if mode not in ("OPAQUE", "MASK", "BLEND") or isinstance(cutoff, bool) or not isinstance(cutoff, int | float):
        raise gltf.error("alphaMode OPAQUE, MASK or BLEND and a number as alphaCutoff", f"{mode!r}, {cutoff!r}")
    texture = gltf.whole(info, "index") if info else None
    return _Material(texture, gltf.whole(info, "texCoord", 0), tuple(factor.tolist()), mode, float(cutoff))


def _emitted(linear: Float64[np.ndarray, "*n 4"], material: _Material) -> UInt8[np.ndarray, "*n 4"]:
    """Linear colours times the material's factor, as sRGB bytes with the alpha that its mode asks for."""
    product = linear * material.factor
    product[..., :3] = srgb_from_linear(product[..., :3])
    if material.alpha_mode == "OPAQUE":
        product[..., 3] = 1
    elif material.alpha_mode == "MASK" and material.cutoff != 0.5:
        product[..., 3] = product[..., 3] >= material.cutoff
    return np.rint(product * 255).astype(np.uint8)


def _read_texture(gltf: _Gltf, material: _Material, uv: Float32[np.ndarray, "V 2"]) -> UInt8[np.ndarray, "H W 4"]:
    texture = gltf.entry("textures", material.texture)
    sampler = gltf.entry("samplers", texture["sampler"]) if "sampler" in texture else {}
    wraps = {gltf.whole(sampler, "wrapS", REPEAT), gltf.whole(sampler, "wrapT", REPEAT)}
    if wraps != {REPEAT} and ((uv < 0) | (uv > 1)).any():
        raise gltf.error(
            "a repeating texture, or coordinates from 0 to 1", f"wrap modes {wraps}, {uv.min()} to {uv.max()}"
        )
    image = gltf.entry("images", texture.get("source"))
    if "uri" in image:
        raise gltf.error("images inside the file", "a URI", "Pack everything into one GLB.")
    texels = read_picture(gltf.path, io.BytesIO(_view(gltf, image.get("bufferView"))))
    levels = np.repeat(np.arange(256)[:, None] / 255, 4, axis=1)  # a table: large textures stay bytes
    levels[:, :3] = linear_from_srgb(levels[:, :3])
    table = _emitted(levels, material)
    return np.stack([table[texels[..., k], k] for k in range(4)], axis=-1)


def _view(gltf: _Gltf, index: object) -> memoryview:
    view = gltf.entry("bufferViews", index)
    buffer = gltf.entry("buffers", view.get("buffer"))
    start, length = gltf.whole(view, "byteOffset", 0), gltf.whole(view, "byteLength")
    end = min(len(gltf.binary), gltf.whole(buffer, "byteLength"))
    if start + length > end:
        raise gltf.error(f"buffer views inside the {end} bytes of data", f"bytes {start} to {start + length}")
    return memoryview(gltf.binary)[start : start + length]


def _accessor(gltf: _Gltf, index: object, kinds: tuple[str, ...], codes: tuple[str, ...]) -> np.ndarray:
    """The accessor's values as they are stored, [count, width]."""
    accessor = gltf.entry("accessors", index)
    if "sparse" in accessor or "bufferView" not in accessor:
        raise gltf.error("dense accessors", "a sparse one, or one without data", "Export without sparse accessors.")
    kind, component = accessor.get("type"), accessor.get("componentType")
    code = COMPONENTS.get(component, "") if isinstance(component, int) else ""
    if kind not in kinds or code.lstrip("<") not in codes:
        raise gltf.error(f"accessor {index} of {kinds} and {codes}", f"{kind} and component {component}")
    data, item, width = _view(gltf, accessor["bufferView"]), np.dtype(code), WIDTHS[kind]
    count, offset = gltf.whole(accessor, "count"), gltf.whole(accessor, "byteOffset", 0)
    stride = gltf.whole(gltf.entry("bufferViews", accessor["bufferView"]), "byteStride", 0) or width * item.itemsize
    if stride < width * item.itemsize or stride > 252:
        raise gltf.error(f"a byteStride of {width * item.itemsize} to 252", stride)
    if not 1 <= count <= 3 * MAX_POINTS or offset + (count - 1) * stride + width * item.itemsize > len(data):
        raise gltf.error(f"accessor {index} inside its {len(data)} bytes", f"{count} x {stride} bytes from {offset}")
    values = np.ndarray((count, width), item, data, offset, (stride, item.itemsize))
    if item.kind == "f" and not np.isfinite(values).all():
        raise gltf.error(f"finite numbers in accessor {index}", "NaN or infinity")
    return values
