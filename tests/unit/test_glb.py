"""GLB: round trips, agreement with trimesh in both directions, the standard's rules, and refusals."""

import contextlib
import copy
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bench4d.asset import Mesh
from bench4d.errors import FormatError
from bench4d.glb import read_glb, write_glb, write_glb_sequence
from bench4d.gltf_surface import linear_from_srgb, srgb_from_linear

VERTICES = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0.1, 0.2, 0.3]], np.float32)
FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)


def coloured() -> Mesh:
    return Mesh(
        VERTICES, FACES, np.array([[0, 1, 255, 255], [3, 128, 200, 255], [9, 9, 9, 255], [255, 0, 77, 255]], np.uint8)
    )


def textured() -> Mesh:
    texture = np.random.default_rng(0).integers(0, 256, (5, 3, 4), np.uint8)
    return Mesh(VERTICES, FACES, uv=np.array([[0, 0], [1, 0], [0, 1], [0.25, 0.75]], np.float32), texture=texture)


def assert_same(a: Mesh, b: Mesh) -> None:
    for name in ("vertices", "faces", "colors", "uv", "texture"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def parts_of(path: Path) -> tuple[dict[str, Any], bytes]:
    content = path.read_bytes()
    length = struct.unpack_from("<I", content, 12)[0]
    return json.loads(content[20 : 20 + length]), content[28 + length :]


def assemble(path: Path, document: dict[str, Any], binary: bytes) -> None:
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<III", 0x46546C67, 2, 28 + len(text) + len(binary)) + struct.pack("<II", len(text), 0x4E4F534A)
    path.write_bytes(head + text + struct.pack("<II", len(binary), 0x004E4942) + binary)


def changed(path: Path, mesh: Mesh, change: Callable[[dict[str, Any]], Any]) -> Path:
    write_glb(path, mesh)
    document, binary = parts_of(path)
    change(document)
    assemble(path, document, binary)
    return path


@pytest.mark.parametrize("mesh", [coloured(), textured()], ids=["colours", "texture"])
def test_round_trip_is_exact(mesh: Mesh, tmp_path: Path) -> None:
    write_glb(tmp_path / "m.glb", mesh)
    assert_same(read_glb(tmp_path / "m.glb"), mesh)


def test_every_8_bit_colour_and_alpha_survives_linear_16_bits(tmp_path: Path) -> None:
    ramp = np.arange(256, dtype=np.uint8)
    mesh = Mesh(np.eye(256, 3, dtype=np.float32), FACES, np.stack([ramp, ramp[::-1], np.roll(ramp, 7), ramp], axis=1))
    write_glb(tmp_path / "m.glb", mesh)
    assert_same(read_glb(tmp_path / "m.glb"), mesh)


def test_srgb_curves_are_inverse_and_hit_known_values() -> None:
    values = np.linspace(0, 1, 1001)
    np.testing.assert_allclose(srgb_from_linear(linear_from_srgb(values)), values, atol=1e-6)
    assert srgb_from_linear(np.array(0.21404114)) == pytest.approx(0.5, abs=1e-6)


def test_up_and_front_follow_gltf(tmp_path: Path) -> None:
    write_glb(tmp_path / "m.glb", Mesh(np.eye(3, dtype=np.float32), FACES[:1], coloured().colors[:3]))
    document, binary = parts_of(tmp_path / "m.glb")
    stored = np.frombuffer(binary, "<f4", 9).reshape(3, 3)
    assert stored.tolist() == [[1, 0, 0], [0, 0, -1], [0, 1, 0]]  # world up z -> up y; world front -y -> front +z
    assert "KHR_materials_unlit" in document["materials"][0]["extensions"]


def test_trimesh_reads_ours(tmp_path: Path) -> None:
    for mesh in (coloured(), textured()):
        write_glb(tmp_path / "m.glb", mesh)
        scene = trimesh.load_scene(tmp_path / "m.glb", process=False)
        (theirs,) = scene.geometry.values()
        x, y, z = VERTICES.T
        np.testing.assert_array_equal(theirs.vertices, np.stack([x, z, -y], axis=1))
        np.testing.assert_array_equal(theirs.faces, FACES)
        if mesh.colors is not None:
            linear = linear_from_srgb(mesh.colors[:, :3] / 255) * 65535
            np.testing.assert_allclose(theirs.visual.vertex_attributes["color"][:, :3], linear, atol=0.5001)
        elif mesh.uv is not None and mesh.texture is not None:
            np.testing.assert_allclose(
                theirs.visual.uv, np.stack([mesh.uv[:, 0], 1 - mesh.uv[:, 1]], axis=1), atol=1e-6
            )
            np.testing.assert_array_equal(np.asarray(theirs.visual.material.baseColorTexture), mesh.texture)


def test_we_read_trimesh_with_nodes_and_several_primitives(tmp_path: Path) -> None:
    box = trimesh.creation.box((1, 2, 3))
    box.visual.vertex_colors = np.random.default_rng(1).integers(0, 256, (8, 4), np.uint8)
    ball = trimesh.creation.icosphere(2, 0.5)
    ball.visual.vertex_colors = np.array([200, 100, 50, 255], np.uint8)
    turn = trimesh.transformations.rotation_matrix(0.7, [1, 2, 3], [0.1, 0.2, 0.3])
    mirror = np.diag([1.0, -2.0, 0.5, 1.0])
    scene = trimesh.Scene()
    scene.add_geometry(box, transform=turn, node_name="box")
    scene.add_geometry(ball, transform=mirror, node_name="ball")
    (tmp_path / "scene.glb").write_bytes(scene.export(file_type="glb"))
    ours = read_glb(tmp_path / "scene.glb", vertex_colors="srgb")
    moved = ball.copy()
    moved.apply_transform(mirror)
    box.apply_transform(turn)
    expected = trimesh.util.concatenate([box, moved])
    x, y, z = np.asarray(expected.vertices).T
    order = (
        slice(None)
        if np.allclose(ours.vertices[:8], np.stack([x, -z, y], axis=1)[:8], atol=1e-6)
        else np.roll(np.arange(len(x)), -8)
    )
    np.testing.assert_allclose(ours.vertices, np.stack([x, -z, y], axis=1)[order], atol=1e-6)
    again = trimesh.Trimesh(ours.vertices, ours.faces, process=False)
    assert again.is_watertight and again.is_winding_consistent
    assert (
        again.volume == pytest.approx(6 + moved.volume, rel=1e-5) and moved.volume > 0
    )  # the mirror's winding was turned
    assert ours.colors is not None
    rgb = np.concatenate([box.visual.vertex_colors, ball.visual.vertex_colors])[order][:, :3]
    np.testing.assert_array_equal(ours.colors[:, :3], rgb)


def test_we_read_a_textured_mesh_of_trimesh(tmp_path: Path) -> None:
    picture = np.random.default_rng(2).integers(0, 256, (4, 4, 3), np.uint8)
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(picture))
    uv = np.array([[0, 0], [1, 0], [0, 1], [0.5, 0.25]])
    theirs = trimesh.Trimesh(
        VERTICES, FACES, visual=trimesh.visual.TextureVisuals(uv=uv, material=material), process=False
    )
    (tmp_path / "t.glb").write_bytes(theirs.export(file_type="glb"))
    ours = read_glb(tmp_path / "t.glb")
    assert ours.texture is not None and ours.uv is not None
    np.testing.assert_array_equal(ours.texture[..., :3], picture)
    np.testing.assert_allclose(ours.uv, np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1), atol=1e-6)


def test_factors_multiply_in_linear_light(tmp_path: Path) -> None:
    def dim(document: dict[str, Any]) -> None:
        document["materials"][0]["pbrMetallicRoughness"]["baseColorFactor"] = [0.2158605, 0, 1, 0.2]

    white = Mesh(VERTICES, FACES, np.full((4, 4), 255, np.uint8))
    colors = read_glb(changed(tmp_path / "m.glb", white, dim)).colors
    assert colors is not None and colors[0].tolist() == [128, 0, 255, 255]  # OPAQUE: alpha does not count


def test_node_matrices_are_stored_by_columns(tmp_path: Path) -> None:
    def move(document: dict[str, Any]) -> None:
        document["nodes"] = [
            {"children": [1], "scale": [2, 2, 2]},
            {"mesh": 0, "matrix": [*np.eye(4).ravel()[:12], 1, 2, 3, 1]},
        ]

    after = read_glb(changed(tmp_path / "m.glb", coloured(), move))
    np.testing.assert_allclose(after.vertices, 2 * (VERTICES + np.array([1, -3, 2])), atol=1e-6)


def test_an_interleaved_buffer_is_read_by_its_stride(tmp_path: Path) -> None:
    rows = np.zeros(4, [("p", "<f4", 3), ("c", "u1", 4)])
    rows["p"], rows["c"] = VERTICES[:, [0, 2, 1]] * [1, 1, -1], 255
    document = {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "COLOR_0": 1}, "indices": 2}]}],
        "buffers": [{"byteLength": 76}],
        "bufferViews": [
            {"buffer": 0, "byteLength": 64, "byteStride": 16},
            {"buffer": 0, "byteOffset": 64, "byteLength": 12},
        ],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3"},
            {"bufferView": 0, "byteOffset": 12, "componentType": 5121, "count": 4, "type": "VEC4", "normalized": True},
            {"bufferView": 1, "componentType": 5121, "count": 12, "type": "SCALAR"},
        ],
    }
    assemble(tmp_path / "i.glb", document, rows.tobytes() + FACES.astype(np.uint8).tobytes())
    after = read_glb(tmp_path / "i.glb")
    np.testing.assert_array_equal(after.vertices, VERTICES)
    np.testing.assert_array_equal(after.faces, FACES)


def test_a_sequence_becomes_morph_targets_that_hit_every_frame(tmp_path: Path) -> None:
    rng, base = np.random.default_rng(3), coloured()
    frames = [
        Mesh(VERTICES + rng.normal(0, 0.1, VERTICES.shape).astype(np.float32), FACES, base.colors) for _ in range(4)
    ]
    path = tmp_path / "s.glb"
    write_glb_sequence(path, frames, [0, 0.5, 0.75, 2])
    document, binary = parts_of(path)

    def array(index: int) -> np.ndarray:
        entry = document["accessors"][index]
        view = document["bufferViews"][entry["bufferView"]]
        width = {"SCALAR": 1, "VEC3": 3}[entry["type"]]
        return np.frombuffer(binary, "<f4", entry["count"] * width, view["byteOffset"]).reshape(-1, width)

    (primitive,) = document["meshes"][0]["primitives"]
    base_points = array(primitive["attributes"]["POSITION"])
    targets = np.stack([array(target["POSITION"]) for target in primitive["targets"]])
    sampler = document["animations"][0]["samplers"][0]
    assert array(sampler["input"]).ravel().tolist() == [0, 0.5, 0.75, 2]
    for frame, weights in zip(frames, array(sampler["output"]).reshape(4, 3), strict=True):
        points = base_points + np.tensordot(weights, targets, 1)
        np.testing.assert_allclose(points[:, [0, 2, 1]] * [1, -1, 1], frame.vertices, atol=1e-6)
    with pytest.raises(FormatError, match="animations, which are not evaluated"):
        read_glb(path)
    np.testing.assert_array_equal(read_glb(path, rest_pose=True).vertices, frames[0].vertices)
    with pytest.raises(FormatError, match="Write one GLB a frame"):
        write_glb_sequence(path, [frames[0], textured()], [0, 1])


def test_an_empty_mesh_has_no_glb(tmp_path: Path) -> None:
    empty = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32), np.zeros((0, 4), np.uint8))
    with pytest.raises(FormatError, match="at least one face"):
        write_glb(tmp_path / "e.glb", empty)


def put(*keys: Any) -> Callable[[dict[str, Any]], None]:
    """put("a", 0, "b", value): document["a"][0]["b"] = value."""

    def change(document: Any) -> None:
        for key in keys[:-2]:
            document = document[key]
        document[keys[-2]] = keys[-1]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("extensionsRequired", ["KHR_draco_mesh_compression"]), "Decompress it first"),
        (put("extensionsRequired", ["KHR_texture_transform"]), "KHR_texture_transform"),
        (put("skins", [{}]), "skinned"),
        (put("animations", [{}]), "animations"),
        (put("buffers", 0, "uri", "data.bin"), "URI"),
        (put("images", [{"uri": "a.png"}]), "URI"),
        (put("accessors", 0, "sparse", {}), "sparse"),
        (put("accessors", 0, "count", 10**9), "inside its"),
        (put("accessors", 0, "byteOffset", 8), "inside its"),
        (put("accessors", 0, "componentType", 5123), "component 5123"),
        (put("accessors", 0, "count", True), "whole number"),
        (put("bufferViews", 0, "byteLength", 10**6), "inside the"),
        (put("bufferViews", 0, "byteStride", 4), "byteStride"),
        (put("meshes", 0, "primitives", 0, "mode", 5), "mode 5"),
        (put("meshes", 0, "primitives", 0, "indices", 7), "accessors"),
        (put("meshes", 0, "primitives", 0, "targets", [{}]), "morph targets"),
        (put("nodes", [{"mesh": 0, "children": [0]}]), "node 0 twice"),
        (put("nodes", 0, "rotation", [0, 0, 0, 0]), "unit quaternions"),
        (put("nodes", 0, "scale", [1, "2", 3]), "3 finite numbers"),
        (put("scene", 4), "scenes"),
        (put("meshes", 0, "primitives", []), "triangles in the default scene"),
        (put("materials", 0, {"extensions": {"KHR_materials_pbrSpecularGlossiness": {}}}), "SpecularGlossiness"),
    ],
)
def test_what_is_not_read_is_refused_with_the_reason(
    change: Callable[[dict[str, Any]], None], message: str, tmp_path: Path
) -> None:
    mesh = textured() if "URI" in message else coloured()
    with pytest.raises(FormatError, match=message):
        read_glb(changed(tmp_path / "m.glb", mesh, change))


def test_two_textures_are_refused(tmp_path: Path) -> None:
    def split(document: dict[str, Any]) -> None:
        document["textures"].append(document["textures"][0])
        document["materials"].append(json.loads(json.dumps(document["materials"][0])))
        document["materials"][1]["pbrMetallicRoughness"]["baseColorTexture"]["index"] = 1
        document["meshes"][0]["primitives"].append(document["meshes"][0]["primitives"][0] | {"material": 1})

    with pytest.raises(FormatError, match="atlas"):
        read_glb(changed(tmp_path / "m.glb", textured(), split))


@pytest.mark.parametrize("content", [b"", b"glTF", b"glTF\x01" + bytes(40), b"{}" * 20])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.glb").write_bytes(content)
    with pytest.raises(FormatError):
        read_glb(tmp_path / "x.glb")


JUNK = st.sampled_from(
    [None, True, -1, 0, 1, 2, 7, 10**12, 1.5, float("inf"), "x", "VEC4", [], {}, [0], [None], {"index": 0}]
)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_damaged_files_raise_nothing_but_format_errors(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.glb"
    write_glb(path, data.draw(st.sampled_from([coloured(), textured()])))
    document, binary = parts_of(path)
    for _ in range(data.draw(st.integers(1, 3))):
        place: Any = document
        while True:  # walk down to a random spot and put junk there
            key = data.draw(st.sampled_from(list(place) if isinstance(place, dict) else list(range(len(place)))))
            if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.integers(0, 3)) == 0:
                place[key] = copy.deepcopy(data.draw(JUNK))
                break
            place = place[key]
    assemble(path, document, binary)
    if data.draw(st.booleans()):
        content = bytearray(path.read_bytes())
        content[data.draw(st.integers(0, 30))] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
    with contextlib.suppress(FormatError):
        read_glb(path, rest_pose=True)
