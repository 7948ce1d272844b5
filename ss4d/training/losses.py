"""The terms of the losses. Each is a mean over frames, so that batches add up: two halves average to the whole.

Sources: TRELLIS (Xiang et al. 2024) for the terms and their weights. Taking Dice and the means over voxels and
Gaussians frame by frame is our choice; over a whole batch they would depend on what else is in it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

RADIUS, SIGMA = 5, 1.5  # SSIM's window: 11 x 11
C1, C2 = 0.01**2, 0.03**2


def dice(logits: Float[Tensor, "F 1 R R R"], occupancy: Float[Tensor, "F 1 R R R"]) -> Float[Tensor, ""]:
    """1 - (2 sum p o + 1) / (sum p + sum o + 1) with p the sigmoid of the logits; per frame, then the mean."""
    p, o = logits.float().sigmoid().flatten(1), occupancy.flatten(1)
    return (1 - (2 * (p * o).sum(1) + 1) / (p.sum(1) + o.sum(1) + 1)).mean()


def kl(mean: Float[Tensor, "..."], logvar: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Divergence of a normal distribution from the standard one, number by number."""
    return 0.5 * (mean.square() + logvar.exp() - logvar - 1)


def blur_matrix(size: int, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "s-10 s"]:
    """Rows that average with SSIM's Gaussian window, one for each place where it fits into `size` pixels."""
    first = torch.arange(size - 2 * RADIUS, device=device)[:, None]
    offset = torch.arange(size, device=device) - first - RADIUS
    weight = torch.exp(-0.5 * (offset.to(dtype) / SIGMA).square()) * (offset.abs() <= RADIUS)
    return weight / weight.sum(1, keepdim=True)


def ssim(predicted: Float[Tensor, "F 3 H W"], truth: Float[Tensor, "F 3 H W"]) -> Float[Tensor, " F"]:
    """Structural similarity of images in [0, 1], as `metrics/ssim.py` defines it: the mean of the channels and of the
    pixels at least 5 from the border. Differentiable.

    The window is applied by two matrix products: on a GPU faster than a convolution with one channel a group.
    """
    a, b = predicted, truth
    maps = torch.cat([a, b, a * a, b * b, a * b], dim=1)  # [F, 15, H, W]
    down, along = (blur_matrix(size, a.device, a.dtype) for size in maps.shape[2:])
    mean_a, mean_b, aa, bb, ab = (down @ maps @ along.T).split(3, dim=1)  # [F, 3, H - 10, W - 10] each
    variances = aa - mean_a * mean_a + bb - mean_b * mean_b
    above = (2 * mean_a * mean_b + C1) * (2 * (ab - mean_a * mean_b) + C2)
    return (above / ((mean_a * mean_a + mean_b * mean_b + C1) * (variances + C2))).mean(dim=(1, 2, 3))


def psnr(predicted: Float[Tensor, "F 3 H W"], truth: Float[Tensor, "F 3 H W"]) -> Float[Tensor, " F"]:
    """In dB, of images in [0, 1], capped at 100."""
    error = (predicted - truth).square().mean(dim=(1, 2, 3))
    return (-10 * torch.log10(error.clamp(min=1e-10))).clamp(max=100.0)


def iou(logits: Float[Tensor, "F 1 R R R"], occupancy: Float[Tensor, "F 1 R R R"]) -> Float[Tensor, " F"]:
    """Of the voxels with positive logits and the true ones; 1 where both are empty."""
    p, o = (logits > 0).flatten(1), (occupancy > 0.5).flatten(1)
    both, either = (p & o).sum(1), (p | o).sum(1)
    return torch.where(either > 0, both / either.clamp(min=1), 1.0)


def volume(scales: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
    """Product of the three scales: large Gaussians smear."""
    return scales.prod(dim=1)


def opacity(values: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Squared distance from full opacity: faint Gaussians are wasted."""
    return (values - 1).square()


def composite(image: Float[Tensor, "F 4 H W"], white: Bool[Tensor, " F"]) -> Float[Tensor, "F 3 H W"]:
    """Premultiplied RGBA on white where `white`, on black elsewhere."""
    return image[:, :3] + (1 - image[:, 3:]) * white[:, None, None, None].to(image.dtype)


def pictures(views: UInt8[Tensor, "F S S 4"], factor: int = 1) -> Float[Tensor, "F 4 s s"]:
    """Stored premultiplied pictures as numbers in [0, 1], `factor` times as small (means of pixels)."""
    image = views.permute(0, 3, 1, 2).float() / 255
    return image if factor == 1 else F.avg_pool2d(image, factor)
