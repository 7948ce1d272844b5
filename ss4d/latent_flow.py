"""Stage 2: the flow over structured latents, a sparse 4-D network around a transformer.

64^3 grid, T slots    input_blocks       3-D residual blocks; the last halves space
32^3 grid, T          input_blocks_t     1-D residual blocks in time; the last halves time
32^3 grid, T/2        blocks             transformer over all voxels of a clip; a slot sees the images of its pair
32^3 grid, T          out_blocks_t       back again, with skips from the way in
64^3 grid, T          out_blocks
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bench4d.errors import FormatError

from .attention import Context, CrossAttention, Nothing, SelfAttention, attend_packed
from .config import config_from_args
from .layers import (
    FeedForward,
    LayerNorm32,
    TimestepEmbedder,
    initialise_linears,
    position_embedding,
    torso_to_half,
)
from .sparse import SparseConv, SparseTensor, per_clip, per_slot, pool_space, pool_time, unpool
from .sparse.conv import KernelWeights

# The image tokens of each slot, [S, L, K], or what a block's cross attention sees of them.
Condition = Tensor | Context | Nothing


@dataclass(frozen=True)
class LatentFlowConfig:
    """The "args" of SLatFlow4DModel.

    Attributes:
        resolution: side of the voxel grid. Nothing is computed from it.
        patch_size: by how much space is reduced for the transformer; one level of input blocks per factor of 2.
        io_block_channels: channels of the levels in space; None for patch_size 1.
        io_block_channels_t: channels of the level in time. Only conv_type "3D_1D" and "3D_4D" have one.
        num_io_res_blocks: residual blocks of each level on the way in, and of levels in space on the way out.
        num_io_res4d_blocks: residual blocks of the level in time on the way out.
        conv_type: "3D_1D": convolve in space, then in time; "3D_4D": in space, then in both; "4D": in both at once;
            "non": in space, with frames merely pooled and repeated; "3D": in space, and frames are never joined (ours:
            the official network of that name gives its transformer pairs of times and images, and cannot run).
        pe_mode: "ape": absolute position in space; "rope_t": the same, and rotary in time.
        expand_self_attn: whether voxels attend to all slots of their clip, or to their own only.
        use_checkpoint: compute activations again in the backward pass instead of keeping them.
    """

    resolution: int
    in_channels: int
    model_channels: int
    cond_channels: int
    out_channels: int
    num_blocks: int
    num_heads: int | None = None
    num_head_channels: int = 64
    mlp_ratio: float = 4
    patch_size: int = 2
    num_io_res_blocks: int = 2
    num_io_res4d_blocks: int = 2
    io_block_channels: tuple[int, ...] | None = None
    io_block_channels_t: tuple[int, ...] | None = None
    pe_mode: str = "ape"
    rope_base: float = 10000.0
    use_fp16: bool = False
    use_checkpoint: bool = False
    use_skip_connection: bool = True
    share_mod: bool = False
    qk_rms_norm: bool = False
    qk_rms_norm_cross: bool = False
    expand_self_attn: bool = False
    conv_type: str = "3D_1D"

    def __post_init__(self) -> None:
        if self.conv_type not in ("3D_1D", "3D_4D", "4D", "non", "3D"):
            raise _wrong("conv_type", '"3D_1D", "3D_4D", "4D", "non" or "3D"', repr(self.conv_type))
        if self.pe_mode not in ("ape", "rope_t"):
            raise _wrong("pe_mode", '"ape" or "rope_t"', repr(self.pe_mode))
        if self.expand_self_attn and self.pe_mode != "rope_t":
            raise _wrong("pe_mode", '"rope_t", which attention over time needs', repr(self.pe_mode))
        if self.share_mod:
            raise _wrong("share_mod", "false", "true", "One modulation for all blocks exists in stage 1 only.")
        if min(self.num_io_res_blocks, self.num_io_res4d_blocks) < 1:
            raise _wrong("num_io_res_blocks, num_io_res4d_blocks", "at least 1: the block that resamples", "0")
        if 2 ** len(self.io_block_channels or ()) != self.patch_size:
            expected = f"log2(patch_size = {self.patch_size}) levels"
            raise _wrong("io_block_channels", expected, f"{self.io_block_channels}")
        if self.conv_type in ("3D_1D", "3D_4D"):
            if self.io_block_channels_t != (self.model_channels,):
                expected = f"[{self.model_channels}]: one level, as wide as the transformer"
                raise _wrong("io_block_channels_t", expected, f"{self.io_block_channels_t}")
            if self.use_skip_connection and self.num_io_res4d_blocks > self.num_io_res_blocks:
                expected = f"at most num_io_res_blocks = {self.num_io_res_blocks}: each takes a skip from the way in"
                raise _wrong("num_io_res4d_blocks", expected, f"{self.num_io_res4d_blocks}")
        if self.conv_type == "4D" and self.patch_size != 2:
            raise _wrong("patch_size", '2: each level of conv_type "4D" halves time', f"{self.patch_size}")

    @property
    def pooled(self) -> int:
        """How many frames the transformer sees as one slot."""
        return 1 if self.conv_type == "3D" else 2


def _wrong(name: str, expected: str, found: str, next_step: str = "") -> FormatError:
    return FormatError(f'SLatFlow4DModel "args", {name}', expected, found, next_step)


class SparseResBlock(nn.Module):
    """Two convolutions, modulated by the flow time; may begin by halving or restoring "space" or "time"."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding_channels: int,
        kernel: tuple[int, ...],
        down: tuple[str, ...] = (),
        up: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.down, self.up = down, up
        self.norm1 = LayerNorm32(in_channels, affine=True)
        self.norm2 = LayerNorm32(out_channels, affine=False)
        self.conv1 = SparseConv(in_channels, out_channels, kernel)
        self.conv2 = SparseConv(out_channels, out_channels, kernel)
        nn.init.zeros_(self.conv2.conv.weight)
        nn.init.zeros_(self.conv2.conv.bias)
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding_channels, 2 * out_channels))
        self.skip_connection = nn.Linear(in_channels, out_channels) if in_channels != out_channels else nn.Identity()

    def forward(
        self, x: SparseTensor, e: Float[Tensor, "F E"], num_frames: int, m: Float[Tensor, "F M"] | None = None
    ) -> SparseTensor:
        """`num_frames` is that of the whole clip, before any pooling; `m` is `emb_layers(e)` where that is known."""
        for kind in self.down:
            x = pool_space(x) if kind == "space" else pool_time(x, num_frames)
        h = x.replace(self.norm1(x.feats, silu=True))
        x = x.replace(self.skip_connection(x.feats))
        for kind in self.up:  # only now: norm and skip treat each row alone, and here there are fewer
            x, h = unpool(x, kind), unpool(h, kind)
        frames = num_frames // 2 if "time" in self.down else num_frames
        if len(e) not in (1, x.slots):
            e = e.unflatten(0, (x.slots, -1)).mean(1)  # [F/2, E]: the mean of a pair of frames
        scale, shift = (self.emb_layers(e) if m is None else m).chunk(2, dim=-1)  # [slots, C] each
        h = self.conv1(h, frames)
        h = h.replace(self.norm2(h.feats, h.rows(shift), h.rows(scale), silu=True))
        h = self.conv2(h, frames)
        return h.replace(h.feats + x.feats)


class LatentFlowBlock(nn.Module):
    """Self attention over the clip, cross attention to the images of the slot, feed-forward."""

    def __init__(self, config: LatentFlowConfig) -> None:
        super().__init__()
        channels = config.model_channels
        heads = config.num_heads or channels // config.num_head_channels
        self.over_time = config.expand_self_attn
        self.norm1 = LayerNorm32(channels, affine=False)
        self.norm2 = LayerNorm32(channels, affine=True)
        self.norm3 = LayerNorm32(channels, affine=False)
        self.self_attn = SelfAttention(channels, heads, config.qk_rms_norm, config.rope_base)
        self.cross_attn = CrossAttention(channels, config.cond_channels, heads, config.qk_rms_norm_cross)
        self.mlp = FeedForward(channels, config.mlp_ratio)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(channels, 6 * channels))

    def forward(self, x: SparseTensor, e: Float[Tensor, "S C"], cond: Condition, num_frames: int) -> SparseTensor:
        """`num_frames` is the number of slots of a clip here: config.pooled frames are one."""
        m = self.modulation(x, e)
        return self.respond(self.mix(x, m, num_frames), m, cond)

    def modulation(self, x: SparseTensor, e: Float[Tensor, "S C"]) -> tuple[Float[Tensor, "N C"], ...]:
        """Shift, scale and gate of self attention, then of the feed-forward layer; one row each if `e` has one."""
        return tuple(x.rows(value) for value in self.adaLN_modulation(e).chunk(6, dim=-1))

    def mix(self, x: SparseTensor, m: Sequence[Tensor], num_frames: int) -> SparseTensor:
        """The first half, in which voxels see each other and no image."""
        shift, scale, gate = m[:3]
        h = self.norm1(x.feats, shift, scale)
        if self.over_time:
            key = ("turn", num_frames, h.shape[1] // self.self_attn.heads, self.self_attn.rope_base)
            turn = x.sites.remember(key, lambda: self.self_attn.rotation(x.coords[:, 0] % num_frames))
            q, k, v = self.self_attn.qkv(h, turn)  # [N, H, D] each
            lengths = per_clip(x.sites, num_frames).lengths
        else:  # within one slot all angles are equal: turning q and k would change nothing
            q, k, v = self.self_attn.qkv(h)
            lengths = per_slot(x.sites).lengths
        h = attend_packed(q, k, v, lengths, lengths, self.self_attn.kernel, x.sites.remember)
        return x.replace(x.feats + gate * self.self_attn.out(h))

    def respond(self, x: SparseTensor, m: Sequence[Tensor], cond: Condition) -> SparseTensor:
        """The second half, in which each voxel sees the images of its slot."""
        if isinstance(cond, Nothing):
            feats = x.feats + cond.answer
        else:
            k, v = self.cross_attn.context(cond) if isinstance(cond, Tensor) else cond  # [S, L, H, D] each
            q = self.cross_attn.q(self.norm2(x.feats))  # [N, H, D]
            lengths, seen = per_slot(x.sites).lengths, [k.shape[1]] * len(k)
            k, v, kernel = k.flatten(0, 1), v.flatten(0, 1), self.cross_attn.kernel
            h = attend_packed(q, k, v, lengths, seen, kernel, x.sites.remember)
            feats = x.feats + self.cross_attn.out(h)
        shift, scale, gate = m[3:]
        return x.replace(feats + gate * self.mlp(self.norm3(feats, shift, scale)))


class SLatFlow4DModel(nn.Module):
    def __init__(self, config: LatentFlowConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.model_channels
        levels = list(config.io_block_channels or ())
        wide = 2 if config.use_skip_connection else 1  # inputs of out blocks are this many times as wide
        self.t_embedder = TimestepEmbedder(channels)
        self.input_layer = nn.Linear(config.in_channels, levels[0] if levels else channels)

        # The levels in space, of which those of conv_type "4D" also halve time, and the level in time.
        levels_below = list(zip(levels, [*levels[1:], channels], strict=True))
        kernel = (3, 3, 3, 3) if config.conv_type == "4D" else (3, 3, 3)
        kernel_t = {"3D_1D": (3, 1, 1, 1), "3D_4D": (3, 3, 3, 3)}.get(config.conv_type)
        down = ("space", "time") if config.conv_type == "4D" else ("space",)

        self.input_blocks = nn.ModuleList()
        for here, below in levels_below:
            for _ in range(config.num_io_res_blocks - 1):
                self.input_blocks.append(SparseResBlock(here, here, channels, kernel))
            self.input_blocks.append(SparseResBlock(here, below, channels, kernel, down=down))
        self.input_blocks_t = nn.ModuleList()
        if kernel_t:
            for _ in range(config.num_io_res_blocks - 1):
                self.input_blocks_t.append(SparseResBlock(channels, channels, channels, kernel_t))
            self.input_blocks_t.append(SparseResBlock(channels, channels, channels, kernel_t, down=("time",)))

        self.blocks = nn.ModuleList(LatentFlowBlock(config) for _ in range(config.num_blocks))

        self.out_blocks = nn.ModuleList()
        for here, below in reversed(levels_below):
            self.out_blocks.append(SparseResBlock(wide * below, here, channels, kernel, up=down[::-1]))
            for _ in range(config.num_io_res_blocks - 1):
                self.out_blocks.append(SparseResBlock(wide * here, here, channels, kernel))
        self.out_blocks_t = nn.ModuleList()
        if kernel_t:
            self.out_blocks_t.append(SparseResBlock(wide * channels, channels, channels, kernel_t, up=("time",)))
            for _ in range(config.num_io_res4d_blocks - 1):
                self.out_blocks_t.append(SparseResBlock(wide * channels, channels, channels, kernel_t))
        self.out_layer = nn.Linear(levels[0] if levels else channels, config.out_channels)

        initialise_linears(self)
        if config.use_fp16:
            for torso in (self.input_blocks, self.input_blocks_t, self.blocks, self.out_blocks, self.out_blocks_t):
                torso_to_half(torso, (nn.Linear, KernelWeights))

    @classmethod
    def from_args(cls, args: Mapping[str, Any]) -> SLatFlow4DModel:
        return cls(config_from_args(LatentFlowConfig, args))

    def forward(
        self, x: SparseTensor, t: Float[Tensor, " F"], cond: Float[Tensor, "F L K"], num_frames: int
    ) -> SparseTensor:
        """The velocity at flow time `t` (times 1000) of the latents `x`, given the image features of each slot."""
        self._check(x, t, num_frames)
        self._check_condition(cond, x.slots)
        h, e, skips = self._enter(x, t, num_frames)
        seen, e_slot = self._seen(cond), self._of_slots(e)
        for block in self.blocks:
            h = self._run(block, h, e_slot, seen, num_frames // self.config.pooled)
        return self._leave(h, e, skips, x, num_frames)

    def conditions(self, cond: Float[Tensor, "F L K"], keep: bool = True) -> Sequence[Condition]:
        """For `velocities`: what each block's cross attention sees of the image features.

        Without `keep` that is worked out again in each call, and the memory for all blocks' keys and values is saved.
        """
        self._check_condition(cond, len(cond))
        seen = self._seen(cond)
        return [block.cross_attn.context(seen) if keep else seen for block in self._blocks()]

    def nothing(self) -> list[Nothing]:
        """For `velocities`: image features that are all zero."""
        return [block.cross_attn.nothing() for block in self._blocks()]

    def velocities(
        self,
        x: SparseTensor,
        t: Float[Tensor, " 1"],
        conds: Sequence[Sequence[Condition]],
        num_frames: int,
    ) -> list[SparseTensor]:
        """`forward` for one time `t` of all slots and several conditions; what they share is computed once."""
        self._check(x, t, num_frames)
        h, e, skips = self._enter(x, t, num_frames)
        e_slot, slots, blocks = self._of_slots(e), num_frames // self.config.pooled, self._blocks()
        # Modulations are those of a time: once for all conditions.
        m = [block.modulation(h, e_slot) for block in blocks]
        m_out = [block.emb_layers(e) for block in (*self.out_blocks_t, *self.out_blocks)]
        mixed = blocks[0].mix(h, m[0], slots)
        found = []
        for cond in conds:
            h = blocks[0].respond(mixed, m[0], cond[0])
            for block, own, seen in zip(blocks[1:], m[1:], cond[1:], strict=True):
                h = block.respond(block.mix(h, own, slots), own, seen)
            found.append(self._leave(h, e, skips, x, num_frames, m_out))
        return found

    def _blocks(self) -> list[LatentFlowBlock]:
        return cast(list[LatentFlowBlock], list(self.blocks))

    def _seen(self, cond: Float[Tensor, "F L K"]) -> Float[Tensor, "S n*L K"]:
        """The features of a slot's n frames one after the other, in the type of the blocks."""
        cond = cond.half() if self.config.use_fp16 else cond
        return cond.unflatten(0, (-1, self.config.pooled)).flatten(1, 2)

    def _of_slots(self, e: Float[Tensor, "F C"]) -> Float[Tensor, "S C"]:
        return e if len(e) == 1 else e.unflatten(0, (-1, self.config.pooled)).mean(1)

    def _enter(
        self, x: SparseTensor, t: Float[Tensor, " F"], num_frames: int
    ) -> tuple[SparseTensor, Float[Tensor, "F C"], list[SparseTensor]]:
        """Everything before the transformer: its voxels, the embedded times, and what the way out takes again."""
        dtype = torch.float16 if self.config.use_fp16 else x.feats.dtype
        with torch.autocast(x.feats.device.type, enabled=False):  # in training too the ends are in full precision
            h = x.replace(self.input_layer(x.feats).to(dtype))
            e = self.t_embedder(t).to(dtype)  # [F, C]
        skips: list[SparseTensor] = []
        for block in self.input_blocks:
            h = self._run(block, h, e, num_frames)
            skips.append(h)
        for block in self.input_blocks_t:
            h = self._run(block, h, e, num_frames)
            skips.append(h)
        if self.config.conv_type == "non":
            h = pool_time(h, num_frames)

        channels = h.feats.shape[1]
        position = h.sites.remember(("position", channels), lambda: position_embedding(h.coords[:, 1:], channels))
        return h.replace(h.feats + position.to(dtype)), e, skips

    def _leave(
        self,
        h: SparseTensor,
        e: Float[Tensor, "F C"],
        skips: Sequence[SparseTensor],
        x: SparseTensor,
        num_frames: int,
        m: Sequence[Tensor | None] | None = None,
    ) -> SparseTensor:
        """Everything after the transformer; the velocity stands on the voxels of `x`.

        `m` holds the blocks' modulations where they are known.
        """
        skips = list(skips)
        known = iter(m or [None] * len([*self.out_blocks_t, *self.out_blocks]))
        if self.config.conv_type == "non":
            h = unpool(h, "time")
        for block in self.out_blocks_t:
            h = self._run(block, self._with_skip(h, skips), e, num_frames, next(known))
        del skips[len(self.input_blocks) :]
        for block in self.out_blocks:
            h = self._run(block, self._with_skip(h, skips), e, num_frames, next(known))

        feats = F.layer_norm(h.feats, h.feats.shape[-1:]).to(x.feats.dtype)  # in the torso's dtype, eps 1e-5
        with torch.autocast(feats.device.type, enabled=False):
            return x.replace(self.out_layer(feats))

    def _with_skip(self, h: SparseTensor, skips: list[SparseTensor]) -> SparseTensor:
        """The output of the last input block that has not been used yet, beside `h`."""
        return h.replace(torch.cat([h.feats, skips.pop().feats], dim=1)) if self.config.use_skip_connection else h

    def _run(self, block: nn.Module, *args: Any) -> SparseTensor:
        if self.config.use_checkpoint and torch.is_grad_enabled():
            return checkpoint(block, *args, use_reentrant=False)
        return block(*args)

    def _check(self, x: SparseTensor, t: Tensor, num_frames: int) -> None:
        x.sites.clips(num_frames)
        if num_frames % self.config.pooled:
            next_step = "The network works on pairs of frames: leave one out or repeat one."
            raise FormatError("num_frames", "an even number of frames", f"{num_frames}", next_step)
        if x.feats.shape[1] != self.config.in_channels:
            raise FormatError("latents", f"[N, {self.config.in_channels}]", f"{list(x.feats.shape)}")
        if t.shape not in ((x.slots,), (1,)):
            raise FormatError("flow time", f"[{x.slots}]: one value per slot, or [1] for all", f"{list(t.shape)}")

    def _check_condition(self, cond: Tensor, slots: int) -> None:
        if cond.ndim != 3 or len(cond) != slots or cond.shape[2] != self.config.cond_channels:
            expected = f"[{slots}, L, {self.config.cond_channels}]"
            raise FormatError("image features", expected, f"{list(cond.shape)}")
