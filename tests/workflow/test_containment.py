"""Many methods that misbehave, in one run of the real workflow: each reason is listed, and every other row is whole."""

import json
import os
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

RESULTS = "results/synth4d-tiny"

# Each bad method handles the two clips by the behaviours that its parameters name; "fine" is what billboard makes.
PROGRAM = """
import json, os, pathlib, runpy, signal, subprocess, sys, tempfile, time
import numpy as np
from safetensors.numpy import load_file, save_file

job = json.loads(pathlib.Path(sys.argv[2]).read_text())
path = pathlib.Path(sys.argv[2] + ".one")
billboard = str(pathlib.Path(__file__).parents[1] / "billboard" / "run.py")
NOTES = pathlib.Path({notes!r})


def make(clip, **changes):
    path.write_text(json.dumps(dict(job, clips=[clip])))
    sys.argv[2] = str(path)
    runpy.run_path(billboard, run_name="__main__")
    file = pathlib.Path(clip["out"]) / "frames.safetensors"
    tensors = load_file(file)
    for name, change in changes.items():
        tensors[name] = np.ascontiguousarray(change(tensors[name]))
    save_file(tensors, file)


def wait_for_ever():
    while True:
        time.sleep(1)


def daemon():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            (NOTES / "daemon").write_text(str(os.getpid()))
            wait_for_ever()
        os._exit(0)


for clip in job["clips"]:
    behaviour, out = job["parameters"]["behaviours"][clip["id"]], pathlib.Path(clip["out"])
    print(behaviour, file=sys.stderr, flush=True)
    if behaviour == "exits":
        sys.exit("no more <memory> & luck")
    elif behaviour == "dies":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif behaviour == "hangs":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        wait_for_ever()
    elif behaviour == "daemon":
        daemon()
        while not (NOTES / "daemon").exists():
            time.sleep(0.01)
        make(clip)
    elif behaviour == "memory":
        children = [subprocess.Popen([sys.executable, "-c", "x = bytearray(150_000_000); input()"],
                    stdin=subprocess.PIPE) for _ in range(2)]
        wait_for_ever()
    elif behaviour == "disk":
        with open(out / "frames.safetensors", "wb") as file:
            while True:
                file.write(bytes(1_000_000))
                time.sleep(0.001)
    elif behaviour == "files":
        for k in range(10**9):
            (pathlib.Path(tempfile.gettempdir()) / str(k)).touch()
    elif behaviour == "log":
        while True:
            print("the same again " * 100)
    elif behaviour == "few frames":
        make(clip, **{{"texture.offsets": lambda offsets: offsets[:-1]}})
    elif behaviour == "nan":
        make(clip, vertices=lambda v: v * np.float32("nan"))
    elif behaviour == "shape":
        make(clip, vertices=lambda v: v[:, :2])
    elif behaviour == "link":
        make(clip)
        (out / "frames.safetensors").rename(NOTES / "elsewhere.safetensors")
        (out / "frames.safetensors").symlink_to(NOTES / "elsewhere.safetensors")
    else:
        make(clip)
"""

# method -> the behaviour on either clip; behaviour -> what the record and the table must say
PAIRS = {
    "exits_dies": ("exits", "dies"),
    "hangs_fine": ("hangs", "fine"),
    "daemon_memory": ("daemon", "memory"),
    "disk_files": ("disk", "files"),
    "log_link": ("log", "link"),
    "few_nan": ("few frames", "nan"),
    "fine_shape": ("fine", "shape"),
}
REASONS = {
    "exits": "run.py ended with exit status 1",
    "dies": "run.py ended with signal SIGSEGV",
    "hangs": "no result within the limit of 0.1 minutes a clip",
    "memory": "more memory than the limit of 0.2 GB (ram_gb)",
    "disk": "more on disk than the limit of 0.03 GB a clip (disk_gb_per_clip)",
    "files": "more files than the limit of 300 a clip (files_per_clip)",
    "log": "more log than the limit of 1 MB (log_mb)",
    "few frames": "texture.offsets as int64 [5]",
    "nan": "Mesh.vertices: expected finite numbers",
    "shape": "Mesh.vertices: expected float32 [4, 3]",
    "link": "found frames.safetensors, a link to",
}
LIMITS = {"minutes_per_clip": 0.1, "ram_gb": 0.2, "disk_gb_per_clip": 0.03, "files_per_clip": 300, "log_mb": 1}


@pytest.fixture(scope="module")
def contained(tiny, tmp_path_factory):
    """(checkout after the run, folder of notes)."""
    notes = tmp_path_factory.mktemp("notes")
    checkout = tiny.copy(tmp_path_factory.mktemp("contained") / "bench4d")
    source = checkout.root / "baselines/billboard"
    clips = sorted(p.name for p in (checkout.root / RESULTS / "clips").iterdir())
    for name, behaviours in PAIRS.items():
        folder = checkout.root / "baselines" / name
        folder.mkdir()
        (folder / "environment.yaml").write_text((source / "environment.yaml").read_text())
        (folder / "run.py").write_text(PROGRAM.format(notes=str(notes)))
        data = yaml.safe_load((source / "method.yaml").read_text())
        data["needs"]["minutes_per_clip"] = 0.001
        data["parameters"] = {"behaviours": dict(zip(clips, behaviours, strict=True))}
        (folder / "method.yaml").write_text(yaml.safe_dump(data))
    checkout.configure(limits=LIMITS)
    plan = checkout.planned()
    assert plan["generate_synth4d-tiny_0"] == len(PAIRS), "a changed limit reruns nothing"
    checkout.snakemake()
    return checkout, clips, notes


def expected(clips):
    """(method, clip, reason or None) of all."""
    for name, behaviours in PAIRS.items():
        for clip, behaviour in zip(clips, behaviours, strict=True):
            yield name, clip, REASONS.get(behaviour)


def test_every_reason_stands_in_the_records_the_rows_and_the_table(contained):
    checkout, clips, _ = contained
    rows = pd.read_parquet(checkout.root / RESULTS / "scores.parquet")
    text = (checkout.root / RESULTS / "table.txt").read_text()
    wanted = rows[rows["method"] == "billboard"].groupby("clip").size()
    for name, clip, reason in expected(clips):
        mine = rows[(rows["method"] == name) & (rows["clip"] == clip)]
        assert len(mine) == wanted[clip], "failures are rows, not absences"
        if reason is None:
            assert set(mine["status"]) == {"ok"}, (name, clip, set(mine["reason"]))
            continue
        assert set(mine["status"]) == {"failed"} and mine["reason"].str.contains(reason, regex=False).all(), set(
            mine["reason"]
        )
        line = next(line for line in text.splitlines() if line.startswith(f"Failed: {name}, seed 0, {clip}: "))
        assert reason in line
        record = json.loads((checkout.root / RESULTS / name / "seed0" / clip / "generate.json").read_text())
        aligned = json.loads((checkout.root / RESULTS / name / "seed0" / clip / "aligned.json").read_text())
        assert reason in (record["reason"] or aligned["reason"])
        assert name != "exits_dies" or reason != REASONS["exits"] or "<memory> & luck" in record["log_tail"]


def test_the_other_methods_rows_are_whole_and_unchanged(contained, tiny):
    checkout, _, _ = contained
    columns = ["method", "clip", "view", "metric", "value", "status"]
    before, after = (pd.read_parquet(c.root / RESULTS / "scores.parquet")[columns] for c in (tiny, checkout))
    after = after[~after["method"].isin(PAIRS)].reset_index(drop=True)
    pd.testing.assert_frame_equal(before, after, check_exact=True)
    assert set(after["status"]) == {"ok"}


def test_the_table_shows_how_many_clips_have_a_value(contained):
    checkout, _, _ = contained
    lines = (checkout.root / RESULTS / "table.txt").read_text().splitlines()
    for name, behaviours in PAIRS.items():
        covered = sum(behaviour not in REASONS for behaviour in behaviours)
        assert f"({covered}/2)" in next(line for line in lines if line.startswith(name)), name


def test_what_a_failed_clip_wrote_does_not_stay(contained):
    checkout, clips, _ = contained
    for name, clip, reason in expected(clips):
        record = json.loads((checkout.root / RESULTS / name / "seed0" / clip / "generate.json").read_text())
        if record["status"] == "failed":
            left = {p.name for p in (checkout.root / RESULTS / name / "seed0" / clip / "asset").iterdir()}
            assert left <= {".snakemake_timestamp"}, reason
    log = checkout.root / RESULTS / "logs/generate/log_link-seed0-0.log"
    assert log.stat().st_size < 2.1e6 and "bytes left out]" in log.read_text()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="orphans are found on Linux only")
def test_the_daemon_is_gone_and_its_clip_counts(contained):
    checkout, clips, notes = contained
    record = json.loads((checkout.root / RESULTS / "daemon_memory/seed0" / clips[0] / "generate.json").read_text())
    assert record["status"] == "ok"
    pid = int((notes / "daemon").read_text())
    for _ in range(40):
        if not Path(f"/proc/{pid}").exists():
            return
        time.sleep(0.05)
    os.kill(pid, 9)
    pytest.fail(f"the daemon {pid} still lives")


def test_nothing_is_left_to_do_after_failures(contained):
    assert contained[0].planned() == {}
