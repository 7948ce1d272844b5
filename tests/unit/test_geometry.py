"""Geometry from elsewhere: OBJ against trimesh's reader, sequences, what each format says of colours and axes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from bench4d import geometry, ply
from bench4d.asset import Asset4D, Gaussians, Mesh
from bench4d.asset_io import write_asset
from bench4d.errors import FormatError
from bench4d.geometry import read_geometry
from bench4d.glb import write_glb
from bench4d.obj import read_obj


def cube(shift: float = 0.0) -> Mesh:
    box = trimesh.creation.box((0.4, 0.6, 0.8))
    colors = np.full((8, 4), 255, np.uint8)
    colors[:, :3] = np.arange(24).reshape(8, 3) * 10
    return Mesh(np.float32(box.vertices + shift), np.int32(box.faces), colors)


def some_gaussians(count: int = 5) -> Gaussians:
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    scales = np.exp(draw(count, 3) - 3)
    return Gaussians(draw(count, 3), scales, draw(count, 4), np.float32(rng.random(count)), draw(count, 4, 3))


def triangles(mesh: Mesh) -> np.ndarray:
    """Corner positions [F,3,3]: equal however vertices are shared or numbered."""
    return mesh.vertices[mesh.faces]


# OBJ


def test_obj_with_a_texture_is_what_trimesh_reads(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sphere = trimesh.creation.icosphere(1)
    texture = rng.integers(0, 256, (8, 4, 3), np.uint8)
    uv = rng.random((len(sphere.vertices), 2))
    material = trimesh.visual.material.SimpleMaterial(image=Image.fromarray(texture))
    sphere.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    sphere.export(tmp_path / "a.obj")
    found, oracle = read_obj(tmp_path / "a.obj"), trimesh.load(tmp_path / "a.obj", process=False)
    np.testing.assert_allclose(triangles(found), oracle.vertices[oracle.faces], atol=1e-6)
    assert found.uv is not None and found.texture is not None and found.colors is None
    expected = oracle.visual.uv[oracle.faces] * [1, -1] + [0, 1]  # trimesh keeps the lower left origin
    np.testing.assert_allclose(found.uv[found.faces], expected, atol=1e-6)
    np.testing.assert_array_equal(found.texture[..., :3], texture)
    assert (found.texture[..., 3] == 255).all()


def test_obj_with_vertex_colours_is_what_trimesh_reads(tmp_path: Path) -> None:
    mesh = cube()
    trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=mesh.colors, process=False).export(tmp_path / "a.obj")
    found = read_obj(tmp_path / "a.obj")
    np.testing.assert_array_equal(found.faces, mesh.faces)
    np.testing.assert_allclose(found.vertices, mesh.vertices, atol=1e-7)
    np.testing.assert_array_equal(found.colors, mesh.colors)


BY_HAND = """# a house
mtllib my colours.mtl
o house
v 0 0 0 1.0
v 1 0 0
v 1 1 0
v 0 1 0
v .5 .5 1e0
vn 0 0 1
usemtl floor
f 1//1 4//1 3//1 2//1
usemtl roof
s off
f -5 -4 -1
f 2 3 \\
  5
f 3 4 5
f 4 1 5
"""


def test_polygons_negative_indices_and_materials(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text(BY_HAND)
    (tmp_path / "my colours.mtl").write_text("newmtl floor\nKd 1 0 0.2\nNs 10\nnewmtl roof\r\nKd 0 1 0\nd 0.6\n")
    found = read_obj(tmp_path / "a.obj")
    p = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.5, 0.5, 1]])
    expected = p[[[0, 3, 2], [0, 2, 1], [0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]]]
    np.testing.assert_array_equal(triangles(found), expected)
    assert found.colors is not None and len(found.vertices) == 9  # the four corners have two colours
    colors = found.colors[found.faces]
    assert (colors[:2] == [255, 0, 51, 255]).all() and (colors[2:] == [0, 255, 0, 153]).all()
    oracle = trimesh.load(tmp_path / "a.obj", process=False, force="mesh")
    assert oracle.area == pytest.approx(trimesh.Trimesh(found.vertices, found.faces, process=False).area)


def test_equal_faces_give_equal_topology_whatever_the_vertices_do(tmp_path: Path) -> None:
    (tmp_path / "my colours.mtl").write_text("newmtl floor\nKd 1 0 0\nnewmtl roof\nKd 0 1 0\n")
    for k in range(2):
        (tmp_path / f"{k}.obj").write_text(BY_HAND.replace("v 0 1 0", f"v 0 {1 + k} 0"))
    a, b = read_geometry(tmp_path, fps=2).frames
    assert isinstance(a, Mesh) and isinstance(b, Mesh)
    np.testing.assert_array_equal(a.faces, b.faces)
    np.testing.assert_array_equal(a.colors, b.colors)
    assert (a.vertices != b.vertices).any()


def test_a_texture_goes_before_kd_and_vertex_colours_before_materials(tmp_path: Path) -> None:
    Image.new("RGB", (2, 2), (10, 20, 30)).save(tmp_path / "t.png")
    (tmp_path / "a.mtl").write_text("newmtl m\nKd 0.4 0.4 0.4\nmap_Kd t.png\n")
    text = "mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 0.25\nusemtl m\nf 1/1 2/2 3/3\n"
    (tmp_path / "a.obj").write_text(text)
    found = read_obj(tmp_path / "a.obj")
    assert found.texture is not None and (found.texture == [10, 20, 30, 255]).all()
    assert found.uv is not None and found.uv.tolist() == [[0, 1], [1, 1], [0, 0.75]]
    (tmp_path / "a.mtl").write_text("newmtl m\nKd 0.4 0.4 0.4\n")
    colored = text.replace("v 0 0 0", "v 0 0 0 0 0 1").replace("v 1 0 0", "v 1 0 0 0 0 1")
    (tmp_path / "a.obj").write_text(colored.replace("v 0 1 0", "v 0 1 0 0 0 1"))
    assert read_obj(tmp_path / "a.obj").colors.tolist() == [[0, 0, 255, 255]] * 3  # type: ignore[union-attr]
    plain = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
    (tmp_path / "a.obj").write_text(plain)
    with pytest.raises(FormatError, match="without colour"):
        read_obj(tmp_path / "a.obj")
    assert read_obj(tmp_path / "a.obj", (1, 2, 3, 4)).colors.tolist() == [[1, 2, 3, 4]] * 3  # type: ignore[union-attr]


# PLY


@pytest.mark.parametrize("what", ["mesh", "gaussians"])
def test_both_byte_orders_say_the_same(tmp_path: Path, what: str) -> None:
    little, big = tmp_path / "little.ply", tmp_path / "big.ply"
    if what == "mesh":
        ply.write_mesh(little, cube())
        records = [("<f4", 3), ("u1", 4)], [("u1", 1), ("<i4", 3)]
    else:
        ply.write_gaussians(little, some_gaussians())
        records = [("<f4", 26)], []
    head, body = little.read_bytes().split(b"end_header\n", 1)
    swapped, start = b"", 0
    for record, count in zip(records, (8, 12) if what == "mesh" else (5, 0), strict=True):
        kind = np.dtype([(f"x{k}", code, width) for k, (code, width) in enumerate(record)])
        table = np.frombuffer(body, kind, count, start)
        swapped, start = swapped + table.astype(kind.newbyteorder(">")).tobytes(), start + table.nbytes
    assert start == len(body)
    big.write_bytes(head.replace(b"little", b"big") + b"end_header\n" + swapped)
    read = ply.read_mesh if what == "mesh" else ply.read_gaussians
    assert ply.holds_gaussians(big) == (what == "gaussians")
    for (name, a), b in zip(vars(read(little)).items(), vars(read(big)).values(), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)


# sequences


@pytest.mark.parametrize("kind", ["glb", "obj", "mesh.ply", "gaussians.ply"])
def test_sequences_are_lazy_in_natural_order_and_timed(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for k in range(12):
        path, mesh = tmp_path / f"{k}.{kind}", cube(k / 10)
        if kind == "glb":
            write_glb(path, mesh)
        elif kind == "obj":
            trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=mesh.colors, process=False).export(path)
        elif kind == "mesh.ply":
            ply.write_mesh(path, mesh)
        else:
            g = some_gaussians()
            ply.write_gaussians(path, replace(g, means=g.means * 0 + np.float32(k / 10)))
    (tmp_path / "notes.txt").touch()
    asset = read_geometry(tmp_path, fps=4)
    assert asset.kind == ("gaussians" if kind == "gaussians.ply" else "mesh")
    np.testing.assert_array_equal(asset.times, np.arange(12) / 4)
    for k, frame in enumerate(asset.frames):
        points = frame.means if isinstance(frame, Gaussians) else frame.vertices  # type: ignore[union-attr]
        np.testing.assert_allclose(points.mean(0), k / 10, atol=1e-6)
    read: list[Path] = []
    monkeypatch.setattr(geometry.GeometryFiles, "_read", lambda self, file: read.append(file))
    asset = read_geometry(tmp_path, fps=4)
    assert not read
    _ = asset.frames[-1], asset.frames[2:4]
    assert [path.name.split(".")[0] for path in read] == ["11", "2", "3"]


def test_axes_are_those_of_glb_and_the_callers_for_the_others(tmp_path: Path) -> None:
    for name in ("glb", "ply", "obj"):
        (tmp_path / name).mkdir()
    mesh = cube()
    y_up = Mesh(mesh.vertices[:, [0, 2, 1]] * np.float32([1, 1, -1]), mesh.faces, mesh.colors)  # by hand: z to y
    write_glb(tmp_path / "glb/0.glb", mesh)
    ply.write_mesh(tmp_path / "ply/0.ply", y_up)
    plain = trimesh.Trimesh(y_up.vertices, y_up.faces, vertex_colors=mesh.colors, process=False)
    plain.export(tmp_path / "obj/0.obj")
    for name in ("glb", "ply", "obj"):
        frame = read_geometry(tmp_path / name, fps=1, up="y").frames[0]
        assert isinstance(frame, Mesh)
        np.testing.assert_allclose(frame.vertices, mesh.vertices, atol=1e-7, err_msg=name)
    raw = read_geometry(tmp_path / "ply", fps=1).frames[0]
    assert isinstance(raw, Mesh)
    np.testing.assert_array_equal(raw.vertices, y_up.vertices)


def test_gaussians_keep_what_the_caller_says_of_their_rasteriser(tmp_path: Path) -> None:
    ply.write_gaussians(tmp_path / "0.ply", some_gaussians())
    frame = read_geometry(tmp_path, 8, up="y", dilation=0.1, compensate=True).frames[0]
    assert isinstance(frame, Gaussians) and (frame.dilation, frame.compensate) == (0.1, True)


def test_our_own_asset_is_taken_with_its_times(tmp_path: Path) -> None:
    write_asset(Asset4D("mesh", np.array([0.0, 0.7]), [cube(), cube(1)]), tmp_path / "clip" / "asset")
    for path in (tmp_path / "clip", tmp_path / "clip" / "asset"):
        asset = read_geometry(path, fps=99)
        assert asset.times.tolist() == [0, 0.7] and isinstance(asset.frames[1], Mesh)


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no such folder"):
        read_geometry(tmp_path / "none", 8)
    with pytest.raises(FormatError, match=r"1 to 4096 files.*found 0"):
        read_geometry(tmp_path, 8)
    ply.write_mesh(tmp_path / "0.ply", cube())
    with pytest.raises(FormatError, match="positive number"):
        read_geometry(tmp_path, float("inf"))
    ply.write_gaussians(tmp_path / "1.ply", some_gaussians())
    with pytest.raises(FormatError, match=r"1\.ply: expected the elements vertex, face"):
        _ = read_geometry(tmp_path, 8).frames[1]
    write_glb(tmp_path / "1.glb", cube())
    with pytest.raises(FormatError, match=r"\.glb and \.ply"):
        read_geometry(tmp_path, 8)
