"""The program that runs methods: what it records, and how it ends those that do not end."""

import ast
import json
import os
import subprocess
import sys
import time
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "workflow" / "scripts" / "generate.py"

READ_JOB = "import json, pathlib, subprocess, sys, time\njob = json.loads(pathlib.Path(sys.argv[2]).read_text())\n"
DONE = "    (pathlib.Path(clip['out']) / 'DONE').touch()\n"


def run(tmp_path, program, clips=("a", "b"), minutes=1.0, truth=None):
    """The records of the clips, by id."""
    (tmp_path / "run.py").write_text(READ_JOB + program)
    spec = {
        "method": "m",
        "clips": list(clips),
        "seed": 3,
        "parameters": {"p": 1},
        "weights": {},
        "n_frames": 2,
        "fps": 4,
    }
    for clip in clips:
        (tmp_path / "out" / clip).mkdir(parents=True)
    command = [
        sys.executable,
        SCRIPT,
        "--spec",
        json.dumps(spec),
        "--program",
        tmp_path / "run.py",
        "--out",
        tmp_path / "out",
    ]
    command += ["--clips", tmp_path / "clips", "--minutes-per-clip", str(minutes), "--log", tmp_path / "log"]
    command += ["--truth", truth] if truth else []
    subprocess.run(command, check=True, timeout=60)
    return {clip: json.loads((tmp_path / "out" / clip / "generate.json").read_text()) for clip in clips}


def test_the_job_is_what_the_contract_says(tmp_path):
    run(tmp_path, f"for clip in job['clips']:\n{DONE}", truth=tmp_path / "truth")
    job = json.loads((tmp_path / "log.job.json").read_text())
    assert (
        job["times"] == {"a": [0.0, 0.25], "b": [0.0, 0.25]} and job["parameters"] == {"p": 1} and job["version"] == 1
    )
    a = {"id": "a", "seed": 3, "clip": str(tmp_path / "clips/a"), "out": str(tmp_path / "out/a/asset")}
    assert job["clips"][0] == a | {"truth": str(tmp_path / "truth/a")}


def test_time_and_memory_of_the_whole_process_tree_are_recorded(tmp_path):
    child = "x = bytearray(60_000_000); import time; time.sleep(0.6)"
    program = "for clip in job['clips']:\n    x = bytearray(50_000_000)\n"
    program += f"    subprocess.run([sys.executable, '-c', {child!r}])\n{DONE}"
    record = run(tmp_path, program, clips=("a",))["a"]
    assert record["status"] == "ok" and 0.6 < record["seconds"] < 20
    assert 110e6 < record["peak_rss_bytes"] < 400e6


def test_a_hanging_clip_is_ended_with_its_children_and_the_next_one_runs(tmp_path):
    program = (
        "for clip in job['clips']:\n"
        "    if clip['id'] == 'a':\n"
        "        child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"        pathlib.Path({str(tmp_path / 'child')!r}).write_text(str(child.pid))\n"
        "        print('waiting for ever', file=sys.stderr, flush=True)\n"
        "        time.sleep(600)\n" + DONE
    )
    records = run(tmp_path, program, minutes=0.03)
    assert records["a"]["status"] == "failed" and "limit of 0.03 minutes" in records["a"]["reason"]
    assert "waiting for ever" in records["a"]["log_tail"] and records["a"]["seconds"] is None
    assert records["b"]["status"] == "ok"
    assert ended(int((tmp_path / "child").read_text()))


def ended(pid):
    """Whether the process is gone (or a zombie that only waits to be collected), within two seconds."""
    for _ in range(40):
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False


def test_a_method_cannot_import_the_repository_by_accident(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(SCRIPT.parents[2]))
    records = run(tmp_path, f"import bench4d\nfor clip in job['clips']:\n{DONE}", clips=("a",))
    assert records["a"]["status"] == "failed" and "No module named 'bench4d'" in records["a"]["log_tail"]


def test_the_program_is_python_3_8_and_needs_the_standard_library_only():
    tree = ast.parse(SCRIPT.read_text(), feature_version=(3, 8))
    names = {
        n.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for n in [a.name for a in node.names]
    }
    assert names <= set(sys.stdlib_module_names) and not [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
