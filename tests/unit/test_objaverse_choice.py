"""The choice of objaverse: frozen by a seed, resumed after a kill, and the same whatever went wrong in between.

With BENCH4D_ASSETS naming the models of menagerie, a mirror of them goes the same way; where the package objaverse is
installed, it is tested as it is.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bench4d.weights import Locations
from benchmarks.objaverse.build import clip_meshes
from benchmarks.objaverse.choose import ALLOWED, order
from benchmarks.objaverse.choose import choose as take
from benchmarks.objaverse.selection import read_selection
from tests.objaverse_mirror import (
    IDS,
    MODELS,
    arguments,
    choose,
    frozen,
    mirror,
    mirror_of,
    verdicts,
)

pytest_plugins = ["tests.local_server"]

# The lists of ids

ROOT = Path(__file__).parents[2]
ASSETS = os.environ.get("BENCH4D_ASSETS")


def test_the_order_depends_on_the_seed_and_not_on_the_others():
    ids = set(IDS.values())
    first = order(ids, 0)
    assert sorted(first) == sorted(ids) and first != order(ids, 1)
    assert order(ids - {first[3]}, 0) == first[:3] + first[4:]


def test_the_same_seed_freezes_the_same_bytes(tmp_path):
    given = mirror(tmp_path / "given")
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        choose(given, tmp_path / name, "--seed", seed, BENCH4D_OBJAVERSE=str(given))
    assert frozen(tmp_path / "a") == frozen(tmp_path / "b") != frozen(tmp_path / "c")
    chosen = list(read_selection(tmp_path / "a"))
    looked_at = verdicts(tmp_path / "a")
    assert list(looked_at) == order(set(IDS.values()), 0)[: len(looked_at)]
    assert chosen == [id for id, verdict in looked_at.items() if verdict == "chosen"] and len(chosen) == 4
    everything, where = {"all": tuple(IDS.values())}, Locations(given, tmp_path / "cache")
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
    import pandas

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
