"""A clip on a GPU: every frame is uploaded once, drawn, composited and rounded there, and comes back as 8 bits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from ..asset import Frame, Gaussians, Mesh
from ..cameras import Cameras
from . import cuda, gaussians_cuda, mesh_cuda


def render_frames(
    frames: Iterable[Frame], cameras: Cameras, background: tuple[float, float, float], supersample: int = 4
) -> Iterator[tuple[UInt8[np.ndarray, "V H W 3"], UInt8[np.ndarray, "V H W"]]]:
    """Colour over the background, and coverage, of each frame: `compose.composite` of `render_mesh/_gaussians`.

    Frames that are alike are drawn together as far as memory allows, which changes no byte.
    """
    where = cuda.device()
    budget = cuda.budget(where)

    def fit(run: list[Frame]) -> bool:
        needed = len(run) * len(cameras) * max(_image_bytes(frame, cameras, supersample) for frame in run)
        return needed <= budget and _alike(run[-2], run[-1])

    for run in cuda.groups(frames, fit):
        at_once = budget // (len(run) * max(_image_bytes(frame, cameras, supersample) for frame in run))
        images = np.empty((len(run), len(cameras), cameras.height, cameras.width, 4), np.uint8)
        batch = _upload(run, where)
        for part in cuda.parts(len(cameras), at_once):
            images[:, part] = cuda.composite(_draw(batch, cameras[part], supersample), background).cpu().numpy()
        for image in images:
            yield image[..., :3], image[..., 3]


def _image_bytes(frame: Frame, cameras: Cameras, supersample: int) -> int:
    if isinstance(frame, Mesh):
        return mesh_cuda.image_bytes(frame, cameras, supersample)
    return gaussians_cuda.image_bytes(frame, cameras)


def _alike(a: Frame, b: Frame) -> bool:
    if isinstance(a, Mesh) and isinstance(b, Mesh):
        return mesh_cuda.alike(a, b)
    return isinstance(a, Gaussians) and isinstance(b, Gaussians) and gaussians_cuda.alike(a, b)


def _upload(run: list[Frame], where: torch.device) -> mesh_cuda.Batch | gaussians_cuda.Batch:
    """Frames that are alike."""
    meshes = [frame for frame in run if isinstance(frame, Mesh)]
    if meshes:
        return mesh_cuda.upload(meshes, where)
    return gaussians_cuda.upload([frame for frame in run if isinstance(frame, Gaussians)], where)


def _draw(batch: mesh_cuda.Batch | gaussians_cuda.Batch, cameras: Cameras, supersample: int) -> Tensor:
    if isinstance(batch, mesh_cuda.Batch):
        return mesh_cuda.draw(batch, cameras, supersample)
    return gaussians_cuda.draw(batch, cameras)
