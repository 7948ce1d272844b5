"""Animated glTF: curves against closed forms and scipy, skins and morphs by hand, colours against direct sampling.

Against Blender: tests/reference/test_gltf_blender.py. Damaged files: test_gltf_malformed.py.
"""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.interpolate import CubicHermiteSpline
from scipy.spatial.transform import Rotation, Slerp

from bench4d import gltf
from bench4d.asset import Mesh
from bench4d.errors import FormatError
from bench4d.glb import write_glb, write_glb_sequence
from bench4d.gltf import read_animated
from bench4d.gltf_file import open_gltf, trs_matrix
from bench4d.gltf_motion import Curve, slerp
from bench4d.gltf_surface import CLAMP, MIRRORED, REPEAT, linear_from_srgb, material_of, texture_coordinates
from tests.gltf_samples import SAMPLES, Builder, turn

FOLDER = Path(__file__).parents[1] / "fixtures" / "gltf"
CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
FACES = np.array([[0, 2, 1], [0, 1, 3]], np.int32)


def world(points: Any) -> np.ndarray:
    """glTF (x, y, z) in our world."""
    x, y, z = np.moveaxis(np.asarray(points, np.float64), -1, 0)
    return np.stack([x, -z, y], -1)


def written(made: Builder, path: Path) -> Path:
    path.write_bytes(made.bytes())
    return path


def one_mesh(*nodes: dict[str, Any], **primitive: Any) -> Builder:
    """Nodes, of which node 0 is the scene, and mesh 0 of three corners."""
    made = Builder()
    attributes = {"POSITION": made.add(CORNERS[:3]), **primitive.pop("attributes", {})}
    made.document |= {
        "scenes": [{"nodes": [0]}],
        "nodes": list(nodes),
        "meshes": [{"primitives": [{"attributes": attributes, **primitive}]}],
    }
    return made


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_in_the_repository_are_what_the_script_makes(name: str) -> None:
    assert (FOLDER / f"{name}.glb").read_bytes() == SAMPLES[name]().bytes()


def test_names_lengths_and_parts_are_told() -> None:
    asset = read_animated(FOLDER / "morph.glb")
    assert [(a.name, a.start, a.duration) for a in asset.animations] == [("wave", 0, 1.5), ("spline", 0.25, 1.25)]
    assert [(p.node, p.primitive, p.name, p.count) for p in asset.parts] == [
        (1, 0, "one", 12), (1, 1, "one", 8), (3, 0, "two", 12), (3, 1, "two", 8)]  # fmt: skip
    assert [p.alpha_mode for p in asset.parts] == ["BLEND", "OPAQUE"] * 2 and not any(p.textured for p in asset.parts)
    np.testing.assert_array_equal(asset.vertices("wave", [0.3]), asset.vertices(0, [0.3]))
    with pytest.raises(FormatError, match=r"one animation 'run'.*0 in"):
        asset.vertices("run", [0])


def test_slerp_is_scipys() -> None:
    rng = np.random.default_rng(0)
    a, b, u = rng.normal(size=(50, 4)), rng.normal(size=(50, 4)), rng.random((50, 1))
    a, b = (q / np.linalg.norm(q, axis=1, keepdims=True) for q in (a, b))
    b[0], b[1], b[2] = a[0], -a[1], a[2] + [0, 1e-9, 0, 0]
    for first, second, share, ours in zip(a, b, u, slerp(a, b, u), strict=True):
        theirs = Slerp([0, 1], Rotation.from_quat([first, second]))(share)
        np.testing.assert_allclose(Rotation.from_quat(ours).as_matrix(), theirs.as_matrix()[0], atol=1e-7)


def test_cubic_splines_are_scipys_and_rotations_stay_unit() -> None:
    rng, times = np.random.default_rng(1), np.array([0.5, 0.75, 2, 3.5], np.float32)
    values = rng.normal(size=(4, 3, 3)).astype(np.float32)
    at = np.linspace(0, 4, 41)
    ours = Curve(times, values, "CUBICSPLINE", False).at(at)
    for k in range(3):  # scipy has one derivative a key; glTF may change it, so interval by interval
        inside = (at >= times[k]) & (at <= times[k + 1])
        slopes = [values[k, 2], values[k + 1, 0]]
        theirs = CubicHermiteSpline(times[k : k + 2], values[k : k + 2, 1], slopes)(at[inside])
        np.testing.assert_allclose(ours[inside], theirs, atol=1e-6)
    np.testing.assert_allclose(ours[0], values[0, 1])
    np.testing.assert_allclose(ours[-1], values[-1, 1])
    turned = Curve(times, rng.normal(size=(4, 3, 4)), "CUBICSPLINE", True).at(at)
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), 1)


def test_steps_hold_lines_are_straight_and_ends_stand_still() -> None:
    times, values = np.array([1, 2, 2, 4], np.float32), np.array([[0], [10], [20], [40]], np.float32)
    at = np.array([0, 1, 1.5, 2, 3, 3.999, 4, 9])
    assert Curve(times, values, "STEP", False).at(at)[:, 0].tolist() == [0, 0, 0, 20, 20, 20, 40, 40]
    lines = Curve(times, values, "LINEAR", False).at(at)[:, 0]
    np.testing.assert_allclose(lines, [0, 0, 5, 20, 30, 39.99, 40, 40])
    assert Curve(times[:1], values[1:2], "LINEAR", False).at(at).tolist() == [[10]] * 8


def test_a_rotation_between_keys_has_constant_speed(tmp_path: Path) -> None:
    made = one_mesh({"mesh": 0})
    made.animation("", [(0, "rotation", "LINEAR", [0, 1], [turn([0, 0, 1], 0), turn([0, 0, 1], 120)])])
    asset = read_animated(written(made, tmp_path / "a.glb"))
    assert asset.animations[0].name == "animation 0"
    for time, points in zip([0.25, 0.7], asset.vertices(0, [0.25, 0.7]), strict=True):
        angle = np.radians(120 * time)
        np.testing.assert_allclose(points[1], world([np.cos(angle), np.sin(angle), 0]), atol=1e-7)


def test_a_skin_blends_joints_and_does_not_look_at_its_own_node(tmp_path: Path) -> None:
    """Joint 1 is at rest, joint 2 turns by 90 degrees around (1, 0, 0); the corners weigh 0, 1 and 1/2 of it."""
    made = one_mesh({"children": [1, 2, 3]}, {}, {"translation": [1, 0, 0]}, {"mesh": 0, "skin": 0, "scale": [5, 5, 5]})
    bind = np.tile(np.eye(4), (2, 1, 1))
    bind[1, 0, 3] = -1
    joints = made.add([[0, 1, 0, 0]] * 3, np.uint16)
    weights = made.add([[4, 0, 0, 0], [0, 2, 0, 0], [1, 1, 0, 0]])  # not normalised: they are divided by their sum
    made.document["meshes"][0]["primitives"][0]["attributes"] |= {"JOINTS_0": joints, "WEIGHTS_0": weights}
    matrices = made.add(bind.transpose(0, 2, 1).reshape(2, 16))
    made.document["skins"] = [{"joints": [1, 2], "inverseBindMatrices": matrices}]
    made.animation("t", [(2, "rotation", "STEP", [0, 1], [turn([0, 0, 1], 0), turn([0, 0, 1], 90)])])
    before, after = read_animated(written(made, tmp_path / "a.glb")).vertices("t", [0.5, 1])
    np.testing.assert_allclose(before, world(CORNERS[:3]), atol=1e-7)
    moved = np.array([[1, 0, 0], [0, -1, 0]])  # (0, 1, 0) around (1, 0, 0)
    np.testing.assert_allclose(after, world([[0, 0, 0], moved[0], (CORNERS[2] + moved[1]) / 2]), atol=1e-7)


def test_morph_targets_add_up_by_weights_of_curve_node_or_mesh(tmp_path: Path) -> None:
    made = one_mesh({"children": [1, 2]}, {"mesh": 0}, {"mesh": 0, "weights": [0.5, 0]}, targets=[{}, {}])
    move = np.arange(9).reshape(3, 3)
    mesh = made.document["meshes"][0]
    mesh["primitives"][0]["targets"] = [
        {"POSITION": made.add(move)},
        {"POSITION": made.sparse(None, [1], [[0, 8, 0]], 3)},
    ]
    mesh["weights"] = [0, 1]
    made.animation("m", [(1, "weights", "LINEAR", [0, 2], [[0, 0], [1, 2]])])
    asset = read_animated(written(made, tmp_path / "a.glb"))
    second = np.array([[0, 0, 0], [0, 8, 0], [0, 0, 0]])
    np.testing.assert_allclose(asset.vertices(None, [0])[0, :3], world(CORNERS[:3] + second))
    found = asset.vertices("m", [0.5])[0]
    np.testing.assert_allclose(found[:3], world(CORNERS[:3] + 0.25 * move + 0.5 * second), atol=1e-6)
    np.testing.assert_allclose(found[3:], world(CORNERS[:3] + 0.5 * move), atol=1e-6)


def test_weights_of_another_scene_do_not_matter(tmp_path: Path) -> None:
    made = SAMPLES["morph"]()
    made.animation("elsewhere", [(4, "weights", "LINEAR", [0, 1], [[0, 0], [1, 1]])])
    asset = read_animated(written(made, tmp_path / "a.glb"))
    np.testing.assert_array_equal(*asset.vertices("elsewhere", [0, 1]))


def test_our_own_sequences_come_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    colors = rng.integers(0, 256, (4, 4), np.uint8)
    colors[:, 3] = 255
    frames = [Mesh(CORNERS + rng.normal(0, 0.1, CORNERS.shape).astype(np.float32), FACES, colors) for _ in range(4)]
    write_glb_sequence(tmp_path / "s.glb", frames, [0, 0.5, 0.75, 2])
    for ours, frame in zip(read_animated(tmp_path / "s.glb").at(0, [0, 0.5, 0.75, 2]), frames, strict=True):
        np.testing.assert_allclose(ours.vertices, frame.vertices, atol=1e-6)
        np.testing.assert_array_equal(ours.colors, colors)
        np.testing.assert_array_equal(ours.faces, FACES)
    picture = rng.integers(0, 256, (5, 3, 4), np.uint8)
    textured = Mesh(CORNERS, FACES, uv=rng.random((4, 2)).astype(np.float32), texture=picture)
    write_glb(tmp_path / "t.glb", textured)
    (still,) = read_animated(tmp_path / "t.glb").at(None, [0])
    np.testing.assert_array_equal(still.texture, picture)
    np.testing.assert_array_equal(still.uv, textured.uv)


def test_many_frames_at_once_are_those_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SAMPLES:
        asset, times = read_animated(FOLDER / f"{name}.glb"), np.linspace(-0.2, 2, 23)
        together = asset.vertices(0, times)
        monkeypatch.setattr(gltf, "CHUNK", 1)
        np.testing.assert_allclose(asset.vertices(0, times), together, atol=1e-6)
        monkeypatch.undo()


def test_strips_and_fans_are_triangles_of_one_winding() -> None:
    asset = read_animated(FOLDER / "morph.glb")
    strip = [f for f in asset.faces.tolist() if max(f) < 12]
    assert strip == [[k, k + 1 + k % 2, k + 2 - k % 2] for k in range(10)]
    assert [f for f in asset.faces.tolist() if min(f) >= 12 and max(f) < 20] == [[13 + k, 14 + k, 12] for k in range(6)]
    mirrored = [f for f in asset.faces.tolist() if min(f) >= 20 and max(f) < 32]
    assert mirrored == [[20 + c for c in reversed(f)] for f in strip]


def test_instances_are_parts_of_their_own(tmp_path: Path) -> None:
    made = one_mesh({"mesh": 0, "scale": [2, 2, 2]})
    attributes = {"TRANSLATION": made.add([[0, 0, 0], [1, 2, 3]]), "ROTATION": made.add([turn([0, 0, 1], 90)] * 2)}
    made.document["nodes"][0]["extensions"] = {"EXT_mesh_gpu_instancing": {"attributes": attributes}}
    asset = read_animated(written(made, tmp_path / "a.glb"))
    turned = np.array([[0, 0, 0], [0, 1, 0], [-1, 0, 0]])
    assert len(asset.parts) == 2 and asset.faces.tolist() == [[0, 1, 2], [3, 4, 5]]
    expected = world(np.concatenate([2 * turned, 2 * (turned + np.array([1, 2, 3]))]))
    np.testing.assert_allclose(asset.vertices(None, [0])[0], expected, atol=1e-6)


def test_matrices_agree_with_scipy() -> None:
    rng = np.random.default_rng(3)
    move, turns, scale = rng.normal(size=(5, 3)), Rotation.random(5, rng), rng.normal(size=(5, 3))
    found = trs_matrix(move, turns.as_quat(), scale)
    np.testing.assert_allclose(found[:, :3, :3], turns.as_matrix() * scale[:, None, :], atol=1e-12)
    np.testing.assert_allclose(found[:, :3, 3], move)


def test_vertex_colours_and_factors_multiply_in_linear_light() -> None:
    (mesh,) = read_animated(FOLDER / "morph.glb").at(0, [0])
    assert mesh.colors is not None
    expected = np.clip(np.eye(8, 4) * 0.5 + 0.25, 0, 1)[:, :3]
    np.testing.assert_allclose(linear_from_srgb(mesh.colors[12:20, :3] / 255), expected, atol=0.005)
    np.testing.assert_allclose(linear_from_srgb(mesh.colors[0, :3] / 255), [0.1, 0.3, 0.9], atol=0.005)
    assert (mesh.colors[:, 3] == 255).all()


def test_a_texture_transform_is_blenders() -> None:
    """Blender 5.0.1's Mapping node for this file, applied to its coordinates (v turned upside down and back)."""
    file = open_gltf(FOLDER / "painted.glb")
    (primitive,) = file.data["meshes"][0]["primitives"]
    uv = texture_coordinates(file, primitive["attributes"], 4, material_of(file, primitive))
    blender = [[1.20885, 2.25517], [1.64764, 2.01545], [0.68879, 0.26029], [0.25, 0.5]]
    np.testing.assert_allclose(uv, blender, atol=1e-5)


def bilinear(texture: np.ndarray, uv: np.ndarray, wraps: tuple[int, int]) -> np.ndarray:
    """Texel by texel, with the wrap rule at each."""

    def index(k: int, size: int, wrap: int) -> int:
        if wrap == CLAMP:
            return min(max(k, 0), size - 1)
        if wrap == MIRRORED and (k // size) % 2:
            return size - 1 - k % size
        return k % size

    out = []
    for u, v in uv:
        x, y = u * texture.shape[1] - 0.5, v * texture.shape[0] - 0.5
        left, top, total = int(np.floor(x)), int(np.floor(y)), np.zeros(4)
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
            share = (1 - abs(y - top - i)) * (1 - abs(x - left - j))
            row, column = index(top + i, texture.shape[0], wraps[1]), index(left + j, texture.shape[1], wraps[0])
            total += share * texture[row, column]
        out.append(total)
    return np.array(out)


def test_an_atlas_shows_what_each_texture_shows() -> None:
    path = FOLDER / "painted.glb"
    asset, file = read_animated(path), open_gltf(path)
    assert asset.uv is not None and asset.texture is not None
    for k, factor in ((0, [1, 0.5, 1]), (1, [0.5, 1, 0.25])):  # of the material, of constant vertex colours
        (primitive,) = file.data["meshes"][k]["primitives"]
        uv = texture_coordinates(file, primitive["attributes"], 4, material_of(file, primitive))
        texture = file.picture(k).astype(np.float64)
        linear = linear_from_srgb(texture[..., :3] / 255) * factor
        texture[..., :3] = np.rint(
            255 * np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
        )
        share = np.random.default_rng(4).dirichlet([1, 1, 1], 200)
        part = asset.parts[k]
        places = asset.uv[part.first : part.first + 3].astype(np.float64)
        wraps = (REPEAT, REPEAT) if k == 0 else (MIRRORED, CLAMP)
        direct, packed = (
            bilinear(texture, share @ uv[:3], wraps),
            bilinear(asset.texture, share @ places, (REPEAT, REPEAT)),
        )
        np.testing.assert_allclose(packed, direct, atol=0.02)
        assert np.ptp(direct[:, :3], 0).min() > 50
    plain = bilinear(asset.texture, asset.uv[8:12].astype(np.float64), (REPEAT, REPEAT))
    assert plain.round(4).tolist() == [[124, 203, 89, 255]] * 4  # 0.2 0.6 0.1 in sRGB


def test_varying_vertex_colours_beside_textures_are_refused(tmp_path: Path) -> None:
    made = SAMPLES["painted"]()
    colors = made.add(np.eye(4))
    for k, message in ((1, "a texture or varying vertex colours"), (2, "vary over a triangle, beside textures")):
        document = json.loads(json.dumps(made.document))
        document["meshes"][k]["primitives"][0]["attributes"]["COLOR_0"] = colors
        with pytest.raises(FormatError, match=message):
            read_animated(written(Builder(document, made.binary), tmp_path / "a.glb"))


@pytest.mark.parametrize("inside", [True, False], ids=["data URIs", "files beside it"])
def test_a_gltf_with_other_files_is_the_glb(inside: bool, tmp_path: Path) -> None:
    glb = open_gltf(FOLDER / "painted.glb")
    data, (binary,) = json.loads(json.dumps(glb.data)), glb.buffers
    picture = bytes(glb.view(data["images"][0]["bufferView"]))
    names = {"part 1.bin": binary, "a/picture.png": picture}
    for name, content in names.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"" if inside else content)
    uris = ["part%201.bin", "a/picture.png"]
    if inside:
        uris = [f"data:application/octet-stream;base64,{base64.b64encode(c).decode()}" for c in names.values()]
    data["buffers"][0]["uri"], data["images"][0] = uris[0], {"uri": uris[1]}
    (tmp_path / "a.gltf").write_text(json.dumps(data))
    ours, theirs = read_animated(tmp_path / "a.gltf"), read_animated(FOLDER / "painted.glb")
    np.testing.assert_array_equal(ours.vertices(0, [0.3]), theirs.vertices(0, [0.3]))
    np.testing.assert_array_equal(ours.texture, theirs.texture)
    shutil.rmtree(tmp_path / "a")
    if not inside:
        with pytest.raises(FormatError, match=r"picture.png' beside it; found no such file"):
            read_animated(tmp_path / "a.gltf")
