"""Draw SS4D's data flow with its shapes: python tools/ss4d_figure.py --out docs/images/ss4d_dataflow.png"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT, SCALE = 1000, 640, 2
INK, SOFT, LINE = (30, 30, 30), (95, 95, 95), (120, 120, 120)
DATA, NETWORK, FIXED = (255, 255, 255), (221, 232, 247), (238, 238, 232)  # fill colours

# left, top, width, height, fill, title, lines below it
BOXES = [
    (20, 20, 200, 74, DATA, "Clip", ["T frames, RGBA", "T even (32)"]),
    (270, 20, 200, 74, FIXED, "Crop", ["one square for all frames", "T x 518 x 518, on black"]),
    (520, 20, 200, 74, NETWORK, "Image encoder", ["DINOv2 ViT-L/14, 4 registers", "304 M parameters"]),
    (770, 20, 210, 74, DATA, "Image tokens c", ["[T, 1374, 1024]", "zeros for the second pass"]),
    (20, 180, 200, 74, DATA, "Noise", ["[T, 8, 16, 16, 16]", "first draw of the seed"]),
    (270, 165, 240, 100, NETWORK, "Stage 1: structure flow", [
        "dense transformer, 24 blocks, 556 M", "tokens: 16^3 a frame", "self attention: windows of 8 frames"]),
    (560, 180, 190, 74, NETWORK, "Structure decoder", ["3-D convolutions, 74 M", "16^3 -> 64^3, frame by frame"]),
    (800, 180, 180, 74, DATA, "Occupied voxels", ["N rows (frame, x, y, z)", "logit > 0"]),
    (20, 375, 200, 74, DATA, "Noise on the voxels", ["[N, 8]", "second draw of the seed"]),
    (270, 335, 240, 140, NETWORK, "Stage 2: latent flow", [
        "64^3, T frames: 3-D convolutions", "32^3, T: convolutions in time", "32^3, T/2: transformer, 24 blocks,",
        "attention over the whole clip", "and back, with skips; 645 M"]),
    (560, 375, 190, 74, DATA, "Latents", ["[N, 8]", "x std + mean"]),
    (270, 545, 240, 74, NETWORK, "Gaussian decoder", ["12 blocks, 85 M", "windows of 8^3 voxels x 8 frames"]),
    (560, 545, 190, 74, DATA, "Decoder output", ["[N, 448]: 14 numbers", "for each of 32 Gaussians"]),
    (800, 545, 180, 74, DATA, "T sets of Gaussians", ["32 a voxel, z up,", "in [-0.5, 0.5]^3"]),
]  # fmt: skip
# Corners of each arrow, the last one its tip.
ARROWS = [
    [(220, 57), (270, 57)], [(470, 57), (520, 57)], [(720, 57), (770, 57)],
    [(220, 217), (270, 217)], [(510, 217), (560, 217)], [(750, 217), (800, 217)],
    [(875, 94), (875, 130), (390, 130), (390, 165)],
    [(890, 254), (890, 300), (120, 300), (120, 375)],
    [(220, 412), (270, 412)], [(510, 412), (560, 412)],
    [(655, 449), (655, 515), (390, 515), (390, 545)],
    [(510, 582), (560, 582)], [(750, 582), (800, 582)],
    [(875, 130), (985, 130), (985, 318), (390, 318), (390, 335)],
]  # fmt: skip
NOTES = [
    (520, 112, "cross attention: each frame sees its own tokens"),
    (560, 320, "each pair of frames sees the tokens of both"),
    (20, 150, "Euler steps, guided while t >= 0.5"),
]


def draw() -> Image.Image:
    picture = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), "white")
    pen = ImageDraw.Draw(picture)
    title, text = (ImageFont.load_default(size * SCALE) for size in (14, 12))
    for corners in ARROWS:
        points = [(x * SCALE, y * SCALE) for x, y in corners]
        pen.line(points, fill=LINE, width=2 * SCALE, joint="curve")
        (x0, y0), (x1, y1) = points[-2:]
        dx, dy = (x1 > x0) - (x1 < x0), (y1 > y0) - (y1 < y0)
        side, back = 5 * SCALE, 9 * SCALE
        left = (x1 - dx * back + dy * side, y1 - dy * back + dx * side)
        right = (x1 - dx * back - dy * side, y1 - dy * back - dx * side)
        pen.polygon([(x1, y1), left, right], fill=LINE)
    for left, top, width, height, fill, name, lines in BOXES:
        box = [v * SCALE for v in (left, top, left + width, top + height)]
        pen.rounded_rectangle(box, radius=6 * SCALE, fill=fill, outline=LINE, width=SCALE)
        pen.text(((left + 10) * SCALE, (top + 8) * SCALE), name, fill=INK, font=title)
        for k, line in enumerate(lines):
            pen.text(((left + 10) * SCALE, (top + 30 + 19 * k) * SCALE), line, fill=SOFT, font=text)
    for x, y, line in NOTES:
        pen.text((x * SCALE, y * SCALE), line, fill=SOFT, font=text)
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    draw().quantize(64, dither=Image.Dither.NONE).save(options.out, optimize=True)


if __name__ == "__main__":
    main()
