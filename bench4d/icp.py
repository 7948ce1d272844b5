"""The similarity that lays one surface on another: iterated closest points from many starts.

Both surfaces are samples (`surface.py`), brought to a common place and size first. Every step pairs points in both
directions: each sample of the asset with its nearest one on the truth, and the other way round. One direction alone
has a wrong optimum (a source shrunk onto one point of the truth has no distance to it). Of each direction the farthest
tenth is left out: what one surface has and the other lacks should not pull. Stages go from many starts and few points
to few candidates and many points. The first stage steps by a closed form on point pairs (Horn 1987, with his symmetric
scale, which wrong pairs do not shrink): wide reach, slow at the end. The others step on distances to the truth's
tangent planes (Chen and Medioni 1992), linearised in the seven parameters: they slide along the surface in few steps.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from .asset import Gaussians, Mesh
from .similarity import Fit, Matrix, apply, scale_of, similarity
from .surface import OPACITY, Points, extent, generator, sample, sample_mesh

KEEP = 0.9  # share of the pairs that count, the nearest ones
SAMPLES = 50_000  # of each surface
YAWS = 12  # turns about each of 26 up axes
CLEARLY = 0.95  # a start of the grid replaces the declared one if its residual is below this share of that one's
SLACK = 1.02  # a stage may raise the residual by this factor, which is noise of the samples; else it is undone
TOLERANCE = 1e-5  # change of a step, in radii of the truth, below which it has converged
MET = 0.1  # two candidates whose matrices, in radii of the truth, differ by less are on their way to one pose
LOST = 2.0  # a candidate whose residual is this many times the best one's is given up
NEIGHBOURS = 12  # that tell the normal of a point where the truth has no faces
DAMPING = 1e-6  # share of the mean curvature: shapes that may turn freely about an axis stay where they are


@dataclass(frozen=True)
class Stage:
    """How many candidates take how many steps, with how many query points among how many points of the other side."""

    candidates: int
    queries: int
    points: int
    steps: int
    planes: bool


STAGES = (Stage(24, 250, 1000, 12, False), Stage(10, 500, 4000, 15, True), Stage(4, 2000, SAMPLES, 30, True))


@dataclass(frozen=True)
class Candidate:
    """A similarity in normalised coordinates; `residual` is that of `matrix`, in radii of the truth."""

    matrix: Matrix
    start: str
    residual: float = np.inf
    iterations: int = 0
    converged: bool = False


@dataclass(frozen=True)
class Pairing:
    """Both surfaces in normalised coordinates, thinned for one stage, ready to be searched."""

    source: Points
    target: Points
    normals: Points  # of the target
    source_tree: cKDTree
    target_tree: cKDTree
    queries: int

    @staticmethod
    def of(source: Points, target: Points, normals: Points, stage: Stage) -> Pairing:
        source, target, normals = (a[: stage.points] for a in (source, target, normals))
        return Pairing(source, target, normals, cKDTree(source), cKDTree(target), stage.queries)

    def pairs(self, matrix: Matrix) -> tuple[Points, Points, Points, Float64[np.ndarray, " N"], float]:
        """(moved source points, target points, target normals, weights that sum to 1, residual)."""
        moved, target = apply(matrix, self.source[: self.queries]), self.target[: self.queries]
        inverse = np.linalg.inv(matrix)
        there, to_target = self.target_tree.query(moved)
        back, to_source = self.source_tree.query(apply(inverse, target))
        back = back * scale_of(matrix)
        a, b = (np.argsort(d, kind="stable")[: int(np.ceil(KEEP * len(d)))] for d in (there, back))
        return (
            np.concatenate([moved[a], apply(matrix, self.source[to_source[b]])]),
            np.concatenate([self.target[to_target[a]], target[b]]),
            np.concatenate([self.normals[to_target[a]], self.normals[b]]),
            np.concatenate([np.full(len(a), 0.5 / len(a)), np.full(len(b), 0.5 / len(b))]),
            float(0.5 * there[a].mean() + 0.5 * back[b].mean()),
        )


def fit_surfaces(frame: Mesh | Gaussians, truth: Mesh | Gaussians, declared: Matrix | None = None) -> Fit:
    """The similarity that brings `frame` onto `truth`.

    The residual is the mean distance of the kept pairs of both directions, in world units; two samples of one surface
    have about 0.003 at the size of a unit cube. Equal input gives equal output: samples are seeded by content.

    Args:
        frame, truth: Gaussians count with their centres of opacity >= 0.1, not with their extent.
        declared: a start beside those of the grid; the first choice where others are not clearly better.

    Raises:
        FormatError: one of them has no surface, or no extent.
    """
    points = shuffled(sample(frame, SAMPLES, OPACITY)) if isinstance(frame, Gaussians) else sample(frame, SAMPLES, 0)
    true, normals = _with_normals(truth)
    from_unit, to_world = extent(points, "the asset's frame 0"), extent(true, "the truth's frame 0")
    to_unit, from_world = np.linalg.inv(from_unit), np.linalg.inv(to_world)
    source, target = apply(to_unit, points), apply(from_world, true)

    candidates = [] if declared is None else [Candidate(from_world @ declared @ from_unit, "declared")]
    candidates += [Candidate(similarity(turn), "grid") for turn in turns()]
    count = len(candidates)
    for stage in STAGES:
        pairing = Pairing.of(source, target, normals, stage)
        scored = [Candidate(c.matrix, c.start, pairing.pairs(c.matrix)[-1], c.iterations) for c in candidates]
        candidates = [_refine(pairing, c, stage) for c in _best(scored, stage.candidates)]
    best = min(candidates, key=lambda c: c.residual * (CLEARLY if c.start == "declared" else 1))
    matrix = to_world @ best.matrix @ to_unit
    return Fit(
        matrix, best.residual * scale_of(to_world), "world units", count, best.start, best.iterations, best.converged
    )


def turns() -> Float64[np.ndarray, "312 3 3"]:
    """Rotations by 12 yaws about 26 up axes (faces, edges and corners of a cube): 24 of them map axes to axes."""
    made = []
    for axis in itertools.product((1.0, 0.0, -1.0), repeat=3):
        if not any(axis):
            continue
        up = np.array(axis) / np.linalg.norm(axis)
        side = np.cross(up, [1.0, 0, 0] if abs(up[0]) < 0.9 else [0, 1.0, 0])
        side /= np.linalg.norm(side)
        for yaw in 2 * np.pi * np.arange(YAWS) / YAWS:
            first = np.cos(yaw) * side + np.sin(yaw) * np.cross(up, side)
            made.append(np.stack([first, np.cross(up, first), up], axis=1))
    return np.array(made)


def _best(candidates: list[Candidate], count: int) -> list[Candidate]:
    """The declared one first, then the closest: none that has lost, and one of those that met in a pose."""
    kept: list[Candidate] = []
    limit = LOST * min(c.residual for c in candidates)
    for candidate in sorted(candidates, key=lambda c: (c.start != "declared", c.residual)):
        alive = candidate.start == "declared" or candidate.residual <= limit
        if alive and len(kept) < count and all(np.abs(candidate.matrix - k.matrix).max() > MET for k in kept):
            kept.append(candidate)
    return kept


def _refine(pairing: Pairing, start: Candidate, stage: Stage) -> Candidate:
    """Steps until they no longer change anything, or all of the stage's; undone if the surfaces end farther apart."""
    matrix, change, taken = start.matrix, np.inf, 0
    while taken < stage.steps and change > TOLERANCE:
        moved, target, normals, weights, _ = pairing.pairs(matrix)
        step = _plane_step(moved, target, normals, weights) if stage.planes else _point_step(moved, target, weights)
        change, taken = float(np.abs(step - np.eye(4)).max()), taken + 1
        matrix = step @ matrix
    residual = pairing.pairs(matrix)[-1]
    if not residual <= SLACK * start.residual:
        return Candidate(start.matrix, start.start, start.residual, start.iterations + taken, False)
    return Candidate(matrix, start.start, residual, start.iterations + taken, change <= TOLERANCE)


def _point_step(moved: Points, target: Points, weights: Float64[np.ndarray, " N"]) -> Matrix:
    """The similarity for given pairs, in closed form (Horn 1987; the determinant's sign as in Umeyama 1991)."""
    centre_a, centre_b = weights @ moved, weights @ target
    a, b = moved - centre_a, target - centre_b
    u, _, v = np.linalg.svd((b * weights[:, None]).T @ a)
    turn = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ v))]) @ v
    return similarity(np.sqrt((weights @ b**2).sum() / (weights @ a**2).sum()) * turn, centre_a, centre_b)


def _plane_step(moved: Points, target: Points, normals: Points, weights: Float64[np.ndarray, " N"]) -> Matrix:
    """Least squares of the distances to the target's tangent planes: turn, shift and growth, all small."""
    rows = np.concatenate([np.cross(moved, normals), normals, (moved * normals).sum(1, keepdims=True)], axis=1)
    distance = ((target - moved) * normals).sum(1)
    curvature, slope = rows.T @ (rows * weights[:, None]), rows.T @ (weights * distance)
    damped = curvature + DAMPING * np.trace(curvature) / 7 * np.eye(7)
    step = np.clip(np.linalg.solve(damped, slope), -0.5, 0.5)  # beyond it the linear model means nothing
    return similarity(np.exp(step[6]) * Rotation.from_rotvec(step[:3]).as_matrix(), np.zeros(3), step[3:6])


def _with_normals(truth: Mesh | Gaussians) -> tuple[Points, Points]:
    """Points of a surface and unit normals there, of either sign."""
    if isinstance(truth, Gaussians):
        points = shuffled(sample(truth, SAMPLES, OPACITY))
        return points, _fitted_normals(points)
    points, faces = sample_mesh(truth, SAMPLES)
    corners = truth.vertices.astype(np.float64)[truth.faces[faces]]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return points, normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)


def _fitted_normals(points: Points) -> Points:
    """Of a cloud that lies on a surface: the direction in which each point's neighbours spread least."""
    if not len(points):
        return points
    _, near = cKDTree(points).query(points, k=min(NEIGHBOURS, len(points)))
    around = points[near.reshape(len(points), -1)]
    around = around - around.mean(axis=1, keepdims=True)
    return np.linalg.eigh(np.einsum("nki,nkj->nij", around, around))[1][:, :, 0]


def shuffled(points: Points) -> Points:
    """In an order that makes every prefix a fair sample: Gaussians are stored along a grid or a curve."""
    return points[generator(points.tobytes()).permutation(len(points))]
