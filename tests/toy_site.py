"""A small folder of results with everything that a site must stand: a failed clip, missing metrics, hostile words.

`make_results` writes it, `make_site` makes its site. Pictures are drawn discs, values are drawn numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bench4d.asset import Asset4D, Gaussians, Mesh
from bench4d.asset_io import write_asset
from bench4d.benchmark import Benchmark
from bench4d.files import write_json
from bench4d.frames import write_frame
from bench4d.method import ROOT, Method
from bench4d.results import FRAME_ROW, ROW, frame_of, write_rows
from bench4d.site import build_site
from metrics import METRICS

SIZE, FRAMES, FPS = 64, 6, 6
EVIL = "<img src=x onerror=alert(1)>"
HOSTILE = f"{EVIL}/../\"'`|&</script><script>alert(2)</script>\u2028" + 60 * "very-long-"
VIEWS = {"input": ("input", 0), "az090": ("novel", 90)}
SCORED = ("psnr", "silhouette-iou", "psnr-masked", "lpips-vgg", "chamfer", "time", "memory-gpu")


def toy_benchmark(folder: Path, clips: int = 2, title: str = f"Toy {EVIL}") -> Benchmark:
    protocol = yaml.safe_load((ROOT / "benchmarks/synth4d/protocol.yaml").read_text())
    views = [{"id": v, "azimuth": a, "elevation": 15, "group": g} for v, (g, a) in VIEWS.items()]
    entries = [{"id": f"clip-{k}", "object": f"object {k} {EVIL}", "prompt": f"a disc {HOSTILE}"} for k in range(clips)]
    protocol |= {"id": "toy", "title": title, "clips": entries, "views": views, "n_frames": FRAMES, "fps": FPS}
    protocol |= {"size": SIZE, "metrics": [{"id": id, "stride": 2 if id == "chamfer" else 1} for id in SCORED]}
    shown = [("psnr", "novel"), ("silhouette-iou", "novel"), ("lpips-vgg", "novel"), ("psnr", "input")]
    protocol["table"] = [{"metric": id, "views": group} for id, group in shown]
    protocol["table"] += [{"metric": id} for id in SCORED[4:]]
    protocol["published"] = [{"protocol": "consistent4d-v1", "benchmark": "Consistent4D-7"}]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "protocol.yaml").write_text(yaml.safe_dump(protocol, allow_unicode=True), "utf-8")
    (folder / "README.md").write_text(f"# Toy\n\nWords and {EVIL}\n\n- [link](javascript:alert(3))\n", "utf-8")
    return Benchmark.read(folder / "protocol.yaml")


def toy_methods(folder: Path) -> list[Method]:
    """A mesh method, a Gaussian one that fails on the second clip, a hostile one without any files, a reference."""
    common: dict[str, Any] = {"kind": "generator", "trained_on": [], "parameters": {}, "weights": []}
    evil = {"name": HOSTILE, "paper": f'{EVIL} javascript:alert(4) https://example.org/"onmouseover=alert(5)'}
    evil |= {"licence": EVIL, "output": "mesh", "deviations": [HOSTILE], "trained_on": ["synth4d-test", EVIL]}
    evil |= {"parameters": {"a": EVIL}, "status": {"toy": "not-reproducing"}}
    return [
        Method("mesh", folder / "mesh", common | {"name": "Mesh", "output": "mesh", "status": {"toy": "working"}}),
        Method("splats", folder / "splats", common | {"name": "Splats", "output": "gaussians"}),
        Method(HOSTILE, folder / "hostile", common | evil),
        Method("oracle", folder / "oracle", common | {"name": "Oracle", "kind": "reference", "output": "mesh"}),
    ]


def toy_mesh(time: float, radius: float = 0.3) -> Mesh:
    """A coloured ball that moves and swells; always the same 1,152 triangles."""
    u, v = np.meshgrid(np.linspace(0, np.pi, 25), np.linspace(0, 2 * np.pi, 25), indexing="ij")
    ball = np.stack([np.sin(u) * np.cos(v), np.sin(u) * np.sin(v), np.cos(u)], axis=-1).reshape(-1, 3)
    points = ball * radius * (1 + 0.2 * np.sin(3 * time)) + [0.1 * np.sin(2 * time), 0, 0.05 * time]
    corner = (np.arange(24)[:, None] * 25 + np.arange(24)).ravel()
    faces = np.concatenate([corner[:, None] + [0, 25, 26], corner[:, None] + [0, 26, 1]])
    colors = np.concatenate([128 + 127 * ball, np.full((len(ball), 1), 255)], axis=1)
    return Mesh(points.astype(np.float32), faces.astype(np.int32), np.rint(colors).astype(np.uint8))


def toy_gaussians(time: float, count: int = 300, spread: float = 0.02) -> Gaussians:
    """Splats on a ball that turns about z; the same ones at all times."""
    random = np.random.default_rng(0)
    points = random.normal(size=(count, 3))
    points *= 0.3 / np.linalg.norm(points, axis=1, keepdims=True)
    colors = (points / 0.6)[:, None] / 0.28209479177387814
    turn = np.array([[np.cos(time), -np.sin(time), 0], [np.sin(time), np.cos(time), 0], [0, 0, 1]])
    scales = spread * random.uniform(0.5, 1.5, (count, 3))
    arrays = (points @ turn.T, scales, random.normal(size=(count, 4)), random.uniform(0.5, 1, count), colors)
    return Gaussians(*(array.astype(np.float32) for array in arrays))


def make_results(folder: Path, clips: int = 2, title: str = f"Toy {EVIL}") -> tuple[Path, Benchmark, list[Method]]:
    """(results folder, benchmark, methods)."""
    benchmark, methods = toy_benchmark(folder / "benchmark", clips, title), toy_methods(folder / "methods")
    results = folder / "results" / "toy"
    for c, clip in enumerate(benchmark.clips):
        _write_truth(benchmark, results / "truth" / clip, c)
        for m, method in enumerate(methods):
            if method.id != HOSTILE:
                _write_clip(benchmark, results / method.id / "seed0" / clip, method, m, c)
    rows, frames = _rows(benchmark, methods)
    write_rows(results / "scores.parquet", frame_of(rows, ROW))
    write_rows(results / "frames.parquet", frame_of(frames, FRAME_ROW))
    return results, benchmark, methods


def make_site(folder: Path) -> Path:
    """The folder of the site; index.html is in it."""
    results, benchmark, methods = make_results(folder)
    return build_site(results, benchmark, methods, METRICS, skipped={"absent": f"needs a GPU {EVIL}"}).parent


def fails(method: Method, clip: int) -> bool:
    return method.id == "splats" and clip == 1


def _write_truth(benchmark: Benchmark, folder: Path, c: int) -> None:
    _write_frames(benchmark, folder / "frames", c, 0)
    write_asset(Asset4D("mesh", benchmark.times, [toy_mesh(t) for t in benchmark.times]), folder / "asset")


def _write_clip(benchmark: Benchmark, folder: Path, method: Method, m: int, c: int) -> None:
    failed = fails(method, c)
    state = {"status": "failed" if failed else "ok", "reason": f"out of <memory> {EVIL}" if failed else ""}
    cost = {"seconds": None if failed else 1.5 + m, "peak_rss_bytes": 2**30, "peak_gpu_bytes": None}
    write_json(folder / "generate.json", state | cost | {"device": f"toy {EVIL}", "log_tail": EVIL, "python": "3.11"})
    write_json(folder / "aligned.json", state | {"alignment": "declared", "matrix": np.eye(4).tolist(), "fit": None})
    if failed:
        return
    _write_frames(benchmark, folder / "frames", c, m + 1)
    gaussians = method.data["output"] == "gaussians"
    frames = [toy_gaussians(t) if gaussians else toy_mesh(t, 0.2 + 0.02 * m) for t in benchmark.times]
    write_asset(Asset4D("gaussians" if gaussians else "mesh", benchmark.times, frames), folder / "asset")


def _write_frames(benchmark: Benchmark, folder: Path, c: int, m: int) -> None:
    """A disc that moves to the right by 5 pixels a frame, on white; its colour says whose it is."""
    y, x = np.mgrid[:SIZE, :SIZE]
    for v, view in enumerate(benchmark.views):
        for k in range(FRAMES):
            inside = (x - 18 - 5 * k) ** 2 + (y - 28 - 4 * v - 2 * m) ** 2 < (10 + c) ** 2
            color = np.array([40 + 50 * m, 90, 200 - 40 * v], np.uint8)
            rgb = np.where(inside[..., None], color, np.uint8(255)).astype(np.uint8)
            write_frame(folder, view, k, rgb, np.where(inside, 255, 0).astype(np.uint8))


def _rows(benchmark: Benchmark, methods: list[Method]) -> tuple[list[dict], list[dict]]:
    random = np.random.default_rng(1)
    rows, frames = [], []
    for m, method in enumerate(methods):
        for c, clip in enumerate(benchmark.clips):
            for id in SCORED:
                of_pictures = METRICS[id].needs == "frames"
                for view in benchmark.views if of_pictures else [None]:
                    value, status, reason = 10 * random.random() + m, "ok", ""
                    if fails(method, c):
                        value, status, reason = np.nan, "failed", f"out of <memory> {EVIL}"
                    elif id == "memory-gpu" or (id == "chamfer" and method.id == "splats"):
                        value, status, reason = np.nan, "not-run", f"no value {EVIL}"
                    rows.append(_row(benchmark, method, clip, view, id, value, status, reason))
                    every = range(0, FRAMES, 2 if id == "chamfer" else 1)
                    if status == "ok" and id not in ("time", "memory-gpu"):
                        keys = {"benchmark": "toy", "method": method.id, "seed": 0, "clip": clip, "view": view}
                        frames += [keys | {"metric": id, "frame": k, "value": value + 0.1 * k} for k in every]
    return rows, frames


def _row(
    benchmark: Benchmark, method: Method, clip: str, view: str | None, id: str, value: float, status: str, reason: str
) -> dict[str, Any]:
    sums = {"params_sha256": "1" * 64, "weights_sha256": "", "metric_weights_sha256": ""}
    sums |= {"asset_sha256": "2" * 64, "truth_sha256": "3" * 64, "code_version": "0.0.0+toy"}
    return sums | {
        "benchmark": "toy",
        "benchmark_version": 1,
        "split": benchmark.data["split"],
        "protocol": benchmark.protocol_sha256,
        "alignment": "declared",
        "method": method.id,
        "method_version": "4" * 12,
        "seed": 0,
        "object": benchmark.object_of[clip],
        "clip": clip,
        "view": view,
        "metric": id,
        "metric_version": METRICS[id].version,
        "value": value,
        "status": status,
        "reason": reason,
        "n_frames": FRAMES,
        "device": f"toy machine {EVIL}",
    }
