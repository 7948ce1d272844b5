"""How well and how fast ActionBench's alignment and ours undo known similarities: the figures of docs/metrics/cd-3d.md.

python tools/icp_figures.py --points 500 --objects 6
python tools/icp_figures.py --points 10000 --objects 1 --device cuda
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from bench4d.asset import Mesh
from bench4d.icp import fit_surfaces
from bench4d.similarity import Matrix, apply, similarity, transformed
from bench4d.surface import sample
from benchmarks.synth4d.generator import make_object
from benchmarks.synth4d.splits import TEST
from metrics.gradient_icp import STEPS, fit

RANGES = {"near": (0.4, 0.2), "far": (1.0, 1.0)}  # logarithm of the scale, shift: uniform, either sign


def motion(seed: int, scale: float, shift: float) -> Matrix:
    rng = np.random.default_rng(seed)
    turn = Rotation.random(random_state=seed).as_matrix()
    return similarity(np.exp(rng.uniform(-scale, scale)) * turn, np.zeros(3), rng.uniform(-shift, shift, 3))


def measure(name: str, meshes: list[Mesh], of_range: str, find: Callable[[Mesh, Mesh], Matrix]) -> None:
    """The farthest any vertex ends from its place, in sides of the object's cube, and seconds for one alignment."""
    errors, seconds = [], []
    for seed, mesh in enumerate(meshes):
        moved = motion(seed, *RANGES[of_range])
        begin = time.perf_counter()
        found = find(transformed(mesh, moved), mesh)
        seconds.append(time.perf_counter() - begin)
        points = mesh.vertices.astype(np.float64)
        errors.append(np.linalg.norm(apply(found @ moved, points) - points, axis=1).max())
    errors.sort()
    shown = ", ".join(f"{error:.1e}" for error in errors)
    good = sum(error < 1e-3 for error in errors)
    print(f"{name}, {of_range}: {good} of {len(errors)} within 0.001 ({shown}); {np.median(seconds):.2f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=500, help="of ActionBench's ICP, which takes 10,000")
    parser.add_argument("--objects", type=int, default=len(TEST))
    parser.add_argument("--steps", type=int, default=STEPS, help="of ActionBench's ICP; fewer to time a step")
    parser.add_argument("--ranges", nargs="*", choices=RANGES, default=list(RANGES))
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    meshes = [make_object(name).mesh_at(0.0) for name in TEST[:: len(TEST) // options.objects][: options.objects]]

    def theirs(moved: Mesh, mesh: Mesh) -> Matrix:
        # A moved mesh has samples of its own: the same points are moved instead, so that 0 can be reached.
        return fit(
            sample(moved, options.points, 0),
            sample(mesh, options.points, 0),
            steps=options.steps,
            device=options.device,
        )

    def same_points(moved: Mesh, mesh: Mesh) -> Matrix:
        points = sample(mesh, options.points, 0)
        corners = mesh.vertices.astype(np.float64), moved.vertices.astype(np.float64)
        ones = np.ones((len(corners[0]), 1))
        linear = np.linalg.lstsq(np.hstack([corners[0], ones]), corners[1], rcond=None)[0]
        return fit(points @ linear[:3] + linear[3], points, steps=options.steps, device=options.device)

    def ours(moved: Mesh, mesh: Mesh) -> Matrix:
        return fit_surfaces(replace(moved, faces=moved.faces[::-1].copy()), mesh).matrix

    label = f"their ICP, {options.points} points, {options.steps} steps, {options.device}"
    for of_range in options.ranges:
        measure(f"{label}, the same points", meshes, of_range, same_points)
        measure(f"{label}, points of their own", meshes, of_range, theirs)
        measure("ours, points of their own", meshes, of_range, ours)


if __name__ == "__main__":
    main()
