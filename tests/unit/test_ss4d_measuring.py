"""The tools that time SS4D on a GPU, at tiny sizes on a CPU: what they compare has to agree."""

from pathlib import Path

import pytest
import torch

from ss4d.random_checkpoint import write_random_checkpoint
from tools import ss4d_kernels, ss4d_timing

needs_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="tiny shapes are for a CPU")


@needs_cpu
def test_fast_paths_are_as_near_to_float64_as_their_twins(capsys: pytest.CaptureFixture[str]) -> None:
    ss4d_kernels.main(["--quick"])
    output = capsys.readouterr().out
    rows = [line.split(" | ") for line in output.splitlines() if " | float" in line]
    assert "failed" not in output and {row[3] for row in rows} >= {"forward", "backward, inputs", "backward, weights"}
    for _, _, kind, _, error, twin, *_ in rows:
        limit = {"float16": 2e-3, "float32": 1e-6}[kind]
        assert 0 < float(error) < limit and 0 < float(twin) < limit


@needs_cpu
def test_all_ways_make_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_random_checkpoint(tmp_path, "tiny", steps=2)
    frames = ["--device", "cpu", "--frames", "4", "--voxels", "250", "--repeats", "1"]
    ways = ["--ways", "ours", "low-memory", "batched", "--against-float32", "4"]
    ss4d_timing.main([str(tmp_path), *frames, *ways])
    output = capsys.readouterr().out
    assert "failed" not in output and output.count("IoU 1.00000") == 3
    rows = [line.split("|")[1:-1] for line in output.splitlines() if line.startswith(("| Gaussians", "| lat"))]
    assert len(rows) == 3 * 7 and all(float(row[1]) < 1e-5 for row in rows)
    passes = [line.split("|") for line in output.splitlines() if line.startswith(("| stage 1 | w", "| stage 2 | w"))]
    assert len(passes) == 4 and all(0 < float(error) < 1e-5 for row in passes for error in row[3:5])
