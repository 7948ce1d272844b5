"""A method folder on trial: its program runs as in the workflow, under `workflow/scripts/generate.py`, on the smallest
clip that it accepts, in this Python, with connections to the network refused.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .asset import Asset4D, Frame, Gaussians, Mesh
from .asset_io import read_asset
from .cameras import Cameras, orbit
from .clip import Clip
from .errors import FormatError
from .files import read_json
from .method import ROOT, Method
from .plain_yaml import load_yaml
from .similarity import camera_to_camera, transformed
from .weights_method import resolve_for_method

CLIP = "smallest"  # the clip's id
SIZE, FPS, SEED = 64, 10.0, 3

NO_NETWORK = '''"""Refuses connections to the network, in this process and (through sitecustomize) in its children."""
import socket

REAL = {name: getattr(socket.socket, name) for name in ("connect", "connect_ex", "sendto")}


def guarded(name):
    def call(self, *arguments):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            raise OSError("run.py must not use the network")
        return REAL[name](self, *arguments)

    return call


for name in REAL:
    setattr(socket.socket, name, guarded(name))
'''
START = """import os
import runpy
import sys

os.environ["PYTHONPATH"] = sys.path[0]
import no_network

os.dup2(os.open({stdout!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), 1)
sys.path[0], sys.argv[0] = {folder!r}, {program!r}
runpy.run_path({program!r}, run_name="__main__")
"""

MakeClip = Callable[[int, Path, Path], None]  # (frames, folder of the clip, folder of its truth): writes both


class Skipped(Exception):
    """The check cannot be made here. The message is the reason."""


@dataclass(frozen=True)
class Trial:
    """A method folder on trial. Its program runs when the first check asks for it, and once.

    Attributes:
        folder: the method's.
        scratch: an empty folder for the clip and for what the program makes.
        make_clip: writes a clip of `SIZE` pixels at `FPS` with a known camera, called `CLIP`, and its truth.
    """

    folder: Path
    scratch: Path
    make_clip: MakeClip

    @cached_property
    def method(self) -> Method:
        try:
            return Method.read(self.folder)
        except FormatError:
            raise Skipped("method.yaml has to be put right first") from None

    @cached_property
    def n_frames(self) -> int:
        """The smallest number of frames from 5 on that the method accepts."""
        frames = self.method.data["frames"]
        multiple = frames["multiple_of"]
        return int(min(-(-max(5, frames["min"]) // multiple) * multiple, frames["max"] or 10**6))

    @cached_property
    def clip(self) -> Clip:
        folder = self.scratch / "clips" / CLIP
        self.make_clip(self.n_frames, folder, self.truth)
        return Clip.read(folder)

    @property
    def truth(self) -> Path:
        return self.scratch / "truth" / CLIP

    @property
    def cameras(self) -> Cameras:
        """Where images are asked for and rendered: the input view, and one from the side."""
        return orbit([0, 90], 15, 2, 40, SIZE)

    @cached_property
    def weights(self) -> dict[str, dict[str, str]]:
        """The method's files, found or fetched as the workflow does."""
        return resolve_for_method(self.method)

    @cached_property
    def missing(self) -> str:
        """Why run.py cannot run here; empty if it can. Weights are fetched only where everything else is there."""
        reasons = (file["reason"] for file in self.weights.values() if "reason" in file)
        return missing_here(self.method) or next(reasons, "")

    @cached_property
    def record(self) -> dict[str, Any]:
        """generate.json of the first run."""
        if self.missing:
            raise Skipped(self.missing)
        assert len(self.clip.frames) == self.n_frames
        return self.start(self.scratch, self.scratch / "first")

    @property
    def out(self) -> Path:
        """The asset of the first run."""
        if self.record["status"] != "ok":
            raise Skipped("the program has to finish the clip first")
        return self.scratch / "first" / CLIP / "asset"

    @cached_property
    def asset(self) -> Asset4D:
        try:
            asset = read_asset(self.out)
            for _ in asset.frames:  # reads and checks each
                pass
        except FormatError:
            raise Skipped("the asset has to be readable first") from None
        return asset

    def placed(self) -> Iterator[Frame]:
        """The frames as the alignment "declared" places them in the world."""
        camera = self.asset.input_camera
        matrix = np.eye(4) if camera is None or self.clip.camera is None else camera_to_camera(camera, self.clip.camera)
        for frame in self.asset.frames:
            assert isinstance(frame, Mesh | Gaussians)
            yield transformed(frame, matrix)

    def start(self, source: Path, out: Path) -> dict[str, Any]:
        """One run of the program under generate.py on `source`/clips (references: and `source`/truth). Its record."""
        data = self.method.data
        spec: dict[str, Any] = {"method": self.method.id, "clips": [CLIP], "seed": SEED}
        spec |= {"parameters": data["parameters"], "n_frames": self.n_frames, "fps": FPS}
        spec["weights"] = {name: file["path"] for name, file in self.weights.items()}
        if data["output"] == "views":
            spec["cameras"] = self.cameras.to_json()
        out.mkdir(parents=True)
        command = [sys.executable, str(ROOT / "workflow" / "scripts" / "generate.py"), "--spec", json.dumps(spec)]
        command += ["--program", str(self._guard(out)), "--clips", str(source / "clips"), "--out", str(out)]
        command += ["--log", str(out / "log.txt"), "--gpus", str(int(data["needs"]["gpu"])), *limits(data["needs"])]
        if self.method.kind == "reference":
            command += ["--truth", str(source / "truth")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise FormatError("workflow/scripts/generate.py", "exit status 0", done.stderr[-2000:])
        return dict(read_json(out / CLIP / "generate.json"))

    def _guard(self, out: Path) -> Path:
        """A program that refuses the network, takes standard output apart, and then is run.py."""
        folder, program = self.folder.resolve(), self.folder.resolve() / "run.py"
        guard = out / "guard"
        guard.mkdir()
        (guard / "no_network.py").write_text(NO_NETWORK, "utf-8")
        (guard / "sitecustomize.py").write_text("import no_network\n", "utf-8")
        text = START.format(stdout=str((out / "stdout.txt").resolve()), folder=str(folder), program=str(program))
        (guard / "start.py").write_text(text, "utf-8")
        return guard / "start.py"


def limits(needs: dict[str, Any]) -> list[str]:
    """What the workflow would let the method use, as options of generate.py: its own `needs`, else config.yaml."""
    given = load_yaml(ROOT / "config" / "config.yaml")["limits"]
    allowed = given | {name: value for name, value in needs.items() if name in given and name != "minutes_per_clip"}
    values = {
        "seconds": 60 * max(given["minutes_per_clip"], 10 * needs["minutes_per_clip"]),
        "ram-mb": 1000 * allowed["ram_gb"],
        "disk-mb": 1000 * allowed["disk_gb_per_clip"],
        "files": allowed["files_per_clip"],
        "log-mb": allowed["log_mb"],
    }
    return [part for name, value in values.items() for part in (f"--{name}", str(value))]


def missing_here(method: Method) -> str:
    """What this machine or this Python lacks, weights apart; empty if nothing."""
    if method.data["needs"]["gpu"] and shutil.which("nvidia-smi") is None:
        return "needs a GPU"
    if method.data["code"]:
        return "needs code that its own environment clones"
    checkpoint = method.data["parameters"].get("checkpoint")
    if isinstance(checkpoint, str) and not (ROOT / checkpoint).exists():
        return f"needs the checkpoint {checkpoint}"
    try:
        environment = load_yaml(method.folder / "environment.yaml")
    except FormatError:
        return "environment.yaml has to be put right first"
    for requirement in pip_pins(environment):
        name = re.split(r"[=<>!\[; ]", requirement)[0]
        try:
            importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            return f"needs the package {name}"
    return ""


def pip_pins(environment: dict[str, Any]) -> list[str]:
    """The requirements in the pip: section of an environment.yaml."""
    dependencies = environment.get("dependencies") or []
    return [str(line) for part in dependencies if isinstance(part, dict) for line in part.get("pip") or []]
