"""Reading cases, and the rules by which their weights follow from a seed.

A case is `<name>.json` beside `<name>.safetensors`. Its tensors are called `in/...`, `mid/...` and `out/...`; weights
are not stored but drawn as `fill` says, unless they are there as `sd/...`.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

HERE = Path(__file__).parents[1] / "fixtures" / "ss4d"
FOLDER = Path(os.environ.get("SS4D_PARITY_FIXTURES") or HERE)


@dataclass(frozen=True)
class Case:
    name: str
    record: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def kind(self) -> str:
        """The network's class, or the case's name where there is no single network."""
        return self.record.get("model", self.name)

    @property
    def tolerance(self) -> float:
        """Largest difference from the recorded outputs, which are of order one."""
        if self.name.endswith("_fp16"):
            return 1e-2
        # The recorded logits of this decoder are themselves 1.4e-5 from float64; ours with AVX2 are 5.7e-6 from it.
        if self.name == "ss_decoder":
            return 2e-5
        return 1e-4 if self.kind == "pipeline" else 1e-5

    def to(self, device: str) -> Case:
        return replace(self, tensors={name: t.to(device) for name, t in self.tensors.items()})

    def part(self, name: str) -> dict[str, Tensor]:
        """Tensors called `name/...`, without that."""
        return {key.removeprefix(f"{name}/"): t for key, t in self.tensors.items() if key.startswith(f"{name}/")}


def names(folder: Path = FOLDER) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.json") if path.with_suffix(".safetensors").exists())


def read(name: str, folder: Path = FOLDER) -> Case:
    record = json.loads((folder / f"{name}.json").read_text())
    return Case(name, record, load_file(folder / f"{name}.safetensors"))


@torch.no_grad()
def fill(network: nn.Module, seed: int) -> None:
    """Draw all parameters, not buffers, from one generator in sorted order of their names."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(network.named_parameters()):
        x = torch.randn(parameter.shape, generator=generator)
        if name.endswith("gamma") or (parameter.ndim == 1 and name.endswith("weight")):
            x = 1 + 0.2 * x
        elif parameter.ndim == 1:
            x = 0.1 * x
        else:
            x = x / math.sqrt(parameter.numel() / parameter.shape[0])
        parameter.copy_(x)


def fill_case(case: Case, networks: dict[str, nn.Module]) -> None:
    """Weights of all networks of a case, each under the prefix of its names there."""
    stored = case.part("sd")
    for prefix, network in networks.items():
        if stored:
            own = {key.removeprefix(prefix): t for key, t in stored.items() if key.startswith(prefix)}
            network.load_state_dict(own, strict=True)
        else:
            fill(network, case.record["weight_seeds"][prefix])
        network.eval()


def signature(network: nn.Module, prefix: str = "") -> list[list[Any]]:
    """Names, shapes and dtypes of a state dict, in order."""
    state = network.state_dict()
    return [[prefix + name, list(t.shape), str(t.dtype).removeprefix("torch.")] for name, t in state.items()]


def worst(found: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, float]:
    """Largest absolute difference of each expected tensor; infinite where names, shapes, integers or NaNs disagree."""
    errors = dict.fromkeys(expected, math.inf)
    for name, target in expected.items():
        value = found.get(name)
        if value is None or value.shape != target.shape or value.is_floating_point() != target.is_floating_point():
            continue
        if not target.is_floating_point():
            errors[name] = 0.0 if torch.equal(value.long(), target.long()) else math.inf
        elif torch.isfinite(value).all():
            errors[name] = float((value.double() - target.double()).abs().max()) if value.numel() else 0.0
    return errors
