"""tools/scoring_timing.py at sizes of a test: both sides compute the same metrics, and get the same numbers."""

from __future__ import annotations

import re

import pytest
import torch

from metrics.features import dreamsim
from tools import scoring_timing
from tools.random_weights import HALF_WRITERS
from tools.scoring_packages import Packages, tf32

CLASSICAL = "psnr,psnr-masked,ssim,ssim-masked"


def numbers(text: str, columns: int) -> dict[str, list[str]]:
    """The rows of every table of so many columns, by their first cell."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")
    ]
    return {row[0]: row[1:] for row in rows if len(row) == columns}


def test_both_sides_agree_and_the_rest_is_left_out(capsys):
    arguments = f"--clips 2 --frames 2 --size 32 --repeats 2 --no-memory --metrics {CLASSICAL},jitter"
    scoring_timing.main(arguments.split())
    said = capsys.readouterr().out
    values = numbers(said, 4)
    assert values.keys() == {"metric", *CLASSICAL.split(",")}
    for id in CLASSICAL.split(","):
        mine, theirs, difference = map(float, values[id])
        assert mine == pytest.approx(theirs, rel=1e-6)
        assert abs(difference) < 1e-12
        assert mine < 40  # the sides differ
    times = numbers(said, 2)
    whole = sum(float(times[f"packages, {part}"][0]) for part in ("films", "sets of pictures", "pictures"))
    assert float(times["packages, together"][0]) == pytest.approx(whole, abs=0.2)
    assert len(re.findall(r"^\| ours \| \d+\.\d \|$", said, re.MULTILINE)) == 2
    assert "Left out: jitter: no package computes it here." in said


def test_a_limit_of_time_scales_and_says_so(capsys):
    arguments = "--clips 2 --frames 2 --size 32 --packages-seconds 0 --no-warm --no-memory --metrics psnr"
    scoring_timing.main(arguments.split())
    said = capsys.readouterr().out
    assert "| packages, pictures, 1 of 2 clips in " in said
    assert ", times 2 |" in said
    mine, theirs, _ = numbers(said, 4)["psnr"]
    assert mine == theirs  # both of the one clip that the packages saw


def test_a_metric_without_its_package_is_on_neither_side(monkeypatch, capsys):

    def absent(self: Packages, id: str) -> None:
        raise ImportError("No module named 'lpips'")

    monkeypatch.setattr(Packages, "_lpips", absent)
    scoring_timing.main(
        ["--clips", "1", "--frames", "1", "--size", "32", "--no-warm", "--no-memory", "--metrics", "psnr,lpips-alex"]
    )
    said = capsys.readouterr().out
    assert "Metrics: psnr.\n" in said
    assert "Left out: lpips-alex, on both sides: the package is not here (No module named 'lpips')." in said


def test_peak_memory(capsys):
    scoring_timing.main(
        ["--no-time", "--memory-clips", "1", "--frames", "1", "--size", "32", "--memory-metrics", "psnr,jitter"]
    )
    said = capsys.readouterr().out
    assert "Metrics: psnr, jitter." in said
    main_memory, gpu, _ = map(float, numbers(said, 4)["1"])
    assert 50 < main_memory < 4000
    assert gpu == 0 or torch.cuda.is_available()


def test_the_archive_of_dreamsim_is_read_as_whole_matrices(tmp_path):
    path = HALF_WRITERS["dreamsim-dino-vitb16"](tmp_path)
    assert path.stat().st_size < 20e6
    archive = dreamsim.Archive(path)
    state = dreamsim.untuned(archive, dreamsim.DINO)
    name = "blocks.3.attn.qkv.weight"
    before = state[name].clone()
    dreamsim.adapt([state], archive, "dino_vitb16_single_lora")
    assert (state[name] - before).abs().max() > 1e-3
    assert all(tensor.is_contiguous() for tensor in state.values() if tensor.ndim == 2)  # no window of another's


def test_a_networks_projection_is_in_single_precision(tmp_path):
    archive = dreamsim.Archive(HALF_WRITERS["dreamsim-ensemble"](tmp_path))
    for branch in (dreamsim.CLIP, dreamsim.OPEN_CLIP):  # the package multiplies single-precision vectors by it
        state = archive.tensors(branch.member)["state_dict"]
        assert state["proj"].dtype == torch.float32
        assert state["blocks.0.mlp.fc1.weight"].dtype == torch.float16


def test_tf32_is_set_and_set_back():
    kinds = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [kind.allow_tf32 for kind in kinds]
    for allowed in (True, False):
        with tf32(allowed):
            assert [kind.allow_tf32 for kind in kinds] == [allowed, allowed]
    with tf32(None):
        assert [kind.allow_tf32 for kind in kinds] == before
    assert [kind.allow_tf32 for kind in kinds] == before
