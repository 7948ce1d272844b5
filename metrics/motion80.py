"""The geometry of Motion 3-to-4's test (Motion-80): both objects brought to the cube of side 2, then rigid ICP.

Written after the description of its evaluation script; docs/metrics/cd-motion80.md says where the script, as released,
does something else than it means to, and what is kept of that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float64
from scipy.spatial import cKDTree

from bench4d.align import snapped
from bench4d.asset import Gaussians, Mesh
from bench4d.metric import Metric
from bench4d.similarity import Matrix, apply, similarity
from bench4d.surface import Points, sample

from .chamfer import distance
from .fscore import harmonic
from .surface import check_frames

Frame = Mesh | Gaussians
SAMPLES, ICP_POINTS, STEPS, TOLERANCE = 50_000, 10_000, 1000, 1e-7
SCALES = (0.95, 1.05)
THRESHOLD = 0.02  # in the cube of side 2
OPACITY = 0.1


def to_cube(frame: Frame) -> Matrix:
    """The similarity that brings a frame's bounding box into [-1, 1]^3, its longest side to 2; the identity for one
    without extent."""
    points = frame.vertices if isinstance(frame, Mesh) else frame.means[frame.opacities >= OPACITY]
    if not len(points):
        return np.eye(4)
    low, high = points.min(0).astype(np.float64), points.max(0).astype(np.float64)
    side = float((high - low).max())
    return similarity(2 / side * np.eye(3), (low + high) / 2) if side > 0 else np.eye(4)


def rigid_icp(predicted: Points, truth: Points) -> Matrix:
    """Rotation and shift from closest points, from where the clouds are, until their mean distance is at rest.

    The scale is the quotient of the clouds' larger extents along x and y, kept within 0.95 and 1.05, and stays.
    """
    if not len(predicted) or not len(truth):
        return np.eye(4)
    sides = [float(np.ptp(points[:, :2], axis=0).max()) for points in (predicted, truth)]
    scale = float(np.clip(sides[1] / sides[0], *SCALES)) if sides[0] > 1e-10 else 1.0
    matrix, tree, before = similarity(scale * np.eye(3)), cKDTree(truth), np.inf
    for _ in range(STEPS):
        moved = apply(matrix, predicted)
        distances, closest = tree.query(moved)
        if abs(before - distances.mean()) < TOLERANCE:
            break
        before = distances.mean()
        centres = moved.mean(0), truth[closest].mean(0)
        u, _, v = np.linalg.svd((moved - centres[0]).T @ (truth[closest] - centres[1]))
        turn = v.T @ np.diag([1, 1, np.sign(np.linalg.det(v.T @ u.T))]) @ u.T
        matrix = similarity(turn, *centres) @ matrix
    return matrix


def aligned(predicted: Sequence[Frame], truth: Sequence[Frame]) -> tuple[Matrix, Matrix]:
    """What brings all frames of the prediction, and of the truth, to the place where they are compared: found from
    frame 0."""
    mine, true = to_cube(predicted[0]), to_cube(truth[0])
    clouds = [apply(m, sample(f, ICP_POINTS, OPACITY)) for m, f in ((mine, predicted[0]), (true, truth[0]))]
    return snapped(rigid_icp(clouds[0], clouds[1])) @ mine, true


def _clouds(predicted: Sequence[Frame], truth: Sequence[Frame], samples: int) -> list[tuple[Points, Points]]:
    check_frames(predicted, truth)
    mine, true = aligned(predicted, truth)
    pairs = zip(predicted, truth, strict=True)
    return [(apply(mine, sample(p, samples, OPACITY)), apply(true, sample(t, samples, OPACITY))) for p, t in pairs]


def cd(predicted: Sequence[Frame], truth: Sequence[Frame], *, samples: int = SAMPLES) -> Float64[np.ndarray, " T"]:
    """Per frame, in halves of the cube's side."""
    return np.array([distance(p, t, False, "sum") for p, t in _clouds(predicted, truth, samples)], np.float64)


def fscore(
    predicted: Sequence[Frame], truth: Sequence[Frame], *, samples: int = SAMPLES, threshold: float = THRESHOLD
) -> Float64[np.ndarray, " T"]:
    """Per frame. `threshold` is in halves of the cube's side."""
    return np.array([harmonic(p, t, threshold) for p, t in _clouds(predicted, truth, samples)], np.float64)


PLACE = (
    "50,000 points a surface; both objects' frame 0 brought to [-1, 1]^3 by its bounding box, then rigid ICP of "
    "frame 0; unit: half the cube's side"
)
CD_MOTION80 = Metric(
    id="cd-motion80",
    version=1,
    definition=f"Motion 3-to-4's CD: sum of the two mean unsquared distances; {PLACE}.",
    unit="clip",
    needs="geometry",
    direction="lower",
    units="1",
    perfect=0.0,
    weights=(),
    reference="Motion 3-to-4 2026 (arXiv 2601.14253), evaluation code of Inception3D/Motion324",
    load=lambda weights: cd,
    named_only=True,
)
FSCORE_MOTION80 = replace(
    CD_MOTION80,
    id="fscore-motion80",
    definition=f"Motion 3-to-4's F-score at 0.02; {PLACE}.",
    direction="higher",
    perfect=1.0,
    load=lambda weights: fscore,
)
