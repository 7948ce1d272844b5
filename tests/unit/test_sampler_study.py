"""The tool that compares samplers: passes are those that are made, settings are paired, what is there stays."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from bench4d.errors import FormatError
from ss4d.checkpoint import SamplerSettings
from ss4d.pipeline import integrate
from ss4d.random_checkpoint import write_random_checkpoint
from tools import sampler_study
from tools.sampler_study import Setting, count_passes, parsed, study, summarise, table


@pytest.mark.parametrize("steps", [1, 4, 25])
@pytest.mark.parametrize("interval", ["0.5:1", "0:1", "0.3:0.7", "none"])
@pytest.mark.parametrize("solver", ["euler", "dpm", "adams"])
@pytest.mark.parametrize("strength", [0.0, 2.0])
def test_passes_are_those_that_a_sampler_makes(steps: int, interval: str, solver: str, strength: float) -> None:
    import torch

    calls = []

    class Counted:
        """A network without shared work, for which every pass is a call."""

        def conditions(self, cond: Any, keep: bool) -> list[str]:
            return ["seen"]

        def nothing(self) -> list[str]:
            return ["nothing"]

        def velocities(self, x: Any, t: Any, conds: Any, num_frames: int) -> list[Any]:
            calls.extend(float(t[0]) for _ in conds)
            return [0 * x for _ in conds]

    settings = Setting(solver, steps, parsed(interval)).applied(SamplerSettings(cfg_strength=strength))
    integrate(Counted(), torch.zeros(2, 3), torch.zeros(2, 1, 4), settings, 2)  # type: ignore[arg-type]
    assert len(calls) == count_passes(settings)
    if not strength:
        assert len(calls) == steps
        assert Setting(solver, steps, parsed("0:1"), 2.0).applied(settings).cfg_strength == 2.0


def test_rows_are_paired_resumed_and_summarised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ss4d.pipeline import SS4DPipeline

    write_random_checkpoint(tmp_path / "random", "tiny", steps=2)
    pipeline = SS4DPipeline.from_pretrained(tmp_path / "random", device="cpu")
    asked = []

    def fake(pipe: SS4DPipeline, name: str, cameras: Any, frames: int, lpips: Any) -> tuple[None, Any, float]:
        chosen = pipe.checkpoint.latent_sampler
        assert chosen.steps == pipe.checkpoint.structure_sampler.steps
        asked.append((name, chosen.solver, chosen.steps))
        base = {"a": 0.5, "b": 0.9}[name]
        found = {"silhouette-iou novel": base - 0.1 / chosen.steps, "psnr novel": 20 * base, "lpips-vgg novel": 0.1}
        return None, found, 1.0

    monkeypatch.setattr(sampler_study, "judge", fake)
    lpips: Any = object()
    settings = [Setting(solver, steps, (0.5, 1.0)) for solver in ("euler", "dpm") for steps in (2, 10)]
    before = pipeline.checkpoint
    rows = study(pipeline, settings[:2], ["a", "b"], 4, tmp_path / "study.csv", lpips)
    rows = study(pipeline, settings, ["a", "b"], 4, tmp_path / "study.csv", lpips)
    assert len(asked) == len(set(asked)) == 8 == len(rows) and pipeline.checkpoint == before
    with (tmp_path / "study.csv").open(encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == rows
    found = {one.key: one for one in summarise(rows)}
    most = found["euler", "10", "0.5:1"]
    assert most.less["psnr novel"].mean == 0
    few = found["dpm", "2", "0.5:1"].less["silhouette-iou novel"]
    assert few.mean == pytest.approx(-0.04) and few.low == pytest.approx(-0.04) == few.high  # paired: no spread
    assert "| dpm | 2 | 0.5:1 |" in table(list(found.values()))
    with pytest.raises(FormatError, match="the same objects"):
        summarise(rows[:-1])


def test_intervals_are_read_strictly() -> None:
    assert parsed("none") is None and parsed("0.25:0.75") == (0.25, 0.75)
    with pytest.raises(FormatError, match="LOW:HIGH"):
        parsed("half")
