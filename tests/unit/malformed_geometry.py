"""Malformed geometry: PLY, GLB, OBJ with its materials, and our own asset folders."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.unit import malformed_makers as make
from tests.unit.malformed_makers import ONE, Case, absent, changed, first_half, raw


def no(data: dict[str, Any]) -> None:
    """Leaves a GLB's data as they are."""


F4, I4, U1 = np.float32, np.int32, np.uint8
FACE, GREY = np.array([[0, 1, 2]], I4), np.full((3, 4), 9, U1)
POINTS = "0 0 0 1 2 3\n1 0 0 1 2 3\n0 1 0 1 2 3"
X = {"vertices": np.zeros((3, 3), F4), "faces": FACE, "colors": GREY}


def tensor(dtype: str, shape: list[int], start: int, stop: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


PLY = [
    Case("absent", "read_mesh", absent("a.ply"), "no such file"),
    Case("no header", "read_mesh", raw("a.ply", b"\x93NUMPY"), "a PLY header"),
    Case(
        "no end of header",
        "holds_gaussians",
        raw("a.ply", "ply\n" + "comment x\n" * 9000),
        "PLY header of at most 65536",
    ),
    Case("a count of 10^12", "read_mesh", make.ply_text(POINTS, n=str(10**12)), "at most 20000000 elements"),
    Case("a negative count", "read_mesh", make.ply_text(POINTS, n="-3"), "the line 'element vertex -3'"),
    Case("too few numbers", "read_mesh", make.ply_text(POINTS, n="400"), "numbers after the header"),
    Case("too many numbers", "read_mesh", make.ply_text(POINTS + "\n1 2 3"), "numbers after the header|triangles"),
    Case("NaN", "read_mesh", make.ply_text(POINTS.replace("1 0 0", "nan 0 0")), "finite numbers"),
    Case("more than a float", "read_mesh", make.ply_text(POINTS.replace("1 0 0", "1e300 0 0")), "more than a float32"),
    Case("an index outside", "read_mesh", make.ply_text(POINTS, "3 0 1 3"), "vertex indices from 0 to 2"),
    Case("a negative index", "read_mesh", make.ply_text(POINTS, "3 0 1 -1"), "vertex indices from 0 to 2"),
    Case("a colour of 256", "read_mesh", make.ply_text(POINTS.replace("2 3\n0", "256 3\n0")), "0 to 255"),
    Case(
        "a face of four billion corners",
        "read_mesh",
        make.ply_text(POINTS, "4294967295 0 1 2", lists="uint int"),
        "a face of 4.29497e",
    ),
    Case("half", "read_mesh", changed(make.mesh_ply, lambda b: b[:-9]), "bytes after the header"),
    Case(
        "the other byte order",
        "read_mesh",
        changed(make.mesh_ply, lambda b: b.replace(b"little", b"big", 1)),
        "triangles|finite|indices",
    ),
    Case("a mesh for Gaussians", "read_gaussians", make.mesh_ply, "the elements vertex and no others"),
    Case("half of Gaussians", "read_gaussians", changed(make.gaussian_ply, lambda b: b[:-1]), "bytes after the header"),
    Case(
        "Gaussians of NaN",
        "read_gaussians",
        changed(make.gaussian_ply, lambda b: b[:-4] + b"\xff" * 4),
        "finite numbers",
    ),
    Case(
        "Gaussians without rotation",
        "read_gaussians",
        changed(make.gaussian_ply, lambda b: b[:-16] + bytes(16)),
        "0 0 0 0",
    ),
    Case(
        "20 million that are not there",
        "read_gaussians",
        changed(make.gaussian_ply, lambda b: b.replace(b"vertex 3", b"vertex 19999999")),
        "bytes after the header",
    ),
    Case(
        "20 million zeros",
        "read_gaussians",
        lambda f: make.sparse(
            "a.ply",
            changed(make.gaussian_ply, lambda b: b.replace(b"vertex 3", b"vertex 19999999"))(f).read_bytes(),
            2**32,
        )(f),
        "bytes",
    ),
]
GLB = [
    Case("absent", "read_glb", absent("a.glb"), "no such file"),
    Case("short", "read_glb", raw("a.glb", b"glTF"), "20 to 536870912 bytes"),
    Case("huge", "read_glb", make.sparse("a.glb", b"glTF", 2**36), "20 to 536870912 bytes"),
    Case("text", "read_glb", raw("a.glb", '{"asset": {"version": "2.0"}}'), "binary glTF, version 2"),
    Case("half", "read_glb", changed(make.glb, first_half), "the declared length"),
    Case("deep JSON", "read_glb", make.glb_with(no, lambda t: "[" * 10**6), "valid UTF-8 JSON"),
    Case(
        "NaN in JSON",
        "read_glb",
        make.glb_with(no, lambda t: t.replace('"scene": 0', '"scene": NaN')),
        "the number NaN",
    ),
    Case(
        "a buffer elsewhere",
        "read_glb",
        make.glb_with(lambda d: d["buffers"][0].update(uri="file:///etc/passwd")),
        "a URI",
    ),
    Case(
        "an image elsewhere",
        "read_glb",
        make.glb_with(lambda d: d["images"][0].update(uri="../../secret.png")),
        "a URI",
    ),
    Case(
        "an accessor outside", "read_glb", make.glb_with(lambda d: d["accessors"][0].update(count=1000)), "inside its"
    ),
    Case(
        "an accessor of 2^31",
        "read_glb",
        make.glb_with(lambda d: d["accessors"][0].update(count=2**31, byteOffset=2**31)),
        "inside its",
    ),
    Case(
        "a negative offset",
        "read_glb",
        make.glb_with(lambda d: d["bufferViews"][0].update(byteOffset=-4)),
        "a whole number as byteOffset",
    ),
    Case(
        "a view outside",
        "read_glb",
        make.glb_with(lambda d: d["bufferViews"][0].update(byteLength=2**31)),
        "buffer views inside",
    ),
    Case(
        "a stride of 4 billion",
        "read_glb",
        make.glb_with(lambda d: d["bufferViews"][0].update(byteStride=2**32 - 1)),
        "byteStride",
    ),
    Case("nodes in a circle", "read_glb", make.glb_with(lambda d: d["nodes"][0].update(children=[0])), "node 0 twice"),
    Case(
        "a scale of 10^29 by 10^29",
        "read_glb",
        make.glb_with(
            lambda d: (
                d["nodes"].append({"scale": [1e29] * 3, "children": [0]}),
                d["nodes"][0].update(scale=[1e29] * 3),
                d["scenes"][0].update(nodes=[1]),
            )
        ),
        "finite",
    ),
    Case(
        "indices of another kind",
        "read_glb",
        make.glb_with(lambda d: d["meshes"][0]["primitives"][0].update(indices=0)),
        "accessor 0 of",
    ),
    Case(
        "compressed",
        "read_glb",
        make.glb_with(lambda d: d.update(extensionsRequired=["KHR_draco_mesh_compression"])),
        "Decompress it first",
    ),
    Case("nothing in it", "read_glb", make.glb_with(lambda d: d.update(nodes=[{}])), "triangles in the default scene"),
    Case(
        "a texture bomb", "read_glb", make.glb_with_texture(make.png_bytes(16000, 16000)), "at most .* pixels|exceeds"
    ),
    Case(
        "half a texture",
        "read_glb",
        make.glb_with_texture(first_half(make.png_bytes(8, 8, 6, bytes(264)))),
        "readable PNG or JPEG",
    ),
]
OBJ = [
    Case("absent", "read_obj", absent("a.obj"), "no such file"),
    Case("huge", "read_obj", make.sparse("a.obj", b"v", 2**36), "at most 268435456 bytes"),
    Case("no faces", "read_obj", make.obj("v 0 0 0\n"), "at least one face"),
    Case(
        "an index outside", "read_obj", make.obj("v 0 0 0\nf 1 1 2\n"), "line 3: expected an index into the 1 vertices"
    ),
    Case("an index of zero", "read_obj", make.obj("v 0 0 0\nf 0 1 1\n"), "an index into the 1 vertices"),
    Case("too far back", "read_obj", make.obj("v 0 0 0\nf 1 1 -2\n"), "an index into the 1 vertices"),
    Case("a coordinate outside", "read_obj", make.obj("v 0 0 0\nf 1/1 1/1 1/1\n"), "an index into the 0 vt lines"),
    Case("two corners", "read_obj", make.obj("v 0 0 0\nf 1 1\n"), "f with at least three corners"),
    Case("NaN", "read_obj", make.obj("v nan 0 0\nf 1 1 1\n"), "line 2: expected finite numbers"),
    Case("words", "read_obj", make.obj("v a b c\nf 1 1 1\n"), "could not convert"),
    Case("colours on some", "read_obj", make.obj("v 0 0 0 1 0 0\nv 0 0 0\nf 1 1 1\n"), "in all lines"),
    Case("a colour of 2", "read_obj", make.obj("v 0 0 0 2 0 0\nf 1 1 1\n"), r"colours in \[0, 1\]"),
    Case("a call of another file", "read_obj", make.obj("call /etc/passwd\n"), "polygons: v, vt"),
    Case("a shell command", "read_obj", make.obj("csh rm -rf /\n"), "polygons: v, vt"),
    Case("no UTF-8", "read_obj", raw("a.obj", b"v 0 0 0\no \xff\xfe\n"), "line 2: expected .*utf-8"),
    Case("one endless line", "read_obj", raw("a.obj", b"f" + b" 1" * 40000), "lines of at most 65536 bytes"),
    Case("a library that climbs", "read_obj", make.obj(head="mtllib ../secret.mtl\n"), "a path inside"),
    Case("a library from the root", "read_obj", make.obj(head="mtllib /etc/passwd\n"), "a path inside"),
    Case("a library behind a link", "read_obj", make.obj(head="mtllib link.mtl\n"), "a path inside .*link.mtl"),
    Case("links in a circle", "read_obj", make.obj(head="mtllib loop.mtl\n"), "loop.mtl"),
    Case("an absent library", "read_obj", make.obj(head="mtllib b.mtl\n"), "Put the MTL file beside the OBJ", "b.mtl"),
    Case("an unprintable name", "read_obj", make.obj(head="mtllib a\0b\n"), "printable names"),
    Case("an unknown material", "read_obj", make.obj(library="newmtl n\nKd 1 1 1\n"), r"materials among \['n'\]"),
    Case(
        "a material of 2",
        "read_obj",
        make.obj(library="newmtl m\nKd 2 0 0\n"),
        "a.mtl, line 2: expected Kd r g b",
        "a.mtl",
    ),
    Case("a texture that climbs", "read_obj", make.obj(library="newmtl m\nmap_Kd ../secret.png\n"), "a path inside"),
    Case("a texture behind a link", "read_obj", make.obj(library="newmtl m\nmap_Kd link.png\n"), "a path inside"),
    Case(
        "an absent texture",
        "read_obj",
        make.obj(library="newmtl m\nmap_Kd b.png\n"),
        "b.png: expected a readable PNG",
        "b.png",
    ),
    Case(
        "a library as texture",
        "read_obj",
        make.obj(library="newmtl m\nmap_Kd a.mtl\n"),
        "a.mtl: expected a readable PNG",
        "a.mtl",
    ),
    Case(
        "two textures",
        "read_obj",
        make.obj(make.TRIANGLE + "usemtl n\nf 1 2 3\n", "newmtl m\nmap_Kd a.png\nnewmtl n\n"),
        "Bake one texture atlas",
    ),
]
ASSETS = [
    Case("absent", "read_asset", absent("asset"), "asset.json: expected a JSON file"),
    Case(
        "data that climb",
        "read_asset",
        make.with_json(make.mesh_asset, "asset.json", data="../x"),
        "frames.safetensors",
    ),
    Case("an unknown kind", "read_asset", make.with_json(make.mesh_asset, "asset.json", kind="video"), 'kind "mesh"'),
    Case("no times", "read_asset", make.with_json(make.mesh_asset, "asset.json", times=[]), "1 to 4096 times"),
    Case(
        "times that stand still",
        "read_asset",
        make.with_json(make.mesh_asset, "asset.json", times=[1, 1]),
        "increasing",
    ),
    Case(
        "times in words",
        "read_asset",
        make.with_json(make.mesh_asset, "asset.json", times=["0", True]),
        "numbers as times",
    ),
    Case(
        "a mirrored camera",
        "read_asset",
        make.with_camera(camera_to_world=[[[-1.0, 0, 0, 0], *ONE[1:]]]),
        "input_camera.*rotations",
    ),
    Case(
        "a filter below zero",
        "read_asset",
        make.with_json(make.gaussian_asset, "asset.json", gaussians={"dilation": -1, "compensate": True}),
        "a variance >= 0",
    ),
    Case(
        "no packed file",
        "read_asset",
        lambda f: ((p := make.mesh_asset(f)) / "frames.safetensors").unlink() or p,
        "no such file",
    ),
    Case("an empty packed file", "read_asset", make.with_packed(b"", length=0), "safetensors"),
    Case("a header of 2^60", "read_asset", make.with_packed({}, length=2**60), "header of at most 1048576 bytes"),
    Case("a header of noise", "read_asset", make.with_packed(b"\xff" * 64), "a safetensors file"),
    Case(
        "overlapping tensors",
        "read_asset",
        make.with_packed({"vertices": tensor("F32", [3, 3], 0, 36), "faces": tensor("I32", [3, 3], 0, 36)}, bytes(36)),
        "a safetensors file",
    ),
    Case(
        "tensors beyond the end",
        "read_asset",
        make.with_packed({"vertices": tensor("F32", [3, 3], 0, 36)}, bytes(8)),
        "a safetensors file",
    ),
    Case(
        "a shape that overflows",
        "read_asset",
        make.with_packed({"vertices": tensor("F32", [2**62, 2**62], 0, 36)}, bytes(36)),
        "a safetensors file",
    ),
    Case("a number for vertices", "read_asset", make.with_tensors(**X | {"vertices": np.array(1.0, F4)}), "with axes"),
    Case("an unknown tensor", "read_asset", make.with_tensors(**X, more=GREY), "the tensors"),
    Case("doubles", "read_asset", make.with_tensors(**X | {"vertices": np.zeros((3, 3))}), "F64"),
    Case(
        "NaN",
        "read_asset",
        make.with_tensors(**X | {"vertices": np.full((3, 3), np.nan, F4)}),
        "frame 0: Mesh.vertices: expected finite",
    ),
    Case("an index outside", "read_asset", make.with_tensors(**X | {"faces": FACE + 7}), "indices from 0 to 2"),
    Case(
        "offsets that fall",
        "read_asset",
        make.with_tensors(**X, **{"vertices.offsets": np.array([0, 5, 3])}),
        "rising from 0 to 3",
    ),
    Case(
        "offsets for other frames",
        "read_asset",
        make.with_tensors(**X, **{"vertices.offsets": np.array([0, 3])}),
        r"int64 \[3\]",
    ),
    Case(
        "scales below zero",
        "read_asset",
        make.with_tensors(
            make.gaussian_asset,
            means=np.zeros((1, 3), F4),
            scales=-np.ones((1, 3), F4),
            quaternions=np.ones((1, 4), F4),
            opacities=np.ones(1, F4),
            sh=np.zeros((1, 1, 3), F4),
        ),
        "positive standard deviations",
    ),
    Case(
        "a packed file behind a link",
        "read_asset",
        make.moved_out(make.mesh_asset, "frames.safetensors"),
        "a path inside",
    ),
    Case("a description behind a link", "read_asset", make.moved_out(make.mesh_asset, "asset.json"), "a path inside"),
    Case("a view behind a link", "read_asset", make.moved_out(make.views_asset, "views/1"), "a path inside"),
    Case("an image behind a link", "read_asset", make.moved_out(make.views_asset, "views/1/0000.png"), "a path inside"),
    Case(
        "a sequence behind links",
        "read_geometry",
        lambda f: make.moved_out(lambda g: make.pictures(make.mesh_ply)(g), "a.ply")(f),
        "a path inside",
    ),
    Case("a sequence of two kinds", "read_geometry", make.pictures(make.glb, make.mesh_ply), "files of one kind"),
]
