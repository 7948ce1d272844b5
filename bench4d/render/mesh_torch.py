"""The slow plain twin of `mesh_cpu`: every sample against every triangle, in float64. For tests, and to read."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from ..asset import Mesh
from ..cameras import Cameras

NEAR = 1e-3
CHUNK = 2_000_000  # sample-triangle pairs at a time


def render(mesh: Mesh, cameras: Cameras, supersample: int) -> Float32[np.ndarray, "V H W 4"]:
    """See `bench4d.render.render_mesh`."""
    s, height, width = supersample, cameras.height, cameras.width
    y, x = torch.meshgrid(torch.arange(height * s) + 0.5, torch.arange(width * s) + 0.5, indexing="ij")
    samples = torch.stack([x, y, torch.ones_like(x)], -1).double().reshape(-1, 3)
    images = torch.zeros(len(cameras), height, width, 4, dtype=torch.float64)
    if len(mesh.faces):
        for image, corners in zip(images, project(mesh, cameras, s), strict=True):
            chunks = samples.split(max(1, CHUNK // len(mesh.faces)))
            colors = torch.cat([_trace(chunk, corners, mesh) for chunk in chunks])
            image += colors.reshape(height, s, width, s, 4).mean((1, 3))
    return images.float().numpy()


def project(mesh: Mesh, cameras: Cameras, supersample: int) -> Tensor:
    """The triangles' corners (x z, y z, z), with (x, y) in samples: [V,F,3,3]."""
    corners = torch.from_numpy(mesh.vertices).double()[torch.from_numpy(mesh.faces).long()]  # [F,3,3]
    pose = torch.from_numpy(cameras.world_to_camera)[:, None, None]  # [V,1,1,4,4]
    k = torch.from_numpy(cameras.intrinsics)[:, None, None] * torch.tensor([[supersample], [supersample], [1.0]])
    a, b, c = corners.unbind(-1)
    # the same sums in the same order as in mesh_cpu, so that both agree on samples that lie exactly on an edge
    x, y, z = (pose[..., r, 0] * a + pose[..., r, 1] * b + pose[..., r, 2] * c + pose[..., r, 3] for r in range(3))
    return torch.stack([k[..., 0, 0] * x + k[..., 0, 2] * z, k[..., 1, 1] * y + k[..., 1, 2] * z, z], -1)


def nearest_face(samples: Tensor, corners: Tensor, mesh: Mesh) -> tuple[Tensor, Tensor]:
    """What each sample sees.

    Args:
        samples: (x, y, 1), [S,3].
        corners: homogeneous, [F,3,3].

    Returns:
        the face's index or -1, [S]; and the barycentric weights of its three corners, [S,3].
    """
    order = _canonical_order(corners)  # [F,3]
    p = corners.gather(1, order[..., None].expand(-1, -1, 3))
    normals = torch.stack([_cross(p[:, 1], p[:, 2]), _cross(p[:, 2], p[:, 0]), _cross(p[:, 0], p[:, 1])], 1)
    det = p[:, 0, 0] * normals[:, 0, 0] + p[:, 0, 1] * normals[:, 0, 1] + p[:, 0, 2] * normals[:, 0, 2]
    normals = normals * torch.where(det > 0, 1.0, -1.0)[:, None, None]
    nx, ny, nz = normals.unbind(-1)  # [F,3]
    owns = (nx > 0) | ((nx == 0) & ((ny > 0) | ((ny == 0) & (nz > 0))))  # the top-left rule
    x, y = samples[:, 0, None, None], samples[:, 1, None, None]
    e = nx * x + (ny * y + nz)  # [S,F,3]
    inside = ((e > 0) | ((e == 0) & owns)).all(-1) & (det != 0)
    total = e[..., 0] + e[..., 1] + e[..., 2]
    nearness = torch.where(inside, total / det.abs(), 0.0)  # 1 / z
    weights = torch.zeros_like(e).scatter_(2, order.expand(len(samples), -1, -1), e / total[..., None])
    solid = _colors(mesh, torch.arange(len(corners)).expand(len(samples), -1), weights)[..., 3] >= 0.5
    nearness = torch.where(solid & (nearness <= 1 / NEAR), nearness, 0.0)
    best = nearness.amax(1, keepdim=True)
    face = (nearness == best).int().argmax(1)  # the first of several: argmax of 0 and 1 takes the first 1
    face = torch.where((nearness == best).any(1), face, 0)
    chosen = weights.gather(1, face[:, None, None].expand(-1, 1, 3))[:, 0]
    return torch.where(best[:, 0] > 0, face, -1), chosen


def _trace(samples: Tensor, corners: Tensor, mesh: Mesh) -> Tensor:
    """The colour of each sample [S,4]: opaque, or all zero where nothing is hit."""
    face, weights = nearest_face(samples, corners, mesh)
    colors = _colors(mesh, face.clamp(min=0), weights)
    colors[:, 3] = 1
    return torch.where(face[:, None] >= 0, colors, 0.0)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    (ax, ay, az), (bx, by, bz) = a.unbind(-1), b.unbind(-1)
    return torch.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], -1)


def _canonical_order(corners: Tensor) -> Tensor:
    """Corner indices [F,3] sorted by x z, then y z, then z: coinciding faces get exactly equal depths."""
    order = torch.arange(3).expand(len(corners), 3)
    for axis in (2, 1, 0):
        order = order.gather(1, corners[..., axis].gather(1, order).argsort(dim=1, stable=True))
    return order


def _colors(mesh: Mesh, face: Tensor, weights: Tensor) -> Tensor:
    """Red, green, blue, alpha in [0, 1] at points of faces: indices [...] and weights [...,3] to [...,4]."""
    vertices = torch.from_numpy(mesh.faces).long()[face]  # [...,3]
    if mesh.colors is not None:
        return _mix(torch.from_numpy(mesh.colors)[vertices], weights)
    assert mesh.uv is not None and mesh.texture is not None  # Mesh checks it
    uv = (torch.from_numpy(mesh.uv).double()[vertices] * weights[..., None]).sum(-2).nan_to_num(0, 0, 0)
    texture = torch.from_numpy(mesh.texture)
    height, width = texture.shape[:2]
    at = (uv - uv.floor()) * torch.tensor([width, height]) - 0.5
    x0, y0 = at.floor().long().unbind(-1)
    dx, dy = (at - at.floor()).unbind(-1)
    texels = [texture[y % height, x % width] for y in (y0, y0 + 1) for x in (x0, x0 + 1)]
    shares = torch.stack([(1 - dx) * (1 - dy), dx * (1 - dy), (1 - dx) * dy, dx * dy], -1)
    return _mix(torch.stack(texels, -2), shares)


def _mix(colors: Tensor, weights: Tensor) -> Tensor:
    """Mean of uint8 colours [...,n,4] with weights [...,n]: straight colours count by their alpha."""
    alpha = weights * (colors[..., 3].double() / 255)
    total = alpha.sum(-1, keepdim=True)
    rgb = (alpha[..., None] * (colors[..., :3].double() / 255)).sum(-2) / torch.where(total > 0, total, 1.0)
    return torch.cat([rgb, total], -1)
