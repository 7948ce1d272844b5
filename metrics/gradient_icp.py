"""ActionBench's alignment: rotation, shift and one scale for each axis, by gradient descent from a table of starts.

Adam lowers, for all starts at once, the sum of the two mean squared distances from each point to the closest one of the
other cloud. Written after the description of the benchmark's code, whose habits it keeps; docs/metrics/cd-3d.md names
them. For an alignment that finds poses, `bench4d.icp` is quicker and better.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float64, Int64
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from torch import Tensor

from bench4d.errors import FormatError
from bench4d.similarity import Matrix
from bench4d.surface import Points

STEPS, RATE = 200, 0.01
# (moved clouds [S,P,3], truth [Q,3]) -> closest true point of each moved one [S,P], and the other way round [S,Q]
Search = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def starts() -> Float64[np.ndarray, "24 3 3"]:
    """Rx(a) Ry(b) Rz(c) of the benchmark's table of right angles.

    22 different rotations: the last eight rows, with b = +-90, hold two of theirs twice and lack two of the 24.
    """
    level = [(a, 0, c) for a in (0, 90, 180, 270) for c in (0, 90, 180, 270)]
    upright = [(a, b, c) for a in (0, 90) for b in (90, -90) for c in (0, 90)]
    return np.rint(Rotation.from_euler("XYZ", level + upright, degrees=True).as_matrix()) + 0.0


def fit(
    predicted: Points,
    truth: Points,
    steps: int = STEPS,
    rate: float = RATE,
    device: torch.device | str = "cpu",
    search: Search | None = None,
) -> Matrix:
    """The affine map that brings `predicted` onto `truth`: x -> R^T diag(s) x + t, best of all starts and steps.

    Nothing is centred or scaled first: `steps` of `rate` move a shift or a scale by steps * rate at most.

    Args:
        search: how closest points are found; by default k-d trees on a CPU, all pairs on a GPU.
    """
    if not len(predicted) or not len(truth) or steps < 1:
        found = f"{len(predicted)} and {len(truth)} points, {steps} steps"
        raise FormatError("gradient ICP", "points on both sides and at least one step", found)
    place = torch.device(device)
    search = search or (by_pairs if place.type == "cuda" else by_trees)
    source, target = (torch.as_tensor(np.ascontiguousarray(p), device=place) for p in (predicted, truth))
    first = torch.as_tensor(starts(), device=place)
    shift = first.new_zeros(len(first), 3).requires_grad_()
    six = first.new_tensor([1, 0, 0, 0, 1, 0]).repeat(len(first), 1).requires_grad_()
    scale = first.new_ones(len(first), 3).requires_grad_()
    adam = torch.optim.Adam([shift, six, scale], lr=rate)

    def move(points: Tensor, turn: Tensor) -> Tensor:
        return (scale[:, None] * points) @ turn + shift[:, None]

    best, kept = np.inf, (first[0], shift[0].detach(), scale[0].detach())
    for _ in range(steps):
        with torch.enable_grad():
            turn = first @ _rotation(six)
            moved = move(source.expand(len(first), -1, -1), turn)
            there, back = search(moved.detach(), target)
            # The source's points are looked up, not the moved ones: a sum in scattered order would not be repeatable.
            losses = _squares(moved - target[there]) + _squares(move(source[back], turn) - target)
            adam.zero_grad()
            losses.mean().backward()
        adam.step()
        low, which = losses.detach().min(0)
        if float(low) < best:
            # As the benchmark does: the rotation that gave this loss with the shift and scale of one step later.
            best, kept = (
                float(low),
                (turn[which].detach(), shift[which].detach().clone(), scale[which].detach().clone()),
            )
    matrix = np.eye(4)
    rotation, moved_by, grown = (part.cpu().numpy() for part in kept)
    matrix[:3, :3], matrix[:3, 3] = rotation.T * grown, moved_by
    return matrix


def _rotation(six: Tensor) -> Tensor:
    """Rows from two vectors [S,6], made orthonormal one after the other (Zhou et al. 2019)."""
    a, b = six[:, :3], six[:, 3:]
    a = a / a.norm(dim=1, keepdim=True)
    b = b - (a * b).sum(1, keepdim=True) * a
    b = b / b.norm(dim=1, keepdim=True)
    return torch.stack([a, b, torch.linalg.cross(a, b)], dim=1)


def _squares(difference: Tensor) -> Tensor:
    """[S,N,3] -> the mean squared length [S]."""
    return difference.square().sum(-1).mean(-1)


def by_trees(moved: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Closest points by k-d trees, on the CPU."""
    target = truth.numpy()
    tree = cKDTree(target)

    def both(cloud: Points) -> tuple[Int64[np.ndarray, " P"], Int64[np.ndarray, " Q"]]:
        other = cKDTree(cloud, balanced_tree=False, compact_nodes=False)  # asked once: quick to make
        return tree.query(cloud)[1], other.query(target)[1]

    found = [both(cloud) for cloud in moved.numpy()]
    return torch.as_tensor(np.stack([f[0] for f in found])), torch.as_tensor(np.stack([f[1] for f in found]))


def by_pairs(moved: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Closest points among all pairs, on any device; one cloud at a time: P x Q numbers in memory."""
    there, back = [], []
    lengths = truth.square().sum(1)
    for cloud in moved:
        pairs = torch.addmm(lengths[None], cloud, truth.T, alpha=-2)  # squared distances, less the point's own length
        there.append(pairs.argmin(1))
        back.append((pairs + cloud.square().sum(1)[:, None]).argmin(0))
    return torch.stack(there), torch.stack(back)
