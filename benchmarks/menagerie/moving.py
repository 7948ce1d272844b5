"""A model and one of its animations as meshes: sampled, turned, brought into the cube, with light in its colours.

One similarity holds for the whole animation. A loop fills the clip once, whatever its own length: frame k of n shows
the fraction k / n of it (k / (n - 1) of a motion that ends elsewhere than it begins). Positions are rounded to
multiples of 2^-16 before light is computed, so that machines whose last bits differ agree on nearly all bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int32, UInt8

from bench4d.asset import Mesh
from bench4d.errors import FormatError
from bench4d.gltf import AnimatedAsset, Animation, read_animated
from benchmarks.menagerie.assets import ListedAsset, ListedClip
from benchmarks.synth4d.shading import bake, normals

HALF = 0.44  # half extent at the sampled times; between them nothing passes 0.45
SAMPLED = 97  # times that decide the similarity: the same whatever the number of frames
GRID = 2.0**16
MAX_FACES = 60_000  # a textured model is refined as long as it stays below


@dataclass(frozen=True)
class Painted:
    """Faces and colours that all frames share, and how to get there from the file's vertices.

    Attributes:
        edges: of each refinement, the pairs of vertices in whose middle it puts a new one.
        albedo: sRGB in [0, 1].
        alpha: straight, of each vertex.
    """

    edges: tuple[Int32[np.ndarray, "E 2"], ...]
    faces: Int32[np.ndarray, "F 3"]
    albedo: Float64[np.ndarray, "V 3"]
    alpha: UInt8[np.ndarray, " V"]


def clip_meshes(clip: ListedClip, asset: ListedAsset, model: Path, count: int) -> list[Mesh]:
    """`count` meshes in [-0.45, 0.45]^3, z up, colours per vertex. Raises FormatError."""
    animated = read_animated(model)
    animation = animated.animation(clip.animation)
    if count < 1 or not animation.end > animation.start:
        raise FormatError(f"clip {clip.id}", "at least one frame and an animation of some length", f"{count} frames")
    deciding, shown = sample(animation, SAMPLED, loop=False), sample(animation, count, clip.loop)
    return frames_at(animated, animation, deciding, shown, asset.yaw)


def frames_at(
    animated: AnimatedAsset,
    animation: Animation,
    deciding: Float64[np.ndarray, " S"],
    shown: Float64[np.ndarray, " T"],
    yaw: float,
) -> list[Mesh]:
    """A mesh for each second of `shown`; the positions at `deciding` decide the similarity."""
    scale, middle = similarity(turned(animated, animation, deciding, yaw))
    painted = paint(animated.at(None, [0.0])[0])
    return [lit((points - middle) * scale, painted) for points in turned(animated, animation, shown, yaw)]


def sample(animation: Animation, count: int, loop: bool) -> Float64[np.ndarray, " count"]:
    """Seconds of the animation that the frames show: of a loop without its end, which is its beginning again."""
    share = np.arange(count) / (count if loop else max(count - 1, 1))
    return animation.start + (animation.end - animation.start) * share


def turned(
    animated: AnimatedAsset, animation: Animation, times: Float64[np.ndarray, " T"], yaw: float
) -> Float64[np.ndarray, "T V 3"]:
    """Positions at `times`, turned by `yaw` degrees about the vertical axis."""
    c, s = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
    points = animated.vertices(animated.animations.index(animation), times.tolist()).astype(np.float64)
    x, y = points[..., 0], points[..., 1]
    return np.stack([c * x - s * y, s * x + c * y, points[..., 2]], -1)


def similarity(points: Float64[np.ndarray, "T V 3"]) -> tuple[float, Float64[np.ndarray, " 3"]]:
    """Scale and middle: (points - middle) * scale fills [-HALF, HALF] along the longest side of the motion's box."""
    low, high = points.min((0, 1)), points.max((0, 1))
    if not (high - low).max() > 0:
        raise FormatError("animation", "an object of some extent", "all vertices in one point")
    return float(2 * HALF / (high - low).max()), 0.5 * (low + high)


def paint(mesh: Mesh) -> Painted:
    """Colours per vertex. Light changes from frame to frame and a mesh has one texture or colours, so that a texture is
    read at the vertices: each triangle is cut into four until there would be more than MAX_FACES."""
    if mesh.colors is not None:
        return Painted((), mesh.faces, mesh.colors[:, :3] / 255.0, mesh.colors[:, 3])
    if mesh.uv is None or mesh.texture is None:
        raise FormatError("Mesh", "colours or a texture", "neither")
    edges, faces, uv = [], mesh.faces, mesh.uv.astype(np.float64)
    while 4 * len(faces) <= MAX_FACES:
        ends, faces = quartered(faces, len(uv))
        edges.append(ends)
        uv = with_middles(uv, ends)
    colors = texels(mesh.texture, uv)
    return Painted(tuple(edges), faces, colors[:, :3] / 255.0, np.rint(colors[:, 3]).astype(np.uint8))


def quartered(faces: Int32[np.ndarray, "F 3"], count: int) -> tuple[Int32[np.ndarray, "E 2"], Int32[np.ndarray, "G 3"]]:
    """The edges that get a vertex in their middle, numbered from `count` on, and the four times as many faces."""
    sides = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1)
    ends, which = np.unique(sides, axis=0, return_inverse=True)
    ab, bc, ca = (which.reshape(3, -1) + count).astype(np.int32)
    a, b, c = faces.T
    parts = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    return ends.astype(np.int32), np.concatenate([np.stack(part, 1) for part in parts])


def with_middles(values: Float64[np.ndarray, "V C"], ends: Int32[np.ndarray, "E 2"]) -> Float64[np.ndarray, "W C"]:
    """`values`, followed by those of the new vertices."""
    return np.concatenate([values, 0.5 * (values[ends[:, 0]] + values[ends[:, 1]])])


def texels(texture: UInt8[np.ndarray, "H W 4"], uv: Float64[np.ndarray, "V 2"]) -> Float64[np.ndarray, "V 4"]:
    """Bilinear, repeating, in sRGB: as the renderer reads a texture."""
    size = np.array([texture.shape[1], texture.shape[0]])
    place = uv * size - 0.5
    low = np.floor(place).astype(np.int64)
    share = place - low
    found = np.zeros((len(uv), 4))
    for dx in (0, 1):
        for dy in (0, 1):
            x, y = ((low + np.array([dx, dy])) % size).T
            weight = np.where(dx, share[:, 0], 1 - share[:, 0]) * np.where(dy, share[:, 1], 1 - share[:, 1])
            found += weight[:, None] * texture[y, x]
    return found


def lit(points: Float64[np.ndarray, "V 3"], painted: Painted) -> Mesh:
    """One frame: refined, rounded, and with synth4d's light in its colours (no shadows)."""
    for ends in painted.edges:
        points = with_middles(points, ends)
    vertices = np.floor(points * GRID + 0.4137) / GRID  # the odd offset keeps round numbers away from a boundary
    nobody, none = np.zeros((0, 4)), np.full(len(vertices), -1, np.int32)
    colors = bake(vertices, normals(vertices, painted.faces), painted.albedo, nobody, none, np.zeros(len(vertices)))
    colors[:, 3] = painted.alpha
    return Mesh(vertices.astype(np.float32), painted.faces, colors)
