"""`python -m bench4d.render.bench`: milliseconds per image of the CPU renderers, after warm-up."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from bench4d.asset import Gaussians, Mesh
from bench4d.cameras import orbit
from bench4d.render import render_gaussians, render_mesh


def torus(n: int = 224, m: int = 112) -> Mesh:
    """2 n m triangles (50,176), coloured by position."""
    i, j = np.mgrid[:n, :m]
    u, v = 2 * np.pi * i / n, 2 * np.pi * j / m
    ring = 0.33 + 0.15 * np.cos(v)
    vertices = np.stack([ring * np.cos(u), ring * np.sin(u), 0.15 * np.sin(v)], -1).reshape(-1, 3)
    a, b, c, d = (((i + di) % n * m + (j + dj) % m).ravel() for di, dj in ((0, 0), (1, 0), (1, 1), (0, 1)))
    colors = np.pad(vertices + 0.5, ((0, 0), (0, 1)), constant_values=1) * 255
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return Mesh(vertices.astype(np.float32), faces.astype(np.int32), colors.astype(np.uint8))


def shell(n: int) -> Gaussians:
    """A sphere of small flat and long Gaussians, coloured by direction, opacities 0.05 to 0.95."""
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(n, 3))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    scales = np.exp(rng.uniform(np.log(0.002), np.log(0.01), (n, 3))).astype(np.float32)
    quaternions = rng.normal(size=(n, 4)).astype(np.float32)
    opacities = rng.uniform(0.05, 0.95, n).astype(np.float32)
    means, sh = (0.4 * normal).astype(np.float32), (1.8 * normal[:, None]).astype(np.float32)
    return Gaussians(means, scales, quaternions, opacities, sh)


def measure(name: str, draw: Callable[[], object], repeats: int = 15) -> None:
    draw()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        draw()
        times.append(1e3 * (time.perf_counter() - start))
    middle = statistics.median(times)
    sys.stdout.write(f"{name:<44} median {middle:7.1f} ms   {min(times):.1f} to {max(times):.1f} in {repeats}\n")


def main() -> None:
    start = time.perf_counter()
    render_mesh(torus(8, 8), orbit([0], 0, 2, 40, 8))
    render_gaussians(shell(8), orbit([0], 0, 2, 40, 8))
    sys.stdout.write(f"first use: {time.perf_counter() - start:.1f} s (compiling, or reading numba's cache)\n")
    mesh = torus()
    for size, s in ((512, 1), (256, 4), (512, 4)):
        camera = orbit([30], 35, 2, 40, size)
        name = f"{len(mesh.faces)} triangles, {size}^2, supersample {s}"
        measure(name, partial(render_mesh, mesh, camera, supersample=s))
    for n in (100_000, 500_000):
        measure(f"{n} Gaussians, 512^2", partial(render_gaussians, shell(n), orbit([30], 35, 2, 40, 512)))


if __name__ == "__main__":
    main()
