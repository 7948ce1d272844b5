"""What a step of a sampler costs: what is worked out how often, whether the host waits for the GPU, and memory."""

import gc
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ss4d.checkpoint import SamplerSettings
from ss4d.latent_flow import SLatFlow4DModel
from ss4d.pipeline import Result, SS4DPipeline, integrate
from ss4d.random_checkpoint import write_random_checkpoint
from ss4d.sampler import times
from ss4d.sparse import SparseTensor, implicit_gemm, neighbours
from ss4d.speed import fastest_attention, use_kernels
from ss4d.structure_flow import SparseStructureFlow4DModel
from tools.ss4d_timing_ways import frames

ON_GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
COMMON: dict[str, Any] = {
    "in_channels": 3, "out_channels": 3, "model_channels": 32, "cond_channels": 5, "num_blocks": 3, "num_heads": 2,
    "pe_mode": "rope_t", "qk_rms_norm": True, "expand_self_attn": True,
}  # fmt: skip
FRAMES, STEPS = 20, 6  # frames enough for more sequences than are computed one by one
SETTINGS = SamplerSettings(steps=STEPS, cfg_strength=3.0, cfg_interval=(0.5, 1.0), rescale_t=3.0)


def flow_and_noise(stage: int, half: bool = False, device: str = "cpu") -> tuple[Any, Any]:
    torch.manual_seed(0)
    if stage == 1:
        args = COMMON | {"resolution": 2, "patch_size": 1, "window_size": 4, "use_fp16": half}
        network: nn.Module = SparseStructureFlow4DModel.from_args(args)
        noise: Any = torch.randn(FRAMES, 3, 2, 2, 2, device=device)
    else:
        args = COMMON | {"resolution": 8, "io_block_channels": [16], "io_block_channels_t": [32], "use_fp16": half}
        network = SLatFlow4DModel.from_args(args)
        coords = torch.cat([torch.randperm(8**3)[: 20 + k].sort().values + 512 * k for k in range(FRAMES)])
        coords = torch.stack([coords // 512, coords // 64 % 8, coords // 8 % 8, coords % 8], 1).int()
        noise = SparseTensor(torch.randn(len(coords), 3, device=device), coords.to(device), FRAMES)
    for parameter in network.parameters():
        nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.2)
    return network.to(device).requires_grad_(False), noise


def counted(network: nn.Module, *names: str) -> Counter[str]:
    """How often layers of these names are called from now on."""
    calls: Counter[str] = Counter()
    for name, layer in network.named_modules():
        if (last := name.rpartition(".")[2]) in names:
            layer.register_forward_hook(lambda *_, last=last: calls.update([last]))
    return calls


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("stage", [1, 2])
def test_what_a_clip_and_what_a_step_works_out_once(stage: int, keep: bool) -> None:
    network, noise = flow_and_noise(stage)
    calls = counted(network, "t_embedder", "adaLN_modulation", "to_kv", "emb_layers")
    integrate(network, noise, torch.randn(FRAMES, 4, 5), SETTINGS, FRAMES, keep=keep)
    assert 0 < sum(0.5 <= t <= 1 for t in times(STEPS, 3.0)[:-1]) < STEPS  # with steps of both kinds
    assert calls["t_embedder"] == STEPS and calls["adaLN_modulation"] == 3 * STEPS
    assert calls["to_kv"] == 3 * (1 if keep else STEPS)
    if stage == 2:
        blocks = [*network.input_blocks, *network.input_blocks_t, *network.out_blocks_t, *network.out_blocks]
        assert calls["emb_layers"] == len(blocks) * STEPS


def test_neighbours_are_found_once_a_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    network, noise = flow_and_noise(2)
    found: Counter[Any] = Counter()
    find = neighbours._find

    def counting(sites: Any, kernel: Any, frames: int) -> Any:
        found[id(sites), kernel] += 1
        return find(sites, kernel, frames)

    monkeypatch.setattr(neighbours, "_find", counting)
    integrate(network, noise, torch.randn(FRAMES, 4, 5), SETTINGS, FRAMES)
    assert len(found) == 4 and set(found.values()) == {1}  # in space on two levels, in time on two


@pytest.mark.parametrize(("stage", "half", "kernels"), [
    pytest.param(stage, half, kernels, marks=ON_GPU)
    for stage in (1, 2) for half in (True, False) for kernels in ("triton", "torch")
])  # fmt: skip
def test_the_host_waits_for_no_step(stage: int, half: bool, kernels: Any) -> None:
    network, noise = flow_and_noise(stage, half, "cuda")
    use_kernels([network], kernels)
    cond = torch.randn(FRAMES, 4, 5, device="cuda")
    with fastest_attention(kernels):
        integrate(network, noise, cond, SETTINGS, FRAMES)
        torch.cuda.set_sync_debug_mode("error")
        try:
            with pytest.raises(RuntimeError, match="synchroniz"):
                torch.ones(1, device="cuda").item()
            again = integrate(network, noise, cond, SETTINGS, FRAMES)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert bool((again if isinstance(again, Tensor) else again.feats).isfinite().all())


def made(folder: Path, device: str, low_memory: bool) -> Result:
    pipeline = SS4DPipeline.from_pretrained(folder, device=device, low_memory=low_memory)
    return pipeline.run(frames(4))


def test_low_memory_changes_no_bit(tmp_path: Path) -> None:
    write_random_checkpoint(tmp_path, "tiny", steps=2)
    a, b = (made(tmp_path, "cpu", low) for low in (False, True))
    assert all(torch.equal(x, y) for x, y in zip(a.coords, b.coords, strict=True))
    for x, y in zip(a.gaussians, b.gaussians, strict=True):
        for field in fields(x):
            if field.name.startswith("raw_"):
                assert torch.equal(getattr(x, field.name), getattr(y, field.name))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_low_memory_has_a_lower_peak(tmp_path: Path) -> None:
    write_random_checkpoint(tmp_path, "tiny", steps=2)
    peaks = {}
    for low in (False, True, False, True):  # the first two also load libraries
        gc.collect()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        made(tmp_path, "cuda", low)
        peaks[low] = torch.cuda.max_memory_allocated() - before
    assert peaks[True] < peaks[False]


def test_the_triton_table_is_made_once_a_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    tables: Counter[Any] = Counter()
    make = implicit_gemm._table

    def counting(sites: Any, kernel: Any, frames: int) -> Tensor:
        tables[id(sites), kernel] += 1
        return make(sites, kernel, frames)

    network, noise = flow_and_noise(2)
    monkeypatch.setattr(implicit_gemm, "_table", counting)
    monkeypatch.setattr(implicit_gemm, "convolve", lambda feats, weight, bias, table: feats @ weight[0] + bias)
    use_kernels([network], "torch", convolution="triton")
    integrate(network, noise, torch.randn(FRAMES, 4, 5), SETTINGS, FRAMES)
    assert len(tables) == 4 and set(tables.values()) == {1}
