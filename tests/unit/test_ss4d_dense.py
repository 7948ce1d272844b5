"""SS4D's layers, attention and structure networks. The official networks' numbers are in tests/parity."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench4d.errors import FormatError
from ss4d.attention import SelfAttention, attend, attend_packed, frame_windows
from ss4d.layers import LayerNorm32, MultiHeadRMSNorm, TimestepEmbedder, position_embedding, rotate, rotation
from ss4d.structure_flow import Block, SparseStructureFlow4DModel, StructureFlowConfig, patchify, unpatchify
from ss4d.structure_vae import SparseStructureDecoder, SparseStructureEncoder, Up, occupied

SMALL: dict[str, Any] = {
    "resolution": 2, "in_channels": 3, "out_channels": 3, "model_channels": 16, "cond_channels": 5, "num_blocks": 2,
    "num_heads": 2, "patch_size": 1, "pe_mode": "rope_t", "qk_rms_norm": True, "expand_self_attn": True,
    "window_size": 4,
}  # fmt: skip


def flow(**changes: Any) -> SparseStructureFlow4DModel:
    """A small flow with all of its weights at work."""
    torch.manual_seed(0)
    network = SparseStructureFlow4DModel.from_args(SMALL | changes)
    for parameter in network.parameters():
        nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.3)
    return network.eval().requires_grad_(False)


def inputs(slots: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(slots, 3, 2, 2, 2, generator=random)
    return x, 1000 * torch.rand(slots, generator=random), torch.randn(slots, 4, 5, generator=random)


# ---- layers ----------------------------------------------------------------------------------------------------------


def test_rope_turns_pairs_and_only_differences_count() -> None:
    x = torch.randn(5, 2, 8)
    assert torch.equal(rotate(x, rotation(torch.zeros(5), x.shape[-1])), x)
    turned = torch.view_as_complex(rotate(x, rotation(torch.full((5,), 3), 8)).unflatten(-1, (4, 2)))
    angles = 3 * 10000 ** (-torch.arange(4) / 4)
    expected = torch.view_as_complex(x.unflatten(-1, (4, 2))) * torch.polar(torch.ones(4), angles)
    torch.testing.assert_close(turned, expected)
    q, k = torch.randn(2, 1, 1, 8)
    at = [rotation(torch.tensor([t]), 8) for t in (0, 2, 7, 9)]
    scores = [(rotate(q, at[i]) * rotate(k, at[i + 1])).sum() for i in (0, 2)]
    torch.testing.assert_close(*scores)


def test_rope_comes_before_the_norm() -> None:
    torch.manual_seed(0)
    attention = SelfAttention(16, 2, qk_rms_norm=True)
    nn.init.uniform_(attention.q_rms_norm.gamma)
    x, frame = torch.randn(6, 16), torch.arange(6)
    turn = attention.rotation(frame)
    q = attention.qkv(x, turn)[0]
    plain = attention.to_qkv(x).unflatten(-1, (3, 2, 8))[:, 0]
    torch.testing.assert_close(q, attention.q_rms_norm(rotate(plain, turn)))
    assert not torch.allclose(q, rotate(attention.q_rms_norm(plain), turn), atol=1e-3)


def test_norms() -> None:
    norm = MultiHeadRMSNorm(4, 2)
    assert torch.allclose(norm(torch.randn(3, 2, 4)).norm(dim=-1), torch.full((3, 2), 2.0))
    assert not norm(torch.zeros(1, 2, 4)).any()
    half = torch.full((1, 8), 300.0).half()  # its square is beyond float16
    half[0, 0] = 0
    assert LayerNorm32(8, affine=True)(half).dtype == torch.float16
    assert torch.isfinite(LayerNorm32(8, affine=True)(half)).all()


def test_position_embedding() -> None:
    embedding = position_embedding(torch.tensor([[0, 1, 63]]), 14)
    w = torch.tensor([1.0, 10000**-0.5])
    expected = torch.cat([f(p * w) for p in (0, 1, 63) for f in (torch.sin, torch.cos)])
    torch.testing.assert_close(embedding[0], F.pad(expected, (0, 2)))


def test_timestep_embedding_has_cosines_first() -> None:
    embedder = TimestepEmbedder(256)
    embedder.mlp = nn.Identity()
    features = embedder(torch.tensor([500.0]))[0]
    torch.testing.assert_close(features[[0, 128]], torch.tensor([math.cos(500), math.sin(500)]))
    torch.testing.assert_close(features[127], torch.tensor(500 * math.exp(-math.log(10000) * 127 / 128)).cos())


# ---- attention -------------------------------------------------------------------------------------------------------


def test_attend_is_softmax() -> None:
    q, k, v = torch.randn(2, 3, 2, 4), torch.randn(2, 5, 2, 4), torch.randn(2, 5, 2, 4)
    weights = torch.einsum("blhd,bmhd->bhlm", q, k).div(2).softmax(-1)
    torch.testing.assert_close(attend(q, k, v), torch.einsum("bhlm,bmhd->blhd", weights, v))


@pytest.mark.parametrize(
    ("q_lengths", "k_lengths"),
    [
        ([3, 1, 3, 0, 2], [4, 2, 4, 0, 4]),
        ([3, 0, 3], [4, 2, 4]),
        ([2, 2], [3, 3]),
        ([5], [1]),
        ([2, 3], [3, 3]),
        ([], []),
    ],
)
def test_attend_packed_keeps_sequences_apart(q_lengths: list[int], k_lengths: list[int]) -> None:
    q, k, v = (torch.randn(sum(lengths), 2, 4) for lengths in (q_lengths, k_lengths, k_lengths))
    parts = zip(q.split(q_lengths), k.split(k_lengths), v.split(k_lengths), strict=True) if q_lengths else []
    expected = [attend(a[None], b[None], c[None])[0] for a, b, c in parts if len(a)]
    found = attend_packed(q, k, v, q_lengths, k_lengths)
    torch.testing.assert_close(found, torch.cat(expected) if expected else q)


def test_attend_packed_refuses_wrong_lengths() -> None:
    q = torch.randn(4, 2, 4)
    with pytest.raises(FormatError, match="adding up to 4 and 4"):
        attend_packed(q, q, q, [2, 1], [2, 2])
    with pytest.raises(FormatError, match="keys wherever there are queries"):
        attend_packed(q, q, q, [2, 2], [4, 0])


def test_frame_windows() -> None:
    assert frame_windows(32, 8, 0) == [8, 8, 8, 8]
    assert frame_windows(32, 8, 4) == [4, 8, 8, 8, 4]
    assert frame_windows(5, 8, 0) == [5]
    assert frame_windows(5, 8, 4) == [4, 1]
    assert frame_windows(3, 1, 0) == [1, 1, 1]


# ---- structure flow --------------------------------------------------------------------------------------------------

MODES: list[dict[str, Any]] = [
    {},
    {"window_size": None},
    {"expand_self_attn": False, "pe_mode": "ape"},
    {"expand_self_attn": False, "insert_temporal": True},
    {"share_mod": True, "patch_size": 2, "qk_rms_norm_cross": True, "rope_base": 50.0},
]


@pytest.mark.parametrize("mode", MODES)
def test_clips_of_a_batch_are_independent(mode: dict[str, Any]) -> None:
    network, (x, t, cond) = flow(**mode), inputs(10)
    y = network(x, t, cond, 5)
    alone = [network(*(a[clip * 5 : clip * 5 + 5] for a in (x, t, cond)), 5) for clip in range(2)]
    torch.testing.assert_close(y, torch.cat(alone), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("frames", [1, 2, 3, 7])
def test_any_number_of_frames_works(frames: int) -> None:
    y = flow()(*inputs(frames), frames)
    assert y.shape == (frames, 3, 2, 2, 2)
    assert torch.isfinite(y).all()


@pytest.mark.parametrize(
    ("mode", "shift", "seen"),
    [
        ({"expand_self_attn": False}, 0, [5]),
        ({"window_size": None}, 0, range(9)),
        ({}, 0, range(4, 8)),
        ({}, 2, range(2, 6)),
    ],
)
def test_which_frames_a_block_sees(mode: dict[str, Any], shift: int, seen: range) -> None:
    """Frame 5 of nine, through one block, by its gradient."""
    torch.manual_seed(0)
    block = Block(StructureFlowConfig(**SMALL | mode), shift)
    nn.init.normal_(block.adaLN_modulation[1].weight)
    x = torch.randn(9, 8, 16, requires_grad=True)
    block(x, torch.randn(9, 16), torch.randn(9, 4, 5), 9)[5].sum().backward()
    assert x.grad.flatten(1).abs().amax(1).nonzero()[:, 0].tolist() == list(seen)


def test_odd_blocks_have_shifted_windows() -> None:
    assert [block.shift for block in flow(num_blocks=4, window_size=8).blocks] == [0, 4, 0, 4]


def test_frames_know_their_order_only_with_rope_t() -> None:
    x, t, cond = inputs(4)
    order = torch.tensor([2, 0, 3, 1])
    for mode, same in (("ape", True), ("rope_t", False)):
        network = flow(pe_mode=mode, window_size=None)
        straight, mixed = network(x, t, cond, 4), network(x[order], t[order], cond[order], 4)
        assert torch.allclose(straight[order], mixed, atol=1e-4) == same


def test_patches() -> None:
    x = torch.arange(2 * 3 * 4**3).float().reshape(2, 3, 4, 4, 4)
    tokens = patchify(x, 2)
    assert tokens.shape == (2, 8, 24)
    # token (x, y, z) = (1, 0, 1) is row 5; channel 2 at (px, py, pz) = (0, 1, 1) of the patch is column 2 * 8 + 3
    assert tokens[1, 5, 2 * 8 + 3] == x[1, 2, 2, 1, 3]
    assert torch.equal(unpatchify(tokens, 2, 4), x)


def test_start_of_training() -> None:
    torch.manual_seed(0)
    network = SparseStructureFlow4DModel.from_args(SMALL | {"expand_self_attn": False, "insert_temporal": True})
    assert not network(*inputs(2), 2).any()
    block = network.blocks[0]
    assert not block.adaLN_modulation[1].weight.any()
    assert block.adaLN_modulation_temporal[1].weight.any()
    assert not block.mlp.mlp[0].bias.any()
    assert 0.015 < network.t_embedder.mlp[0].weight.std() < 0.025


def test_recomputed_activations_change_nothing() -> None:
    gradients = []
    for use_checkpoint in (False, True):
        network = flow(use_checkpoint=use_checkpoint).requires_grad_(True)
        network(*inputs(4), 4).square().sum().backward()
        gradients.append(network.blocks[0].mlp.mlp[0].weight.grad)
    torch.testing.assert_close(*gradients)


def test_half_precision_is_for_the_torso_only() -> None:
    network = flow(use_fp16=True)
    for name, parameter in network.named_parameters():
        layer = network.get_submodule(name.rpartition(".")[0])
        half = name.startswith("blocks.") and isinstance(layer, nn.Linear)
        assert parameter.dtype == (torch.float16 if half else torch.float32), name
    assert network.pos_emb.dtype == torch.float32
    assert network(*inputs(4), 4).dtype == torch.float32
    decoder = SparseStructureDecoder.from_args(vae(latent_channels=2, channels=[4, 2], use_fp16=True))
    for name, parameter in decoder.named_parameters():
        half = ".conv" in name
        assert parameter.dtype == (torch.float16 if half else torch.float32), name
    assert decoder(torch.randn(1, 2, 2, 2, 2)).dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"windowsize": 8}, "unknown windowsize"),
        ({"pe_mode": "rope"}, '"ape" or "rope_t"'),
        ({"patch_size": 3}, "divisor of resolution = 2"),
        ({"num_heads": 3}, "divisor of model_channels = 16"),
        ({"window_size": 0}, "at least one frame"),
        ({"share_mod": True, "insert_temporal": True}, "share_mod or insert_temporal"),
    ],
)
def test_wrong_arguments(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        SparseStructureFlow4DModel.from_args(SMALL | changes)


def test_missing_arguments() -> None:
    with pytest.raises(FormatError, match="a value for resolution; found none"):
        SparseStructureFlow4DModel.from_args({name: value for name, value in SMALL.items() if name != "resolution"})


def test_wrong_inputs() -> None:
    network, (x, t, cond) = flow(), inputs(4)
    for wrong, message in [
        ((x[:, :2], t, cond, 4), r"x: expected \[frames, 3, 2, 2, 2\]; found \[4, 2, 2, 2, 2\]"),
        ((x, t, cond[..., :4], 4), r"cond: expected \[4, tokens, 5\]; found \[4, 4, 4\]"),
        ((x, t, cond[:3], 4), r"cond: expected \[4, tokens, 5\]"),
        ((x, t[:2], cond, 4), r"t: expected \[4\], or \[1\] for all; found \[2\]"),
        ((x, t, cond, 3), "num_frames: expected a divisor of the 4 frames; found 3"),
    ]:
        with pytest.raises(FormatError, match=message):
            network(*wrong)


# ---- structure autoencoder -------------------------------------------------------------------------------------------


def vae(**changes: Any) -> dict[str, Any]:
    kept = {"num_res_blocks": 1, "num_res_blocks_middle": 1} | changes
    return ({} if "in_channels" in kept else {"out_channels": 1}) | kept


def test_parameters_of_the_released_networks() -> None:
    sizes = {"num_res_blocks": 2, "num_res_blocks_middle": 2, "latent_channels": 8}
    args = {"resolution": 16, "in_channels": 8, "out_channels": 8, "model_channels": 1024, "cond_channels": 1024}
    args |= {"num_blocks": 24, "num_heads": 16, "window_size": 8}
    with torch.device("meta"):
        built = [
            SparseStructureFlow4DModel.from_args(SMALL | args),
            SparseStructureDecoder.from_args(vae(channels=[512, 128, 32], **sizes)),
            SparseStructureEncoder.from_args(vae(in_channels=1, channels=[32, 128, 512], **sizes)),
        ]
    counts = [sum(parameter.numel() for parameter in network.parameters()) for network in built]
    assert counts == [555_543_560, 73_671_201, 59_298_192]


def test_up_puts_channels_into_voxels() -> None:
    up = Up(3, 2)
    x = torch.randn(1, 3, 2, 2, 2)
    channels, voxels = up.conv(x), up(x)
    assert voxels.shape == (1, 2, 4, 4, 4)
    for c, a, b, g in [(0, 0, 0, 1), (1, 1, 0, 0), (1, 0, 1, 1)]:
        assert torch.equal(voxels[0, c, a::2, b::2, g::2], channels[0, ((c * 2 + a) * 2 + b) * 2 + g])


def test_encoder_and_decoder_mirror_each_other() -> None:
    torch.manual_seed(0)
    encoder = SparseStructureEncoder.from_args(vae(in_channels=1, latent_channels=3, channels=[2, 4]))
    decoder = SparseStructureDecoder.from_args(vae(latent_channels=3, channels=[4, 2]))
    x = torch.randn(2, 1, 4, 4, 4)
    z, mean, logvar = encoder(x)
    assert torch.equal(z, mean)
    assert z.shape == logvar.shape == (2, 3, 2, 2, 2)
    drawn = encoder(x, sample=True)[0]
    assert not torch.equal(drawn, mean)
    assert decoder(z).shape == x.shape
    for wrong in (x, x[:, 0]):
        with pytest.raises(FormatError, match=r"expected \[frames, 3, x, y, z\]"):
            decoder(wrong)
    with pytest.raises(FormatError, match="norm_type"):
        SparseStructureDecoder.from_args(vae(latent_channels=3, channels=[4, 2], norm_type="group"))


def test_frames_do_not_mix_in_the_decoder() -> None:
    torch.manual_seed(0)
    decoder = SparseStructureDecoder.from_args(vae(latent_channels=3, channels=[4, 2]))
    z = torch.randn(3, 3, 2, 2, 2)
    torch.testing.assert_close(decoder(z)[1:2], decoder(z[1:2]))


def test_occupied_voxels_are_in_lexicographic_order() -> None:
    logits = -torch.ones(3, 1, 4, 4, 4)
    voxels = [[0, 1, 2, 3], [0, 2, 0, 0], [2, 0, 0, 1], [2, 3, 3, 3]]  # slot 1 is empty
    for slot, x, y, z in voxels:
        logits[slot, 0, x, y, z] = 0.1
    logits[1, 0, 0, 0, 0] = 0  # a logit of 0 is not occupied
    found = occupied(logits)
    assert found.dtype == torch.int32
    assert found.tolist() == voxels
