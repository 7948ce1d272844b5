"""GPU memory of a process tree, by nvidia-smi. Standard library, Python 3.8 or later."""

import shutil
import subprocess
import time

POLL_SECONDS = 1.0
ANSWER_SECONDS = 30.0
APPS = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
DEVICES = ["nvidia-smi", "--query-gpu=uuid,memory.used", "--format=csv,noheader,nounits"]


class GpuMeter:
    """The peak of what the tree holds, asked for once a second without waiting for the answers.

    Two sources. "processes": what nvidia-smi says our processes use. "devices": what the leased devices use beyond what
    they used before the program began; for containers, where nvidia-smi lists no processes or those of another
    numbering. The first counts as soon as it has ever found one of ours.
    """

    def __init__(self, leased):
        """`leased`: uuids of the devices that are ours alone; without any, only the processes are counted."""
        self.present, self.leased = shutil.which("nvidia-smi") is not None, leased
        self.asked, self.waiting = 0.0, []
        self.last, self.peaks = {}, {}
        self.before = {}
        if self.present and leased:
            self.before = dict(table(finish(ask(DEVICES))))

    def poll(self, pids):
        """Take in answers that have come, and ask anew when it is time. `pids`: our processes."""
        if not self.present:
            return
        if self.waiting and all(query.poll() is not None for query in self.waiting):
            self.take_in(pids)
        if not self.waiting and time.time() - self.asked >= POLL_SECONDS:
            self.asked = time.time()
            self.waiting = [ask(APPS)] + ([ask(DEVICES)] if self.leased else [])

    def take_in(self, pids):
        answers, self.waiting = [table(finish(query)) for query in self.waiting], []
        mine = [used for pid, used in answers[0] if pid.isdigit() and int(pid) in pids]
        if mine or not self.leased:
            self.last["processes"] = sum(mine)
        if self.leased:
            grown = [used - self.before.get(uuid, 0) for uuid, used in answers[1] if uuid in self.leased]
            self.last["devices"] = max(sum(grown), 0)
        for source, used in self.last.items():
            self.peaks[source] = max(self.peaks.get(source, 0), used)

    def take(self, pids):
        """(peak in bytes, its source) since the last call; (None, None) if nothing could be measured."""
        if self.waiting and not self.peaks:
            self.take_in(pids)
        source = "processes" if "processes" in self.peaks else "devices"
        peak = self.peaks.get(source)
        self.peaks = dict(self.last)
        return peak, (None if peak is None else source)

    @property
    def pids(self):
        """Our own helpers."""
        return [query.pid for query in self.waiting]

    def stop(self):
        for query in self.waiting:
            query.kill()
            query.communicate()
        self.waiting = []


def ask(query):
    return subprocess.Popen(
        query, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, universal_newlines=True
    )


def finish(query):
    """What it printed; nothing if it does not answer."""
    try:
        return query.communicate(timeout=ANSWER_SECONDS)[0]
    except subprocess.TimeoutExpired:
        query.kill()
        query.communicate()
        return ""


def table(listing):
    """[(key, bytes)] of lines "key, MiB"."""
    rows = [[part.strip() for part in line.split(",")] for line in listing.splitlines()]
    return [(row[0], int(row[1]) * 2**20) for row in rows if len(row) == 2 and row[1].isdigit()]
