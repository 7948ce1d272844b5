"""Meshes on a GPU, through nvdiffrast 0.3 (Laine et al. 2020), with the rules of `mesh_cpu`.

The image is rasterised with `supersample` times the pixels each way and averaged; nvdiffrast's own antialiasing is not
used. Corners are snapped to 1/16 of a sample by nvdiffrast, so samples within 1/32 of a silhouette may go either way.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int32
from torch import Tensor

from ..asset import Mesh
from ..cameras import Cameras
from ..errors import FormatError
from . import cuda, kernels

NEAR = 1e-3  # nothing closer to the camera's plane is drawn
CUTOFF = 0.5  # alpha below is a hole, anything else is solid (glTF's alphaMode MASK)
MAX_FACES = 2**24  # nvdiffrast's limit
SAMPLE_BYTES, HOLES_BYTES, VERTEX_BYTES = 64, 128, 128  # what a sample (with holes) and a vertex need while drawn


@dataclass(frozen=True)
class Surface:
    """What frames of one topology share, on the device. All colours are in [0, 1], premultiplied with their alpha.

    Attributes:
        faces: in reverse, because of equally near faces nvdiffrast draws the last and we the first; and with their
            corners in an order that depends on positions only, so that coinciding faces get equal depths, to the bit.
        colors: per vertex; or None.
        uv, texture: or None.
        opaque: whether every alpha is 1.
    """

    faces: Int32[Tensor, "M 3"]
    colors: Float32[Tensor, "1 N 4"] | None
    uv: Float32[Tensor, "1 N 2"] | None
    texture: Float32[Tensor, "1 h w 4"] | None
    opaque: bool


@dataclass(frozen=True)
class Batch:
    """F frames of one topology and surface on the device, and in main memory each frame's lowest and highest corner."""

    vertices: Float32[Tensor, "F N 3"]
    surface: Surface
    boxes: Float64[np.ndarray, "F 2 3"]


def render(mesh: Mesh, cameras: Cameras, supersample: int) -> Float32[np.ndarray, "V H W 4"]:
    """See `bench4d.render.render_mesh`."""
    cuda.nvdiffrast()
    where = cuda.device()
    batch = upload([mesh], where)
    at_once = cuda.budget(where) // image_bytes(mesh, cameras, supersample)
    images = [draw(batch, cameras[part], supersample)[0].cpu().numpy() for part in cuda.parts(len(cameras), at_once)]
    return np.concatenate([np.empty((0, cameras.height, cameras.width, 4), np.float32), *images])


def image_bytes(mesh: Mesh, cameras: Cameras, supersample: int) -> int:
    """An estimate of the memory in which one camera's image is drawn."""
    samples = cameras.height * cameras.width * supersample**2
    return (SAMPLE_BYTES if _opaque(mesh) else HOLES_BYTES) * samples + VERTEX_BYTES * len(mesh.vertices)


def alike(a: Mesh, b: Mesh) -> bool:
    """Whether two frames can be drawn together: all but the positions is the same."""
    pairs = (a.faces, b.faces), (a.colors, b.colors), (a.uv, b.uv), (a.texture, b.texture)
    return len(a.vertices) == len(b.vertices) and all(
        x is y or (x is not None and y is not None and np.array_equal(x, y)) for x, y in pairs
    )


def upload(frames: Sequence[Mesh], where: torch.device) -> Batch:
    """Frames that are `alike`, on a device."""
    mesh = frames[0]
    if len(mesh.faces) > MAX_FACES:
        raise FormatError(
            "Mesh.faces", f"at most {MAX_FACES} for nvdiffrast", f"{len(mesh.faces)}", 'Use backend="cpu".'
        )
    vertices = torch.from_numpy(np.stack([frame.vertices for frame in frames])).to(where)
    colors = None if mesh.colors is None else _premultiplied(mesh.colors, where)
    uv = None if mesh.uv is None else torch.from_numpy(mesh.uv.copy())[None].to(where)
    texture = None if mesh.texture is None else _premultiplied(mesh.texture, where)
    faces = canonical(vertices[0], torch.from_numpy(mesh.faces.copy()).to(where))
    return Batch(vertices, Surface(faces, colors, uv, texture, _opaque(mesh)), bounding_boxes(vertices))


def draw(batch: Batch, cameras: Cameras, supersample: int) -> Float32[Tensor, "F V H W 4"]:
    """Every frame as every camera sees it, on the device."""
    frames = len(batch.vertices)
    poses = torch.from_numpy(cameras.camera_to_world).expand(frames, -1, -1, -1)
    matrices = torch.from_numpy(cameras.intrinsics).expand(frames, -1, -1, -1)
    size = cameras.height, cameras.width
    return rasterise(batch.vertices, batch.surface, poses, matrices, size, supersample, batch.boxes)


@torch.no_grad()
def rasterise(
    vertices: Float32[Tensor, "F N 3"],
    surface: Surface,
    camera_to_world: Float[Tensor, "F V 4 4"],
    intrinsics: Float[Tensor, "F V 3 3"],
    size: tuple[int, int],
    supersample: int,
    boxes: Float64[np.ndarray, "F 2 3"] | None = None,
) -> Float32[Tensor, "F V H W 4"]:
    """Premultiplied RGBA of F frames of one topology, each seen by its own V cameras. Without gradients.

    Args:
        camera_to_world, intrinsics: as in `Cameras`, of any floating type; they should lie on the CPU.
        size: (height, width) in pixels.
        supersample: samples per pixel and axis.
        boxes: of `bounding_boxes`; left out, they are found here.
    """
    height, width = size
    frames, views = camera_to_world.shape[:2]
    if not (frames and views and len(surface.faces)):
        return vertices.new_zeros(frames, views, height, width, 4)
    boxes = bounding_boxes(vertices) if boxes is None else boxes
    matrices = clip_matrices(cuda.on_host(camera_to_world), cuda.on_host(intrinsics), boxes, size)
    to_points = kernels.project if vertices.is_cuda else project
    points = to_points(vertices, *cuda.to_device([matrices], vertices.device))
    resolution = height * supersample, width * supersample
    samples, hits = (_solid if surface.opaque else _cut_out)(points, surface, resolution)
    to_pixels = kernels.average if vertices.is_cuda else average
    return to_pixels(samples, hits, supersample).reshape(frames, views, height, width, 4)


def canonical(vertices: Float32[Tensor, "N 3"], faces: Int32[Tensor, "M 3"]) -> Int32[Tensor, "M 3"]:
    """The faces as `Surface.faces` holds them: last first, corners sorted by x, then y, then z."""
    corners = vertices[faces.flip(0).long()]  # [M,3,3]
    order = torch.arange(3, device=faces.device).expand(len(faces), 3)
    for axis in (2, 1, 0):
        order = order.gather(1, corners[..., axis].gather(1, order).argsort(dim=1, stable=True))
    return faces.flip(0).gather(1, order).contiguous()


def bounding_boxes(vertices: Float32[Tensor, "F N 3"]) -> Float64[np.ndarray, "F 2 3"]:
    """The lowest and the highest coordinates of each frame, in main memory."""
    if not vertices.shape[1]:
        return np.zeros((len(vertices), 2, 3))
    return torch.stack(torch.aminmax(vertices, dim=1), 1).cpu().double().numpy()


def clip_matrices(
    camera_to_world: Float64[np.ndarray, "F V 4 4"],
    intrinsics: Float64[np.ndarray, "F V 3 3"],
    boxes: Float64[np.ndarray, "F 2 3"],
    size: tuple[int, int],
) -> Float64[np.ndarray, "F V 4 4"]:
    """From the world to OpenGL's clip coordinates, row 0 of the image at y / w = -1.

    Depth runs from -1 just before the frame's box, but not before NEAR, to 1 just behind it: nvdiffrast has 24 bits
    for it. The box may be nearer than the mesh, which costs a bit or two unless the camera is about to touch it.
    """
    height, width = size
    inverse = np.linalg.inv(camera_to_world)
    row = inverse[..., 2, :]  # [F,V,4], world to depth
    middle, half = boxes.mean(1)[:, None], (boxes[:, 1] - boxes[:, 0])[:, None] / 2  # [F,1,3]
    center, reach = (row[..., :3] * middle).sum(-1) + row[..., 3], (np.abs(row[..., :3]) * half).sum(-1)
    near = np.maximum(0.99 * (center - reach), NEAR)
    far = np.maximum(1.01 * (center + reach), 1.01 * near)
    clip = np.zeros_like(inverse)
    clip[..., 0, 0], clip[..., 0, 2] = 2 / width * intrinsics[..., 0, 0], 2 / width * intrinsics[..., 0, 2] - 1
    clip[..., 1, 1], clip[..., 1, 2] = 2 / height * intrinsics[..., 1, 1], 2 / height * intrinsics[..., 1, 2] - 1
    clip[..., 2, 2], clip[..., 2, 3] = (far + near) / (far - near), -2 * far * near / (far - near)
    clip[..., 3, 2] = 1
    return clip @ inverse


def project(vertices: Float[Tensor, "F N 3"], matrices: Float64[Tensor, "F V 4 4"]) -> Float32[Tensor, "FV N 4"]:
    """Clip coordinates, rounded from double precision. `kernels.project` is the same in one launch."""
    points = vertices.double()[:, None] @ matrices[..., :3].transpose(-1, -2) + matrices[:, :, None, :, 3]
    return points.float().flatten(0, 1)


def average(
    samples: Float[Tensor, "B h w 4"], hits: Float[Tensor, "B h w 4"] | None, supersample: int
) -> Float[Tensor, "B H W 4"]:
    """The mean of each pixel's samples, at most 1. Of `hits`, if given, the last channel is 0 where a sample is empty,
    whatever colour it has. `kernels.average` is the same in one launch."""
    if hits is not None:
        samples = samples.masked_fill(hits[..., 3:] == 0, 0.0)
    whole = torch.nn.functional.avg_pool2d(samples.permute(0, 3, 1, 2), supersample)
    return whole.permute(0, 2, 3, 1).clamp(max=1)


def _solid(points: Tensor, surface: Surface, resolution: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
    """The samples [B,h,w,4] of an opaque surface, its colour and 1 or all zero; what else `average` needs of them."""
    hits, _ = cuda.nvdiffrast().rasterize(
        _context(points.device.index), points, surface.faces, resolution, grad_db=False
    )
    return _shade(hits, surface), None if surface.texture is None else hits


def _cut_out(points: Tensor, surface: Surface, resolution: tuple[int, int]) -> tuple[Tensor, None]:
    """Likewise for a surface with holes: layer by layer, until each sample meets something solid or nothing."""
    samples: Tensor | None = None
    with closing(_layers(points, surface, resolution)) as layers:
        for hits in layers:
            layer, hit = _shade(hits, surface), hits[..., 3:] > 0
            alpha = layer[..., 3:]
            solid = hit & (alpha >= CUTOFF)
            if samples is None:
                samples, open_ = torch.zeros_like(layer), torch.ones_like(solid)
            samples = torch.where(open_ & solid, layer / alpha, samples)
            open_ = open_ & ~solid & hit
            if not open_.any():
                break
    assert samples is not None  # there is always a first layer
    return samples, None


def _layers(points: Tensor, surface: Surface, resolution: tuple[int, int]) -> Generator[Tensor, None, None]:
    """nvdiffrast's samples of the nearest faces, then of those behind them, and so on without end."""
    peeler = cuda.nvdiffrast().DepthPeeler(
        _context(points.device.index), points, surface.faces, resolution, grad_db=False
    )
    with peeler:
        while True:
            yield peeler.rasterize_next_layer()[0]


def _shade(hits: Tensor, surface: Surface) -> Tensor:
    """Premultiplied colours of nvdiffrast's samples [B,h,w,4]; of a texture, any where nothing was hit."""
    n = cuda.nvdiffrast()
    if surface.colors is not None:
        return n.interpolate(surface.colors, hits, surface.faces)[0]
    uv, _ = n.interpolate(surface.uv, hits, surface.faces)
    return n.texture(surface.texture, uv, filter_mode="linear", boundary_mode="wrap")


@cache
def _context(index: int | None) -> Any:
    """nvdiffrast's buffers on a device. They are not safe to use from several threads at once."""
    return cuda.nvdiffrast().RasterizeCudaContext(index)


def _premultiplied(colors: np.ndarray, where: torch.device) -> Tensor:
    """uint8 [...,4] with straight alpha to float32 [1,...,4] in [0, 1]."""
    straight = torch.from_numpy(colors.astype(np.float32))[None].to(where) / 255
    return torch.cat([straight[..., :3] * straight[..., 3:], straight[..., 3:]], -1).contiguous()


def _opaque(mesh: Mesh) -> bool:
    colors = mesh.texture if mesh.colors is None else mesh.colors
    return bool(colors is None or (colors[..., 3] == 255).all())
