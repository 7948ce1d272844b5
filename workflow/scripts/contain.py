"""Start a program, measure everything it starts, and end all of it. Standard library, Python 3.8 or later.

On Linux nothing gets away: this process adopts orphans (PR_SET_CHILD_SUBREAPER), so a child that forks twice and leaves
its session is still found among our descendants. Elsewhere such a child escapes; its process group is ended.
"""

import contextlib
import ctypes
import os
import signal
import stat
import subprocess
import sys
import time

LINUX = sys.platform.startswith("linux")
LIBC = ctypes.CDLL(None) if LINUX else None
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
POLL_SECONDS = 0.02
GRACE_SECONDS = 2.0  # between SIGTERM and SIGKILL
END_SECONDS = 30.0  # a process in the kernel (a dead network file system) cannot be ended at all
MAX_PROCESSES = 2000


class Limits:
    """What one clip may use. The process tree is ended at the first that is passed."""

    def __init__(self, seconds, ram_mb, disk_mb, files, log_mb):
        self.seconds, self.files = seconds, files
        self.ram, self.disk, self.log = ram_mb * 10**6, disk_mb * 10**6, log_mb * 10**6


class Process:
    def __init__(self, parent, state, rss):
        self.parent, self.state, self.rss = parent, state, rss


def prctl(option, value):
    """Whether the kernel did it; False elsewhere than on Linux."""
    return LIBC is not None and LIBC.prctl(option, value, 0, 0, 0) == 0


def keep(work):
    """Call `work(go_on)` in a child, the keeper, that outlives a SIGKILL of our process group. Returns its exit status.

    The keeper stands in a session of its own. When we get a signal or are gone, `go_on()` becomes False; `work` then
    has to clean up and end. So whatever kills the workflow, somebody is left to end the method's processes.
    """
    parent, stopped = os.getpid(), []
    keeper = os.fork()
    if keeper:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: os.kill(keeper, signal.SIGTERM))
        status = os.waitpid(keeper, 0)[1]
        return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        work(lambda: not stopped and os.getppid() == parent)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def start(command, log, environment):
    """The program in a session of its own, without our stdin; on Linux it dies with us even if we are killed."""
    us = os.getpid()

    def in_child():
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != us:
            os._exit(1)

    process = subprocess.Popen(
        command,
        stdout=log,
        stderr=log,
        stdin=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
        preexec_fn=in_child if LINUX else None,
    )
    with contextlib.suppress(OSError), open("/proc/%d/oom_score_adj" % process.pid, "w") as file:
        file.write("500")  # where memory runs out, the kernel is to end the method before anything else
    return process


def tree(process, ours=()):
    """{pid: Process} of the living that `process` (a Popen) started, itself included. Collects dead orphans.

    `ours`: pids of our own helpers, left out.
    """
    table, children, found = processes(), {}, {}
    for pid, entry in table.items():
        children.setdefault(entry.parent, []).append(pid)
    queue = [pid for pid in children.get(os.getpid(), []) if pid not in ours] if LINUX else [process.pid]
    while queue:
        pid = queue.pop()
        entry = table.get(pid)
        if entry is None:
            continue
        queue += children.get(pid, [])
        if entry.state != "Z":
            found[pid] = entry
        elif entry.parent == os.getpid() and pid != process.pid:  # Popen itself collects the program
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
    return found


def processes():
    """{pid: Process} of all processes: from /proc, or from ps where there is none (macOS). rss in bytes."""
    table = {}
    if not os.path.isdir("/proc/self"):
        query = ["ps", "-A", "-o", "pid=,ppid=,state=,rss="]
        for line in subprocess.run(query, stdout=subprocess.PIPE, universal_newlines=True).stdout.splitlines():
            pid, parent, state, kibibytes = line.split()
            table[int(pid)] = Process(int(parent), state[:1], int(kibibytes) * 1024)
        return table
    page = os.sysconf("SC_PAGE_SIZE")
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, ValueError, IndexError):  # it may end while we look
            with open("/proc/%s/stat" % name) as file:
                fields = file.read().rpartition(")")[2].split()
            table[int(name)] = Process(int(fields[1]), fields[0], int(fields[21]) * page)
    return table


def proportional_bytes(pids):
    """Memory in which pages that several processes share count once (Linux; 0 where the kernel does not tell)."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/%d/smaps_rollup" % pid) as file:
            total += sum(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))
    return total


def over_memory(members, limit):
    """Shared pages count once: the many workers of one data loader share their libraries."""
    rss = sum(entry.rss for entry in members.values())
    return rss > limit and (proportional_bytes(members) or rss) > limit


def footprint(folders, max_files):
    """(bytes, entries) below the folders, links not followed; stops counting beyond `max_files`."""
    total, entries, queue = 0, 0, list(folders)
    while queue and entries <= max_files:
        with contextlib.suppress(OSError), os.scandir(queue.pop()) as listing:  # it may vanish while we look
            for entry in listing:
                entries += 1
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        queue.append(entry.path)
                    else:
                        found = entry.stat(follow_symlinks=False)
                        total += max(found.st_size, found.st_blocks * 512)  # sparse files count in full
                if entries > max_files:
                    break
    return total, entries


def end(process, grace, ours=()):
    """End the whole tree: SIGTERM, after `grace` seconds SIGKILL. Returns the commands of what outlived the program.

    What is left of a program that has ended by itself gets half a second to leave by itself.
    """
    left = []
    if process.poll() is not None:
        wait(process, 0.5, ours)
        left = sorted(command_line(pid) for pid in tree(process, ours))
    if grace:
        send(process, signal.SIGTERM, tree(process, ours))
        wait(process, grace, ours)
    deadline = time.time() + END_SECONDS
    send(process, signal.SIGKILL, tree(process, ours))
    while tree(process, ours) and time.time() < deadline:
        send(process, signal.SIGKILL, tree(process, ours))
        time.sleep(POLL_SECONDS)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1)
    return left


def wait(process, seconds, ours):
    deadline = time.time() + seconds
    while tree(process, ours) and time.time() < deadline:
        process.poll()
        time.sleep(POLL_SECONDS)


def send(process, number, members):
    for pid in members:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    if not LINUX:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)


def command_line(pid):
    with contextlib.suppress(OSError), open("/proc/%d/cmdline" % pid, "rb") as file:
        return file.read(4096).replace(b"\0", b" ").decode("utf-8", "replace").strip() or "(no command line)"
    return "process %d" % pid


def unsafe(folder):
    """Why the folder must not be read: a link out of it, or something that is no file; empty if all is well."""
    root = os.path.realpath(folder)
    if os.path.islink(folder) or not os.path.isdir(folder):
        return "expected the clip's out folder as it was made; found something else in its place"
    for base, folders, files in os.walk(folder):
        for name in folders + files:
            path = os.path.join(base, name)
            shown, mode = os.path.relpath(path, folder), os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                target = os.path.realpath(path)
                if os.path.commonpath([root, target]) != root:
                    return "expected files in the clip's out folder; found %s, a link to %s" % (shown, target)
            elif not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                return "expected files in the clip's out folder; found %s, a pipe, socket or device" % shown
            elif not os.access(path, os.R_OK):
                return "expected readable files in the clip's out folder; found %s, which is not" % shown
    return ""
