"""Feature networks at work: where they run and how exactly, which pictures they see, and the vectors that come out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float32, Int64

from .errors import FormatError
from .metric import Feature, Films, Metric, MetricUnavailable, Network

if TYPE_CHECKING:  # torch is slow to import: only a loaded network needs it
    import torch

Precision = Literal["float32", "half"]
HALF = ", half precision"  # what a row's device ends with; tables look for it
# Pixels of one batch, by type of device, where a picture counts as at least SIDE x SIDE: networks enlarge small ones.
BATCH_PIXELS = {"cpu": 2**20, "cuda": 2**24}
SIDE = 224


@dataclass(frozen=True)
class Place:
    """Where networks run, and how exactly.

    Attributes:
        device: of torch.
        precision: "half" means autocast: float16 on a GPU, bfloat16 on a CPU.
        name: of the processor, for result rows.
    """

    device: torch.device
    precision: Precision
    name: str

    @property
    def arithmetic(self) -> str:
        """Vectors that were computed under different ones could differ in their last digits."""
        import torch

        unit = torch.backends.cpu.get_cpu_capability() if self.device.type == "cpu" else ""
        return f"torch {torch.__version__} on {self.name} {unit}, {self.precision}"


def find_place(precision: Precision = "float32") -> Place:
    """The first GPU that is seen, else the CPU."""
    import torch

    suffix = HALF if precision == "half" else ""
    if torch.cuda.is_available():
        return Place(torch.device("cuda"), precision, torch.cuda.get_device_name() + suffix)
    return Place(torch.device("cpu"), precision, "cpu" + suffix)


@contextmanager
def running(place: Place) -> Iterator[None]:
    """Networks are called inside: no gradients, TF32 off, deterministic algorithms; autocast if half is asked for."""
    import torch
    from torch.backends import cudnn

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            stack.enter_context(cudnn.flags(enabled=True, allow_tf32=False, deterministic=True, benchmark=False))
            if place.precision == "half":
                dtype = torch.float16 if place.device.type == "cuda" else torch.bfloat16
                stack.enter_context(torch.autocast(place.device.type, dtype=dtype))
            yield
    finally:
        torch.set_float32_matmul_precision(before)


@dataclass(frozen=True, eq=False)  # one object a network: compared by identity
class LoadedFeature:
    """A feature network in memory, and the sha256 of its files."""

    feature: Feature
    network: Network
    place: Place
    weights_sha256: str


def weights_of(metric: Metric) -> tuple[str, ...]:
    """Ids in weights.yaml of all that a metric reads: its own files, then its feature network's."""
    theirs = metric.feature.weights if metric.feature else ()
    return tuple(dict.fromkeys(metric.weights + theirs))


def check_record(metric: Metric) -> None:
    """Raise FormatError if a metric of features asks for what cannot be."""
    feature, where = metric.feature, f"metric {metric.id}"
    if feature is None:
        raise FormatError(where, "a feature, as needs is 'features'", "none")
    if (feature.of == "picture") != (metric.films == "frame"):
        raise FormatError(where, f"films that give {feature.id} {feature.of}s", repr(metric.films))
    if metric.unit == "clip" and metric.films not in ("frame", "view"):
        raise FormatError(where, "films 'frame' or 'view' for one value a clip", repr(metric.films))
    if metric.against == "prompt" and feature.text is None:
        raise FormatError(where, "a feature that reads prompts", feature.id)


def load_feature(feature: Feature, weights: Mapping[str, Path], sums: Mapping[str, str], place: Place) -> LoadedFeature:
    """Read its files. `weights`, `sums`: path and sha256 of each of its weight ids."""
    network = feature.load({id: weights[id] for id in feature.weights}, place.device)
    return LoadedFeature(feature, network, place, "+".join(sums[id] for id in feature.weights))


@dataclass(frozen=True)
class Request:
    """Vectors that are wanted of a clip: what its pictures put together (`films`), of these views at these frames."""

    network: LoadedFeature
    films: Films
    views: tuple[int, ...]
    frames: tuple[int, ...]


def pictures_of(
    films: Films, views: Sequence[int], frames: Sequence[int]
) -> tuple[Int64[np.ndarray, "n *L"], Int64[np.ndarray, "n *L"]]:
    """View and frame of every picture, in the order of rows that `metric.Films` describes; L pictures make a film.

    >>> v, k = pictures_of("diagonal", [0, 1], [0, 4, 8, 12])
    >>> v.tolist(), k.tolist()
    ([[0, 0, 1, 1]], [[0, 4, 8, 12]])
    >>> v, k = pictures_of("raster", [0, 1], [0, 4, 8])
    >>> v.tolist(), k.tolist()
    ([[0, 0, 0, 1, 1, 1]], [[0, 4, 8, 8, 4, 0]])
    """
    v, k = np.meshgrid(np.asarray(views, np.int64), np.asarray(frames, np.int64), indexing="ij")
    if films == "frame":
        return v.ravel(), k.ravel()
    if films == "view":
        return v, k
    if films == "time":
        return v.T, k.T
    if films == "diagonal":
        count, (n_views, n_frames) = max(v.shape), v.shape
        along = np.arange(count)
        chosen = along * n_views // count, along * n_frames // count
        return v[chosen][None], k[chosen][None]
    k[1::2] = k[1::2, ::-1]
    return v.reshape(1, -1), k.reshape(1, -1)


def batch_size(device: str, height: int, width: int, pictures: int) -> int:
    """Films of so many pictures of that size in one batch, on a device of this type.

    >>> batch_size("cpu", 512, 512, 1), batch_size("cuda", 512, 512, 32), batch_size("cpu", 512, 512, 32)
    (4, 2, 1)
    """
    return max(1, BATCH_PIXELS[device] // (max(height * width, SIDE**2) * pictures))


def vectors(request: Request, pixels: torch.Tensor, batch: int | None = None) -> Float32[np.ndarray, "n d"]:
    """One vector a picture or film. `pixels`: uint8 [V,T,H,W,3] on the network's device.

    `batch` films at a time: changes speed and memory; values within the tolerance of docs/precision.md.
    Raises MetricUnavailable if the network cannot tell (too few frames, numbers beyond half precision).
    """
    import torch

    feature, place = request.network.feature, request.network.place
    v, k = (torch.from_numpy(index).to(pixels.device) for index in _indices(request))
    length = v.shape[1] if v.ndim == 2 else 1
    step = batch or batch_size(place.device.type, pixels.shape[2], pixels.shape[3], length)
    with running(place):
        parts = [
            request.network.network(pixels[v[start : start + step], k[start : start + step]]).float()
            for start in range(0, len(v), step)
        ]
        found = torch.cat(parts).cpu().numpy()
    if found.shape != (len(v), feature.width):
        raise FormatError(f"feature {feature.id}", f"vectors [{len(v)},{feature.width}]", f"{list(found.shape)}")
    if not np.isfinite(found).all():
        raise MetricUnavailable(f"{feature.id} gave numbers that are not finite ({place.precision})")
    return found


def _indices(request: Request) -> tuple[np.ndarray, np.ndarray]:
    v, k = pictures_of(request.films, request.views, request.frames)
    return np.ascontiguousarray(v), np.ascontiguousarray(k)
