"""The similarity that lays an asset's silhouette on the input's: scale and shift, seen from the input camera.

One silhouette says nothing about depth. So the scale is about the world's origin and the shift is parallel to the
image: the depth of what stands at the origin never changes. The rotation is the declared one; without a declared
camera it is a turn about the world's z axis, which is searched too, with the asset's own z taken as up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from PIL import Image
from scipy.optimize import minimize

from .asset import Gaussians, Mesh
from .cameras import Cameras
from .errors import FormatError
from .rendering import render_frame
from .similarity import Fit, Matrix, similarity, transformed
from .surface import OPACITY, extent, sample

Alpha = Float32[np.ndarray, "H W"]
COARSE, FINE = 64, 128  # pixels a side
YAWS = 24
MATCHES = 4  # rounds of matching area and centroid
KEPT = 3  # yaws that are refined
STEPS = (0.05, 0.02, 0.02, 0.1)  # first steps of log scale, shift right, shift down (world units), yaw (radians)
MAX_EVALUATIONS = 200
RADIUS = 0.3  # world units: where an asset without a declared camera starts; objects fill a cube of side 1


@dataclass(frozen=True)
class Target:
    """The input's silhouette at one size, and the camera that sees it."""

    camera: Cameras
    alpha: Alpha
    shrink: float  # size relative to the input's

    @staticmethod
    def of(camera: Cameras, alpha: UInt8[np.ndarray, "H W"], side: int) -> Target:
        """Shrunk by area so that its longer side has at most `side` pixels."""
        height, width = alpha.shape
        shrink = min(1.0, side / max(height, width))
        size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        small = Image.fromarray(alpha.astype(np.float32)).resize(size, Image.Resampling.BOX)
        ratio = np.array([[size[0] / camera.width], [size[1] / camera.height], [1.0]])
        return Target(
            Cameras(camera.camera_to_world, camera.intrinsics * ratio, *size),
            np.asarray(small, np.float32) / 255,
            shrink,
        )

    def silhouette(self, frame: Mesh | Gaussians, matrix: Matrix) -> Alpha:
        """Coverage in steps of 1/255, as the input's is stored: the same object has no distance at all."""
        if isinstance(frame, Gaussians):  # their dilation is in pixels: without this they grow as the image shrinks
            frame = replace(frame, dilation=frame.dilation * self.shrink**2)
        drawn = render_frame(transformed(frame, matrix), self.camera, threads=1)[0, ..., 3]
        return np.floor(np.clip(drawn, 0, 1) * np.float32(255) + np.float32(0.5)) / np.float32(255)

    def distance(self, frame: Mesh | Gaussians, matrix: Matrix) -> float:
        """1 - IoU of the coverages: sum of the smaller over sum of the larger."""
        drawn = self.silhouette(frame, matrix)
        return 1 - float(np.minimum(drawn, self.alpha).sum() / np.maximum(drawn, self.alpha).sum())


@dataclass(frozen=True)
class Placement:
    """matrix = shift . scale about the origin . yaw about z . base."""

    base: Matrix
    right: Float64[np.ndarray, "3"]  # the camera's axes in the world
    down: Float64[np.ndarray, "3"]
    log_scale: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)  # world units to the right and down, as the camera sees it
    yaw: float = 0.0  # radians

    @property
    def matrix(self) -> Matrix:
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
        to = self.shift[0] * self.right + self.shift[1] * self.down
        return similarity(np.exp(self.log_scale) * turn, np.zeros(3), to) @ self.base

    def vector(self, free: int) -> Float64[np.ndarray, " free"]:
        return np.array([self.log_scale, *self.shift, self.yaw])[:free]

    def at(self, values: Float64[np.ndarray, " free"]) -> Placement:
        moved = replace(self, log_scale=float(values[0]), shift=(float(values[1]), float(values[2])))
        return replace(moved, yaw=float(values[3])) if len(values) > 3 else moved


def fit_silhouette(
    frame: Mesh | Gaussians, camera: Cameras, alpha: UInt8[np.ndarray, "H W"], declared: Matrix | None = None
) -> Fit:
    """The similarity under which `frame`, seen by `camera`, covers what `alpha` covers.

    The residual is 1 - IoU at the full size of `alpha`. The declared placement is kept, exactly, unless the one that
    was found is better there.

    Args:
        camera: one camera; `alpha` may have another size than it, not another shape.
        alpha: coverage of the input frame, 0 to 255.
        declared: the rotation to keep, and where to start. Without it a yaw is searched.

    Raises:
        FormatError: nothing is seen, in the input or of the asset.
    """
    if alpha.shape[0] * camera.width != alpha.shape[1] * camera.height:
        raise FormatError("input frame 0", f"the shape of {camera.width} x {camera.height}", f"{alpha.shape[::-1]}")
    if not alpha.any():
        raise FormatError("input frame 0", "an object to align with", "alpha 0 everywhere")
    frame = _plain(frame)
    right, down = camera.camera_to_world[0, :3, 0], camera.camera_to_world[0, :3, 1]
    if declared is None:
        centred = RADIUS * np.linalg.inv(extent(sample(frame, 10_000, OPACITY), "the asset's frame 0"))
        centred[3, 3] = 1
        yaws = 2 * np.pi * np.arange(YAWS) / YAWS
        starts = [Placement(centred, right, down, yaw=float(yaw)) for yaw in yaws]
    else:
        starts = [Placement(declared, right, down)]
    free, limit = (4, KEPT) if declared is None else (3, 1)
    small, medium, full = (Target.of(camera, alpha, side) for side in (COARSE, FINE, max(alpha.shape)))
    at_start = np.inf if declared is None else full.distance(frame, declared)
    if declared is not None and at_start == 0:
        return Fit(declared, 0.0, "1 - IoU", 1, "declared", 0, True)
    matched = [_match_moments(frame, small, start) for start in starts]
    order = np.argsort([small.distance(frame, p.matrix) for p in matched], kind="stable")
    found = [_refine(frame, medium, matched[k], free) for k in order[:limit]]
    best, evaluations, converged = min(found, key=lambda f: medium.distance(frame, f[0].matrix))
    residual = full.distance(frame, best.matrix)
    if declared is not None and at_start <= residual:
        return Fit(declared, at_start, "1 - IoU", 1, "declared", evaluations, converged)
    kind = "yaw" if declared is None else "declared"
    return Fit(best.matrix, residual, "1 - IoU", len(starts), kind, evaluations, converged)


def _plain(frame: Mesh | Gaussians) -> Mesh | Gaussians:
    """Without what only colour needs."""
    return replace(frame, sh=np.zeros((len(frame.means), 1, 3), np.float32)) if isinstance(frame, Gaussians) else frame


def _match_moments(frame: Mesh | Gaussians, target: Target, start: Placement) -> Placement:
    """Equal area and centroid. Exact for what is flat and parallel to the image; repeated for the rest."""
    camera, placed = target.camera, start
    depth = -camera.camera_to_world[0, :3, 2] @ camera.camera_to_world[0, :3, 3]
    per_pixel = depth / camera.intrinsics[0, [0, 1], [0, 1]]  # world units at the depth of the origin
    origin = camera.world_to_camera[0, :2, 3] / per_pixel + camera.intrinsics[0, :2, 2]
    area, centre = _moments(target.alpha)
    for _ in range(MATCHES):
        drawn, at = _moments(target.silhouette(frame, placed.matrix))
        if drawn == 0:
            raise FormatError("the asset's frame 0", "something that the input camera sees", "nothing in the image")
        growth = np.sqrt(area / drawn)
        anchor = origin + np.array(placed.shift) / per_pixel  # where the asset's origin is seen
        shift = np.array(placed.shift) + (centre - (anchor + growth * (at - anchor))) * per_pixel
        placed = replace(placed, log_scale=placed.log_scale + np.log(growth), shift=(shift[0], shift[1]))
    return placed


def _moments(alpha: Alpha) -> tuple[float, Float64[np.ndarray, "2"]]:
    """Covered area in pixels, and its centroid (x, y)."""
    rows, columns = np.arange(alpha.shape[0]) + 0.5, np.arange(alpha.shape[1]) + 0.5
    weights = alpha.astype(np.float64)
    area = float(weights.sum())
    if area == 0:
        return 0.0, np.zeros(2)
    return area, np.array([weights.sum(0) @ columns, weights.sum(1) @ rows]) / area


def _refine(frame: Mesh | Gaussians, target: Target, start: Placement, free: int) -> tuple[Placement, int, bool]:
    """Nelder and Mead's simplex on the first `free` parameters: coverage has corners, so no gradients."""
    first = start.vector(free)
    simplex = np.concatenate([first[None], first + np.diag(STEPS[:free])])
    cost: Callable[[Float64[np.ndarray, " free"]], float] = lambda v: target.distance(frame, start.at(v).matrix)  # noqa: E731
    options = {"initial_simplex": simplex, "xatol": 2e-4, "fatol": 1e-4, "maxfev": MAX_EVALUATIONS}
    result = minimize(cost, first, method="Nelder-Mead", options=options)
    return start.at(result.x), int(result.nfev), bool(result.success)
