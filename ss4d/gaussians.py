"""From the Gaussian decoder's numbers to Gaussians.

Each voxel carries G Gaussians. A decoder's output is read as offsets within the voxel, colours, logarithm-like scales,
quaternions around the identity and logits of opacity; `GaussianFrame` keeps them and says what they mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Integer
from torch import Tensor

from bench4d.asset import Gaussians
from bench4d.errors import FormatError
from bench4d.ply import write_gaussians

# Numbers of one Gaussian, in the order of the decoder's output.
LAYOUT = {"_xyz": 3, "_features_dc": 3, "_scaling": 3, "_rotation": 4, "_opacity": 1}


@dataclass(frozen=True)
class Representation:
    """The "representation_config" of the Gaussian decoder.

    Attributes:
        lr: factor of each kind of output.
        perturb_offset: whether the Gaussians of a voxel start on a lattice instead of all at its centre.
        voxel_size: how far a Gaussian may leave its voxel: 1 keeps it inside.
        num_gaussians: per voxel.
        filter_2d: "2d_filter_kernel_size", the variance in pixel^2 that the renderer adds.
        filter_3d: "3d_filter_kernel_size", the standard deviation that is added to all scales.
        scaling_bias: scale for an output of 0.
        opacity_bias: opacity for an output of 0.
        scaling_activation: "softplus" or "exp".
    """

    lr: Mapping[str, float] = field(default_factory=lambda: {**dict.fromkeys(LAYOUT, 1.0), "_rotation": 0.1})
    perturb_offset: bool = True
    voxel_size: float = 1.5
    num_gaussians: int = 32
    filter_2d: float = 0.1
    filter_3d: float = 9e-4
    scaling_bias: float = 4e-3
    opacity_bias: float = 0.1
    scaling_activation: str = "softplus"

    def __post_init__(self) -> None:
        if set(self.lr) != set(LAYOUT):
            raise FormatError("representation_config, lr", f"the keys {', '.join(LAYOUT)}", f"{', '.join(self.lr)}")
        if self.scaling_activation not in ("softplus", "exp"):
            raise FormatError("scaling_activation", '"softplus" or "exp"', repr(self.scaling_activation))
        if self.perturb_offset and self.voxel_size <= 1:
            raise FormatError("voxel_size", "more than 1, so that the lattice has offsets", f"{self.voxel_size}")

    @classmethod
    def from_args(cls, args: Mapping[str, Any]) -> Representation:
        """From a checkpoint's JSON: every key is needed, no other is known."""
        names = {"2d_filter_kernel_size": "filter_2d", "3d_filter_kernel_size": "filter_3d"}
        names |= {name: name for name in cls.__dataclass_fields__ if not name.startswith("filter_")}
        if set(args) != set(names):
            missing, unknown = sorted(set(names) - set(args)), sorted(set(args) - set(names))
            found = f"missing {missing}, unknown {unknown}"
            raise FormatError("representation_config", f"the keys {', '.join(sorted(names))}", found)
        return cls(**{names[name]: value for name, value in args.items()})

    @property
    def channels(self) -> int:
        """Numbers of a voxel."""
        return sum(LAYOUT.values()) * self.num_gaussians

    def lattice(self) -> Float32[Tensor, "G 3"]:
        """What is added to a voxel's offsets before tanh: Hammersley points that fill the cube, or zeros."""
        count = self.num_gaussians
        if not self.perturb_offset:
            return torch.zeros(count, 3)
        points = [[i / count, _radical_inverse(i, 2), _radical_inverse(i, 3)] for i in range(count)]
        return torch.tensor(points).mul(2).sub(1).div(self.voxel_size).atanh()


def _radical_inverse(number: int, base: int) -> float:
    """The digits of `number`, mirrored at the decimal point.

    >>> _radical_inverse(6, 2)  # 110 -> 0.011
    0.375
    """
    value, weight = 0.0, 1.0
    while number:
        weight /= base
        number, digit = divmod(number, base)
        value += digit * weight
    return value


@dataclass(frozen=True)
class GaussianFrame:
    """The Gaussians of one frame as the network made them, and as what they stand for. Everything can be derived.

    Attributes:
        raw_xyz: centres within the unit cube.
        raw_features_dc: spherical-harmonic coefficients of degree 0.
        raw_scaling, raw_rotation, raw_opacity: before activation.
        representation: how they are read.
    """

    raw_xyz: Float[Tensor, "N 3"]
    raw_features_dc: Float[Tensor, "N 1 3"]
    raw_scaling: Float[Tensor, "N 3"]
    raw_rotation: Float[Tensor, "N 4"]
    raw_opacity: Float[Tensor, "N 1"]
    representation: Representation

    @property
    def xyz(self) -> Float[Tensor, "N 3"]:
        """Centres; the object lives in [-0.5, 0.5]^3."""
        return self.raw_xyz - 0.5

    @property
    def features(self) -> Float[Tensor, "N 1 3"]:
        """Colour = max(0, 0.5 + 0.28209479 features)."""
        return self.raw_features_dc

    @property
    def scaling(self) -> Float[Tensor, "N 3"]:
        """Standard deviations, with the 3-D filter."""
        bias = self.representation.scaling_bias
        if self.representation.scaling_activation == "softplus":
            scale = F.softplus(self.raw_scaling + (bias + math.log(-math.expm1(-bias))))
        else:
            scale = torch.exp(self.raw_scaling + math.log(bias))
        return (scale.square() + self.representation.filter_3d**2).sqrt()

    @property
    def rotation(self) -> Float[Tensor, "N 4"]:
        """Unit quaternions (w, x, y, z)."""
        identity = torch.tensor([1.0, 0, 0, 0], dtype=self.raw_rotation.dtype, device=self.raw_rotation.device)
        return F.normalize(self.raw_rotation + identity, dim=-1)

    @property
    def opacity(self) -> Float[Tensor, "N 1"]:
        bias = self.representation.opacity_bias
        return torch.sigmoid(self.raw_opacity + math.log(bias / (1 - bias)))

    def to_asset(self) -> Gaussians:
        """As a frame of a bench4d asset. Its renderer dilates and compensates as this representation asks for."""

        def array(x: Tensor) -> np.ndarray:
            return np.ascontiguousarray(x.detach().float().cpu().numpy())

        return Gaussians(
            means=array(self.xyz),
            scales=array(self.scaling),
            quaternions=array(self.rotation),
            opacities=array(self.opacity[:, 0]),
            sh=array(self.features),
            dilation=self.representation.filter_2d,
            compensate=True,
        )


def read_gaussians(
    raw: Float[Tensor, "N K"],
    xyz: Integer[Tensor, "N 3"],
    offset: Float[Tensor, "G 3"],
    resolution: int,
    representation: Representation,
) -> GaussianFrame:
    """The Gaussians of the voxels of one frame: voxel after voxel, G of each.

    Args:
        raw: the decoder's output.
        xyz: the voxels.
        offset: `representation.lattice()`.
        resolution: voxels along each side of the grid.
        representation: how to read the output.
    """
    count = representation.num_gaussians
    if raw.shape != (len(xyz), representation.channels):
        raise FormatError("decoder output", f"[{len(xyz)}, {representation.channels}]", f"{list(raw.shape)}")
    parts = raw.split([size * count for size in LAYOUT.values()], dim=1)
    read = {
        name: part.unflatten(1, (count, size)) * representation.lr[name]  # [N, G, size]
        for (name, size), part in zip(LAYOUT.items(), parts, strict=True)
    }
    centre = (xyz.to(raw.dtype) + 0.5) / resolution  # [N, 3]
    reach = 0.5 * representation.voxel_size / resolution
    positions = centre[:, None] + torch.tanh(read["_xyz"] + offset) * reach  # [N, G, 3]
    return GaussianFrame(
        raw_xyz=positions.flatten(0, 1),
        raw_features_dc=read["_features_dc"].flatten(0, 1)[:, None],
        raw_scaling=read["_scaling"].flatten(0, 1),
        raw_rotation=read["_rotation"].flatten(0, 1),
        raw_opacity=read["_opacity"].flatten(0, 1),
        representation=representation,
    )


def y_up(gaussians: Gaussians) -> Gaussians:
    """The same Gaussians for viewers whose y axis points up: turned by 90 degrees about x, (x, y, z) -> (x, -z, y).

    Colours that depend on the direction would have to be turned too; there are none at degree 0.
    """
    if gaussians.sh.shape[1] != 1:
        raise FormatError("Gaussians.sh", "degree 0", f"{gaussians.sh.shape[1]} coefficients")
    x, y, z = gaussians.means.T
    w, i, j, k = gaussians.quaternions.T
    half = np.float32(math.sqrt(0.5))  # the turn is the quaternion (half, half, 0, 0)
    return Gaussians(
        means=np.stack([x, -z, y], axis=1),
        scales=gaussians.scales,
        quaternions=half * np.stack([w - i, w + i, j - k, j + k], axis=1),
        opacities=gaussians.opacities,
        sh=gaussians.sh,
        dilation=gaussians.dilation,
        compensate=gaussians.compensate,
    )


def write_ply(path: Path, frame: GaussianFrame) -> None:
    """A frame as a PLY file in the layout of 3DGS, y up: logits of opacity and logarithms of the final scales."""
    write_gaussians(path, y_up(frame.to_asset()))
