"""A folder of results that somebody made elsewhere, brought into the form that the workflow's stages work on.

Where in it assets, geometry or renders lie is guessed (`layouts.py`). The alignment, render and score stages then see
what they see of any method.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from .asset_io import write_asset
from .benchmark import Benchmark
from .clip import checked_id
from .errors import FormatError
from .files import read_json, sha256_file, sha256_folder, write_json
from .frames import write_frame
from .geometry import read_geometry
from .layouts import Guess, Source, guess
from .method import Method, method_folders
from .renders import FORMS, Shown, candidates, find_images, is_lossy, read_images

RECORD = Path("submission", "submission.json")  # below the folder of the scores
NOT_RUN_HERE = {"seconds": None, "peak_rss_bytes": None, "peak_gpu_bytes": None, "device": ""}


@dataclass(frozen=True)
class Submission:
    """A folder to be scored as one row.

    Attributes:
        folder: holds all clips, in one of the layouts.
        name: of the row.
        trained_on: data sets that the method has seen.
        up: the axis that points up in OBJ and PLY files.
        layout: the id of the only layout that may be found; "" for any.
    """

    folder: Path
    name: str
    trained_on: tuple[str, ...] = ()
    up: Literal["z", "y"] = "z"
    layout: str = ""

    def __post_init__(self) -> None:
        checked_id(self.name, "--name")
        if self.name in method_folders():
            raise FormatError("name", "another than a method's of this repository", repr(self.name), "Give --name.")

    def guess(self, benchmark: Benchmark) -> Guess:
        """What the folder is taken for. Raises FormatError if that is not clear, or it has nothing of the benchmark."""
        return guess(benchmark, self.folder, self.layout)


@dataclass(frozen=True)
class Collected:
    """What `collect` brought together.

    Attributes:
        method: the row's.
        views: those that the folder has (`Guess.views`).
        opaque: (clip, view) whose renders have no alpha.
        lossy: films and JPEG pictures among the renders: clips with any.
    """

    method: Method
    views: tuple[str, ...]
    opaque: frozenset[tuple[str, str]]
    lossy: tuple[str, ...]


def method_of(name: str, trained_on: Iterable[str], folder: Path) -> Method:
    """A row's method that has no folder in the repository. `folder` holds what decides its version."""
    return Method(name, folder, {"kind": "generator", "trained_on": list(trained_on), "parameters": {}, "weights": []})


def collect(benchmark: Benchmark, submission: Submission, out: Path) -> Collected:
    """Bring every clip of the benchmark into `out/<clip>`, as the generate stage leaves it, or (for renders) as the
    render stage does. A clip that is not there, or is broken, becomes a failure with its reason."""
    found = submission.guess(benchmark)
    _clear(benchmark, out)
    sums, opaque, lossy = {}, set[tuple[str, str]](), list[str]()
    for clip in benchmark.clips:
        try:
            source = _source(found, clip)
            sums[clip] = _sha256(source)
            if source.kind == "views":
                sources = {view: _images(source, view, found.root / clip) for view in found.views}
                lossy += [clip] if any(is_lossy(path) for path in sources.values()) else []
                opaque |= {(clip, view) for view in _collect_views(benchmark, sources, out / clip, sums[clip])}
            else:
                _collect_geometry(benchmark, submission, source, out / clip)
            _record(out / clip, "ok", "")
        except FormatError as error:
            _record(out / clip, "failed", str(error))
    told = {"name": submission.name, "trained_on": list(submission.trained_on), "layout": found.layout.id}
    write_json(out / RECORD, told | {"lossy": lossy, "sha256": sums})
    method = method_of(submission.name, submission.trained_on, (out / RECORD).parent)
    return Collected(method, found.views, frozenset(opaque), tuple(lossy))


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


def _source(found: Guess, clip: str) -> Source:
    if clip in found.sources:
        return found.sources[clip]
    inside = sorted(p.name for p in (found.root / clip).iterdir())[:6] if (found.root / clip).is_dir() else "none"
    raise FormatError(found.root, f"a folder {clip} ({found.layout.form})", f"{inside}")


def _sha256(source: Source) -> str:
    """Of all that is used of a clip: of each place its films, or the files of its folder."""
    sums = []
    for view, place in sorted(source.places.items()):
        files = [place] if source.kind != "views" else candidates(place)
        each = [sha256_folder(path) if path.is_dir() else sha256_file(path) for path in files]
        sums.append(f"{view}\0{' '.join(each)}\n")
    return hashlib.sha256("".join(sums).encode()).hexdigest()


def _images(source: Source, view: str, folder: Path) -> Path:
    """The folder or film of one view."""
    found = find_images(source.places[view]) if view in source.places else None
    if found is None:
        raise FormatError(folder, f"{view}: {FORMS}", f"the views {', '.join(source.places)}")
    return found


def _collect_geometry(benchmark: Benchmark, submission: Submission, source: Source, out: Path) -> None:
    folder = source.places[""]
    if source.kind == "asset":
        shutil.copytree(folder, out / "asset", copy_function=_link, dirs_exist_ok=True)
        return
    asset = read_geometry(folder, benchmark.data["fps"], up=submission.up)
    # Files of geometry say nothing of a camera: they are taken to stand in the benchmark's world.
    write_asset(replace(asset, input_camera=benchmark.cameras[0]), out / "asset")


def _collect_views(benchmark: Benchmark, sources: Mapping[str, Path], out: Path, sha256: str) -> list[str]:
    """Renders go straight to `out/frames`. Returns the views without alpha."""
    opaque = []
    for view, path in sources.items():
        shown = _read_view(benchmark, path)
        opaque += [] if shown.has_alpha else [view]
        for k in range(len(shown.view)):
            write_frame(out / "frames", view, k, shown.view.rgb[k], shown.view.alpha[k])
    state = {"version": 1, "status": "ok", "reason": "", "asset_sha256": sha256}
    alignment = "none" if benchmark.data["alignment"] == "none" else "declared"  # as align.py says of images
    write_json(out / "aligned.json", state | {"alignment": alignment, "matrix": None, "fit": None})
    rendered = {"renderer": "given", "views": list(sources), "n_frames": len(benchmark.times)}
    write_json(out / "frames" / "render.json", state | rendered)
    return opaque


def _read_view(benchmark: Benchmark, path: Path) -> Shown:
    """Exactly the protocol's frames: nothing is resized, dropped or repeated."""
    size, count = benchmark.data["size"], len(benchmark.times)
    r, g, b = benchmark.data["background"]
    shown = read_images(path, (r, g, b))
    if shown.view.rgb.shape[:3] != (count, size, size):
        frames, height, width = shown.view.rgb.shape[:3]
        step = f"Frame k is at k / {benchmark.data['fps']:g} s; a resized image is another image."
        raise FormatError(path, f"{count} frames of {size} x {size}", f"{frames} of {width} x {height}", step)
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
