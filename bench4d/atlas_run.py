"""Outputs that a workflow run left, scored under the settings of the atlas.

What is kept are result rows, one small file for each setting, metric, method and seed, named by everything that decides
them; pictures are made in a temporary folder and thrown away. A second call reads.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from .atlas import PICTURES, Ask, Setting, digest
from .atlas_renders import Run, lay_out, obstacle
from .features import weights_of
from .files import read_json, sha256_file
from .method import Method
from .metric import Metric
from .metric_loading import Loaded, Loader, Weights
from .results import ROW, frame_of, read_rows, write_rows
from .score import code_version, score_method
from .weights import Entry, Locations, look

# (key of a setting, key of a want, method's id) -> rows of all its seeds, or why there are none
Found = dict[tuple[str, str, str], pd.DataFrame | str]


@dataclass(frozen=True)
class Want:
    """A metric with its options."""

    metric: Metric
    stride: int
    options: Mapping[str, object]

    @staticmethod
    def of(ask: Ask) -> Want:
        assert ask.metric is not None
        return Want(ask.metric, ask.stride, ask.options)

    @property
    def key(self) -> str:
        return digest([self.metric.id, self.metric.version, self.stride, dict(self.options)])


def weights_here(
    metrics: Iterable[Metric], catalogue: Mapping[str, Entry], places: Locations
) -> dict[str, dict[str, str]]:
    """The files of these metrics that lie on this machine, in the form of `Weights`. Nothing is downloaded: nobody has
    named these metrics, and some files have gigabytes."""
    found = {}
    for id in dict.fromkeys(id for metric in metrics for id in weights_of(metric)):
        path, _ = look(catalogue[id], places)
        sha256 = "" if path is None else catalogue[id].sha256 or sha256_file(path)
        reason = {"reason": f"the weights {id} are not on this machine: `bench4d weights fetch {id}`"}
        found[id] = {"path": str(path), "sha256": sha256} if path else reason
    return found


@dataclass
class Scorer:
    """Scores settings, and remembers.

    Args:
        out: folder of the remembered rows.
        tell: is told what is being scored.
        threads: for rendering, decoding and metrics without networks; values do not depend on it.
    """

    run: Run
    out: Path
    weights: Weights
    tell: Callable[[str], None]
    threads: int = 1
    loader: Loader = field(init=False)
    code: str = field(init=False)
    hashes: dict[tuple[str, int], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.loader, self.code = Loader(self.weights), code_version()

    def score(self, asks: Sequence[Ask]) -> Found:
        """The rows of everything that is asked for."""
        settings = {setting.key: setting for ask in asks for setting in ask.settings}
        found: Found = {}
        for key, setting in settings.items():
            wants = {Want.of(ask).key: Want.of(ask) for ask in asks if key in [s.key for s in ask.settings]}
            found |= self._setting(setting, wants)
        return found

    def _setting(self, setting: Setting, wants: Mapping[str, Want]) -> Found:
        """The truth is laid out once for all methods, when the first of them is not remembered."""
        found: Found = {}
        with tempfile.TemporaryDirectory(dir=self.run.folder, prefix=".atlas.") as temporary:
            for method, seeds in self.run.outputs:
                reasons = {key: self._reason(setting, want, method) for key, want in wants.items()}
                found |= {(setting.key, key, method.id): reason for key, reason in reasons.items() if reason}
                possible = {key: want for key, want in wants.items() if not reasons[key]}
                for seed in seeds:
                    self._score(setting, list(possible.values()), method, seed, Path(temporary))
                for key, want in possible.items():
                    files = [self._file(setting, want, method, seed) for seed in seeds]
                    rows = pd.concat([read_rows(file, ROW) for file in files], ignore_index=True)
                    found[setting.key, key, method.id] = rows
        return found

    def _reason(self, setting: Setting, want: Want, method: Method) -> str:
        """Why this cell stays empty, or "". A metric whose files are there is loaded only when it is needed."""
        if want.metric.needs in PICTURES and (reason := obstacle(self.run, setting, method)):
            return reason
        missing = [str(self.weights[id]["reason"]) for id in weights_of(want.metric) if "path" not in self.weights[id]]
        if missing:
            return "; ".join(missing)
        seeds = next(own for other, own in self.run.outputs if other.id == method.id)
        if all(self._file(setting, want, method, seed).is_file() for seed in seeds):
            return ""
        return self._load(want).reason

    def _load(self, want: Want) -> Loaded:
        return self.loader.load(want.metric, want.stride, want.options)

    def _score(self, setting: Setting, wants: Sequence[Want], method: Method, seed: int, work: Path) -> None:
        """Write the files that are not there yet; rows name a metric by its id alone, so each id once at a time."""
        lacking = [want for want in wants if not self._file(setting, want, method, seed).is_file()]
        while lacking:
            alike = [want for want in lacking if _of_pictures(want) == _of_pictures(lacking[0])]
            batch = {want.metric.id: want for want in alike}
            lacking = [want for want in lacking if want not in batch.values()]
            self.tell(f"{method.id}, seed {seed}: {', '.join(batch)}")
            mine, truth = self._lay_out(setting, method, seed, work, _of_pictures(alike[0]))
            loaded = [self._load(want) for want in batch.values()]
            rows, _ = score_method(setting.benchmark, method, seed, mine, truth, loaded, lambda _: None, self.threads)
            for id, want in batch.items():
                chosen = frame_of([row for row in rows if row["metric"] == id], ROW)
                write_rows(self._file(setting, want, method, seed), chosen)
        shutil.rmtree(work / "pictures" / f"{method.id}-{seed}", ignore_errors=True)  # one method's at a time

    def _lay_out(self, setting: Setting, method: Method, seed: int, work: Path, pictures: bool) -> tuple[Path, Path]:
        """Folders of the method and of the truth, as `score_method` reads them."""
        place = work / ("pictures" if pictures else "geometry")
        mine, truth = place / f"{method.id}-{seed}", place / "truth"
        for source, target in ((self.run.folder / "truth", truth), (self.run.place(method, seed), mine)):
            if not target.exists():
                lay_out(self.run, setting, source, target, pictures, self.threads)
        if not (place / "features").exists():  # vectors of the truth, named by the pictures' content
            (self.run.folder / "features").mkdir(exist_ok=True)
            (place / "features").symlink_to((self.run.folder / "features").resolve())
        return mine, truth

    def _file(self, setting: Setting, want: Want, method: Method, seed: int) -> Path:
        """Named by everything that decides its rows."""
        weights = [self.weights[id].get("sha256") for id in weights_of(want.metric)]
        decides = [setting.decides, want.key, weights, self.code, self.run.backend, self._outputs(method, seed)]
        return self.out / f"{method.id}-seed{seed}" / f"{digest(decides)[:32]}.parquet"

    def _outputs(self, method: Method, seed: int) -> str:
        """A hash over what the method made, how it was aligned, and the truth."""
        if (method.id, seed) not in self.hashes:
            place, truth = self.run.place(method, seed), self.run.folder / "truth"
            records = [
                [read_json(place / clip / "aligned.json"), read_json(truth / clip / "frames" / "render.json")]
                for clip in self.run.base.clips
            ]
            about = [method.id, method.version, method.parameters_sha256, method.weights_sha256, records]
            self.hashes[method.id, seed] = digest(about)
        return self.hashes[method.id, seed]


def _of_pictures(want: Want) -> bool:
    return want.metric.needs in PICTURES
