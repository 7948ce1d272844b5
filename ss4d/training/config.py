"""The training sections of `ss4d/configs/<size>.json`. Strict: unknown and missing keys are errors.

A section reads {"networks": {name: "args" as in a checkpoint's JSON}, "train": {...}, "loss": {...}}.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench4d.errors import FormatError

from ..data.config import DataConfig, read_section, strict

# Name of a network in the configuration and of its files -> class as a checkpoint's JSON names it.
CLASSES = {
    "structure_encoder": "SparseStructureEncoder",
    "structure_decoder": "SparseStructureDecoder",
    "latent_encoder": "SLatEncoder",
    "gaussian_decoder": "SLatGaussianDecoder",
    "image_encoder": "SmallImageEncoder",
    "structure_flow": "SparseStructureFlow4DModel",
    "latent_flow": "SLatFlow4DModel",
}
SECTIONS = {
    "structure_vae": ("structure_encoder", "structure_decoder"),
    "latent_vae": ("latent_encoder", "gaussian_decoder"),
    "structure_flow": ("image_encoder", "structure_flow"),
    "latent_flow": ("latent_flow",),
}


@dataclass(frozen=True)
class Phase:
    """A part of a training with one shape of its batches.

    Attributes:
        until: steps that are done when it ends.
        frames, clips: as in `TrainSettings`.
        begin: steps that are done when it begins.
        before: rows of batches before it, of which order.py numbers the next.
    """

    until: int
    frames: int
    clips: int
    begin: int = 0
    before: int = 0


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How one family of networks is trained.

    Attributes:
        steps: updates of the weights.
        clips: of the global batch, over all processes and accumulated parts.
        frames: consecutive frames of each clip.
        curriculum: what comes first, [[until, frames, clips], ...] with growing numbers of steps: until so many steps
            are done, clips have so many frames. `clips` and `frames` hold for the rest.
        freeze: name of a network that is not trained any more when `freeze_after` steps are done: it becomes its
            moving average and stays so. "" for none.
        lr: learning rate after the warm-up.
        warmup: steps over which it rises linearly.
        schedule: "constant", or "cosine": down to lr_end * lr at the last step.
        optimiser: "adamw", or "muon" for the matrices of blocks and AdamW for the rest (optim.Optimiser).
        betas: of AdamW.
        weight_decay: of either.
        ema: decay of the weights' moving average; it is less at first (optim.ema_decay).
        clip_norm: longest gradient; clip_percentile of the last clip_window gradients' lengths, once there are as many.
        seed: of the initial weights, the order of clips and everything drawn.
        log_every, validate_every, save_every: steps between lines of the log, validations, checkpoints.
        validate_clips: clips that a validation during training looks at, from the first.
        keep: checkpoints that stay.
    """

    steps: int
    clips: int
    frames: int
    lr: float
    curriculum: tuple[tuple[int, int, int], ...] = ()
    freeze: str = ""
    freeze_after: int = 0
    warmup: int = 0
    schedule: str = "constant"
    lr_end: float = 0.0
    optimiser: str = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    ema: float = 0.9999
    clip_norm: float = 1.0
    clip_percentile: float = 95.0
    clip_window: int = 1000
    seed: int = 0
    log_every: int = 50
    validate_every: int = 1000
    save_every: int = 1000
    validate_clips: int = 16
    keep: int = 2

    def __post_init__(self) -> None:
        counts = ("steps", "clips", "frames", "clip_window", "log_every", "validate_every", "save_every", "keep")
        if low := [name for name in counts if getattr(self, name) < 1]:
            raise FormatError("train", f"at least 1 for {', '.join(low)}", f"{[getattr(self, name) for name in low]}")
        if self.schedule not in ("constant", "cosine"):
            raise FormatError("train.schedule", '"constant" or "cosine"', repr(self.schedule))
        if self.optimiser not in ("adamw", "muon"):
            raise FormatError("train.optimiser", '"adamw" or "muon"', repr(self.optimiser))
        if not (self.lr > 0 and 0 <= self.ema < 1 and self.clip_norm > 0 and 0 < self.clip_percentile <= 100):
            raise FormatError("train", "lr > 0, 0 <= ema < 1, clip_norm > 0, a percentile", f"{self}")
        ends = [0, *(until for until, _, _ in self.curriculum)]
        if sorted(set(ends)) != ends or any(min(numbers) < 1 for numbers in self.curriculum):
            expected = "[[until, frames, clips], ...] with growing numbers of steps and at least 1 frame and clip"
            raise FormatError("train.curriculum", expected, f"{self.curriculum}")
        if self.freeze_after < 0 or (self.freeze_after and not self.freeze):
            expected = "the name of a network, and train.freeze_after >= 0; or neither"
            raise FormatError("train.freeze", expected, f"{self.freeze!r} and {self.freeze_after}")

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The curriculum and what follows it, which has no end."""
        made: list[Phase] = []
        for until, frames, clips in (*self.curriculum, (sys.maxsize, self.frames, self.clips)):
            last = made[-1] if made else Phase(0, 0, 0)
            before = last.before + (last.until - last.begin) * last.clips
            made.append(Phase(until, frames, clips, last.until, before))
        return tuple(made)

    def phase(self, step: int) -> Phase:
        """The phase of step 0, 1, ..."""
        return next(phase for phase in self.phases if step < phase.until)


@dataclass(frozen=True)
class Section:
    """One network family of a configuration.

    Attributes:
        name: one of `SECTIONS`.
        resolution: voxels along each side of the grid, of the data section.
        networks: name -> arguments.
        train: how.
        loss: weights and the like, read by the family's task.
    """

    name: str
    resolution: int
    networks: Mapping[str, Mapping[str, Any]]
    train: TrainSettings
    loss: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        return json.loads(json.dumps(asdict(self)))


def read_training(config: str | Path, name: str, changes: Sequence[str] = ()) -> Section:
    """A section of "tiny", "small", "full" or of a JSON file. Raises FormatError.

    Args:
        changes: "train.lr=1e-3" and the like: dotted path inside the section = JSON value (or a bare word).
    """
    if name not in SECTIONS:
        raise FormatError("what to train", f"one of {sorted(SECTIONS)}", repr(name))
    section = change(read_section(config, name), changes)
    return parse_section(name, section, DataConfig.read(config).resolution, f"{config}: {name}")


def parse_section(name: str, data: Any, resolution: int, where: str) -> Section:
    if not isinstance(data, Mapping) or set(data) != {"networks", "train", "loss"}:
        raise FormatError(where, 'an object with "networks", "train" and "loss"', f"{sorted(data)}"[:80])
    own = [network for network in SECTIONS[name] if network != "image_encoder" or network in data["networks"]]
    if list(data["networks"]) != own:  # stage 1 may take an image encoder as it is
        raise FormatError(f"{where}.networks", f"{list(SECTIONS[name])}", f"{list(data['networks'])}")
    train = _train_settings(data["train"], f"{where}.train")
    if train.freeze and train.freeze not in data["networks"]:
        raise FormatError(f"{where}.train.freeze", f"one of {list(data['networks'])}, or nothing", repr(train.freeze))
    return Section(name, resolution, data["networks"], train, data["loss"])


def _train_settings(data: Any, where: str) -> TrainSettings:
    rest = {key: value for key, value in data.items() if key != "curriculum"} if isinstance(data, Mapping) else data
    curriculum = data.get("curriculum", []) if isinstance(data, Mapping) else []
    settings = strict(TrainSettings, rest, where)
    rows = curriculum if isinstance(curriculum, list) else [curriculum]
    if not all(isinstance(row, list) and len(row) == 3 and all(type(x) is int for x in row) for row in rows):
        raise FormatError(f"{where}.curriculum", "[[until, frames, clips], ...]", f"{curriculum!r:.80}")
    return replace(settings, curriculum=tuple((until, frames, clips) for until, frames, clips in rows))


def with_half(name: str, args: Mapping[str, Any], half: bool) -> dict[str, Any]:
    """A network's arguments with use_fp16, where it has that: the image encoder is always float32."""
    return dict(args) if name == "image_encoder" else {**args, "use_fp16": half}


def change(section: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """A copy of a section with some values replaced.

    >>> change({"train": {"lr": 1}}, ["train.lr=0.5", "train.schedule=cosine"])
    {'train': {'lr': 0.5, 'schedule': 'cosine'}}
    """
    changed: dict[str, Any] = copy.deepcopy(dict(section))
    for text in changes:
        path, equals, value = text.partition("=")
        *groups, last = path.split(".")
        place: Any = changed
        for group in groups:
            place = place.get(group) if isinstance(place, dict) else None
        if not equals or not groups or not isinstance(place, dict):
            raise FormatError("--set", "a path inside the section and a value, as in train.lr=1e-3", repr(text))
        try:
            place[last] = json.loads(value)
        except json.JSONDecodeError:
            place[last] = value
    return changed
