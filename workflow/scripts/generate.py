"""Run one method on a batch of clips, contain what it does, and record what it cost.

A plain program of the standard library for Python 3.8 or later: it runs in the method's own environment. It starts
`run.py --job FILE`, watches its process tree, its folders and the done-markers, and writes one record a clip. When the
program dies, hangs or takes more than it may, the clip it was working on has failed; the remaining clips get a fresh
process. docs/containment.md says what is watched and what cannot be.
"""

import argparse
import contextlib
import glob
import hashlib
import json
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
import time

import contain
import gpu_lease
from gpu_meter import GpuMeter

LOG_TAIL_BYTES = 4000
LOG_KEPT_BYTES = 2**20  # of a log that grew beyond its limit
DISK_POLL_SECONDS = 0.2
FAILED = {
    "status": "failed",
    "seconds": None,
    "peak_rss_bytes": None,
    "peak_gpu_bytes": None,
    "gpu_memory_from": None,
    "left_behind": [],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, type=json.loads, help="JSON: method, clips, seed, parameters, ...")
    parser.add_argument("--program", required=True, help="the method's run.py")
    parser.add_argument("--clips", required=True, help="folder of the clips")
    parser.add_argument("--truth", help="folder of the truth; given for reference methods only")
    parser.add_argument("--out", required=True, help="folder that gets <clip>/asset and <clip>/generate.json")
    parser.add_argument("--log", required=True)
    parser.add_argument("--weights", help="JSON of method_weights.py; given for methods with weights only")
    parser.add_argument("--gpus", type=int, default=0, help="devices to lease for the method")
    for name, text in (
        ("seconds", "before a clip counts as hanging"),
        ("ram-mb", "memory of all processes of the method (10^6 bytes)"),
        ("disk-mb", "of a clip: its out folder and the method's TMPDIR (10^6 bytes)"),
        ("files", "of a clip, likewise"),
        ("log-mb", "log of one process (10^6 bytes)"),
    ):
        parser.add_argument("--" + name, required=True, type=float, help="limit: " + text)
    options = parser.parse_args()
    sys.exit(contain.keep(lambda go_on: generate(options, go_on)))


def generate(options, go_on):
    """All clips of the batch, in as many processes of the method as it takes."""
    limits = contain.Limits(options.seconds, options.ram_mb, options.disk_mb, options.files, options.log_mb)
    waiting, lease, refused = make_job(options)["clips"], None, missing_weights(options)
    open(options.log, "w").close()
    try:
        lease = None if refused else gpu_lease.acquire(options.gpus, go_on=go_on)
    except gpu_lease.LeaseError as error:
        refused = str(error)
    device = ", ".join(d.name for d in lease.devices) if lease else device_name()
    while waiting:
        job = dict(make_job(options), clips=waiting)
        if refused:
            empty_folders(job)
            outcomes = [dict(FAILED, reason=refused, log_tail="") for _ in waiting]
        else:
            outcomes = run_once(job, options, limits, lease, go_on)
        for clip, outcome in zip(waiting, outcomes):
            write_record(os.path.join(options.out, clip["id"], "generate.json"), job, clip, outcome, device)
        waiting = waiting[len(outcomes) :]


def make_job(options):
    """The job file's content. Reference methods alone learn where the truth is."""
    spec = dict(options.spec, version=1)
    clips, seed = spec.pop("clips"), spec.pop("seed")
    count, fps = spec.pop("n_frames"), spec.pop("fps")
    spec["times"] = {clip: [k / fps for k in range(count)] for clip in clips}
    if options.weights:
        spec["weights"] = {name: entry.get("path") for name, entry in read_weights(options).items()}
    spec["clips"] = []
    for clip in clips:
        entry = {"id": clip, "seed": seed}
        entry["clip"] = os.path.abspath(os.path.join(options.clips, clip))
        entry["out"] = os.path.abspath(os.path.join(options.out, clip, "asset"))
        if options.truth:
            entry["truth"] = os.path.abspath(os.path.join(options.truth, clip))
        spec["clips"].append(entry)
    return spec


def read_weights(options):
    """Name -> {"path"}, or {"reason"} for a file that is missing."""
    with open(options.weights, encoding="utf-8") as file:
        return json.load(file)["files"]


def missing_weights(options):
    """Why the method cannot run for want of a file; empty if it can."""
    entries = read_weights(options).values() if options.weights else ()
    return "; ".join(entry["reason"] for entry in entries if "reason" in entry)


def run_once(job, options, limits, lease, go_on):
    """One process over the clips of `job`. Returns an outcome for each clip up to and including the first failure."""
    empty_folders(job)
    path = options.log + ".job.json"
    with open(path, "w", encoding="utf-8") as file:
        json.dump(job, file, indent=1)
    command = [sys.executable, os.path.abspath(options.program), "--job", os.path.abspath(path)]
    meter = GpuMeter([device.uuid for device in lease.devices] if lease else [])
    with open(options.log, "a+b") as log:
        log.write(("$ " + " ".join(command) + "\n").encode())
        log.flush()
        began = log.tell()
        with private_folder(options.log) as scratch:
            process = contain.start(command, log, environment(scratch, lease))
            watched = Watch(process, [clip["out"] for clip in job["clips"]], scratch, (log, began), limits, meter)
            grace, left = 0, []
            try:
                reason, grace = watched.run(go_on)
            finally:
                left = contain.end(process, grace, meter.pids)
                meter.stop()
        shorten(log, began, limits.log)
        said = tail(log, began)
    outcomes = watched.outcomes
    if len(outcomes) < len(job["clips"]):
        outcomes.append(dict(FAILED, reason=reason, log_tail=said))
    elif not watched.ended_well:
        left = [*left, reason]  # all clips were done, but the program did not end well
    outcomes[-1]["left_behind"] = left
    for clip, outcome in zip(job["clips"], outcomes):
        settle(clip["out"], outcome, limits)
    for clip in job["clips"]:
        os.makedirs(clip["out"], exist_ok=True)  # an output of the rule, whatever the method did to it
    return outcomes


def environment(scratch, lease):
    """Ours, without what would change the method's Python; with its own TMPDIR and its own devices."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    inherited.update(dict.fromkeys(("TMPDIR", "TMP", "TEMP", "TEMPDIR"), scratch))
    return dict(inherited, **(lease.environment if lease else {}))


@contextlib.contextmanager
def private_folder(log):
    """A folder for temporary files that is gone afterwards, and with it what a killed run of the same job left."""
    mine = "bench4d-%s-" % hashlib.sha256(os.path.abspath(log).encode()).hexdigest()[:16]
    for old in glob.glob(os.path.join(glob.escape(tempfile.gettempdir()), mine + "*")):
        remove(old)
    folder = tempfile.mkdtemp(prefix=mine)
    try:
        yield folder
    finally:
        remove(folder)


def empty_folders(job):
    for clip in job["clips"]:
        remove(clip["out"])
        os.makedirs(clip["out"])


def remove(path):
    """A file, a link or a folder with all that is in it, also where the method took away its own rights."""
    if os.path.islink(path) or os.path.isfile(path):
        os.remove(path)
        return
    with contextlib.suppress(OSError):
        os.chmod(path, stat.S_IRWXU)
        for base, folders, _ in os.walk(path):
            for folder in folders:
                if not os.path.islink(os.path.join(base, folder)):
                    os.chmod(os.path.join(base, folder), stat.S_IRWXU)
    shutil.rmtree(path, ignore_errors=True)


class Watch:
    """Polls until the program ends, all markers stand and it had time to end, or a limit is passed."""

    def __init__(self, process, folders, scratch, log, limits, meter):
        """`log`: the open file, and where in it the program began to write."""
        self.process, self.folders, self.scratch = process, folders, scratch
        (self.log, self.log_began), self.limits, self.meter = log, limits, meter
        self.outcomes = []  # of the clips that are done
        self.started, self.rss, self.last_rss = time.time(), 0, 0
        self.next_disk_check, self.ended_well = 0.0, False
        self.hanging = "no result within the limit of %g minutes a clip" % (limits.seconds / 60)

    def run(self, go_on):
        """(why the clip after the last outcome failed, seconds that the tree gets to end by itself)."""
        while True:
            began = time.time()
            ended = self.process.poll() is not None
            members = contain.tree(self.process, self.meter.pids)
            cost = time.time() - began
            self.last_rss = sum(entry.rss for entry in members.values()) or self.last_rss
            self.rss = max(self.rss, self.last_rss)
            self.meter.poll(members)
            self.take_markers(members)
            if ended:
                code = self.process.returncode
                self.ended_well = code == 0
                how = "with " + describe(code) if code else "without the marker DONE in the clip's folder"
                return "run.py ended " + how, contain.GRACE_SECONDS
            reason = self.passed_limit(members)
            if reason:
                return reason, 0
            if time.time() - self.started > self.limits.seconds:
                return self.hanging, contain.GRACE_SECONDS
            if not go_on():
                sys.exit(1)
            time.sleep(max(contain.POLL_SECONDS, 9 * cost))  # a tenth of a core at most

    def take_markers(self, members):
        while len(self.outcomes) < len(self.folders):
            marker = os.path.join(self.folders[len(self.outcomes)], "DONE")
            if not os.path.lexists(marker):
                return
            finished = min(os.lstat(marker).st_mtime, time.time())
            peak, source = self.meter.take(members)
            self.outcomes.append(
                {
                    "status": "ok",
                    "reason": "",
                    "log_tail": "",
                    "seconds": max(finished - self.started, 0.0),
                    "peak_rss_bytes": self.rss,
                    "peak_gpu_bytes": peak,
                    "gpu_memory_from": source,
                    "left_behind": [],
                }
            )
            self.started, self.rss = max(finished, self.started), self.last_rss

    def passed_limit(self, members):
        """What the clip at work takes more of than it may; empty if nothing."""
        if contain.over_memory(members, self.limits.ram):
            return "more memory than the limit of %g GB (ram_gb)" % (self.limits.ram / 1e9)
        if len(members) > contain.MAX_PROCESSES:
            return "more processes than the limit of %d" % contain.MAX_PROCESSES
        if os.fstat(self.log.fileno()).st_size - self.log_began > self.limits.log:
            return "more log than the limit of %g MB (log_mb)" % (self.limits.log / 1e6)
        if time.time() < self.next_disk_check:
            return ""
        began = time.time()
        at_work = self.folders[len(self.outcomes) :][:1]
        used, entries = contain.footprint([*at_work, self.scratch], self.limits.files)
        self.next_disk_check = time.time() + max(DISK_POLL_SECONDS, 20 * (time.time() - began))
        return too_much(used, entries, self.limits)


def describe(code):
    return "signal " + contain.signal.Signals(-code).name if code < 0 else "exit status %d" % code


def settle(folder, outcome, limits):
    """A failed clip leaves an empty folder; a finished one must hold files only, its own, and not too much."""
    if outcome["status"] == "ok":
        used, entries = contain.footprint([folder], limits.files)
        outcome["reason"] = contain.unsafe(folder) or too_much(used, entries, limits)
        if outcome["reason"]:
            outcome["status"] = "failed"
    if outcome["status"] == "failed":
        remove(folder)


def too_much(used, entries, limits):
    """Which limit a clip's folders pass; empty if none."""
    if used > limits.disk:
        return "more on disk than the limit of %g GB a clip (disk_gb_per_clip)" % (limits.disk / 1e9)
    if entries > limits.files:
        return "more files than the limit of %d a clip (files_per_clip)" % limits.files
    return ""


def shorten(log, began, limit):
    """Keep the end of a log that passed its limit."""
    size = log.seek(0, os.SEEK_END)
    kept = int(min(LOG_KEPT_BYTES, limit))
    if size - began <= max(limit, kept):
        return
    log.seek(size - kept)
    end = log.read()
    log.truncate(began)
    log.write(b"[%d bytes left out]\n" % (size - began - kept) + end)
    log.flush()


def tail(log, began):
    log.seek(max(began, log.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
    return log.read().decode("utf-8", "replace")


def device_name():
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        names = subprocess.run(query, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, universal_newlines=True).stdout
        if names.strip():
            return ", ".join(names.split("\n")[:-1])
    return "cpu (%s, %d cores)" % (platform.machine(), os.cpu_count() or 1)


def write_record(path, job, clip, outcome, device):
    """Whole or not at all."""
    record = dict(
        outcome,
        version=1,
        method=job["method"],
        clip=clip["id"],
        seed=clip["seed"],
        job_sha256=hashlib.sha256(json.dumps(job["parameters"], sort_keys=True).encode()).hexdigest(),
        python=platform.python_version(),
        device=device,
    )
    with open(path + ".part", "w", encoding="utf-8") as file:
        json.dump(record, file, indent=1, sort_keys=True)
        file.write("\n")
    os.replace(path + ".part", path)


if __name__ == "__main__":
    main()
