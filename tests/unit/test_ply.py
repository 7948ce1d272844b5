"""PLY: round trips, the 3DGS layout as a stranger would read it, and refusals."""

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from bench4d import ply
from bench4d.asset import Gaussians, Mesh
from bench4d.errors import FormatError


def some_gaussians(degree: int, count: int = 7) -> Gaussians:
    rng = np.random.default_rng(degree)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    opacities = np.linspace(0, 1, count, dtype=np.float32)  # both ends have infinite logits
    return Gaussians(
        draw(count, 3), np.exp(draw(count, 3)), draw(count, 4), opacities, draw(count, (degree + 1) ** 2, 3)
    )


def tetrahedron() -> Mesh:
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0.1]], np.float32)
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)
    return Mesh(vertices, faces, np.arange(16, dtype=np.uint8).reshape(4, 4))


def lines_of(gaussians: Gaussians, tmp_path: Path) -> tuple[list[str], np.ndarray]:
    """The header's property names and the table, by a reader that knows nothing but floats."""
    ply.write_gaussians(tmp_path / "g.ply", gaussians)
    head, body = (tmp_path / "g.ply").read_bytes().split(b"end_header\n", 1)
    names = [line.split()[2] for line in head.decode().splitlines() if line.startswith("property float")]
    return names, np.frombuffer(body, "<f4").reshape(-1, len(names))


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_gaussians_round_trip(degree: int, tmp_path: Path) -> None:
    before = some_gaussians(degree)
    ply.write_gaussians(tmp_path / "g.ply", before)
    after = ply.read_gaussians(tmp_path / "g.ply", dilation=0.1, compensate=True)
    assert (after.dilation, after.compensate) == (0.1, True)
    for name in ("means", "quaternions", "sh"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    np.testing.assert_allclose(after.scales, before.scales, rtol=1e-6)
    np.testing.assert_allclose(after.opacities, before.opacities, rtol=1e-5)
    assert after.opacities[0] == 0 and after.opacities[-1] == 1


def test_the_3dgs_layout_is_channel_major_logit_log_wxyz(tmp_path: Path) -> None:
    one = Gaussians(
        np.zeros((1, 3), np.float32),
        np.full((1, 3), np.e, np.float32),
        np.array([[0.5, 0.1, 0.2, 0.3]], np.float32),
        np.array([0.75], np.float32),
        np.arange(48, dtype=np.float32).reshape(1, 16, 3),
    )
    names, table = lines_of(one, tmp_path)
    row = dict(zip(names, table[0].tolist(), strict=True))
    assert names[:9] == ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"] and names[-4:] == [
        f"rot_{k}" for k in range(4)
    ]
    assert (row["f_dc_0"], row["f_dc_1"], row["f_rest_0"], row["f_rest_1"], row["f_rest_15"]) == (0, 1, 3, 6, 4)
    assert row["opacity"] == pytest.approx(np.log(3)) and row["scale_1"] == pytest.approx(1) and row["rot_0"] == 0.5


def test_ascii_and_binary_say_the_same(tmp_path: Path) -> None:
    before = some_gaussians(1)
    names, table = lines_of(before, tmp_path)
    text = io.StringIO()
    text.write("ply\r\nformat ascii 1.0\r\ncomment hello\r\nelement vertex 7\r\n")
    text.write("".join(f"property float {name}\r\n" for name in names) + "end_header\r\n")
    np.savetxt(text, table, fmt="%.9g")
    (tmp_path / "a.ply").write_text(text.getvalue())
    ascii_, binary = ply.read_gaussians(tmp_path / "a.ply"), ply.read_gaussians(tmp_path / "g.ply")
    for name in ("means", "scales", "quaternions", "opacities", "sh"):
        np.testing.assert_array_equal(getattr(ascii_, name), getattr(binary, name))


def test_mesh_round_trip_is_exact(tmp_path: Path) -> None:
    ply.write_mesh(tmp_path / "m.ply", tetrahedron())
    after = ply.read_mesh(tmp_path / "m.ply")
    for name in ("vertices", "faces", "colors"):
        np.testing.assert_array_equal(getattr(after, name), getattr(tetrahedron(), name))


@pytest.mark.parametrize("encoding", ["binary", "ascii"])
def test_trimesh_reads_ours_and_we_read_its(encoding: str, tmp_path: Path) -> None:
    ply.write_mesh(tmp_path / "ours.ply", tetrahedron())
    theirs = trimesh.load_mesh(tmp_path / "ours.ply", process=False)
    np.testing.assert_array_equal(theirs.vertices, tetrahedron().vertices)
    np.testing.assert_array_equal(theirs.faces, tetrahedron().faces)
    np.testing.assert_array_equal(theirs.visual.vertex_colors, tetrahedron().colors)
    (tmp_path / "theirs.ply").write_bytes(trimesh.exchange.ply.export_ply(theirs, encoding=encoding))
    after = ply.read_mesh(tmp_path / "theirs.ply")
    np.testing.assert_array_equal(after.faces, tetrahedron().faces)
    np.testing.assert_array_equal(after.colors, tetrahedron().colors)
    np.testing.assert_allclose(after.vertices, tetrahedron().vertices, atol=1e-7)


def test_a_mesh_without_colours_needs_one_from_the_caller(tmp_path: Path) -> None:
    path = tmp_path / "grey.ply"
    body = "0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"
    head = "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty double z\n"
    path.write_text(head + "element face 1\nproperty list uchar int vertex_index\nend_header\n" + body)
    with pytest.raises(FormatError, match=r"missing .*red"):
        ply.read_mesh(path)
    assert ply.read_mesh(path, color=(1, 2, 3, 4)).colors.tolist() == [[1, 2, 3, 4]] * 3


HEAD = "ply\nformat {form} 1.0\nelement vertex {n}\n" + "".join(
    f"property {t} {p}\n"
    for t, p in zip(["float"] * 3 + ["uchar"] * 3, ["x", "y", "z", "red", "green", "blue"], strict=True)
)
FACE = "element face {m}\nproperty list uchar int vertex_indices\nend_header\n"
POINTS = "0 0 0 1 2 3\n1 0 0 1 2 3\n0 1 0 1 2 3\n1 1 0 1 2 3\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("plx\n", "PLY header"),
        ("ply\n" + "comment x\n" * 9000 + "end_header\n", "PLY header of at most"),
        (HEAD.format(form="binary_middle_endian", n=4) + FACE.format(m=1), "binary_middle_endian"),
        (HEAD.format(form="ascii", n=10**12) + FACE.format(m=1), "at most"),
        (HEAD.format(form="ascii", n=10**7) + FACE.format(m=1) + POINTS, "60000004 numbers"),
        (HEAD.format(form="binary_little_endian", n=10**7) + FACE.format(m=1), "bytes after the header"),
        (HEAD.format(form="ascii", n=4) + FACE.format(m=1) + POINTS + "4 0 1 2 3\n", "a face of 4 corners"),
        (HEAD.format(form="ascii", n=4) + FACE.format(m=1) + POINTS + "3 0 1 4\n", "0 to 3"),
        (HEAD.format(form="ascii", n=4) + FACE.format(m=1) + POINTS + "3 0 1 2 9\n", "28 numbers after"),
        (
            HEAD.format(form="ascii", n=4) + FACE.format(m=1) + POINTS.replace("0 1 2 3", "0 1 2 300", 1) + "3 0 1 2\n",
            "0 to 255",
        ),
        (
            HEAD.format(form="ascii", n=4) + FACE.format(m=1) + POINTS.replace("1", "nan", 1) + "3 0 1 2\n",
            "whole|finite",
        ),
        (HEAD.format(form="ascii", n=4) + FACE.format(m=1) + "inf" + POINTS[1:] + "3 0 1 2\n", "finite"),
        (HEAD.format(form="ascii", n=4) + FACE.format(m=1) + "x" + POINTS[1:] + "3 0 1 2\n", "numbers"),
        (HEAD.format(form="ascii", n=4) + "property float x\n" + FACE.format(m=1), "different names"),
        (HEAD.format(form="ascii", n=0) + "property float heat\n" + FACE.format(m=0), "unknown .*heat"),
        (HEAD.format(form="ascii", n=4) + "property quad u\n" + FACE.format(m=1), "property quad u"),
        (HEAD.format(form="ascii", n=4) + "end_header\n", "vertex, face"),
    ],
)
def test_bad_files_are_refused_with_the_reason(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.ply").write_text(text)
    with pytest.raises(FormatError, match=message):
        ply.read_mesh(tmp_path / "bad.ply")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [("rot", 0, "zero quaternion"), ("scale_0", 200, "float32"), ("x", np.nan, "finite")],
)
def test_impossible_gaussians_are_refused(column: str, value: float, message: str, tmp_path: Path) -> None:
    names, table = lines_of(some_gaussians(0), tmp_path)
    table = table.copy()
    table[2, [name.startswith(column) for name in names]] = value
    head = (tmp_path / "g.ply").read_bytes().split(b"end_header\n")[0]
    (tmp_path / "g.ply").write_bytes(head + b"end_header\n" + table.tobytes())
    with pytest.raises(FormatError, match=message):
        ply.read_gaussians(tmp_path / "g.ply")


def test_properties_that_change_the_meaning_are_refused_by_name(tmp_path: Path) -> None:
    ply.write_gaussians(tmp_path / "g.ply", some_gaussians(0, 1))
    data = (tmp_path / "g.ply").read_bytes().replace(
        b"end_header\n", b"property float filter_3D\nend_header\n"
    ) + bytes(4)
    (tmp_path / "g.ply").write_bytes(data)
    with pytest.raises(FormatError, match="filter_3D"):
        ply.read_gaussians(tmp_path / "g.ply")


def test_textured_meshes_are_sent_to_glb(tmp_path: Path) -> None:
    mesh = tetrahedron()
    textured = Mesh(mesh.vertices, mesh.faces, uv=np.zeros((4, 2), np.float32), texture=np.zeros((1, 1, 4), np.uint8))
    with pytest.raises(FormatError, match="GLB"):
        ply.write_mesh(tmp_path / "m.ply", textured)
    assert not (tmp_path / "m.ply").exists()


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damaged_files_raise_nothing_but_format_errors(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.ply"
    if data.draw(st.booleans()):
        path.write_text(HEAD.format(form="ascii", n=4) + FACE.format(m=1) + POINTS + "3 0 1 2\n")
    else:
        ply.write_mesh(path, tetrahedron())
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    for read in (ply.read_mesh, ply.read_gaussians):
        with contextlib.suppress(FormatError):
            read(path)
