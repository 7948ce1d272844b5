"""Draw a finished run as one picture: a row a clip, a block of views for each method.

python tools/comparison_sheet.py results/synth4d docs/images/default_run.png --methods ground_truth inflate billboard
"""

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

MARGIN, HEAD = 8, 26


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--methods", nargs="+", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frame", type=int, default=10)
    parser.add_argument("--cell", type=int, default=112, help="pixels a side of one image")
    parser.add_argument("--crop", type=float, default=0.8, help="share of each image that is shown, around its centre")
    options = parser.parse_args()

    clips = sorted(path.name for path in (options.results / "clips").iterdir())
    first = options.results / options.methods[0] / f"seed{options.seed}" / clips[0] / "frames"
    views = sorted((p.name for p in first.iterdir() if p.is_dir()), key=lambda view: (view != "input", view))
    block = len(views) * options.cell + MARGIN
    sheet = Image.new("RGB", (len(options.methods) * block - MARGIN, HEAD + len(clips) * options.cell), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for m, method in enumerate(options.methods):
        draw.text((m * block + 6, 4), f"{method}: {', '.join(views)}", fill="black", font=font)
        for c, clip in enumerate(clips):
            for v, view in enumerate(views):
                folder = options.results / method / f"seed{options.seed}" / clip / "frames" / view / "rgb"
                image = Image.open(folder / f"{options.frame:04d}.png")
                side = round(image.width * options.crop)
                corner = (image.width - side) // 2
                part = image.crop((corner, corner, corner + side, corner + side))
                cell = part.resize((options.cell, options.cell), Image.Resampling.LANCZOS)
                sheet.paste(cell, (m * block + v * options.cell, HEAD + c * options.cell))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(options.out, optimize=True)


if __name__ == "__main__":
    main()
