"""The least time that both flows of SS4D can take: their products at the rate of a large one, their bytes at that of a
large copy. `ss4d_kernels.py` measures the two rates and prints this.

Counted is what the samplers have to do after all that passes share: keys and values of the images once a clip, the
first half of the first block once a step, no cross attention in passes without images. Bytes: each linear layer, norm
and attention of the transformer reads its inputs once and writes its outputs once, in half precision; residual sums
and activations belong to the layer before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ss4d.attention import frame_windows
from ss4d.checkpoint import SamplerSettings
from ss4d.latent_flow import SLatFlow4DModel
from ss4d.random_checkpoint import FULL
from ss4d.sampler import times
from ss4d.sparse import SparseTensor, pool_space, pool_time
from ss4d.sparse.neighbours import neighbours

STAGE_1, STAGE_2 = (FULL[role][2] for role in ("sparse_structure_flow_model", "slat_flow_model"))
DEFAULT = SamplerSettings()
HALF = 2  # bytes
# Tensors of a token's width that a block reads and writes: norm 2, qkv 4, attention 4, projection 3; and, after its
# first half, norm 2, q 2, attention 2, projection 3 (these with images only), norm 2, feed-forward 5 and 6.
FIRST, IMAGES, LAST = 13, 9, 13


@dataclass(frozen=True)
class Work:
    """Floating-point operations of products, and bytes that have to move."""

    flops: float = 0
    bytes: float = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.flops + other.flops, self.bytes + other.bytes)

    def __mul__(self, count: float) -> Work:
        return Work(self.flops * count, self.bytes * count)


def passes(settings: SamplerSettings) -> tuple[int, int]:
    """How many see the images, and how many see nothing."""
    low, high = settings.cfg_interval
    guided = sum(low <= t <= high for t in times(settings.steps, settings.rescale_t)[:-1])
    return settings.steps, guided


def transformer(
    tokens: int, pairs: list[int], keys: int, images: int, args: dict[str, Any], settings: SamplerSettings
) -> Work:
    """The blocks, in all passes of a clip.

    Args:
        tokens: of the clip.
        pairs: query and key that see each other in self attention, of each block.
        keys: image tokens that a token sees.
        images: image tokens of the clip.
    """
    channels, ratio = args["model_channels"], args["mlp_ratio"]
    unit, square = HALF * tokens * channels, 2 * tokens * channels**2
    firsts = [Work(4 * square + 4 * count * channels, FIRST * unit) for count in pairs]
    cross = Work(2 * square + 4 * tokens * keys * channels, IMAGES * unit)
    last = Work(2 * ratio * square, LAST * unit)
    with_images, without = passes(settings)
    once = sum(firsts, Work()) + (cross + last) * len(pairs)
    again = sum(firsts[1:], Work()) + last * len(pairs)
    context = Work(len(pairs) * 2 * images * args["cond_channels"] * 2 * channels)
    return once * with_images + again * without + context


def stage_1(
    frames: int, image_tokens: int, args: dict[str, Any] = STAGE_1, settings: SamplerSettings = DEFAULT
) -> Work:
    tokens = (args["resolution"] // args["patch_size"]) ** 3
    pairs = []
    for k in range(args["num_blocks"]):
        windows = frame_windows(frames, args["window_size"], args["window_size"] // 2 * (k % 2))
        pairs.append(sum((n * tokens) ** 2 for n in windows))
    return transformer(frames * tokens, pairs, image_tokens, frames * image_tokens, args, settings)


def stage_2(
    coords: torch.Tensor,
    frames: int,
    image_tokens: int,
    args: dict[str, Any] = STAGE_2,
    settings: SamplerSettings = DEFAULT,
) -> Work:
    """On these voxels [N,4]; of the convolutional blocks products alone."""
    fine = SparseTensor(torch.zeros(len(coords), 1, device=coords.device), coords, frames)
    levels = [fine, pool_space(fine)]
    levels.append(pool_time(levels[1], frames))
    tokens = len(levels[2])
    pairs = [tokens**2] * args["num_blocks"]
    work = transformer(tokens, pairs, 2 * image_tokens, frames * image_tokens, args, settings)
    with torch.device("meta"):
        network = SLatFlow4DModel.from_args(args)
    way_in = convolutions(network.input_blocks, 0, levels, frames)
    way_in += convolutions(network.input_blocks_t, 1, levels, frames)
    way_out = convolutions(network.out_blocks_t, 2, levels, frames)
    way_out += convolutions(network.out_blocks, 1, levels, frames)
    steps, guided = passes(settings)
    return work + Work(way_in) * steps + Work(way_out) * (steps + guided)


def convolutions(blocks: Any, level: int, levels: list[SparseTensor], frames: int) -> float:
    """Products of residual blocks, the first of which is given a tensor of this level."""
    flops = 0.0
    for block in blocks:
        level += len(block.down)
        if isinstance(block.skip_connection, torch.nn.Linear):  # before an up-sampling
            flops += 2 * len(levels[level]) * block.skip_connection.weight.numel()
        level -= len(block.up)
        x, slots = levels[level], frames // 2 if level == 2 else frames
        for layer in (block.conv1, block.conv2):
            taps = neighbours(x.sites, layer.kernel, slots)
            count = len(x) + sum(len(tap.output) for tap in taps)
            flops += 2 * count * layer.conv.weight.shape[0] * layer.in_channels
    return flops


def lines(coords: torch.Tensor, frames: int, image_tokens: int, tflops: float, gbs: float) -> list[str]:
    """A table of both stages' floors at these rates."""
    found = [f"| floor of a clip of {frames} frames | PFLOP | s at {tflops:.0f} TFLOP/s | TB | s at {gbs:.0f} GB/s |"]
    found.append("|---|---:|---:|---:|---:|")
    for name, work in (
        ("stage 1", stage_1(frames, image_tokens)),
        (f"stage 2, {len(coords) // frames} voxels a frame", stage_2(coords, frames, image_tokens)),
    ):
        seconds = work.flops / tflops / 1e12, work.bytes / gbs / 1e9
        found.append(
            f"| {name} | {work.flops / 1e15:.2f} | {seconds[0]:.1f} | {work.bytes / 1e12:.2f} | {seconds[1]:.1f} |"
        )
    return found
