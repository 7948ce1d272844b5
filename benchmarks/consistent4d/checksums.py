"""The sha256 of every picture, whatever archive it lies in, so that two people can tell whether they have the same.

    python -m benchmarks.consistent4d.checksums --out mine.sha256
    python -m benchmarks.consistent4d.checksums --compare theirs.sha256

A line is `<sha256>  <object>/<view>/<frame>.png`, sorted by name. No list is published with the data, and none is here.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from pathlib import Path

from bench4d.errors import FormatError
from bench4d.files import atomic

from .archives import DATA, Sequences, find_pictures

LINE = re.compile(r"([0-9a-f]{64})  ([a-z0-9_]+/[a-z0-9_]+/\d{4}\.png)")
FRAMES = 32
MAX_BYTES = 2**20


def checksums(sequences: Sequences) -> dict[str, str]:
    """Name -> sha256 of the file's bytes; frames are numbered from 0."""
    return {
        f"{object_id}/{view}/{k:04d}.png": hashlib.sha256(picture.content()).hexdigest()
        for (object_id, view), pictures in sorted(sequences.items())
        for k, picture in enumerate(pictures)
    }


def to_text(sums: dict[str, str]) -> str:
    return "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(sums.items()))


def read_checksums(path: Path) -> dict[str, str]:
    """What `to_text` wrote. Raises FormatError."""
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        raise FormatError(path, f"a list of checksums of at most {MAX_BYTES} bytes", "none, or a larger file")
    sums: dict[str, str] = {}
    for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), 1):
        match = LINE.fullmatch(line)
        if match is None or match[2] in sums:
            raise FormatError(
                f"{path}, line {number}", "<sha256>  <object>/<view>/<frame>.png, each once", f"{line!r:.90}"
            )
        sums[match[2]] = match[1]
    return sums


def differences(ours: dict[str, str], theirs: dict[str, str]) -> list[str]:
    """A line for each sequence that differs: empty if all are equal."""
    found = []
    for sequence in sorted({name.rpartition("/")[0] for name in ours | theirs}):
        names = {n for n in ours | theirs if n.rpartition("/")[0] == sequence}
        missing, extra = names - set(ours), names - set(theirs)
        other = {n for n in names - missing - extra if ours[n] != theirs[n]}
        if missing or extra or other:
            found.append(f"{sequence}: {len(other)} differ, {len(missing)} only in theirs, {len(extra)} only in ours")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="the downloads (default: data/ beside this file)")
    parser.add_argument("--out", type=Path, help="where to write the list (default: standard output)")
    parser.add_argument("--compare", type=Path, help="somebody else's list; exit status 1 if it differs")
    options = parser.parse_args()
    try:
        ours = checksums(find_pictures(options.data, FRAMES))
        found = differences(ours, read_checksums(options.compare)) if options.compare else []
    except FormatError as error:
        sys.exit(f"error: {error}")
    if options.out:
        with atomic(options.out) as temporary:
            temporary.write_text(to_text(ours), "utf-8")
    elif not options.compare:
        sys.stdout.write(to_text(ours))
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
