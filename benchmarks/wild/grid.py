"""Draw what no number can judge without truth: every method from the input camera and from the sides.

    python -m benchmarks.wild.grid wild-mine results/wild-mine grid.png

A block a clip: the input, then a row a method: first, middle and last frame from the input camera, then the middle
frame from azimuths 45, 90, 180 and 270 degrees.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from bench4d.asset import Gaussians, Mesh
from bench4d.asset_io import read_asset
from bench4d.benchmark import Benchmark, find_benchmark
from bench4d.cameras import orbit
from bench4d.clip import Clip
from bench4d.errors import FormatError
from bench4d.files import read_json
from bench4d.render import composite
from bench4d.rendering import render_frame
from bench4d.similarity import transformed

AZIMUTHS, ELEVATION = (45, 90, 180, 270), 15
LABEL = 14  # pixels above a row
WHITE = (1.0, 1.0, 1.0)


def shots(count: int) -> list[tuple[int, float | None]]:
    """(frame, azimuth) of each column; None is the input camera.

    >>> shots(5)[:4]
    [(0, None), (2, None), (4, None), (2, 45)]
    """
    middle = count // 2
    return [(0, None), (middle, None), (count - 1, None), *((middle, azimuth) for azimuth in AZIMUTHS)]


def input_row(benchmark: Benchmark, clip: Clip, cell: int) -> UInt8[np.ndarray, "h w 3"]:
    """The input's frames; nothing from the sides."""
    cells = []
    for k, azimuth in shots(len(benchmark.times)):
        image = Image.new("RGBA", (cell, cell), "white")
        if azimuth is None:
            image.alpha_composite(Image.fromarray(clip.frames[k]).resize((cell, cell), Image.Resampling.LANCZOS))
        cells.append(np.array(image.convert("RGB")))
    return np.concatenate(cells, axis=1)


def method_row(benchmark: Benchmark, folder: Path, cell: int) -> tuple[UInt8[np.ndarray, "h w 3"], str]:
    """One method's clip in `folder`, and what there is to say: why it has failed, or that it has no sides."""
    columns, aligned = shots(len(benchmark.times)), read_json(folder / "aligned.json")
    blank = np.full((cell, cell, 3), 255, np.uint8)
    if aligned["status"] != "ok":
        return np.concatenate([blank] * len(columns), axis=1), f"failed: {aligned['reason']}"
    cells = []
    asset, rig = read_asset(folder / "asset"), benchmark.data["rig"]
    is_flat = asset.kind == "views"
    for k, azimuth in columns:
        if is_flat and azimuth is not None:
            cells.append(blank)
            continue
        frame = asset.frame_at(float(benchmark.times[k]), benchmark.data["time_rule"])
        if not isinstance(frame, Mesh | Gaussians):
            image = render_frame(frame, benchmark.cameras)[:1]
        else:
            moved = transformed(frame, np.array(aligned["matrix"]))
            angles = ([0.0], 0.0) if azimuth is None else ([float(azimuth)], float(ELEVATION))
            image = render_frame(moved, orbit(*angles, **rig, size=cell))
        shown = Image.fromarray(composite(image, WHITE)[0][0])
        cells.append(np.array(shown.resize((cell, cell), Image.Resampling.LANCZOS)))
    return np.concatenate(cells, axis=1), "images of the input view alone" if is_flat else ""


def grid(benchmark: Benchmark, results: Path, methods: list[str], cell: int = 128) -> Image.Image:
    """All clips and methods of a finished run."""
    rows: list[tuple[str, np.ndarray]] = []
    for clip in benchmark.clips:
        rows.append((f"{clip}: input", input_row(benchmark, Clip.read(results / "clips" / clip), cell)))
        for method in methods:
            image, said = method_row(benchmark, results / method / "seed0" / clip, cell)
            rows.append((f"{clip}: {method}" + f" ({said})" * bool(said), image))
    sheet = Image.new("RGB", (rows[0][1].shape[1], len(rows) * (cell + LABEL)), "white")
    pen = ImageDraw.Draw(sheet)
    for n, (label, image) in enumerate(rows):
        pen.text((3, n * (cell + LABEL) + 1), label[:160], fill=(60, 60, 60))
        sheet.paste(Image.fromarray(image), (0, n * (cell + LABEL) + LABEL))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark")
    parser.add_argument("results", type=Path, help="its folder of results")
    parser.add_argument("out", type=Path, help="a PNG file")
    parser.add_argument("--methods", nargs="+", help="(default: all but references)")
    parser.add_argument("--cell", type=int, default=128, help="pixels a side of one picture (default: 128)")
    options = parser.parse_args()
    try:
        references = ("ground_truth", "oracle_static")
        found = sorted(path.parent.name for path in options.results.glob("*/seed0"))
        methods = options.methods or [name for name in found if name not in references]
        image = grid(find_benchmark(options.benchmark), options.results, methods, options.cell)
    except FormatError as error:
        sys.exit(f"error: {error}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    image.save(options.out)


if __name__ == "__main__":
    main()
