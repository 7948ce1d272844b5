"""A benchmark of noise on disk as the score stage finds it: pictures and records, no geometry, nothing rendered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from bench4d.benchmark import Benchmark
from bench4d.files import write_json
from bench4d.frames import write_frame
from bench4d.method import ROOT

SIZE, FRAMES, CLIPS = 32, 5, ("one", "two", "three")
VIEWS = {"front": "input", "left": "novel", "right": "novel"}


def toy_benchmark(folder: Path, metrics: list[dict], clips=CLIPS, size=SIZE, frames=FRAMES, prompt=None) -> Benchmark:
    """A protocol of noise: the first view is the input."""
    protocol = yaml.safe_load((ROOT / "benchmarks/synth4d/protocol.yaml").read_text())
    views = [{"id": v, "azimuth": 90 * k, "elevation": 0, "group": g} for k, (v, g) in enumerate(VIEWS.items())]
    entries = [{"id": clip} | ({"prompt": prompt} if prompt else {}) for clip in clips]
    protocol |= {"id": "noise", "title": "noise", "clips": entries, "views": views, "n_frames": frames, "size": size}
    protocol |= {"geometry": False, "alignment": "none", "metrics": metrics, "table": [], "background": [1, 0.5, 0]}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "protocol.yaml").write_text(yaml.safe_dump(protocol))
    return Benchmark.read(folder / "protocol.yaml")


def write_noise(benchmark: Benchmark, folder: Path, seed: int, failed: str = "") -> None:
    """One clip's records and pictures; a clip that has failed has no pictures."""
    status = {"status": "failed" if failed else "ok", "reason": failed}
    common = {"version": 1, "asset_sha256": f"{seed:064d}"} | status
    write_json(folder / "frames" / "render.json", common | {"renderer": "none"})
    write_json(folder / "aligned.json", common | {"alignment": "none", "matrix": None, "fit": None})
    write_json(folder / "generate.json", status | {"version": 1, "seconds": 1.5, "device": "toy machine"})
    random = np.random.default_rng(seed)
    size = benchmark.data["size"]
    for view in benchmark.views if not failed else ():
        alpha = random.integers(0, 2, (size, size), np.uint8) * 255
        for k in range(len(benchmark.times)):
            rgb = random.integers(0, 256, (size, size, 3), np.uint8)
            write_frame(folder / "frames", view, k, rgb, alpha)


def write_results(benchmark: Benchmark, root: Path, methods: tuple[str, ...] = ("mine",), failed=()) -> None:
    """`root`/truth and `root`/<method>/seed0; `failed` clips of every method have failed."""
    for c, clip in enumerate(benchmark.clips):
        write_noise(benchmark, root / "truth" / clip, 100 + c)
        for m, method in enumerate(methods):
            write_noise(
                benchmark, root / method / "seed0" / clip, 1000 * (m + 1) + c, "it broke" if clip in failed else ""
            )
