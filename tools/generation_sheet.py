"""What a checkpoint makes of unseen objects: figures in the benchmark's views, and a sheet of truth beside result.

python tools/generation_sheet.py --checkpoint runs/tiny/ss4d-tiny --clips 6 --out sheet.png

Objects are validation seeds of synth4d (never the benchmark's own), their clips those that its protocol would give.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import get_args

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from jaxtyping import Float32, UInt8

from bench4d.benchmark import find_benchmark
from bench4d.cameras import Cameras
from bench4d.clip import Clip
from bench4d.files import write_png
from bench4d.metric import Score, View
from bench4d.render import composite, render_gaussians, render_mesh, to_straight
from bench4d.similarity import camera_to_camera, transformed
from benchmarks.synth4d.generator import make_object
from ss4d.data.sources import synth_ids
from ss4d.pipeline import SS4DPipeline, pictures
from ss4d.run import declared_camera
from ss4d.solvers import SolverName

ROOT = Path(__file__).resolve().parents[1]
WHITE = (1.0, 1.0, 1.0)
SHOWN = 3  # times of each object


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, help="of both samplers (default: the checkpoint's)")
    parser.add_argument("--guidance", type=float, help="of both samplers (default: the checkpoint's)")
    parser.add_argument("--solver", choices=get_args(SolverName), help="of both samplers (default: the checkpoint's)")
    options = parser.parse_args()
    pipeline = SS4DPipeline.from_pretrained(options.checkpoint, device=options.device)
    pipeline.sample_with(options.steps, options.guidance, options.solver)
    cameras = find_benchmark("synth4d", ROOT).cameras
    rows, figures = [], []
    for name in synth_ids("val", options.clips):
        row, found, seconds = judge(pipeline, name, cameras, options.frames)
        rows.append(row)
        figures.append(found)
        shown = "  ".join(f"{key} {value:.3f}" for key, value in found.items())
        sys.stdout.write(f"{name}: {shown}  {seconds:.1f} s\n")
        sys.stdout.flush()
        write_png(options.out, np.concatenate(rows))
    means = {key: np.mean([found[key] for found in figures]) for key in figures[0]}
    sys.stdout.write("mean: " + "  ".join(f"{key} {value:.3f}" for key, value in means.items()) + "\n")


def judge(
    pipeline: SS4DPipeline, name: str, cameras: Cameras, frames: int, lpips: Score | None = None
) -> tuple[UInt8[np.ndarray, "H W 3"], dict[str, float], float]:
    """A row of the sheet, figures of the input view and of the others, and seconds of generation.

    `lpips` is the loaded score of lpips-vgg; without it there is no such figure.
    """
    thing = make_object(name)
    meshes = [thing.mesh_at(k / 8) for k in range(frames)]
    seen = np.stack([to_straight(render_mesh(mesh, cameras[0]))[0] for mesh in meshes])
    clip = Clip(name, seen, 8, cameras[0])
    began = time.perf_counter()
    asset = pipeline.run(pictures(seen), seed=0).to_asset(clip.times, declared_camera(clip, 0.0))
    seconds = time.perf_counter() - began
    assert asset.input_camera is not None
    matrix = camera_to_camera(asset.input_camera, cameras[0])
    tiles, overlap, error, perceived = [], [], [], []
    for k in np.linspace(0, frames - 1, SHOWN).astype(int):
        truth = render_mesh(meshes[k], cameras)
        found = render_gaussians(transformed(asset.frames[k], matrix), cameras)  # type: ignore[type-var, arg-type]
        a, b = truth[..., 3] > 0.5, found[..., 3] > 0.5
        overlap.append((a & b).sum((1, 2)) / np.maximum((a | b).sum((1, 2)), 1))
        error.append([_psnr(found[v], truth[v]) for v in range(len(cameras))])
        if lpips:
            perceived.append(lpips(*(View(*composite(image[1:], WHITE)) for image in (found, truth))))
        shown = [composite(image, WHITE)[0][v][::2, ::2] for v in (0, 1) for image in (truth, found)]
        tiles.append(np.concatenate(shown, axis=1))
    figures = {"silhouette-iou novel": float(np.mean([x[1:].mean() for x in overlap]))}
    figures |= {
        "psnr novel": float(np.mean([x[1:] for x in error])),
        "psnr input": float(np.mean([x[0] for x in error])),
    }
    figures |= {"silhouette-iou input": float(np.mean([x[0] for x in overlap]))}
    figures |= {"lpips-vgg novel": float(np.mean(perceived))} if lpips else {}
    return np.concatenate(tiles, axis=1), figures, seconds


def _psnr(a: Float32[np.ndarray, "H W 4"], b: Float32[np.ndarray, "H W 4"]) -> float:
    """Of premultiplied pictures, on white."""
    difference = (a[..., :3] + 1 - a[..., 3:]) - (b[..., :3] + 1 - b[..., 3:])
    return float(-10 * np.log10(max(1e-10, np.square(difference).mean())))


if __name__ == "__main__":
    main()
