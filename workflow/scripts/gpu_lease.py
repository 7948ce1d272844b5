"""Lease NVIDIA devices: each job gets its own, and waits while there is none. Standard library, Python 3.8 or later.

    python workflow/scripts/gpu_lease.py --gpus 1 -- python train.py

A lease is a lock (flock) on one file per device in a folder of the user's. It belongs to a process, so it ends with it,
however it ends. Devices that CUDA_VISIBLE_DEVICES hides are never leased; the job's own CUDA_VISIBLE_DEVICES is set to
its lease. Without nvidia-smi there is no lease, and the job starts as it is. Jobs of other users, and jobs that take no
lease, are not seen. BENCH4D_JOBS_PER_GPU=4 lets four jobs share each device, for small networks; all runs on a machine
should then say the same number.
"""

import argparse
import fcntl
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

POLL_SECONDS = 0.2
QUERY_SECONDS = 60


class LeaseError(Exception):
    """The devices asked for do not exist here."""


class Device:
    """One NVIDIA device: uuid, product name, and the token that CUDA_VISIBLE_DEVICES names it by."""

    def __init__(self, token, uuid, name):
        self.token, self.uuid, self.name = token, uuid, name


class Lease:
    """Locked devices. It holds until `release` or until the process ends."""

    def __init__(self, devices, files, in_pci_order):
        self.devices, self.files, self.in_pci_order = devices, files, in_pci_order

    @property
    def environment(self):
        """What the job must be started with."""
        chosen = {"CUDA_VISIBLE_DEVICES": ",".join(device.token for device in self.devices)}
        if self.in_pci_order:
            chosen["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
        return chosen

    def hand_on(self):
        """Let programs that this process becomes or starts hold the lease as well."""
        for file in self.files:
            os.set_inheritable(file.fileno(), True)

    def release(self):
        for file in self.files:
            file.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, default=1, help="devices that the command needs (default 1)")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- and the command")
    options = parser.parse_args()
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        parser.error("no command; put it after --")
    try:
        lease = acquire(options.gpus)
    except LeaseError as error:
        sys.exit("gpu_lease: " + str(error))
    if lease:
        lease.hand_on()
        os.environ.update(lease.environment)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit("gpu_lease: cannot start %s: %s" % (command[0], error.strerror))


def acquire(count, folder=None, go_on=lambda: True):
    """A lease of `count` devices; waits until they are free. None if count is 0 or there is no nvidia-smi.

    All or nothing: a job that waits holds no device. Raises LeaseError if there will never be enough, SystemExit once
    `go_on()` is False.
    """
    if count < 1 or shutil.which("nvidia-smi") is None:
        return None
    folder, told, places = folder or lease_folder(), False, jobs_per_device()
    outside = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = visible(listing(), outside)
    if len(devices) < count:
        limited = "" if outside is None else " with CUDA_VISIBLE_DEVICES=%s" % outside
        raise LeaseError("expected %d NVIDIA devices; found %d%s" % (count, len(devices), limited))
    while True:
        taken, files = [], []
        for place in range(places):
            for device in devices:
                if len(taken) < count and device not in taken and (file := lock(lock_path(folder, device, place))):
                    taken.append(device)
                    files.append(file)
        if len(taken) == count:
            return Lease(taken, files, outside is None)
        for file in files:
            file.close()
        if not told:
            numbers = count, len(devices), len(taken)
            sys.stderr.write("gpu_lease: waiting for %d of %d NVIDIA devices (%d free now)\n" % numbers)
            sys.stderr.flush()
            told = True
        if not go_on():
            sys.exit(1)
        time.sleep(POLL_SECONDS * (0.5 + random.random()))  # uneven, so that two who wait do not collide for ever


def jobs_per_device():
    """BENCH4D_JOBS_PER_GPU, 1 if it is unset. Raises LeaseError if it is no number above 0."""
    value = os.environ.get("BENCH4D_JOBS_PER_GPU", "1")
    if not value.isdigit() or int(value) < 1:
        raise LeaseError("expected BENCH4D_JOBS_PER_GPU to be a number above 0; found %r" % value)
    return int(value)


def lock_path(folder, device, place):
    """The file that stands for one of a device's places; the first is the only one where devices are not shared."""
    name = device.uuid.replace("/", "_")
    return os.path.join(folder, "%s.%d" % (name, place) if place else name)


def lock(path):
    """The open and locked file, or None if another process holds it."""
    file = open(path, "a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


def lease_folder():
    """The same for all processes of a user on a machine, whatever their TMPDIR is; not writable by others."""
    base = "/tmp" if os.access("/tmp", os.W_OK) else tempfile.gettempdir()
    folder = os.path.join(base, "bench4d-gpus-%d" % os.getuid())
    os.makedirs(folder, mode=0o700, exist_ok=True)
    if os.path.islink(folder) or os.stat(folder).st_uid != os.getuid():
        raise LeaseError("expected %s to be a folder of yours; found one of somebody else. Remove it" % folder)
    return folder


def listing():
    """[Device] as nvidia-smi lists them; a token is the index."""
    query = ["nvidia-smi", "--query-gpu=index,uuid,name", "--format=csv,noheader"]
    try:
        run = subprocess.run(
            query, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, universal_newlines=True, timeout=QUERY_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise LeaseError("nvidia-smi did not answer within %d seconds" % QUERY_SECONDS)
    rows = [[part.strip() for part in line.split(",", 2)] for line in run.stdout.splitlines()]
    return [Device(*row) for row in rows if len(row) == 3 and row[0].isdigit()]


def visible(devices, outside):
    """Those that CUDA_VISIBLE_DEVICES (`outside`; None if unset) leaves, in its order and by its tokens.

    As CUDA reads it: indices or (beginnings of) UUIDs, up to the first that names nothing. A slice of a
    device, MIG-..., is listed by no such query and stands for itself.
    """
    if outside is None:
        return devices
    found = []
    for token in (part.strip() for part in outside.split(",")):
        if token.startswith("MIG-"):
            found.append(Device(token, token, "MIG device"))
            continue
        whole = [d for d in devices if token == d.token or (token.startswith("GPU-") and d.uuid.startswith(token))]
        if len(whole) != 1:
            break
        found.append(Device(token, whole[0].uuid, whole[0].name))
    return found


if __name__ == "__main__":
    main()
