"""The transformer that the Gaussian decoder and the latent encoder share.

Voxels attend within windows of 8^3 voxels, or, with `expand_self_attn`, of 8^3 voxels and 8 frames; every other block
moves the windows by half their size. Such windows are the only way for frames to see each other: there is no parameter
for time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bench4d.errors import FormatError

from .attention import SelfAttention, attend_packed
from .layers import FeedForward, LayerNorm32, initialise_linears, position_embedding, torso_to_half
from .sparse import Sequences, SparseTensor, per_slot, space_windows, time_windows


@dataclass(frozen=True, kw_only=True)
class SparseTransformerConfig:
    """The "args" that the Gaussian decoder and the latent encoder have in common.

    Attributes:
        resolution: voxels along each side of the grid.
        attn_mode: "swin": windows; "full": all voxels of a slot.
        window_size: side of a window, in voxels and in frames.
        pe_mode: "ape": absolute position in space; "rope_t": the same, and rotary in time.
        expand_self_attn: whether windows reach over frames.
        use_checkpoint: compute activations again in the backward pass instead of keeping them.
    """

    resolution: int
    model_channels: int
    latent_channels: int
    num_blocks: int
    num_heads: int | None = None
    num_head_channels: int = 64
    mlp_ratio: float = 4
    attn_mode: str = "swin"
    window_size: int = 8
    pe_mode: str = "ape"
    use_fp16: bool = False
    use_checkpoint: bool = False
    qk_rms_norm: bool = False
    expand_self_attn: bool = True

    def __post_init__(self) -> None:
        if self.attn_mode not in ("swin", "full"):
            raise FormatError("attn_mode", '"swin" or "full"', repr(self.attn_mode))
        if self.pe_mode not in ("ape", "rope_t"):
            raise FormatError("pe_mode", '"ape" or "rope_t"', repr(self.pe_mode))
        if self.window_size < 1:
            raise FormatError("window_size", "at least 1", f"{self.window_size}")
        if self.expand_self_attn and (self.attn_mode, self.pe_mode) != ("swin", "rope_t"):
            expected = '"swin" and "rope_t", which attention over frames needs'
            next_step = "For a network without time set expand_self_attn to false."
            raise FormatError("attn_mode, pe_mode", expected, f"{self.attn_mode!r}, {self.pe_mode!r}", next_step)


class SparseTransformerBlock(nn.Module):
    def __init__(self, config: SparseTransformerConfig, shift: int) -> None:
        super().__init__()
        channels = config.model_channels
        heads = config.num_heads or channels // config.num_head_channels
        self.config, self.shift = config, shift
        self.norm1 = LayerNorm32(channels, affine=False)
        self.norm2 = LayerNorm32(channels, affine=False)
        self.attn = SelfAttention(channels, heads, config.qk_rms_norm)
        self.mlp = FeedForward(channels, config.mlp_ratio)

    def forward(self, x: SparseTensor, num_frames: int) -> SparseTensor:
        group = self.sequences(x, num_frames)
        h = group.sort(self.norm1(x.feats))
        frame = x.coords[:, 0] % num_frames
        turn = self.attn.rotation(group.sort(frame)) if self.config.expand_self_attn else None
        q, k, v = self.attn.qkv(h, turn)  # [N, H, D] each
        h = attend_packed(q, k, v, group.lengths, group.lengths, self.attn.kernel, x.sites.remember)
        feats = x.feats + group.unsort(self.attn.out(h))
        return x.replace(feats + self.mlp(self.norm2(feats)))

    def sequences(self, x: SparseTensor, num_frames: int) -> Sequences:
        """Which voxels see each other."""
        if self.config.expand_self_attn:
            return time_windows(x.sites, num_frames, self.config.window_size, self.shift)
        if self.config.attn_mode == "swin":
            return space_windows(x.sites, self.config.window_size, self.shift)
        return per_slot(x.sites)


class SparseTransformer(nn.Module):
    """Linear in, blocks, linear out: `in_channels` to `out_channels` features of each voxel."""

    def __init__(self, config: SparseTransformerConfig, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.config = config
        shifts = (0, config.window_size // 2)
        self.input_layer = nn.Linear(in_channels, config.model_channels)
        self.blocks = nn.ModuleList(SparseTransformerBlock(config, shifts[i % 2]) for i in range(config.num_blocks))
        self.out_layer = nn.Linear(config.model_channels, out_channels)
        initialise_linears(self)
        if config.use_fp16:
            torso_to_half(self.blocks)

    def transform(self, x: SparseTensor, num_frames: int) -> Float[Tensor, "N O"]:
        x.sites.clips(num_frames)
        if x.feats.shape[1] != self.input_layer.in_features:
            raise FormatError("features", f"[N, {self.input_layer.in_features}]", f"{list(x.feats.shape)}")
        if max(x.sites.extent) > self.config.resolution:
            limit = self.config.resolution
            raise FormatError("coords", f"x, y, z below resolution = {limit}", f"{max(x.sites.extent) - 1}")
        device = x.feats.device.type
        with torch.autocast(device, enabled=False):  # in training too the first and last layers are in full precision
            feats = self.input_layer(x.feats) + position_embedding(x.coords[:, 1:], self.config.model_channels)
        h = x.replace(feats.half() if self.config.use_fp16 else feats)
        for block in self.blocks:
            if self.config.use_checkpoint and torch.is_grad_enabled():
                h = checkpoint(block, h, num_frames, use_reentrant=False)
            else:
                h = block(h, num_frames)
        feats = h.feats.to(x.feats.dtype)
        with torch.autocast(device, enabled=False):
            return self.out_layer(F.layer_norm(feats, feats.shape[-1:]))  # eps 1e-5 here, unlike in the blocks
