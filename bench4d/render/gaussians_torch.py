"""The slow plain twin of `gaussians_cpu` and `gaussians_cuda`: every pixel against every Gaussian, in torch.

`splat` and `rasterise` take tensors of any floating type on any device and can be differentiated, so they also serve
as the oracle of the faster differentiable ones, `gaussians_cuda` and `gaussians_numba`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from ..asset import Gaussians
from ..cameras import Cameras

NEAR = 0.2
MARGIN = 0.3
CHUNK = 4_000_000  # pixel-Gaussian pairs at a time


def render(gaussians: Gaussians, cameras: Cameras) -> Float32[np.ndarray, "V H W 4"]:
    """See `bench4d.render.render_gaussians`."""
    image = np.zeros((len(cameras), cameras.height, cameras.width, 4), np.float32)
    arrays = gaussians.means, gaussians.scales, gaussians.quaternions, gaussians.opacities, gaussians.sh
    means, scales, quaternions, opacities, sh = (torch.from_numpy(array).double() for array in arrays)
    for k in range(len(cameras)):
        pose, matrix = torch.from_numpy(cameras.camera_to_world[k]), torch.from_numpy(cameras.intrinsics[k])
        size = cameras.height, cameras.width
        options = size, gaussians.dilation, gaussians.compensate
        image[k] = splat(means, scales, quaternions, opacities, sh, pose, matrix, *options).numpy()
    return image


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
    """Premultiplied RGBA of F frames, each seen by its own V cameras, one after the other. Differentiable.

    Args:
        means, scales, quaternions, opacities: as in `Gaussians`. Frames of unequal count are filled up by the caller
            with Gaussians of opacity 0 (whose quaternions are not zero and whose scales are positive).
        colors: sRGB >= 0 [F,N,3], the same from all sides, or spherical harmonics [F,N,K,3], K = 1, 4, 9 or 16.
        camera_to_world, intrinsics: as in `Cameras`, of the same type as `means`.
        size: (height, width) in pixels.
        dilation, compensate: as in `Gaussians`.
    """
    scene = (means, scales, quaternions, opacities, colors, camera_to_world, intrinsics)
    return each_camera(splat, scene, size, dilation, compensate)


def each_camera(
    splat: Callable[..., Tensor], scene: Sequence[Tensor], size: tuple[int, int], dilation: float, compensate: bool
) -> Float[Tensor, "F V H W 4"]:
    """`splat` for each frame and each of its cameras; `scene` is what `rasterise` takes before the size."""
    *parts, camera_to_world, intrinsics = scene
    images = [
        splat(*(part[f] for part in parts), pose, matrix, size, dilation, compensate)
        for f in range(len(camera_to_world))
        for pose, matrix in zip(camera_to_world[f], intrinsics[f], strict=True)
    ]
    shape = *camera_to_world.shape[:2], *size, 4
    return torch.stack(images).reshape(shape) if images else parts[0].new_zeros(shape)


def splat(
    means: Float[Tensor, "N 3"],
    scales: Float[Tensor, "N 3"],
    quaternions: Float[Tensor, "N 4"],
    opacities: Float[Tensor, " N"],
    sh: Float[Tensor, "N K 3"] | Float[Tensor, "N 3"],
    camera_to_world: Float[Tensor, "4 4"],
    intrinsics: Float[Tensor, "3 3"],
    size: tuple[int, int],
    dilation: float,
    compensate: bool,
) -> Float[Tensor, "H W 4"]:
    """Premultiplied RGBA of one camera; `size` is (height, width). In place of `sh`, colours >= 0 [N,3] will do."""
    given = (means, scales, quaternions, opacities, sh, camera_to_world, intrinsics)
    center, precision, opacity, color = project(*given, size, dilation, compensate)
    height, width = size
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    pixels = torch.stack([x, y], -1).reshape(-1, 2).to(means)
    at_once = max(1, CHUNK // max(1, len(center)))
    parts = [_blend(p, center, precision, opacity, color) for p in pixels.split(at_once)]
    return torch.cat(parts).reshape(height, width, 4)


def project(
    means: Float[Tensor, "N 3"],
    scales: Float[Tensor, "N 3"],
    quaternions: Float[Tensor, "N 4"],
    opacities: Float[Tensor, " N"],
    sh: Float[Tensor, "N K 3"] | Float[Tensor, "N 3"],
    camera_to_world: Float[Tensor, "4 4"],
    intrinsics: Float[Tensor, "3 3"],
    size: tuple[int, int],
    dilation: float,
    compensate: bool,
) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n 2 2"], Float[Tensor, " n"], Float[Tensor, "n 3"]]:
    """What is in front of the camera, nearest first: centres in pixels, inverse covariances, opacities, colours."""
    world_to_camera = torch.linalg.inv(camera_to_world)
    depth = (means @ world_to_camera[:3, :3].T + world_to_camera[:3, 3])[:, 2]
    order = depth.float().argsort(stable=True)
    order = order[depth[order] >= NEAR]
    position = means[order] @ world_to_camera[:3, :3].T + world_to_camera[:3, 3]
    covariance = _covariance(position, scales[order], quaternions[order], world_to_camera, intrinsics, size)
    dilated = covariance + dilation * torch.eye(2).to(covariance)
    det = torch.det(dilated)
    opacity = opacities[order]
    if compensate:
        before, after = torch.det(covariance).clamp(min=1e-6), det.clamp(min=1e-6)
        factor = torch.sqrt(before / (after + 1e-6) + 1e-6)
        opacity = opacity * torch.where((before <= 1e-6) | (after <= 1e-6), 0.0, factor)
    visible = det > 0
    position, dilated, opacity, order = position[visible], dilated[visible], opacity[visible], order[visible]
    center = (position @ intrinsics.T)[:, :2] / position[:, 2:]  # [n,2]
    color = sh[order]
    if sh.ndim == 3:
        direction = torch.nn.functional.normalize(means[order] - camera_to_world[:3, 3], dim=1)
        color = (0.5 + torch.einsum("nk,nkc->nc", harmonics(direction, sh.shape[1]), color)).clamp(min=0)
    return center, torch.linalg.inv(dilated), opacity, color


def _covariance(
    position: Tensor,
    scales: Tensor,
    quaternions: Tensor,
    world_to_camera: Tensor,
    intrinsics: Tensor,
    size: tuple[int, int],
) -> Tensor:
    """The covariances on the screen, pixel^2: [n,2,2] of Gaussians at camera-space positions [n,3]."""
    height, width = size
    fx, fy, cx, cy = intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2]
    x, y, z = position.unbind(1)
    margin_x, margin_y = MARGIN * width / (2 * fx), MARGIN * height / (2 * fy)
    x = z * (x / z).clamp(-cx / fx - margin_x, (width - cx) / fx + margin_x)
    y = z * (y / z).clamp(-cy / fy - margin_y, (height - cy) / fy + margin_y)
    zero = torch.zeros_like(z)
    jacobian = torch.stack([fx / z, zero, -fx * x / z**2, zero, fy / z, -fy * y / z**2], 1).reshape(-1, 2, 3)
    axes = rotation(quaternions) * scales[:, None]  # [n,3,3], columns are the scaled axes
    covariance = axes @ axes.transpose(1, 2)
    to_screen = jacobian @ world_to_camera[:3, :3]
    return to_screen @ covariance @ to_screen.transpose(1, 2)


def rotation(quaternions: Float[Tensor, "N 4"]) -> Float[Tensor, "N 3 3"]:
    """(w, x, y, z), of any length but zero, to rotation matrices."""
    w, x, y, z = torch.nn.functional.normalize(quaternions, dim=1, eps=0).unbind(1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, 1).reshape(-1, 3, 3)


def harmonics(direction: Float[Tensor, "N 3"], terms: int) -> Float[Tensor, "N K"]:
    """The first `terms` (1, 4, 9 or 16) real spherical harmonics at unit vectors, signs and order as in 3DGS."""
    x, y, z = direction.unbind(1)
    one = torch.ones_like(x)
    c1, c2, c3, c4 = 0.4886025119029199, 1.0925484305920792, 0.5900435899266435, 0.4570457994644658
    basis = [
        0.28209479177387814 * one,
        -c1 * y, c1 * z, -c1 * x,
        c2 * x * y, -c2 * y * z, 0.31539156525252005 * (3 * z * z - 1), -c2 * x * z, c2 / 2 * (x * x - y * y),
        -c3 * y * (3 * x * x - y * y), 2.890611442640554 * x * y * z, -c4 * y * (5 * z * z - 1),
        0.3731763325901154 * z * (5 * z * z - 3), -c4 * x * (5 * z * z - 1),
        1.445305721320277 * z * (x * x - y * y), -c3 * x * (x * x - 3 * y * y),
    ]  # fmt: skip
    return torch.stack(basis[:terms], 1)


def _blend(pixels: Tensor, center: Tensor, precision: Tensor, opacity: Tensor, color: Tensor) -> Tensor:
    """Pixels [P,2] over n Gaussians that are sorted front to back: [P,4]."""
    offset = pixels[:, None] - center  # [P,n,2]
    q = torch.einsum("pni,nij,pnj->pn", offset, precision, offset)
    alpha = (opacity * torch.exp(-q / 2)).clamp(max=0.99)
    alpha = torch.where(alpha < 1 / 255, 0.0, alpha)
    after = torch.cumprod(1 - alpha, 1)
    # transmittance never grows, so this drops the Gaussian at which a pixel is finished and all behind it
    alpha = torch.where(after < 1e-4, 0.0, alpha)
    after = torch.cumprod(1 - alpha, 1)
    before = torch.cat([after.new_ones(len(pixels), 1), after], 1)  # [P,n+1]
    rgb = (alpha * before[:, :-1]) @ color
    return torch.cat([rgb, 1 - before[:, -1:]], 1).clamp(0, 1)
