"""The alignment stage: validate an asset whole, and find the one similarity per clip that brings it into the world.

Its record also carries failures on: a clip whose asset is missing or broken costs that clip only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from .asset import Asset4D, Gaussians, Mesh
from .asset_io import read_asset
from .benchmark import Benchmark
from .errors import FormatError
from .files import read_json, sha256_folder
from .similarity import camera_to_camera

MAX_EXTENT = 1e3  # world units: beyond this a coordinate is a mistake, not an object


def align_clip(benchmark: Benchmark, folder: Path) -> dict[str, Any]:
    """The content of `<clip>/aligned.json` for the clip whose asset is `folder/asset`.

    status "failed" with the reason when generation failed or the asset breaks its contract.
    """
    made = read_json(folder / "generate.json")
    failed = {
        "version": 1,
        "status": "failed",
        "alignment": benchmark.data["alignment"],
        "matrix": None,
        "asset_sha256": "",
    }
    if made["status"] != "ok":
        return failed | {"reason": made["reason"]}
    try:
        asset = read_asset(folder / "asset")
        validate(asset, benchmark)
        matrix = alignment_matrix(asset, benchmark)
    except FormatError as error:
        return failed | {"reason": f"asset: {error}"}
    return failed | {
        "status": "ok",
        "reason": "",
        "matrix": matrix.tolist(),
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


def alignment_matrix(asset: Asset4D, benchmark: Benchmark) -> Float64[np.ndarray, "4 4"]:
    if benchmark.data["alignment"] == "none" or asset.kind == "views":
        return np.eye(4)
    if asset.input_camera is None:
        raise FormatError(
            "asset.json",
            'an input_camera for the alignment "declared"',
            "null",
            "State where the input view stands in the asset's frame.",
        )
    matrix = camera_to_camera(asset.input_camera, benchmark.cameras[0])
    # Rounding in the method's own JSON must not move an asset that already stands in the world.
    return np.eye(4) if np.allclose(matrix, np.eye(4), atol=1e-9) else matrix
