"""`Metric`: a pure function and the record that says what it measures. The functions live in `metrics/`.

A score function is one of three, by what it needs:

    frames      score(predicted: View, truth: View, **options)                              -> Float64[T]
    geometry    score(predicted: Sequence[Mesh | Gaussians], truth: Sequence[Mesh], **options) -> Float64[T]
    record      score(record: Mapping[str, Any], **options)                                 -> float

One value a frame; NaN where a frame has none (the two ends, for a metric of motion). A score that cannot be computed at
all raises `MetricUnavailable`: an empty cell with its reason, never a made-up number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8

from .errors import FormatError

Score = Callable[..., Any]


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
        load: makes the score function; networks are read here, once for a scoring job.
    """

    id: str
    version: int
    definition: str
    unit: Literal["clip", "set"]
    needs: Literal["frames", "geometry", "record"]
    direction: Literal["higher", "lower"]
    units: str
    perfect: float | None
    weights: tuple[str, ...]
    reference: str
    load: Callable[[Mapping[str, Path]], Score]
