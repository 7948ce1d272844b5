"""The alignment stage: validate an asset whole, and find the one similarity a clip that brings it into the world.

`none` and `declared` are exact; `icp-frame0` (icp.py) and `silhouette-view0` (silhouette_align.py) search.

Its record also carries failures on: a clip whose asset is missing or broken costs that clip only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import UInt8

from .asset import Asset4D, Gaussians, Mesh
from .asset_io import read_asset
from .benchmark import Benchmark
from .errors import FormatError
from .files import read_json, read_png, sha256_folder
from .icp import fit_surfaces
from .similarity import Fit, Matrix, camera_to_camera

MAX_EXTENT = 1e3  # world units: beyond this a coordinate is a mistake, not an object


def align_clip(
    benchmark: Benchmark, folder: Path, *, truth: Path | None = None, clip: Path | None = None
) -> dict[str, Any]:
    """The content of `<clip>/aligned.json` for the clip whose asset is `folder/asset`.

    status "failed" with the reason when generation failed, the asset breaks its contract or nothing can be aligned.

    Args:
        truth: the true asset's folder, for the alignment "icp-frame0".
        clip: the input clip's folder, for "silhouette-view0".
    """
    made = read_json(folder / "generate.json")
    reference = read_reference(benchmark, truth, clip)
    failed = {
        "version": 1,
        "status": "failed",
        "alignment": benchmark.data["alignment"],
        "matrix": None,
        "fit": None,
        "asset_sha256": "",
    }
    if made["status"] != "ok":
        return failed | {"reason": made["reason"]}
    try:
        asset = read_asset(folder / "asset")
        validate(asset, benchmark)
        found = align(asset, benchmark, reference)
    except FormatError as error:
        return failed | {"reason": f"asset: {error}"}
    return failed | {
        "status": "ok",
        "reason": "",
        "alignment": found.alignment,
        "matrix": found.matrix.tolist(),
        "fit": found.fit.to_json() if found.fit else None,
        "asset_sha256": sha256_folder(folder / "asset"),
    }


def validate(asset: Asset4D, benchmark: Benchmark) -> None:
    """Read every frame once: finite, not empty, within bounds; views must stand at the protocol's cameras."""
    if asset.kind == "views":
        wanted, got = benchmark.cameras, asset.cameras
        if (
            got is None
            or len(got) != len(wanted)
            or not np.allclose(got.camera_to_world, wanted.camera_to_world, atol=1e-6)
        ):
            raise FormatError("cameras", "exactly the requested cameras", "others")
    for k, frame in enumerate(asset.frames):
        if isinstance(frame, Mesh | Gaussians):
            points = frame.vertices if isinstance(frame, Mesh) else frame.means
            if np.abs(points, where=True).max(initial=0) > MAX_EXTENT:
                raise FormatError(f"frame {k}", f"coordinates within {MAX_EXTENT:g}", f"{np.abs(points).max():.3g}")
    if benchmark.data["time_rule"] == "refuse":
        for time in benchmark.times:
            asset.frame_at(time, "refuse")


@dataclass(frozen=True)
class Aligned:
    """What was done to an asset: the alignment by name, its similarity, and how it was found if it was searched."""

    alignment: str
    matrix: Matrix
    fit: Fit | None = None


def read_reference(
    benchmark: Benchmark, truth: Path | None, clip: Path | None
) -> Mesh | UInt8[np.ndarray, "H W"] | None:
    """What the protocol's alignment looks at: the true surface, or the input's coverage, at frame 0."""
    alignment = benchmark.data["alignment"]
    if alignment == "icp-frame0":
        if truth is None:
            raise FormatError("align", f'the folder of the true asset for the alignment "{alignment}"', "none")
        surface = read_asset(truth).frame_at(float(benchmark.times[0]), "refuse")
        if not isinstance(surface, Mesh):
            raise FormatError(truth, f'a mesh as truth for the alignment "{alignment}"', type(surface).__name__)
        return surface
    if alignment == "silhouette-view0":
        if clip is None:
            raise FormatError("align", f'the folder of the input clip for the alignment "{alignment}"', "none")
        return read_png(clip / "frames" / "0000.png", 4)[..., 3]
    return None


def align(asset: Asset4D, benchmark: Benchmark, reference: Mesh | UInt8[np.ndarray, "H W"] | None) -> Aligned:
    """One similarity for all frames, found from frame 0 (docs/alignment.md). Raises FormatError."""
    alignment = benchmark.data["alignment"]
    if alignment == "none":
        return Aligned(alignment, np.eye(4))
    if asset.kind == "views":  # images at the protocol's cameras: posed by declaration, nothing can be moved
        return Aligned("declared", np.eye(4))
    if alignment == "declared":
        return Aligned(alignment, declared_matrix(asset, benchmark))
    start = declared_matrix(asset, benchmark) if asset.input_camera is not None else None
    frame = cast(Mesh | Gaussians, asset.frame_at(float(benchmark.times[0]), benchmark.data["time_rule"]))
    if alignment == "icp-frame0":
        fit = fit_surfaces(frame, cast(Mesh, reference), start)
    else:
        from .silhouette_align import fit_silhouette  # here: only this alignment needs the compiled renderer

        fit = fit_silhouette(frame, benchmark.cameras[0], cast(np.ndarray, reference), start)
    return Aligned(alignment, snapped(fit.matrix), fit)


def declared_matrix(asset: Asset4D, benchmark: Benchmark) -> Matrix:
    if asset.input_camera is None:
        raise FormatError(
            "asset.json",
            'an input_camera for the alignment "declared"',
            "null",
            "State where the input view stands in the asset's frame.",
        )
    return snapped(camera_to_camera(asset.input_camera, benchmark.cameras[0]))


def snapped(matrix: Matrix) -> Matrix:
    """The identity in place of what differs from it by rounding: an asset that stands in the world must not move."""
    return np.eye(4) if np.allclose(matrix, np.eye(4), atol=1e-9) else matrix
