"""The scoring engine: one pass over the pictures of all clips.

Each clip's pictures are decoded once, put on the device once, and seen once by every feature network, however many
metrics share its vectors. Metrics of sets are fed on the way: what stays in memory of a clip is their own state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from .errors import FormatError
from .feature_cache import cached, key_of
from .features import Request, pictures_of, running, vectors
from .metric import Films, MetricUnavailable
from .metric_loading import Loaded
from .pictures import Pictures, bytes_of

Vectors = Float32[np.ndarray, "n d"]
NO_PROMPT = "the benchmark's clips have no prompt"
NO_VALUE = "no frame has a value"


@dataclass(frozen=True)
class Cell:
    """One value to become a row: the per-frame values it is the mean of, or why there are none.

    Attributes:
        view: None for geometry and records; of a set, the group's name.
        frames: by frame; empty for films.
        n_frames: frames (of a set: pictures or films) that went in.
    """

    view: str | None
    value: float
    status: str
    reason: str
    frames: dict[int, float]
    n_frames: int = 0


def empty(view: str | None, status: str, reason: str) -> Cell:
    """A cell without a value."""
    return Cell(view, np.nan, status, reason, {})


def cell_of(view: str | None, kept: Sequence[int], run: Callable[[], Float64[np.ndarray, " T"]]) -> Cell:
    """The mean of `run()`: one value for each frame of `kept`, or for something else if there are none."""
    try:
        values = np.asarray(run(), np.float64)
    except MetricUnavailable as reason:
        return empty(view, "not-run", str(reason))
    finite = np.isfinite(values)
    if np.isinf(values).any():
        raise FormatError("metric", "finite values (or MetricUnavailable with a reason)", f"{values}")
    if not finite.any():
        return empty(view, "not-run", NO_VALUE)
    frames = {k: float(v) for k, v in zip(kept, values, strict=True) if np.isfinite(v)} if len(kept) else {}
    return Cell(view, float(values[finite].mean()), "ok", "", frames, len(frames))


@dataclass(frozen=True)
class Pair:
    """One clip as predicted and as it is.

    Attributes:
        predicted: None if the clip has failed: metrics of sets then see the bare background.
        views: their names, for cells.
        groups: group of views -> their indices; metrics of sets have one value for each.
    """

    clip: str
    predicted: Pictures | None
    truth: Pictures
    views: tuple[str | None, ...]
    groups: Mapping[str, tuple[int, ...]]
    prompt: str | None = None
    truth_sha256: str = ""  # of truth.rgb, needed for the cache of vectors alone


@dataclass
class _Set:
    """A metric of a set over one group of views, while clips come in."""

    score: Any = None  # a SetScore, once a clip is there
    rows: int = 0
    bare_rows: int = 0
    bare_clips: list[str] = field(default_factory=list)
    reason: str = ""


class Engine:
    """Scores pictures, clip by clip, then sets.

    Args:
        items: metrics that need frames or features; others are passed over, as are those that cannot run here.
        background: sRGB in [0, 1], what a failed clip shows in a set.
        cache: folder of the truth's vectors, or None.
        threads: for metrics without networks, which run beside those with one. Values do not depend on it.
        batch: films a network sees at a time; None: as many as `features.batch_size` says.
    """

    def __init__(
        self,
        items: Sequence[Loaded],
        background: Sequence[float],
        cache: Path | None = None,
        threads: int = 1,
        batch: int | None = None,
    ) -> None:
        self.items, self.background, self.cache, self.batch = list(items), background, cache, batch
        self.threads = threads
        runnable = [item for item in items if item.score is not None]
        self.of_frames = [item for item in runnable if item.metric.needs == "frames"]
        self.of_features = [item for item in runnable if item.metric.needs == "features"]
        self.clip_items = [item for item in self.of_features if not item.is_set]
        self.set_items = [item for item in self.of_features if item.is_set]
        self.sets: dict[tuple[int, str], _Set] = {}  # (index in set_items, group)
        self.backgrounds: dict[Any, Vectors] = {}
        self.prompts: dict[tuple[str, str], Vectors] = {}
        places = [item.place for item in runnable if item.place is not None and item.metric.needs != "geometry"]
        self.device = places[0].device if places else None

    @property
    def looks(self) -> bool:
        """Whether any metric looks at pictures at all."""
        return bool(self.of_frames or self.of_features)

    def score(self, pair: Pair) -> Iterator[tuple[Loaded, Cell]]:
        """A cell of every metric of clips and every view, unless the clip has failed; sets are fed in any case."""
        if self.device is not None:
            predicted = pair.predicted and pair.predicted.on(self.device)
            pair = replace(pair, predicted=predicted, truth=pair.truth.on(self.device))
        if pair.predicted is not None:
            yield from self._frames(pair)
        clip = _ClipVectors(self, pair)
        if pair.predicted is not None:
            for v, view in enumerate(pair.views):
                for item in self.clip_items:
                    yield item, self._feature_cell(clip, item, v, view)
        for index, item in enumerate(self.set_items):
            for group, views in pair.groups.items():
                self._add(clip, index, item, group, views)

    def _frames(self, pair: Pair) -> Iterator[tuple[Loaded, Cell]]:
        """Metrics without a network run in threads meanwhile."""
        jobs = [(item, v) for v in range(len(pair.truth)) for item in self.of_frames]

        def run(item: Loaded, v: int) -> Cell:
            kept = range(0, pair.truth.n_frames, item.stride)
            assert pair.predicted is not None
            views = pair.predicted.view(v, kept), pair.truth.view(v, kept)
            return cell_of(pair.views[v], kept, lambda: call(item, *views))

        with ThreadPoolExecutor(self.threads) if self.threads > 1 else nullcontext() as pool:
            started: dict[int, Future[Cell]] = {}
            if pool is not None:
                started = {n: pool.submit(run, *job) for n, job in enumerate(jobs) if job[0].place is None}
            for n, job in enumerate(jobs):
                yield job[0], started[n].result() if n in started else run(*job)

    def _feature_cell(self, clip: _ClipVectors, item: Loaded, v: int, view: str | None) -> Cell:
        kept = range(0, clip.pair.truth.n_frames, item.stride)
        frames = kept if item.metric.films == "frame" else ()
        run = lambda: call(item, *clip.both(item, (v,)))  # noqa: E731
        cell = cell_of(view, frames, run)
        return cell if frames or cell.status != "ok" else replace(cell, n_frames=len(kept))

    def _add(self, clip: _ClipVectors, index: int, item: Loaded, group: str, views: tuple[int, ...]) -> None:
        state = self.sets.setdefault((index, group), _Set())
        if state.reason:
            return
        try:
            if state.score is None:
                assert item.score is not None
                state.score = item.score(**item.options)
            predicted, truth = clip.both(item, views)
            state.score.add(predicted, truth)
        except MetricUnavailable as reason:
            state.reason = f"{clip.pair.clip}: {reason}" if clip.pair.clip else str(reason)
            return
        state.rows += len(predicted)
        if clip.pair.predicted is None:
            state.bare_rows += len(predicted)
            state.bare_clips.append(clip.pair.clip)

    def set_cells(self) -> Iterator[tuple[Loaded, Cell]]:
        """Every metric of a set and group of views, once all clips have been scored."""
        for (index, group), state in self.sets.items():
            yield self.set_items[index], self._set_cell(self.set_items[index], group, state)

    def _set_cell(self, item: Loaded, group: str, state: _Set) -> Cell:
        assert item.metric.feature is not None
        if state.reason:
            return empty(group, "not-run", state.reason)
        try:
            value = float(state.score.value())
        except MetricUnavailable as reason:
            return empty(group, "not-run", str(reason))
        if not np.isfinite(value):
            raise FormatError(f"metric {item.metric.id}", "a finite value (or MetricUnavailable)", f"{value}")
        what = f"{item.metric.feature.of}s"
        bad = f"{state.bare_rows} of {state.rows} {what} are bare background: {', '.join(state.bare_clips)}"
        return Cell(group, value, "ok", bad if state.bare_rows else "", {}, state.rows)


def call(item: Loaded, predicted: Any, truth: Any) -> Float64[np.ndarray, " T"]:
    """The score function of a metric of clips; that of frames with a network under the asked precision."""
    assert item.score is not None
    with running(item.place) if item.place and item.metric.needs == "frames" else nullcontext():
        return np.asarray(item.score(predicted, truth, **item.options), np.float64)


class _ClipVectors:
    """The vectors of one clip's pictures, each computed when it is first asked for."""

    def __init__(self, engine: Engine, pair: Pair) -> None:
        self.engine, self.pair = engine, pair
        self.found: dict[tuple[Request, bool], Vectors | MetricUnavailable] = {}

    def both(self, item: Loaded, views: tuple[int, ...]) -> tuple[Vectors, Vectors]:
        """Of prediction and truth (or prompt): the rows of these views. Raises MetricUnavailable."""
        request = self._request(item, views)
        rows = self._rows(item, request, views)
        predicted = self._once(request, True)[rows]
        truth = self._prompt(item) if item.metric.against == "prompt" else self._once(request, False)[rows]
        return predicted, truth

    def _request(self, item: Loaded, views: tuple[int, ...]) -> Request:
        """As large as other metrics can share it: of pictures, all frames that any metric of this feature looks at."""
        assert item.network is not None
        films, count = item.metric.films, self.pair.truth.n_frames
        sharing = [o for o in self.engine.of_features if o.network is item.network] if films == "frame" else [item]
        frames = sorted({k for other in sharing for k in range(0, count, other.stride)})
        every = tuple(range(len(self.pair.truth)))
        return Request(item.network, films, every if films in ("frame", "view") else views, tuple(frames))

    def _rows(self, item: Loaded, request: Request, views: tuple[int, ...]) -> np.ndarray | slice:
        if request.films == "view":
            return np.array(views)
        if request.films == "frame":
            kept = range(0, self.pair.truth.n_frames, item.stride)
            places = [request.frames.index(k) for k in kept]
            return np.array([v * len(request.frames) + place for v in views for place in places])
        return slice(None)

    def _once(self, request: Request, of_prediction: bool) -> Vectors:
        if (request, of_prediction) not in self.found:
            try:
                make = self._predicted if of_prediction else self._truth
                self.found[request, of_prediction] = make(request)
            except MetricUnavailable as reason:
                self.found[request, of_prediction] = reason
        found = self.found[request, of_prediction]
        if isinstance(found, MetricUnavailable):
            raise found
        return found

    def _truth(self, request: Request) -> Vectors:
        pixels = self.pair.truth.pixels
        assert pixels is not None
        key = key_of(request, self.pair.truth_sha256)
        width = request.network.feature.width
        return cached(self.engine.cache, key, width, lambda: vectors(request, pixels, self.engine.batch))

    def _predicted(self, request: Request) -> Vectors:
        if self.pair.predicted is None:
            return self._background(request)
        assert self.pair.predicted.pixels is not None
        return vectors(request, self.pair.predicted.pixels, self.engine.batch)

    def _background(self, request: Request) -> Vectors:
        """All pictures are equal, and so are all vectors: one is computed, once for all clips of a size."""
        import torch

        index, _ = pictures_of(request.films, request.views, request.frames)
        length = index.shape[1] if index.ndim == 2 else 1
        size = self.pair.truth.rgb.shape[2:4]
        key = request.network, length, size
        if key not in self.engine.backgrounds:
            colour = np.broadcast_to(bytes_of(self.engine.background), (1, length, *size, 3)).copy()
            films: Films = "view" if request.network.feature.of == "film" else "frame"
            one = Request(request.network, films, (0,), tuple(range(length)))
            pixels = torch.from_numpy(colour).to(request.network.place.device)
            self.engine.backgrounds[key] = vectors(one, pixels)
        return np.repeat(self.engine.backgrounds[key], len(index), axis=0)

    def _prompt(self, item: Loaded) -> Vectors:
        if self.pair.prompt is None:
            raise MetricUnavailable(NO_PROMPT)
        assert item.text is not None and item.place is not None and item.metric.feature is not None
        key = item.metric.feature.id, self.pair.prompt
        if key not in self.engine.prompts:
            with running(item.place):
                self.engine.prompts[key] = item.text(self.pair.prompt).float().cpu().numpy().reshape(1, -1)
        return self.engine.prompts[key]
