"""Light baked into vertex colours: a warm key light, weak lights from the side and behind, sky and ground; occlusion
and shadow are soft, by proxy spheres.

Input positions are already on a fixed grid; from there only + - * / sqrt are used: the same bytes everywhere.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int32, UInt8

Points = Float64[np.ndarray, "N 3"]

KEY = np.array([-0.48, -0.62, 0.62])  # towards the light: upper front left of the input camera
KEY = KEY / np.sqrt((KEY * KEY).sum())
FILL = np.array([0.8, -0.6, 0.0])
BACK = np.array([0.48, 0.80, 0.36])  # a weak light from behind, so that novel views show form
KEY_COLOR = np.array([0.70, 0.67, 0.61])
FILL_COLOR = np.array([0.10, 0.11, 0.13])
BACK_COLOR = np.array([0.27, 0.28, 0.31])
SKY = np.array([0.54, 0.57, 0.62])
GROUND = np.array([0.33, 0.30, 0.29])


def normals(vertices: Points, faces: Int32[np.ndarray, "F 3"]) -> Points:
    """Unit vertex normals, weighted by area."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    u, v = b - a, c - a
    out = np.empty_like(vertices)
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        face = u[:, j] * v[:, k] - u[:, k] * v[:, j]
        out[:, i] = np.bincount(faces.T.ravel(), np.concatenate([face, face, face]), minlength=len(vertices))
    return out / np.maximum(np.sqrt(_dot(out, out)), 1e-12)[:, None]


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def occlusion(
    vertices: Points, normal: Points, spheres: Float64[np.ndarray, "S 4"], lump: Int32[np.ndarray, " N"]
) -> tuple:
    """Share of the sky and of the key light that proxy spheres (x, y, z, radius) leave open, each [N].

    A vertex ignores the sphere of its own lump.
    """
    sky, light = np.ones(len(vertices)), np.ones(len(vertices))
    x, y, z = (np.ascontiguousarray(vertices[:, i]) for i in range(3))
    nx, ny, nz = (np.ascontiguousarray(normal[:, i]) for i in range(3))
    for k, (cx, cy, cz, r) in enumerate(spheres.tolist()):
        dx, dy, dz = cx - x, cy - y, cz - z
        square = np.maximum(dx * dx + dy * dy + dz * dz, r * r)
        facing = np.maximum(nx * dx + ny * dy + nz * dz, 0)
        other = lump != k
        sky *= 1 - np.where(other, 0.85 * facing * (r * r) / (square * np.sqrt(square)), 0)
        ahead = dx * KEY[0] + dy * KEY[1] + dz * KEY[2]
        miss = np.sqrt(np.maximum(square - ahead * ahead, 0)) / r  # 0: light through the centre, 1: it grazes
        edge = np.minimum(np.maximum((1.1 - miss) * 1.6, 0), 1)
        front = np.minimum(np.maximum(ahead / r - 0.3, 0) * 1.5, 1)
        light *= 1 - np.where(other, 0.75 * edge * edge * (3 - 2 * edge) * front, 0)
    return sky, light


def bake(
    vertices: Points,
    normal: Points,
    albedo: Points,
    spheres: Float64[np.ndarray, "S 4"],
    lump: Int32[np.ndarray, " N"],
    thin: Float64[np.ndarray, " N"],
) -> UInt8[np.ndarray, "N 4"]:
    """Shaded sRGB colours, opaque.

    Args:
        albedo: sRGB in [0, 1]. Lighting happens in its square, close to linear light and exact to compute.
        spheres, lump: see `occlusion`.
        thin: in [0, 1], how much light shines through from behind (cloth).
    """
    sky, shadow = occlusion(vertices, normal, spheres, lump)
    toward = _dot(normal, KEY)
    lambert = np.maximum(toward + 0.12, 0) / 1.12
    lambert = np.maximum(lambert, thin * np.maximum(-toward, 0))
    fill, back = np.maximum(_dot(normal, FILL), 0), np.maximum(_dot(normal, BACK), 0)
    up = (0.5 + 0.5 * normal[:, 2])[:, None]
    light = (GROUND + (SKY - GROUND) * up) * sky[:, None]
    light = light + KEY_COLOR * (lambert * shadow)[:, None] + FILL_COLOR * (fill * sky)[:, None]
    light = light + BACK_COLOR * (back * sky)[:, None]
    shaded = np.sqrt(np.minimum(albedo * albedo * light, 1.0))
    out = np.full((len(vertices), 4), 255, np.uint8)
    out[:, :3] = np.floor(shaded * 255 + 0.5).astype(np.uint8)
    return out
