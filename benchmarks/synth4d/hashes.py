"""The recorded fingerprints of the test objects: the same bytes on every machine.

python -m benchmarks.synth4d.hashes --check     compare with test_hashes.json
python -m benchmarks.synth4d.hashes --write     after raising splits.VERSION, record the new bytes
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

from .generator import Object4D, make_object
from .splits import TEST, VERSION

RECORD = Path(__file__).with_name("test_hashes.json")
TIMES = (0.0, 0.7, 3.125)


def fingerprint(thing: Object4D) -> str:
    """sha256 of vertices, faces and colours at `TIMES`, little-endian, in this order."""
    digest = hashlib.sha256()
    for time in TIMES:
        mesh = thing.mesh_at(time)
        assert mesh.colors is not None
        for array, kind in ((mesh.vertices, "<f4"), (mesh.faces, "<i4"), (mesh.colors, "u1")):
            digest.update(array.astype(kind).tobytes())
    return digest.hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", action="store_true")
    action.add_argument("--write", action="store_true")
    options = parser.parse_args()
    prints = {i: fingerprint(make_object(i)) for i in TEST}
    if options.write:
        RECORD.write_text(
            json.dumps({"version": VERSION, "times": TIMES, "sha256": prints}, indent=1) + "\n", encoding="utf-8"
        )
        return 0
    before = json.loads(RECORD.read_text(encoding="utf-8"))
    different = [i for i in TEST if before["sha256"].get(i) != prints[i]]
    if different or before["version"] != VERSION:
        sys.stderr.write(f"version {before['version']} recorded, {VERSION} now; other bytes: {', '.join(different)}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
