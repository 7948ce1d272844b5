"""One folder, one living run: what a killed run left behind is cleared, and nothing of a living one is touched.

Snakemake locks a folder by files in `.snakemake/locks`, which stay when it is killed. Here every run also holds a
shared flock on `.snakemake/bench4d.lock`, which ends with its process. A run that gets that lock alone knows that
nobody else lives, and removes stale files. Jobs carry a mark in their environment; those whose run is gone are ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import time
from pathlib import Path

MARK = "BENCH4D_RUN"  # "<host> <process namespace> <pid of the run> <its start> <folder>"
END_SECONDS = 10.0


class RunLock:
    """Held until the process ends. Where the file system has no flock, Snakemake's own lock is all there is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        os.environ[MARK] = f"{_here()} {os.getpid()} {_started(os.getpid())} {self.folder}"
        path = self.folder / ".snakemake" / "bench4d.lock"
        path.parent.mkdir(exist_ok=True)
        self.file = path.open("a+")
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(self.file, fcntl.LOCK_SH)  # another run lives: Snakemake decides whether both may
            return
        except OSError:
            return
        self._clear()
        fcntl.flock(self.file, fcntl.LOCK_SH)

    def _clear(self) -> None:
        """Remove the lock files of killed runs; of this machine only, since not every flock reaches across machines."""
        stale = list((self.folder / ".snakemake" / "locks").glob("*.lock"))
        self.file.seek(0)
        if stale and self.file.read() not in ("", socket.gethostname()):
            return
        for path in stale:
            path.unlink(missing_ok=True)
        self.file.truncate(0)
        self.file.write(socket.gethostname())
        self.file.flush()

    def end_leftovers(self) -> list[int]:
        """End the jobs of runs in this folder that are gone, and wait for that. Returns their pids (Linux only)."""
        found = _leftovers(self.folder)
        deadline = time.monotonic() + END_SECONDS
        while (living := _leftovers(self.folder)) and time.monotonic() < deadline:
            for pid in living:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        return found


def _here() -> str:
    """This host and the numbering of its processes: a mark from elsewhere says nothing here."""
    space = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()} {space.readlink() if space.is_symlink() else '-'}"


def _started(pid: int) -> str:
    """When the process began, in the kernel's ticks; empty if it is gone. With the pid it names a process for good."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _leftovers(folder: Path) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            variables = (path / "environ").read_bytes().split(b"\0")
        except OSError:  # another user's, or gone
            continue
        mark = next((v.decode(errors="replace") for v in variables if v.startswith(MARK.encode() + b"=")), "")
        host, space, run, started, where = [*mark.partition("=")[2].split(" ", 4), "", "", "", "", ""][:5]
        ours = f"{host} {space}" == _here() and where == str(folder)
        if ours and _started(int(run)) != started and _started(int(path.name)) and path.name != str(os.getpid()):
            found.append(int(path.name))
    return found
