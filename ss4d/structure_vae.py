"""The structure autoencoder: occupancy of a 64^3 grid <-> latent of 16^3 voxels. All convolutions; frames are alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int32
from torch import Tensor, nn

from bench4d.errors import FormatError

from .config import config_from_args
from .layers import torso_to_half


@dataclass(frozen=True)
class StructureDecoderConfig:
    """Arguments of the decoder as they stand in a checkpoint.

    Attributes:
        out_channels: 1, the logit of occupancy.
        latent_channels: channels of the latent.
        num_res_blocks: residual blocks at each resolution.
        channels: channels at each resolution, coarse to fine.
        num_res_blocks_middle: residual blocks before those.
        norm_type: kind of the last norm; only "layer" is known.
        use_fp16: keep all but the first and last layers in float16.
    """

    out_channels: int
    latent_channels: int
    num_res_blocks: int
    channels: tuple[int, ...]
    num_res_blocks_middle: int = 2
    norm_type: str = "layer"
    use_fp16: bool = False

    def __post_init__(self) -> None:
        _check_norm_type(self.norm_type)


@dataclass(frozen=True)
class StructureEncoderConfig:
    """Arguments of the encoder; see StructureDecoderConfig. Here the channels go from fine to coarse."""

    in_channels: int
    latent_channels: int
    num_res_blocks: int
    channels: tuple[int, ...]
    num_res_blocks_middle: int = 2
    norm_type: str = "layer"
    use_fp16: bool = False

    def __post_init__(self) -> None:
        _check_norm_type(self.norm_type)


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each voxel, in float32.

    In training it is written out where channels are few, equal up to rounding: over 16 channels, torch's layer norm
    takes as long on a GPU as all else together.
    """

    FEW = 64

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-5)

    def forward(self, x: Float[Tensor, "F C X Y Z"]) -> Float[Tensor, "F C X Y Z"]:
        if x.shape[1] > self.FEW or not torch.is_grad_enabled():
            return super().forward(x.movedim(1, -1).float()).to(x.dtype).movedim(-1, 1).contiguous()
        centred = x.float() - x.float().mean(1, keepdim=True)
        scale = torch.rsqrt(centred.square().mean(1, keepdim=True) + self.eps)
        weight, bias = (p.view(-1, 1, 1, 1) for p in (self.weight, self.bias))
        return torch.addcmul(bias, centred * scale, weight).to(x.dtype)


class ResBlock(nn.Module):
    """Two convolutions added to their input. The second starts at zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(channels)
        self.norm2 = ChannelNorm(channels)
        self.conv1 = nn.Conv3d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1)
        for parameter in self.conv2.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Float[Tensor, "F C X Y Z"]) -> Float[Tensor, "F C X Y Z"]:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return x + h


class Down(nn.Module):
    """Half the resolution."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, out_channels, 2, stride=2)

    def forward(self, x: Float[Tensor, "F C X Y Z"]) -> Float[Tensor, "F O x y z"]:
        return self.conv(x)


class Up(nn.Module):
    """Twice the resolution: each voxel's 8 C_out channels are the channels of its eight parts."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, 8 * out_channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "F C x y z"]) -> Float[Tensor, "F O X Y Z"]:
        h = self.conv(x).unflatten(1, (-1, 2, 2, 2))  # [F, C_out, 2, 2, 2, x, y, z]
        h = h.permute(0, 1, 5, 2, 6, 3, 7, 4)  # [F, C_out, x, 2, y, 2, z, 2]
        return h.flatten(6, 7).flatten(4, 5).flatten(2, 3)  # [F, C_out, 2x, 2y, 2z]


class SparseStructureDecoder(nn.Module):
    def __init__(self, config: StructureDecoderConfig) -> None:
        super().__init__()
        self.config = config
        first, last = config.channels[0], config.channels[-1]
        self.input_layer = nn.Conv3d(config.latent_channels, first, 3, padding=1)
        self.middle_block = nn.Sequential(*(ResBlock(first) for _ in range(config.num_res_blocks_middle)))
        self.blocks = nn.ModuleList()
        for i, channels in enumerate(config.channels):
            self.blocks.extend(ResBlock(channels) for _ in range(config.num_res_blocks))
            if i + 1 < len(config.channels):
                self.blocks.append(Up(channels, config.channels[i + 1]))
        self.out_layer = nn.Sequential(ChannelNorm(last), nn.SiLU(), nn.Conv3d(last, config.out_channels, 3, padding=1))
        if config.use_fp16:
            torso_to_half(self.middle_block)
            torso_to_half(self.blocks)

    @classmethod
    def from_args(cls, args: Mapping[str, Any]) -> SparseStructureDecoder:
        return cls(config_from_args(StructureDecoderConfig, args))

    def forward(self, z: Float32[Tensor, "F C x y z"]) -> Float32[Tensor, "F O X Y Z"]:
        """Logits of occupancy, four times as fine as the latent with three resolutions. Positive means occupied."""
        _check_channels("structure decoder, z", z, self.config.latent_channels)
        h = self.input_layer(z)
        if self.config.use_fp16:
            h = h.half()
        h = self.middle_block(h)
        for block in self.blocks:
            h = block(h)
        with torch.autocast(z.device.type, enabled=False):  # in training too the last layer is in full precision
            return self.out_layer(h.to(z.dtype))


class SparseStructureEncoder(nn.Module):
    def __init__(self, config: StructureEncoderConfig) -> None:
        super().__init__()
        self.config = config
        first, last = config.channels[0], config.channels[-1]
        self.input_layer = nn.Conv3d(config.in_channels, first, 3, padding=1)
        self.blocks = nn.ModuleList()
        for i, channels in enumerate(config.channels):
            self.blocks.extend(ResBlock(channels) for _ in range(config.num_res_blocks))
            if i + 1 < len(config.channels):
                self.blocks.append(Down(channels, config.channels[i + 1]))
        self.middle_block = nn.Sequential(*(ResBlock(last) for _ in range(config.num_res_blocks_middle)))
        outputs = 2 * config.latent_channels
        self.out_layer = nn.Sequential(ChannelNorm(last), nn.SiLU(), nn.Conv3d(last, outputs, 3, padding=1))
        if config.use_fp16:
            torso_to_half(self.blocks)
            torso_to_half(self.middle_block)

    @classmethod
    def from_args(cls, args: Mapping[str, Any]) -> SparseStructureEncoder:
        return cls(config_from_args(StructureEncoderConfig, args))

    def forward(
        self, x: Float32[Tensor, "F I X Y Z"], sample: bool = False
    ) -> tuple[Float32[Tensor, "F C x y z"], Float32[Tensor, "F C x y z"], Float32[Tensor, "F C x y z"]]:
        """The latent, and the mean and log variance of its distribution; the mean is the latent unless `sample`."""
        _check_channels("structure encoder, x", x, self.config.in_channels)
        h = self.input_layer(x)
        if self.config.use_fp16:
            h = h.half()
        for block in self.blocks:
            h = block(h)
        h = self.middle_block(h)
        with torch.autocast(x.device.type, enabled=False):  # in training too the last layer is in full precision
            mean, logvar = self.out_layer(h.to(x.dtype)).chunk(2, dim=1)  # [F, C, x, y, z] each
        z = mean + torch.exp(logvar / 2) * torch.randn_like(mean) if sample else mean
        return z, mean, logvar


def occupied(logits: Float32[Tensor, "F 1 X Y Z"]) -> Int32[Tensor, "N 4"]:
    """Voxels with a positive logit as rows (slot, x, y, z) in lexicographic order."""
    return (logits[:, 0] > 0).nonzero().int()


def _check_channels(where: str, x: Tensor, channels: int) -> None:
    if x.ndim != 5 or x.shape[1] != channels:
        raise FormatError(where, f"[frames, {channels}, x, y, z]", f"{list(x.shape)}")


def _check_norm_type(norm_type: str) -> None:
    if norm_type != "layer":
        raise FormatError("norm_type", '"layer"', f'"{norm_type}"')
