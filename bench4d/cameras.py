"""`Cameras`: V pinhole cameras that share one image size.

World: right-handed, z up, the object inside [-0.5, 0.5]^3. Camera axes are OpenCV's: x right, y down, z forward.
Pixel (i, j) covers [j, j+1) x [i, i+1): its centre is at (j + 0.5, i + 0.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from .errors import FormatError, within


@dataclass(frozen=True)
class Cameras:
    """V pinhole cameras.

    Attributes:
        camera_to_world: rigid poses, OpenCV axes.
        intrinsics: [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in pixels.
        width, height: image size in pixels.
    """

    camera_to_world: Float64[np.ndarray, "V 4 4"]
    intrinsics: Float64[np.ndarray, "V 3 3"]
    width: int
    height: int

    def __post_init__(self) -> None:
        poses = np.asarray(self.camera_to_world, np.float64)
        matrices = np.asarray(self.intrinsics, np.float64)
        count = len(poses) if poses.ndim == 3 else -1
        if poses.shape != (count, 4, 4) or matrices.shape != (count, 3, 3):
            raise FormatError("Cameras", "poses [V,4,4] and intrinsics [V,3,3]", f"{poses.shape} and {matrices.shape}")
        if not (np.isfinite(poses).all() and np.isfinite(matrices).all()):
            raise FormatError("Cameras", "finite numbers", "NaN or infinity")
        rotation = poses[:, :3, :3]
        if (
            (np.abs(rotation) > 2).any()
            or not np.allclose(rotation @ rotation.transpose(0, 2, 1), np.eye(3), atol=1e-6)
            or (count and np.linalg.det(rotation).min() < 0)
        ):
            raise FormatError("Cameras", "rotations (orthonormal, determinant +1)", "another matrix")
        if (poses[:, 3] != [0, 0, 0, 1]).any() or matrices[:, [0, 1, 2, 2], [1, 0, 0, 1]].any():
            raise FormatError("Cameras", "poses ending in 0 0 0 1, and intrinsics without skew", "other entries")
        if (matrices[:, 2, 2] != 1).any():
            raise FormatError("Cameras", "intrinsics ending in 0 0 1", f"{matrices[:, 2].tolist()}")
        if (matrices[:, [0, 1], [0, 1]] <= 0).any():
            raise FormatError("Cameras", "positive focal lengths", "zero or a negative one")
        if not (0 < self.width <= 16384 and 0 < self.height <= 16384):
            raise FormatError("Cameras", "a size of 1 to 16384 pixels a side", f"{self.width} x {self.height}")
        object.__setattr__(self, "camera_to_world", poses)
        object.__setattr__(self, "intrinsics", matrices)

    def __len__(self) -> int:
        return len(self.camera_to_world)

    def __getitem__(self, index: int | slice) -> Cameras:
        """The chosen cameras, still with a leading axis: `cameras[2]` holds one camera."""
        chosen = slice(index, index + 1 or None) if isinstance(index, int) else index
        return Cameras(self.camera_to_world[chosen], self.intrinsics[chosen], self.width, self.height)

    @property
    def world_to_camera(self) -> Float64[np.ndarray, "V 4 4"]:
        return np.linalg.inv(self.camera_to_world)

    def to_json(self) -> dict[str, Any]:
        return {
            "camera_to_world": self.camera_to_world.tolist(),
            "intrinsics": self.intrinsics.tolist(),
            "width": self.width,
            "height": self.height,
        }

    @staticmethod
    def from_json(data: dict[str, Any], where: str = "cameras") -> Cameras:
        keys = {"camera_to_world", "intrinsics", "width", "height"}
        if not isinstance(data, dict) or set(data) != keys:
            raise FormatError(where, f"an object with the keys {sorted(keys)}", f"{data!r:.80}")
        try:
            poses = np.array(data["camera_to_world"], np.float64)
            matrices = np.array(data["intrinsics"], np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise FormatError(where, "numbers in camera_to_world and intrinsics", f"{error}"[:120]) from None
        size = data["width"], data["height"]
        if any(isinstance(side, bool) or not isinstance(side, int) for side in size):
            raise FormatError(where, "whole numbers as width and height", f"{size!r:.80}")
        with within(where):
            return Cameras(poses, matrices, *size)


def orbit(azimuths: Sequence[float], elevation: float, radius: float, fov_y: float, size: int) -> Cameras:
    """Cameras on a circle, looking at the origin.

    Args:
        azimuths: degrees, counter-clockwise seen from above; 0 stands on the -y axis and looks along +y.
        elevation: degrees above the horizontal plane.
        radius: distance from the origin.
        fov_y: vertical field of view in degrees.
        size: width and height in pixels.

    >>> orbit([0, 90], 0, 2, 40, 256).camera_to_world[:, :3, 3].round(6).astype(int).tolist()
    [[0, -2, 0], [2, 0, 0]]
    """
    azimuth, tilt = np.radians(np.asarray(azimuths, np.float64)), np.radians(elevation)
    poses = np.tile(np.eye(4), (len(azimuth), 1, 1))
    for pose, a in zip(poses, azimuth, strict=True):
        eye = np.array([np.cos(tilt) * np.sin(a), -np.cos(tilt) * np.cos(a), np.sin(tilt)])
        right = np.array([np.cos(a), np.sin(a), 0.0])
        pose[:3, :3] = np.stack([right, np.cross(-eye, right), -eye], axis=1)
        pose[:3, 3] = radius * eye
    focal = 0.5 * size / np.tan(np.radians(fov_y) / 2)
    matrix = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])
    return Cameras(poses, np.tile(matrix, (len(azimuth), 1, 1)), size, size)
