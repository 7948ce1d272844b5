"""What Objaverse says of an object, and its file: from a mirror that somebody filled, the cache, or the package.

A mirror (BENCH4D_OBJAVERSE) holds `annotations.json`, as the package's load_annotations gives them, with an optional
"sha256" of each file, and `<id>.glb`, there or in `glbs/<any folder>/`; nothing is downloaded beside it. The package
`objaverse` runs in a process of its own: it prints, has no time limits, and is optional.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from bench4d.errors import FormatError
from bench4d.files import read_json, sha256_file
from bench4d.weights import Locations
from benchmarks.menagerie.fetch import AssetMissing
from benchmarks.objaverse.lists import ids_sha256

MINUTES = 30.0  # one call of the package: a file of 100 MB, or all annotations
ATTEMPTS = 2
LICENCES = {
    "cc0": "CC0-1.0",
    "by": "CC-BY-4.0",
    "by-sa": "CC-BY-SA-4.0",
    "by-nc": "CC-BY-NC-4.0",
    "by-nc-sa": "CC-BY-NC-SA-4.0",
    "by-nd": "CC-BY-ND-4.0",
    "by-nc-nd": "CC-BY-NC-ND-4.0",
}
ANNOTATIONS = """
import json, sys
import objaverse
from objaverse.xl.sketchfab import SketchfabDownloader
ids = json.load(sys.stdin)
known = set(objaverse.load_uids())
found = objaverse.load_annotations([id for id in ids if id in known])
table = SketchfabDownloader.get_annotations()
sums = {name.rsplit("/", 1)[-1]: sha for name, sha in zip(table["fileIdentifier"], table["sha256"])}
kept = {}
for id, row in found.items():
    kept[id] = {key: row.get(key) for key in ("license", "name", "viewerUrl")} | {"sha256": sums.get(id, "")}
    kept[id]["user"] = {key: (row.get("user") or {}).get(key) for key in ("displayName", "username")}
open(sys.argv[1], "w").write(json.dumps(kept))
"""
OBJECT = """
import hashlib, json, os, sys
import objaverse
id, sha256 = json.load(sys.stdin)
path = objaverse.load_objects([id]).get(id)
if path is None:
    sys.exit(f"Objaverse has no object {id}")
content = open(path, "rb").read()
if sha256 and hashlib.sha256(content).hexdigest() != sha256:
    os.remove(path)  # or the package would take it for a download the next time
open(sys.argv[1], "wb").write(content)
"""


@dataclass(frozen=True)
class Annotation:
    """What Objaverse says of one object.

    Attributes:
        licence: an SPDX id, or what Objaverse says where that is none of LICENCES.
        url: its page.
        sha256: of its file, or "" where nobody states it.
    """

    id: str
    name: str
    author: str
    licence: str
    url: str
    sha256: str


def describe(ids: Sequence[str], where: Locations) -> dict[str, Annotation]:
    """By id; objects that Objaverse does not know are left out. Raises AssetMissing, FormatError."""
    if where.given is not None:
        path = where.given / "annotations.json"
        return _annotations(path, read_json(path), ids)
    path = where.cache / "annotations" / f"{ids_sha256(ids)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.is_file():
            part = path.with_suffix(".part")
            run_package(ANNOTATIONS, ids, part)
            part.replace(path)
    return _annotations(path, read_json(path), ids)


def _annotations(path: Path, content: Any, ids: Sequence[str]) -> dict[str, Annotation]:
    found = {}
    for id in (id for id in ids if isinstance(content, dict) and id in content):
        row = content[id]
        user = row.get("user") if isinstance(row, dict) else None
        if not isinstance(row, dict) or not isinstance(user, dict) or not isinstance(row.get("license"), str):
            raise FormatError(f"{path}: {id}", 'an annotation of Objaverse with "license" and "user"', f"{row}"[:120])
        author = str(user.get("displayName") or user.get("username") or "")
        licence = LICENCES.get(row["license"], row["license"])
        texts = (one_line(row.get("name")), one_line(author), one_line(licence), one_line(row.get("viewerUrl")))
        found[id] = Annotation(id, *texts, str(row.get("sha256") or ""))
    return found


def one_line(text: Any) -> str:
    """Printable, on one line: names are strangers' words."""
    return "".join(c if c.isprintable() else " " for c in str(text or ""))[:200].strip()


def find_object(id: str, sha256: str, where: Locations) -> Path:
    """The object's file, verified where its sha256 is known. Raises AssetMissing, with all that was tried."""
    tried: list[str] = []
    if where.given is not None:
        for path in (where.given / f"{id}.glb", *sorted(where.given.glob(f"glbs/*/{id}.glb"))):
            if _is_right(path, sha256, tried):
                return path
        raise _missing(id, sha256, tried, where.given / f"{id}.glb")
    path = where.cache / "glbs" / f"{id}.glb"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):  # a second process waits here, then finds the first one's file
        if _is_right(path, sha256, tried):
            return path
        part = path.with_suffix(".part")
        for _ in range(ATTEMPTS):
            try:
                run_package(OBJECT, [id, sha256], part)
            except AssetMissing as error:
                tried.append(str(error))
                continue
            if _is_right(part, sha256, tried):
                part.replace(path)
                return path
    raise _missing(id, sha256, tried, path)


def _missing(id: str, sha256: str, tried: list[str], path: Path) -> AssetMissing:
    lines = [f"The object {id} is not on this machine. Tried:", *(f"  - {line}" for line in dict.fromkeys(tried))]
    return AssetMissing("\n".join([*lines, f"Put it at  {path}  (sha256 {sha256 or 'not known'})."]))


def _is_right(path: Path, sha256: str, tried: list[str]) -> bool:
    """Whether the object's file lies there, whole; if not, `tried` gains the reason."""
    if not path.is_file():
        tried.append(f"{path}: no such file")
    elif sha256 and sha256_file(path) != sha256:
        tried.append(f"{path}: wrong content (its sha256 is not {sha256})")
    elif not sha256 and _cut_off(path):
        tried.append(f"{path}: not a whole GLB file")
    else:
        return True
    return False


def _cut_off(path: Path) -> bool:
    """Whether the length in a GLB's header is not that of the file."""
    with path.open("rb") as file:
        head = file.read(12)
    return head[:4] != b"glTF" or int.from_bytes(head[8:], "little") != path.stat().st_size


def run_package(program: str, words: Sequence[str], out: Path) -> None:
    """Let `program` make `out` of `words`, in a process of its own. Raises AssetMissing if it cannot."""
    command = [sys.executable, "-c", program, str(out)]
    try:
        done = subprocess.run(
            command, input=json.dumps(list(words)), capture_output=True, text=True, timeout=60 * MINUTES, check=False
        )
    except subprocess.TimeoutExpired:
        raise AssetMissing(f"the package objaverse: no answer in {MINUTES:.0f} minutes") from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1][:300]
        advice = " (pip install -r benchmarks/objaverse/requirements.txt)" if "No module named" in reason else ""
        raise AssetMissing(f"the package objaverse: {reason}{advice}")
