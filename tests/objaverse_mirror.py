"""Mirrors of Objaverse for tests: ids made up from names, annotations, and GLB files made here or given.

    python -m tests.objaverse_mirror ASSETS MIRROR     a mirror of all GLB files of a folder

ASSETS has a manifest.csv (columns name, file, licence, author) if licences other than CC0 matter.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tests.gltf_samples import Builder, tube, turn


def made_id(name: str) -> str:
    """32 hexadecimal digits, as Objaverse's ids."""
    return hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()


def bender(degrees: float, seconds: float = 1.0, shift: float = 0.0, rest: float = 0.0) -> bytes:
    """A GLB: a tube of two halves, one of which turns by `degrees` and both of which move by `shift`, after a rest."""
    made = Builder()
    points, faces = tube(6, 8, 1.0, 0.15)
    place, order = made.add(points), made.add(faces.ravel(), np.uint16)
    primitive = {"attributes": {"POSITION": place}, "indices": order, "material": 0}
    made.document |= {
        "scenes": [{"nodes": [0]}],
        "nodes": [{"children": [1, 2]}, {"mesh": 0, "translation": [0, -1, 0]}, {"mesh": 0}],
        "meshes": [{"primitives": [primitive]}],
        "materials": [{"pbrMetallicRoughness": {"baseColorFactor": [0.2, 0.7, 0.3, 1]}}],
    }
    times, first = [0, rest, rest + seconds][rest == 0 :], 2 if rest else 1
    curves = [
        (2, "rotation", "LINEAR", times, [turn([0, 0, 1], 0)] * first + [turn([0, 0, 1], degrees)]),
        (0, "translation", "LINEAR", times, [[0, 0, 0]] * first + [[shift, 0, 0]]),
    ]
    made.animation("bend", curves)
    return made.bytes()


def annotation(name: str, licence: str = "by", content: bytes | None = None) -> dict[str, Any]:
    """As the package gives it; with the content's sha256 if there is one."""
    sha256 = {} if content is None else {"sha256": hashlib.sha256(content).hexdigest()}
    user = {"username": "ada", "displayName": "Ada"}
    return {"license": licence, "name": name, "viewerUrl": f"https://example.org/{name}", "user": user} | sha256


def mirror_of(assets: Path, mirror: Path) -> dict[str, str]:
    """A mirror of a folder of GLB files and what lies beside them. Name -> id."""
    licences = {"CC-BY-4.0": "by", "CC0-1.0": "cc0"}
    manifest: dict[str, str] = {}
    if (assets / "manifest.csv").is_file():
        with (assets / "manifest.csv").open(newline="", encoding="utf-8") as file:
            manifest = {row["file"]: row["licence"].split(" ")[0] for row in csv.DictReader(file)}
    mirror.mkdir(parents=True)
    about, names = {}, {}
    for path in sorted(assets.glob("*.glb")):
        id = names[path.stem] = made_id(path.stem)
        shutil.copyfile(path, mirror / f"{id}.glb")
        stated = manifest.get(path.name, "CC0-1.0")
        about[id] = annotation(path.stem, licences.get(stated, stated), path.read_bytes())
    if (assets / "Textures").is_dir():
        shutil.copytree(assets / "Textures", mirror / "Textures")
    (mirror / "annotations.json").write_text(json.dumps(about))
    (mirror / "lists").mkdir()
    (mirror / "lists/all.txt").write_text("".join(f"{id}\n" for id in about))
    return names


if __name__ == "__main__":
    mirror_of(Path(sys.argv[1]), Path(sys.argv[2]))
