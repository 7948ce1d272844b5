"""The method folders of the small SS4D pass what every method folder has to, with a random checkpoint in its place."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench4d.asset_io import read_asset
from bench4d.cli.tiny_clip import make_clip
from bench4d.conformance import CHECKS, check_one
from bench4d.trial import Trial
from ss4d.random_checkpoint import write_random_checkpoint

ROOT = Path(__file__).parents[2]
STATIC = "own_static"


@pytest.mark.parametrize("name", ["ss4d_tiny", STATIC])
def test_folder_passes_every_check(name: str, tmp_path: Path) -> None:
    checkpoint, folder = tmp_path / "checkpoint", tmp_path / "baselines" / name
    write_random_checkpoint(checkpoint, "tiny")
    shutil.copytree(ROOT / "baselines" / name, folder)
    (tmp_path / "ss4d").symlink_to(ROOT / "ss4d")
    text = (folder / "method.yaml").read_text("utf-8")
    own = "checkpoint: ss4d/checkpoints/tiny"
    assert text.count(own) == 1 and "steps: null" in text
    changed = text.replace(own, f"checkpoint: {checkpoint}").replace("steps: null", "steps: 3")
    (folder / "method.yaml").write_text(changed, "utf-8")
    trial = Trial(folder, tmp_path / "trial", make_clip)
    (tmp_path / "trial").mkdir()
    outcomes = {check.name: check_one(check, trial) for check in CHECKS}
    outcomes.pop("the render is not empty")  # a ball of few random Gaussians, which are small ones
    assert {key: str(found) for key, found in outcomes.items() if found.status != "ok"} == {}
    frames = read_asset(trial.out).frames
    means = [frame.means for frame in frames]  # type: ignore[union-attr]
    assert len(means) == trial.n_frames == 5
    same = all(len(x) == len(means[0]) and (x == means[0]).all() for x in means)
    assert same is (name == STATIC)
