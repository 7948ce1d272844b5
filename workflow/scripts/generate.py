"""Run one method on a batch of clips, and record what it cost.

A plain program of the standard library for Python 3.8 or later: it runs in the method's own environment. It starts
`run.py --job FILE`, watches its process tree (memory, time limit) and the done-markers, and writes one record a clip.
When the program dies or hangs, the clip it was working on has failed; the remaining clips get a fresh process.
"""

import argparse
import contextlib
import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time

POLL_SECONDS = 0.02
GPU_POLL_SECONDS = 1.0
LOG_TAIL_BYTES = 4000


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, type=json.loads, help="JSON: method, clips, seed, parameters, ...")
    parser.add_argument("--program", required=True, help="the method's run.py")
    parser.add_argument("--clips", required=True, help="folder of the clips")
    parser.add_argument("--truth", help="folder of the truth; given for reference methods only")
    parser.add_argument("--out", required=True, help="folder that gets <clip>/asset and <clip>/generate.json")
    parser.add_argument("--minutes-per-clip", required=True, type=float, help="limit before a clip counts as hanging")
    parser.add_argument("--log", required=True)
    options = parser.parse_args()
    waiting = make_job(options)["clips"]
    open(options.log, "w").close()
    while waiting:
        job = dict(make_job(options), clips=waiting)
        outcomes = run_once(job, options)
        for clip, outcome in zip(waiting, outcomes):
            write_record(os.path.join(options.out, clip["id"], "generate.json"), job, clip, outcome)
        waiting = waiting[len(outcomes) :]


def make_job(options):
    """The job file's content. Reference methods alone learn where the truth is."""
    spec = dict(options.spec, version=1)
    clips, seed = spec.pop("clips"), spec.pop("seed")
    count, fps = spec.pop("n_frames"), spec.pop("fps")
    spec["times"] = {clip: [k / fps for k in range(count)] for clip in clips}
    spec["clips"] = []
    for clip in clips:
        entry = {"id": clip, "seed": seed}
        entry["clip"] = os.path.abspath(os.path.join(options.clips, clip))
        entry["out"] = os.path.abspath(os.path.join(options.out, clip, "asset"))
        if options.truth:
            entry["truth"] = os.path.abspath(os.path.join(options.truth, clip))
        spec["clips"].append(entry)
    return spec


def run_once(job, options):
    """One process over the clips of `job`. Returns an outcome for each clip up to and including the first failure."""
    for clip in job["clips"]:
        shutil.rmtree(clip["out"], ignore_errors=True)
        os.makedirs(clip["out"])
    path = options.log + ".job.json"
    with open(path, "w", encoding="utf-8") as file:
        json.dump(job, file, indent=1)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    command = [sys.executable, os.path.abspath(options.program), "--job", os.path.abspath(path)]
    with open(options.log, "ab") as log:
        log.write(("$ " + " ".join(command) + "\n").encode())
        log.flush()
        began = log.tell()
        process = subprocess.Popen(
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment, start_new_session=True
        )
    try:
        outcomes, reason = watch(process, [clip["out"] for clip in job["clips"]], options.minutes_per_clip * 60)
    finally:
        end_group(process)
    if len(outcomes) < len(job["clips"]):
        with open(options.log, "rb") as log:
            log.seek(max(began, os.path.getsize(options.log) - LOG_TAIL_BYTES))
            tail = log.read().decode("utf-8", "replace")
        usage = {"seconds": None, "peak_rss_bytes": None, "peak_gpu_bytes": None}
        outcomes.append(dict(usage, status="failed", reason=reason, log_tail=tail))
    return outcomes


def watch(process, folders, limit):
    """Poll until the program ends, all markers stand, or one clip takes longer than `limit` seconds."""
    outcomes, started = [], time.time()
    rss, last_rss, gpu, gpu_checked = 0, 0, None, 0.0
    while True:
        ended = process.poll() is not None
        tree = process_tree(process.pid)
        last_rss = sum(tree.values()) or last_rss
        rss = max(rss, last_rss)
        if time.time() - gpu_checked > GPU_POLL_SECONDS and shutil.which("nvidia-smi"):
            used, gpu_checked = gpu_bytes(tree), time.time()
            gpu = used if gpu is None else max(gpu, used)
        while len(outcomes) < len(folders) and os.path.exists(os.path.join(folders[len(outcomes)], "DONE")):
            finished = os.stat(os.path.join(folders[len(outcomes)], "DONE")).st_mtime
            usage = {"seconds": max(finished - started, 0.0), "peak_rss_bytes": rss, "peak_gpu_bytes": gpu}
            outcomes.append(dict(usage, status="ok", reason="", log_tail=""))
            started, rss, gpu = finished, last_rss, (None if gpu is None else 0)
        if ended:
            if process.returncode == 0:
                return outcomes, "run.py ended without the marker DONE in the clip's folder"
            return outcomes, "run.py ended with " + describe(process.returncode)
        if len(outcomes) < len(folders) and time.time() - started > limit:
            return outcomes, "no result within the limit of %g minutes a clip" % (limit / 60)
        time.sleep(POLL_SECONDS)


def describe(code):
    return "signal " + signal.Signals(-code).name if code < 0 else "exit status %d" % code


def end_group(process):
    """End the program and everything it started in its session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def process_tree(root):
    """{pid: resident bytes} of `root` and its descendants."""
    table = processes()
    children = {}
    for pid, (parent, _) in table.items():
        children.setdefault(parent, []).append(pid)
    tree, queue = {}, [root]
    while queue:
        pid = queue.pop()
        tree[pid] = table.get(pid, (0, 0))[1]
        queue += children.get(pid, [])
    return tree


def processes():
    """{pid: (parent, resident bytes)} of all processes: from /proc, or from ps where there is none (macOS)."""
    table = {}
    if not os.path.isdir("/proc/self"):
        query = ["ps", "-A", "-o", "pid=,ppid=,rss="]
        for line in subprocess.run(query, stdout=subprocess.PIPE, universal_newlines=True).stdout.splitlines():
            pid, parent, kibibytes = map(int, line.split())
            table[pid] = parent, kibibytes * 1024
        return table
    page = os.sysconf("SC_PAGE_SIZE")
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, ValueError, IndexError):  # it may end while we look
            with open("/proc/%s/stat" % name) as file:
                fields = file.read().rpartition(")")[2].split()
            table[int(name)] = int(fields[1]), int(fields[21]) * page
    return table


def gpu_bytes(tree):
    """Bytes that these processes hold on NVIDIA devices, as nvidia-smi reports them."""
    query = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
    listing = subprocess.run(query, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, universal_newlines=True).stdout
    total = 0
    for line in listing.splitlines():
        pid, _, mebibytes = line.partition(",")
        if pid.strip().isdigit() and int(pid) in tree and mebibytes.strip().isdigit():
            total += int(mebibytes) * 2**20
    return total


def device_name():
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        names = subprocess.run(query, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, universal_newlines=True).stdout
        if names.strip():
            return ", ".join(names.split("\n")[:-1])
    return "cpu (%s, %d cores)" % (platform.machine(), os.cpu_count() or 1)


def write_record(path, job, clip, outcome):
    record = dict(
        outcome,
        version=1,
        method=job["method"],
        clip=clip["id"],
        seed=clip["seed"],
        job_sha256=hashlib.sha256(json.dumps(job["parameters"], sort_keys=True).encode()).hexdigest(),
        python=platform.python_version(),
        device=device_name(),
    )
    with open(path, "w", encoding="utf-8") as file:
        json.dump(record, file, indent=1, sort_keys=True)
        file.write("\n")


if __name__ == "__main__":
    main()
