"""Similarity transforms (one uniform scale, a rotation, a translation) of static frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from .asset import Frame, Gaussians, Mesh
from .cameras import Cameras
from .errors import FormatError

Matrix = Float64[np.ndarray, "4 4"]


@dataclass(frozen=True)
class Fit:
    """A similarity that was found, and what a reader needs to judge it.

    Attributes:
        matrix: from the asset's own frame to the world.
        residual: what is left between the two, in `unit`.
        starts: how many starts were tried.
        start: the kind of start that won.
        iterations: steps (or evaluations) on the way from that start.
        converged: whether the steps came to rest within their limit.
    """

    matrix: Matrix
    residual: float
    unit: str
    starts: int
    start: str
    iterations: int
    converged: bool

    def to_json(self) -> dict[str, Any]:
        """All but the matrix."""
        names = ("residual", "unit", "starts", "start", "iterations", "converged")
        return {name: getattr(self, name) for name in names}


def similarity(
    linear: Float64[np.ndarray, "3 3"],
    about: Float64[np.ndarray, "3"] | None = None,
    to: Float64[np.ndarray, "3"] | None = None,
) -> Matrix:
    """x -> linear (x - about) + to; both points are the origin unless given."""
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = (0 if to is None else to) - (0 if about is None else linear @ about)
    return matrix


def apply(matrix: Matrix, points: Float64[np.ndarray, "N 3"]) -> Float64[np.ndarray, "N 3"]:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def scale_of(matrix: Matrix) -> float:
    return float(np.cbrt(np.linalg.det(matrix[:3, :3])))


def transformed(frame: Frame, matrix: Matrix) -> Frame:
    """`frame` moved by a similarity; the identity returns the very same object.

    Raises FormatError if the matrix is no similarity (shear, reflection or anisotropic scale).
    """
    if np.array_equal(matrix, np.eye(4)):
        return frame
    scale, rotation = split(matrix)
    if isinstance(frame, Mesh):
        return Mesh(_moved(frame.vertices, matrix), frame.faces, frame.colors, frame.uv, frame.texture)
    return Gaussians(
        _moved(frame.means, matrix),
        (scale * frame.scales).astype(np.float32),
        _rotate_quaternions(frame.quaternions, rotation),
        frame.opacities,
        _rotate_sh(frame.sh, rotation),
        frame.dilation,
        frame.compensate,
    )


def _moved(points: Float32[np.ndarray, "N 3"], matrix: Matrix) -> Float32[np.ndarray, "N 3"]:
    return apply(matrix, points.astype(np.float64)).astype(np.float32)


def split(matrix: Matrix) -> tuple[float, Float64[np.ndarray, "3 3"]]:
    """The scale and rotation of a similarity."""
    linear = matrix[:3, :3]
    determinant = float(np.linalg.det(linear)) if np.isfinite(linear).all() else 0.0
    scale = np.cbrt(determinant) if determinant > 0 else 0.0
    if (
        scale == 0
        or not np.allclose(linear @ linear.T, scale**2 * np.eye(3), atol=1e-6 * scale**2)
        or not np.array_equal(matrix[3], [0, 0, 0, 1])
    ):
        raise FormatError("similarity", "uniform scale x rotation + translation", f"{matrix.tolist()}")
    return float(scale), linear / scale


def camera_to_camera(source: Cameras, target: Cameras) -> Matrix:
    """The similarity about the origin that makes `source`, in its own frame, look like `target` in the world.

    Both cameras look at an object around their origin. The rotation maps one camera's axes to the other's; the scale
    makes a unit length at the origin equally large, as a share of the image, in both. It is exact (camera onto
    camera) when the fields of view agree, and the best a declared pose can say when they do not.
    """
    size = [_width_at_origin(camera) for camera in (source, target)]
    matrix = np.eye(4)
    matrix[:3, :3] = size[1] / size[0] * target.camera_to_world[0, :3, :3] @ source.camera_to_world[0, :3, :3].T
    return matrix


def _width_at_origin(camera: Cameras) -> float:
    """World length that the image height spans at the distance of the origin."""
    depth = -camera.camera_to_world[0, :3, 2] @ camera.camera_to_world[0, :3, 3]
    if depth <= 0:
        raise FormatError("input_camera", "a camera in front of the origin", f"the origin at depth {depth:.3g}")
    return float(depth * camera.height / camera.intrinsics[0, 1, 1])


def _rotate_quaternions(
    quaternions: Float32[np.ndarray, "N 4"], rotation: Float64[np.ndarray, "3 3"]
) -> Float32[np.ndarray, "N 4"]:
    """Left-multiply rotations (w, x, y, z) by one rotation matrix."""
    # The quaternion of a rotation is the top eigenvector of this symmetric matrix (Bar-Itzhack 2000): no case split.
    r = rotation
    k = np.array(
        [
            [r[0, 0] + r[1, 1] + r[2, 2], r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]],
            [0, r[0, 0] - r[1, 1] - r[2, 2], r[0, 1] + r[1, 0], r[0, 2] + r[2, 0]],
            [0, 0, r[1, 1] - r[0, 0] - r[2, 2], r[1, 2] + r[2, 1]],
            [0, 0, 0, r[2, 2] - r[0, 0] - r[1, 1]],
        ]
    )
    w, x, y, z = np.linalg.eigh(k, UPLO="U")[1][:, -1]
    left = np.array([[w, -x, -y, -z], [x, w, -z, y], [y, z, w, -x], [z, -y, x, w]])
    return (quaternions.astype(np.float64) @ left.T).astype(np.float32)


def _rotate_sh(sh: Float32[np.ndarray, "N K 3"], rotation: Float64[np.ndarray, "3 3"]) -> Float32[np.ndarray, "N K 3"]:
    """Rotate spherical-harmonic colours: new(d) = old(R^T d) for every direction d.

    The linear map between coefficients is found by solving the defining equation at 64 fixed directions: exact to
    rounding, since both sides lie in the span of the basis, and it needs no table of Wigner matrices.
    """
    terms = sh.shape[1]
    if terms == 1:
        return sh
    directions = np.random.default_rng(0).standard_normal((64, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    matrix = np.linalg.lstsq(_basis(directions, terms), _basis(directions @ rotation, terms), rcond=None)[0]
    return np.einsum("kj,njc->nkc", matrix, sh.astype(np.float64)).astype(np.float32)


def _basis(directions: Float64[np.ndarray, "M 3"], terms: int) -> Float64[np.ndarray, "M K"]:
    from .render.gaussians_cpu import harmonics  # here: only view-dependent colour needs the compiled renderer

    basis = np.zeros((len(directions), terms))
    for row, direction in zip(basis, directions, strict=True):
        x, y, z = direction
        harmonics(x, y, z, terms, row)
    return basis
