"""`Metric`: a pure function and the record that says what it measures. The functions live in `metrics/`.

A score function is one of four, by what it needs:

    frames      score(predicted: View, truth: View, **options)                              -> Float64[T]
    features    score(predicted: Float32[n, d], truth: Float32[n, d], **options)            -> Float64[n]
    geometry    score(predicted: Sequence[Mesh | Gaussians], truth: Sequence[Mesh], **options) -> Float64[T]
    record      score(record: Mapping[str, Any], **options)                                 -> float

One value a frame (a film, for features of films); NaN where a frame has none (the two ends, for a metric of motion). A
score that cannot be computed at all raises `MetricUnavailable`: an empty cell with its reason, never a made-up number.

A metric of a set (`unit` "set", always of features) has one value for all clips of a method. Its score function takes
nothing but its options and returns a `SetScore`, which is given one clip after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from jaxtyping import Float32, UInt8

from .errors import FormatError

if TYPE_CHECKING:  # torch is slow to import: only a loaded network needs it
    import torch

Score = Callable[..., Any]
# Which pictures of a clip (V views of T frames) make one input of a network, in this order of rows:
#     frame      every picture alone: n = V T, view by view
#     view       a view's T frames: n = V (one view alone gives n = 1)
#     time       a moment's V views, in the order of the protocol: n = T
#     diagonal   moment by moment through the views: with m = max(V, T), picture k < m is of view k V // m at frame
#                k T // m (V = T gives the diagonal of the matrix of pictures): n = 1
#     raster     all pictures of the clip, view by view, every other view backwards: n = 1
Films = Literal["frame", "view", "time", "diagonal", "raster"]


class MetricUnavailable(Exception):
    """This cell stays empty. The message is the reason, in words for the table."""


@dataclass(frozen=True)
class View:
    """What one camera saw.

    Attributes:
        rgb: T frames in sRGB, composited on the protocol's background.
        alpha: coverage of the same pixels, 255 = fully covered by the object.
    """

    rgb: UInt8[np.ndarray, "T H W 3"]
    alpha: UInt8[np.ndarray, "T H W"]

    def __post_init__(self) -> None:
        if self.rgb.dtype != np.uint8 or self.rgb.ndim != 4 or self.rgb.shape[3] != 3 or not self.rgb.size:
            found = f"{self.rgb.dtype} {list(self.rgb.shape)}"
            raise FormatError("View.rgb", "non-empty uint8 frames [T,H,W,3]", found)
        if self.alpha.dtype != np.uint8 or self.alpha.shape != self.rgb.shape[:3]:
            found = f"{self.alpha.dtype} {list(self.alpha.shape)}"
            raise FormatError("View.alpha", f"uint8 {list(self.rgb.shape[:3])}, as in rgb", found)

    def __len__(self) -> int:
        return len(self.rgb)


class Network(Protocol):
    """A loaded feature network: 8-bit sRGB on its device in, vectors there out. It does its own resizing."""

    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        """uint8 [n,H,W,3], or for films [n,T,H,W,3] -> float32 [n,d]. A batch gives what its parts give."""
        ...


@dataclass(frozen=True)
class Feature:
    """A feature network with its preprocessing. Metrics that name the same one share its vectors.

    Attributes:
        id, version: named like metrics; the version goes up whenever a number could change.
        of: what one vector describes, a picture or a film.
        width: d, numbers in a vector.
        weights: ids in weights.yaml.
        load: (weight id -> path, device) -> the network. Reads files; no randomness, no downloads.
        text: (weight id -> path, device) -> a function from a prompt to [d], for networks that read.
    """

    id: str
    version: int
    of: Literal["picture", "film"]
    width: int
    weights: tuple[str, ...]
    load: Callable[[Mapping[str, Path], torch.device], Network]
    text: Callable[[Mapping[str, Path], torch.device], Callable[[str], torch.Tensor]] | None = None


class SetScore(Protocol):
    """A statistic over clips. Streaming where it can: pictures are never kept."""

    def add(self, predicted: Float32[np.ndarray, "n d"], truth: Float32[np.ndarray, "n d"]) -> None:
        """One clip; rows as `Films` says."""
        ...

    def value(self) -> float:
        """Over all that was added. Raises MetricUnavailable if that is too little."""
        ...


@dataclass(frozen=True)
class Metric:
    """One column of a table.

    Attributes:
        id: names the variant, so that a column never mixes two: "lpips-vgg", not "lpips".
        version: goes up whenever a value could change.
        definition: one sentence with backbone, range, resize, alignment: all that decides the number.
        unit: "clip" if one clip gives a value, "set" if only a whole set does.
        needs: what the score function takes, see above.
        direction: whether a higher or a lower value is better.
        units: of the value, for example "dB", "1", "s", "GiB".
        perfect: the value that the ground truth must reach; None if the metric does not measure quality.
        weights: ids in weights.yaml; `load` gets one path for each.
        reference: the paper or code that defines it.
        load: makes the score function; networks are read here, once for a scoring job (those of features apart).
        feature, films: the vectors that a metric of features sees, and of which pictures.
        named_only: two folders are compared by it only if it is named: it is slow, or an evaluation of its own.
        on_device: of a metric of geometry: it computes on the GPU if there is one.
        against: what stands in for `truth`: the true pictures' vectors, or [1,d] of the clip's prompt.
        alpha: whether a score of frames looks at `View.alpha`: it has no value for pictures without any.
    """

    id: str
    version: int
    definition: str
    unit: Literal["clip", "set"]
    needs: Literal["frames", "features", "geometry", "record"]
    direction: Literal["higher", "lower"]
    units: str
    perfect: float | None
    weights: tuple[str, ...]
    reference: str
    load: Callable[[Mapping[str, Path]], Score]
    feature: Feature | None = None
    films: Films = "frame"
    against: Literal["truth", "prompt"] = "truth"
    alpha: bool = False
    named_only: bool = False
    on_device: bool = False
