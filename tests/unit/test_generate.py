"""The program that runs methods: what it records, and how it contains those that misbehave."""

import ast
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.nvidia_smi import FakeNvidiaSmi

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
SCRIPT = SCRIPTS / "generate.py"
linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="orphans are found on Linux only")

READ_JOB = (
    "import json, os, pathlib, signal, subprocess, sys, tempfile, time\n"
    "job = json.loads(pathlib.Path(sys.argv[2]).read_text())\n"
)
DONE = "    (pathlib.Path(clip['out']) / 'DONE').touch()\n"
EACH = "for clip in job['clips']:\n    out = pathlib.Path(clip['out'])\n"
LIMITS = {"seconds": 60, "ram-mb": 4000, "disk-mb": 100, "files": 1000, "log-mb": 10}


def command(tmp_path, program, clips=("a", "b"), truth=None, gpus=0, **limits):
    (tmp_path / "run.py").write_text(READ_JOB + program)
    spec = {"method": "m", "clips": list(clips), "seed": 3, "parameters": {"p": 1}, "weights": {}}
    spec |= {"n_frames": 2, "fps": 4}
    for clip in clips:
        (tmp_path / "out" / clip).mkdir(parents=True)
    options = {"spec": json.dumps(spec), "program": tmp_path / "run.py", "out": tmp_path / "out", "gpus": gpus}
    options |= {"clips": tmp_path / "clips", "log": tmp_path / "log"} | ({"truth": truth} if truth else {})
    options |= LIMITS | {name.replace("_", "-"): value for name, value in limits.items()}
    return [sys.executable, str(SCRIPT)] + [str(part) for name, v in options.items() for part in (f"--{name}", v)]


def run(tmp_path, program, clips=("a", "b"), env=None, **options):
    """The records of the clips, by id."""
    started = command(tmp_path, program, clips, **options)
    subprocess.run(started, check=True, timeout=60, env=os.environ | (env or {}))
    return records(tmp_path, clips)


def records(tmp_path, clips):
    return {clip: json.loads((tmp_path / "out" / clip / "generate.json").read_text()) for clip in clips}


def ended(pid):
    """Whether the process is gone (or a zombie that only waits to be collected), within three seconds."""
    for _ in range(60):
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False


def written(path, seconds=20):
    """The text of a file that somebody is about to write."""
    deadline = time.monotonic() + seconds
    while not (path.is_file() and path.read_text()):
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.02)
    return path.read_text()


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


def test_a_method_gets_no_stdin_and_a_private_tmpdir_that_is_gone_afterwards(tmp_path):
    program = EACH + (
        "    assert sys.stdin.read() == ''\n"
        "    (pathlib.Path(tempfile.gettempdir()) / 'big').write_bytes(bytes(1000))\n"
        f"    pathlib.Path({str(tmp_path / 'where')!r}).write_text(tempfile.gettempdir())\n" + DONE
    )
    (tmp_path / "tmp").mkdir()
    assert run(tmp_path, program, clips=("a",), env={"TMPDIR": str(tmp_path / "tmp")})["a"]["status"] == "ok"
    where = Path((tmp_path / "where").read_text())
    assert where.parent == tmp_path / "tmp" and not where.exists()


def test_a_hanging_clip_that_ignores_sigterm_is_ended_with_its_children_and_the_next_one_runs(tmp_path):
    program = (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "for clip in job['clips']:\n"
        "    if clip['id'] == 'a':\n"
        "        child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"        pathlib.Path({str(tmp_path / 'child')!r}).write_text(str(child.pid))\n"
        "        print('waiting for ever', file=sys.stderr, flush=True)\n"
        "        time.sleep(600)\n" + DONE
    )
    records = run(tmp_path, program, seconds=0.9)
    assert records["a"]["status"] == "failed" and "limit of 0.015 minutes" in records["a"]["reason"]
    assert "waiting for ever" in records["a"]["log_tail"] and records["a"]["seconds"] is None
    assert records["b"]["status"] == "ok"
    assert ended(int((tmp_path / "child").read_text()))


def test_a_program_that_hangs_after_its_last_clip_is_ended_and_its_clips_count(tmp_path):
    record = run(tmp_path, EACH + DONE + "time.sleep(600)\n", clips=("a",), seconds=1)["a"]
    assert record["status"] == "ok" and record["seconds"] < 1 and "limit of" in record["left_behind"][0]


GREEDY = {
    "memory": ("x = bytearray(400_000_000); time.sleep(600)", {"ram_mb": 200}, "limit of 0.2 GB (ram_gb)"),
    "memory of children": (
        "[subprocess.Popen([sys.executable, '-c', 'x = bytearray(90_000_000); import time; time.sleep(600)'])"
        " for _ in range(3)]; time.sleep(600)",
        {"ram_mb": 200},
        "limit of 0.2 GB (ram_gb)",
    ),
    "disk": ("(out / 'big').write_bytes(bytes(30_000_000)); time.sleep(600)", {"disk_mb": 20}, "0.02 GB a clip"),
    "TMPDIR": (
        "pathlib.Path(tempfile.gettempdir(), 'big').write_bytes(bytes(30_000_000)); time.sleep(600)",
        {"disk_mb": 20},
        "0.02 GB a clip",
    ),
    "sparse file": ("os.truncate(os.open(out / 'big', os.O_CREAT | os.O_RDWR), 10**12)", {}, "0.1 GB a clip"),
    "files": ("[(out / str(k)).touch() for k in range(300)]; time.sleep(600)", {"files": 100}, "limit of 100 a clip"),
    "quick files": ("[(out / str(k)).touch() for k in range(300)]", {"files": 100}, "limit of 100 a clip"),
    "log": ("while True: print('again ' * 1000, flush=True)", {"log_mb": 1}, "limit of 1 MB (log_mb)"),
}


@pytest.mark.parametrize("case", GREEDY)
def test_what_passes_a_limit_is_ended_with_that_reason(tmp_path, case):
    action, limits, reason = GREEDY[case]
    program = EACH + f"    if clip['id'] == 'a':\n        {action}\n" + DONE
    records = run(tmp_path, program, **limits)
    assert records["a"]["status"] == "failed" and reason in records["a"]["reason"], records["a"]
    assert records["b"]["status"] == "ok"
    assert not list((tmp_path / "out/a/asset").iterdir())  # what a failed clip wrote does not stay
    assert (tmp_path / "log").stat().st_size < 1.1e6
    if case == "log":
        assert "again again" in records["a"]["log_tail"] and "bytes left out]" in (tmp_path / "log").read_text()


@linux_only
def test_pages_that_processes_share_count_once_against_the_limit(tmp_path):
    program = "x = bytearray(b'1') * 100_000_000\nchildren = [os.fork() for _ in range(2)]\n"  # 4 processes
    program += "time.sleep(1)\nif all(children):\n"
    program += "    for clip in job['clips']:\n    " + DONE
    record = run(tmp_path, program, clips=("a",), ram_mb=200)["a"]
    assert record["status"] == "ok" and record["peak_rss_bytes"] > 350e6, record["reason"]


DAEMON = """
def daemon(path):
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.environ.clear()
    pathlib.Path(path).write_text(str(os.getpid()))
    while True:
        time.sleep(1)
"""


@linux_only
@pytest.mark.parametrize("then", ["", "    time.sleep(600)\n"], ids=["ends", "hangs"])
def test_a_daemon_that_left_its_session_is_found_and_ended(tmp_path, then):
    tmp_path = tmp_path / ("a_long_name" * 15)  # its command is named whole all the same
    tmp_path.mkdir()
    wait = f"    while not os.path.exists({str(tmp_path / 'pid')!r}): time.sleep(0.01)\n"
    program = DAEMON + EACH + f"    daemon({str(tmp_path / 'pid')!r})\n" + wait + then + DONE
    record = run(tmp_path, program, clips=("a",), seconds=1)["a"]
    assert ended(int((tmp_path / "pid").read_text()))
    assert record["status"] == ("failed" if then else "ok")
    assert bool(record["left_behind"]) == (not then)  # what outlived the program is named
    assert all("run.py" in command for command in record["left_behind"])


LINKS = {
    "link": ("os.symlink('/etc/hostname', out / 'asset.json')", "asset.json, a link to /etc/hostname"),
    "folder link": ("os.symlink('/etc', out / 'views')", "views, a link to /etc"),
    "pipe": ("os.mkfifo(out / 'frames.safetensors')", "frames.safetensors, a pipe"),
    "moved": (
        "os.rename(out, str(out) + '2'); os.symlink(str(out) + '2', out)",
        "expected the clip's out folder as it was made",
    ),
}


@pytest.mark.parametrize("case", LINKS)
def test_what_leads_out_of_the_folder_is_refused(tmp_path, case):
    action, reason = LINKS[case]
    record = run(tmp_path, EACH + f"    {action}\n" + DONE, clips=("a",))["a"]
    assert record["status"] == "failed" and reason in record["reason"]
    assert (tmp_path / "out/a/asset").is_dir() and not (tmp_path / "out/a/asset").is_symlink()


def test_a_link_inside_the_folder_is_fine(tmp_path):
    program = EACH + "    (out / 'b').touch()\n    os.symlink('b', out / 'c')\n" + DONE
    assert run(tmp_path, program, clips=("a",))["a"]["status"] == "ok"


@linux_only
@pytest.mark.parametrize("whole_group", [True, False])
def test_killing_the_workflow_ends_the_method_and_its_daemons(tmp_path, whole_group):
    program = DAEMON + EACH + f"    daemon({str(tmp_path / 'daemon')!r})\n"
    program += f"    pathlib.Path({str(tmp_path / 'method')!r}).write_text(str(os.getpid()))\n    time.sleep(600)\n"
    supervisor = subprocess.Popen(command(tmp_path, program, clips=("a",)), start_new_session=True)
    pids = [int(written(tmp_path / name)) for name in ("daemon", "method")]
    os.killpg(supervisor.pid, signal.SIGKILL) if whole_group else supervisor.terminate()
    supervisor.wait(10)
    assert all(ended(pid) for pid in pids)
    assert not (tmp_path / "out/a/generate.json").exists()


def test_a_method_cannot_import_the_repository_by_accident(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(SCRIPT.parents[2]))
    records = run(tmp_path, f"import bench4d\nfor clip in job['clips']:\n{DONE}", clips=("a",))
    assert records["a"]["status"] == "failed" and "No module named 'bench4d'" in records["a"]["log_tail"]


def with_gpu(tmp_path, devices=1):
    fake = FakeNvidiaSmi(tmp_path / "nvidia", devices)
    return fake, {"PATH": f"{fake.bin}{os.pathsep}{os.environ['PATH']}"}


def test_gpu_memory_is_that_of_the_methods_processes(tmp_path):
    fake, path = with_gpu(tmp_path)
    fake.apps({1: 70_000})  # somebody else's
    tell = f"    pathlib.Path({str(fake.folder / 'apps')!r}).write_text(f'1, 70000\\n{{os.getpid()}}, 300\\n')\n"
    record = run(tmp_path, EACH + tell + "    time.sleep(1.2)\n" + DONE, clips=("a",), env=path, gpus=1)["a"]
    assert record["peak_gpu_bytes"] == 300 * 2**20 and record["gpu_memory_from"] == "processes"
    assert record["device"] == "Imaginary GPU"


def test_without_a_list_of_processes_it_is_the_growth_of_the_leased_device(tmp_path):
    fake, path = with_gpu(tmp_path, 2)
    fake.memory([100, 5000])
    lines = "".join(f"{uuid}, {used}\n" for uuid, used in zip(fake.uuids, (750, 9000), strict=True))
    tell = f"    pathlib.Path({str(fake.folder / 'memory')!r}).write_text({lines!r})\n"
    record = run(tmp_path, EACH + tell + "    time.sleep(1.2)\n" + DONE, clips=("a",), env=path, gpus=1)["a"]
    assert record["peak_gpu_bytes"] == 650 * 2**20 and record["gpu_memory_from"] == "devices"


def test_a_method_sees_its_leased_device_only_and_too_many_are_refused_in_words(tmp_path):
    _, path = with_gpu(tmp_path, 2)
    program = EACH + "    print(os.environ['CUDA_VISIBLE_DEVICES'])\n    raise SystemExit(4)\n"
    for folder in ("one", "three"):
        (tmp_path / folder).mkdir()
    assert run(tmp_path / "one", program, clips=("a",), env=path, gpus=1)["a"]["log_tail"] == "0\n"
    record = run(tmp_path / "three", program, clips=("a",), env=path, gpus=3)["a"]
    assert record["status"] == "failed" and record["reason"] == "expected 3 NVIDIA devices; found 2"


@pytest.mark.parametrize("name", ["generate", "contain", "gpu_lease", "gpu_meter"])
def test_the_program_is_python_3_8_and_needs_the_standard_library_only(name):
    tree = ast.parse((SCRIPTS / f"{name}.py").read_text(), feature_version=(3, 8))
    names = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {n.split(".")[0] for n in names} <= set(sys.stdlib_module_names) | {"contain", "gpu_lease", "gpu_meter"}
