"""Random checkpoints in the released layout, to run everything without trained weights. What they make is no object.

Weights are drawn from a seed: numbers of order one in, numbers of order one out, so that no layer is idle. Networks
that were purely random would switch on voxels all over the grid, which is not what the second stage has to deal with.
So stage 1 is given a ball to aim at: its last layer reads a parabola off the position embedding, and one channel of the
structure decoder carries it to the logits, whose bias is then set so that a plausible share of voxels is on: 3.4 per
cent, 9,000 of 64^3, more or less. Which voxels of the ball these are, noise decides.
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float32
from safetensors.torch import save_file
from torch import Tensor, nn

from bench4d.errors import FormatError
from bench4d.files import atomic

from .checkpoint import DINO, NETWORKS, Model, SamplerSettings, save_model, write_pipeline
from .image_encoder import DINO_FILE, DinoConfig, SmallEncoderConfig, SmallImageEncoder, official_shapes
from .structure_flow import SparseStructureFlow4DModel, patchify, unpatchify
from .structure_vae import SparseStructureDecoder, Up

SHARE = 9000 / 64**3  # of voxels that are on
BALL = 4.0  # height of the parabola in the latent, whose noise has deviation 1
BRANCHES = (".to_out.weight", ".to_out.bias", ".mlp.2.weight", ".mlp.2.bias")  # what a block adds to its input

REPRESENTATION = {
    "lr": {"_xyz": 1.0, "_features_dc": 1.0, "_opacity": 1.0, "_scaling": 1.0, "_rotation": 0.1},
    "perturb_offset": True,
    "voxel_size": 1.5,
    "num_gaussians": 32,
    "2d_filter_kernel_size": 0.1,
    "3d_filter_kernel_size": 9e-4,
    "scaling_bias": 4e-3,
    "opacity_bias": 0.1,
    "scaling_activation": "softplus",
}
FLOW: dict[str, Any] = {
    "in_channels": 8,
    "out_channels": 8,
    "model_channels": 1024,
    "cond_channels": 1024,
    "num_blocks": 24,
}
FLOW |= {"num_heads": 16, "mlp_ratio": 4, "pe_mode": "rope_t", "qk_rms_norm": True, "use_fp16": True}
FLOW |= {"expand_self_attn": True, "use_checkpoint": True}
IN_TIME: dict[str, Any] = {"num_io_res_blocks": 2, "num_io_res4d_blocks": 2, "conv_type": "3D_1D"}
FULL: dict[str, tuple[str, str, dict[str, Any]]] = {  # role -> path, class, arguments: as far as they are known
    "sparse_structure_flow_model": (
        "ckpts/ss_flow_video_4d",
        "SparseStructureFlow4DModel",
        FLOW | {"resolution": 16, "patch_size": 1, "window_size": 8},
    ),
    "sparse_structure_decoder": (
        "ckpts/ss_dec_conv3d_16l8_fp16",
        "SparseStructureDecoder",
        {"out_channels": 1, "latent_channels": 8, "num_res_blocks": 2, "num_res_blocks_middle": 2}
        | {"channels": [512, 128, 32], "use_fp16": True},
    ),
    "slat_flow_model": (
        "ckpts/slat_flow_video_4d",
        "ElasticSLatFlow4DModel",
        FLOW | IN_TIME | {"resolution": 64, "patch_size": 2, "io_block_channels": [128], "io_block_channels_t": [1024]},
    ),
    "slat_decoder_gs": (
        "ckpts/slat_dec_gs_4d",
        "ElasticSLatGaussianDecoder",
        {"resolution": 64, "model_channels": 768, "latent_channels": 8, "num_blocks": 12, "num_heads": 12}
        | {"mlp_ratio": 4, "attn_mode": "swin", "window_size": 8, "use_fp16": True, "pe_mode": "rope_t"}
        | {"expand_self_attn": True, "representation_config": REPRESENTATION},
    ),
}
SMALL: dict[str, Any] = {"model_channels": 48, "cond_channels": 192, "num_blocks": 2, "num_heads": 4, "use_fp16": False}
TINY: dict[str, dict[str, Any]] = {  # what differs
    "sparse_structure_flow_model": SMALL | {"resolution": 4, "window_size": 2},
    "sparse_structure_decoder": {"channels": [32, 16, 8], "num_res_blocks": 1, "num_res_blocks_middle": 1}
    | {"use_fp16": False},
    "slat_flow_model": SMALL | {"resolution": 16, "io_block_channels": [16], "io_block_channels_t": [48]},
    "slat_decoder_gs": {"resolution": 16, "model_channels": 48, "num_blocks": 2, "num_heads": 4, "window_size": 4}
    | {"use_fp16": False, "representation_config": REPRESENTATION | {"num_gaussians": 4}},
}
STEPS = {"full": 25, "tiny": 4}
# Of SS4D's latents as far as public configurations tell; random latents do not care.
NORMALISATION = {
    "mean": [-2.826356, 0.33626583, 0.0763019, -0.117598, -0.4892621, 1.0101169, -1.0808244, 1.4578744],
    "std": [2.8175173, 2.6447911, 2.5076609, 2.3946748, 3.438241, 2.864445, 3.2401907, 3.1412923],
}


def write_random_checkpoint(folder: Path, size: str, seed: int = 0, steps: int | None = None) -> None:
    """Write a checkpoint with random weights.

    Args:
        size: "tiny" (2 million parameters, a small image encoder of its own) or "full" (the released sizes, 1.4
            billion parameters in 2.7 GB, and random weights for DINOv2, 1.2 GB). One network is in memory at a time.
        steps: of both samplers; by default 25 for "full" and 4 for "tiny".
    """
    if size not in STEPS:
        raise FormatError("size", '"tiny" or "full"', repr(size))
    changes = TINY if size == "tiny" else {}
    for number, (role, (path, name, args)) in enumerate(FULL.items()):
        sys.stderr.write(f"{path}\n")
        args = args | changes.get(role, {})
        generator = torch.Generator().manual_seed(1000 * seed + number)
        network = NETWORKS[name].from_args(args)  # type: ignore[attr-defined]
        draw(network, generator, args.get("num_blocks", 1))
        if role == "sparse_structure_flow_model":
            flow = cast(SparseStructureFlow4DModel, network)
            aim_at_ball(flow)
            latent = a_latent(flow, generator)
            del flow
        if role == "sparse_structure_decoder":
            carry_ball(cast(SparseStructureDecoder, network), latent)
        save_model(folder, Model(path, name, args, network))
        del network
    encoder_name = DINO
    generator = torch.Generator().manual_seed(1000 * seed + 99)
    if size == "tiny":
        encoder_name = "ckpts/image_encoder"
        encoder = SmallImageEncoder(SmallEncoderConfig())
        draw(encoder, generator, encoder.config.depth)
        save_model(folder, Model(encoder_name, "SmallImageEncoder", encoder.args(), encoder))
    else:
        write_random_dino(folder / Path(DINO_FILE).with_suffix(".safetensors"), generator)
    sampler = SamplerSettings(steps=steps or STEPS[size])
    paths = {role: path for role, (path, _, _) in FULL.items()}
    write_pipeline(folder, paths, (sampler, sampler), NORMALISATION, encoder_name)


@torch.no_grad()
def draw(network: nn.Module, generator: torch.Generator, blocks: int) -> None:
    """Weights of variance 1 / inputs, gains near 1, small biases; what a block adds shrinks with their number."""
    for name, parameter in network.named_parameters():
        parameter.copy_(_numbers(name, parameter.shape, generator))
        if name.endswith(BRANCHES):
            parameter.mul_(1 / math.sqrt(3 * blocks))


def _numbers(name: str, shape: torch.Size | tuple[int, ...], generator: torch.Generator) -> Float32[Tensor, "..."]:
    x = torch.randn(shape, generator=generator)
    if name.endswith("gamma") or (x.ndim == 1 and name.endswith("weight")):
        return 1 + 0.1 * x
    return 0.1 * x if x.ndim == 1 else x / math.sqrt(x.numel() / x.shape[0])


def ball(side: int) -> Float32[Tensor, "L"]:
    """A parabola around the middle of a grid: BALL there, 0 at the surface of the grid's inner ball; z fastest."""
    axis = (torch.arange(side) + 0.5) / side * 2 - 1
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    return BALL * (1 - x.square() - y.square() - z.square()).flatten()


@torch.no_grad()
def aim_at_ball(network: SparseStructureFlow4DModel) -> None:
    """Make channel 0 of the predicted velocity minus the parabola, whatever the input: noise then flows to it."""
    network.input_layer.weight.mul_(0.2)
    for name, parameter in network.named_parameters():
        if name.endswith(BRANCHES):
            parameter.mul_(0.1)
    positions = cast(Tensor, network.pos_emb)
    h = nn.functional.layer_norm(positions, positions.shape[-1:]).double()  # [L,C]
    target = -ball(network.config.resolution // network.config.patch_size).double()
    ridge = 1e-3 * len(h) * torch.eye(h.shape[1], dtype=torch.float64)
    centre, level = h.mean(0), target.mean()
    weight = torch.linalg.solve((h - centre).T @ (h - centre) + ridge, (h - centre).T @ (target - level))
    network.out_layer.weight.mul_(0.3)
    network.out_layer.weight[0] = weight.float()
    network.out_layer.bias[0] = (level - centre @ weight).float()


@torch.no_grad()
def a_latent(network: SparseStructureFlow4DModel, generator: torch.Generator) -> Float32[Tensor, "1 C R R R"]:
    """About what stage 1 makes of noise: one step over its first and last layers, as its blocks add little."""
    noise = torch.randn((1, network.config.in_channels, *[network.config.resolution] * 3), generator=generator)
    h = network.input_layer(patchify(noise, network.config.patch_size)) + network.pos_emb
    velocity = network.out_layer(nn.functional.layer_norm(h, h.shape[-1:]))
    return noise - unpatchify(velocity, network.config.patch_size, network.config.resolution)


@torch.no_grad()
def carry_ball(network: SparseStructureDecoder, latent: Float32[Tensor, "1 C R R R"]) -> None:
    """Let channel 0 pass from the latent to the logits, and set the bias so that the wanted share is positive."""
    first, last = network.input_layer, cast(nn.Conv3d, network.out_layer[2])
    _pass(first.weight, first.bias, 1)
    for block in network.blocks:
        if isinstance(block, Up):  # doubles the resolution: the eight parts of channel 0 come first
            _pass(block.conv.weight, block.conv.bias, 8)
    for name, parameter in network.named_parameters():
        if ".conv2." in name:
            parameter.mul_(0.3)
    last.weight[0, 0].zero_()
    last.weight[0, 0, 1, 1, 1] = 1.5
    single = SparseStructureDecoder(replace(network.config, use_fp16=False))
    single.load_state_dict(network.state_dict())
    logits = single(latent).flatten()
    cast(Tensor, last.bias).sub_(logits.sort().values[int((1 - SHARE) * len(logits))])


def _pass(weight: Tensor, bias: Tensor | None, count: int) -> None:
    """The first `count` outputs of a 3^3 convolution become copies of input 0."""
    weight[:count].zero_()
    weight[:count, 0, 1, 1, 1] = 1
    cast(Tensor, bias)[:count].zero_()


def write_random_dino(path: Path, generator: torch.Generator) -> None:
    sys.stderr.write(f"{path.name}\n")
    tensors = {}
    for name, shape in official_shapes(DinoConfig()).items():
        x = _numbers(name, shape, generator)
        if name.endswith(("token", "tokens")) or name == "pos_embed":
            x = 0.5 * torch.randn(shape, generator=generator)
        tensors[name] = x / math.sqrt(72) if ".ls" in name else x
    with atomic(path) as temporary:
        save_file(tensors, temporary)
