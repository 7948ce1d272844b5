"""Full-size networks, without memory: names, shapes and dtypes of their tensors are those of the released models."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import nn

from ss4d.checkpoint import NETWORKS

from .fixtures import HERE, signature

MODELS: dict[str, dict[str, Any]] = json.loads((HERE / "state_dicts.json").read_text())


def build(name: str) -> nn.Module:
    with torch.device("meta"):
        return NETWORKS[MODELS[name]["model"]].from_args(MODELS[name]["args"])


@pytest.mark.parametrize("name", MODELS)
def test_parameters(name: str) -> None:
    network = build(name)
    assert sum(parameter.numel() for parameter in network.parameters()) == MODELS[name]["parameters"]
    stored = sum(t.numel() * t.element_size() for t in network.state_dict().values())
    assert round(stored / 2**20, 1) == MODELS[name]["stored_mib"]


@pytest.mark.parametrize("name", [name for name in MODELS if MODELS[name]["state_dict"]])
def test_state_dict(name: str) -> None:
    assert signature(build(name)) == unrolled(MODELS[name]["state_dict"], MODELS[name]["repeat"])


def unrolled(rows: list[list[Any]], repeat: dict[str, int]) -> list[list[Any]]:
    """The list shows one block, `blocks.0`, of each repeated list: write out the others behind it."""
    for first, count in repeat.items():
        stem = first.removesuffix("0")
        own = [i for i, row in enumerate(rows) if row[0].startswith(f"{first}.")]
        block, behind = [rows[i] for i in own], rows[own[-1] + 1 :]
        every = [[row[0].replace(f"{stem}0.", f"{stem}{k}.", 1), *row[1:]] for k in range(count) for row in block]
        rows = rows[: own[0]] + every + behind
    return rows
