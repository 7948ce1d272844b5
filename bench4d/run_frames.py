"""What a workflow run left to be looked at: the lossless frames of methods, truth and input, clip by clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from .benchmark import Benchmark, find_benchmark
from .clip import Clip
from .errors import FormatError
from .files import read_json, read_png_sequence
from .method import Method, method_folders
from .renders import on_background
from .submission import method_of
from .video import Video

TRUTH = "ground_truth"  # the reference method whose frames are the truth's
MAKE = "`snakemake --cores all` makes them; `keep: scores` in config/config.yaml removes them."


@dataclass(frozen=True)
class RunFrames:
    """The frames in results/<benchmark>.

    Attributes:
        methods: those with outputs, generators first.
    """

    benchmark: Benchmark
    folder: Path
    methods: tuple[Method, ...]

    @staticmethod
    def open(folder: Path) -> RunFrames:
        """Raises FormatError for a folder that no workflow run wrote."""
        if not folder.is_dir():
            raise FormatError(folder, "a folder results/<benchmark>", "no such folder", "`make results` makes one.")
        benchmark = find_benchmark(folder.resolve().name)
        names = sorted({path.parts[-3] for path in folder.glob("*/seed*/*") if path.is_dir()})
        if not names:
            raise FormatError(folder, "outputs of methods", "none", MAKE)
        known = method_folders()
        methods = [Method.read(known[id]) if id in known else method_of(id, (), folder / id) for id in names]
        return RunFrames(benchmark, folder, tuple(sorted(methods, key=lambda m: (m.kind == "reference", m.id))))

    def chosen(self, names: Sequence[str]) -> list[Method]:
        """The methods with these ids, in this order (none: all of them). Raises FormatError."""
        known = {method.id: method for method in self.methods}
        if unknown := [name for name in names if name not in known]:
            raise FormatError("--methods", f"ids among {sorted(known)}", f"{unknown}")
        return [known[name] for name in names] if names else list(self.methods)

    def clips(self, names: Sequence[str]) -> list[str]:
        return among("--clips", names, self.benchmark.clips)

    def views(self, names: Sequence[str]) -> list[str]:
        """The views with these ids (none: the novel ones, or all of a benchmark without novel views)."""
        groups = self.benchmark.group_of
        usual = [view for view in self.benchmark.views if groups[view] == "novel"] or self.benchmark.views
        return among("--views", names, self.benchmark.views) if names else usual

    def seed_of(self, method: str) -> int:
        """The lowest seed, where a method ran with several."""
        seeds = [int(p.name.removeprefix("seed")) for p in (self.folder / method).glob("seed*")]
        return min(seeds)

    def place(self, method: str, clip: str) -> Path:
        return self.folder / method / f"seed{self.seed_of(method)}" / clip

    def why_missing(self, method: str, clip: str) -> str:
        """Why there are no frames of this clip, or "" if there are."""
        record = self.place(method, clip) / "frames" / "render.json"
        if not record.is_file():
            return "no frames on disk"
        data = read_json(record)
        return "" if data["status"] == "ok" else str(data["reason"] or data["status"])

    def of_method(self, method: str, clip: str, view: str) -> UInt8[np.ndarray, "T H W 3"]:
        """On the protocol's background, as scored. Raises FormatError."""
        return self._read(self.place(method, clip) / "frames" / view / "rgb")

    def of_truth(self, clip: str, view: str) -> UInt8[np.ndarray, "T H W 3"]:
        return self._read(self.folder / "truth" / clip / "frames" / view / "rgb")

    def has_truth(self, clip: str, views: Sequence[str]) -> bool:
        return all((self.folder / "truth" / clip / "frames" / view / "rgb").is_dir() for view in views)

    def of_input(self, clip: str) -> UInt8[np.ndarray, "T H W 3"]:
        """The film that methods saw, on the protocol's background."""
        shown = Clip.read(self.folder / "clips" / clip)
        r, g, b = self.benchmark.data["background"]
        return on_background(Video(shown.frames, shown.times), (r, g, b)).rgb

    def _read(self, folder: Path) -> UInt8[np.ndarray, "T H W 3"]:
        if not folder.is_dir():
            raise FormatError(folder, "rendered frames", "no such folder", MAKE)
        return read_png_sequence(folder, len(self.benchmark.times), 3)


def among(option: str, names: Sequence[str], known: Sequence[str]) -> list[str]:
    """These names, or all that are known if there are none. Raises FormatError."""
    if unknown := [name for name in names if name not in known]:
        raise FormatError(option, f"ids among {list(known)}", f"{unknown}")
    return list(names) or list(known)
