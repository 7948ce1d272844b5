"""Colours of glTF primitives: the base colour, taken as the emitted colour, and everything in one texture if need be.

Lights, normal maps, metal and emission are not looked at. By the standard a base colour texture is sRGB, while vertex
colours and factors are linear. Alpha follows alphaMode: OPAQUE is 1 everywhere, MASK keeps the values for the usual
cutoff of 0.5 and becomes 0 or 1 for another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from .files import MAX_IMAGE_PIXELS, MAX_IMAGE_SIDE
from .gltf_file import GltfFile

REPEAT, MIRRORED, CLAMP = 10497, 33648, 33071
PATCH = 2  # texels a side for one colour: all four that bilinear filtering reads around the middle are equal
Colors = UInt8[np.ndarray, "V 4"]


def linear_from_srgb(srgb: np.ndarray) -> np.ndarray:
    """Both in [0, 1] (IEC 61966-2-1)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def srgb_from_linear(linear: np.ndarray) -> np.ndarray:
    """Both in [0, 1] (IEC 61966-2-1)."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)


@dataclass(frozen=True)
class Material:
    """What decides a primitive's colour. Equal materials are one texture.

    Attributes:
        texture: index into `textures`, or None.
        uv_set: which TEXCOORD the texture uses.
        factor: linear RGBA in [0, 1].
        alpha_mode: OPAQUE, MASK or BLEND.
        cutoff: of MASK.
        transform: offset u, v, rotation in radians, scale u, v (KHR_texture_transform).
    """

    texture: int | None = None
    uv_set: int = 0
    factor: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
    alpha_mode: str = "OPAQUE"
    cutoff: float = 0.5
    transform: tuple[float, ...] = (0.0, 0.0, 0.0, 1.0, 1.0)


def material_of(gltf: GltfFile, primitive: dict[str, Any]) -> Material:
    if "material" not in primitive:
        return Material()
    material = gltf.entry("materials", primitive["material"])
    if (
        "KHR_materials_pbrSpecularGlossiness" in gltf.child(material, "extensions")
        and "pbrMetallicRoughness" not in material
    ):
        raise gltf.error("a base colour", "KHR_materials_pbrSpecularGlossiness only", "Convert the material first.")
    pbr = gltf.child(material, "pbrMetallicRoughness")
    info = gltf.child(pbr, "baseColorTexture")
    factor = np.clip(gltf.numbers(pbr, "baseColorFactor", [1.0] * 4), 0, 1)
    mode, cutoff = material.get("alphaMode", "OPAQUE"), material.get("alphaCutoff", 0.5)
    if mode not in ("OPAQUE", "MASK", "BLEND") or isinstance(cutoff, bool) or not isinstance(cutoff, int | float):
        raise gltf.error("alphaMode OPAQUE, MASK or BLEND and a number as alphaCutoff", f"{mode!r}, {cutoff!r}")
    texture = gltf.whole(info, "index") if info else None
    move = gltf.child(gltf.child(info, "extensions"), "KHR_texture_transform")
    uv_set = gltf.whole(move, "texCoord", gltf.whole(info, "texCoord", 0))
    rotation = gltf.numbers({"rotation": [move.get("rotation", 0.0)]}, "rotation", [0.0])
    transform = (*gltf.numbers(move, "offset", [0.0] * 2), *rotation, *gltf.numbers(move, "scale", [1.0] * 2))
    return Material(texture, uv_set, tuple(factor.tolist()), mode, float(cutoff), tuple(map(float, transform)))


def vertex_colors(gltf: GltfFile, attributes: dict[str, Any], count: int) -> Float64[np.ndarray, "V 4"]:
    """COLOR_0, linear RGBA in [0, 1]; ones if there is none."""
    colors = np.ones((count, 4))
    if "COLOR_0" in attributes:
        given = gltf.accessor(attributes["COLOR_0"], ("VEC3", "VEC4"), ("f4", "u1", "u2"))
        if len(given) != count:
            raise gltf.error(f"{count} vertex colours", f"{len(given)}")
        scale = 1.0 if given.dtype.kind == "f" else np.iinfo(given.dtype).max
        colors[:, : given.shape[1]] = np.clip(given / scale, 0, 1)
    return colors


def texture_coordinates(
    gltf: GltfFile, attributes: dict[str, Any], count: int, material: Material
) -> Float64[np.ndarray, "V 2"]:
    """The material's set of coordinates after its KHR_texture_transform: scaled, rotated, moved.

    A positive rotation is counter-clockwise for an eye that sees v pointing down, as the extension's text (and not its
    code) has it.
    """
    index = attributes.get(f"TEXCOORD_{material.uv_set}")
    uv = gltf.floats(index, "VEC2").astype(np.float64)
    if len(uv) != count:
        raise gltf.error(f"{count} texture coordinates", f"{len(uv)}")
    x, y, angle, *scale = material.transform
    if (x, y, angle, *scale) != Material().transform:
        cos, sin = np.cos(angle), np.sin(angle)
        uv = (uv * scale) @ np.array([[cos, -sin], [sin, cos]]) + [x, y]
    if np.abs(uv).max() > 2**20:
        raise gltf.error("texture coordinates up to 2^20", np.abs(uv).max())
    return uv


def emitted(linear: Float64[np.ndarray, "*n 4"], material: Material) -> UInt8[np.ndarray, "*n 4"]:
    """Linear colours times the material's factor, as sRGB bytes with the alpha that its mode asks for."""
    product = linear * material.factor
    product[..., :3] = srgb_from_linear(product[..., :3])
    if material.alpha_mode == "OPAQUE":
        product[..., 3] = 1
    elif material.alpha_mode == "MASK" and material.cutoff != 0.5:
        product[..., 3] = product[..., 3] >= material.cutoff
    return np.rint(product * 255).astype(np.uint8)


def texture_of(gltf: GltfFile, material: Material) -> tuple[UInt8[np.ndarray, "H W 4"], tuple[int, int]]:
    """The emitted texels, and how they go on beyond 0 and 1 along u and v (REPEAT, MIRRORED or CLAMP)."""
    texture = gltf.entry("textures", material.texture)
    sampler = gltf.entry("samplers", texture["sampler"]) if "sampler" in texture else {}
    wraps = gltf.whole(sampler, "wrapS", REPEAT), gltf.whole(sampler, "wrapT", REPEAT)
    if not set(wraps) <= {REPEAT, MIRRORED, CLAMP}:
        raise gltf.error(f"wrap modes {REPEAT}, {MIRRORED} or {CLAMP}", wraps)
    if "source" not in texture:
        raise gltf.error("a PNG or JPEG picture in each texture", sorted(texture), "Convert WebP or Basis textures.")
    texels = gltf.picture(texture["source"])
    levels = np.repeat(np.arange(256)[:, None] / 255, 4, axis=1)  # a table: large textures stay bytes
    levels[:, :3] = linear_from_srgb(levels[:, :3])
    table = emitted(levels, material)
    return np.stack([table[texels[..., k], k] for k in range(4)], axis=-1), wraps


@dataclass(frozen=True)
class Painted:
    """What one primitive brings along: texture coordinates if its material has a texture, otherwise sRGB colours."""

    material: Material
    faces: Int64[np.ndarray, "F 3"]
    uv: Float64[np.ndarray, "V 2"] | None
    colors: Colors | None


def joined(
    gltf: GltfFile, parts: Sequence[Painted]
) -> tuple[Colors | None, Float32[np.ndarray, "V 2"] | None, UInt8[np.ndarray, "H W 4"] | None]:
    """One surface for all parts: (colors, None, None) or (None, uv, texture).

    Without textures: colours per vertex. One material with a repeating texture: its texture and coordinates as they
    are. Otherwise an atlas: of each texture the texels that its primitives reach, repeated or mirrored as its sampler
    says, so that bilinear filtering gives the same values; and a patch for each colour of the parts without texture.
    """
    textured = sorted({part.material for part in parts if part.uv is not None}, key=repr)
    if not textured:
        return np.concatenate([part.colors for part in parts if part.colors is not None]), None, None
    if len(textured) == 1 and all(part.uv is not None for part in parts):
        texture, wraps = texture_of(gltf, textured[0])
        if wraps == (REPEAT, REPEAT):
            return None, np.concatenate([part.uv for part in parts if part.uv is not None]).astype(np.float32), texture
    return _atlas(gltf, parts, textured)


def _atlas(
    gltf: GltfFile, parts: Sequence[Painted], textured: list[Material]
) -> tuple[None, Float32[np.ndarray, "V 2"], UInt8[np.ndarray, "H W 4"]]:
    """Coordinates are kept in texels until the size is known."""
    spots: list[Float64[np.ndarray, "V 2"] | None] = [None] * len(parts)
    tiles, area = [], 0
    for material in textured:
        mine = [k for k, part in enumerate(parts) if part.uv is not None and part.material == material]
        tile, places = _crop(gltf, material, [np.asarray(parts[k].uv) for k in mine])
        area += tile.shape[0] * tile.shape[1]
        if area > MAX_IMAGE_PIXELS:
            raise gltf.error(f"textures of at most {MAX_IMAGE_PIXELS} texels in all", "more", "Shrink its textures.")
        tiles.append((tile, mine, places))
    plain = [k for k, part in enumerate(parts) if part.uv is None]
    if plain:
        tile, places = _palette(gltf, [parts[k] for k in plain])
        tiles.append((tile, plain, places))
    corners, width, height = _shelves([tile.shape[:2] for tile, _, _ in tiles])
    if max(width, height) > MAX_IMAGE_SIDE or width * height > MAX_IMAGE_PIXELS:
        raise gltf.error(f"textures that fit into {MAX_IMAGE_PIXELS} texels", f"{width} x {height}", "Shrink them.")
    texture = np.zeros((height, width, 4), np.uint8)
    for (tile, members, places), (top, left) in zip(tiles, corners, strict=True):
        texture[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
        for k, place in zip(members, places, strict=True):
            spots[k] = (place + np.array([left, top])) / [width, height]
    return None, np.concatenate([spot for spot in spots if spot is not None]).astype(np.float32), texture


def _crop(
    gltf: GltfFile, material: Material, coordinates: list[Float64[np.ndarray, "V 2"]]
) -> tuple[UInt8[np.ndarray, "h w 4"], list[Float64[np.ndarray, "V 2"]]]:
    """The texels that these coordinates reach, and the coordinates as texels from the crop's corner."""
    texture, wraps = texture_of(gltf, material)
    size = np.array(texture.shape[1::-1])
    low = np.floor(np.min([uv.min(0) for uv in coordinates], 0) * size - 0.5).astype(np.int64) - 1
    high = np.floor(np.max([uv.max(0) for uv in coordinates], 0) * size - 0.5).astype(np.int64) + 3
    if ((high - low) > MAX_IMAGE_SIDE).any() or np.prod(high - low) > MAX_IMAGE_PIXELS:
        found = f"one repeated over {high - low} texels"
        raise gltf.error(f"textures of at most {MAX_IMAGE_SIDE} texels a side", found, "Bake them into one texture.")
    columns, rows = (_wrapped(np.arange(a, b), n, wrap) for a, b, n, wrap in zip(low, high, size, wraps, strict=True))
    return texture[rows[:, None], columns], [uv * size - low for uv in coordinates]


def _wrapped(index: Int64[np.ndarray, " n"], size: int, wrap: int) -> Int64[np.ndarray, " n"]:
    if wrap == CLAMP:
        return np.clip(index, 0, size - 1)
    if wrap == MIRRORED:
        index = index % (2 * size)
        return np.where(index < size, index, 2 * size - 1 - index)
    return index % size


def _palette(
    gltf: GltfFile, parts: list[Painted]
) -> tuple[UInt8[np.ndarray, "h w 4"], list[Float64[np.ndarray, "V 2"]]]:
    """A patch for each colour, and the middle of its patch for each vertex, in texels."""
    for part in parts:
        corners = np.asarray(part.colors)[part.faces]
        if (corners != corners[:, :1]).any():
            found = "vertex colours that vary over a triangle, beside textures"
            raise gltf.error("one texture, or vertex colours alone", found, "Bake them into one texture.")
    everything = np.concatenate([np.asarray(part.colors) for part in parts])
    colors, which = np.unique(everything, axis=0, return_inverse=True)
    side = int(np.ceil(np.sqrt(len(colors))))
    grid = np.zeros((side * side, 4), np.uint8)
    grid[: len(colors)] = colors
    tile = grid.reshape(side, side, 4).repeat(PATCH, 0).repeat(PATCH, 1)
    middles = (np.stack([which.ravel() % side, which.ravel() // side], 1) + 0.5) * PATCH
    return tile, np.split(middles, np.cumsum([len(np.asarray(part.colors)) for part in parts])[:-1])


def _shelves(sizes: list[tuple[int, ...]]) -> tuple[list[tuple[int, int]], int, int]:
    """(top, left) of each (height, width), on shelves with the tallest first; then the whole width and height."""
    limit = max(int(np.sqrt(sum(h * w for h, w in sizes)) * 1.1), *(w for _, w in sizes), 1)
    corners = [(0, 0)] * len(sizes)
    left = top = shelf = 0
    for k in sorted(range(len(sizes)), key=lambda k: (-sizes[k][0], k)):
        height, width = sizes[k]
        if left + width > limit:
            left, top, shelf = 0, top + shelf, 0
        corners[k] = top, left
        left, shelf = left + width, max(shelf, height)
    return corners, limit, top + shelf
