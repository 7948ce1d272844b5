"""The networks on sparse tensors: symmetries, derivatives, refusals, and what a decoder's numbers mean."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from bench4d import ply
from bench4d.errors import FormatError
from ss4d.gaussian_decoder import SLatGaussianDecoder
from ss4d.gaussians import LAYOUT, Representation, read_gaussians, write_ply, y_up
from ss4d.latent_encoder import SLatEncoder, draw_latent
from ss4d.latent_flow import SLatFlow4DModel
from ss4d.sparse import SparseTensor

FLOW = {
    "resolution": 8,
    "in_channels": 3,
    "model_channels": 24,
    "cond_channels": 5,
    "out_channels": 3,
    "num_blocks": 2,
    "num_heads": 2,
    "io_block_channels": [8],
    "io_block_channels_t": [24],
    "pe_mode": "rope_t",
    "qk_rms_norm": True,
    "expand_self_attn": True,
}
TRANSFORMER = {
    "resolution": 8,
    "model_channels": 24,
    "latent_channels": 3,
    "num_blocks": 2,
    "num_heads": 2,
    "window_size": 4,
    "pe_mode": "rope_t",
}
REPRESENTATION = {
    "lr": {**dict.fromkeys(LAYOUT, 1.0), "_rotation": 0.1},
    "perturb_offset": True,
    "voxel_size": 1.5,
    "num_gaussians": 4,
    "2d_filter_kernel_size": 0.1,
    "3d_filter_kernel_size": 9e-4,
    "scaling_bias": 4e-3,
    "opacity_bias": 0.1,
    "scaling_activation": "softplus",
}
DECODER = {**TRANSFORMER, "representation_config": REPRESENTATION}
CONV_TYPES = {
    "3D_1D": {},
    "3D_4D": {"conv_type": "3D_4D"},
    "4D": {"conv_type": "4D", "io_block_channels_t": None},
    "non": {"conv_type": "non", "use_skip_connection": False},
    "3D": {"conv_type": "3D", "io_block_channels_t": None},
    "patch 4": {"patch_size": 4, "io_block_channels": [8, 16]},
}


def built(kind, args):
    """A network whose parameters are all random, those that start at zero too."""
    torch.manual_seed(0)
    network = kind.from_args(args)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return network


def some_latents(slots: int = 8, channels: int = 3, empty: tuple[int, ...] = (), seed: int = 0) -> SparseTensor:
    generator = torch.Generator().manual_seed(seed)
    occupied = torch.rand(slots, 8, 8, 8, generator=generator) < 0.08
    occupied[list(empty)] = False
    coords = occupied.nonzero()
    return SparseTensor(torch.randn(len(coords), channels, generator=generator), coords, slots)


def flow_inputs(slots: int):
    generator = torch.Generator().manual_seed(3)
    return 1000 * torch.rand(slots, generator=generator), torch.randn(slots, 6, 5, generator=generator)


@torch.no_grad()
@pytest.mark.parametrize("conv_type", CONV_TYPES)
def test_flow_treats_clips_alone_and_voxels_as_a_set(conv_type):
    network, x = built(SLatFlow4DModel, FLOW | CONV_TYPES[conv_type]), some_latents()
    t, cond = flow_inputs(8)
    y = network(x, t, cond, 4)
    assert y.sites is x.sites and y.feats.shape == x.feats.shape
    assert torch.equal(network(x, t, cond, 4).feats, y.feats)
    for clip in (0, 1):
        rows, slots = x.coords[:, 0] // 4 == clip, slice(4 * clip, 4 * clip + 4)
        coords = x.coords[rows] - torch.tensor([4 * clip, 0, 0, 0], dtype=torch.int32)
        alone = network(SparseTensor(x.feats[rows], coords, 4), t[slots], cond[slots], 4)
        torch.testing.assert_close(alone.feats, y.feats[rows], atol=1e-4, rtol=1e-4)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    order = order[x.coords[order, 0].argsort(stable=True)]
    shuffled = network(SparseTensor(x.feats[order], x.coords[order], 8), t, cond, 4)
    torch.testing.assert_close(shuffled.feats, y.feats[order], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_frames_that_are_never_joined_are_computed_alone():
    args = FLOW | {"conv_type": "3D", "io_block_channels_t": None, "expand_self_attn": False}
    network, x = built(SLatFlow4DModel, args), some_latents(slots=3)
    t, cond = flow_inputs(3)
    together = network(x, t, cond, 3)  # an odd number: there are no pairs
    for k in range(3):
        rows = x.coords[:, 0] == k
        coords = x.coords[rows] - torch.tensor([k, 0, 0, 0], dtype=torch.int32)
        alone = network(SparseTensor(x.feats[rows], coords, 1), t[k : k + 1], cond[k : k + 1], 1)
        torch.testing.assert_close(alone.feats, together.feats[rows], atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("empty", [(1,), (7,), (2, 3), (6, 7), (4, 5, 6, 7)])
def test_networks_work_with_empty_slots(empty):
    x = some_latents(empty=empty)
    t, cond = flow_inputs(8)
    assert torch.isfinite(built(SLatFlow4DModel, FLOW)(x, t, cond, 4).feats).all()
    frames = built(SLatGaussianDecoder, DECODER)(x, 4)
    assert [len(frame.xyz) for frame in frames] == [4 * length for length in x.sites.lengths]
    assert [len(frame.to_asset().means) == 0 for frame in frames] == [slot in empty for slot in range(8)]


@torch.no_grad()
@pytest.mark.parametrize("frames", [3, 5])
def test_decoder_treats_clips_alone_whatever_their_windows(frames):
    """Odd clips, no multiples of the window: the second clip's windows begin elsewhere, but never join the first's."""
    network, x = built(SLatGaussianDecoder, DECODER), some_latents(slots=2 * frames)
    changed = x.replace(torch.where(x.coords[:, :1] < frames, 1.0, 0.0) + x.feats)
    for slot, (a, b) in enumerate(zip(network(x, frames), network(changed, frames), strict=True)):
        assert torch.allclose(a.xyz, b.xyz, atol=1e-6) == (slot >= frames)


@torch.no_grad()
@pytest.mark.parametrize("mode", ["swin", "full"])
def test_decoder_without_time_treats_frames_alone(mode):
    network = built(SLatGaussianDecoder, DECODER | {"expand_self_attn": False, "attn_mode": mode, "pe_mode": "ape"})
    x = some_latents(slots=2)
    both = network(x, 2)
    first = x.coords[:, 0] == 0
    (alone,) = network(SparseTensor(x.feats[first], x.coords[first], 1), 1)
    torch.testing.assert_close(alone.xyz, both[0].xyz, atol=1e-5, rtol=0)


def test_latent_encoder():
    network, x = built(SLatEncoder, TRANSFORMER | {"in_channels": 5}), some_latents(slots=3, channels=5)
    mean, logvar = network(x, 3)
    draws = torch.stack([draw_latent(mean, logvar, torch.Generator().manual_seed(k)).feats for k in range(400)])
    deviation = torch.exp(0.5 * logvar.feats)
    assert ((draws.mean(0) - mean.feats).abs() < 0.3 * deviation).all()
    torch.testing.assert_close(draws.std(0) / deviation, torch.ones_like(deviation), atol=0.2, rtol=0)


@pytest.mark.parametrize("conv_type", CONV_TYPES)
def test_all_parameters_of_the_flow_are_trained(conv_type):
    t, cond = flow_inputs(4)
    gradients = []
    for use_checkpoint in (False, True):
        args = FLOW | CONV_TYPES[conv_type] | {"use_checkpoint": use_checkpoint}
        network = built(SLatFlow4DModel, args)
        network(some_latents(slots=4), t, cond, 4).feats.square().mean().backward()
        gradients.append({name: parameter.grad for name, parameter in network.named_parameters()})
    for name, gradient in gradients[0].items():
        assert gradient is not None and gradient.abs().max() > 0, name
        torch.testing.assert_close(gradients[1][name], gradient)


def test_all_parameters_of_the_decoder_are_trained():
    network = built(SLatGaussianDecoder, DECODER | {"use_checkpoint": True})
    frames = network(some_latents(slots=4), 4)
    loss = sum((f.xyz.sum() + f.features.sum() + f.scaling.log().sum() + f.opacity.sum()) for f in frames)
    (loss + sum(f.rotation[:, 1:].sum() for f in frames)).backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in network.parameters())


def test_networks_start_as_the_specification_says():
    network = SLatFlow4DModel.from_args(FLOW)
    for name, parameter in network.named_parameters():
        zero = "conv2" in name or "adaLN_modulation" in name or name.startswith("out_layer")
        zero |= name.endswith("bias") and "conv1" not in name
        assert (parameter.abs().max() == 0) == zero, name
    y = network(some_latents(slots=4), *flow_inputs(4), 4)
    assert y.feats.abs().max() == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv_type": "5D"}, "3D_1D"),
        ({"pe_mode": "ape"}, "rope_t"),
        ({"pe_mode": "rope"}, "rope_t"),
        ({"share_mod": True}, "stage 1 only"),
        ({"patch_size": 4}, "log2"),
        ({"io_block_channels_t": [16]}, "as wide as the transformer"),
        ({"io_block_channels_t": None}, "as wide as the transformer"),
        ({"num_io_res4d_blocks": 3}, "takes a skip"),
        ({"num_io_res_blocks": 0}, "at least 1"),
        ({"conv_type": "4D", "patch_size": 4, "io_block_channels": [8, 8]}, "halves time"),
        ({"attn_mode": "swin"}, "unknown attn_mode"),
    ],
)
def test_flow_arguments_that_are_refused(change, message):
    with pytest.raises(FormatError, match=message):
        SLatFlow4DModel.from_args(FLOW | change)


def test_flow_inputs_that_are_refused():
    network, x = SLatFlow4DModel.from_args(FLOW), some_latents(slots=6)
    t, cond = flow_inputs(6)
    with pytest.raises(FormatError, match="even number of frames; found 3"):
        network(x, t, cond, 3)
    with pytest.raises(FormatError, match="divisor of the number of slots, 6; found 4"):
        network(x, t, cond, 4)
    with pytest.raises(FormatError, match="one value per slot"):
        network(x, t[:2], cond, 6)
    with pytest.raises(FormatError, match="image features"):
        network(x, t, cond[:, :, :4], 6)
    with pytest.raises(FormatError, match=r"latents: expected \[N, 3\]"):
        network(x.replace(x.feats[:, :2]), t, cond, 6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attn_mode": "shift_sequence"}, "swin"),
        ({"attn_mode": "full"}, "attention over frames needs"),
        ({"pe_mode": "ape"}, "attention over frames needs"),
        ({"window_size": 0}, "window_size"),
        ({"representation_config": {**REPRESENTATION, "sh_degree": 1}}, "unknown .'sh_degree'"),
        ({"representation_config": {**REPRESENTATION, "scaling_activation": "relu"}}, "softplus"),
        ({"representation_config": {**REPRESENTATION, "lr": {"_xyz": 1.0}}}, "_features_dc"),
        ({"representation_config": {**REPRESENTATION, "voxel_size": 1.0}}, "more than 1"),
    ],
)
def test_decoder_arguments_that_are_refused(change, message):
    with pytest.raises(FormatError, match=message):
        SLatGaussianDecoder.from_args(DECODER | change)


def test_decoder_inputs_that_are_refused():
    network = SLatGaussianDecoder.from_args(DECODER)
    with pytest.raises(FormatError, match="below resolution = 8; found 8"):
        network(SparseTensor(torch.zeros(1, 3), torch.tensor([[0, 8, 0, 0]]), 1), 1)
    with pytest.raises(FormatError, match=r"\[N, 3\]"):
        network(some_latents(channels=2), 4)


def test_lattice_is_the_hammersley_set():
    lattice = Representation.from_args({**REPRESENTATION, "voxel_size": 2.0, "num_gaussians": 8}).lattice()
    points = (torch.tanh(lattice) * 2 + 1) / 2
    expected = [[0, 0, 0], [1 / 8, 1 / 2, 1 / 3], [2 / 8, 1 / 4, 2 / 3], [3 / 8, 3 / 4, 1 / 9]]
    torch.testing.assert_close(points[:4], torch.tensor(expected), atol=1e-6, rtol=0)
    assert not Representation(perturb_offset=False).lattice().any()


def test_gaussians_of_a_silent_network():
    """Outputs of zero: one Gaussian at each lattice point of the voxel, of the biases' scale and opacity."""
    representation = Representation(num_gaussians=8)
    raw, xyz = torch.zeros(2, representation.channels), torch.tensor([[0, 0, 0], [63, 31, 0]])
    frame = read_gaussians(raw, xyz, representation.lattice(), 64, representation)
    asset = frame.to_asset()
    centres = np.repeat((xyz.numpy() + 0.5) / 64 - 0.5, 8, axis=0)
    offsets = np.tile(torch.tanh(representation.lattice()).numpy(), (2, 1)) * 0.75 / 64
    np.testing.assert_allclose(asset.means, centres + offsets, atol=1e-6)
    np.testing.assert_allclose(asset.scales, np.hypot(4e-3, 9e-4), rtol=1e-4)
    np.testing.assert_allclose(asset.opacities, 0.1, rtol=1e-5)
    np.testing.assert_array_equal(asset.quaternions, np.tile(np.float32([1, 0, 0, 0]), (16, 1)))
    assert (asset.dilation, asset.compensate) == (0.1, True)


def test_exported_gaussians_stand_upright(tmp_path):
    representation = Representation(num_gaussians=5)
    raw = torch.randn(3, representation.channels, generator=torch.Generator().manual_seed(0)) * 2
    frame = read_gaussians(raw, torch.randint(64, (3, 3)), representation.lattice(), 64, representation)
    write_ply(tmp_path / "frame.ply", frame)
    before, after = frame.to_asset(), ply.read_gaussians(tmp_path / "frame.ply", dilation=0.1, compensate=True)
    turn = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
    np.testing.assert_allclose(after.means, before.means @ turn.T, atol=1e-6)
    rotations = Rotation.from_quat(np.roll(before.quaternions, -1, axis=1)).as_matrix()
    turned = Rotation.from_quat(np.roll(after.quaternions, -1, axis=1)).as_matrix()
    np.testing.assert_allclose(turned, turn @ rotations, atol=1e-5)
    np.testing.assert_allclose(after.scales, before.scales, rtol=1e-5)
    np.testing.assert_allclose(after.opacities, before.opacities, rtol=1e-5)
    np.testing.assert_array_equal(after.sh, before.sh)
    assert y_up(before).dilation == 0.1 and y_up(before).compensate
