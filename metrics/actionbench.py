"""ActionBench's three distances (ActionMesh 2026), and the same three after an alignment of ours.

All are the sum of two mean unsquared distances. CD-3D aligns every frame by itself; CD-4D aligns all frames as frame 0;
CD-M follows points: those that are closest at frame 0 are compared in every frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from jaxtyping import Float64
from scipy.spatial import cKDTree

from bench4d.align import snapped
from bench4d.asset import Gaussians, Mesh
from bench4d.errors import FormatError
from bench4d.icp import fit_surfaces, shuffled
from bench4d.metric import Metric, MetricUnavailable, Score
from bench4d.similarity import Matrix, apply
from bench4d.surface import Points, at_places, places, sample

from .surface import FARTHEST, check_frames

Frame = Mesh | Gaussians
Align = Callable[[Frame, Frame], Matrix]
SAMPLES, QUERIES, ICP_POINTS, ICP_STEPS = 100_000, 10_000, 10_000, 200
OPACITY = 0.1  # Gaussians below it are no surface


def as_actionbench(
    predicted: Frame, truth: Frame, *, icp_points: int = ICP_POINTS, icp_steps: int = ICP_STEPS
) -> Matrix:
    """Their alignment (`gradient_icp.py`), on the GPU if there is one; the identity if there is no surface."""
    import torch

    from .gradient_icp import fit

    clouds = [cloud_of(frame, SAMPLES)[:icp_points] for frame in (predicted, truth)]
    if not all(map(len, clouds)):
        return np.eye(4)
    return fit(clouds[0], clouds[1], icp_steps, device="cuda" if torch.cuda.is_available() else "cpu")


def as_similarity(predicted: Frame, truth: Frame) -> Matrix:
    """Ours: one scale, starts from all sides, any size and place (`bench4d/icp.py`); the identity if a surface is
    missing or a single point."""
    try:
        return snapped(fit_surfaces(predicted, truth).matrix)
    except FormatError:
        return np.eye(4)


def cloud_of(frame: Frame, samples: int) -> Points:
    """Points on the surface, in an order that makes every prefix a fair sample."""
    points = sample(frame, samples, OPACITY)
    return shuffled(points) if isinstance(frame, Gaussians) else points


def followed(frames: Sequence[Frame], samples: int, whose: str) -> list[Points]:
    """The same points of a surface in all frames: uniform by area at frame 0 of a mesh; all centres of Gaussians.

    Raises MetricUnavailable if faces, or the number of Gaussians, change.
    """
    first = frames[0]
    found = places(first, samples) if isinstance(first, Mesh) else None
    clouds = []
    for k, frame in enumerate(frames):
        if found is not None and isinstance(first, Mesh) and isinstance(frame, Mesh):
            if len(frame.vertices) != len(first.vertices) or not np.array_equal(frame.faces, first.faces):
                raise MetricUnavailable(f"the {whose}'s faces change at frame {k}: its points cannot be followed")
            clouds.append(at_places(frame, *found))
        elif isinstance(first, Gaussians) and isinstance(frame, Gaussians) and len(frame.means) == len(first.means):
            clouds.append(frame.means.astype(np.float64))
        else:
            raise MetricUnavailable(f"the {whose} has other points at frame {k}: they cannot be followed")
    return clouds


def two_way(predicted: Points, truth: Points, queries: int) -> float:
    """The sum of the mean distances from `queries` points of each cloud to the closest of all points of the other."""
    if not len(predicted) or not len(truth):
        return 2 * FARTHEST
    there, _ = cKDTree(truth).query(predicted[:queries])
    back, _ = cKDTree(predicted).query(truth[:queries])
    return float(there.mean() + back.mean())


def cd_3d(
    align: Align, predicted: Sequence[Frame], truth: Sequence[Frame], samples: int, queries: int
) -> Float64[np.ndarray, " T"]:
    """Per frame, each frame after an alignment of its own."""
    pairs = zip(predicted, truth, strict=True)
    return np.array([_aligned_two_way(align(p, t), p, t, samples, queries) for p, t in pairs], np.float64)


def cd_4d(
    align: Align, predicted: Sequence[Frame], truth: Sequence[Frame], samples: int, queries: int
) -> Float64[np.ndarray, " T"]:
    """Per frame, all of them after the alignment of frame 0."""
    matrix, pairs = align(predicted[0], truth[0]), zip(predicted, truth, strict=True)
    return np.array([_aligned_two_way(matrix, p, t, samples, queries) for p, t in pairs], np.float64)


def _aligned_two_way(matrix: Matrix, predicted: Frame, truth: Frame, samples: int, queries: int) -> float:
    return two_way(apply(matrix, cloud_of(predicted, samples)), cloud_of(truth, samples), queries)


def cd_m(
    align: Align, predicted: Sequence[Frame], truth: Sequence[Frame], samples: int, queries: int
) -> Float64[np.ndarray, " T"]:
    """Per frame, after the alignment of frame 0: the distance of each point to the one that was its closest then.

    All points are asked; `queries` is not used.
    """
    if isinstance(predicted[0], Gaussians):
        raise MetricUnavailable("Gaussians do not say which of them is which in the next frame")
    mine, true = followed(predicted, samples, "prediction"), followed(truth, samples, "truth")
    if not len(mine[0]) or not len(true[0]):
        return np.full(len(true), 2 * FARTHEST)
    matrix = align(predicted[0], truth[0])
    mine = [apply(matrix, points) for points in mine]
    of_mine, of_true = cKDTree(true[0]).query(mine[0])[1], cKDTree(mine[0]).query(true[0])[1]
    return np.array(
        [_mean_length(p - t[of_mine]) + _mean_length(p[of_true] - t) for p, t in zip(mine, true, strict=True)]
    )


def _mean_length(differences: Float64[np.ndarray, "N 3"]) -> float:
    return float(np.linalg.norm(differences, axis=1).mean())


Distance = Callable[[Align, Sequence[Frame], Sequence[Frame], int, int], Float64[np.ndarray, " T"]]


def score_of(distance: Distance, aligner: Callable[..., Matrix]) -> Score:
    """The score function; its options are `samples`, `queries` and those of the aligner."""

    def score(
        predicted: Sequence[Frame],
        truth: Sequence[Frame],
        *,
        samples: int = SAMPLES,
        queries: int = QUERIES,
        **icp: int,
    ) -> Float64[np.ndarray, " T"]:
        check_frames(predicted, truth)
        if min(samples, queries, *icp.values()) < 1:
            raise FormatError("options", "positive numbers", f"{samples=}, {queries=}, {icp}")
        return distance(partial(aligner, **icp), predicted, truth, samples, queries)

    return score


POINTS = "100,000 points a surface, 10,000 of them asked"
THEIRS = "gradient ICP from their 24 starts, with one scale for each axis"
CD_3D = Metric(
    id="cd-3d",
    version=1,
    definition=(
        f"ActionBench's CD-3D: sum of the two mean unsquared distances, every frame after an alignment of its own "
        f"({THEIRS}); {POINTS}; unit: side of the object's cube."
    ),
    unit="clip",
    needs="geometry",
    direction="lower",
    units="1",
    perfect=0.0,
    weights=(),
    reference="ActionMesh 2026 (arXiv 2601.16148), benchmark code of facebookresearch/actionmesh",
    load=lambda weights: score_of(cd_3d, as_actionbench),
    named_only=True,
    on_device=True,
)
CD_4D = replace(
    CD_3D,
    id="cd-4d",
    definition=(
        f"ActionBench's CD-4D: sum of the two mean unsquared distances, all frames after the alignment of frame 0 "
        f"({THEIRS}); {POINTS}; unit: side of the object's cube."
    ),
    load=lambda weights: score_of(cd_4d, as_actionbench),
)
CD_M = replace(
    CD_3D,
    id="cd-m",
    definition=(
        f"ActionBench's CD-M: as CD-4D, but points are paired at frame 0 (both ways, 100,000 a surface) and stay so "
        f"in all frames; alignment of frame 0 ({THEIRS}); unit: side of the object's cube."
    ),
    load=lambda weights: score_of(cd_m, as_actionbench),
)
OURS = "one similarity: icp-frame0's search"
CD_3D_SIMILARITY = replace(
    CD_3D,
    id="cd-3d-similarity",
    definition=(
        f"As cd-3d (every frame aligned by itself), with {OURS}; sum of the two mean unsquared distances; {POINTS}; "
        f"unit: side of the object's cube."
    ),
    reference="ActionMesh 2026 (arXiv 2601.16148) for the distance; the alignment is ours",
    load=lambda weights: score_of(cd_3d, as_similarity),
    on_device=False,
)
CD_4D_SIMILARITY = replace(
    CD_3D_SIMILARITY,
    id="cd-4d-similarity",
    definition=(
        f"As cd-4d (all frames aligned as frame 0), with {OURS}; sum of the two mean unsquared distances; {POINTS}; "
        f"unit: side of the object's cube."
    ),
    load=lambda weights: score_of(cd_4d, as_similarity),
)
CD_M_SIMILARITY = replace(
    CD_3D_SIMILARITY,
    id="cd-m-similarity",
    definition=(
        f"As cd-m (points paired at frame 0 and followed), with {OURS}; sum of the two mean unsquared distances; "
        f"100,000 points a surface; unit: side of the object's cube."
    ),
    load=lambda weights: score_of(cd_m, as_similarity),
)
