"""Images of meshes and Gaussians, for everybody the same: no light, no tone curve, no randomness.

Every image is [V,H,W,4] float32, premultiplied alpha, sRGB as emitted, in [0, 1]; the exact rules are in
docs/rendering.md. Backends are chosen by name: "cpu" (numba) is the renderer, "torch" its slow plain twin, and "cuda"
the same rules on a GPU, by gsplat and nvdiffrast.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from ..asset import Gaussians, Mesh
from ..cameras import Cameras
from ..errors import FormatError
from .compose import composite, to_straight

__all__ = ["composite", "render_gaussians", "render_mesh", "to_straight"]

MAX_SUPERSAMPLE = 16


def render_mesh(
    mesh: Mesh, cameras: Cameras, *, supersample: int = 4, backend: str = "cpu", threads: int | None = None
) -> Float32[np.ndarray, "V H W 4"]:
    """The mesh as every camera sees it.

    Args:
        supersample: samples per pixel and axis, on a regular grid; a pixel is their mean.
        backend: "cpu", "torch" or "cuda".
        threads: for "cpu" only; None takes all that the process may use. The result does not depend on it.
    """
    if not 1 <= supersample <= MAX_SUPERSAMPLE:
        raise FormatError("supersample", f"1 to {MAX_SUPERSAMPLE} samples per pixel and axis", f"{supersample}")
    if backend == "cpu":
        from . import mesh_cpu

        return mesh_cpu.render(mesh, cameras, supersample, threads)
    if backend == "torch":
        from . import mesh_torch

        return mesh_torch.render(mesh, cameras, supersample)
    if backend == "cuda":
        from . import mesh_cuda

        return mesh_cuda.render(mesh, cameras, supersample)
    raise FormatError("backend", '"cpu", "torch" or "cuda"', repr(backend))


def render_gaussians(
    gaussians: Gaussians, cameras: Cameras, *, backend: str = "cpu", threads: int | None = None
) -> Float32[np.ndarray, "V H W 4"]:
    """The Gaussians as every camera sees them, with the rules of 3DGS. Arguments as in `render_mesh`."""
    if not gaussians.quaternions.any(axis=1).all():
        raise FormatError("Gaussians.quaternions", "rotations", "a quaternion that is zero")
    if backend == "cpu":
        from . import gaussians_cpu

        return gaussians_cpu.render(gaussians, cameras, threads)
    if backend == "torch":
        from . import gaussians_torch

        return gaussians_torch.render(gaussians, cameras)
    if backend == "cuda":
        from . import gaussians_cuda

        return gaussians_cuda.render(gaussians, cameras)
    raise FormatError("backend", '"cpu", "torch" or "cuda"', repr(backend))
