"""The render stage: one renderer, one rig, one background for everybody."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from .asset import Asset4D, Frame, Gaussians, Mesh, Views
from .asset_io import read_asset
from .benchmark import Benchmark
from .cameras import Cameras
from .files import read_json, sha256_folder, write_json
from .frames import write_frame
from .render import composite, render_gaussians, render_mesh
from .similarity import transformed

Backend = Literal["cpu", "cuda"]
Images = Iterator[tuple[UInt8[np.ndarray, "V H W 3"], UInt8[np.ndarray, "V H W"]]]  # colour, coverage; one time each
# What render.json calls each backend; raised whenever one of its pixels could change.
RENDERERS: dict[Backend, str] = {"cpu": "bench4d-cpu-1", "cuda": "bench4d-cuda-1"}


def render_clip(
    benchmark: Benchmark,
    asset_folder: Path,
    aligned: dict[str, Any],
    out: Path,
    threads: int,
    backend: Backend = "cpu",
) -> None:
    """Write `<out>/<view>/{rgb,alpha}/%04d.png` and `<out>/render.json`; a failed clip leaves only the record."""
    record = {"version": 1, "renderer": RENDERERS[backend], "views": benchmark.views, "n_frames": len(benchmark.times)}
    record |= {key: aligned[key] for key in ("status", "reason", "asset_sha256")}
    if aligned["status"] == "ok":
        asset, matrix = read_asset(asset_folder), np.array(aligned["matrix"])
        on_gpu = backend == "cuda" and asset.kind != "views"
        images = _images_cuda(asset, benchmark, matrix) if on_gpu else _images_cpu(asset, benchmark, matrix, threads)
        with ThreadPoolExecutor(threads) as pool:  # on a GPU, packing the files takes most of the time
            for k, (rgb, alpha) in enumerate(images):
                jobs = [
                    pool.submit(write_frame, out, view, k, rgb[v], alpha[v]) for v, view in enumerate(benchmark.views)
                ]
                for job in jobs:
                    job.result()
    write_json(out / "render.json", record)


def _images_cpu(asset: Asset4D, benchmark: Benchmark, matrix: Float64[np.ndarray, "4 4"], threads: int) -> Images:
    for time in benchmark.times:
        yield composite(render_at(asset, float(time), benchmark, matrix, threads), tuple(benchmark.data["background"]))


def _images_cuda(asset: Asset4D, benchmark: Benchmark, matrix: Float64[np.ndarray, "4 4"]) -> Images:
    from .render import clip_cuda  # needs torch and a GPU, which the default run does not

    frames = (_frame_at(asset, float(time), benchmark, matrix) for time in benchmark.times)
    return clip_cuda.render_frames(frames, benchmark.cameras, tuple(benchmark.data["background"]))


def _frame_at(asset: Asset4D, time: float, benchmark: Benchmark, matrix: Float64[np.ndarray, "4 4"]) -> Any:
    """The frame in the benchmark's world; images of kind "views" as they are."""
    frame = asset.frame_at(time, benchmark.data["time_rule"])
    return transformed(frame, matrix) if isinstance(frame, Mesh | Gaussians) else frame


def render_at(
    asset: Asset4D, time: float, benchmark: Benchmark, matrix: Float64[np.ndarray, "4 4"], threads: int
) -> Float32[np.ndarray, "V H W 4"]:
    """All views at one time, premultiplied RGBA."""
    return render_frame(_frame_at(asset, time, benchmark, matrix), benchmark.cameras, threads)


def render_frame(frame: Frame | Views, cameras: Cameras, threads: int = 1) -> Float32[np.ndarray, "V H W 4"]:
    if isinstance(frame, Mesh):
        return render_mesh(frame, cameras, threads=threads)
    if isinstance(frame, Gaussians):
        return render_gaussians(frame, cameras, threads=threads)
    images = frame.astype(np.float32) / 255  # a video-only method's own images, straight alpha
    images[..., :3] *= images[..., 3:]
    return images


def render_truth(benchmark: Benchmark, truth: Path, threads: int, backend: Backend = "cpu") -> None:
    """Truth goes through the same renderer: `<truth>/asset` -> `<truth>/frames`."""
    aligned = {
        "status": "ok",
        "reason": "",
        "matrix": np.eye(4).tolist(),
        "asset_sha256": sha256_folder(truth / "asset"),
    }
    render_clip(benchmark, truth / "asset", aligned, truth / "frames", threads, backend)


def render_method_clip(benchmark: Benchmark, folder: Path, threads: int, backend: Backend = "cpu") -> None:
    aligned = read_json(folder / "aligned.json")
    render_clip(benchmark, folder / "asset", aligned, folder / "frames", threads, backend)
