"""The list of ablations: every change fits the tiny configuration, and changes something."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ss4d.training.config import read_training
from ss4d.training.task import build_networks

ROOT = Path(__file__).parents[2]
TABLE: dict[str, dict[str, Any]] = json.loads((ROOT / "ss4d" / "training" / "ablations.json").read_text())
FLOWS = ("structure_flow", "latent_flow")


@pytest.mark.parametrize("name", TABLE)
def test_every_ablation_can_be_trained_and_differs(name: str) -> None:
    entry = TABLE[name]
    if "like" in entry:
        assert set(entry) == {"like", "parameters"} and "like" not in TABLE[entry["like"]] and entry["parameters"]
        return
    assert entry and set(entry) <= set(FLOWS)  # a flow that is not named is the reference's
    changed = []
    for flow in FLOWS:
        section = read_training("tiny", flow, entry.get(flow, []))
        build_networks(section)
        reference = read_training("tiny", flow)
        changed += [flow] * (section.to_json() != reference.to_json())
        assert len(entry.get(flow, [])) == 0 or flow in changed, "changes that change nothing"
    assert bool(changed) == (name != "reference")


def test_parameters_are_those_of_the_method() -> None:
    known = yaml.safe_load((ROOT / "ss4d" / "method.yaml").read_text())["parameters"]
    for entry in TABLE.values():
        assert set(entry.get("parameters", {})) <= set(known)
