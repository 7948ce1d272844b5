"""Draw a finished run as one picture: a block of views for each method, or with --stacked a block for each clip.

python tools/comparison_sheet.py results/synth4d docs/images/default_run.png --methods ground_truth inflate billboard
python tools/comparison_sheet.py results/synth4d-test docs/images/tiny_test.jpg --methods ground_truth ss4d_tiny \\
    --frames 0 10 21 31 --stacked --cell 56

A block of a method has a row a clip; a block of a clip has a row a method, in the order of --methods.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

MARGIN, HEAD = 8, 22


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--methods", nargs="+", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", type=int, nargs="+", default=[10])
    parser.add_argument("--cell", type=int, default=112, help="pixels a side of one image")
    parser.add_argument("--crop", type=float, default=0.8, help="share of each image that is shown, around its centre")
    parser.add_argument("--stacked", action="store_true", help="methods below each other")
    parser.add_argument("--columns", type=int, default=2, help="of blocks, with --stacked")
    options = parser.parse_args()
    blocks = list(blocks_of(options))
    columns = options.columns if options.stacked else len(blocks)
    width = len(blocks[0][1][0]) * options.cell + MARGIN
    height = HEAD + len(blocks[0][1]) * options.cell + MARGIN
    sheet = Image.new("RGB", (columns * width - MARGIN, -(-len(blocks) // columns) * height - MARGIN), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for k, (title, rows) in enumerate(blocks):
        x, y = k % columns * width, k // columns * height
        draw.text((x + 6, y + 2), title, fill="black", font=font)
        for r, row in enumerate(rows):
            for c, path in enumerate(row):
                sheet.paste(cell(path, options.crop, options.cell), (x + c * options.cell, y + HEAD + r * options.cell))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(options.out, optimize=True)


def blocks_of(options: argparse.Namespace) -> Iterator[tuple[str, list[list[Path]]]]:
    """A title and rows of pictures for each block."""
    clips = sorted(path.name for path in (options.results / "clips").iterdir())

    def row(method: str, clip: str) -> list[Path]:
        folder = options.results / method / f"seed{options.seed}" / clip / "frames"
        views = sorted((p.name for p in folder.iterdir() if p.is_dir()), key=lambda view: (view != "input", view))
        return [folder / view / "rgb" / f"{frame:04d}.png" for view in views for frame in options.frames]

    if options.stacked:
        for clip in clips:
            yield clip, [row(method, clip) for method in options.methods]
    else:
        for method in options.methods:
            rows = [row(method, clip) for clip in clips]
            yield f"{method}: {', '.join(dict.fromkeys(path.parts[-3] for path in rows[0]))}", rows


def cell(path: Path, crop: float, side: int) -> Image.Image:
    """The middle of a picture, `side` pixels wide."""
    image = Image.open(path)
    shown = round(image.width * crop)
    corner = (image.width - shown) // 2
    part = image.crop((corner, corner, corner + shown, corner + shown))
    return part.resize((side, side), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
