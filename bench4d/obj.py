"""Import of Wavefront OBJ files with their MTL materials: the polygons as one `Mesh`.

OBJ states neither axes nor colour spaces: positions are taken as they are, and colours as sRGB. A surface has the
colours of the first of these that there is: a texture (map_Kd; not dimmed by Kd, which exporters leave at some grey),
colours of vertices (`v x y z r g b`, in [0, 1]), colours of materials (Kd, with d as alpha), the caller's colour.

Polygons become fans of triangles, which is right for convex ones. Normals, groups, smoothing, lines and points mean
nothing to a renderer that adds no light; free-form surfaces are refused.
"""

from __future__ import annotations

import io
import itertools
from array import array
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from .asset import MAX_POINTS, Mesh
from .errors import FormatError
from .files import named, read_picture

MAX_OBJ_BYTES = 256 * 2**20
MAX_MTL_BYTES = 2**20
MAX_LINE_BYTES = 2**16
MAX_FLOAT = float(np.finfo(np.float32).max)
IGNORED = {"vn", "vp", "o", "g", "s", "l", "p", "mg", "lod", "shadow_obj", "trace_obj", "bevel", "c_interp", "d_interp"}


@dataclass(frozen=True)
class Material:
    """Kd and d as RGBA in [0, 1]; the file of map_Kd."""

    color: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    texture: Path | None = None


@dataclass
class _Lines:
    """What the lines of a file say, in flat arrays: Python's own lists would take ten times the memory."""

    numbers: array = field(default_factory=lambda: array("d"))  # x y z [r g b] of all vertices
    width: int = 0  # 3 or 6
    uv: array = field(default_factory=lambda: array("d"))
    corners: array = field(default_factory=lambda: array("q"))  # (vertex, uv or -1) for each corner of each triangle
    material: array = field(default_factory=lambda: array("q"))  # of each triangle, an index into `names`
    names: list[str] = field(default_factory=list)  # of materials; "" for a face before any usemtl
    libraries: list[str] = field(default_factory=list)


def read_obj(path: Path, color: tuple[int, int, int, int] | None = None) -> Mesh:
    """The polygons of an OBJ file. Materials and textures must lie in the file's folder. Raises FormatError.

    Args:
        color: RGBA for files without any colours, which are refused otherwise.
    """
    if not path.is_file():
        raise FormatError(path, "an OBJ file", "no such file")
    if path.stat().st_size > MAX_OBJ_BYTES:
        raise FormatError(path, f"at most {MAX_OBJ_BYTES} bytes of OBJ", f"{path.stat().st_size}", "Write it as GLB.")
    lines = _read_lines(path)
    if not len(lines.material):
        raise FormatError(path, "at least one face", "none")
    table = np.array(lines.numbers).reshape(-1, lines.width)
    corners = np.array(lines.corners).reshape(-1, 3, 2)
    used, material = np.unique(np.array(lines.material), return_inverse=True)
    library = _read_libraries(path, lines.libraries)
    materials = []
    for name in (lines.names[k] for k in used):
        if name and name not in library:
            raise FormatError(path, f"materials among {sorted(library)[:8]}", f"usemtl {name:.80}")
        materials.append(library.get(name))
    if any(m is not None and m.texture is not None for m in materials):
        return _textured(path, table, np.array(lines.uv).reshape(-1, 2), corners, materials)
    return _colored(path, table, corners[..., 0], material, materials, color)


def _textured(
    path: Path,
    table: Float64[np.ndarray, "V W"],
    uv: Float64[np.ndarray, "U 2"],
    corners: Int64[np.ndarray, "F 3 2"],
    materials: list[Material | None],
) -> Mesh:
    textures = {m.texture if m is not None else None for m in materials}
    if len(textures) > 1:
        raise FormatError(path, "one texture for everything, or none", f"{len(textures)}", "Bake one texture atlas.")
    (texture,) = textures
    assert texture is not None  # the caller saw one
    if (corners[..., 1] < 0).any():
        raise FormatError(path, "texture coordinates for each corner of a textured face", "a corner without")
    pairs, faces = np.unique(corners.reshape(-1, 2), axis=0, return_inverse=True)
    flipped = uv[pairs[:, 1]] * [1, -1] + [0, 1]  # OBJ counts from the lower left corner
    return Mesh(
        table[pairs[:, 0], :3].astype(np.float32),
        faces.reshape(-1, 3).astype(np.int32),
        uv=flipped.astype(np.float32),
        texture=read_picture(texture, texture),
    )


def _colored(
    path: Path,
    table: Float64[np.ndarray, "V W"],
    faces: Int64[np.ndarray, "F 3"],
    material: Int64[np.ndarray, " F"],
    materials: list[Material | None],
    color: tuple[int, int, int, int] | None,
) -> Mesh:
    default = Material() if color is None else Material(tuple(c / 255 for c in color))  # type: ignore[arg-type]
    if table.shape[1] == 6:
        colors = np.full((len(table), 4), 255, np.uint8)
        colors[:, :3] = _bytes(path, table[:, 3:])
        return Mesh(table[:, :3].astype(np.float32), faces.astype(np.int32), colors)
    if None in materials and color is None:
        raise FormatError(path, "a texture, or colours of vertices or materials", "a surface without colour")
    palette = _bytes(path, np.array([(m or default).color for m in materials]))
    if len(palette) == 1:  # vertices stay as they are
        colors = np.repeat(palette, len(table), axis=0)
        return Mesh(table[:, :3].astype(np.float32), faces.astype(np.int32), colors)
    pairs = np.stack([faces, np.broadcast_to(material[:, None], faces.shape)], -1).reshape(-1, 2)
    pairs, index = np.unique(pairs, axis=0, return_inverse=True)  # a vertex between two colours is needed twice
    vertices = table[pairs[:, 0], :3].astype(np.float32)
    return Mesh(vertices, index.reshape(-1, 3).astype(np.int32), palette[pairs[:, 1]])


def _bytes(path: Path, colors: Float64[np.ndarray, "N C"]) -> UInt8[np.ndarray, "N C"]:
    if not ((colors >= 0) & (colors <= 1)).all():
        raise FormatError(path, "colours in [0, 1]", f"{colors.min()} to {colors.max()}")
    return np.rint(colors * 255).astype(np.uint8)


def _read_lines(path: Path) -> _Lines:
    """Line by line: each is checked where it stands, so that the error can say where."""
    content = path.read_bytes().replace(b"\\\r\n", b" ").replace(b"\\\n", b" ")  # continued lines
    found, numbers_of, material = _Lines(), dict[str, int](), ""
    for number, line in enumerate(io.BytesIO(content), 1):
        try:
            if len(line) > MAX_LINE_BYTES:
                raise ValueError(f"lines of at most {MAX_LINE_BYTES} bytes")
            words = line.partition(b"#")[0].decode("utf-8").split()
            keyword = words[0] if words else ""
            if keyword == "v":
                _add_vertex(found, _finite(words[1:]))
            elif keyword == "f":
                triangles = _add_face(found, words[1:])
                found.material.extend([numbers_of.setdefault(material, len(numbers_of))] * triangles)
            elif keyword == "vt":
                if not 2 <= len(words) <= 4:
                    raise ValueError("vt u v")
                found.uv.extend(_finite([words[1], words[2] if len(words) > 2 else "0"]))
            elif keyword == "usemtl":
                material = _rest(line)
            elif keyword == "mtllib":
                found.libraries.append(_rest(line))
            elif keyword and keyword not in IGNORED:
                raise ValueError("polygons: v, vt, vn, f, o, g, s, mtllib, usemtl")
        except ValueError as error:
            raise FormatError(f"{path}, line {number}", f"{error}"[:120], f"{line[:80]!r}") from None
        if len(found.numbers) > 6 * MAX_POINTS or len(found.material) > MAX_POINTS:
            raise FormatError(path, f"at most {MAX_POINTS} vertices and triangles", "more")
    found.names.extend(numbers_of)
    return found


def _finite(words: list[str]) -> list[float]:
    values = [float(word) for word in words]
    if not all(abs(value) <= MAX_FLOAT for value in values):
        raise ValueError("finite numbers")
    return values


def _add_vertex(found: _Lines, values: list[float]) -> None:
    """x y z, then nothing, or w = 1, or r g b; all vertices of a file alike."""
    if len(values) == 4 and values[3] == 1:
        values = values[:3]
    found.width = found.width or len(values)
    if len(values) not in (3, 6) or len(values) != found.width:
        raise ValueError("v x y z, or v x y z r g b in all lines")
    found.numbers.extend(values)


def _add_face(found: _Lines, words: list[str]) -> int:
    """The corners of a fan of triangles; returns how many. Indices count from 1, or back from the end if negative."""
    if len(words) < 3:
        raise ValueError("f with at least three corners")
    n_vertices, n_uv, corners = len(found.numbers) // max(found.width, 1), len(found.uv) // 2, []
    for word in words:
        parts = word.split("/")
        if len(parts) > 3:
            raise ValueError("corners as v, v/vt, v//vn or v/vt/vn")
        vertex = _zero_based(parts[0], n_vertices, "vertices")
        corners.append((vertex, _zero_based(parts[1], n_uv, "vt lines") if len(parts) > 1 and parts[1] else -1))
    for second, third in itertools.pairwise(corners[1:]):
        found.corners.extend((*corners[0], *second, *third))
    return len(words) - 2


def _zero_based(word: str, count: int, what: str) -> int:
    index = int(word) if len(word) < 12 else 0
    index = index - 1 if index > 0 else count + index if index < 0 else -1
    if not 0 <= index < count:
        raise ValueError(f"an index into the {count} {what} so far (1 to {count}, or -{count} to -1)")
    return index


def _rest(line: bytes) -> str:
    """What follows the keyword: names may have spaces."""
    words = line.decode("utf-8").strip().split(maxsplit=1)
    if len(words) < 2:
        raise ValueError("a name")
    return words[1]


def _read_libraries(path: Path, names: list[str]) -> dict[str, Material]:
    materials: dict[str, Material] = {}
    for name in dict.fromkeys(names):
        file = named(path.parent, name, path)
        if not file.is_file():
            raise FormatError(file, f"the materials of {path.name}", "no such file", "Put the MTL file beside the OBJ.")
        if file.stat().st_size > MAX_MTL_BYTES:
            raise FormatError(file, f"at most {MAX_MTL_BYTES} bytes of materials", f"{file.stat().st_size}")
        materials |= _read_library(path, file)
    return materials


def _read_library(path: Path, file: Path) -> dict[str, Material]:
    """The materials of one MTL file, of which only what decides the diffuse colour is looked at."""
    materials: dict[str, Material] = {}
    current = ""
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        try:
            words = line.partition(b"#")[0].decode("utf-8").split()
            keyword = words[0] if words else ""
            if keyword == "newmtl":
                current = _rest(line)
                materials[current] = Material()
            elif keyword in ("Kd", "d", "Tr", "map_Kd", "map_d"):
                if not current:
                    raise ValueError("newmtl before it")
                materials[current] = _changed(path, materials[current], keyword, words[1:], _rest(line))
        except FormatError:
            raise
        except ValueError as error:
            raise FormatError(f"{file}, line {number}", f"{error}"[:120], f"{line[:80]!r}") from None
    return materials


def _changed(path: Path, material: Material, keyword: str, words: list[str], rest: str) -> Material:
    if keyword == "map_d":
        raise ValueError("alpha in the texture of map_Kd, or no alpha")
    if keyword == "map_Kd":
        if rest.startswith("-"):
            raise ValueError("map_Kd FILE without options")
        return replace(material, texture=named(path.parent, rest, path))
    values = [float(word) for word in words]
    if len(values) != (3 if keyword == "Kd" else 1) or not all(0 <= value <= 1 for value in values):
        raise ValueError("Kd r g b, or d or Tr with one number, all in [0, 1]")
    if keyword == "Kd":
        return replace(material, color=(values[0], values[1], values[2], material.color[3]))
    return replace(material, color=(*material.color[:3], values[0] if keyword == "d" else 1 - values[0]))
