"""The benchmark objaverse: lists of ids, downloads, what counts as motion, the choice and its clips, on made models.

With BENCH4D_ASSETS naming the models of menagerie, a mirror of them goes the same way; where the package objaverse or
Blender is installed, they are tested as they are.
"""

from __future__ import annotations

import csv
import dataclasses
import gzip
import importlib.util
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
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
from benchmarks.menagerie.fetch import AssetMissing, Places
from benchmarks.menagerie.moving import HALF
from benchmarks.objaverse import fetch, lists, objects
from benchmarks.objaverse.build import build, clip_meshes
from benchmarks.objaverse.choose import ALLOWED, main, order
from benchmarks.objaverse.choose import choose as take
from benchmarks.objaverse.motion import Unfit, facing, find_motion, measure, windows
from benchmarks.objaverse.selection import Selected, as_csv, list_hash, read_selection
from tests.objaverse_mirror import annotation, bender, made_id, mirror_of

pytest_plugins = ["tests.local_server"]
ROOT = Path(__file__).parents[2]
NAMES = [f"tube-{k}" for k in range(8)]
IDS = {name: made_id(name) for name in NAMES}
MODELS = {name: bender(40 + 5 * k, 0.5 + 0.5 * k) for k, name in enumerate(NAMES)} | {"tube-7": bender(1)}
LICENCES = {"tube-6": "by-nc"}


def mirror(folder: Path) -> Path:
    """Eight tubes: number 7 hardly moves, number 6 has a licence that is not allowed."""
    folder.mkdir(parents=True)
    about = {IDS[n]: annotation(n, LICENCES.get(n, "by"), MODELS[n]) for n in NAMES}
    (folder / "annotations.json").write_text(json.dumps(about))
    for name in NAMES:
        (folder / f"{IDS[name]}.glb").write_bytes(MODELS[name])
    (folder / "all.txt").write_text("\n".join(IDS.values()))
    return folder


def arguments(given: Path, out: Path, *more: str) -> list[str]:
    """Of `choose`, among the ids of <given>/all.txt; the last of equal options counts."""
    first = ["--candidates", str(given / "all.txt"), "--exclude", "--training", "--count", "4", "--out", str(out)]
    return [*first, *more]


def choose(given: Path, out: Path, *more: str, ok: bool = True, **environment: str) -> str:
    """Run it to its end, in a cache beside `out`; what it printed."""
    printed, status = io.StringIO(), None
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed), redirect_stderr(printed):
        patch.delenv("BENCH4D_OBJAVERSE", raising=False)
        for name, value in {"XDG_CACHE_HOME": str(out.parent / "cache"), **environment}.items():
            patch.setenv(name, value)
        try:
            main(arguments(given, out, *more))
        except SystemExit as error:
            status = error.code
    output = f"{printed.getvalue()}{status or ''}"
    assert (status is None) == ok, output
    return output


def frozen(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def verdicts(folder: Path) -> dict[str, str]:
    with (folder / "considered.csv").open(newline="") as file:
        return {row["id"]: row["verdict"] for row in csv.DictReader(file)}


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
    ids, where = tuple(sorted(IDS.values())), Places(None, tmp_path / "cache")
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
    assert lists.ids_of(gone, Places(tmp_path / "given", tmp_path / "none")) == ids


@pytest.mark.parametrize(
    "change", [("exclude", "maybe"), (",7,", ",seven,"), (",576329", ",57632"), ("7.txt", "7.txt,")]
)
def test_a_wrong_list_of_lists_is_refused(tmp_path, change):
    text = (lists.FOLDER / "lists.csv").read_text().replace("uid.txt", "uid7.txt")
    (tmp_path / "lists.csv").write_text(text.replace(*change))
    with pytest.raises(FormatError, match="line"):
        lists.read_lists(tmp_path)


def test_the_order_depends_on_the_seed_and_not_on_the_others():
    ids = set(IDS.values())
    first = order(ids, 0)
    assert sorted(first) == sorted(ids) and first != order(ids, 1)
    assert order(ids - {first[3]}, 0) == first[:3] + first[4:]


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
    where = Places(given, tmp_path / "cache")
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
    found = objects.describe(["x", "y", "z"], Places(tmp_path, tmp_path))
    assert list(found) == ["x", "y"] and (found["x"].licence, found["y"].licence) == ("CC-BY-NC-4.0", "other")
    assert found["x"].name.isprintable() and len(found["x"].name) == 200 and found["x"].author == "Ada"
    (tmp_path / "annotations.json").write_text(json.dumps({"x": {"license": "by"}}))
    with pytest.raises(FormatError, match="an annotation of Objaverse"):
        objects.describe(["x"], Places(tmp_path, tmp_path))


# The choice


def test_the_same_seed_freezes_the_same_bytes(tmp_path):
    given = mirror(tmp_path / "given")
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        choose(given, tmp_path / name, "--seed", seed, BENCH4D_OBJAVERSE=str(given))
    assert frozen(tmp_path / "a") == frozen(tmp_path / "b") != frozen(tmp_path / "c")
    chosen = list(read_selection(tmp_path / "a"))
    looked_at = verdicts(tmp_path / "a")
    assert list(looked_at) == order(set(IDS.values()), 0)[: len(looked_at)]
    assert chosen == [id for id, verdict in looked_at.items() if verdict == "chosen"] and len(chosen) == 4
    everything, where = {"all": tuple(IDS.values())}, Places(given, tmp_path / "cache")
    considered, rows = take(order(set(IDS.values()), 0), everything, where, ALLOWED, 99)
    assert {c.id: c.verdict for c in considered} == dict.fromkeys(IDS.values(), "chosen") | {
        IDS["tube-6"]: "licence",
        IDS["tube-7"]: "unfit",
    }
    (row,) = (row for row in rows if row.id == IDS["tube-1"])
    assert (row.licence, row.author, row.name, row.lists) == ("CC-BY-4.0", "Ada", "tube-1", "all")
    assert row.bytes == len(MODELS["tube-1"]) and (row.start, row.end, row.title) == (0, 1, "bend")
    allowed = choose(given, tmp_path / "d", "--count", "7", "--licences", "CC-BY-4.0", "CC-BY-NC-4.0",
                     BENCH4D_OBJAVERSE=str(given))  # fmt: skip
    assert allowed.startswith("7 of ") and IDS["tube-6"] in read_selection(tmp_path / "d")
    assert "only 6 of 8" in choose(given, tmp_path / "e", "--count", "7", ok=False, BENCH4D_OBJAVERSE=str(given))
    assert not (tmp_path / "e").exists()


def test_objects_of_excluded_lists_are_left_out_and_training_lists_are_named(tmp_path):
    given = mirror(tmp_path / "given")
    (tmp_path / "others.txt").write_text(f"{IDS['tube-0']}\n{IDS['tube-1']}")
    (tmp_path / "seen.txt").write_text(IDS["tube-2"])
    more = ("--exclude", str(tmp_path / "others.txt"), "--training", str(tmp_path / "seen.txt"))
    choose(given, tmp_path / "out", *more, BENCH4D_OBJAVERSE=str(given))
    rows = read_selection(tmp_path / "out")
    assert set(rows) == {IDS[f"tube-{k}"] for k in (2, 3, 4, 5)}
    assert {IDS["tube-2"]: "all+seen"}.items() <= {id: row.lists for id, row in rows.items()}.items()
    assert rows[IDS["tube-3"]].lists == "all"


STAND_IN = """
import json, os, pathlib, time
HOME = pathlib.Path(os.environ["OBJAVERSE_STAND_IN"])
def load_uids():
    return list(json.loads((HOME / "annotations.json").read_text()))
def load_annotations(uids=None):
    known = json.loads((HOME / "annotations.json").read_text())
    return {uid: known[uid] for uid in uids}
def load_objects(uids, download_processes=1):
    (uid,) = uids
    with (HOME / "log").open("a") as log:
        log.write(uid + "\\n")
    while (HOME / f"{uid}.blocked").exists():
        time.sleep(0.02)
    if not (HOME / f"{uid}.glb").exists():
        return {}
    print("Downloaded 1 / 1 objects")
    got = HOME / f"{uid}.got"
    got.write_bytes((HOME / f"{uid}.glb").read_bytes())
    return {uid: str(got)}
"""
SKETCHFAB = """
import hashlib, json, os, pathlib
class SketchfabDownloader:
    @classmethod
    def get_annotations(cls):
        known = json.loads((pathlib.Path(os.environ["OBJAVERSE_STAND_IN"]) / "annotations.json").read_text())
        return {"fileIdentifier": [f"https://sketchfab.com/3d-models/{uid}" for uid in known],
                "sha256": [row["sha256"] for row in known.values()]}
"""


def stand_in(folder: Path) -> dict[str, str]:
    """A package objaverse that serves a mirror and writes down what it was asked; the environment that finds it."""
    (folder / "package/objaverse/xl").mkdir(parents=True)
    (folder / "package/objaverse/__init__.py").write_text(STAND_IN)
    (folder / "package/objaverse/xl/__init__.py").write_text("")
    (folder / "package/objaverse/xl/sketchfab.py").write_text(SKETCHFAB)
    return {"PYTHONPATH": str(folder / "package"), "OBJAVERSE_STAND_IN": str(mirror(folder / "served"))}


def test_a_killed_choice_goes_on_and_bad_files_are_named(tmp_path):
    """Downloads through the package; killed at the fourth, one file corrupted and one missing; then both come back."""
    given = mirror(tmp_path / "given")
    choose(given, tmp_path / "undisturbed", "--count", "5", BENCH4D_OBJAVERSE=str(given))
    environment = stand_in(tmp_path)
    served, out, log = tmp_path / "served", tmp_path / "out", tmp_path / "served/log"
    ids = [
        id for id in order(set(IDS.values()), 0) if id != IDS["tube-6"]
    ]  # its licence is not allowed: never asked for
    good = {id: (served / f"{id}.glb").read_bytes() for id in ids}
    (served / f"{ids[0]}.glb").write_bytes(good[ids[0]][:-5] + b"wrong")
    (served / f"{ids[1]}.glb").unlink()
    (served / f"{ids[4]}.blocked").touch()
    command = [sys.executable, "-m", "benchmarks.objaverse.choose", *arguments(served, out, "--count", "5")]
    surroundings = os.environ | environment | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    surroundings.pop("BENCH4D_OBJAVERSE", None)
    process = subprocess.Popen(command, cwd=ROOT, env=surroundings, start_new_session=True)
    deadline = time.monotonic() + 60
    while not log.is_file() or ids[4] not in log.read_text():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert log.read_text().split() == [ids[0], ids[0], ids[1], ids[1], ids[2], ids[3], ids[4]] and not out.exists()

    (served / f"{ids[4]}.blocked").unlink()
    log.unlink()
    output = choose(served, out, "--count", "5", ok=False, **environment)
    assert "2 files are missing" in output and "wrong content" in output and "Objaverse has no object" in output
    asked = log.read_text().split()
    assert not {ids[2], ids[3]} & set(asked) and ids[4] in asked and not out.exists(), "what was there is not asked for"

    left_out = tmp_path / "left-out"
    fit = sum(IDS["tube-7"] != id for id in ids[2:])
    choose(served, left_out, "--count", str(fit), "--without-missing", **environment)
    assert [verdicts(left_out)[id] for id in ids[:2]] == ["missing", "missing"]
    assert str(tmp_path) not in (left_out / "considered.csv").read_text()

    for id in ids[:2]:
        (served / f"{id}.glb").write_bytes(good[id])
    choose(served, out, "--count", "5", **environment)
    assert frozen(out) == frozen(tmp_path / "undisturbed")


def test_without_the_package_the_message_says_what_to_install(tmp_path):
    if importlib.util.find_spec("objaverse"):
        pytest.skip("the package objaverse is installed")
    given = mirror(tmp_path / "given")
    output = choose(given, tmp_path / "out", ok=False)
    assert "benchmarks/objaverse/requirements.txt" in output and "Traceback" not in output


@pytest.mark.skipif(not importlib.util.find_spec("objaverse"), reason="the package objaverse is not installed")
def test_the_real_package_is_called_as_it_wants(tmp_path):
    """With its own cache filled beforehand, the package needs no network."""
    pandas = pytest.importorskip("pandas")
    given = mirror(tmp_path / "given")
    cache, known = tmp_path / ".objaverse", json.loads((given / "annotations.json").read_text())
    versioned = cache / "hf-objaverse-v1"
    for name, content in (
        ("object-paths", {id: f"glbs/000-000/{id}.glb" for id in known}),
        ("metadata/000-000", {id: {k: v for k, v in row.items() if k != "sha256"} for id, row in known.items()}),
    ):
        (versioned / name).parent.mkdir(parents=True, exist_ok=True)
        (versioned / f"{name}.json.gz").write_bytes(gzip.compress(json.dumps(content).encode()))
    (versioned / "glbs/000-000").mkdir(parents=True)
    for id in known:
        shutil.copyfile(given / f"{id}.glb", versioned / f"glbs/000-000/{id}.glb")
    (cache / "sketchfab").mkdir()
    table = {"fileIdentifier": [f"https://sketchfab.com/3d-models/{id}" for id in known]}
    table["sha256"] = [row["sha256"] for row in known.values()]
    pandas.DataFrame(table).to_parquet(cache / "sketchfab/sketchfab.parquet")
    path = {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    choose(given, tmp_path / "a", HOME=str(tmp_path), **path)
    choose(given, tmp_path / "b", BENCH4D_OBJAVERSE=str(given))
    assert frozen(tmp_path / "a") == frozen(tmp_path / "b")


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
    benchmark, where = Benchmark.read(chosen / "out/protocol.yaml"), Places(chosen / "given", tmp_path / "cache")
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
    benchmark, where = Benchmark.read(tmp_path / "out/protocol.yaml"), Places(chosen / "given", tmp_path / "cache")
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

ASSETS = os.environ.get("BENCH4D_ASSETS")


@pytest.mark.skipif(not ASSETS, reason="BENCH4D_ASSETS names no folder with the models")
def test_a_mirror_of_real_models_goes_all_the_way(tmp_path):
    names = mirror_of(Path(ASSETS or ""), tmp_path / "given")
    shutil.copyfile(tmp_path / "given/lists/all.txt", tmp_path / "given/all.txt")
    environment = {"BENCH4D_OBJAVERSE": str(tmp_path / "given")}
    (victim, *_) = order(set(names.values()), 0)
    path = tmp_path / "given" / f"{victim}.glb"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert "1 files are missing" in choose(
        tmp_path / "given", tmp_path / "out", "--count", "33", ok=False, **environment
    )
    path.write_bytes(whole)
    choose(tmp_path / "given", tmp_path / "out", "--count", "33", **environment)
    looked_at = verdicts(tmp_path / "out")
    still = {names[f"quaternius_{name}"] for name in ("fish_fish1", "tank_tank", "tank_tank4")}
    assert {id for id, verdict in looked_at.items() if verdict == "unfit"} == still & set(looked_at)
    for id, row in read_selection(tmp_path / "out").items():
        points = np.stack([m.vertices for m in clip_meshes(row, tmp_path / "given" / f"{id}.glb", 4)])
        assert np.abs(points).max() < 0.45 and np.ptp(points, 0).max() > 0.05


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
