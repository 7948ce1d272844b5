"""What every method folder must satisfy: one list of checks, for `bench4d check` and for tests/conformance."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from .asset import Mesh
from .asset_io import read_asset
from .errors import FormatError
from .files import sha256_folder
from .method import ROOT, Method
from .plain_yaml import load_yaml
from .trial import CLIP, FPS, SIZE, MakeClip, Skipped, Trial, pip_pins
from .weights_method import address, in_repository

BOUND = 0.75  # the object is in [-0.5, 0.5]^3; a method may miss that by half as much again
COVERED = (0.005, 0.9)  # mean alpha of a frame: something is seen, and so is the background
UNSTATED = ("unknown", "tbd", "todo", "none", "?")
NEXT = "docs/add-a-method.md says what a method folder holds."


@dataclass(frozen=True)
class Outcome:
    """One line of the list. `detail`: what was seen, why it was skipped, or what was expected and found."""

    name: str
    status: Literal["ok", "failed", "skipped"]
    detail: str
    next_step: str = ""


# The checks. Each returns what it saw, or raises FormatError or Skipped.


def schema(trial: Trial) -> str:
    method = Method.read(trial.folder)
    return f"{method.data['name']}: {method.kind}, output {method.data['output']}"


def licence(trial: Trial) -> str:
    data = trial.method.data
    stated = {"licence": data["licence"]} | {f"licence of {w['name']}": w["licence"] for w in data["weights"]}
    for key, text in stated.items():
        if text.strip().lower() in UNSTATED:
            raise FormatError(f"method.yaml: {key}", "the name of a licence (SPDX)", repr(text), "Ask its authors.")
    return ", ".join(dict.fromkeys(stated.values()))


def commit(trial: Trial) -> str:
    """The schema asks for full hashes; what is left are weights: a file of this repository with other content, a source
    of no kind, a hub's file without a commit."""
    data = trial.method.data
    for weights in data["weights"]:
        if in_repository(trial.method.id, weights) is None:
            address(trial.method.id, weights)
    return f"commit {data['code']['commit'][:12]}" if data["code"] else "no code from elsewhere"


def readme(trial: Trial) -> str:
    path = trial.folder / "README.md"
    words = len(path.read_text("utf-8").split()) if path.is_file() else 0
    if words <= 20:
        raise FormatError(path, "more than 20 words: provenance, licence, deviations", f"{words}", NEXT)
    return f"{words} words"


def environment(trial: Trial) -> str:
    path = trial.folder / "environment.yaml"
    data = load_yaml(path)
    if not set(data) <= {"name", "channels", "dependencies"} or not data.get("channels"):
        raise FormatError(path, "name, channels and dependencies", f"{sorted(data)}", NEXT)
    packages = [line for line in data.get("dependencies") or [] if isinstance(line, str)]
    if not any(re.fullmatch(r"python=3\.\d+(\.\d+)?", line) for line in packages):
        raise FormatError(path, "a Python of one version, such as python=3.11", f"{packages}")
    loose = [line for line in packages if "=" not in line and line != "pip"]
    pins = pip_pins(data)
    loose += [p for p in pins if not ("==" in p or p.startswith("-") or re.search(r"@ .*[0-9a-f]{40}", p))]
    if loose:
        raise FormatError(path, "a version for every package", f"none for {loose}", "Pin it: name==1.2.3.")
    return f"{len(packages) + len(pins)} packages"


def plain_python(trial: Trial) -> str:
    """run.py is Python 3.8 and imports nothing of the repository (ss4d's own may use ss4d and bench4d)."""
    own = trial.folder.resolve() == ROOT / "ss4d"
    forbidden = {"metrics", "benchmarks", "workflow", "tests"} | (set() if own else {"bench4d", "ss4d"})
    for path in [trial.folder / "run.py"] if own else sorted(trial.folder.rglob("*.py")):
        if not path.is_file():
            raise FormatError(path, "the method's program", "no such file", NEXT)
        try:
            tree = ast.parse(path.read_text("utf-8"), feature_version=(3, 8))
        except (SyntaxError, UnicodeDecodeError) as error:
            raise FormatError(path, "Python 3.8", str(error)) from None
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        if found := sorted({name.split(".")[0] for name in names} & forbidden):
            step = "Copy what you need, or use a package: a method runs in its own environment."
            raise FormatError(path, "nothing of this repository imported", f"{found}", step)
    return "Python 3.8 syntax"


def runs(trial: Trial) -> str:
    record = trial.record
    if record["status"] != "ok":
        tail = "\n".join(record["log_tail"].strip().splitlines()[-12:])
        step = f"The end of its log:\n{tail}"
        raise FormatError("run.py", f"the clip of {trial.n_frames} frames, done", record["reason"], step)
    if record.get("left_behind"):
        raise FormatError("run.py", "every process that it started ended", f"{record['left_behind']}")
    said = trial.scratch / "first" / "stdout.txt"
    if said.stat().st_size:
        text = said.read_text("utf-8", "replace")[:80]
        raise FormatError("run.py", "an empty standard output", repr(text), "Progress belongs on stderr.")
    return f"{trial.n_frames} frames of {SIZE} x {SIZE}"


def reads(trial: Trial) -> str:
    asset = read_asset(trial.out)
    for _ in asset.frames:
        pass
    if asset.kind != trial.method.data["output"]:
        raise FormatError("asset.json: kind", f"{trial.method.data['output']!r}, as method.yaml says", repr(asset.kind))
    return f"{asset.kind}, {len(asset.frames)} frames"


def times(trial: Trial) -> str:
    found, last = trial.asset.times, (trial.n_frames - 1) / FPS
    gap = float(np.diff(found, prepend=0).max())
    if found[0] > 1e-6 or found[-1] < last - 1e-6 or gap > 1 / FPS + 1e-6:
        seen = f"{found[0]:g} to {found[-1]:g} s, largest gap {gap:g} s"
        raise FormatError("asset.json: times", f"0 to {last:g} s without a gap over {1 / FPS:g} s", seen)
    return f"{found[0]:g} to {found[-1]:g} s"


def geometry(trial: Trial) -> str:
    if trial.asset.kind == "views":
        raise Skipped("images have no geometry")
    largest = 0.0
    for k, frame in enumerate(trial.placed()):
        points = frame.vertices if isinstance(frame, Mesh) else frame.means
        if not len(points):
            raise FormatError(f"frame {k}", "geometry", "nothing")
        largest = max(largest, float(np.abs(points).max()))
    if not largest <= BOUND:
        step = "The object belongs into [-0.5, 0.5]^3 once `input_camera` is laid on the clip's camera."
        raise FormatError("geometry", f"coordinates within {BOUND} in the world", f"{largest:.3g}", step)
    return f"within {largest:.2f}" + ("" if trial.asset.input_camera else " (asset.json declares no input_camera)")


def shows_something(trial: Trial) -> str:
    from .rendering import render_frame  # here: it compiles

    frames = trial.asset.frames if trial.asset.kind == "views" else trial.placed()
    low, high = COVERED
    shares = [float(render_frame(frame, trial.cameras[0])[0, ..., 3].mean()) for frame in frames]
    for k, share in enumerate(shares):
        if not low < share < high:
            found = f"{100 * share:.1f} % in frame {k}"
            step = "Look at it: is the asset in front of its input_camera, is the background transparent?"
            raise FormatError("render", f"an object that covers {100 * low:g} % to {100 * high:g} %", found, step)
    return f"covers {100 * min(shares):.0f} % to {100 * max(shares):.0f} % of the input view"


def repeats(trial: Trial) -> str:
    out = trial.out
    if not trial.method.data["deterministic"]:
        raise Skipped("declared as not deterministic")
    second = trial.start(trial.scratch, trial.scratch / "second")
    sums = [sha256_folder(out), sha256_folder(trial.scratch / "second" / CLIP / "asset")]
    if second["status"] != "ok" or sums[0] != sums[1]:
        step = "Seed every generator with the job's seed, or say `deterministic: false` in method.yaml."
        raise FormatError("run.py", f"the same bytes again, sha256 {sums[0][:12]}", sums[1][:12], step)
    return f"sha256 {sums[0][:12]}"


def recorded(trial: Trial) -> str:
    record = trial.record
    if trial.record["status"] != "ok":
        raise Skipped("the program has to finish the clip first")
    if record["seconds"] is None or not record["peak_rss_bytes"]:
        raise FormatError("generate.json", "seconds and peak_rss_bytes", f"{record}")
    gpu = record["peak_gpu_bytes"]
    memory = f"{record['peak_rss_bytes'] / 2**20:.0f} MiB" + (f", GPU {gpu / 2**20:.0f} MiB" if gpu else "")
    return f"{record['seconds']:.2f} s, {memory}, on {record['device']}"


def fails_loudly(trial: Trial) -> str:
    if trial.missing:
        raise Skipped(trial.missing)
    record = trial.start(trial.scratch / "nowhere", trial.scratch / "third")
    if record["status"] == "ok":
        raise FormatError("run.py", "an error for a clip that is not there", "success", "Do not catch everything.")
    return str(record["reason"])


@dataclass(frozen=True)
class Check:
    """`name` says what holds when `run` returns."""

    name: str
    run: Callable[[Trial], str]


CHECKS = (
    Check("method.yaml satisfies the schema", schema),
    Check("licences are stated", licence),
    Check("code and weights are pinned", commit),
    Check("README.md says what it is", readme),
    Check("environment.yaml parses and is pinned", environment),
    Check("run.py is plain Python and imports nothing of the repository", plain_python),
    Check("runs on the smallest clip", runs),
    Check("the asset reads strictly", reads),
    Check("times cover the clip", times),
    Check("geometry is finite and inside its bounds", geometry),
    Check("the render is not empty", shows_something),
    Check("the same seed gives the same bytes", repeats),
    Check("time and memory are recorded", recorded),
    Check("a missing clip is an error", fails_loudly),
)


def check_one(check: Check, trial: Trial) -> Outcome:
    try:
        return Outcome(check.name, "ok", check.run(trial))
    except Skipped as reason:
        return Outcome(check.name, "skipped", str(reason))
    except FormatError as error:
        found = f"{error.where}: expected {error.expected}; found {error.found}"
        return Outcome(check.name, "failed", found, error.next_step)


def check_method(folder: Path, scratch: Path, make_clip: MakeClip) -> Iterator[Outcome]:
    """All checks of a method folder, one after another."""
    trial = Trial(folder, scratch, make_clip)
    yield from (check_one(check, trial) for check in CHECKS)
