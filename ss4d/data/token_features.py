"""Image features gathered in voxels: DINOv2's patch tokens averaged over views, as TRELLIS's encoder expects them."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float16, Float32, Float64, UInt8
from torch import Tensor

from bench4d.cameras import Cameras
from bench4d.errors import FormatError

from ..image_encoder import ImageEncoder, normalised
from .features import project


def encoder_features(
    encoder: ImageEncoder,
    centers: Float64[np.ndarray, "N 3"],
    views: UInt8[np.ndarray, "V S S 4"],
    cameras: Cameras,
    device: torch.device | str = "cpu",
    batch: int = 16,
) -> Float16[np.ndarray, "N C"]:
    """Patch tokens of all views where the voxel centres project to, averaged over the views (hidden ones too).

    Premultiplied pictures are pictures on black. The tokens are those before the encoder's last norm.
    """
    points = torch.from_numpy(project(centers, cameras)[..., :2]).to(device, torch.float32)  # [V,N,2]
    share = points / torch.tensor([cameras.width, cameras.height], device=device)
    total: Tensor | None = None
    for start in range(0, len(views), batch):
        with torch.no_grad():
            images = normalised(encoder, np.ascontiguousarray(views[start : start + batch, ..., :3])).to(device)
            tokens = patch_tokens(encoder(images))
        part = sample_tokens(tokens, share[start : start + batch]).sum(0)
        total = part if total is None else total + part
    if total is None:
        raise FormatError("views", "at least one", "none")
    return (total / len(views)).cpu().numpy().astype(np.float16)


def patch_tokens(tokens: Float[Tensor, "V L C"]) -> Float32[Tensor, "V C g g"]:
    """The last g^2 tokens as a picture; class and registers, which come first, are left out."""
    side = int(tokens.shape[1] ** 0.5)
    patches = tokens[:, tokens.shape[1] - side * side :].float()
    return patches.transpose(1, 2).unflatten(2, (side, side))


def sample_tokens(tokens: Float32[Tensor, "V C g g"], points: Float32[Tensor, "V N 2"]) -> Float32[Tensor, "V N C"]:
    """Bilinear between the patches' centres at (x, y) in [0, 1] of the picture; patches outside it count as 0."""
    grid = (2 * points - 1)[:, :, None]  # [V,N,1,2]
    return F.grid_sample(tokens, grid, "bilinear", "zeros", align_corners=False)[..., 0].transpose(1, 2)
