"""Damaged animated glTF: a FormatError that names the file and what was expected, in little memory."""

from __future__ import annotations

import contextlib
import copy
import json
import re
import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench4d.errors import FormatError
from bench4d.gltf import read_animated
from tests.gltf_samples import SAMPLES, Builder
from tests.unit.malformed_makers import png_bytes

MAX_TRACED = 64 * 2**20
MADE = {name: make() for name, make in SAMPLES.items()}
Edit = Callable[[dict[str, Any]], object]


@dataclass(frozen=True)
class Case:
    """The sample, what is done to its JSON, and what the error says."""

    name: str
    sample: str
    edit: Edit
    message: str


def put(*keys: Any) -> Edit:
    """put("a", 0, "b", value): document["a"][0]["b"] = value."""

    def change(document: Any) -> None:
        for key in keys[:-2]:
            document = document[key]
        document[keys[-2]] = keys[-1]

    return change


def primitive(mesh: int, *keys: Any) -> Edit:
    return put("meshes", mesh, "primitives", 0, *keys)


def sampler(*keys: Any) -> Edit:
    return put("animations", 0, "samplers", 0, *keys)


def channel(*keys: Any) -> Edit:
    return put("animations", 0, "channels", 0, *keys)


def sparse(*keys: Any) -> Edit:
    """Of the first accessor that is sparse."""

    def change(document: dict[str, Any]) -> None:
        put(*keys)(next(entry["sparse"] for entry in document["accessors"] if "sparse" in entry))

    return change


def accessor_of(which: str, *keys: Any) -> Edit:
    """Of an attribute of the first primitive."""

    def change(document: dict[str, Any]) -> None:
        index = document["meshes"][0]["primitives"][0]["attributes"][which]
        put(*keys)(document["accessors"][index])

    return change


def empty(document: dict[str, Any], kind: str, count: int) -> int:
    """An accessor of zeros that takes no room in the file."""
    document["accessors"].append({"componentType": 5126, "count": count, "type": kind})
    return len(document["accessors"]) - 1


def many_targets(document: dict[str, Any]) -> None:
    """30 morph targets of 700000 vertices."""
    points = empty(document, "VEC3", 700_000)
    document["meshes"][0]["primitives"][0] |= {"attributes": {"POSITION": points}, "targets": [{}] * 30}


def many_keys(document: dict[str, Any]) -> None:
    """A million key frames in ten channels."""
    sampler = {"input": empty(document, "SCALAR", 10**6), "output": empty(document, "VEC3", 10**6)}
    nodes = range(len(document["nodes"]), len(document["nodes"]) + 10)
    document["nodes"] += [{}] * 10
    channels = [{"sampler": 0, "target": {"node": node, "path": "scale"}} for node in nodes]
    document["animations"] = [{"samplers": [sampler], "channels": channels}]


def far_away(document: dict[str, Any]) -> None:
    """Two scales of 10^29, one inside the other."""
    document["nodes"][0]["scale"] = document["nodes"][1]["scale"] = [1e29] * 3


def deep(document: dict[str, Any]) -> None:
    """Thirty thousand nodes, each the child of the one before."""
    start = len(document["nodes"])
    document["nodes"] += [{"children": [start + k + 1]} for k in range(29_999)] + [{}]


CASES = [
    Case("no asset", "skin", put("asset", {}), "glTF of version 2"),
    Case("version 1", "skin", put("asset", "version", "1.0"), "glTF of version 2; found '1.0'"),
    Case("Draco", "skin", put("extensionsRequired", ["KHR_draco_mesh_compression"]), "Decompress it first"),
    Case("meshopt", "skin", put("extensionsRequired", ["EXT_meshopt_compression"]), "Decompress it first"),
    Case("unknown extension", "skin", put("extensionsRequired", ["ACME_magic"]), "found ACME_magic"),
    Case("a buffer elsewhere", "skin", put("buffers", 0, "uri", "../secret.bin"), "a path inside"),
    Case("a buffer from the root", "skin", put("buffers", 0, "uri", "/etc/passwd"), "a path inside"),
    Case("a hidden way up", "skin", put("buffers", 0, "uri", "%2e%2e/secret.bin"), "a path inside"),
    Case("a buffer from the net", "skin", put("buffers", 0, "uri", "https://a.b/c.bin"), "no such file"),
    Case("data that are not base64", "skin", put("buffers", 0, "uri", "data:a/b;base64,!!!"), "base64 in a data URI"),
    Case("a short buffer", "skin", put("buffers", 0, "byteLength", 10**6), "1000000 bytes in buffer 0"),
    Case("a missing buffer", "skin", lambda d: d["buffers"].append({"byteLength": 4}), "4 bytes in buffer 1"),
    Case("nodes in a circle", "skin", put("nodes", 7, "children", [2]), "node 2 twice"),
    Case("a circle apart", "skin", lambda d: d["nodes"].append({"children": [8]}), "in a circle"),
    Case("a child of two", "skin", put("nodes", 1, "children", [3]), "node 3 twice"),
    Case("30000 nodes", "skin", deep, "at most 20000 nodes"),
    Case("no scene", "skin", put("scene", 3), "an index into the 1 scenes"),
    Case("nothing in the scene", "skin", put("scenes", 0, "nodes", []), "triangles in the default scene"),
    Case("an unknown skin", "skin", put("nodes", 1, "skin", 4), "an index into the 1 skins"),
    Case("a skin in words", "skin", put("nodes", 1, "skin", ["a"]), "a whole number as skin"),
    Case("no joints", "skin", put("skins", 0, "joints", []), "joints in skin 0; found 0"),
    Case("a joint outside", "skin", put("skins", 0, "joints", 0, 99), "an index into the 8 nodes"),
    Case("too few joints", "skin", put("skins", 0, "joints", [2, 3]), "joints below 2; found 5"),
    Case("too few matrices", "skin", put("skins", 0, "joints", [2] * 7), "7 inverse bind matrices"),
    Case("no weights", "skin", lambda d: d["meshes"][0]["primitives"][0]["attributes"].pop("WEIGHTS_0"), "accessors"),
    Case("weights for some", "skin", accessor_of("WEIGHTS_1", "count", 5), "66 joints and weights in set 1"),
    Case("joints in floats", "skin", accessor_of("JOINTS_1", "componentType", 5126), "accessor .* of .*VEC4"),
    Case("an accessor of 2^31", "skin", accessor_of("POSITION", "count", 2**31), "elements inside its data"),
    Case("a tight stride", "skin", put("bufferViews", 0, "byteStride", 8), "a byteStride of 12 to 252"),
    Case("points", "skin", primitive(0, "mode", 0), "mode 0. Leave points and lines out"),
    Case("an unknown interpolation", "skin", sampler("interpolation", "BEZIER"), "CUBICSPLINE; found 'BEZIER'"),
    Case("too few values", "skin", sampler("interpolation", "CUBICSPLINE"), "9 x 4 numbers of rotation for 3 keys"),
    Case("times in bytes", "skin", sampler("input", 1), "accessor 1 of"),
    Case("an unknown property", "skin", channel("target", "path", "colour"), "found 0, 'colour'"),
    Case("a property as list", "skin", channel("target", "path", ["a"]), "samplers and of"),
    Case("a sampler outside", "skin", channel("sampler", 9), "one of 4 samplers"),
    Case("an animated node outside", "skin", channel("target", "node", -1), "an index into the 8 nodes"),
    Case("one property twice", "skin", channel("target", "node", 4), "rotation of node 4 twice"),
    Case("weights without targets", "skin", channel("target", "path", "weights"), "none at node 3"),
    Case("a matrix that is animated", "skin", put("nodes", 3, "matrix", [1.0] * 16), "no matrix in a node"),
    Case("a name as list", "skin", put("animations", 0, "samplers", 7), "a list as samplers"),
    Case("too many weights", "morph", put("meshes", 0, "weights", [0, 0, 0]), "2 finite numbers as weights"),
    Case("21 million morphed vertices", "morph", many_targets, "at most 20000000 positions in morph targets"),
    Case("40 million key numbers", "morph", many_keys, "numbers in key frames; found more"),
    Case("a sparse index outside", "morph", sparse("indices", "bufferView", 0), "increasing indices below 12"),
    Case("more corrections than values", "morph", sparse("count", 13), "1 to 12 indices and values"),
    Case("sparse indices in floats", "morph", sparse("indices", "componentType", 5126), "component 5126"),
    Case("targets for one of two", "morph", lambda d: (
        d["meshes"][0]["primitives"][1]["targets"].pop(), d["meshes"][0].pop("weights"), d["nodes"][3].pop("weights")),
        "2 morph targets in all primitives"),
    Case("a target of another size", "morph", lambda d: d["accessors"][1].update(count=11), "12 positions in a morph"),
    Case("an infinite scale", "morph", far_away, "finite positions; found NaN or infinity"),
    Case("a wrap mode", "painted", put("samplers", 0, "wrapS", 1), "wrap modes 10497"),
    Case("no picture", "painted", put("textures", 0, {}), "Convert WebP or Basis"),
    Case("a picture elsewhere", "painted", put("images", 0, {"uri": "../a.png"}), "a path inside"),
    Case("no coordinates", "painted", primitive(1, "material", 0), "an index into the .* accessors; found None"),
    Case("an offset in words", "painted",
         put("materials", 0, "pbrMetallicRoughness", "baseColorTexture", "extensions", "KHR_texture_transform",
             "offset", ["a", 1]), "2 finite numbers as offset"),
    Case("a thousandfold repeat", "painted",
         put("materials", 0, "pbrMetallicRoughness", "baseColorTexture", "extensions", "KHR_texture_transform",
             "scale", [1e5, 1e5]), "texels a side"),
]  # fmt: skip


def edited(case: Case) -> bytes:
    made = MADE[case.sample]
    document = copy.deepcopy(made.document) | {"buffers": [{"byteLength": len(made.binary)}]}
    case.edit(document)
    return packed(document, made.binary)


def packed(document: dict[str, Any], binary: bytes) -> bytes:
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<5I", 0x46546C67, 2, 28 + len(text) + len(binary), len(text), 0x4E4F534A)
    return head + text + struct.pack("<II", len(binary), 0x004E4942) + binary


def refused(path: Path, message: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(FormatError) as caught:
            read_animated(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    text = str(caught.value)
    assert re.search(message, text, re.DOTALL), text
    assert path.name in text and "expected" in text and "found" in text
    assert len(text) < 2000 and "\n" not in text
    assert peak < MAX_TRACED


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_damaged_file_is_refused_by_name(case: Case, tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(b"secret")
    path = tmp_path / "folder" / "a.glb"
    path.parent.mkdir()
    path.write_bytes(edited(case))
    refused(path, case.message)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.glb", b"", "20 to 536870912 bytes"),
        ("a.glb", b"{}" * 20, "binary glTF, version 2"),
        ("a.glb", MADE["skin"].bytes()[:5000], "the declared length"),
        ("a.gltf", b'{"a"', "valid UTF-8 JSON"),
        ("a.gltf", b"[1]", "a JSON object"),
        ("a.gltf", b'{"asset": {"version": "2.0"}, "buffers": [{"byteLength": 4}]}', "4 bytes in buffer 0"),
        ("a.gltf", b'{"asset": {"version": "2.0"}, "buffers": [5]}', "objects in buffers"),
    ],
)
def test_a_file_that_is_none_is_refused_by_name(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, message)
    refused(tmp_path / f"absent {name}", "no such file")


def test_a_picture_that_claims_too_much_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    made = Builder(copy.deepcopy(MADE["painted"].document), MADE["painted"].binary)
    made.document["images"][0]["bufferView"] = made.view(png_bytes(16000, 16000))
    (tmp_path / "a.glb").write_bytes(made.bytes())
    refused(tmp_path / "a.glb", "at most .* pixels|exceeds")


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(MADE["skin"].binary)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link.bin").symlink_to(tmp_path / "secret.bin")
    case = Case("", "skin", put("buffers", 0, "uri", "link.bin"), "")
    (tmp_path / "folder" / "a.glb").write_bytes(edited(case))
    refused(tmp_path / "folder" / "a.glb", r"a path inside .*link\.bin")


JUNK = st.sampled_from(
    [None, True, -1, 0, 1, 2, 5, 7, 10**12, 1.5, "x", "VEC4", "MAT4", "STEP", [], {}, [0], [None], [[]], {"index": 0}]
)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_junk_anywhere_raises_nothing_but_format_errors(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = MADE[data.draw(st.sampled_from(sorted(MADE)))]
    document = copy.deepcopy(made.document) | {"buffers": [{"byteLength": len(made.binary)}]}
    for _ in range(data.draw(st.integers(1, 3))):
        place: Any = document
        while True:  # walk down to a random spot and put junk there
            key = data.draw(st.sampled_from(list(place) if isinstance(place, dict) else list(range(len(place)))))
            if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.integers(0, 3)) == 0:
                place[key] = copy.deepcopy(data.draw(JUNK))
                break
            place = place[key]
    path = tmp_path_factory.getbasetemp() / "fuzz_animated.glb"
    path.write_bytes(packed(document, made.binary))
    with contextlib.suppress(FormatError):
        asset = read_animated(path)
        for animation in range(len(asset.animations)):
            asset.vertices(animation, [0.0, 0.4, 1.1])
