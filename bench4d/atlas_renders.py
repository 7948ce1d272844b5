"""What the atlas shows to metrics: a workflow run's outputs under a setting, laid out as the workflow lays them out.

Pictures are taken as they are where the workflow made the very same ones, and rendered anew otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .align import align_clip
from .atlas import Setting
from .benchmark import Benchmark
from .errors import FormatError
from .files import read_json, write_json
from .frames import read_view, write_frame
from .method import Method, method_folders
from .rendering import RENDERERS, Backend, render_clip
from .submission import method_of

FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
NO_TRUTH = "the truth is images, which cannot be shown from other cameras, at other sizes or on another background"
NO_IMAGES = "the method makes images, which cannot be shown from other cameras, at other sizes or on another background"
NO_ASSETS = "assets are gone, so that nothing can be rendered anew: `keep: all` keeps them"


@dataclass(frozen=True)
class Run:
    """What a workflow run left in results/<benchmark>.

    Attributes:
        outputs: methods with their seeds; clips lie in `<method>/seed<k>/<clip>`.
    """

    base: Benchmark
    folder: Path
    outputs: tuple[tuple[Method, tuple[int, ...]], ...]

    @cached_property
    def backend(self) -> Backend:
        """What drew the truth, and will draw everything else."""
        record = self.folder / "truth" / self.base.clips[0] / "frames" / "render.json"
        found = str(read_json(record)["renderer"])
        for backend, renderer in RENDERERS.items():
            if renderer == found:
                return backend
        raise FormatError(record, f"a renderer among {list(RENDERERS.values())}", repr(found), "Run the workflow anew.")

    def place(self, method: Method, seed: int) -> Path:
        return self.folder / method.id / f"seed{seed}"


def find_run(base: Benchmark, folder: Path, names: Sequence[str] = ()) -> Run:
    """The outputs of these methods (none: of all that are there); generators first. Raises FormatError."""
    seeds: dict[str, list[int]] = {}
    for record in sorted(folder.glob(f"*/seed*/{base.clips[0]}/aligned.json")):
        seeds.setdefault(record.parts[-4], []).append(int(record.parts[-3].removeprefix("seed")))
    if not seeds or not set(names) <= set(seeds):
        wanted = f"outputs of {sorted(set(names) - set(seeds)) or 'methods'}"
        raise FormatError(folder, wanted, f"those of {list(seeds)}", "`snakemake --cores all` makes them.")
    known = method_folders()
    methods = [Method.read(known[id]) if id in known else method_of(id, (), folder / id) for id in names or seeds]
    methods.sort(key=lambda method: (method.kind == "reference", method.id))
    run = Run(base, folder, tuple((method, tuple(sorted(seeds[method.id]))) for method in methods))
    places = [run.place(method, seed) for method, seeds_of in run.outputs for seed in seeds_of]
    for clip in base.clips:
        true = folder / "truth" / clip / "frames" / "render.json"
        for record in [true, *(place / clip / "aligned.json" for place in places)]:
            if not record.is_file():
                raise FormatError(record, f"the record of every clip of {base.id}", "no such file")
        shown = read_json(true)
        if (shown["views"], shown["n_frames"]) != (base.views, base.data["n_frames"]):
            found = f"{shown['n_frames']} frames of {shown['views']}"
            expected = f"{base.data['n_frames']} frames of {base.views}, as in {base.path}"
            raise FormatError(true, expected, found, "The protocol has changed since: run the workflow anew.")
    return run


def shown_already(base: Benchmark, setting: Setting) -> dict[str, str] | None:
    """View of the setting -> view of the workflow with the very same pictures; None unless all of them have one."""
    data, same = setting.benchmark.data, {}
    if any(data[key] != base.data[key] for key in ("rig", "background", "alignment", "time_rule")):
        return None
    if (setting.resized_from or data["size"]) != base.data["size"]:
        return None
    for view in data["views"]:
        for known in base.data["views"]:
            if known["elevation"] == view["elevation"] and (known["azimuth"] - view["azimuth"]) % 360 == 0:
                same[view["id"]] = known["id"]
    return same if len(same) == len(data["views"]) else None


def obstacle(run: Run, setting: Setting, method: Method) -> str:
    """Why pictures of this method cannot be shown under the setting, or ""."""
    if shown_already(run.base, setting) is not None:
        return ""
    if not run.base.data["geometry"]:
        return NO_TRUTH
    return NO_IMAGES if method.data.get("output") == "views" else ""


def lay_out(run: Run, setting: Setting, source: Path, target: Path, pictures: bool, threads: int) -> None:
    """`target/<clip>/` for all clips of `source`, a method's folder or the truth's: asset, records and frames.

    Without `pictures` the record of frames alone is written, for metrics of geometry.
    """
    for clip in run.base.clips:
        out, mine = target / clip, source / clip
        out.mkdir(parents=True)
        if (mine / "asset").is_dir():
            (out / "asset").symlink_to((mine / "asset").resolve())
        aligned = _aligned(run, setting, mine, clip)
        write_json(out / "aligned.json", aligned)
        if (mine / "generate.json").is_file():
            write_json(out / "generate.json", read_json(mine / "generate.json"))
        if pictures and aligned["status"] == "ok":
            _draw(run, setting, mine / "frames", out, aligned, threads)
        record = {key: aligned[key] for key in ("status", "reason", "asset_sha256")}
        write_json(out / "frames" / "render.json", record)


def _aligned(run: Run, setting: Setting, folder: Path, clip: str) -> dict[str, Any]:
    """The workflow's own alignment, or another one; the truth, which has no record of it, stands where it is."""
    if not (folder / "aligned.json").is_file():
        true = read_json(folder / "frames" / "render.json")
        return {key: true[key] for key in ("status", "reason", "asset_sha256")} | {"matrix": np.eye(4).tolist()}
    aligned: dict[str, Any] = read_json(folder / "aligned.json")
    alignment = setting.benchmark.data["alignment"]
    if alignment == run.base.data["alignment"] or aligned["status"] != "ok":
        return aligned
    _need_assets(folder)
    like = replace(run.base, data=run.base.data | {"alignment": alignment})
    truth = run.folder / "truth" / clip / "asset"
    return align_clip(like, folder, truth=truth, clip=run.folder / "clips" / clip)


def _draw(run: Run, setting: Setting, theirs: Path, out: Path, aligned: Mapping[str, Any], threads: int) -> None:
    same, size = shown_already(run.base, setting), setting.resized_from or setting.benchmark.data["size"]
    if same is not None and all((theirs / view / "rgb").is_dir() for view in same.values()):
        for view, known in same.items():
            _link(theirs / known, out / "frames" / view, setting)
    else:
        _need_assets(theirs.parent)
        rendered = replace(setting.benchmark, data=setting.benchmark.data | {"size": size})
        render_clip(rendered, theirs.parent / "asset", dict(aligned), out / "frames", threads, run.backend)
    if setting.resize is not None:
        for view in setting.benchmark.views:
            _resize(out / "frames", view, setting, size)


def _need_assets(folder: Path) -> None:
    if not (folder / "asset" / "asset.json").is_file():
        raise FormatError(folder / "asset", "the asset that the method made", "none", NO_ASSETS)


def _link(theirs: Path, ours: Path, setting: Setting) -> None:
    for kind in ("rgb", "alpha"):
        (ours / kind).mkdir(parents=True)
        for k in range(setting.benchmark.data["n_frames"]):
            (ours / kind / f"{k:04d}.png").symlink_to((theirs / kind / f"{k * setting.step:04d}.png").resolve())


def _resize(frames: Path, view: str, setting: Setting, rendered: int) -> None:
    """As scripts do it that read 8-bit files: Pillow on the bytes, colour and coverage each by itself."""
    assert setting.resize is not None
    size, method = setting.benchmark.data["size"], FILTERS[setting.resize]
    shown = read_view(frames, view, setting.benchmark.data["n_frames"], rendered)
    for k in range(len(shown)):
        rgb, alpha = (np.asarray(Image.fromarray(p[k]).resize((size, size), method)) for p in (shown.rgb, shown.alpha))
        write_frame(frames, view, k, rgb, alpha)
