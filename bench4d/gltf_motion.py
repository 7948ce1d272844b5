"""What moves in a glTF file: key frames and how they are interpolated, the tree of nodes, skins.

Everything is evaluated for T times at once, in float64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64
from scipy.sparse import csr_array

from .gltf_file import GltfFile, trs_matrix

MAX_NODES = 20_000
MAX_KEY_NUMBERS = 2**25  # of all animations: an accessor may be named many times
PATHS = {"translation": "VEC3", "rotation": "VEC4", "scale": "VEC3", "weights": "SCALAR"}
AT_REST: dict[str, list[float]] = {
    "translation": [0.0, 0.0, 0.0],
    "rotation": [0.0, 0.0, 0.0, 1.0],
    "scale": [1.0, 1.0, 1.0],
}


@dataclass(frozen=True)
class Curve:
    """Key frames of one property of one node.

    Attributes:
        times: seconds [n], in order.
        values: [n, w]; for CUBICSPLINE [n, 3, w] with the tangent in, the value and the tangent out.
        kind: STEP, LINEAR or CUBICSPLINE.
        rotation: whether the values are quaternions (x, y, z, w), which are interpolated on the sphere.
    """

    times: np.ndarray
    values: np.ndarray
    kind: str
    rotation: bool

    def at(self, times: Float64[np.ndarray, " T"]) -> Float64[np.ndarray, "T w"]:
        """Before the first and after the last key the value stays."""
        keys, n = self.times.astype(np.float64), len(self.times)
        t = np.clip(times, keys[0], keys[-1])
        k = np.clip(np.searchsorted(keys, t, "right") - 1, 0, n - 1)
        after = np.minimum(k + 1, n - 1)
        step = keys[after] - keys[k]
        u = np.divide(t - keys[k], step, out=np.zeros_like(t), where=step > 0)[:, None]
        if self.kind == "CUBICSPLINE":
            a, b = self.values[k].astype(np.float64), self.values[after].astype(np.float64)
            found = _hermite(a[:, 1], a[:, 2] * step[:, None], b[:, 1], b[:, 0] * step[:, None], u)
            return unit(found) if self.rotation else found
        first, second = self.values[k].astype(np.float64), self.values[after].astype(np.float64)
        if self.kind == "STEP":
            return unit(first) if self.rotation else first
        return slerp(unit(first), unit(second), u) if self.rotation else first + u * (second - first)


def _hermite(p: np.ndarray, out: np.ndarray, q: np.ndarray, into: np.ndarray, u: np.ndarray) -> np.ndarray:
    """From p to q for u from 0 to 1, with the derivatives `out` at p and `into` at q."""
    v = 1 - u
    return v * v * (1 + 2 * u) * p + u * v * v * out + u * u * (1 + 2 * v) * q - u * u * v * into


def unit(quaternions: Float64[np.ndarray, "T 4"]) -> Float64[np.ndarray, "T 4"]:
    return quaternions / np.maximum(np.linalg.norm(quaternions, axis=-1, keepdims=True), 1e-30)


def slerp(
    a: Float64[np.ndarray, "T 4"], b: Float64[np.ndarray, "T 4"], u: Float64[np.ndarray, "T 1"]
) -> Float64[np.ndarray, "T 4"]:
    """Unit quaternions from a (u = 0) to b (u = 1) with constant speed, the shorter way."""
    dot = (a * b).sum(-1, keepdims=True)
    b = np.where(dot < 0, -b, b)
    angle = np.arccos(np.clip(np.abs(dot), 0, 1))
    sine = np.sin(angle)
    near = sine < 1e-6  # then the chord is as good as the arc
    safe = np.where(near, 1, sine)
    before, after = np.sin((1 - u) * angle) / safe, np.sin(u * angle) / safe
    return unit(np.where(near, 1 - u, before) * a + np.where(near, u, after) * b)


Curves = Mapping[tuple[int, str], Curve]  # by node and path


def curves_of(
    gltf: GltfFile, animation: dict[str, Any], tree: Tree, morphs: Mapping[int, int], budget: int
) -> tuple[Curves, int]:
    """The curves of one animation, and how much of the `budget` of numbers is left.

    Channels without a node, and those of an extension (KHR_animation_pointer), are left out as the standard says; so
    are the weights of meshes in other scenes.

    Args:
        morphs: the number of morph targets of each node that has some.
    """
    samplers, curves = gltf.objects(animation, "samplers"), {}
    for channel in gltf.objects(animation, "channels"):
        target, which = gltf.child(channel, "target"), gltf.whole(channel, "sampler")
        path = target.get("path")
        if "node" not in target or path == "pointer":
            continue
        node = gltf.entry("nodes", target["node"])
        if not isinstance(path, str) or path not in PATHS or which >= len(samplers):
            raise gltf.error(f"one of {len(samplers)} samplers and of {tuple(PATHS)}", f"{which}, {path!r}")
        if (target["node"], path) in curves:
            raise gltf.error("one channel a property", f"{path} of node {target['node']} twice")
        if path != "weights" and "matrix" in node:
            raise gltf.error("no matrix in a node that is animated", f"node {target['node']}")
        if path == "weights" and target["node"] not in morphs:
            if target["node"] not in tree.scene:
                continue
            raise gltf.error("morph targets where weights are animated", f"none at node {target['node']}")
        curve = _curve(gltf, samplers[which], path, morphs.get(target["node"], 1))
        budget -= curve.values.size + curve.times.size
        if budget < 0:
            raise gltf.error(f"at most {MAX_KEY_NUMBERS} numbers in key frames", "more")
        curves[target["node"], path] = curve
    return curves, budget


def _curve(gltf: GltfFile, sampler: dict[str, Any], path: str, morphs: int) -> Curve:
    kind = sampler.get("interpolation", "LINEAR")
    if kind not in ("LINEAR", "STEP", "CUBICSPLINE"):
        raise gltf.error("interpolation LINEAR, STEP or CUBICSPLINE", repr(kind))
    times = gltf.accessor(sampler.get("input"), ("SCALAR",), ("f4",))[:, 0]
    if times[0] < 0 or (np.diff(times) < 0).any():
        raise gltf.error("times of keys in order, from 0 on", f"{times[:6].tolist()}")
    values = gltf.floats(sampler.get("output"), PATHS[path])
    width = morphs if path == "weights" else values.shape[1]
    rows = len(times) * (3 if kind == "CUBICSPLINE" else 1)
    if values.size != rows * width:
        raise gltf.error(f"{rows} x {width} numbers of {path} for {len(times)} keys ({kind})", values.size)
    shape = (len(times), 3, width) if kind == "CUBICSPLINE" else (len(times), width)
    values = values.reshape(shape)
    keys = values[:, 1] if kind == "CUBICSPLINE" else values
    if path == "rotation" and (np.abs(keys).max(-1) < 1e-6).any():
        raise gltf.error("unit quaternions as rotation", "0 0 0 0")
    return Curve(times, values, kind, path == "rotation")


@dataclass(frozen=True)
class Tree:
    """All nodes of a file: parents come before their children in `order`.

    Attributes:
        parent: index of the parent [N], -1 for a root.
        scene: the nodes of the default scene, parents first, in the file's order.
        local: from each node to its parent, at rest.
        trs: what a node that is animated has of "translation", "rotation" and "scale" at rest.
    """

    order: tuple[int, ...]
    parent: tuple[int, ...]
    scene: tuple[int, ...]
    local: Float64[np.ndarray, "N 4 4"]
    trs: Mapping[int, Mapping[str, np.ndarray]]

    def matrices(self, curves: Curves, times: Float64[np.ndarray, " T"]) -> Float64[np.ndarray, "N T 4 4"]:
        """From each node to glTF's world."""
        moved = {node for node, path in curves if path != "weights"}
        world = np.empty((len(self.parent), len(times), 4, 4))
        for node in self.order:
            own = self.local[node]
            if node in moved:
                rest = self.trs[node]
                own = trs_matrix(
                    *(
                        curves[node, path].at(times) if (node, path) in curves else rest[path][None]
                        for path in ("translation", "rotation", "scale")
                    )
                )
            world[node] = own if self.parent[node] < 0 else world[self.parent[node]] @ own
        return world


def tree_of(gltf: GltfFile) -> Tree:
    nodes = gltf.objects(gltf.data, "nodes")
    if len(nodes) > MAX_NODES:
        raise gltf.error(f"at most {MAX_NODES} nodes", len(nodes))
    parent = [-1] * len(nodes)
    for index, node in enumerate(nodes):
        for child in gltf.items(node, "children"):
            gltf.entry("nodes", child)
            if parent[child] >= 0:
                raise gltf.error("a tree of nodes", f"node {child} twice")
            parent[child] = index
    order = _below(nodes, [k for k, above in enumerate(parent) if above < 0])
    if len(order) < len(nodes):
        circle = next(iter(set(range(len(nodes))) - set(order)))
        raise gltf.error("a tree of nodes", f"node {circle} in a circle")
    scene = gltf.entry("scenes", gltf.data.get("scene", 0))
    roots = gltf.items(scene, "nodes")
    for root in roots:
        gltf.entry("nodes", root)
    if len(set(roots)) < len(roots):
        raise gltf.error("each root of the scene once", roots)
    local = np.array([gltf.rest_matrix(node) for node in nodes]).reshape(-1, 4, 4)
    trs = {
        k: {path: gltf.numbers(node, path, rest) for path, rest in AT_REST.items()}
        for k, node in enumerate(nodes)
        if "matrix" not in node
    }
    return Tree(tuple(order), tuple(parent), tuple(_below(nodes, roots)), local, trs)


def _below(nodes: Sequence[dict[str, Any]], roots: list[int]) -> list[int]:
    """The roots and all their descendants, parents first; each node at most once."""
    stack, found = list(reversed(roots)), dict[int, None]()
    while stack:
        node = stack.pop()
        if node not in found:
            found[node] = None
            stack += reversed(nodes[node].get("children", []))
    return list(found)


@dataclass(frozen=True)
class Skin:
    """Linear blend skinning: the joints' nodes, and from the mesh to each joint at bind time."""

    joints: Int64[np.ndarray, " J"]
    inverse_bind: Float64[np.ndarray, "J 4 4"]

    def bend(
        self, points: np.ndarray, weights: csr_array, world: Float64[np.ndarray, "N T 4 4"]
    ) -> Float64[np.ndarray, "T V 3"]:
        """Points of the mesh ([V, 3] or [T, V, 3]) in glTF's world. The mesh's own node does not matter."""
        count = world.shape[1]
        matrices = (world[self.joints] @ self.inverse_bind[:, None])[:, :, :3].reshape(len(self.joints), -1)
        blended = (weights @ matrices).reshape(-1, count, 3, 4).transpose(1, 0, 2, 3)
        return (blended[..., :3] @ points[..., None])[..., 0] + blended[..., 3]


def skin_of(gltf: GltfFile, index: object) -> Skin:
    skin = gltf.entry("skins", index)
    joints = gltf.items(skin, "joints")
    if not 1 <= len(joints) <= MAX_NODES:
        raise gltf.error(f"1 to {MAX_NODES} joints in skin {index}", len(joints))
    for joint in joints:
        gltf.entry("nodes", joint)
    matrices = np.tile(np.eye(4), (len(joints), 1, 1))
    if "inverseBindMatrices" in skin:
        stored = gltf.floats(skin["inverseBindMatrices"], "MAT4")
        if len(stored) < len(joints):
            raise gltf.error(f"{len(joints)} inverse bind matrices in skin {index}", len(stored))
        matrices = stored[: len(joints)].astype(np.float64).reshape(-1, 4, 4).transpose(0, 2, 1)
    return Skin(np.array(joints, np.int64), matrices)


def skin_weights(gltf: GltfFile, attributes: dict[str, Any], count: int, joints: int) -> csr_array:
    """All sets JOINTS_k and WEIGHTS_k as one matrix [V, J] whose rows sum to 1."""
    columns: list[np.ndarray] = []
    values: list[np.ndarray] = []
    while f"JOINTS_{len(columns)}" in attributes:
        k = len(columns)
        columns.append(gltf.accessor(attributes[f"JOINTS_{k}"], ("VEC4",), ("u1", "u2")).astype(np.int64))
        values.append(gltf.floats(attributes.get(f"WEIGHTS_{k}"), "VEC4").astype(np.float64))
        if len(columns[k]) != count or len(values[k]) != count:
            raise gltf.error(f"{count} joints and weights in set {k}", f"{len(columns[k])} and {len(values[k])}")
    if not columns:
        raise gltf.error("JOINTS_0 and WEIGHTS_0 in a skinned mesh", sorted(attributes))
    column, value = np.concatenate(columns, 1), np.concatenate(values, 1)
    total = value.sum(1, keepdims=True)
    if (value < 0).any() or (total < 1e-6).any():
        raise gltf.error("weights >= 0 with a positive sum at each vertex", f"{value.min()}, sum {total.min()}")
    column = np.where(value > 0, column, 0)
    if column.max() >= joints:
        raise gltf.error(f"joints below {joints}", column.max())
    starts = np.arange(0, value.size + 1, value.shape[1])
    return csr_array(((value / total).ravel(), column.ravel(), starts), shape=(count, joints))
