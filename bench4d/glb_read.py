"""Import of GLB files (binary glTF 2.0): the triangles of a static scene as one `Mesh`.

What a file may hold and how its axes lie: `gltf_file.py`; its colours: `gltf_surface.py`; animated files: `gltf.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from .asset import MAX_POINTS, Mesh
from .errors import within
from .gltf_file import GLTF_FROM_WORLD, INTEGERS, GltfFile, open_glb
from .gltf_surface import REPEAT, Material, emitted, linear_from_srgb, material_of, texture_of, vertex_colors


@dataclass(frozen=True)
class _Part:
    """One primitive in our world. `surface` holds colours (RGBA uint8), or uv if the material has a texture."""

    vertices: Float32[np.ndarray, "V 3"]
    faces: Int64[np.ndarray, "F 3"]
    surface: np.ndarray
    material: Material | None


def read_glb(path: Path, vertex_colors: Literal["linear", "srgb"] = "linear", rest_pose: bool = False) -> Mesh:
    """All triangles of the default scene as one mesh in our world, node transforms applied.

    Several primitives are merged if none is textured, or if all share one textured material.

    Args:
        vertex_colors: the standard says linear; some exporters (trimesh, Open3D) put sRGB values there.
        rest_pose: take an animated file's nodes and unmorphed vertices as they stand. Otherwise it is refused: nothing
            here evaluates animations. Skins are refused in any case.
    """
    gltf = open_glb(path)
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


def _refuse_what_is_not_read(gltf: GltfFile, rest_pose: bool) -> None:
    gltf.refuse_extensions(understood=set())
    if gltf.items(gltf.data, "skins"):
        raise gltf.error("a scene without skins", "a skinned mesh", "Export each frame as its own static GLB.")
    if gltf.items(gltf.data, "animations") and not rest_pose:
        next_step = "Export each frame as its own static GLB, or ask for the rest pose."
        raise gltf.error("a static scene", "animations, which are not evaluated", next_step)
    buffers = gltf.items(gltf.data, "buffers")
    if len(buffers) > 1 or any("uri" in gltf.entry("buffers", k) for k in range(len(buffers))):
        raise gltf.error("all data inside the file", "several buffers or a URI", "Pack everything into one GLB.")


def _placed_meshes(gltf: GltfFile) -> list[tuple[Float64[np.ndarray, "4 4"], dict[str, Any]]]:
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
            matrix = parent @ gltf.rest_matrix(node)
        if "mesh" in node:
            placed.append((matrix, gltf.entry("meshes", node["mesh"])))
        stack += [(child, matrix) for child in reversed(gltf.items(node, "children"))]
    return placed


def _read_primitive(
    gltf: GltfFile, primitive: dict[str, Any], matrix: Float64[np.ndarray, "4 4"], given: str, rest_pose: bool
) -> _Part:
    if gltf.whole(primitive, "mode", 4) != 4:
        raise gltf.error("triangles (mode 4)", f"mode {primitive['mode']}", "Convert strips, fans, lines and points.")
    if gltf.items(primitive, "targets") and not rest_pose:
        next_step = "Export each frame as its own static GLB, or ask for the rest pose."
        raise gltf.error("a static mesh", "morph targets, which are not evaluated", next_step)
    attributes = gltf.child(primitive, "attributes")
    points = gltf.accessor(attributes.get("POSITION"), ("VEC3",), ("f4",)).astype(np.float64)
    linear = matrix[:3, :3]
    with np.errstate(over="ignore", invalid="ignore"):  # Mesh refuses what is not finite
        vertices = ((points @ linear.T + matrix[:3, 3]) @ GLTF_FROM_WORLD).astype(np.float32)
        mirrored = np.linalg.det(linear) < 0
    if "indices" in primitive:
        flat = gltf.accessor(primitive["indices"], ("SCALAR",), INTEGERS)[:, 0].astype(np.int64)
    else:
        flat = np.arange(len(vertices))
    if len(flat) % 3 or flat.max(initial=0) >= len(vertices):
        raise gltf.error(
            f"three indices a triangle, all below {len(vertices)}", f"{len(flat)} up to {flat.max(initial=0)}"
        )
    faces = flat.reshape(-1, 3)
    if mirrored:  # this turns the winding; the standard asks to turn it back
        faces = faces[:, ::-1]
    material = material_of(gltf, primitive)
    if material.transform != Material().transform:
        next_step = "Apply it to the coordinates first."
        raise gltf.error("texture coordinates as they are", "KHR_texture_transform", next_step)
    colors = vertex_colors(gltf, attributes, len(vertices))
    if given == "srgb" and "COLOR_0" in attributes:
        colors[:, :3] = linear_from_srgb(colors[:, :3])
    if material.texture is None:
        return _Part(vertices, faces, emitted(colors, material), None)
    if (colors != 1).any():
        raise gltf.error("a texture or vertex colours", "both, to be multiplied", "Bake them into one texture.")
    uv = gltf.accessor(attributes.get(f"TEXCOORD_{material.uv_set}"), ("VEC2",), ("f4", "u1", "u2"))
    scale = 1.0 if uv.dtype.kind == "f" else np.iinfo(uv.dtype).max
    if len(uv) != len(vertices):
        raise gltf.error(f"{len(vertices)} texture coordinates", f"{len(uv)}")
    return _Part(vertices, faces, (uv / scale).astype(np.float32), material)


def _read_texture(gltf: GltfFile, material: Material, uv: Float32[np.ndarray, "V 2"]) -> UInt8[np.ndarray, "H W 4"]:
    image = gltf.entry("images", gltf.entry("textures", material.texture).get("source"))
    if "uri" in image:
        raise gltf.error("images inside the file", "a URI", "Pack everything into one GLB.")
    texture, wraps = texture_of(gltf, material)
    if set(wraps) != {REPEAT} and ((uv < 0) | (uv > 1)).any():
        found = f"wrap modes {set(wraps)}, {uv.min()} to {uv.max()}"
        raise gltf.error("a repeating texture, or coordinates from 0 to 1", found)
    return texture
