"""The tools that time SS4D on a GPU, at tiny sizes on a CPU: what they compare has to agree."""

from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ss4d.checkpoint import SamplerSettings
from ss4d.latent_flow import SLatFlow4DModel
from ss4d.pipeline import integrate
from ss4d.random_checkpoint import FLOW, write_random_checkpoint
from ss4d.sparse import SparseTensor
from ss4d.structure_flow import SparseStructureFlow4DModel
from tools import ss4d_floor, ss4d_kernels, ss4d_timing
from tools.ss4d_timing_ways import ball

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


@needs_cpu
@pytest.mark.parametrize("stage", [1, 2])
def test_the_floor_counts_what_a_sampler_multiplies(stage: int) -> None:
    small = {"model_channels": 32, "num_heads": 2, "cond_channels": 12, "num_blocks": 3, "use_fp16": False}
    settings, frames, images = SamplerSettings(steps=6), 4, 5
    args = FLOW | small | {"use_checkpoint": False}
    if stage == 1:
        args |= {"resolution": 4, "patch_size": 1, "window_size": 2}
        network, noise = SparseStructureFlow4DModel.from_args(args), torch.randn(frames, 8, 4, 4, 4)
        counted, rows, narrow = ss4d_floor.stage_1(frames, images, args, settings), frames * 64, 32
        embeddings = 3 * 6 * 32
    else:
        args |= {"resolution": 16, "patch_size": 2, "io_block_channels": [16], "io_block_channels_t": [32]}
        network, coords = SLatFlow4DModel.from_args(args), ball(frames, 250, 16)
        noise = SparseTensor(torch.randn(len(coords), 8), coords, frames)
        counted, rows, narrow = ss4d_floor.stage_2(coords, frames, images, args, settings), len(coords), 16
        blocks = [*network.input_blocks, *network.input_blocks_t, *network.out_blocks, *network.out_blocks_t]
        embeddings = 3 * 6 * 32 + sum(block.emb_layers[1].out_features for block in blocks)
    network.requires_grad_(False)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        integrate(network, noise, torch.randn(frames, images, 12), settings, frames)
    steps, guided = ss4d_floor.passes(settings)
    assert 0 < guided < steps
    ends = 2 * rows * 8 * narrow * (2 * steps + guided)  # the first layer once a step, the last once a pass
    times = 2 * steps * (256 * 32 + 32 * 32 + 32 * embeddings)  # of one row
    nothing = 3 * 2 * 32 * 32  # what cross attention answers without images, once a clip
    assert counter.get_total_flops() == pytest.approx(counted.flops + ends + times + nothing, rel=1e-12)
