"""The render stage: one renderer, one rig, one background for everybody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from .asset import Asset4D, Frame, Gaussians, Mesh, Views
from .asset_io import read_asset
from .benchmark import Benchmark
from .cameras import Cameras
from .files import read_json, sha256_folder, write_json
from .frames import write_frame
from .render import composite, render_gaussians, render_mesh
from .similarity import transformed

RENDERER = "bench4d-cpu-1"  # raised whenever a pixel could change


def render_clip(benchmark: Benchmark, asset_folder: Path, aligned: dict[str, Any], out: Path, threads: int) -> None:
    """Write `<out>/<view>/{rgb,alpha}/%04d.png` and `<out>/render.json`; a failed clip leaves only the record."""
    record = {"version": 1, "renderer": RENDERER, "views": benchmark.views, "n_frames": len(benchmark.times)}
    record |= {key: aligned[key] for key in ("status", "reason", "asset_sha256")}
    if aligned["status"] == "ok":
        asset = read_asset(asset_folder)
        for k, time in enumerate(benchmark.times):
            rgba = render_at(asset, float(time), benchmark, np.array(aligned["matrix"]), threads)
            rgb, alpha = composite(rgba, tuple(benchmark.data["background"]))
            for v, view in enumerate(benchmark.views):
                write_frame(out, view, k, rgb[v], alpha[v])
    write_json(out / "render.json", record)


def render_at(
    asset: Asset4D, time: float, benchmark: Benchmark, matrix: Float64[np.ndarray, "4 4"], threads: int
) -> Float32[np.ndarray, "V H W 4"]:
    """All views at one time, premultiplied RGBA."""
    frame = asset.frame_at(time, benchmark.data["time_rule"])
    return render_frame(
        transformed(frame, matrix) if isinstance(frame, Mesh | Gaussians) else frame, benchmark.cameras, threads
    )


def render_frame(frame: Frame | Views, cameras: Cameras, threads: int = 1) -> Float32[np.ndarray, "V H W 4"]:
    if isinstance(frame, Mesh):
        return render_mesh(frame, cameras, threads=threads)
    if isinstance(frame, Gaussians):
        return render_gaussians(frame, cameras, threads=threads)
    images = frame.astype(np.float32) / 255  # a video-only method's own images, straight alpha
    images[..., :3] *= images[..., 3:]
    return images


def render_truth(benchmark: Benchmark, truth: Path, threads: int) -> None:
    """Truth goes through the same renderer: `<truth>/asset` -> `<truth>/frames`."""
    aligned = {
        "status": "ok",
        "reason": "",
        "matrix": np.eye(4).tolist(),
        "asset_sha256": sha256_folder(truth / "asset"),
    }
    render_clip(benchmark, truth / "asset", aligned, truth / "frames", threads)


def render_method_clip(benchmark: Benchmark, folder: Path, threads: int) -> None:
    render_clip(benchmark, folder / "asset", read_json(folder / "aligned.json"), folder / "frames", threads)
