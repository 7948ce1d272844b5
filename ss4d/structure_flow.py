"""Stage 1: the flow that makes structure latents, a dense transformer over space and time.

Each frame's latent, 16^3 voxels of 8 channels, is a set of tokens. Self attention joins the tokens of several frames:
those of a window of frames, which moves by half its size in every other block, or those of the whole clip. Cross
attention looks at the image tokens of the token's own frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bench4d.errors import FormatError

from .attention import Context, CrossAttention, Nothing, SelfAttention, attend, attend_packed, frame_windows
from .config import config_from_args
from .layers import (
    FeedForward,
    LayerNorm32,
    TimestepEmbedder,
    initialise_linears,
    position_embedding,
    torso_to_half,
)

# The image tokens of each frame, [F, M, K], or what a block's cross attention sees of them.
Condition = Tensor | Context | Nothing


@dataclass(frozen=True)
class StructureFlowConfig:
    """Arguments of the network as they stand in a checkpoint.

    Attributes:
        resolution: voxels along each side of the latent.
        in_channels: channels of the latent.
        model_channels: channels of a token.
        cond_channels: channels of an image token.
        out_channels: channels of the velocity.
        num_blocks: number of transformer blocks.
        num_heads: attention heads; by default model_channels / num_head_channels.
        num_head_channels: channels of a head, where num_heads does not say it.
        mlp_ratio: hidden channels of the feed-forward layers / model_channels.
        patch_size: voxels along each side of a token.
        pe_mode: "ape", positions in space only, or "rope_t", rotary positions in time too.
        rope_base: base of the rotary frequencies of the self attention.
        window_size: frames of a window of self attention; None for the whole clip.
        use_fp16: keep the blocks in float16.
        use_checkpoint: recompute activations in training; no effect on results.
        share_mod: one modulation for all blocks.
        qk_rms_norm: normalise queries and keys of self attention.
        qk_rms_norm_cross: normalise queries and keys of cross attention.
        expand_self_attn: let self attention see other frames.
        insert_temporal: add an attention over the whole clip to each block.
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
    pe_mode: str = "ape"
    rope_base: float = 10000.0
    window_size: int | None = None
    use_fp16: bool = False
    use_checkpoint: bool = False
    share_mod: bool = False
    qk_rms_norm: bool = False
    qk_rms_norm_cross: bool = False
    expand_self_attn: bool = False
    insert_temporal: bool = False

    def __post_init__(self) -> None:
        if self.pe_mode not in ("ape", "rope_t"):
            raise FormatError("pe_mode", '"ape" or "rope_t"', f'"{self.pe_mode}"')
        if self.patch_size < 1 or self.resolution % self.patch_size:
            raise FormatError("patch_size", f"a divisor of resolution = {self.resolution}", f"{self.patch_size}")
        if self.window_size is not None and self.window_size < 1:
            raise FormatError("window_size", "at least one frame, or null", f"{self.window_size}")
        if self.share_mod and self.insert_temporal:
            raise FormatError("args", "share_mod or insert_temporal", "both", "How they combine is not defined.")

    @property
    def heads(self) -> int:
        return self.num_heads or self.model_channels // self.num_head_channels


class Block(nn.Module):
    """Self attention, perhaps attention over the clip, cross attention and feed-forward, each added to the tokens."""

    def __init__(self, config: StructureFlowConfig, shift: int) -> None:
        super().__init__()
        channels, heads, norm = config.model_channels, config.heads, config.qk_rms_norm
        self.config, self.shift = config, shift
        self.norm1 = LayerNorm32(channels, affine=False)
        self.norm2 = LayerNorm32(channels, affine=True)
        self.norm3 = LayerNorm32(channels, affine=False)
        self.self_attn = SelfAttention(channels, heads, norm, config.rope_base)
        self.cross_attn = CrossAttention(channels, config.cond_channels, heads, config.qk_rms_norm_cross)
        self.mlp = FeedForward(channels, config.mlp_ratio)
        if not config.share_mod:
            self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(channels, 6 * channels))
        if config.insert_temporal:
            self.temp_attn = SelfAttention(channels, heads, norm)  # always with the default base
            self.norm4 = LayerNorm32(channels, affine=False)
            self.adaLN_modulation_temporal = nn.Sequential(nn.SiLU(), nn.Linear(channels, 3 * channels))

    def forward(
        self, x: Float[Tensor, "F L C"], e: Float[Tensor, "F E"], cond: Condition, num_frames: int
    ) -> Float[Tensor, "F L C"]:
        """`e` holds the embedded times, or with `share_mod` the modulation itself, 6 C channels. One row serves all."""
        m = self.modulation(e)
        return self.respond(self.mix(x, m, num_frames), m, cond)

    def modulation(self, e: Float[Tensor, "F E"]) -> tuple[Float[Tensor, "F 1 C"], ...]:
        """Shift, scale and gate of self attention, of the feed-forward layer, perhaps of attention over the clip."""
        m = (e if self.config.share_mod else self.adaLN_modulation(e))[:, None].chunk(6, dim=-1)
        if self.config.insert_temporal:
            m += self.adaLN_modulation_temporal(e)[:, None].chunk(3, dim=-1)
        return m

    def mix(self, x: Float[Tensor, "F L C"], m: Sequence[Tensor], num_frames: int) -> Float[Tensor, "F L C"]:
        """The first half, in which tokens see each other and no image."""
        shift, scale, gate = m[:3]
        x = x + gate * self.attend_self(self.norm1(x, shift, scale), num_frames)
        if self.config.insert_temporal:
            shift, scale, gate = m[6:]
            x = x + gate * self.attend_clip(self.norm2(x, shift, scale), num_frames)
        return x

    def respond(self, x: Float[Tensor, "F L C"], m: Sequence[Tensor], cond: Condition) -> Float[Tensor, "F L C"]:
        """The second half, in which each token sees the image of its frame."""
        if isinstance(cond, Nothing):
            x = x + cond.answer
        else:
            k, v = self.cross_attn.context(cond) if isinstance(cond, Tensor) else cond
            q = self.cross_attn.q(self.norm4(x) if self.config.insert_temporal else self.norm2(x))
            x = x + self.cross_attn.out(attend(q, k, v, self.cross_attn.kernel))
        shift, scale, gate = m[3:6]
        return x + gate * self.mlp(self.norm3(x, shift, scale))

    def attend_self(self, h: Float[Tensor, "F L C"], num_frames: int) -> Float[Tensor, "F L C"]:
        config, (slots, tokens) = self.config, h.shape[:2]
        if not config.expand_self_attn:  # within each frame
            return self.self_attn.out(attend(*self.self_attn.qkv(h), kernel=self.self_attn.kernel))
        turn = self.self_attn.rotation(frame_indices(h, num_frames)) if config.pe_mode == "rope_t" else None
        q, k, v = self.self_attn.qkv(h, turn)
        windows = [num_frames]
        if config.window_size is not None:
            windows = frame_windows(num_frames, config.window_size, self.shift)
        lengths = [frames * tokens for frames in windows] * (slots // num_frames)
        kernel = self.self_attn.kernel
        h = attend_packed(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), lengths, lengths, kernel)  # [F L, H, D]
        return self.self_attn.out(h.unflatten(0, (slots, tokens)))

    def attend_clip(self, h: Float[Tensor, "F L C"], num_frames: int) -> Float[Tensor, "F L C"]:
        q, k, v = self.temp_attn.qkv(h, self.temp_attn.rotation(frame_indices(h, num_frames)))
        q, k, v = (a.reshape(-1, num_frames * h.shape[1], *a.shape[2:]) for a in (q, k, v))  # [B, T L, H, D]
        return self.temp_attn.out(attend(q, k, v, self.temp_attn.kernel).reshape(*h.shape[:2], *q.shape[2:]))


class SparseStructureFlow4DModel(nn.Module):
    def __init__(self, config: StructureFlowConfig) -> None:
        super().__init__()
        self.config = config
        channels, patch = config.model_channels, config.patch_size
        self.t_embedder = TimestepEmbedder(channels)
        if config.share_mod:
            self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(channels, 6 * channels))
        side = torch.arange(config.resolution // patch)
        tokens = torch.cartesian_prod(side, side, side)  # [L, 3], z fastest
        self.register_buffer("pos_emb", position_embedding(tokens, channels))
        self.input_layer = nn.Linear(config.in_channels * patch**3, channels)
        shifts = (0, (config.window_size or 0) // 2)
        self.blocks = nn.ModuleList(Block(config, shifts[i % 2]) for i in range(config.num_blocks))
        self.out_layer = nn.Linear(channels, config.out_channels * patch**3)
        initialise_linears(self)
        if config.use_fp16:
            torso_to_half(self.blocks)

    @classmethod
    def from_args(cls, args: Mapping[str, Any]) -> SparseStructureFlow4DModel:
        return cls(config_from_args(StructureFlowConfig, args))

    @property
    def dtype(self) -> torch.dtype:
        """Of the blocks."""
        return torch.float16 if self.config.use_fp16 else torch.float32

    def forward(
        self, x: Float32[Tensor, "F I R R R"], t: Float32[Tensor, " F"], cond: Float[Tensor, "F M K"], num_frames: int
    ) -> Float32[Tensor, "F O R R R"]:
        """The velocity at latents `x` and flow times `t` (times 1000), given the image tokens `cond` of each frame.

        F / num_frames clips come one after the other. Any number of frames will do.
        """
        self._check(x, t, num_frames)
        self._check_condition(cond, len(x))
        h, e = self._embed(x, t)
        cond = cond.to(self.dtype)
        for block in self.blocks:
            if self.config.use_checkpoint and torch.is_grad_enabled():
                h = checkpoint(block, h, e, cond, num_frames, use_reentrant=False)
            else:
                h = block(h, e, cond, num_frames)
        return self._velocity(h, x.dtype)

    def conditions(self, cond: Float[Tensor, "F M K"], keep: bool = True) -> Sequence[Condition]:
        """For `velocities`: what each block's cross attention sees of the image tokens.

        Without `keep` that is worked out again in each call, and the memory for all blocks' keys and values is saved.
        """
        self._check_condition(cond, len(cond))
        cond = cond.to(self.dtype)
        return [block.cross_attn.context(cond) if keep else cond for block in self._blocks()]

    def nothing(self) -> list[Nothing]:
        """For `velocities`: image tokens that are all zero."""
        return [block.cross_attn.nothing() for block in self._blocks()]

    def velocities(
        self,
        x: Float32[Tensor, "F I R R R"],
        t: Float32[Tensor, " 1"],
        conds: Sequence[Sequence[Condition]],
        num_frames: int,
    ) -> list[Float32[Tensor, "F O R R R"]]:
        """`forward` for one time `t` of all frames and several conditions; what they share is computed once."""
        self._check(x, t, num_frames)
        h, e = self._embed(x, t)
        blocks = self._blocks()
        m = [block.modulation(e) for block in blocks]  # of the time: once for all conditions
        mixed = blocks[0].mix(h, m[0], num_frames)
        found = []
        for cond in conds:
            h = blocks[0].respond(mixed, m[0], cond[0])
            for block, own, seen in zip(blocks[1:], m[1:], cond[1:], strict=True):
                h = block.respond(block.mix(h, own, num_frames), own, seen)
            found.append(self._velocity(h, x.dtype))
        return found

    def _blocks(self) -> list[Block]:
        return cast(list[Block], list(self.blocks))

    def _embed(self, x: Tensor, t: Tensor) -> tuple[Float[Tensor, "F L C"], Float[Tensor, "F E"]]:
        """Tokens, and the embedded times as the blocks take them."""
        with torch.autocast(x.device.type, enabled=False):  # in training too the first and last layers are in float32
            h = self.input_layer(patchify(x, self.config.patch_size)) + self.pos_emb  # [F, L, C]
            e = self.t_embedder(t)  # [F, C]
            if self.config.share_mod:
                e = self.adaLN_modulation(e)  # [F, 6 C]
        return h.to(self.dtype), e.to(self.dtype)

    def _velocity(self, h: Float[Tensor, "F L C"], dtype: torch.dtype) -> Float32[Tensor, "F O R R R"]:
        h = h.to(dtype)
        with torch.autocast(h.device.type, enabled=False):
            h = self.out_layer(F.layer_norm(h, h.shape[-1:]))  # eps 1e-5 here, unlike in the blocks
        return unpatchify(h, self.config.patch_size, self.config.resolution)

    def _check(self, x: Tensor, t: Tensor, num_frames: int) -> None:
        config, slots = self.config, len(x)
        if x.shape[1:] != (config.in_channels, *[config.resolution] * 3):
            expected = f"[frames, {config.in_channels}, {', '.join([str(config.resolution)] * 3)}]"
            raise FormatError("structure flow, x", expected, f"{list(x.shape)}")
        if t.shape not in ((slots,), (1,)):
            raise FormatError("structure flow, t", f"[{slots}], or [1] for all", f"{list(t.shape)}")
        if num_frames < 1 or slots % num_frames:
            raise FormatError("structure flow, num_frames", f"a divisor of the {slots} frames", f"{num_frames}")

    def _check_condition(self, cond: Tensor, slots: int) -> None:
        if cond.ndim != 3 or len(cond) != slots or cond.shape[2] != self.config.cond_channels:
            expected = f"[{slots}, tokens, {self.config.cond_channels}]"
            raise FormatError("structure flow, cond", expected, f"{list(cond.shape)}")


def frame_indices(h: Float[Tensor, "F L C"], num_frames: int) -> Float[Tensor, "F 1"]:
    """Each slot's frame index within its clip, 0 to num_frames - 1."""
    return (torch.arange(len(h), device=h.device) % num_frames)[:, None]


def patchify(x: Float[Tensor, "F I R R R"], patch: int) -> Float[Tensor, "F L P"]:
    """Voxels to tokens, z fastest; a token's channels run over (channel, x, y, z) of its patch."""
    slots, channels, side = x.shape[0], x.shape[1], x.shape[2] // patch
    x = x.reshape(slots, channels, side, patch, side, patch, side, patch)
    x = x.permute(0, 2, 4, 6, 1, 3, 5, 7)  # [F, x, y, z, channel, px, py, pz]
    return x.reshape(slots, side**3, channels * patch**3)


def unpatchify(x: Float[Tensor, "F L P"], patch: int, resolution: int) -> Float[Tensor, "F O R R R"]:
    slots, side = len(x), resolution // patch
    x = x.reshape(slots, side, side, side, -1, patch, patch, patch)  # [F, x, y, z, channel, px, py, pz]
    x = x.permute(0, 4, 1, 5, 2, 6, 3, 7)  # [F, channel, x, px, y, py, z, pz]
    return x.reshape(slots, -1, resolution, resolution, resolution)
