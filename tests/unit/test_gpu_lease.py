"""Leases of NVIDIA devices: nobody shares one, who waits gets one, and a killed holder frees his."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.nvidia_smi import FakeNvidiaSmi

LEASE = Path(__file__).parents[2] / "workflow" / "scripts" / "gpu_lease.py"


@pytest.fixture
def start(tmp_path, monkeypatch):
    """start(program, gpus, devices): the lease around `python -c program`; `devices` are made by the first call."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    started = []

    def begin(program, gpus=1, devices=2, **environment):
        if not (tmp_path / "nvidia").exists():
            FakeNvidiaSmi(tmp_path / "nvidia", devices)
        path = f"{tmp_path / 'nvidia' / 'bin'}{os.pathsep}{os.environ['PATH']}"
        command = [sys.executable, str(LEASE), "--gpus", str(gpus), "--", sys.executable, "-c", program]
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env=os.environ | {"PATH": path} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


SAY = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'], os.environ.get('CUDA_DEVICE_ORDER'), flush=True)\n"
HOLD = SAY + "import time; time.sleep(600)\n"


def test_no_two_holders_share_a_device_and_all_get_their_turn(start, tmp_path):
    use = SAY + (
        "import time\n"
        "for device in os.environ['CUDA_VISIBLE_DEVICES'].split(','):\n"
        "    os.mkdir('using-' + device)\n"  # fails if somebody else does
        "time.sleep(0.25)\n"
        "for device in os.environ['CUDA_VISIBLE_DEVICES'].split(','):\n"
        "    os.rmdir('using-' + device)\n"
    )
    holders = [start(use, gpus=gpus, devices=3) for gpus in (1, 2, 1, 3, 1, 2, 1, 1)]
    results = [holder.communicate(timeout=60) for holder in holders]
    assert [holder.returncode for holder in holders] == [0] * 8, [error for _, error in results]
    counts = [len(out.split()[0].split(",")) for out, _ in results]
    assert counts == [1, 2, 1, 3, 1, 2, 1, 1]


def test_a_third_job_waits_with_a_message_until_a_holder_is_killed(start):
    holders = [start(HOLD), start(HOLD)]
    held = sorted(holder.stdout.readline() for holder in holders)
    assert held == ["0 PCI_BUS_ID\n", "1 PCI_BUS_ID\n"]
    third = start(SAY)
    assert third.stderr.readline() == "gpu_lease: waiting for 1 of 2 NVIDIA devices (0 free now)\n"
    time.sleep(0.5)
    assert third.poll() is None
    holders[0].send_signal(signal.SIGKILL)
    freed = third.communicate(timeout=20)[0]
    assert third.returncode == 0 and freed in held


def test_a_lease_lasts_as_long_as_a_child_that_got_it(start):
    """The command forks and ends; what it forked still has the device."""
    program = "import os, time\nif os.fork(): os._exit(0)\nprint('held', flush=True)\ntime.sleep(1)\n"
    out = start(program, devices=1).stdout
    assert out.readline() == "held\n"  # else the next one may be the first
    began = time.monotonic()
    waited = start(SAY, devices=1)
    waited.communicate(timeout=20)
    out.close()
    assert waited.returncode == 0 and 0.3 < time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("outside", "expected"),
    [("1", "1 None\n"), ("0,7,1", "0 None\n"), ("GPU-1", "GPU-1 None\n"), ("MIG-abc", "MIG-abc None\n")],
)
def test_cuda_visible_devices_from_outside_is_honoured(start, outside, expected):
    assert start(SAY, CUDA_VISIBLE_DEVICES=outside).communicate(timeout=20)[0] == expected


@pytest.mark.parametrize(
    ("gpus", "outside", "found"), [(3, None, "2"), (1, "", "0"), (1, "-1", "0"), (2, "0,7,1", "1")]
)
def test_more_than_there_is_is_refused_at_once(start, gpus, outside, found):
    environment = {} if outside is None else {"CUDA_VISIBLE_DEVICES": outside}
    process = start(SAY, gpus=gpus, **environment)
    error = process.communicate(timeout=20)[1]
    assert process.returncode == 1 and f"expected {gpus} NVIDIA devices; found {found}" in error


def test_jobs_may_share_devices_evenly_and_no_more_than_are_allowed(start):
    holders = [start(HOLD, BENCH4D_JOBS_PER_GPU="2") for _ in range(4)]
    held = sorted(holder.stdout.readline().split()[0] for holder in holders)
    assert held == ["0", "0", "1", "1"]
    fifth = start(SAY, BENCH4D_JOBS_PER_GPU="2")
    assert fifth.stderr.readline() == "gpu_lease: waiting for 1 of 2 NVIDIA devices (0 free now)\n"
    holders[0].kill()
    assert fifth.communicate(timeout=20)[0] and fifth.returncode == 0


def test_a_job_of_two_devices_gets_two_different_ones_where_they_are_shared(start):
    holders = [start(HOLD, gpus=2, BENCH4D_JOBS_PER_GPU="2") for _ in range(2)]
    assert [sorted(holder.stdout.readline().split()[0].split(",")) for holder in holders] == [["0", "1"]] * 2


@pytest.mark.parametrize("value", ["0", "-1", "two", ""])
def test_a_share_that_is_no_number_is_refused(start, value):
    process = start(SAY, BENCH4D_JOBS_PER_GPU=value)
    error = process.communicate(timeout=20)[1]
    assert process.returncode == 1 and f"expected BENCH4D_JOBS_PER_GPU to be a number above 0; found {value!r}" in error


def test_without_nvidia_smi_the_command_starts_as_it_is(tmp_path):
    command = [sys.executable, str(LEASE), "--", sys.executable, "-c", "import os; print(dict(os.environ))"]
    printed = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=True).stdout
    assert "CUDA" not in printed


def test_exit_status_and_a_missing_command(start, tmp_path):
    process = start("raise SystemExit(7)")
    process.communicate(timeout=20)
    assert process.returncode == 7
    command = [sys.executable, str(LEASE), "--gpus", "0", "--", "no-such-program"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 1 and run.stderr.startswith("gpu_lease: cannot start no-such-program: No such file")
