"""TRELLIS's image-to-3D models as the beginning of SS4D's: which arguments are added, and how new blocks begin.

TRELLIS works on one frame. Its parameters all have a place in the 4-D networks, and these have few more:

- stage 1 has none: the same self attention sees a window of frames instead of one (rotary positions in time have no
  parameters);
- stage 2 has the blocks in time, `input_blocks_t` and `out_blocks_t` (44 million parameters at full size);
- the Gaussian decoder has none: its windows reach over time.

A network that starts this way still has to be trained. Blocks in time are not the identity even with the warm start
"identity": pooling divides by one more than the number of frames pooled, and a pair of frames shares its features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

import torch
from torch import nn

from bench4d.errors import FormatError

from .latent_flow import SLatFlow4DModel, SparseResBlock

WarmStart = Literal["xavier", "identity"]

CLASSES = {
    "SparseStructureFlowModel": "SparseStructureFlow4DModel",
    "SLatFlowModel": "SLatFlow4DModel",
    "ElasticSLatFlowModel": "SLatFlow4DModel",
}
IN_TIME = {"pe_mode": "rope_t", "expand_self_attn": True}


def is_trellis(name: str) -> bool:
    return name in CLASSES


def to_4d(name: str, args: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Class and arguments of the 4-D network that takes a TRELLIS model's parameters.

    >>> to_4d("SparseStructureFlowModel", {"resolution": 16, "pe_mode": "ape"})
    ('SparseStructureFlow4DModel', {'resolution': 16, 'pe_mode': 'rope_t', 'expand_self_attn': True, 'window_size': 8})
    """
    if name == "SparseStructureFlowModel":
        return CLASSES[name], dict(args) | IN_TIME | {"window_size": 8}
    if name in CLASSES:
        in_time = {"conv_type": "3D_1D", "num_io_res4d_blocks": 2, "io_block_channels_t": [args["model_channels"]]}
        return CLASSES[name], dict(args) | IN_TIME | in_time
    if name in ("SLatGaussianDecoder", "ElasticSLatGaussianDecoder"):
        return name, dict(args) | IN_TIME
    return name, dict(args)


def warm_start_latent_flow(network: SLatFlow4DModel, how: WarmStart) -> None:
    """Set the blocks in time of a SLatFlow4DModel that lacks them in its checkpoint.

    "xavier": as the class initialises them: second convolutions zero, so that a block begins as its skip connection
    (or the identity where there is none); skip connections Xavier-uniform.
    "identity": besides, each skip connection [C, 2C] of `out_blocks_t` is [I 0]: it hands on what comes from the
    transformer and ignores the skip. This is our own choice, not the paper's.
    """
    if how not in ("xavier", "identity"):
        raise FormatError("warm start", '"xavier" or "identity"', repr(how))
    if how == "identity":
        with torch.no_grad():
            for block in cast(list[SparseResBlock], network.out_blocks_t):
                skip = cast(nn.Linear, block.skip_connection)
                weight = skip.weight  # [C, 2C]
                weight.zero_()
                weight[:, : weight.shape[0]].fill_diagonal_(1)
                skip.bias.zero_()
