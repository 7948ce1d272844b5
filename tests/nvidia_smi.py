"""A stand-in `nvidia-smi` for tests: a shell script that answers the queries of this repository from files."""

from __future__ import annotations

from pathlib import Path

SCRIPT = """#!/bin/sh
case "$1" in
  --query-gpu=index,uuid,name) cat "{0}/devices" ;;
  --query-gpu=uuid,memory.used) cat "{0}/memory" ;;
  --query-compute-apps=pid,used_memory) cat "{0}/apps" ;;
  --query-gpu=name) cut -d, -f3 "{0}/devices" ;;
  *) exit 9 ;;
esac
"""


class FakeNvidiaSmi:
    """`folder/bin` goes to the front of PATH. Uuids hold the folder's name, so that tests never share a lease."""

    def __init__(self, folder: Path, devices: int) -> None:
        self.folder, self.bin = folder, folder / "bin"
        self.bin.mkdir(parents=True)
        self.uuids = [f"GPU-{k}-{str(folder).replace('/', '-')}" for k in range(devices)]
        rows = [f"{k}, {uuid}, Imaginary GPU" for k, uuid in enumerate(self.uuids)]
        (folder / "devices").write_text("\n".join(rows) + "\n")
        self.apps({})
        self.memory([0] * devices)
        (self.bin / "nvidia-smi").write_text(SCRIPT.format(folder))
        (self.bin / "nvidia-smi").chmod(0o755)

    def apps(self, used: dict[int, int]) -> None:
        """MiB by process."""
        (self.folder / "apps").write_text("".join(f"{pid}, {mebibytes}\n" for pid, mebibytes in used.items()))

    def memory(self, used: list[int]) -> None:
        """MiB by device."""
        rows = [f"{uuid}, {mebibytes}\n" for uuid, mebibytes in zip(self.uuids, used, strict=True)]
        (self.folder / "memory").write_text("".join(rows))
