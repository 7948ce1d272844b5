"""PLY files: 3DGS Gaussians and triangle meshes. Reads binary (both byte orders) and ascii, writes little-endian.

Files come from strangers: the header is bounded, and what it declares is compared with the file's size before anything
is allocated. Only the layouts below are read; a property that we do not know may change what the others mean, so it is
refused by name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from jaxtyping import Float64

from .asset import MAX_POINTS, Gaussians, Mesh
from .errors import FormatError
from .files import atomic

MAX_HEADER_BYTES = 64 * 2**10
MAX_ASCII_BYTES = 64 * 2**20  # each number takes some 60 bytes while it is read
MAX_BINARY_BYTES = 2 * 2**30  # 8 million Gaussians of degree 3
TYPES = {
    "char": "i1",
    "uchar": "u1",
    "short": "<i2",
    "ushort": "<u2",
    "int": "<i4",
    "uint": "<u4",
    "float": "<f4",
    "double": "<f8",
}
TYPES |= {
    "int8": "i1",
    "uint8": "u1",
    "int16": "<i2",
    "uint16": "<u2",
    "int32": "<i4",
    "uint32": "<u4",
    "float32": "<f4",
    "float64": "<f8",
}
INTEGERS = {name for name, code in TYPES.items() if "f" not in code}
POSITION, NORMAL = ["x", "y", "z"], ["nx", "ny", "nz"]
GEOMETRY = ["opacity", *(f"scale_{k}" for k in range(3)), *(f"rot_{k}" for k in range(4))]
MAX_LOGIT = 104.0  # float32(sigmoid(-104)) is exactly 0 and float32(sigmoid(104)) exactly 1


@dataclass(frozen=True)
class Element:
    """`count` records of type `record`. A list of three corners is two fields: `<name>#` (always 3) and `<name>`."""

    name: str
    count: int
    record: np.dtype


def holds_gaussians(path: Path) -> bool:
    """Whether a PLY file's header is that of 3DGS Gaussians, and not that of a mesh."""
    with _opened(path) as file:
        _, elements = _read_header(path, file)
    return any("opacity" in _names(element.record) for element in elements if element.name == "vertex")


def read_gaussians(path: Path, dilation: float = 0.3, compensate: bool = False) -> Gaussians:
    """Gaussians as 3DGS stores them: logits, logarithms of scales, SH channel-major, rotation w x y z.

    The file does not say how its Gaussians were rasterised in training: the caller gives `dilation` and `compensate`.
    """
    (vertex,) = _read(path, ["vertex"])
    names = _names(vertex.dtype)
    rest = [f"f_rest_{k}" for k in range(sum(name.startswith("f_rest_") for name in names))]
    if len(rest) not in (0, 9, 24, 45):
        raise FormatError(path, "0, 9, 24 or 45 properties f_rest_* (degrees 0 to 3)", f"{len(rest)}")
    needed = [*POSITION, *(f"f_dc_{k}" for k in range(3)), *rest, *GEOMETRY]
    _expect_properties(path, names, needed, NORMAL)
    sh = np.empty((len(vertex), 1 + len(rest) // 3, 3), np.float32)
    sh[:, 0] = _columns(path, vertex, [f"f_dc_{k}" for k in range(3)])
    if rest:
        sh[:, 1:] = _columns(path, vertex, rest).reshape(len(vertex), 3, -1).transpose(0, 2, 1)
    quaternions = _columns(path, vertex, [f"rot_{k}" for k in range(4)])
    if not np.abs(quaternions).max(axis=1, initial=0).all():
        raise FormatError(path, "rotations other than 0 0 0 0", "a zero quaternion")
    with np.errstate(over="ignore"):
        scales = np.exp(_columns(path, vertex, [f"scale_{k}" for k in range(3)])).astype(np.float32)
        opacities = (1 / (1 + np.exp(-_columns(path, vertex, ["opacity"])[:, 0]))).astype(np.float32)
    if not (np.isfinite(scales).all() and (scales > 0).all()):
        raise FormatError(path, "logarithms of scales that a float32 can hold, -103 to 88", "others")
    means = _columns(path, vertex, POSITION).astype(np.float32)
    return Gaussians(means, scales, quaternions.astype(np.float32), opacities, sh, dilation, compensate)


def write_gaussians(path: Path, gaussians: Gaussians) -> None:
    """The layout of 3DGS, with zero normals, as its viewers expect. Dilation and compensation have no place in it."""
    rest = gaussians.sh[:, 1:].transpose(0, 2, 1).reshape(len(gaussians.means), -1)
    colors = [*(f"f_dc_{k}" for k in range(3)), *(f"f_rest_{k}" for k in range(rest.shape[1]))]
    with np.errstate(divide="ignore"):
        opacity = gaussians.opacities.astype(np.float64)
        logits = np.clip(np.log(opacity) - np.log1p(-opacity), -MAX_LOGIT, MAX_LOGIT)
    columns = [gaussians.means, np.zeros_like(gaussians.means), gaussians.sh[:, 0], rest, logits[:, None]]
    columns += [np.log(gaussians.scales.astype(np.float64)), gaussians.quaternions]
    table = np.concatenate(columns, axis=1, dtype="<f4", casting="same_kind")
    header = [
        f"element vertex {len(table)}",
        *(f"property float {name}" for name in [*POSITION, *NORMAL, *colors, *GEOMETRY]),
    ]
    _write(path, header, [table])


def read_mesh(path: Path, color: tuple[int, int, int, int] | None = None) -> Mesh:
    """Triangles with a colour per vertex. Polygons are refused: fans of concave ones would be wrong.

    Args:
        path: a PLY file with the elements vertex (x y z, red green blue [alpha] as uchar) and face (vertex_indices).
        color: RGBA for files without vertex colours, which are refused otherwise.
    """
    vertex, face = _read(path, ["vertex", "face"])
    names = _names(vertex.dtype)
    rgb = ["red", "green", "blue"]
    needed = rgb if color is None or set(rgb) & set(names) else []
    _expect_properties(path, names, [*POSITION, *needed], ["alpha", *NORMAL])
    listed = "vertex_index" if "vertex_index" in _names(face.dtype) else "vertex_indices"
    _expect_properties(path, _names(face.dtype), [f"{listed}#", listed], [*rgb, "alpha"])
    corners = face[listed].astype(np.int64)
    if len(face) and not 0 <= corners.min() <= corners.max() < len(vertex):
        raise FormatError(path, f"vertex indices from 0 to {len(vertex) - 1}", f"{corners.min()} to {corners.max()}")
    colors = np.full((len(vertex), 4), 255, np.uint8)
    if color is not None and not needed:
        colors[:] = color
    for k, name in enumerate([*rgb, "alpha"]):
        if name in names:
            if vertex.dtype[name] != np.uint8:
                raise FormatError(path, f"{name} as uchar", f"{vertex.dtype[name]}")
            colors[:, k] = vertex[name]
    return Mesh(_columns(path, vertex, POSITION).astype(np.float32), corners.astype(np.int32), colors)


def write_mesh(path: Path, mesh: Mesh) -> None:
    """Triangles with a colour per vertex. PLY has no textures: a textured mesh is refused."""
    if mesh.colors is None:
        raise FormatError(path, "a mesh with vertex colours", "a textured one", "Write it as GLB.")
    vertex = np.empty(len(mesh.vertices), [("position", "<f4", 3), ("color", "u1", 4)])
    vertex["position"], vertex["color"] = mesh.vertices, mesh.colors
    face = np.empty(len(mesh.faces), [("count", "u1"), ("corners", "<i4", 3)])
    face["count"], face["corners"] = 3, mesh.faces
    header = [f"element vertex {len(vertex)}", *(f"property float {name}" for name in POSITION)]
    header += [f"property uchar {name}" for name in ("red", "green", "blue", "alpha")]
    _write(path, [*header, f"element face {len(face)}", "property list uchar int vertex_indices"], [vertex, face])


def _write(path: Path, header: list[str], tables: list[np.ndarray]) -> None:
    with atomic(path) as temporary, temporary.open("wb") as file:
        file.write("\n".join(["ply", "format binary_little_endian 1.0", *header, "end_header", ""]).encode())
        for table in tables:
            table.tofile(file)


def _read(path: Path, wanted: list[str]) -> list[np.ndarray]:
    """The structured arrays of the elements, which must be exactly `wanted`."""
    with _opened(path) as file:
        form, elements = _read_header(path, file)
        if [element.name for element in elements] != wanted:
            found = ", ".join(element.name for element in elements) or "none"
            raise FormatError(path, f"the elements {', '.join(wanted)} and no others", found)
        body = path.stat().st_size - file.tell()
        if form == "ascii":
            return _read_ascii(path, file, elements, body)
        return _read_binary(path, file, elements, body, "<" if form == "binary_little_endian" else ">")


def _opened(path: Path) -> BinaryIO:
    if not path.is_file():
        raise FormatError(path, "a PLY file", "no such file")
    return path.open("rb")


def _read_header(path: Path, file: BinaryIO) -> tuple[str, list[Element]]:
    expected = f"a PLY header of at most {MAX_HEADER_BYTES} bytes, from 'ply' to 'end_header'"
    head = file.read(MAX_HEADER_BYTES)
    end = re.search(rb"\nend_header *\r?\n", head)
    if not re.match(rb"ply *\r?\n", head) or not end:
        raise FormatError(path, expected, repr(head[:40]))
    file.seek(end.end())
    form, elements, properties = "", [], list[tuple]()
    for line in head[: end.start()].decode("latin-1").splitlines()[1:]:
        match line.split():
            case [] | ["comment", *_] | ["obj_info", *_]:
                pass
            case ["format", ("binary_little_endian" | "binary_big_endian" | "ascii") as name, "1.0"] if not form:
                form = name
            case ["element", name, count] if count.isascii() and count.isdigit() and len(count) < 16:
                if int(count) > MAX_POINTS:
                    raise FormatError(path, f"at most {MAX_POINTS} elements of a kind", line)
                properties = []
                elements.append((name, int(count), properties))
            case ["property", kind, name] if kind in TYPES and elements:
                properties.append((name, TYPES[kind]))
            case ["property", "list", size, kind, name] if size in INTEGERS and kind in INTEGERS and elements:
                properties += [(f"{name}#", TYPES[size]), (name, TYPES[kind], (3,))]
            case _:
                expected = "PLY 1.0, ascii or binary, with scalar and list properties"
                raise FormatError(path, expected, f"the line {line!r:.80}")
    if not form:
        raise FormatError(path, "a line 'format ascii 1.0' or 'format binary_... 1.0'", "none")
    for name, _, fields in elements:
        if not fields or len({field[0] for field in fields}) != len(fields):
            raise FormatError(path, f"properties of different names in element {name}", f"{fields}"[:80])
    return form, [Element(name, count, np.dtype(fields)) for name, count, fields in elements]


def _read_binary(
    path: Path, file: BinaryIO, elements: list[Element], body: int, order: Literal["<", ">"]
) -> list[np.ndarray]:
    declared = sum(element.count * element.record.itemsize for element in elements)
    if body < declared or (body > declared and not _has_lists(elements)):
        raise FormatError(path, f"{declared} bytes after the header", f"{body}")
    if declared > MAX_BINARY_BYTES:
        raise FormatError(path, f"at most {MAX_BINARY_BYTES} bytes", f"{declared}")
    stored = [np.fromfile(file, element.record.newbyteorder(order), element.count) for element in elements]
    tables = [table.astype(element.record, copy=False) for table, element in zip(stored, elements, strict=True)]
    for table in tables:
        for name in _names(table.dtype):
            if name.endswith("#"):
                _expect_triangles(path, table[name])
    if body != declared:
        raise FormatError(path, f"{declared} bytes after the header", f"{body}")
    return tables


def _read_ascii(path: Path, file: BinaryIO, elements: list[Element], body: int) -> list[np.ndarray]:
    widths = [sum(int(np.prod(e.record[name].shape)) for name in _names(e.record)) for e in elements]
    declared = sum(element.count * width for element, width in zip(elements, widths, strict=True))
    if body > MAX_ASCII_BYTES:
        raise FormatError(
            path, f"at most {MAX_ASCII_BYTES} bytes of ascii", f"{body}", "Save it as binary_little_endian."
        )
    if body < 2 * declared - 1:  # a digit and a separator a number
        raise FormatError(path, f"{declared} numbers after the header", f"{body} bytes")
    try:
        numbers = np.array(file.read().split(), dtype=np.float64)
    except ValueError as error:
        raise FormatError(path, "numbers after the header", str(error)[:80]) from None
    if len(numbers) < declared or (len(numbers) > declared and not _has_lists(elements)):
        raise FormatError(path, f"{declared} numbers after the header", f"{len(numbers)}")
    tables, start = [], 0
    for element, width in zip(elements, widths, strict=True):
        block = numbers[start : start + element.count * width].reshape(element.count, width)
        tables.append(_typed(path, block, element))
        start += block.size
    if len(numbers) != declared:
        raise FormatError(path, f"{declared} numbers after the header", f"{len(numbers)}")
    return tables


def _typed(path: Path, block: Float64[np.ndarray, "N W"], element: Element) -> np.ndarray:
    """The numbers of one element as its record type; whole numbers must be whole and in range."""
    table, column = np.empty(element.count, element.record), 0
    for name in _names(element.record):
        base, shape = element.record[name].base, element.record[name].shape
        width = int(np.prod(shape))
        values, column = block[:, column : column + width], column + width
        if name.endswith("#"):
            _expect_triangles(path, values)
        if base.kind != "f":
            limits = np.iinfo(base)
            if not ((values == np.rint(values)) & (values >= limits.min) & (values <= limits.max)).all():
                raise FormatError(path, f"whole numbers from {limits.min} to {limits.max} as {name}", "others")
        with np.errstate(over="ignore"):
            table[name] = values.reshape(element.count, *shape)
    return table


def _names(record: np.dtype) -> list[str]:
    return list(record.names or ())


def _has_lists(elements: list[Element]) -> bool:
    """Whether polygons may make the body longer than declared; `_expect_triangles` then says so better."""
    return any(name.endswith("#") for element in elements for name in _names(element.record))


def _expect_triangles(path: Path, corners: np.ndarray) -> None:
    if not (corners == 3).all():
        found = f"a face of {corners[corners != 3][0]:g} corners"
        raise FormatError(path, "triangles", found, "Triangulate the mesh first.")


def _expect_properties(path: Path, names: list[str], needed: list[str], allowed: list[str]) -> None:
    missing = [name for name in needed if name not in names]
    unknown = [name for name in names if name not in needed and name not in allowed]
    if missing or unknown:
        raise FormatError(path, f"the properties {' '.join(needed)}", f"missing {missing[:6]}, unknown {unknown[:6]}")


def _columns(path: Path, table: np.ndarray, names: list[str]) -> Float64[np.ndarray, "N C"]:
    """Float properties as [N,C], checked to be finite as float32 too."""
    values = np.empty((len(table), len(names)), np.float64)
    for k, name in enumerate(names):
        if table.dtype[name].kind != "f":
            raise FormatError(path, f"{name} as float or double", f"{table.dtype[name]}")
        values[:, k] = table[name]
    if not (np.abs(values) <= np.finfo(np.float32).max).all():
        raise FormatError(path, f"finite numbers in {names[0]}...", "NaN, infinity or more than a float32 holds")
    return values
