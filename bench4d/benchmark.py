"""`Benchmark`: clips and the protocol that scores them, read from `benchmarks/<folder>/protocol*.yaml`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from .cameras import Cameras, orbit
from .clip import checked_id
from .errors import FormatError
from .files import sha256_file
from .method import ROOT
from .schema import read_yaml

ALIGNMENTS = ("none", "declared", "silhouette-view0", "icp-frame0")  # docs/alignment.md


@dataclass(frozen=True)
class Benchmark:
    """A protocol as data (see workflow/schemas/protocol.schema.yaml for every key).

    Attributes:
        id, version: name and version; both stand in every result row.
        path: the YAML file; `build.py` beside it makes the clips and the truth.
        protocol_sha256: of that file.
        data: its content.
    """

    id: str
    version: int
    path: Path
    protocol_sha256: str
    data: dict[str, Any]

    @property
    def clips(self) -> list[str]:
        return [clip["id"] for clip in self.data["clips"]]

    @property
    def object_of(self) -> dict[str, str]:
        """Clip id -> object: clips of one object are not independent."""
        return {clip["id"]: clip.get("object", clip["id"]) for clip in self.data["clips"]}

    @property
    def times(self) -> Float64[np.ndarray, " T"]:
        return np.arange(self.data["n_frames"]) / self.data["fps"]

    @property
    def views(self) -> list[str]:
        return [view["id"] for view in self.data["views"]]

    @property
    def group_of(self) -> dict[str, str]:
        """View id -> "input" or "novel"."""
        return {view["id"]: view["group"] for view in self.data["views"]}

    @property
    def cameras(self) -> Cameras:
        """The cameras of `views`, in that order; the first is the input camera."""
        single = [
            orbit([v["azimuth"]], v["elevation"], **self.data["rig"], size=self.data["size"])
            for v in self.data["views"]
        ]
        poses = np.concatenate([c.camera_to_world for c in single])
        return Cameras(poses, np.concatenate([c.intrinsics for c in single]), single[0].width, single[0].height)

    @staticmethod
    def read(path: Path) -> Benchmark:
        data = read_yaml(path, "protocol")
        for key in ("clips", "views", "metrics"):
            names = [entry["id"] for entry in data[key]]
            if len(set(names)) < len(names):
                raise FormatError(path, f"distinct ids in {key}", f"{sorted(n for n in names if names.count(n) > 1)}")
        for clip in data["clips"]:
            checked_id(clip["id"], path)
        if data["views"][0]["group"] != "input":
            raise FormatError(path, "the input camera as the first view", f"group {data['views'][0]['group']!r}")
        if data["alignment"] == "icp-frame0" and not data["geometry"]:
            raise FormatError(path, "geometry: true for the alignment icp-frame0", "geometry: false")
        scored = {metric["id"] for metric in data["metrics"]}
        for column in data["table"]:
            if column["metric"] not in scored:
                raise FormatError(path, f"table columns among {sorted(scored)}", repr(column["metric"]))
        return Benchmark(data["id"], data["version"], path, sha256_file(path), data)


def protocol_files(root: Path = ROOT) -> dict[str, Path]:
    """Benchmark id -> protocol file. `protocol.yaml` has its folder's name, `protocol-x.yaml` that name and `-x`."""
    found = sorted((root / "benchmarks").glob("*/protocol*.yaml"))
    return {path.parent.name + path.stem.removeprefix("protocol"): path for path in found}


def find_benchmark(name: str, root: Path = ROOT) -> Benchmark:
    known = protocol_files(root)
    if name not in known:
        raise FormatError("benchmark", f"one of {sorted(known)}", repr(name))
    benchmark = Benchmark.read(known[name])
    if benchmark.id != name:
        raise FormatError(known[name], f"id: {name} (from the file's name)", repr(benchmark.id))
    return benchmark
