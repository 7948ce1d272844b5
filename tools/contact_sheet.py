"""Draw a contact sheet of synth4d objects: a row of times from the input camera, then one novel view.

python tools/contact_sheet.py --out docs/images/synth4d_test.png
python tools/contact_sheet.py --out sheet.png --ids walker-3 fish-5 --times 0 0.5 1 1.5
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from bench4d.cameras import orbit
from bench4d.render import composite, render_mesh
from benchmarks.synth4d.generator import make_object
from benchmarks.synth4d.splits import TEST

RADIUS, FOV, ELEVATION = 2.0, 33.0, 15.0  # the protocol's camera, zoomed in a little


def strip(object_id: str, times: list[float], novel: float, tile: int) -> UInt8[np.ndarray, "H W 3"]:
    """The object at all times from the input camera, and at the first time from the azimuth `novel`."""
    thing = make_object(object_id)
    shots = [(time, 0.0) for time in times] + ([(times[0], novel)] if novel else [])
    tiles = []
    for time, azimuth in shots:
        rgba = render_mesh(thing.mesh_at(time), orbit([azimuth], ELEVATION, RADIUS, FOV, tile), supersample=2)
        tiles.append(composite(rgba, (1.0, 1.0, 1.0))[0][0])
    return np.concatenate(tiles, axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ids", nargs="+", default=list(TEST))
    parser.add_argument("--times", nargs="+", type=float, default=[0.0, 0.25, 0.5, 0.75, 1.25])
    parser.add_argument("--novel", type=float, default=105.0, help="azimuth of the last column")
    parser.add_argument("--tile", type=int, default=128)
    parser.add_argument("--columns", type=int, default=2, help="objects side by side")
    options = parser.parse_args()

    label = 13
    strips = [strip(i, options.times, options.novel, options.tile) for i in options.ids]
    height, width = options.tile + label, strips[0].shape[1] + 8
    rows = -(-len(strips) // options.columns)
    sheet = Image.new("RGB", (width * options.columns, height * rows), "white")
    pen = ImageDraw.Draw(sheet)
    for k, (object_id, image) in enumerate(zip(options.ids, strips, strict=True)):
        x, y = k // rows * width, k % rows * height
        sheet.paste(Image.fromarray(image), (x, y + label))
        pen.text((x + 3, y + 1), object_id, fill=(60, 60, 60))
        pen.line([(x, y), (x + width - 9, y)], fill=(210, 210, 210))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(255, dither=Image.Dither.NONE).save(options.out, optimize=True)


if __name__ == "__main__":
    main()
