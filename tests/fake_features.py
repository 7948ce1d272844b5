"""Feature networks for tests of the scoring: fixed linear maps of mean colours, exact in float32, that count."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from bench4d.metric import Feature, Metric, MetricUnavailable

MAP = torch.tensor([[1.0, 2, 0, -1], [0, 1, 3, 1], [2, 0, 1, 1]])  # mean colour -> vector


@dataclass
class Counter:
    """What the networks were asked."""

    loads: int = 0
    batches: list[tuple[int, ...]] = field(default_factory=list)

    @property
    def inputs(self) -> int:
        return sum(shape[0] for shape in self.batches)


def mean_colours(pictures: torch.Tensor) -> torch.Tensor:
    """uint8 [...,H,W,3] -> the sum over pixels, as a share of 256 pixels: exact."""
    return pictures.to(torch.int64).sum(dim=(-3, -2)).float() / 256


def picture_feature(counter: Counter, weights: tuple[str, ...] = (), id: str = "toy-picture") -> Feature:
    """d = 4. It loads `weights` if there are any: a file whose first byte is its factor."""

    def load(paths, device):
        counter.loads += 1
        factor = float(np.prod([Path(paths[id]).read_bytes()[0] for id in weights])) if weights else 1.0

        def network(pictures):
            assert pictures.dtype == torch.uint8 and pictures.ndim == 4
            counter.batches.append(tuple(pictures.shape))
            return factor * mean_colours(pictures) @ MAP

        return network

    def text(paths, device):
        return lambda prompt: torch.tensor([float(len(prompt)), 0, 0, 1])

    return Feature(id, 1, "picture", 4, weights, load, text)


def film_feature(counter: Counter, least: int = 1) -> Feature:
    """d = 4; frame t counts t + 1 times, so that the order matters. It wants films of `least` frames."""

    def load(paths, device):
        counter.loads += 1

        def network(films):
            assert films.dtype == torch.uint8 and films.ndim == 5
            counter.batches.append(tuple(films.shape))
            if films.shape[1] < least:
                raise MetricUnavailable(f"toy-film needs {least} frames, not {films.shape[1]}")
            times = torch.arange(1, films.shape[1] + 1).float()
            return torch.einsum("t,ntc->nc", times, mean_colours(films)) @ MAP

        return network

    return Feature("toy-film", 1, "film", 4, (), load)


def differences(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """A score of clips: the largest difference, one number a row."""
    return np.abs(predicted.astype(np.float64) - truth).max(axis=1)


@dataclass
class Rows:
    """A score of sets that remembers all it was given; its value is the distance of the means."""

    predicted: list[np.ndarray] = field(default_factory=list)
    truth: list[np.ndarray] = field(default_factory=list)

    def add(self, predicted: np.ndarray, truth: np.ndarray) -> None:
        self.predicted.append(predicted.copy())
        self.truth.append(truth.copy())

    def value(self) -> float:
        if sum(map(len, self.predicted)) < 2:
            raise MetricUnavailable("two rows are needed")
        return float(np.abs(np.concatenate(self.predicted).mean(0) - np.concatenate(self.truth).mean(0)).sum())


def metric(id: str, feature: Feature, unit: str = "clip", films: str = "frame", **other) -> Metric:
    load = (lambda weights: Rows) if unit == "set" else (lambda weights: differences)
    record = {"version": 1, "definition": "A toy.", "direction": "lower", "units": "1", "perfect": 0.0, "weights": ()}
    record |= {"reference": "none", "load": load} | other
    return Metric(id=id, unit=unit, needs="features", feature=feature, films=films, **record)
