"""Metrics made ready: their files found, their networks in memory, each feature network once.

What cannot be had (files, a package, memory) leaves its cells empty with the reason, and never stops the others.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from safetensors import SafetensorError

from .benchmark import Benchmark
from .errors import FormatError
from .features import LoadedFeature, Place, Precision, check_record, find_place, load_feature, weights_of
from .files import sha256_file
from .metric import Metric, MetricUnavailable, Score
from .weights import WeightsMissing, read_catalogue, resolve

if TYPE_CHECKING:  # torch is slow to import
    import torch

Weights = Mapping[str, Mapping[str, Any]]  # id -> {"path", "sha256"}, or {"reason"} if it could not be had
Made = TypeVar("Made")
# What a file of weights with other content, or a machine that is too small, makes a network's loader raise.
CANNOT_LOAD = (OSError, RuntimeError, ValueError, LookupError, ImportError, pickle.PickleError, SafetensorError)


@dataclass(frozen=True)
class Loaded:
    """A metric of the protocol, ready to run.

    Attributes:
        stride: it looks at every stride-th frame.
        options: keyword arguments of the score function.
        score: None when it cannot run here, and `reason` says why.
        weights_sha256: of all its files, joined by "+".
        device: for result rows.
        place: where its networks run; None if it has none.
        network: its feature network.
        text: from a prompt to its vector [d], for metrics against the prompt.
    """

    metric: Metric
    stride: int
    options: dict[str, Any]
    score: Score | None
    reason: str
    weights_sha256: str
    device: str
    place: Place | None = None
    network: LoadedFeature | None = None
    text: Callable[[str], torch.Tensor] | None = None

    @property
    def is_set(self) -> bool:
        return self.metric.unit == "set"


def find_weights(ids: Iterable[str], tell: Callable[[str], object]) -> dict[str, dict[str, str]]:
    """Where each file lies, fetched if need be, in the form of `Weights`. What is missing is told, in many words."""
    found: dict[str, dict[str, str]] = {}
    for id in dict.fromkeys(ids):
        try:
            path = resolve(id)
            found[id] = {"path": str(path), "sha256": sha256_file(path)}
        except WeightsMissing as missing:
            tell(str(missing))
            found[id] = {"reason": f"the weights {id} are not on this machine: {read_catalogue()[id].next_step}"}
    return found


def load_metrics(
    benchmark: Benchmark, metrics: Mapping[str, Metric], weights: Weights, precision: Precision = "float32"
) -> list[Loaded]:
    """The protocol's metrics."""
    loader = Loader(weights, precision)
    loaded = []
    for entry in benchmark.data["metrics"]:
        if entry["id"] not in metrics:
            raise FormatError(benchmark.path, f"metrics among {sorted(metrics)}", entry["id"])
        loaded.append(loader.load(metrics[entry["id"]], entry["stride"], entry.get("options", {})))
    return loaded


def load_metric(metric: Metric, weights: Weights) -> Loaded:
    """One metric alone, on every frame, without options."""
    return Loader(weights).load(metric)


class Loader:
    """Loads one metric after the other; those that name the same feature share its network, or the reason that it
    cannot be had."""

    def __init__(self, weights: Weights, precision: Precision = "float32") -> None:
        self.weights, self.precision = weights, precision
        self.networks: dict[tuple[str, str], Any] = {}  # (feature's id, "network" or "text") -> it, or why not

    def load(self, metric: Metric, stride: int = 1, options: Mapping[str, Any] | None = None) -> Loaded:
        ids = weights_of(metric)
        sums = "+".join(str(self.weights[id].get("sha256", "")) for id in ids)
        precision = "float32" if metric.needs == "geometry" else self.precision
        place = find_place(precision) if ids or metric.feature or metric.on_device else None
        device = place.name if place else "cpu"
        reasons = [f"{id}: {self.weights[id]['reason']}" for id in ids if "path" not in self.weights[id]]
        score = network = text = None
        try:
            if metric.needs == "features":
                check_record(metric)
            if reasons:
                raise MetricUnavailable("; ".join(reasons))
            score = _attempt(metric.id, lambda: metric.load(self._paths(metric.weights)))
            if metric.feature and place:
                network = self._network(metric, place)
                text = self._text(metric, place) if metric.against == "prompt" else None
        except MetricUnavailable as reason:
            return Loaded(metric, stride, dict(options or {}), None, str(reason), sums, device, place)
        return Loaded(metric, stride, dict(options or {}), score, "", sums, device, place, network, text)

    def _paths(self, ids: Iterable[str]) -> dict[str, Path]:
        return {id: Path(self.weights[id]["path"]) for id in ids}

    def _network(self, metric: Metric, place: Place) -> LoadedFeature:
        feature = metric.feature
        assert feature is not None
        sums = {id: str(self.weights[id]["sha256"]) for id in feature.weights}
        paths = self._paths(feature.weights)
        return self._once(feature.id, "network", lambda: load_feature(feature, paths, sums, place))

    def _text(self, metric: Metric, place: Place) -> Callable[[str], torch.Tensor]:
        feature = metric.feature
        assert feature is not None and feature.text is not None  # `check_record` has seen to it
        read = feature.text
        return self._once(feature.id, "text", lambda: read(self._paths(feature.weights), place.device))

    def _once(self, id: str, part: str, make: Callable[[], Made]) -> Made:
        if (id, part) not in self.networks:
            try:
                self.networks[id, part] = _attempt(id, make)
            except MetricUnavailable as reason:
                self.networks[id, part] = reason
        found = self.networks[id, part]
        if isinstance(found, MetricUnavailable):
            raise found
        return found


def _attempt(id: str, make: Callable[[], Made]) -> Made:
    """Raises MetricUnavailable alone."""
    try:
        return make()
    except CANNOT_LOAD as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise MetricUnavailable(f"{id} cannot be loaded: {text}") from error
