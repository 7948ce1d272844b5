"""Fail when tracked files outgrow their budget: 45 MB in all, 15 MiB a file, 4 MB of fixtures."""

import subprocess
import sys
from pathlib import Path

LIMITS = {"": 45_000_000, "tests/": 4_000_000}
FILE_LIMIT = 15 * 2**20


def main() -> int:
    listing = subprocess.run(["git", "ls-files", "-z"], capture_output=True, check=False)
    if listing.returncode:
        print("repository size: not a git checkout, nothing to check")
        return 0
    paths = [Path(name) for name in listing.stdout.decode().split("\0") if name]
    sizes = {path: path.stat().st_size for path in paths if path.is_file()}
    faults = [
        f"{path}: {size} bytes, the limit for a file is {FILE_LIMIT}"
        for path, size in sizes.items()
        if size > FILE_LIMIT
    ]
    for prefix, limit in LIMITS.items():
        total = sum(size for path, size in sizes.items() if path.as_posix().startswith(prefix))
        if total > limit:
            faults.append(f"{prefix or 'all tracked files'}: {total} bytes, the limit is {limit}")
    print("\n".join(faults) if faults else f"repository size: {sum(sizes.values()) / 1e6:.1f} MB tracked")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
