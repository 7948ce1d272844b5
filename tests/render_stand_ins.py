"""Stand-ins for gsplat and nvdiffrast in plain torch, so that everything around them can be tested without a GPU.

They keep to what the packages promise of shapes, units, orders and undefined values; brute force, in the inputs' type.
"""

from __future__ import annotations

from itertools import pairwise

import torch

from bench4d.render.gaussians_torch import _covariance, harmonics

NAN = float("nan")


class Gsplat:
    """The five functions of gsplat 1.5 that are used. One list of Gaussians an image takes the place of tiles."""

    @staticmethod
    def fully_fused_projection(
        means, covars, quats, scales, viewmats, Ks, width, height, *,
        eps2d, near_plane, far_plane, calc_compensations, opacities,
    ):  # fmt: skip
        frames, views, count = *viewmats.shape[:2], means.shape[1]
        radii = torch.zeros(frames, views, count, 2, dtype=torch.int32)
        centers, depths, conics, roots = [], [], [], []
        for f in range(frames):
            for v in range(views):
                pose, k = viewmats[f, v], Ks[f, v]
                position = means[f] @ pose[:3, :3].T + pose[:3, 3]
                covariance = _covariance(position, scales[f], quats[f], pose, k, (height, width))
                dilated = covariance + eps2d * torch.eye(2)
                root = torch.sqrt((torch.det(covariance) / torch.det(dilated)).clamp(min=0))
                inverse = torch.linalg.inv(dilated)
                told = opacities[f] * root.detach() if calc_compensations else opacities[f]
                reach = torch.sqrt(2 * torch.log((255 * told).clamp(min=1)))[:, None].clamp(max=3.33)
                radius = torch.ceil(reach * torch.diagonal(dilated, dim1=1, dim2=2).detach().sqrt())
                seen = (position[:, 2] >= near_plane) & (position[:, 2] <= far_plane) & (told >= 1 / 255)
                radii[f, v] = torch.where(seen[:, None], radius, 0).int()

                def or_nan(values, seen=seen):  # what is not seen is not written
                    return torch.where(seen.reshape(-1, *[1] * (values.ndim - 1)), values, NAN)

                centers.append(or_nan((position @ k.T)[:, :2] / position[:, 2:]))
                depths.append(or_nan(position[:, 2]))
                conics.append(or_nan(torch.stack([inverse[:, 0, 0], inverse[:, 0, 1], inverse[:, 1, 1]], 1)))
                roots.append(torch.where(seen, root, 0))
        shape = frames, views, count
        root = torch.stack(roots).reshape(shape) if calc_compensations else None
        return (
            radii,
            torch.stack(centers).reshape(*shape, 2),
            torch.stack(depths).reshape(shape),
            torch.stack(conics).reshape(*shape, 3),
            root,
        )

    @staticmethod
    def isect_tiles(means2d, radii, depths, tile_size, tile_width, tile_height):
        count = depths.shape[-1]
        keys, items = [], []
        for image, (seen, depth) in enumerate(
            zip((radii > 0).all(-1).reshape(-1, count), depths.reshape(-1, count), strict=True)
        ):
            index = torch.nonzero(seen)[:, 0]
            items.append(image * count + index[depth[index].argsort(stable=True)])
            keys.append(torch.full((len(index),), image))
        return None, torch.cat(keys), torch.cat(items).int()

    @staticmethod
    def isect_offset_encode(isect_ids, n_images, tile_width, tile_height):
        first = torch.searchsorted(isect_ids, torch.arange(n_images))
        return first[:, None, None].repeat(1, tile_height, tile_width).int()

    @staticmethod
    def spherical_harmonics(degree, dirs, coeffs, masks):
        flat, terms = torch.nn.functional.normalize(dirs, dim=-1).reshape(-1, 3), (degree + 1) ** 2
        values = torch.einsum("nk,nkc->nc", harmonics(flat, terms), coeffs[..., :terms, :].reshape(-1, terms, 3))
        return torch.where(masks[..., None], values.reshape(dirs.shape), NAN)

    @staticmethod
    def rasterize_to_pixels(means2d, conics, colors, opacities, width, height, tile_size, offsets, items):
        flat = [tensor.reshape(-1, *tensor.shape[3:]) for tensor in (means2d, conics, colors, opacities)]
        starts = [*offsets.reshape(-1, *offsets.shape[-2:])[:, 0, 0].tolist(), len(items)]
        y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        images = []
        for start, stop in pairwise(starts):
            center, conic, color, opacity = (tensor[items[start:stop].long()] for tensor in flat)
            dx, dy = x[..., None] - center[:, 0], y[..., None] - center[:, 1]
            sigma = 0.5 * (conic[:, 0] * dx**2 + conic[:, 2] * dy**2) + conic[:, 1] * dx * dy
            alpha = (opacity * torch.exp(-sigma)).clamp(max=0.999)
            alpha = torch.where(alpha < 1 / 255, 0.0, alpha)
            alpha = torch.where(torch.cumprod(1 - alpha, -1) <= 1e-4, 0.0, alpha)
            after = torch.cumprod(torch.cat([torch.ones_like(alpha[..., :1]), 1 - alpha], -1), -1)
            images.append(torch.cat([(alpha * after[..., :-1]) @ color, 1 - after[..., -1:]], -1))
        whole = torch.stack(images).reshape(*means2d.shape[:2], height, width, 4)
        return whole[..., :3], whole[..., 3:]


class Nvdiffrast:
    """The five names of nvdiffrast.torch 0.3 that are used. Corners are not snapped to fractions of a sample."""

    class RasterizeCudaContext:
        def __init__(self, device):
            self.device = device

    class DepthPeeler:
        def __init__(self, context, pos, tri, resolution, grad_db):
            assert isinstance(context, Nvdiffrast.RasterizeCudaContext) and not grad_db
            self.scene, self.depth = (pos, tri, resolution), None

        def __enter__(self):
            return self

        def __exit__(self, *problem):
            self.scene = None

        def rasterize_next_layer(self):
            hits = torch.stack([
                _nearest(points, *self.scene[1:], None if self.depth is None else self.depth[k])
                for k, points in enumerate(self.scene[0])
            ])  # fmt: skip
            self.depth = torch.where(hits[..., 3] > 0, hits[..., 2], 2.0)
            return hits, None

    @staticmethod
    def rasterize(context, pos, tri, resolution, grad_db):
        return Nvdiffrast.DepthPeeler(context, pos, tri, resolution, grad_db).rasterize_next_layer()

    @staticmethod
    def interpolate(attr, rast, tri):
        assert attr.ndim == 3 and attr.is_contiguous() and tri.dtype == torch.int32 and tri.is_contiguous()
        corners = attr[0][tri[(rast[..., 3].long() - 1).clamp(min=0)].long()]  # [B,h,w,3,C]
        weights = torch.stack([rast[..., 0], rast[..., 1], 1 - rast[..., 0] - rast[..., 1]], -1)
        return torch.where(rast[..., 3:] > 0, (corners * weights[..., None]).sum(-2), 0.0), None

    @staticmethod
    def texture(tex, uv, filter_mode, boundary_mode):
        assert (filter_mode, boundary_mode) == ("linear", "wrap") and tex.ndim == 4 and len(tex) == 1
        size = torch.tensor([tex.shape[2], tex.shape[1]])
        at = (uv - uv.floor()) * size - 0.5
        x, y = at.floor().long().unbind(-1)
        dx, dy = (at - at.floor())[..., None, :].unbind(-1)
        rows = [
            sum(share * tex[0][(y + j) % size[1], (x + i) % size[0]] for i, share in ((0, 1 - dx), (1, dx)))
            for j in (0, 1)
        ]
        return (1 - dy) * rows[0] + dy * rows[1]


def _nearest(points, tri, resolution, behind):
    """(u, v, z / w, index + 1) of the nearest face of each sample [h,w,4], of equally near ones the last; only what
    lies farther than `behind` [h,w], if given."""
    height, width = resolution
    p = points.double()[tri.long()]  # [M,3,4]
    y, x = torch.meshgrid(
        (2 * torch.arange(height) + 1) / height - 1, (2 * torch.arange(width) + 1) / width - 1, indexing="ij"
    )
    at = torch.stack([x, y], -1).double()[..., None, None, :]  # [h,w,1,1,2]
    q = p[..., :2] - at * p[..., 3:]  # [h,w,M,3,2]
    edges = torch.stack(
        [_cross(q[..., 1, :], q[..., 2, :]), _cross(q[..., 2, :], q[..., 0, :]), _cross(q[..., 0, :], q[..., 1, :])], -1
    )
    total = edges.sum(-1)
    weights = edges / total[..., None]
    depth, w = (weights * p[..., 2]).sum(-1), (weights * p[..., 3]).sum(-1)
    depth = depth / w
    hit = (weights >= 0).all(-1) & (w > 0) & (depth.abs() <= 1)
    if behind is not None:
        hit &= depth.float() > behind[..., None]
    depth = torch.where(hit, depth, 3.0)
    face = len(tri) - 1 - depth.flip(-1).argmin(-1)  # the last of the smallest
    chosen = weights.gather(-2, face[..., None, None].expand(*face.shape, 1, 3))[..., 0, :]
    zw = depth.gather(-1, face[..., None])
    out = torch.cat([chosen[..., :2], zw, face[..., None] + 1.0], -1)
    return torch.where(zw < 2, out, 0.0).float()


def _cross(a, b):
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
