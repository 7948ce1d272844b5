"""Animated glTF 2.0 files: names and lengths of animations, and the mesh at any time.

Skins, morph targets and node animations are evaluated for many times at once. Colours do not change over time. What is
supported, refused and lost: docs/gltf.md. A static scene as it stands: `glb_read.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64, UInt8
from scipy.sparse import csr_array

from .asset import MAX_POINTS, Mesh
from .clip import MAX_FRAMES
from .errors import FormatError, within
from .gltf_file import GLTF_FROM_WORLD, INTEGERS, GltfFile, open_gltf, trs_matrix
from .gltf_motion import MAX_KEY_NUMBERS, Curves, Skin, Tree, curves_of, skin_of, skin_weights, tree_of, unit
from .gltf_surface import Material, Painted, emitted, joined, material_of, texture_coordinates, vertex_colors

UNDERSTOOD = {"KHR_texture_transform", "KHR_mesh_quantization", "EXT_mesh_gpu_instancing"}
CHUNK = 2**18  # vertices, nodes, joints or morph targets, times frames at once
MAX_JOINTS = 200_000
TRIANGLES, STRIP, FAN = 4, 5, 6


@dataclass(frozen=True)
class Animation:
    """A name, and when its keys begin and end (seconds; exporters often begin at frame 1, not at 0)."""

    name: str
    start: float
    end: float
    curves: Curves

    @property
    def duration(self) -> float:
        """Seconds from 0 to the last key, as the standard and viewers have it."""
        return self.end


@dataclass(frozen=True)
class Part:
    """One primitive at one node (and instance): the vertices from `first` on.

    Attributes:
        node, primitive: indices in the file.
        name: of the node, or of its mesh.
        material: its name, or "".
        alpha_mode: OPAQUE, MASK or BLEND; the renderer cuts out at 0.5 whatever it says.
        textured: whether its colour comes from a picture.
    """

    node: int
    primitive: int
    name: str
    material: str
    alpha_mode: str
    textured: bool
    first: int
    count: int


@dataclass(frozen=True)
class _Body:
    """How one part moves: `points` plus weighted `targets`, then by `skin` or by the node."""

    node: int
    points: Float64[np.ndarray, "V 3"]
    targets: Float32[np.ndarray, "K V 3"]
    weights: Float64[np.ndarray, " K"]
    skin: Skin | None
    blend: csr_array | None
    instance: Float64[np.ndarray, "4 4"]

    @property
    def size(self) -> tuple[int, int]:
        """Morph targets and joints: what a frame of it needs beside vertices."""
        return len(self.targets), len(self.skin.joints) if self.skin else 0

    def at(
        self, curves: Curves, times: Float64[np.ndarray, " T"], world: Float64[np.ndarray, "N T 4 4"]
    ) -> Float64[np.ndarray, "T V 3"]:
        """In glTF's axes."""
        points = self.points
        if len(self.targets):
            curve = curves.get((self.node, "weights"))
            weights = np.tile(self.weights, (len(times), 1)) if curve is None else curve.at(times)
            points = points + np.tensordot(weights.astype(np.float32), self.targets, 1)
        if self.skin is not None and self.blend is not None:
            return self.skin.bend(points, self.blend, world)
        matrix = world[self.node] @ self.instance
        return points @ matrix[:, :3, :3].transpose(0, 2, 1) + matrix[:, None, :3, 3]


@dataclass(frozen=True)
class AnimatedAsset:
    """The default scene of a file. All frames share faces and colours; only vertices move.

    Attributes:
        animations: in the file's order.
        parts: where each primitive's vertices are.
        colors, uv, texture: as in `Mesh`.
    """

    path: Path
    animations: tuple[Animation, ...]
    parts: tuple[Part, ...]
    faces: Int32[np.ndarray, "F 3"]
    colors: UInt8[np.ndarray, "V 4"] | None
    uv: Float32[np.ndarray, "V 2"] | None
    texture: UInt8[np.ndarray, "H W 4"] | None
    tree: Tree
    bodies: tuple[_Body, ...]

    def animation(self, key: str | int) -> Animation:
        """By name or index. Raises FormatError if there is none, or if the name stands for several."""
        names = [animation.name for animation in self.animations]
        found = [k for k, name in enumerate(names) if key in (k, name)]
        if len(found) != 1 or isinstance(key, bool):
            next_step = "Choose by index." if len(found) > 1 else ""
            raise FormatError(self.path, f"one animation {key!r:.80}", f"{len(found)} in {names}"[:600], next_step)
        return self.animations[found[0]]

    def vertices(self, animation: str | int | None, times: Sequence[float]) -> Float32[np.ndarray, "T V 3"]:
        """Positions in our world (z up) at `times` in seconds; the file's rest pose if `animation` is None.

        Before its first and after its last key an animation stands still. Raises FormatError for positions that are
        not finite, and for more than 4096 times or 200 million positions.
        """
        count, seconds = sum(part.count for part in self.parts), np.asarray(times, np.float64)
        if seconds.ndim != 1 or not np.isfinite(seconds).all() or len(seconds) > MAX_FRAMES:
            raise FormatError("times", f"a list of at most {MAX_FRAMES} finite seconds", f"{seconds.shape}")
        if len(seconds) * count > 10 * MAX_POINTS:
            raise FormatError(self.path, f"at most {10 * MAX_POINTS} positions", f"{len(seconds)} times {count}")
        curves: Curves = {} if animation is None else self.animation(animation).curves
        found = np.empty((len(seconds), count, 3), np.float32)
        largest = max(count, len(self.tree.parent), *(max(body.size) for body in self.bodies))
        step = max(CHUNK // largest, 1)
        with np.errstate(over="ignore", invalid="ignore"):  # checked below
            for first in range(0, len(seconds), step):
                chosen = seconds[first : first + step]
                world = self.tree.matrices(curves, chosen)
                for part, body in zip(self.parts, self.bodies, strict=True):
                    moved = body.at(curves, chosen, world) @ GLTF_FROM_WORLD
                    found[first : first + step, part.first : part.first + part.count] = moved
        if not np.isfinite(found).all():
            raise FormatError(self.path, "finite positions", f"NaN or infinity in animation {animation!r:.80}")
        return found

    def at(self, animation: str | int | None, times: Sequence[float]) -> list[Mesh]:
        """The meshes at `times`; see `vertices`."""
        frames = self.vertices(animation, times)
        with within(self.path):
            return [Mesh(vertices, self.faces, self.colors, self.uv, self.texture) for vertices in frames]


def read_animated(path: Path) -> AnimatedAsset:
    """A .glb or .gltf file (with what it names in its own folder). Raises FormatError.

    Everything is read and checked here, so that evaluating it can only fail for positions beyond float32.
    """
    gltf = open_gltf(path)
    gltf.refuse_extensions(UNDERSTOOD)
    tree = tree_of(gltf)
    parts, bodies, painted, total, left = [], [], [], 0, MAX_POINTS
    rest = tree.matrices({}, np.zeros(1))[:, 0]
    skins: dict[int, Skin] = {}
    for index in tree.scene:
        node = gltf.entry("nodes", index)
        if "mesh" not in node:
            continue
        mesh = gltf.entry("meshes", node["mesh"])
        skin = gltf.whole(node, "skin") if "skin" in node else None
        if skin is not None and skin not in skins:
            skins[skin] = skin_of(gltf, skin)
            if sum(len(known.joints) for known in skins.values()) > MAX_JOINTS:
                raise gltf.error(f"at most {MAX_JOINTS} joints in all skins", "more")
        for number, primitive in enumerate(gltf.objects(mesh, "primitives")):
            for instance in _instances(gltf, node):
                body = _body(gltf, index, primitive, instance, None if skin is None else skins[skin])
                mirrored = body.skin is None and np.linalg.det((rest[index] @ instance)[:3, :3]) < 0
                surface = _painted(gltf, primitive, len(body.points), bool(mirrored))
                parts.append(_part(gltf, index, number, primitive, surface, total, len(body.points)))
                bodies.append(body)
                painted.append(surface)
                total += len(body.points)
                left -= len(body.points) * (1 + len(body.targets)) + len(surface.faces)
                if left < 0:
                    raise gltf.error(f"at most {MAX_POINTS} vertices, morphed vertices and faces", "more")
    if not parts:
        raise gltf.error("triangles in the default scene", "none")
    faces = np.concatenate([p.faces + part.first for p, part in zip(painted, parts, strict=True)]).astype(np.int32)
    animations = _animations(gltf, tree, _morphs(gltf, bodies))
    asset = AnimatedAsset(path, animations, tuple(parts), faces, *joined(gltf, painted), tree, tuple(bodies))
    asset.at(None, [0])  # what Mesh refuses is refused here
    return asset


def _morphs(gltf: GltfFile, bodies: list[_Body]) -> dict[int, int]:
    """The number of morph targets of each node that has some."""
    found: dict[int, int] = {}
    for body in bodies:
        count = len(body.targets)
        if count and found.setdefault(body.node, count) != count:
            raise gltf.error(f"{found[body.node]} morph targets in all primitives of a mesh", count)
    return found


def _animations(gltf: GltfFile, tree: Tree, morphs: dict[int, int]) -> tuple[Animation, ...]:
    found, budget = [], MAX_KEY_NUMBERS
    for k, data in enumerate(gltf.objects(gltf.data, "animations")):
        curves, budget = curves_of(gltf, data, tree, morphs, budget)
        ends = [(float(curve.times[0]), float(curve.times[-1])) for curve in curves.values()]
        start, end = min((a for a, _ in ends), default=0.0), max((b for _, b in ends), default=0.0)
        found.append(Animation(_name(data) or f"animation {k}", start, end, curves))
    return tuple(found)


def _name(owner: dict[str, Any]) -> str:
    name = owner.get("name", "")
    return name[:255] if isinstance(name, str) else ""


def _part(
    gltf: GltfFile, node: int, number: int, primitive: dict[str, Any], surface: Painted, first: int, count: int
) -> Part:
    owner = gltf.entry("nodes", node)
    name = _name(owner) or _name(gltf.entry("meshes", owner["mesh"]))
    material = _name(gltf.entry("materials", primitive["material"])) if "material" in primitive else ""
    return Part(node, number, name, material, surface.material.alpha_mode, surface.uv is not None, first, count)


def _instances(gltf: GltfFile, node: dict[str, Any]) -> list[Float64[np.ndarray, "4 4"]]:
    """From each instance to the node (EXT_mesh_gpu_instancing); the identity alone without the extension."""
    data = gltf.child(gltf.child(node, "extensions"), "EXT_mesh_gpu_instancing")
    if not data:
        return [np.eye(4)]
    attributes = gltf.child(data, "attributes")
    kinds = {"TRANSLATION": "VEC3", "ROTATION": "VEC4", "SCALE": "VEC3"}
    given = {name: gltf.floats(attributes[name], kind) for name, kind in kinds.items() if name in attributes}
    counts = {len(values) for values in given.values()}
    if len(counts) != 1 or max(counts) > MAX_POINTS // 1000:
        raise gltf.error(f"one number of instances, at most {MAX_POINTS // 1000}", sorted(counts))
    rest = {"TRANSLATION": np.zeros((1, 3)), "ROTATION": np.array([[0.0, 0, 0, 1]]), "SCALE": np.ones((1, 3))}
    move, turn, scale = (given.get(name, rest[name]).astype(np.float64) for name in kinds)
    return list(trs_matrix(move, unit(turn), scale))


def _body(
    gltf: GltfFile, index: int, primitive: dict[str, Any], instance: Float64[np.ndarray, "4 4"], skin: Skin | None
) -> _Body:
    attributes = gltf.child(primitive, "attributes")
    points = gltf.floats(attributes.get("POSITION"), "VEC3").astype(np.float64)
    node = gltf.entry("nodes", index)
    targets = gltf.objects(primitive, "targets")
    if len(targets) * len(points) > MAX_POINTS:
        raise gltf.error(f"at most {MAX_POINTS} positions in morph targets", f"{len(targets)} times {len(points)}")
    moves = np.zeros((len(targets), len(points), 3), np.float32)
    for move, target in zip(moves, targets, strict=True):
        if "POSITION" in target:
            given = gltf.floats(target["POSITION"], "VEC3")
            if given.shape != move.shape:
                raise gltf.error(f"{len(points)} positions in a morph target", len(given))
            move[:] = given
    owner = node if "weights" in node else gltf.entry("meshes", node["mesh"])
    weights = gltf.numbers(owner, "weights", [0.0] * len(targets)) if targets else np.zeros(0)
    blend = skin_weights(gltf, attributes, len(points), len(skin.joints)) if skin else None
    return _Body(index, points, moves, weights, skin, blend, instance)


def _painted(gltf: GltfFile, primitive: dict[str, Any], count: int, mirrored: bool) -> Painted:
    material, attributes = material_of(gltf, primitive), gltf.child(primitive, "attributes")
    faces = _faces(gltf, primitive, count)
    if mirrored:  # this turns the winding; the standard asks to turn it back
        faces = faces[:, ::-1]
    colors = vertex_colors(gltf, attributes, count)
    if material.texture is None:
        return Painted(
            replace(material, uv_set=0, transform=Material.transform), faces, None, emitted(colors, material)
        )
    if (colors != colors[0]).any():
        found = "both, to be multiplied"
        raise gltf.error("a texture or varying vertex colours", found, "Bake them into one texture.")
    uv = texture_coordinates(gltf, attributes, count, material)
    factor = tuple((np.array(material.factor) * colors[0]).tolist())
    return Painted(replace(material, factor=factor, uv_set=0, transform=Material().transform), faces, uv, None)


def _faces(gltf: GltfFile, primitive: dict[str, Any], count: int) -> Int64[np.ndarray, "F 3"]:
    mode = gltf.whole(primitive, "mode", TRIANGLES)
    if mode not in (TRIANGLES, STRIP, FAN):
        raise gltf.error("triangles (mode 4, 5 or 6)", f"mode {mode}", "Leave points and lines out.")
    flat = np.arange(count)
    if "indices" in primitive:
        flat = gltf.accessor(primitive["indices"], ("SCALAR",), INTEGERS)[:, 0].astype(np.int64)
    if flat.max() >= count or len(flat) < 3 or (mode == TRIANGLES and len(flat) % 3):
        raise gltf.error(f"three indices a triangle, all below {count}", f"{len(flat)} up to {flat.max()}")
    if mode == TRIANGLES:
        return flat.reshape(-1, 3)
    k = np.arange(len(flat) - 2)
    if mode == FAN:
        return flat[np.stack([k + 1, k + 2, np.zeros_like(k)], 1)]
    return flat[np.stack([k, k + 1 + k % 2, k + 2 - k % 2], 1)]  # every other triangle of a strip is turned
