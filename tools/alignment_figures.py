"""How well the alignments that search find known similarities again: the figures of docs/alignment.md.

python tools/alignment_figures.py --seeds 2
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from scipy.spatial.transform import Rotation

from bench4d.asset import Gaussians, Mesh
from bench4d.cameras import orbit
from bench4d.icp import fit_surfaces
from bench4d.render import composite, render_mesh
from bench4d.silhouette_align import fit_silhouette
from bench4d.similarity import Fit, Matrix, apply, scale_of, similarity, transformed
from bench4d.surface import sample
from benchmarks.synth4d.generator import make_object
from benchmarks.synth4d.splits import TEST

CAMERA = orbit([0], 15, 2.0, 40, 512)


def cloud(points: np.ndarray) -> Gaussians:
    count = len(points)
    quaternions = np.tile(np.float32([1, 0, 0, 0]), (count, 1))
    sizes, sh = np.full((count, 3), 0.01, np.float32), np.zeros((count, 1, 3), np.float32)
    return Gaussians(np.float32(points), sizes, quaternions, np.ones(count, np.float32), sh)


def icp_case(make: Callable[[Mesh, np.random.Generator], Mesh | Gaussians], mesh: Mesh, seed: int) -> tuple:
    """(what was done to the asset, the fit)."""
    rng = np.random.default_rng(seed)
    turn = Rotation.random(random_state=seed).as_matrix()
    moved = similarity(np.exp(rng.uniform(-1, 1)) * turn, np.zeros(3), rng.normal(size=3))
    asset = transformed(make(mesh, rng), moved)
    return moved, lambda: fit_surfaces(asset, mesh)


def silhouette_case(declared: bool, mesh: Mesh, seed: int) -> tuple:
    rng = np.random.default_rng(seed)
    alpha = composite(render_mesh(mesh, CAMERA, threads=1), (1, 1, 1))[1][0]
    shift = CAMERA.camera_to_world[0, :3, :2] @ rng.uniform(-0.15, 0.15, 2)
    turn = np.eye(3) if declared else Rotation.from_rotvec([0, 0, rng.uniform(0, 2 * np.pi)]).as_matrix()
    moved = np.linalg.inv(similarity(np.exp(rng.uniform(-0.5, 0.5)) * turn.T, np.zeros(3), shift))
    asset = transformed(mesh, moved)
    return moved, lambda: fit_silhouette(asset, CAMERA, alpha, np.eye(4) if declared else None)


def other_bytes(mesh: Mesh, rng: np.random.Generator) -> Mesh:
    """The same surface, sampled independently."""
    return replace(mesh, faces=mesh.faces[::-1].copy())


def points_of(noise: float = 0.0, keep: float = 1.0, floaters: int = 0) -> Callable[..., Gaussians]:
    def make(mesh: Mesh, rng: np.random.Generator) -> Gaussians:
        points = sample(mesh, 20_000, 0, draw=1)
        points = points[points[:, 1] <= np.quantile(points[:, 1], keep)]
        points = points + rng.normal(0, noise, points.shape)
        return cloud(np.concatenate([points, rng.uniform(-1, 1, (floaters, 3))]))

    return make


CASES = {
    "icp, mesh": lambda mesh, seed: icp_case(other_bytes, mesh, seed),
    "icp, 20,000 centres on the surface": lambda mesh, seed: icp_case(points_of(), mesh, seed),
    "icp, 10 % floaters more": lambda mesh, seed: icp_case(points_of(floaters=2000), mesh, seed),
    "icp, centres 0.01 off": lambda mesh, seed: icp_case(points_of(noise=0.01), mesh, seed),
    "icp, centres 0.03 off": lambda mesh, seed: icp_case(points_of(noise=0.03), mesh, seed),
    "icp, front 70 % only": lambda mesh, seed: icp_case(points_of(keep=0.7), mesh, seed),
    "silhouette, declared": lambda mesh, seed: silhouette_case(True, mesh, seed),
    "silhouette, yaw searched": lambda mesh, seed: silhouette_case(False, mesh, seed),
}


def measures(mesh: Mesh, moved: Matrix, fit: Fit) -> tuple[float, float, float]:
    """(largest error of a vertex / diagonal, scale found / true, angle in degrees)."""
    points, left = mesh.vertices.astype(np.float64), fit.matrix @ moved
    error = np.linalg.norm(apply(left, points) - points, axis=1).max() / np.linalg.norm(np.ptp(points, axis=0))
    angle = np.degrees(Rotation.from_matrix(left[:3, :3] / scale_of(left)).magnitude())
    return error, scale_of(left), angle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--cases", nargs="*", default=list(CASES))
    options = parser.parse_args()
    meshes = {name: make_object(name).mesh_at(0.0) for name in TEST}
    for case in options.cases:
        rows, lost, seconds = [], [], []
        for name, mesh in meshes.items():
            for seed in range(options.seeds):
                moved, run = CASES[case](mesh, seed)
                begin = time.process_time()
                fit = run()
                seconds.append(time.process_time() - begin)
                error, scale, angle = measures(mesh, moved, fit)
                rows.append((error, scale, angle, fit.residual))
                if angle > 10:
                    lost.append(f"{name}/{seed}")
        kept = np.array([row for row in rows if row[2] <= 10])
        error, scale, angle, residual = kept.T
        print(f"{case}: {len(kept)} of {len(rows)} poses found" + (f", not {', '.join(lost)}" if lost else ""))
        print(
            f"  error median {np.median(error):.2g}, largest {error.max():.2g}; angle at most {angle.max():.2g} degrees"
        )
        print(f"  scale {scale.min():.4f} to {scale.max():.4f}; residual at most {residual.max():.2g}")
        print(f"  {np.median(seconds):.2f} s, at most {max(seconds):.2f} s", flush=True)


if __name__ == "__main__":
    main()
