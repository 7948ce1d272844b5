"""Draw clips: four times of the input view, and one novel view.

python -m benchmarks.menagerie.sheet --out docs/images/menagerie.png
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from bench4d.benchmark import find_benchmark
from bench4d.cameras import orbit
from bench4d.render import composite, render_mesh
from bench4d.weights import Locations
from benchmarks.menagerie.assets import find_clip
from benchmarks.menagerie.fetch import asset_places, find_asset
from benchmarks.menagerie.moving import clip_meshes

TIMES, NOVEL, ELEVATION, RADIUS, FOV = 4, 105.0, 15.0, 2.0, 33.0  # the protocol's camera, zoomed in a little
LABEL = 13


def strip(clip: str, places: Locations, tile: int) -> UInt8[np.ndarray, "H W 3"]:
    """Side by side: the input view at TIMES times, then the first time from the azimuth NOVEL."""
    listed, asset = find_clip(clip)
    meshes = clip_meshes(listed, asset, find_asset(asset, places), TIMES)
    shots = [(mesh, 0.0) for mesh in meshes] + [(meshes[0], NOVEL)]
    drawn = [render_mesh(m, orbit([a], ELEVATION, RADIUS, FOV, tile), supersample=4) for m, a in shots]
    return np.concatenate([composite(rgba, (1.0, 1.0, 1.0))[0][0] for rgba in drawn], axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--benchmark", default="menagerie-test", help="whose clips")
    parser.add_argument("--clips", nargs="+", help="ids of clips.csv, instead of a benchmark's")
    parser.add_argument("--tile", type=int, default=128)
    parser.add_argument("--columns", type=int, default=2)
    options = parser.parse_args()
    clips = options.clips or find_benchmark(options.benchmark).clips
    strips = [strip(clip, asset_places(os.environ), options.tile) for clip in clips]
    height, width = options.tile + LABEL, strips[0].shape[1] + 8
    rows = -(-len(strips) // options.columns)
    sheet = Image.new("RGB", (width * options.columns, height * rows), "white")
    pen = ImageDraw.Draw(sheet)
    for k, (clip, image) in enumerate(zip(clips, strips, strict=True)):
        x, y = k // rows * width, k % rows * height
        sheet.paste(Image.fromarray(image), (x, y + LABEL))
        pen.text((x + 3, y + 1), clip, fill=(60, 60, 60))
        pen.line([(x, y), (x + width - 9, y)], fill=(210, 210, 210))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(255, dither=Image.Dither.NONE).save(options.out, optimize=True)


if __name__ == "__main__":
    main()
