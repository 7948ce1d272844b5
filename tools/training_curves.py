"""Draw the losses and validation figures of training runs as SVG: a column a run, a panel a figure.

python tools/training_curves.py runs/structure/log.jsonl runs/latent/log.jsonl --out docs/images/training_tiny.svg
"""

import argparse
import json
from pathlib import Path

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 300, 210, 52, 30, 40
SHOWN = 20  # points; more are a line without dots


def panel(x: int, y: int, name: str, points: list[tuple[float, float]]) -> str:
    """The figure `name` over steps, with its lowest and highest value on the axis."""
    steps, values = zip(*points, strict=True)
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    across, down = WIDTH - LEFT - 20, HEIGHT - TOP - BOTTOM
    at = [(x + LEFT + across * s / max(steps), y + TOP + down * (high - v) / span) for s, v in points]
    line = " ".join(f"{a:.1f},{b:.1f}" for a, b in at)
    few = at if len(at) < SHOWN else []
    dots = "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.5" fill="#1f5fa8"/>' for a, b in few)
    axis = f'<path d="M{x + LEFT} {y + TOP}V{y + TOP + down}H{x + LEFT + across}" fill="none" stroke="#888"/>'
    labels = [
        (x + LEFT, y + TOP - 12, "start", name),
        (x + LEFT - 6, y + TOP + 4, "end", f"{high:.4g}"),
        (x + LEFT - 6, y + TOP + down + 4, "end", f"{low:.4g}"),
        (x + LEFT + across, y + TOP + down + 16, "end", f"{max(steps):,} steps"),
    ]
    text = "".join(f'<text x="{a}" y="{b}" text-anchor="{anchor}">{label}</text>' for a, b, anchor, label in labels)
    return f'{axis}<polyline points="{line}" fill="none" stroke="#1f5fa8" stroke-width="1.5"/>{dots}{text}'


def curves(log: Path) -> dict[str, list[tuple[float, float]]]:
    """Name -> (step, value): "loss" of training as the log has it, and the figures of validation."""
    found: dict[str, list[tuple[float, float]]] = {}
    for row in map(json.loads, log.read_text().splitlines()):
        if row["kind"] == "train":
            found.setdefault("loss", []).append((row["step"], row["loss"]))
        if row["kind"] == "validation":
            for name in row.keys() - {"kind", "step", "time"}:
                found.setdefault(f"validation, {name}", []).append((row["step"], row[name]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    columns = [curves(log) for log in options.logs]
    panels = [
        panel(k * WIDTH, row * HEIGHT, f"{log.parent.name}: {name}", points)
        for k, (log, column) in enumerate(zip(options.logs, columns, strict=True))
        for row, (name, points) in enumerate(sorted(column.items()))
    ]
    size = f'width="{WIDTH * len(columns)}" height="{HEIGHT * max(map(len, columns))}"'
    style = 'font-family="sans-serif" font-size="12" fill="#222"'
    body = f'<rect width="100%" height="100%" fill="white"/><g {style}>{"".join(panels)}</g>'
    options.out.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{body}</svg>\n')


if __name__ == "__main__":
    main()
