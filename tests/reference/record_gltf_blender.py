"""Record where Blender puts vertices of animated GLB files: the oracle of test_gltf_blender.py.

In an environment of its own with Python 3.11 (Blender as a module, 374 MB, needs numpy 1):

    pip install bpy==5.0.1
    python tests/reference/record_gltf_blender.py tests/fixtures/gltf/blender_samples.npz tests/fixtures/gltf/*.glb
    python tests/reference/record_gltf_blender.py tests/fixtures/gltf/blender_assets.npz ASSETS/*.glb

Each animation is imported alone, because in a file with several Blender keeps poses of the others for bones without
keys. Blender interpolates quaternions along the chord and drops the tangents of cubic splines, so times are taken where
as many curves as possible have a key, unless the file's animation says `"extras": {"times": [...]}`. Vertices
keep their order: Blender takes those that a primitive's indices name, sorted, one primitive after the other. Names
of nodes are replaced by their indices and materials are dropped before the import.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

import bpy
import numpy as np

FPS, VERTICES, ANIMATIONS, TIMES = 24, 48, 3, 3
SCALARS = {5121: "u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}


def parts_of(path: Path) -> tuple[dict[str, Any], bytes]:
    content = path.read_bytes()
    length = struct.unpack_from("<I", content, 12)[0]
    return json.loads(content[20 : 20 + length]), content[28 + length :]


def write_single(path: Path, document: dict[str, Any], binary: bytes, animation: int) -> None:
    """The file with one animation, numbered names and no materials."""
    document = json.loads(json.dumps(document))
    document["animations"] = [document["animations"][animation]]
    for table in ("materials", "textures", "images", "samplers", "extensionsUsed"):
        document.pop(table, None)
    if "extensionsRequired" in document:
        document["extensionsUsed"] = document["extensionsRequired"]
    for index, node in enumerate(document["nodes"]):
        node["name"] = f"n{index}"
    for mesh in document["meshes"]:
        for primitive in mesh["primitives"]:
            primitive.pop("material", None)
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<5I", 0x46546C67, 2, 28 + len(text) + len(binary), len(text), 0x4E4F534A)
    path.write_bytes(head + text + struct.pack("<II", len(binary), 0x004E4942) + binary)


def scalars(document: dict[str, Any], binary: bytes, index: int) -> np.ndarray:
    entry = document["accessors"][index]
    view = document["bufferViews"][entry["bufferView"]]
    start = view.get("byteOffset", 0) + entry.get("byteOffset", 0)
    return np.frombuffer(binary, SCALARS[entry["componentType"]], entry["count"], start)


def chosen_times(document: dict[str, Any], binary: bytes, animation: dict[str, Any], rng: np.random.Generator) -> list:
    if "times" in animation.get("extras", {}):
        return animation["extras"]["times"]
    used = {channel["sampler"] for channel in animation["channels"]}
    keys = [scalars(document, binary, animation["samplers"][k]["input"]) for k in sorted(used)]
    times, counts = np.unique(np.concatenate(keys), return_counts=True)
    best = times[counts == counts.max()]
    return sorted(rng.choice(best, min(TIMES, len(best)), replace=False).tolist())


def rows_of(document: dict[str, Any], binary: bytes) -> dict[int, np.ndarray]:
    """For each node with a mesh, (node, primitive, vertex) in Blender's order."""
    scene, found = document["scenes"][document.get("scene", 0)], {}
    stack = list(scene["nodes"])
    while stack:
        index = stack.pop()
        node = document["nodes"][index]
        stack += node.get("children", [])
        if "mesh" not in node:
            continue
        rows = []
        for k, primitive in enumerate(document["meshes"][node["mesh"]]["primitives"]):
            count = document["accessors"][primitive["attributes"]["POSITION"]]["count"]
            used = np.arange(count)
            if "indices" in primitive:
                used = np.unique(scalars(document, binary, primitive["indices"]))
            rows.append(np.stack([np.full(len(used), index), np.full(len(used), k), used], 1))
        found[index] = np.concatenate(rows).astype(np.int32)
    return dict(sorted(found.items()))


def positions(rows: dict[int, np.ndarray], time: float) -> np.ndarray:
    """All vertices in Blender's world (z up), in the order of `rows`."""
    frame = time * FPS
    bpy.context.scene.frame_set(int(frame), subframe=frame - int(frame))
    graph, found = bpy.context.evaluated_depsgraph_get(), []
    for node, expected in rows.items():
        thing = bpy.data.objects[f"n{node}"].evaluated_get(graph)
        mesh = thing.to_mesh()
        if len(mesh.vertices) != len(expected):
            raise SystemExit(f"node {node}: Blender has {len(mesh.vertices)} vertices, the file names {len(expected)}")
        flat = np.empty(3 * len(expected), np.float32)
        mesh.vertices.foreach_get("co", flat)
        matrix = np.array(thing.matrix_world)
        found.append(flat.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3])
        thing.to_mesh_clear()
    return np.concatenate(found)


def record(path: Path, folder: Path) -> dict[str, np.ndarray]:
    digest = hashlib.sha256(path.read_bytes()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    document, binary = parts_of(path)
    rows = rows_of(document, binary)
    everything = np.concatenate(list(rows.values()))
    subset = np.sort(rng.choice(len(everything), min(VERTICES, len(everything)), replace=False))
    count = len(document["animations"])
    which, times, found = [], [], []
    for animation in sorted(rng.choice(count, min(ANIMATIONS, count), replace=False).tolist()):
        write_single(folder / "a.glb", document, binary, animation)
        bpy.ops.wm.read_factory_settings(use_empty=True)
        bpy.context.scene.render.fps = FPS
        bpy.ops.import_scene.gltf(filepath=str(folder / "a.glb"), merge_vertices=False)
        for time in chosen_times(document, binary, document["animations"][animation], rng):
            which.append(animation)
            times.append(time)
            found.append(positions(rows, time)[subset])
    return {
        "sha256": np.frombuffer(digest, np.uint8),
        "vertices": everything[subset],
        "animations": np.array(which, np.int32),
        "times": np.array(times, np.float64),
        "positions": np.array(found, np.float32),
    }


def main() -> None:
    arrays = {}
    with tempfile.TemporaryDirectory() as folder:
        for path in map(Path, sys.argv[2:]):
            arrays |= {f"{path.stem}/{name}": array for name, array in record(path, Path(folder)).items()}
            print(path.stem, flush=True)  # noqa: T201
    np.savez_compressed(sys.argv[1], **arrays)


if __name__ == "__main__":
    main()
