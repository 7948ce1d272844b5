"""A folder of results that somebody made elsewhere, brought into the form that the workflow's stages work on.

`<folder>/<clip>/` holds, in this order of preference: `asset/` (asset.json), a geometry sequence (one GLB, OBJ or PLY
file a frame), or renders of every view of the benchmark. The alignment, render and score stages then see what they see
of any method.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from .asset_io import write_asset
from .benchmark import Benchmark
from .clip import checked_id
from .errors import FormatError
from .files import read_json, sha256_folder, write_json
from .frames import write_frame
from .geometry import SUFFIXES, read_geometry
from .method import Method, method_folders
from .renders import FORMS, Shown, find_images, read_images

RECORD = Path("submission", "submission.json")  # below the folder of the scores
NOT_RUN_HERE = {"seconds": None, "peak_rss_bytes": None, "peak_gpu_bytes": None, "device": ""}


@dataclass(frozen=True)
class Submission:
    """A folder to be scored as one row.

    Attributes:
        folder: holds `<clip>/`.
        name: of the row.
        trained_on: data sets that the method has seen.
        up: the axis that points up in OBJ and PLY files.
    """

    folder: Path
    name: str
    trained_on: tuple[str, ...] = ()
    up: Literal["z", "y"] = "z"

    def __post_init__(self) -> None:
        checked_id(self.name, "--name")
        if self.name in method_folders():
            raise FormatError("name", "another than a method's of this repository", repr(self.name), "Give --name.")
        if not self.folder.is_dir():
            raise FormatError(self.folder, "a folder with one folder a clip", "no such folder")

    def check(self, benchmark: Benchmark) -> None:
        """Raise FormatError if there is nothing of this benchmark."""
        if not any((self.folder / clip).is_dir() for clip in benchmark.clips):
            found = sorted(p.name for p in self.folder.iterdir())[:6]
            step = f"One folder for each of: {', '.join(benchmark.clips)}."
            raise FormatError(self.folder, f"folders called as the clips of {benchmark.id}", f"{found}", step)


def method_of(name: str, trained_on: Iterable[str], folder: Path) -> Method:
    """A row's method that has no folder in the repository. `folder` holds what decides its version."""
    return Method(name, folder, {"kind": "generator", "trained_on": list(trained_on), "parameters": {}, "weights": []})


def collect(benchmark: Benchmark, submission: Submission, out: Path) -> tuple[Method, set[tuple[str, str]]]:
    """Bring every clip of the benchmark into `out/<clip>`, as the generate stage leaves it, or (for renders) as the
    render stage does. A clip that is not there, or is broken, becomes a failure with its reason.

    Returns the row's method, and the (clip, view) whose renders have no alpha.
    """
    submission.check(benchmark)
    _clear(benchmark, out)
    sums, opaque = {}, set[tuple[str, str]]()
    for clip in benchmark.clips:
        source = submission.folder / clip
        try:
            if not source.is_dir():
                raise FormatError(submission.folder, f"a folder {clip}", "none")
            sums[clip] = sha256_folder(source)
            opaque |= {(clip, view) for view in _collect_clip(benchmark, submission, source, out / clip, sums[clip])}
            _record(out / clip, "ok", "")
        except FormatError as error:
            _record(out / clip, "failed", str(error))
    write_json(out / RECORD, {"name": submission.name, "trained_on": list(submission.trained_on), "sha256": sums})
    return method_of(submission.name, submission.trained_on, (out / RECORD).parent), opaque


def _clear(benchmark: Benchmark, out: Path) -> None:
    """Remove an earlier run of ours; refuse to touch anything else."""
    if out.exists() and any(out.iterdir()):
        if not (out / RECORD).is_file():
            raise FormatError(out, "an empty folder, or one that an earlier run made", "other files", "Give --out.")
        for clip in benchmark.clips:
            shutil.rmtree(out / clip, ignore_errors=True)
    (out / RECORD).parent.mkdir(parents=True, exist_ok=True)


def _record(folder: Path, status: str, reason: str) -> None:
    write_json(folder / "generate.json", NOT_RUN_HERE | {"version": 1, "status": status, "reason": reason})


def _collect_clip(benchmark: Benchmark, submission: Submission, source: Path, out: Path, sha256: str) -> list[str]:
    """One clip that is there. Returns the views without alpha; renders go straight to `out/frames`."""
    for folder in (source, source / "asset"):
        if (folder / "asset.json").is_file():
            shutil.copytree(folder, out / "asset", copy_function=_link, dirs_exist_ok=True)
            return []
    if any(p.suffix.lower() in SUFFIXES for p in source.iterdir()):
        asset = read_geometry(source, benchmark.data["fps"], up=submission.up)
        # Files of geometry say nothing of a camera: they are taken to stand in the benchmark's world.
        write_asset(replace(asset, input_camera=benchmark.cameras[0]), out / "asset")
        return []
    opaque = []
    for view in benchmark.views:
        shown = _read_view(benchmark, source, view)
        opaque += [] if shown.has_alpha else [view]
        for k in range(len(shown.view)):
            write_frame(out / "frames", view, k, shown.view.rgb[k], shown.view.alpha[k])
    state = {"version": 1, "status": "ok", "reason": "", "asset_sha256": sha256}
    alignment = "none" if benchmark.data["alignment"] == "none" else "declared"  # as align.py says of images
    write_json(out / "aligned.json", state | {"alignment": alignment, "matrix": None, "fit": None})
    rendered = {"renderer": "given", "views": benchmark.views, "n_frames": len(benchmark.times)}
    write_json(out / "frames" / "render.json", state | rendered)
    return opaque


def _read_view(benchmark: Benchmark, source: Path, view: str) -> Shown:
    """Exactly the protocol's frames: nothing is resized, dropped or repeated."""
    places = [source / view, source / "frames" / view]
    found = next((path for path in map(find_images, places) if path is not None), None)
    if found is None:
        inside = sorted(p.name for p in source.iterdir())[:6]
        step = f"Or an asset/ folder, or one file {SUFFIXES} a frame. Views: {', '.join(benchmark.views)}."
        raise FormatError(source / view, FORMS, f"{inside} in {source.name}/", step)
    size, count = benchmark.data["size"], len(benchmark.times)
    r, g, b = benchmark.data["background"]
    shown = read_images(found, (r, g, b))
    if shown.view.rgb.shape[:3] != (count, size, size):
        frames, height, width = shown.view.rgb.shape[:3]
        step = f"Frame k is at k / {benchmark.data['fps']:g} s; a resized image is another image."
        raise FormatError(found, f"{count} frames of {size} x {size}", f"{frames} of {width} x {height}", step)
    return shown


def _link(source: str, target: str) -> str:
    """A hard link where the file system has them (assets are large), else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def methods_of(rows: pd.DataFrame, folder: Path) -> tuple[list[Method], list[str]]:
    """The methods of these rows: folders of the repository, the submission whose record lies in `folder`, and for ids
    that neither knows a bare one. Also the names of the last: nobody says what they were trained on."""
    known, found, bare = method_folders(), [], []
    record: dict[str, Any] = read_json(folder / RECORD) if (folder / RECORD).is_file() else {"name": ""}
    for name in sorted(set(rows["method"])):
        if name in known:
            found.append(Method.read(known[name]))
        elif name == record["name"]:
            found.append(method_of(name, record["trained_on"], (folder / RECORD).parent))
        else:
            found.append(method_of(name, (), folder))
            bare.append(name)
    return found, bare
