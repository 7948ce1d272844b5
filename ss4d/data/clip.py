"""One clip of a data set: from a source to the tensors that `store.py` lists."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float16, Float32, Float64, UInt8
from PIL import Image

from bench4d.asset import Mesh
from bench4d.cameras import Cameras, orbit
from bench4d.render import render_mesh, to_straight

from ..preprocess import crop_box
from .cameras import condition_cameras, generator_of, hammersley, joined, view_cameras
from .config import ConditionConfig, DataConfig
from .features import surface_features
from .sources import Source, placed
from .voxels import SurfaceVoxels, voxelise

TokenFeatures = Callable[
    [Float64[np.ndarray, "N 3"], UInt8[np.ndarray, "V S S 4"], Cameras], Float16[np.ndarray, "N C"]
]
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Tools:
    """What a clip is made with, and what its bytes may depend on besides configuration and id.

    Attributes:
        renderer: "cpu" or "cuda".
        tokens: features of "dinov2": centres, pictures and their cameras -> features; None for "surface".
    """

    renderer: str = "cpu"
    tokens: TokenFeatures | None = None

    def render(self, mesh: Mesh, cameras: Cameras, supersample: int) -> Float32[np.ndarray, "V H W 4"]:
        return render_mesh(mesh, cameras, supersample=supersample, backend=self.renderer, threads=1)


def make_clip(source: Source, config: DataConfig, tools: Tools) -> tuple[Arrays, dict[str, object]]:
    """The tensors of one clip (names and types as in `store.py`, starts apart), and its entry in the index."""
    low, high = config.yaw
    yaw = float(generator_of(config.seed, source.id, "yaw").uniform(low, high)) if low < high else low
    meshes = placed(source, yaw)
    surfaces = [voxelise(mesh, config.resolution) for mesh in meshes]
    cameras, views = make_views(source.id, meshes, config, tools)
    condition_rig, condition = make_condition(source.id, meshes, config, tools)
    features = [
        make_features(source.id, k, mesh, surface, (views[k], cameras[k]), config, tools)
        for k, (mesh, surface) in enumerate(zip(meshes, surfaces, strict=True))
    ]
    arrays = {
        "voxels": np.concatenate([surface.voxels for surface in surfaces]),
        "frame_starts": np.cumsum([0, *(len(surface.voxels) for surface in surfaces)], dtype=np.int64),
        "features": np.concatenate(features),
        "views": views,
        "view_camera_to_world": _stacked([rig.camera_to_world if rig else None for rig in cameras], 4),
        "view_intrinsics": _stacked([rig.intrinsics if rig else None for rig in cameras], 3),
        "condition": condition,
        "condition_camera_to_world": condition_rig[0].astype(np.float32)[None],
        "condition_intrinsics": condition_rig[1].astype(np.float32)[None],
    }
    entry = {"id": source.id, "source": source.kind, "asset_sha256": sha256_meshes(meshes)}
    return arrays, entry | {"n_frames": len(meshes), "n_voxels": len(arrays["voxels"])}


def make_views(
    clip: str, meshes: Sequence[Mesh], config: DataConfig, tools: Tools
) -> tuple[list[Cameras | None], UInt8[np.ndarray, "F V S S 4"]]:
    """Pictures by random cameras, others in each frame; without any if the configuration has none."""
    settings = config.views
    rng = generator_of(config.seed, clip, "views")
    views = np.empty((len(meshes), settings.count, settings.size, settings.size, 4), np.uint8)
    if not settings.count:
        return [None] * len(meshes), views
    cameras: list[Cameras | None] = []
    for mesh, view in zip(meshes, views, strict=True):
        cameras.append(rig := view_cameras(settings, rng))
        view[:] = to_uint8(tools.render(mesh, rig, settings.supersample))
    return cameras, views


def _stacked(matrices: Sequence[np.ndarray | None], side: int) -> Float32[np.ndarray, "F V s s"]:
    given = [np.empty((0, side, side)) if matrix is None else matrix for matrix in matrices]
    return np.stack(given).astype(np.float32)


def to_uint8(rgba: Float32[np.ndarray, "... 4"]) -> UInt8[np.ndarray, "... 4"]:
    """Premultiplied [0, 1] to 0..255, rounded half up; a colour never exceeds its alpha."""
    values = (rgba * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    np.minimum(values[..., :3], values[..., 3:], out=values[..., :3])
    return values


def make_features(
    clip: str,
    k: int,
    mesh: Mesh,
    surface: SurfaceVoxels,
    pictures: tuple[UInt8[np.ndarray, "V S S 4"], Cameras | None],
    config: DataConfig,
    tools: Tools,
) -> Float16[np.ndarray, "N K"]:
    """Features of one frame's voxels: from its stored pictures, or with "dinov2" from pictures made for them."""
    settings = config.features
    if settings.kind == "surface":
        return surface_features(surface, config.resolution, *pictures, settings.patch)
    assert tools.tokens is not None  # the build refuses to start without an encoder
    rng = generator_of(config.seed, clip, f"features/{k}")
    directions = hammersley(settings.views, (rng.random(), rng.random()))
    view = config.views
    rig = joined([orbit([a], e, view.radius, view.fov, settings.view_size) for a, e in directions])
    seen = to_uint8(tools.render(mesh, rig, view.supersample))
    return tools.tokens(surface.centers(config.resolution), seen, rig)


def make_condition(
    clip: str, meshes: Sequence[Mesh], config: DataConfig, tools: Tools
) -> tuple[tuple[Float64[np.ndarray, "Q 4 4"], Float64[np.ndarray, "Q 3 3"]], UInt8[np.ndarray, "F Q S S 4"]]:
    """Poses and intrinsics of the condition cameras, and their pictures, cropped as inference crops its input."""
    settings = config.condition
    pictures = np.empty((len(meshes), settings.count, settings.size, settings.size, 4), np.uint8)
    if not settings.count:
        return (np.empty((0, 4, 4)), np.empty((0, 3, 3))), pictures
    cameras = condition_cameras(settings, generator_of(config.seed, clip, "condition"))
    intrinsics = cameras.intrinsics.copy()
    for q in range(settings.count):
        frames = [
            Image.fromarray(to_straight(tools.render(mesh, cameras[q], settings.supersample))[0]) for mesh in meshes
        ]
        pictures[:, q], box = cropped(frames, settings)
        intrinsics[q] = cropped_intrinsics(intrinsics[q], box, settings.size)
    return (cameras.camera_to_world, intrinsics), pictures


def cropped(
    frames: Sequence[Image.Image], settings: ConditionConfig
) -> tuple[UInt8[np.ndarray, "F S S 4"], tuple[int, int, int, int]]:
    """The frames of one clip as `ss4d.preprocess` makes them, at `size`, with their alpha; and the box of the crop.

    Premultiplied, and truncated as there: the colours are exactly those of its pictures on black.
    """
    box, side = crop_box(frames), (settings.size, settings.size)
    straight = np.stack([np.asarray(frame.crop(box).resize(side, Image.Resampling.LANCZOS)) for frame in frames])
    values = straight.astype(np.float32) / 255
    pictures = np.empty_like(straight)
    pictures[..., :3] = values[..., :3] * values[..., 3:] * 255
    pictures[..., 3] = straight[..., 3]
    return pictures, box


def cropped_intrinsics(
    matrix: Float64[np.ndarray, "3 3"], box: tuple[int, int, int, int], size: int
) -> Float64[np.ndarray, "3 3"]:
    """Intrinsics of the picture that is left of a crop and a resize to `size`."""
    left, top, right, bottom = box
    scale = np.diag([size / (right - left), size / (bottom - top), 1.0])
    shift = np.array([[1.0, 0, -left], [0, 1, -top], [0, 0, 1]])
    return scale @ shift @ matrix


def sha256_meshes(meshes: Sequence[Mesh]) -> str:
    """One hash over all arrays of all frames, shapes included."""
    total = hashlib.sha256()
    for mesh in meshes:
        for array in (mesh.vertices, mesh.faces, mesh.colors, mesh.uv, mesh.texture):
            total.update(b"-" if array is None else f"{array.dtype}{array.shape}".encode())
            if array is not None:
                total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()
