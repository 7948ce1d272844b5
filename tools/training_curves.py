"""Draw the validation figures of training runs: one panel a figure, as SVG.

python tools/training_curves.py runs/structure/log.jsonl runs/latent/log.jsonl --out docs/images/training_tiny.svg
"""

import argparse
import json
from pathlib import Path

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 300, 210, 52, 30, 40


def panel(x: int, name: str, points: list[tuple[float, float]]) -> str:
    """The figure `name` over steps, with its first and last value on the axis."""
    steps, values = zip(*points, strict=True)
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    across, down = WIDTH - LEFT - 20, HEIGHT - TOP - BOTTOM
    at = [(x + LEFT + across * s / max(steps), TOP + down * (high - v) / span) for s, v in points]
    line = " ".join(f"{a:.1f},{b:.1f}" for a, b in at)
    dots = "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.5" fill="#1f5fa8"/>' for a, b in at)
    axis = f'<path d="M{x + LEFT} {TOP}V{TOP + down}H{x + LEFT + across}" fill="none" stroke="#888"/>'
    labels = [
        (x + LEFT, TOP - 12, "start", name),
        (x + LEFT - 6, TOP + 4, "end", f"{high:.4g}"),
        (x + LEFT - 6, TOP + down + 4, "end", f"{low:.4g}"),
        (x + LEFT + across, TOP + down + 16, "end", f"{max(steps):,} steps"),
    ]
    text = "".join(f'<text x="{a}" y="{b}" text-anchor="{anchor}">{label}</text>' for a, b, anchor, label in labels)
    return f'{axis}<polyline points="{line}" fill="none" stroke="#1f5fa8" stroke-width="1.5"/>{dots}{text}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    curves: dict[str, list[tuple[float, float]]] = {}
    for log in options.logs:
        for row in map(json.loads, log.read_text().splitlines()):
            if row["kind"] == "validation":
                for name in row.keys() - {"kind", "step", "time"}:
                    curves.setdefault(f"{log.parent.name}: {name}", []).append((row["step"], row[name]))
    panels = [panel(k * WIDTH, name, points) for k, (name, points) in enumerate(sorted(curves.items()))]
    size = f'width="{WIDTH * len(panels)}" height="{HEIGHT}"'
    style = 'font-family="sans-serif" font-size="12" fill="#222"'
    body = f'<rect width="100%" height="100%" fill="white"/><g {style}>{"".join(panels)}</g>'
    options.out.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{body}</svg>\n')


if __name__ == "__main__":
    main()
