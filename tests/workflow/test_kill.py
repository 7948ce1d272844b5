"""SIGKILL at random moments, and the same command again: it completes, with the scores of an undisturbed run.

BENCH4D_KILLS=10 kills that often (3 by default).
"""

import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

KILLS = int(os.environ.get("BENCH4D_KILLS", "3"))
RESULTS = "results/synth4d-tiny"

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds processes in /proc")

# Billboard, but slow, by halves, and with a child in a session of its own that keeps writing.
SLOW = """
import json, os, pathlib, runpy, subprocess, sys, time
job = json.loads(pathlib.Path(sys.argv[2]).read_text())
beat = "import os, sys, time\\nwhile True: open(os.environ['TMPDIR'] + '/beat', 'a').write('x'); time.sleep(0.01)"
child = subprocess.Popen([sys.executable, "-c", beat], start_new_session=True)
with open({notes!r}, "a") as file:
    print(os.getpid(), child.pid, file=file)
for clip in job["clips"]:
    half = pathlib.Path(clip["out"]) / "frames.safetensors"
    half.write_bytes(bytes(1000))
    time.sleep(600 if pathlib.Path({notes!r} + ".wait").exists() else 0.7)
    path = pathlib.Path(sys.argv[2] + ".one")
    path.write_text(json.dumps(dict(job, clips=[clip])))
    sys.argv = [sys.argv[0], "--job", str(path)]
    runpy.run_path(str(pathlib.Path(__file__).parents[1] / "billboard" / "run.py"), run_name="__main__")
child.kill()
"""


def kill_everything(process: subprocess.Popen) -> None:
    """Snakemake and every process below it, those in sessions of their own too, at once."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    doomed = [process.pid]
    for pid in doomed:
        doomed += [child for child, parent in parents.items() if parent == pid]
    for pid in doomed:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def kill_group(process: subprocess.Popen) -> None:
    os.killpg(process.pid, signal.SIGKILL)


def kill_snakemake_alone(process: subprocess.Popen) -> None:
    """Its jobs live on as orphans, and write; the next run has to end them."""
    process.kill()


WAYS = (kill_everything, kill_group, kill_snakemake_alone)


@pytest.fixture(scope="module")
def calm(tiny, tmp_path_factory):
    """(checkout of an undisturbed run, its duration, file with the pids of all methods): and nobody else may join."""
    notes = tmp_path_factory.mktemp("notes") / "pids"
    checkout = tiny.copy(tmp_path_factory.mktemp("calm") / "bench4d")
    folder = checkout.root / "baselines/slow"
    shutil.copytree(checkout.root / "baselines/billboard", folder)
    (folder / "run.py").write_text(SLOW.format(notes=str(notes)))
    checkout.configure(methods=["billboard", "slow"])
    wipe(checkout)
    began = time.monotonic()
    process = checkout.start()
    while not notes.exists():
        assert process.poll() is None and time.monotonic() - began < 60
        time.sleep(0.05)
    second = checkout.snakemake(ok=False)
    assert "cannot be locked" in second
    output = "".join(process.communicate(timeout=120))
    assert process.returncode == 0, output + checkout.logs()
    return checkout, time.monotonic() - began, notes


def wipe(checkout) -> None:
    shutil.rmtree(checkout.root / "results", ignore_errors=True)
    shutil.rmtree(checkout.root / ".snakemake", ignore_errors=True)


def test_a_second_run_is_refused_while_one_lives_and_does_it_no_harm(calm):
    assert "Nothing to be done" in calm[0].snakemake()


def test_killed_at_random_moments_it_completes_with_the_same_scores(calm, tmp_path):
    undisturbed, duration, notes = calm
    checkout = undisturbed.copy(tmp_path / "bench4d")
    wipe(checkout)
    moments, kills = random.Random(4), 0
    while kills < KILLS:
        process = checkout.start(own_session=True)
        try:
            output = "".join(process.communicate(timeout=moments.uniform(0.4, 0.7 * duration)))
        except subprocess.TimeoutExpired:
            WAYS[kills % 3](process)
            process.wait()
            for stream in (process.stdout, process.stderr):
                stream.close()  # orphans may hold the other end
            kills += 1
            continue
        assert process.returncode == 0, output + checkout.logs()
        same(undisturbed, checkout)
        wipe(checkout)
    checkout.snakemake()
    same(undisturbed, checkout)
    assert not [pid for pid in notes.read_text().split() if alive(int(pid))]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def same(one, other) -> None:
    """Rows and per-frame rows bit for bit, but for what the clock says; and all files of methods and renderer."""
    for name in ("scores", "frames"):
        first, second = (pd.read_parquet(c.root / RESULTS / f"{name}.parquet") for c in (one, other))
        first, second = (rows[rows["metric"] != "time"].reset_index(drop=True) for rows in (first, second))
        assert len(first)
        pd.testing.assert_frame_equal(first, second, check_exact=True)
    assert made(one) == made(other)


def made(checkout) -> dict[str, str]:
    """Hash by path of clips, truth, assets and renders."""
    root = checkout.root / RESULTS
    chosen = [p for p in root.rglob("*") if p.is_file() and {"asset", "frames"} & set(p.relative_to(root).parts)]
    chosen = [p for p in chosen if p.name != ".snakemake_timestamp"]
    assert len(chosen) > 20
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in chosen}


def test_the_rerun_clears_the_lock_and_the_jobs_of_a_run_that_is_gone(calm, tmp_path):
    undisturbed, _, notes = calm
    checkout = undisturbed.copy(tmp_path / "bench4d")
    shutil.rmtree(checkout.root / RESULTS / "slow")
    for table in [*(checkout.root / RESULTS).glob("table.*"), *(checkout.root / RESULTS).glob("*.parquet")]:
        table.unlink()
    wait, before = Path(f"{notes}.wait"), notes.read_text()
    wait.touch()
    process = checkout.start(own_session=True)
    while notes.read_text() == before:
        assert process.poll() is None
        time.sleep(0.05)
    kill_snakemake_alone(process)
    process.wait()
    wait.unlink()
    orphans = [int(pid) for pid in notes.read_text().removeprefix(before).split()]
    assert len(orphans) == 2 and all(map(alive, orphans))
    lock = checkout.root / ".snakemake/bench4d.lock"
    here = lock.read_text()
    lock.write_text("another-machine")
    assert "cannot be locked" in checkout.snakemake(ok=False)  # whether that run lives cannot be seen from here
    assert all(map(alive, orphans))
    lock.write_text(here)
    assert re.search(r"Ended \d+ processes that an earlier run had left behind", checkout.snakemake())
    assert not any(map(alive, orphans))
    same(undisturbed, checkout)
