"""A small data set for tests of the training: ellipsoids that breathe, in few voxels and small pictures."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from bench4d.asset import Mesh
from bench4d.cameras import orbit
from bench4d.render import render_mesh
from ss4d.data.config import DataConfig, FeatureConfig
from ss4d.data.store import VERSION, Store

FPS = 8
FOV, RADIUS = 40.0, 2.0


def ellipsoid(radii: np.ndarray, tint: np.ndarray, around: int = 16) -> Mesh:
    """Coloured by the direction of its normals."""
    u, v = np.meshgrid(np.arange(around) / around * 2 * np.pi, np.linspace(0.05, np.pi - 0.05, around // 2))
    normal = np.stack([np.cos(u) * np.sin(v), np.sin(u) * np.sin(v), np.cos(v)], -1)
    index = np.arange(normal[..., 0].size).reshape(u.shape)
    a, b = index[:-1], np.roll(index[:-1], -1, 1)
    c, d = index[1:], np.roll(index[1:], -1, 1)
    faces = np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)])
    flat = normal.reshape(-1, 3)
    colors = np.concatenate([np.clip(tint * (0.7 + 0.3 * flat), 0, 1), np.ones((len(flat), 1))], 1)
    return Mesh((flat * radii).astype(np.float32), faces.astype(np.int32), np.rint(255 * colors).astype(np.uint8))


def surface(radii: np.ndarray, tint: np.ndarray, resolution: int) -> tuple[Tensor, Tensor]:
    """Voxels [n,3] of the surface in lexicographic order, and 16 features [n,16]: colour, normal, zeros."""
    k = np.arange(4000) + 0.5
    z, angle = 1 - 2 * k / len(k), k * np.pi * (3 - 5**0.5)
    normal = np.stack([np.cos(angle) * np.sqrt(1 - z * z), np.sin(angle) * np.sqrt(1 - z * z), z], 1)
    cells = np.floor((normal * radii + 0.5) * resolution).astype(np.int64)
    voxels, of, count = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    features = np.zeros((len(voxels), 16))
    for column, values in enumerate(np.concatenate([tint * (0.7 + 0.3 * normal), normal], 1).T):
        features[:, column] = np.bincount(of.ravel(), values, len(voxels)) / count
    return torch.from_numpy(voxels).to(torch.uint8), torch.from_numpy(features).half()


def toy_store(clips: int = 2, frames: int = 4, resolution: int = 8, size: int = 32, views: int = 2) -> Store:
    rng = np.random.default_rng(5)
    voxels, features, starts, pictures, poses, matrices = [], [], [0], [], [], []
    for _ in range(clips):
        base, swing = rng.uniform(0.15, 0.3, 3), rng.uniform(0.02, 0.1, 3)
        tint = rng.uniform(0.3, 1, 3)
        for t in range(frames):
            radii = base + swing * np.sin(2 * np.pi * t / frames)
            xyz, feats = surface(radii, tint, resolution)
            cameras = orbit(rng.uniform(0, 360, views), 15.0, RADIUS, FOV, size)
            image = render_mesh(ellipsoid(radii, tint), cameras, supersample=2)
            voxels.append(xyz)
            features.append(feats)
            starts.append(starts[-1] + len(xyz))
            pictures.append(torch.from_numpy(np.round(image * 255).astype(np.uint8)))
            poses.append(torch.from_numpy(cameras.camera_to_world).float())
            matrices.append(torch.from_numpy(cameras.intrinsics).float())
    tensors = {
        "voxels": torch.cat(voxels),
        "features": torch.cat(features),
        "frame_starts": torch.tensor(starts),
        "clip_starts": torch.arange(clips + 1) * frames,
        "views": torch.stack(pictures),
        "view_camera_to_world": torch.stack(poses),
        "view_intrinsics": torch.stack(matrices),
    }
    tiny = DataConfig.read("tiny")
    config = replace(
        tiny,
        frames=frames,
        resolution=resolution,
        features=FeatureConfig("surface", 5),
        views=replace(tiny.views, count=views, size=size),
    )
    return Store(config, tuple(f"toy-{k}" for k in range(clips)), ("toy",) * clips, tensors)


def write_store(store: Store, folder: Path) -> None:
    """As one shard, in the form that `Store.read` reads."""
    folder.mkdir(parents=True)
    file = folder / "shard-00000.safetensors"
    save_file(dict(store.tensors), file)
    voxels = store.voxels_before[store.frames_before].diff().tolist()
    entries = [
        {"id": id, "source": "toy", "asset_sha256": "0" * 64, "n_frames": frames, "n_voxels": count}
        for id, frames, count in zip(store.ids, store.lengths, voxels, strict=True)
    ]
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    index = {
        "version": VERSION,
        "config": store.config.to_json(),
        "config_sha256": store.config.sha256,
        "tensors": list(store.tensors),
        "shards": [{"file": file.name, "sha256": digest, "clips": entries}],
        "splits": {"train": [file.name]},
        "normalisation": None,
        "made_from": None,
    }
    (folder / "index.json").write_text(json.dumps(index))
