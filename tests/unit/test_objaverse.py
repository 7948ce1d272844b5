"""The benchmark objaverse: lists of ids, files, what counts as motion, and clips, on models made here."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from bench4d.asset_io import read_asset
from bench4d.benchmark import Benchmark
from bench4d.cameras import orbit
from bench4d.clip import Clip
from bench4d.errors import FormatError
from bench4d.gltf import read_animated
from bench4d.render import composite, render_mesh
from bench4d.weights import Locations
from benchmarks.menagerie.fetch import AssetMissing
from benchmarks.menagerie.moving import HALF
from benchmarks.objaverse import fetch, lists, objects
from benchmarks.objaverse.build import build, clip_meshes
from benchmarks.objaverse.motion import Unfit, facing, find_motion, measure, windows
from benchmarks.objaverse.selection import Selected, as_csv, list_hash, read_selection
from tests.objaverse_mirror import (
    IDS,
    MODELS,
    annotation,
    bender,
    choose,
    made_id,
    mirror,
)

pytest_plugins = ["tests.local_server"]

# The lists of ids


def test_public_lists_are_pinned_and_hold_no_ids_here():
    known = lists.read_lists()
    assert {role: [n for n in known if known[n].role == role] for role in lists.ROLES} == {
        "candidates": ["motion-80-short", "motion-80-long", "objaversedy-test"],
        "exclude": ["consistent4d-test"],
        "training": ["diffusion4d-curated", "diffusion4d-animated"],
    }
    for listed in known.values():
        assert (listed.role == "training") == (listed.ids_sha256 == "")
        assert "raw.githubusercontent.com" not in listed.url or re.search(r"/[0-9a-f]{40}/", listed.url)


def test_ids_are_found_in_every_form_of_list():
    a, b = made_id("a"), made_id("b")
    lines = f"{a}-0-Take 001|{b[:8]}-_rootJoint\n{b}-1-\ufffdWalk\nscQ7sbdq2y9r3eAeVcRfqP11gq2\n"
    assert lists.parse_ids(lines) == tuple(sorted([a, b, "scQ7sbdq2y9r3eAeVcRfqP11gq2"]))
    answer = json.dumps([{"url": "https://api.github.com/1", "body": f'[ "{b}",\n"{a}",]', "sha": 2 * a[:20]}])
    assert lists.parse_ids(answer) == tuple(sorted([a, b]))
    assert lists.parse_ids("nothing here") == ()


def test_a_list_is_fetched_once_and_only_with_the_right_ids(tmp_path, server):
    ids, where = tuple(sorted(IDS.values())), Locations(None, tmp_path / "cache")
    url = server({"/list": "\n".join(f"{id}-0-Walk" for id in reversed(ids)).encode()})
    listed = lists.IdList("a", "candidates", 8, lists.ids_sha256(ids), f"{url}/list", "somebody")
    for _ in range(2):
        assert lists.ids_of(listed, where) == ids
    assert server.requests == ["/list"], "the second time nothing is asked"
    other = dataclasses.replace(listed, name="b", ids_sha256="0" * 64)
    with pytest.raises(AssetMissing, match=r"not that of lists.csv(.|\n)*somebody"):
        lists.ids_of(other, where)
    with pytest.raises(AssetMissing, match="8 ids instead of 9"):
        lists.ids_of(dataclasses.replace(listed, name="b", count=9), where)
    with pytest.raises(AssetMissing, match="HTTP 404"):
        lists.ids_of(dataclasses.replace(listed, name="b", url=f"{url}/else"), where)
    (tmp_path / "given/lists").mkdir(parents=True)
    (tmp_path / "given/lists/b.txt").write_text(" ".join(ids))
    gone = dataclasses.replace(listed, name="b", url="http://127.0.0.1:9/list")
    assert lists.ids_of(gone, Locations(tmp_path / "given", tmp_path / "none")) == ids


@pytest.mark.parametrize(
    "change", [("exclude", "maybe"), (",7,", ",seven,"), (",576329", ",57632"), ("7.txt", "7.txt,")]
)
def test_a_wrong_list_of_lists_is_refused(tmp_path, change):
    text = (lists.FOLDER / "lists.csv").read_text().replace("uid.txt", "uid7.txt")
    (tmp_path / "lists.csv").write_text(text.replace(*change))
    with pytest.raises(FormatError, match="line"):
        lists.read_lists(tmp_path)


# Motion


def test_motion_is_measured_in_sides_of_the_box():
    """A plate of area 3 beside one of area 1 that rises by 2: the box is 4 long, and a quarter of the area moves."""
    plate = np.array([[0.0, 0, 0], [3, 0, 0], [3, 1, 0], [0, 1, 0], [3, 0, 0], [4, 0, 0], [4, 1, 0], [3, 1, 0]])
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], np.int32)
    up = plate + np.repeat([[0, 0, 0], [0, 0, 2]], 4, axis=0)
    assert measure(np.stack([plate, up, plate]), faces) == (0.125, 1.0)
    assert measure(np.stack([plate, plate + np.array([4, 0, 0])]), faces) == (0.5, 0.5)
    assert (facing(plate), facing(plate[:, [1, 0, 2]]), facing(plate * [1, 4, 1])) == (0, 45, 0)
    with pytest.raises(FormatError, match="extent"):
        measure(np.zeros((2, 8, 3)), faces)


def test_the_first_window_that_moves_is_taken(tmp_path):
    path = tmp_path / "model.glb"
    path.write_bytes(bender(60, seconds=1.5))
    found = find_motion(path)
    assert (found.animation, found.name, found.start, found.end) == (0, "bend", 0, 1.5)
    assert 0.05 < found.moved < 0.5 and found.filled > 0.8
    path.write_bytes(bender(60, seconds=5, rest=6))
    assert (find_motion(path).start, find_motion(path).end) == (6, 8), "three windows are still"
    (animation,) = read_animated(path).animations
    assert list(windows(animation)) == [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10)]
    late = dataclasses.replace(animation, start=0.5, end=100.0)
    assert list(windows(late))[-1] == (14.5, 16.5) and len(list(windows(late))) == 8
    assert list(windows(dataclasses.replace(animation, end=0.2))) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bender(1), "moves 0.00"),
        (bender(40, shift=20.0), "fills 0.0|fills 0.1"),
        (bender(40, seconds=0.1), "no animation of 0.25 s"),
        (bender(40)[:-40], "not readable"),
        (b"glTF", "not readable"),
    ],
)
def test_what_is_no_test_is_left_out(tmp_path, content, message):
    (tmp_path / "model.glb").write_bytes(content)
    with pytest.raises(Unfit, match=message):
        find_motion(tmp_path / "model.glb")


# Files


def test_a_mirror_is_verified_and_nothing_is_downloaded_beside_it(tmp_path, monkeypatch):
    given, id = mirror(tmp_path / "given"), IDS["tube-0"]
    where = Locations(given, tmp_path / "cache")
    sha256 = objects.describe([id], where)[id].sha256
    monkeypatch.setattr(objects, "run_package", lambda *_: pytest.fail("the package was asked"))
    assert objects.find_object(id, sha256, where) == given / f"{id}.glb"
    (given / "glbs/000-001").mkdir(parents=True)
    (given / f"{id}.glb").rename(given / f"glbs/000-001/{id}.glb")
    assert objects.find_object(id, sha256, where) == given / f"glbs/000-001/{id}.glb"
    (given / f"{id}.glb").write_bytes(MODELS["tube-0"][:-1])
    assert objects.find_object(id, sha256, where).parent.name == "000-001", "a wrong copy is passed over"
    (given / f"glbs/000-001/{id}.glb").write_bytes(MODELS["tube-1"])
    with pytest.raises(AssetMissing, match=rf"wrong content(.|\n)*000-001(.|\n)*sha256 {sha256}"):
        objects.find_object(id, sha256, where)
    (given / f"glbs/000-001/{id}.glb").unlink()
    with pytest.raises(AssetMissing, match="not a whole GLB"):
        objects.find_object(id, "", where)


def test_annotations_are_strangers_words(tmp_path):
    row = annotation("x", "by-nc") | {"name": "a\x1b[31m\nb" + "c" * 300}
    (tmp_path / "annotations.json").write_text(json.dumps({"x": row, "y": annotation("y", "other")}))
    found = objects.describe(["x", "y", "z"], Locations(tmp_path, tmp_path))
    assert list(found) == ["x", "y"] and (found["x"].licence, found["y"].licence) == ("CC-BY-NC-4.0", "other")
    assert found["x"].name.isprintable() and len(found["x"].name) == 200 and found["x"].author == "Ada"
    (tmp_path / "annotations.json").write_text(json.dumps({"x": {"license": "by"}}))
    with pytest.raises(FormatError, match="an annotation of Objaverse"):
        objects.describe(["x"], Locations(tmp_path, tmp_path))


# Clips


@pytest.fixture(scope="module")
def chosen(tmp_path_factory) -> Path:
    """A frozen choice of two tubes, with its mirror beside it."""
    folder = tmp_path_factory.mktemp("chosen")
    choose(mirror(folder / "given"), folder / "out", "--count", "2", BENCH4D_OBJAVERSE=str(folder / "given"))
    text = (folder / "out/protocol.yaml").read_text().replace("size: 512", "size: 48")
    (folder / "out/protocol.yaml").write_text(text)
    return folder


def test_the_frozen_protocol_has_shapegen4ds_settings_and_names_its_list(chosen):
    benchmark = Benchmark.read(chosen / "out/protocol.yaml")
    assert (benchmark.id, benchmark.data["n_frames"], benchmark.data["geometry"]) == ("objaverse", 16, True)
    assert {"chamfer", "fscore"} <= {metric["id"] for metric in benchmark.data["metrics"]}
    assert benchmark.clips == list(read_selection(chosen / "out"))
    assert list_hash(chosen / "out") in benchmark.data["title"] and "seed 0" in benchmark.data["title"]
    settings = yaml.safe_load((lists.FOLDER / "settings.yaml").read_text())
    assert settings | {"size": 48} == {k: v for k, v in benchmark.data.items() if k not in ("clips", "title")}


def test_a_clip_is_the_truth_from_the_input_camera(chosen, tmp_path):
    benchmark, where = Benchmark.read(chosen / "out/protocol.yaml"), Locations(chosen / "given", tmp_path / "cache")
    id = benchmark.clips[0]
    for name in ("a", "b"):
        build(benchmark, id, where, tmp_path / name / "clip", tmp_path / name / "truth", threads=1)
    files = [sorted(path for path in (tmp_path / name).rglob("*") if path.is_file()) for name in ("a", "b")]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]] and len(files[0]) == 19
    clip, truth = Clip.read(tmp_path / "a/clip"), read_asset(tmp_path / "a/truth/asset")
    assert (clip.id, clip.fps, clip.frames.shape) == (id, 8, (16, 48, 48, 4))
    camera = orbit([0], 0, 2.0, 40, 48)
    for k, mesh in enumerate(truth.frames):
        rgb, alpha = composite(render_mesh(mesh, camera), (1.0, 1.0, 1.0))
        solid = alpha[0] == 255
        assert np.array_equal(alpha[0], clip.frames[k, ..., 3]) and solid.any()
        assert np.array_equal(rgb[0][solid], clip.frames[k, ..., :3][solid])


def test_a_clip_shows_its_window(tmp_path):
    """Frame k of n is the model at start + k / n of the window, up to the one similarity of the clip."""
    path = tmp_path / "model.glb"
    path.write_bytes(bender(80, seconds=4.0))
    row = Selected("x", 1, "0" * 64, "", "", "", "", "", 0, "bend", 2.0, 4.0, 0.0, 0.1, 1.0)
    meshes = clip_meshes(row, path, 4)
    wanted = read_animated(path).vertices(0, [2.0, 2.5, 3.0, 3.5]).astype(np.float64)
    dense = read_animated(path).vertices(0, np.linspace(2, 4, 97).tolist())
    low, high = dense.min((0, 1)), dense.max((0, 1))
    scale = 2 * HALF / (high - low).max()
    for mesh, points in zip(meshes, wanted, strict=True):
        assert np.abs(mesh.vertices - (points - (low + high) / 2) * scale).max() < 2e-5


def test_a_protocol_of_another_list_is_refused(chosen, tmp_path):
    shutil.copytree(chosen / "out", tmp_path / "out")
    benchmark, where = Benchmark.read(tmp_path / "out/protocol.yaml"), Locations(chosen / "given", tmp_path / "cache")
    with pytest.raises(FormatError, match="clip: expected an id of"):
        build(benchmark, "somebody", where, tmp_path / "clip", tmp_path / "truth", 1)
    rows = read_selection(tmp_path / "out")
    changed = [dataclasses.replace(row, sha256="0" * 64) for row in rows.values()]
    (tmp_path / "out/selection.csv").write_text(as_csv(changed))
    with pytest.raises(FormatError, match=r"the protocol of the list(.|\n)*choose.py"):
        build(benchmark, benchmark.clips[0], where, tmp_path / "clip", tmp_path / "truth", 1)
    (tmp_path / "out/selection.csv").write_text(as_csv(changed * 2))
    with pytest.raises(FormatError, match="an object of its own"):
        read_selection(tmp_path / "out")
    (tmp_path / "out/selection.csv").unlink()
    with pytest.raises(FormatError, match=r"benchmarks\.objaverse\.choose"):
        read_selection(tmp_path / "out")
    assert not (tmp_path / "clip").exists() and not (tmp_path / "truth").exists()


def test_files_of_the_frozen_list_are_brought_and_licences_listed(chosen, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("BENCH4D_OBJAVERSE", str(chosen / "given"))
    ids = list(read_selection(chosen / "out"))
    fetch.main(["--list", str(chosen / "out")])
    assert capsys.readouterr().out.splitlines() == [str(chosen / "given" / f"{id}.glb") for id in ids]
    fetch.main(["--list", str(chosen / "out"), "--licences"])
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[:3] for row in rows] == [[id, "CC-BY-4.0", "Ada"] for id in ids]
    monkeypatch.setenv("BENCH4D_OBJAVERSE", str(tmp_path))
    with pytest.raises(SystemExit, match="2 of 2 files are missing"):
        fetch.main(["--list", str(chosen / "out")])
    with pytest.raises(SystemExit, match="the list of chosen objects"):
        fetch.main(["--list", str(tmp_path)])


# What is not in the repository


@pytest.mark.skipif(
    not (shutil.which("blender") or importlib.util.find_spec("bpy")), reason="neither Blender nor bpy is installed"
)
def test_blender_turns_other_formats_into_what_is_read_here(tmp_path):
    (tmp_path / "a.glb").write_bytes(bender(60))
    program = str(lists.FOLDER / "convert.py")
    command = [sys.executable, program]
    if shutil.which("blender"):
        command = ["blender", "--background", "--python-exit-code", "1", "--python", program, "--"]
    script = (
        f"import bpy; bpy.ops.wm.read_factory_settings(use_empty=True);"
        f"bpy.ops.import_scene.gltf(filepath={str(tmp_path / 'a.glb')!r});"
        f"bpy.ops.export_scene.fbx(filepath={str(tmp_path / 'a.fbx')!r})"
    )
    maker = (
        ["blender", "--background", "--python-expr", script]
        if shutil.which("blender")
        else [sys.executable, "-c", script]
    )
    subprocess.run(maker, check=True, capture_output=True, timeout=120)
    subprocess.run([*command, str(tmp_path / "a.fbx"), str(tmp_path / "b.glb")], check=True, timeout=120)
    before, after = find_motion(tmp_path / "a.glb"), find_motion(tmp_path / "b.glb")
    assert abs(before.moved - after.moved) < 0.02 and abs(before.filled - after.filled) < 0.02
    assert subprocess.run([*command, "a.xyz", "b.glb"], check=False, capture_output=True).returncode
