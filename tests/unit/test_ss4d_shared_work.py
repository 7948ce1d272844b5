"""What the flows compute once for several conditions, and once a clip, against plain forward passes."""

import copy
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from bench4d.errors import FormatError
from ss4d.attention import SelfAttention, attend, attend_packed
from ss4d.checkpoint import SamplerSettings
from ss4d.latent_flow import SLatFlow4DModel
from ss4d.pipeline import integrate
from ss4d.sampler import FlowEulerGuidanceIntervalSampler
from ss4d.sparse import SparseTensor
from ss4d.speed import use_kernels
from ss4d.structure_flow import SparseStructureFlow4DModel
from ss4d.two_devices import TwoDevices, moved

STRUCTURE: dict[str, Any] = {
    "resolution": 2, "in_channels": 3, "out_channels": 3, "model_channels": 16, "cond_channels": 5, "num_blocks": 3,
    "num_heads": 2, "patch_size": 1, "pe_mode": "rope_t", "qk_rms_norm": True, "expand_self_attn": True,
    "window_size": 4,
}  # fmt: skip
LATENT: dict[str, Any] = {
    "resolution": 8, "in_channels": 3, "model_channels": 24, "cond_channels": 5, "out_channels": 3, "num_blocks": 3,
    "num_heads": 2, "io_block_channels": [8], "io_block_channels_t": [24], "pe_mode": "rope_t", "qk_rms_norm": True,
    "expand_self_attn": True,
}  # fmt: skip
NETWORKS: dict[str, tuple[Any, dict[str, Any]]] = {
    "structure": (SparseStructureFlow4DModel, STRUCTURE),
    "structure, shared modulation": (SparseStructureFlow4DModel, STRUCTURE | {"share_mod": True}),
    "structure, inserted attention": (SparseStructureFlow4DModel, STRUCTURE | {"insert_temporal": True}),
    "structure, cross norm": (SparseStructureFlow4DModel, STRUCTURE | {"qk_rms_norm_cross": True}),
    "latent": (SLatFlow4DModel, LATENT),
    "latent, cross norm": (SLatFlow4DModel, LATENT | {"qk_rms_norm_cross": True}),
    "latent, pooled time": (SLatFlow4DModel, LATENT | {"conv_type": "non"}),
    "latent, frames alone": (SLatFlow4DModel, LATENT | {"expand_self_attn": False}),
    "latent, frames never joined": (SLatFlow4DModel, LATENT | {"conv_type": "3D"}),
}
FRAMES = 6
TWO_GPUS = [pytest.mark.gpu, pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")]


def network_and_state(name: str, half: bool = False) -> tuple[Any, Any]:
    kind, args = NETWORKS[name]
    torch.manual_seed(0)
    network = kind.from_args(args | {"use_fp16": half})
    for parameter in network.parameters():
        nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.3)
    if kind is SparseStructureFlow4DModel:
        return network.requires_grad_(False), torch.randn(FRAMES, 3, 2, 2, 2)
    coords = torch.cat([torch.randperm(8**3)[:20].sort().values + 512 * k for k in range(FRAMES)])
    coords = torch.stack([coords // 512, coords // 64 % 8, coords // 8 % 8, coords % 8], 1).int()
    return network.requires_grad_(False), SparseTensor(torch.randn(len(coords), 3), coords, FRAMES)


def values(x: Any) -> Tensor:
    return x if isinstance(x, Tensor) else x.feats


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("half", [False, True])
def test_velocities_are_those_of_forward_passes(name: str, half: bool) -> None:
    network, x = network_and_state(name, half)
    cond, t = 5 * torch.randn(FRAMES, 4, 5), 400.0
    conds = [network.conditions(cond), network.nothing()]
    found = network.velocities(x, torch.full((1,), t), conds, FRAMES)
    everywhere = torch.full((FRAMES,), t)
    for velocity, condition in zip(found, (cond, torch.zeros_like(cond)), strict=True):
        expected = values(network(x, everywhere, condition, FRAMES))
        error = (values(velocity) - expected).abs().max() / expected.abs().max()
        assert error < (1e-2 if half else 1e-5)
    assert (values(found[0]) - values(found[1])).abs().max() > 1e-3  # the condition does count


@pytest.mark.parametrize("name", ["structure", "latent"])
def test_a_sampler_gives_what_plain_passes_give(name: str) -> None:
    network, noise = network_and_state(name)
    cond = torch.randn(FRAMES, 4, 5)
    settings = SamplerSettings(steps=5, cfg_strength=3.0, cfg_interval=(0.5, 1.0), rescale_t=3.0)
    ours = integrate(network, noise, cond, settings, FRAMES)
    plain = FlowEulerGuidanceIntervalSampler(settings.sigma_min).sample(
        network, noise, cond, torch.zeros_like(cond), steps=5, rescale_t=3.0, cfg_strength=3.0, cfg_interval=(0.5, 1.0),
        num_frames=FRAMES,
    )  # fmt: skip
    error = (values(ours) - values(plain.x)).abs().max() / values(plain.x).abs().max()
    assert error < 1e-5


def test_each_network_has_the_fastest_attention_for_its_shapes() -> None:
    networks = [network_and_state(name, half=True)[0] for name in ("structure", "latent")]
    for kernels, expected in (("triton", ({"grouped"}, {"varlen"})), ("torch", ({"grouped"}, {"grouped"}))):
        use_kernels(networks, cast(Any, kernels))
        found = ({layer.kernel for layer in n.modules() if isinstance(layer, SelfAttention)} for n in networks)
        assert tuple(found) == expected


ON_TWO = [pytest.param("cuda:0 cuda:1", kernels, marks=TWO_GPUS) for kernels in ("torch", "triton")]


@pytest.mark.parametrize("devices, kernels", [("cpu", "torch"), *ON_TWO])
@pytest.mark.parametrize("name", ["structure", "latent"])
def test_two_devices_give_what_one_gives(name: str, devices: str, kernels: Any) -> None:
    first, second = (devices.split() * 2)[:2]
    network, noise = network_and_state(name)
    network, device = network.to(first), torch.device(first)
    use_kernels([network], kernels)
    noise = moved(noise, device)
    cond = torch.randn(FRAMES, 4, 5).to(first)
    settings = SamplerSettings(steps=5, cfg_strength=3.0, cfg_interval=(0.5, 1.0), rescale_t=3.0)
    alone = values(integrate(network, noise, cond, settings, FRAMES))
    together = values(integrate(TwoDevices(network, second), noise, cond, settings, FRAMES))
    assert (together - alone).abs().max() <= 1e-5 * alone.abs().max()


def test_the_way_in_runs_once_for_two_conditions() -> None:
    network, x = network_and_state("latent")
    calls = []
    for block in network.input_blocks:
        block.register_forward_hook(lambda *_: calls.append(1))
    network.velocities(x, torch.full((1,), 1.0), [network.conditions(torch.randn(FRAMES, 4, 5)), network.nothing()], 6)
    assert len(calls) == len(network.input_blocks)


def test_conditions_of_the_wrong_form_are_refused() -> None:
    for name in ("structure", "latent"):
        network, x = network_and_state(name)
        with pytest.raises(FormatError, match=r"tokens, 5\]|, L, 5\]"):
            network.conditions(torch.randn(FRAMES, 4, 6))
        with pytest.raises(FormatError, match=r"\[1\] for all"):
            network.velocities(x, torch.zeros(2), [network.nothing()], FRAMES)


@pytest.mark.parametrize("lengths", [[3, 5, 5, 5, 3], [4, 4], [7], [2, 0, 2, 6, 0, 6], [1, 2, 1, 2, 1, 2, 1, 2, 1, 2]])
def test_packed_sequences_attend_as_they_do_alone(lengths: list[int]) -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(3, sum(lengths), 2, 8)
    before = copy.deepcopy((q, k, v))
    packed = attend_packed(q, k, v, lengths, lengths)
    parts = [attend(*(a[None] for a in part))[0] for part in zip(*(a.split(lengths) for a in (q, k, v)), strict=True)]
    torch.testing.assert_close(packed, torch.cat(parts))
    assert all(torch.equal(a, b) for a, b in zip(before, (q, k, v), strict=True))
