"""The `data` section of `ss4d/configs/<size>.json`: what a data set holds. Strict: unknown and missing keys are errors.

The section is part of a data set's identity: its sha256 stands in the index, and shards made with another are remade.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from bench4d.errors import FormatError
from bench4d.files import read_json

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
SURFACE_CHANNELS, PATCH_CHANNELS = 9, 7  # of `features.surface_features`

Section = TypeVar("Section")
Range = tuple[float, float]
Rates = tuple[float, ...]


@dataclass(frozen=True)
class FeatureConfig:
    """What each voxel knows of its surface.

    Attributes:
        kind: "surface" (colour, normal, offset: 9 numbers, and 7 of patches) or "dinov2" (patch tokens averaged over
            views).
        patch: "surface": side in pixels of the square looked at around a voxel in each view, odd; 0: no patches, and
            features that depend on the surface alone.
        views: "dinov2": pictures a frame that are rendered for the features alone and not kept.
        view_size: "dinov2": side of those pictures in pixels.
        channels: "dinov2": width of the encoder's tokens.
    """

    kind: str
    patch: int = 5
    views: int = 0
    view_size: int = 0
    channels: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("surface", "dinov2"):
            raise FormatError("data.features.kind", '"surface" or "dinov2"', repr(self.kind))
        if self.kind == "surface" and not (self.patch == 0 or (self.patch > 0 and self.patch % 2 == 1)):
            raise FormatError("data.features.patch", "an odd number of pixels, or 0 for none", f"{self.patch}")
        if self.kind == "dinov2" and min(self.views, self.view_size, self.channels) < 1:
            found = f"{self.views} views of {self.view_size} pixels, {self.channels} channels"
            raise FormatError("data.features", "views, view_size and channels for dinov2", found)

    @property
    def width(self) -> int:
        """Channels of the stored features."""
        return SURFACE_CHANNELS + bool(self.patch) * PATCH_CHANNELS if self.kind == "surface" else self.channels


@dataclass(frozen=True)
class ViewConfig:
    """Pictures that supervise the decoder: random cameras, others in each frame.

    Attributes:
        count: cameras a frame; 0 for a data set that no decoder is trained on.
        size: side of a picture in pixels.
        radius: distance of the cameras from the origin.
        fov: field of view in degrees.
        supersample: samples per pixel and axis.
    """

    count: int
    size: int
    radius: float
    fov: float
    supersample: int

    def __post_init__(self) -> None:
        if self.count < 0 or self.size < 1 or self.radius <= 0.87 or not 0 < self.fov < 180:
            raise FormatError("data.views", "views of at least one pixel, from outside the cube", f"{self}")


@dataclass(frozen=True)
class ConditionConfig:
    """Pictures as the image encoder gets them: one camera for all frames of a clip, one crop around all of them.

    Attributes:
        count: cameras a clip.
        size: side in pixels after the crop.
        render_size: side before it.
        supersample: samples per pixel and axis.
        azimuth, elevation: ranges in degrees, drawn uniformly. Azimuth 0 is the front.
        fov: range in degrees. The distance is the one at which the cube's circumscribed sphere fills the picture,
            sqrt(3) / 2 / sin(fov / 2); its inverse square is drawn uniformly.
    """

    count: int
    size: int
    render_size: int
    supersample: int
    azimuth: Range
    elevation: Range
    fov: Range

    def __post_init__(self) -> None:
        if self.count < 0 or min(self.size, self.render_size) < 1:
            raise FormatError("data.condition", "count >= 0 and positive sizes", f"{self}")
        for name in ("azimuth", "elevation", "fov"):
            value = getattr(self, name)
            if len(value) != 2 or not value[0] <= value[1]:
                raise FormatError(f"data.condition.{name}", "[low, high]", f"{value}")
        if not (self.fov[0] > 0 and self.fov[1] < 180):
            raise FormatError("data.condition.fov", "degrees between 0 and 180", f"{self.fov}")


@dataclass(frozen=True)
class AugmentConfig:
    """How condition clips are spoilt when a batch is made (augment.py). All are probabilities; the choice is ours.

    Attributes:
        mask: of a clip: a rectangle or ellipse hides part of it for some frames.
        drop: of a frame: it is missing (black).
        blur: of a clip: a run of frames is smeared over their neighbours in time.
        background: of a clip: it stands on a random colour instead of black.
    """

    mask: float
    drop: float
    blur: float
    background: float

    def __post_init__(self) -> None:
        if not all(0 <= value <= 1 for value in (self.mask, self.drop, self.blur, self.background)):
            raise FormatError("data.augment", "probabilities", f"{self}")


@dataclass(frozen=True)
class DataConfig:
    """What a data set holds.

    Attributes:
        frames: of a clip of synth4d; assets bring their own frames.
        fps: frames a second, one or several: `rate` says which a clip has.
        resolution: R of the grid R^3 over [-0.5, 0.5]^3.
        yaw: range in degrees of a clip's random turn about the vertical axis; [0, 0] for none.
        seed: of everything random.
        clips_per_shard: clips in one file.
    """

    frames: int
    fps: Rates
    resolution: int
    yaw: Range
    seed: int
    clips_per_shard: int
    features: FeatureConfig
    views: ViewConfig
    condition: ConditionConfig
    augment: AugmentConfig

    def __post_init__(self) -> None:
        positive = min(self.frames, self.clips_per_shard, *self.fps) > 0 and len(self.fps) > 0
        if not (positive and self.resolution <= 256 and min(self.frames, self.clips_per_shard, self.resolution) >= 1):
            found = f"frames {self.frames}, fps {self.fps}, resolution {self.resolution}"
            raise FormatError("data", "positive numbers, and a resolution of at most 256", found)
        if self.features.patch and not self.views.count:
            raise FormatError("data.views.count", "views, which features with patches look at", "0")
        if len(self.yaw) != 2 or not self.yaw[0] <= self.yaw[1]:
            raise FormatError("data.yaw", "[low, high] in degrees", f"{self.yaw}")

    @staticmethod
    def read(config: str | Path) -> DataConfig:
        """The `data` section of "tiny", "small", "full" or of a file. Raises FormatError."""
        return strict(DataConfig, read_section(config, "data"), f"{config}: data")

    def rate(self, clip: str) -> float:
        """Frames a second of a clip: the numbers at the end of ids (seeds) take turns, other clips have the first."""
        seed = clip.rpartition("-")[2]
        return self.fps[int(seed) % len(self.fps) if seed.isdigit() else 0]

    def to_json(self) -> dict[str, Any]:
        return json.loads(json.dumps(asdict(self)))

    @property
    def sha256(self) -> str:
        """Of what decides the bytes of a shard: all but the augmentation, which happens later."""
        data = {key: value for key, value in self.to_json().items() if key != "augment"}
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def read_section(config: str | Path, name: str) -> Any:
    """One section of a size's configuration ("tiny") or of a JSON file of that form."""
    path = Path(config) if str(config).endswith(".json") else CONFIGS / f"{config}.json"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in CONFIGS.glob("*.json")))
        raise FormatError("config", f"one of {known}, or a .json file", repr(str(config)))
    data = read_json(path)
    if not isinstance(data, dict) or name not in data:
        raise FormatError(path, f'an object with the section "{name}"', f"{data!r:.80}")
    return data[name]


def strict(kind: type[Section], data: Any, where: str) -> Section:
    """A dataclass (of dataclasses) from JSON. Lists become tuples, integers floats where floats are wanted."""
    if not isinstance(data, Mapping):
        raise FormatError(where, "an object", f"{data!r:.80}")
    wanted = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(data) - set(wanted))
    missing = [name for name, field in wanted.items() if name not in data and field.default is MISSING]
    if unknown or missing:
        raise FormatError(where, f"the keys {', '.join(wanted)}", f"unknown {unknown}, missing {missing}")
    types = get_type_hints(kind)
    return kind(**{name: _value(types[name], value, f"{where}.{name}") for name, value in data.items()})


def _value(kind: Any, value: Any, where: str) -> Any:
    if is_dataclass(kind):
        return strict(kind, value, where)  # type: ignore[arg-type]
    if kind == Rates and not isinstance(value, list | tuple):
        value = [value]
    if kind in (Range, Rates):
        if not isinstance(value, list | tuple):
            raise FormatError(where, "[low, high]", f"{value!r:.80}")
        return tuple(_value(float, x, where) for x in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, bool) is not (kind is bool) or not isinstance(value, kind):
        raise FormatError(where, f"a value of type {kind.__name__}", f"{value!r:.80}")
    return value
