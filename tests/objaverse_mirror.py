"""Mirrors of Objaverse for tests: ids made up from names, annotations, and GLB files made here or given.

    python -m tests.objaverse_mirror ASSETS MIRROR     a mirror of all GLB files of a folder

ASSETS has a manifest.csv (columns name, file, licence, author) if licences other than CC0 matter.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.objaverse.choose import main
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


# What the tests share

NAMES = [f"tube-{k}" for k in range(8)]
IDS = {name: made_id(name) for name in NAMES}
MODELS = {name: bender(40 + 5 * k, 0.5 + 0.5 * k) for k, name in enumerate(NAMES)} | {"tube-7": bender(1)}
LICENCES = {"tube-6": "by-nc"}


def mirror(folder: Path) -> Path:
    """Eight tubes: number 7 hardly moves, number 6 has a licence that is not allowed."""
    folder.mkdir(parents=True)
    about = {IDS[n]: annotation(n, LICENCES.get(n, "by"), MODELS[n]) for n in NAMES}
    (folder / "annotations.json").write_text(json.dumps(about))
    for name in NAMES:
        (folder / f"{IDS[name]}.glb").write_bytes(MODELS[name])
    (folder / "all.txt").write_text("\n".join(IDS.values()))
    return folder


def arguments(given: Path, out: Path, *more: str) -> list[str]:
    """Of `choose`, among the ids of <given>/all.txt; the last of equal options counts."""
    first = ["--candidates", str(given / "all.txt"), "--exclude", "--training", "--count", "4", "--out", str(out)]
    return [*first, *more]


def choose(given: Path, out: Path, *more: str, ok: bool = True, **environment: str) -> str:
    """Run it to its end, in a cache beside `out`; what it printed."""
    printed, status = io.StringIO(), None
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed), redirect_stderr(printed):
        patch.delenv("BENCH4D_OBJAVERSE", raising=False)
        for name, value in {"XDG_CACHE_HOME": str(out.parent / "cache"), **environment}.items():
            patch.setenv(name, value)
        try:
            main(arguments(given, out, *more))
        except SystemExit as error:
            status = error.code
    output = f"{printed.getvalue()}{status or ''}"
    assert (status is None) == ok, output
    return output


def frozen(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def verdicts(folder: Path) -> dict[str, str]:
    with (folder / "considered.csv").open(newline="") as file:
        return {row["id"]: row["verdict"] for row in csv.DictReader(file)}


if __name__ == "__main__":
    mirror_of(Path(sys.argv[1]), Path(sys.argv[2]))
