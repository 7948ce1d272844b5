"""Random cameras, from generators that depend on the configuration's seed and the clip's id alone."""

from __future__ import annotations

import hashlib

import numpy as np
from jaxtyping import Float64

from bench4d.cameras import Cameras, orbit

from .config import ConditionConfig, ViewConfig


def generator_of(seed: int, clip: str, purpose: str) -> np.random.Generator:
    """Random numbers of one purpose for one clip: the same wherever and in whatever order clips are made."""
    digest = hashlib.sha256(f"{seed}/{clip}/{purpose}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def hammersley(count: int, offset: tuple[float, float] = (0.0, 0.0)) -> Float64[np.ndarray, "count 2"]:
    """Evenly spread directions (azimuth, elevation) in degrees: the Hammersley set, moved round by `offset`.

    Point i is (i / count, i's bits mirrored at the point) + offset, modulo 1; the first is height, the second angle.
    """
    mirrored = np.zeros(count)
    for i in range(count):
        bits, weight = i, 0.5
        while bits:
            mirrored[i] += weight * (bits & 1)
            bits, weight = bits >> 1, weight / 2
    height = (np.arange(count) / count + offset[0]) % 1
    angle = (mirrored + offset[1]) % 1
    return np.stack([360 * angle, np.degrees(np.arcsin(np.clip(1 - 2 * height, -1, 1)))], axis=1)


def view_cameras(config: ViewConfig, rng: np.random.Generator) -> Cameras:
    """The cameras of one frame."""
    directions = hammersley(config.count, (rng.random(), rng.random()))
    return joined([orbit([a], e, config.radius, config.fov, config.size) for a, e in directions])


def condition_cameras(config: ConditionConfig, rng: np.random.Generator) -> Cameras:
    """The condition cameras of one clip, before the crop.

    The distance is drawn such that its inverse square is uniform, as TRELLIS does: sin(fov / 2) = sqrt(3) / 2 / r.
    """
    sines = np.sin(np.radians(np.array(config.fov)) / 2) ** 2
    cameras = []
    for _ in range(config.count):
        azimuth, elevation = rng.uniform(*config.azimuth), rng.uniform(*config.elevation)
        sine = np.sqrt(rng.uniform(*sines))
        fov = 2 * np.degrees(np.arcsin(sine))
        cameras.append(orbit([azimuth], elevation, np.sqrt(3) / 2 / sine, fov, config.render_size))
    return joined(cameras)


def joined(cameras: list[Cameras]) -> Cameras:
    """Cameras of one size, one after another; the list is not empty."""
    poses = np.concatenate([camera.camera_to_world for camera in cameras])
    matrices = np.concatenate([camera.intrinsics for camera in cameras])
    return Cameras(poses, matrices, cameras[0].width, cameras[0].height)
