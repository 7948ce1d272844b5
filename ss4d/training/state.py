"""Checkpoints of a run: all that it takes to go on exactly as if it had not stopped.

    RUN/checkpoints/step-00001000/networks.safetensors    weights in training
                                  average.safetensors     their moving average
                                  optimiser.safetensors   its moments, lengths of the last gradients
                                  state.json              step, and the configuration it belongs to

A folder appears under its name only when it is complete. The order of data and everything drawn are functions of the
seed and the step (order.py), so there is nothing of them to keep.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from bench4d.errors import FormatError
from bench4d.files import read_json, write_json

from ..loading import load_strictly, read_tensors
from .optim import GradientClip, Optimiser

NAME = re.compile(r"step-(\d{8})")


def checkpoints(run: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    folder = run / "checkpoints"
    return sorted(path for path in folder.glob("step-*") if NAME.fullmatch(path.name)) if folder.is_dir() else []


def latest(run: Path) -> Path:
    if not (found := checkpoints(run)):
        raise FormatError(run / "checkpoints", "at least one checkpoint", "none", "Was the training started?")
    return found[-1]


def save(
    run: Path,
    step: int,
    networks: nn.Module,
    average: nn.Module,
    optimiser: Optimiser,
    clip: GradientClip,
    section: Mapping[str, Any],
    keep: int,
) -> Path:
    """Write the checkpoint after `step` steps and remove old ones but `keep`."""
    path = run / "checkpoints" / f"step-{step:08d}"
    temporary = path.with_name(f".{path.name}")
    if temporary.exists():  # of a run that was killed here
        shutil.rmtree(temporary)
    temporary.mkdir(parents=True)
    save_file(_on_cpu(networks.state_dict()), temporary / "networks.safetensors")
    save_file(_on_cpu(average.state_dict()), temporary / "average.safetensors")
    save_file(_on_cpu(optimiser.tensors() | clip.state()), temporary / "optimiser.safetensors")
    write_json(temporary / "state.json", {"step": step, "section": dict(section)})
    if path.exists():  # the same step again, after a resume from an older one
        shutil.rmtree(path)
    temporary.rename(path)
    for old in checkpoints(run)[:-keep]:
        shutil.rmtree(old)
    return path


def load(
    path: Path,
    networks: nn.Module,
    average: nn.Module,
    optimiser: Optimiser,
    clip: GradientClip,
    section: Mapping[str, Any],
) -> int:
    """Put a checkpoint into a fresh training; the number of steps it has behind it. Raises FormatError."""
    state = read_json(path / "state.json")
    if differing := _differences(state["section"], section):
        next_step = "Resume with the configuration of the run, or start another run."
        raise FormatError(path, "a run with this configuration", f"other values of {', '.join(differing)}", next_step)
    for name, module in (("networks", networks), ("average", average)):
        load_strictly(module, read_tensors(path / f"{name}.safetensors"), path / f"{name}.safetensors")
    found = read_tensors(path / "optimiser.safetensors")
    wanted = {*optimiser.keys(), *clip.state()}
    if differing := sorted(set(found) ^ wanted):
        raise FormatError(path / "optimiser.safetensors", "the moments of all parameters", f"{differing[:4]}")
    optimiser.load(found)
    clip.load(found)
    return int(state["step"])


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Paths of values that differ, but for how long to train what, and what to write how often."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(set(old) | set(new))
        inside = (_differences(old.get(key), new.get(key), f"{path}.{key}".lstrip(".")) for key in keys)
        return [name for names in inside for name in names]
    return [] if old == new or path in FREE else [path]


FREE = {f"train.{name}" for name in ("steps", "log_every", "validate_every", "validate_clips", "save_every", "keep")}
FREE |= {"train.freeze", "train.freeze_after"}
