"""Gaussians on a GPU, through gsplat 1.5.3 (Ye et al. 2024), with the rules of `gaussians_cpu`.

gsplat's steps are called one by one, because the compensation, the blending order and the reach of a Gaussian are
ours. What cannot be ours is in docs/rendering.md: single precision, and alpha limited to 0.999 in place of 0.99.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int32
from torch import Tensor

from ..asset import Gaussians
from ..cameras import Cameras
from ..errors import FormatError
from . import cuda, kernels

NEAR = 0.2
FAR = 1e10
TILE = 16  # pixels
WARP = 32
WIDER = 1.05  # see `rasterise`; the two compensations differ by less than 1.04 where 1/255 can be reached
Y00 = 0.28209479177387814  # sqrt(1 / 4 pi)
PAIR_BYTES, PIXEL_BYTES = 220, 128  # what a Gaussian seen by a camera, and a pixel, need while they are drawn


@dataclass(frozen=True)
class Batch:
    """F frames of Gaussians on the device, filled up to the same number N with invisible ones."""

    means: Float32[Tensor, "F N 3"]
    scales: Float32[Tensor, "F N 3"]
    quaternions: Float32[Tensor, "F N 4"]
    opacities: Float32[Tensor, "F N"]
    colors: Float32[Tensor, "F N 3"] | Float32[Tensor, "F N K 3"]  # the first where they have no direction
    dilation: float
    compensate: bool


def render(gaussians: Gaussians, cameras: Cameras) -> Float32[np.ndarray, "V H W 4"]:
    """See `bench4d.render.render_gaussians`."""
    cuda.gsplat()
    where = cuda.device()
    batch = upload([gaussians], where)
    at_once = cuda.budget(where) // image_bytes(gaussians, cameras)
    images = [draw(batch, cameras[part])[0].cpu().numpy() for part in cuda.parts(len(cameras), at_once)]
    return np.concatenate([np.empty((0, cameras.height, cameras.width, 4), np.float32), *images])


def image_bytes(gaussians: Gaussians, cameras: Cameras) -> int:
    """An estimate of the memory in which one camera's image is drawn."""
    return PAIR_BYTES * len(gaussians.means) + PIXEL_BYTES * cameras.height * cameras.width


def alike(a: Gaussians, b: Gaussians) -> bool:
    """Whether two frames can be drawn together."""
    return (a.dilation, a.compensate, a.sh.shape[1]) == (b.dilation, b.compensate, b.sh.shape[1])


def upload(frames: Sequence[Gaussians], where: torch.device) -> Batch:
    """Frames that are `alike`, on a device."""
    count = max(len(frame.means) for frame in frames)

    def together(arrays: list[np.ndarray], filler: float) -> Tensor:
        stack = np.full((len(arrays), count, *arrays[0].shape[1:]), filler, np.float32)
        for row, array in zip(stack, arrays, strict=True):
            row[: len(array)] = array
        return torch.from_numpy(stack).to(where)

    return Batch(
        together([frame.means for frame in frames], 0),
        together([frame.scales for frame in frames], 1),
        together([frame.quaternions for frame in frames], 1),
        together([frame.opacities for frame in frames], 0),
        _without_direction(together([frame.sh for frame in frames], 0)),
        frames[0].dilation,
        frames[0].compensate,
    )


def draw(batch: Batch, cameras: Cameras) -> Float32[Tensor, "F V H W 4"]:
    """Every frame as every camera sees it, on the device."""
    frames = len(batch.means)
    poses = torch.from_numpy(cameras.camera_to_world).expand(frames, -1, -1, -1)
    matrices = torch.from_numpy(cameras.intrinsics).expand(frames, -1, -1, -1)
    arrays = batch.means, batch.scales, batch.quaternions, batch.opacities, batch.colors
    with torch.no_grad():
        return rasterise(
            *arrays, poses, matrices, (cameras.height, cameras.width), batch.dilation, batch.compensate
        )  # fmt: skip


def rasterise(
    means: Float[Tensor, "F N 3"],
    scales: Float[Tensor, "F N 3"],
    quaternions: Float[Tensor, "F N 4"],
    opacities: Float[Tensor, "F N"],
    colors: Float[Tensor, "F N 3"] | Float[Tensor, "F N K 3"],
    camera_to_world: Float[Tensor, "F V 4 4"],
    intrinsics: Float[Tensor, "F V 3 3"],
    size: tuple[int, int],
    dilation: float,
    compensate: bool,
) -> Float[Tensor, "F V H W 4"]:
    """`gaussians_torch.rasterise` in one go. float32; the cameras may be of any type and should lie on the CPU.

    Gradients reach everything but the cameras. Images are the same bytes at every call; gradients are summed by
    atomic additions, so their last bits are not. Raises FormatError for other types than float32.
    """
    height, width = size
    frames, count = means.shape[:2]
    views = camera_to_world.shape[1]
    if not (frames and views and count):
        return means.new_zeros(frames, views, height, width, 4)
    floats = {
        "means": means,
        "scales": scales,
        "quaternions": quaternions,
        "opacities": opacities,
        "colors": colors,
    }
    for name, tensor in floats.items():
        if tensor.dtype != torch.float32:
            raise FormatError(f"rasterise: {name}", "float32", str(tensor.dtype), "gaussians_torch takes any type.")
    if count < WARP:
        means, scales, quaternions, opacities, colors = _fill_up(means, scales, quaternions, opacities, colors)
    means, opacities = means.contiguous(), opacities.contiguous()
    g = cuda.gsplat()
    poses, rows, pose, matrices = _cameras(camera_to_world, intrinsics, means.device)
    # gsplat lets no Gaussian reach farther than where the opacity that it is told falls to 1/255. A slightly larger one
    # covers the difference between its compensation and ours; the test for 1/255 itself comes later.
    told = opacities.detach() * WIDER if compensate else opacities.detach()
    radii, centers, _, conics, roots = g.fully_fused_projection(
        means, None, quaternions, scales, pose, matrices, width, height, eps2d=dilation,
        near_plane=NEAR, far_plane=FAR, calc_compensations=compensate, opacities=told,
    )  # fmt: skip
    blend = kernels.blending if means.is_cuda else blending
    opacity, depth = blend(opacities, roots, conics, radii, means, rows)
    columns, lines = math.ceil(width / TILE), math.ceil(height / TILE)
    _, keys, items = g.isect_tiles(centers, radii, depth, TILE, columns, lines)
    offsets = g.isect_offset_encode(keys, frames * views, columns, lines).reshape(frames, views, lines, columns)
    color = _seen_colors(means, colors, poses, radii)
    rgb, alpha = g.rasterize_to_pixels(centers, conics, color, opacity, width, height, TILE, offsets, items)
    return torch.cat([rgb, alpha], -1).clamp(max=1)  # nothing is below 0


def _cameras(
    camera_to_world: Tensor, intrinsics: Tensor, where: torch.device
) -> tuple[np.ndarray, Tensor, Tensor, Tensor]:
    """The poses on the host; on the device: world to depth [F,V,4] float64, world to camera and intrinsics float32."""
    poses = cuda.on_host(camera_to_world)
    inverse = np.linalg.inv(poses)
    arrays = inverse[..., 2, :], inverse.astype(np.float32), cuda.on_host(intrinsics).astype(np.float32)
    rows, pose, matrices = cuda.to_device(arrays, where)
    return poses, rows, pose, matrices


def blending(
    opacities: Float[Tensor, "F N"],
    roots: Float[Tensor, "F V N"] | None,
    conics: Float[Tensor, "F V N 3"],
    radii: Int32[Tensor, "F V N 2"],
    means: Float[Tensor, "F N 3"],
    rows: Float64[Tensor, "F V 4"],
) -> tuple[Float[Tensor, "F V N"], Float32[Tensor, "F V N"]]:
    """Opacities, compensated unless `roots` is None, and the depths that order the blending. `kernels.blending` is
    the same in one launch.

    Args:
        roots, conics, radii: as gsplat gives them. Where a radius is 0 it leaves all as it happened to be in memory.
        rows: from world to depth. It is float32 rounded from float64, as on the CPU: in single precision equal depths
            would fall apart.
    """
    with torch.no_grad():
        depth = torch.baddbmm(rows[..., 3:], rows[..., :3], means.double().transpose(1, 2)).float()
    opacity = opacities[:, None].expand(depth.shape)
    return opacity if roots is None else opacity * compensation(roots, conics, radii[..., 0] > 0), depth


def compensation(
    root: Float[Tensor, "F V N"], conics: Float[Tensor, "F V N 3"], visible: Bool[Tensor, "F V N"]
) -> Float[Tensor, "F V N"]:
    """The factor sqrt(d0 / (d1 + 1e-6) + 1e-6) of docs/rendering.md, 0 for what is not visible.

    Args:
        root: sqrt(d0 / d1), as gsplat gives it.
        conics: the inverse of the dilated covariance (xx, xy, yy), so that its determinant is 1 / d1.
    """
    share, inverse = root.square(), conics[..., 0] * conics[..., 2] - conics[..., 1].square()
    least = 1e-6 * inverse  # d0 <= 1e-6 where the share is not above it
    return torch.where(visible & (share > least), torch.sqrt(share / (1 + least) + 1e-6), 0.0)


def _without_direction(sh: Tensor) -> Tensor:
    """Colours [F,N,3] of harmonics of degree 0; others [F,N,K,3] as they are."""
    return (0.5 + Y00 * sh[:, :, 0]).clamp(min=0) if sh.shape[2] == 1 else sh


def _seen_colors(means: Tensor, colors: Tensor, poses: np.ndarray, radii: Tensor) -> Tensor:
    """What each camera sees of each Gaussian: [F,V,N,3]."""
    views = poses.shape[1]
    if colors.ndim == 4:
        colors = _without_direction(colors)
    if colors.ndim == 3:
        return colors[:, None].expand(-1, views, -1, -1)
    (eyes,) = cuda.to_device([poses[:, :, None, :3, 3].astype(np.float32)], means.device)  # [F,V,1,3]
    degree, visible = math.isqrt(colors.shape[2]) - 1, radii[..., 0] > 0
    # one camera at a time: gsplat would copy the coefficients for every camera
    seen = [
        cuda.gsplat().spherical_harmonics(degree, means - eyes[:, view], colors, masks=visible[:, view])
        for view in range(views)
    ]
    return (0.5 + torch.stack(seen, 1)).clamp(min=0)


def _fill_up(*tensors: Tensor) -> list[Tensor]:
    """Means, scales, quaternions, opacities and colours, filled up to WARP Gaussians with invisible ones.

    With fewer, threads of one warp work on the same Gaussian of several frames, whose gradients gsplat then adds up.
    """
    short = WARP - tensors[0].shape[1]
    fillers = [
        tensor.new_full((len(tensor), short, *tensor.shape[2:]), v)
        for tensor, v in zip(tensors, (0, 1, 1, 0, 0), strict=True)
    ]
    return [torch.cat(pair, 1) for pair in zip(tensors, fillers, strict=True)]
