"""Quality against passes: what a checkpoint makes of unseen objects with fewer steps, other solvers, shorter guidance.

python tools/sampler_study.py --checkpoint ss4d/checkpoints/tiny --clips 21 --out build/samplers
python tools/sampler_study.py --checkpoint DIR --steps 5 10 25 50 --solvers euler dpm adams --intervals 0.5:1 0:1 none

Every setting begins with the same noise, so settings are compared object by object. A pass is one evaluation of a
flow's network; guided steps have two. Objects are validation seeds of synth4d, never the benchmark's own, at three
times in the benchmark's novel views; lpips-vgg needs its weights (bench4d weights fetch). Writes study.csv (a row a
setting and object), table.md, and figure.pdf and .png where `tools/install.py figures` was run. What is there already
is not computed again.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from jaxtyping import Float64

from bench4d.benchmark import find_benchmark
from bench4d.errors import FormatError
from bench4d.files import atomic
from bench4d.metric import Score
from bench4d.stats import Interval, bootstrap_mean
from bench4d.weights import WeightsMissing, resolve
from metrics.lpips import WEIGHTS, load
from ss4d.checkpoint import SamplerSettings
from ss4d.data.sources import synth_ids
from ss4d.pipeline import SS4DPipeline
from ss4d.sampler import times
from tools.generation_sheet import judge

ROOT = Path(__file__).resolve().parents[1]
FIGURES = {"silhouette-iou novel": "↑", "psnr novel": "↑", "lpips-vgg novel": "↓"}  # and what is better
HEAD = ("solver", "steps", "interval", "passes", "object", *FIGURES, "seconds")
COLORS = ("#0b57b0", "#b3261e", "#1a7f37")


@dataclass(frozen=True)
class Setting:
    """How both stages are sampled.

    Attributes:
        interval: of guidance, None for none at all.
        strength: of guidance in it, None for the checkpoint's.
    """

    solver: str
    steps: int
    interval: tuple[float, float] | None
    strength: float | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        interval = "none" if self.interval is None else f"{self.interval[0]:g}:{self.interval[1]:g}"
        return self.solver, str(self.steps), interval

    def applied(self, settings: SamplerSettings) -> SamplerSettings:
        guided: dict[str, Any] = (
            {"cfg_interval": self.interval} if self.interval else {"cfg_strength": 0.0, "cfg_interval": (2.0, 2.0)}
        )
        if self.interval and self.strength is not None:
            guided["cfg_strength"] = self.strength
        return replace(settings, solver=self.solver, steps=self.steps, **guided)

    def passes(self, stages: Sequence[SamplerSettings]) -> int:
        """Evaluations of a network for a clip, over both stages."""
        return sum(count_passes(self.applied(stage)) for stage in stages)


def count_passes(settings: SamplerSettings) -> int:
    """One a step, and one more for each step that begins inside the interval of guidance, where there is any.

    >>> count_passes(SamplerSettings()), count_passes(SamplerSettings(steps=8))  # the paper's 25 steps; 8 of them
    (44, 15)
    """
    low, high = settings.cfg_interval
    starts = times(settings.steps, settings.rescale_t)[:-1]
    return settings.steps + (sum(low <= t <= high for t in starts) if settings.cfg_strength else 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=21)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, nargs="+", default=[5, 10, 15, 25, 50])
    parser.add_argument("--solvers", nargs="+", default=["euler", "dpm"])
    parser.add_argument("--intervals", nargs="+", default=["0.5:1"], help="LOW:HIGH or none")
    parser.add_argument("--guidance", type=float, help="strength of guidance (default: the checkpoint's)")
    options = parser.parse_args()
    grid = product(options.solvers, options.steps, map(parsed, options.intervals))
    settings = [Setting(*chosen, options.guidance) for chosen in grid]
    try:
        lpips = load({id: resolve(id) for id in WEIGHTS["vgg"]}, "vgg")
    except WeightsMissing as error:
        sys.exit(f"sampler_study: {error}")
    pipeline = SS4DPipeline.from_pretrained(options.checkpoint, device=options.device)
    objects = synth_ids("val", options.clips)
    rows = study(pipeline, settings, objects, options.frames, options.out / "study.csv", lpips)
    summary = summarise(rows)
    with atomic(options.out / "table.md") as temporary:
        temporary.write_text(text := table(summary), encoding="utf-8")
    sys.stdout.write(text)
    draw(summary, options.out / "figure")


def parsed(text: str) -> tuple[float, float] | None:
    """
    >>> parsed("0.5:1"), parsed("none")
    ((0.5, 1.0), None)
    """
    if text == "none":
        return None
    try:
        low, high = map(float, text.split(":"))
    except ValueError:
        raise FormatError("--intervals", "LOW:HIGH or none", repr(text)) from None
    return low, high


def study(
    pipeline: SS4DPipeline, settings: Sequence[Setting], objects: Sequence[str], frames: int, out: Path, lpips: Score
) -> list[dict[str, str]]:
    """Rows of study.csv for these settings and objects; each is written as soon as it is known."""
    out.parent.mkdir(parents=True, exist_ok=True)
    rows = list(csv.DictReader(out.read_text("utf-8").splitlines())) if out.is_file() else []
    known = {(*_key(row), row["object"]) for row in rows}
    cameras, given = find_benchmark("synth4d", ROOT).cameras, pipeline.checkpoint
    stages = (given.structure_sampler, given.latent_sampler)
    with out.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, HEAD)
        if not rows:
            writer.writeheader()
        for name, setting in product(objects, settings):
            if (*setting.key, name) in known:
                continue
            first, second = (setting.applied(stage) for stage in stages)
            pipeline.checkpoint = replace(given, structure_sampler=first, latent_sampler=second)
            _, found, seconds = judge(pipeline, name, cameras, frames, lpips)
            row = dict(zip(HEAD[:5], (*setting.key, setting.passes(stages), name), strict=True))
            row |= {figure: f"{found[figure]:.6f}" for figure in FIGURES} | {"seconds": f"{seconds:.2f}"}
            writer.writerow(row)
            file.flush()
            rows.append({key: str(value) for key, value in row.items()})
            sys.stderr.write(" ".join(str(value) for value in row.values()) + "\n")
    pipeline.checkpoint = given
    wanted = {(*setting.key, name) for setting in settings for name in objects}
    return [row for row in rows if (*_key(row), row["object"]) in wanted]


def _key(row: dict[str, str]) -> tuple[str, str, str]:
    return row["solver"], row["steps"], row["interval"]


@dataclass(frozen=True)
class Summary:
    """A setting's means over objects, and its differences to the setting of most passes, object by object."""

    key: tuple[str, str, str]
    passes: int
    means: dict[str, Interval]
    less: dict[str, Interval]
    seconds: float


def summarise(rows: Sequence[dict[str, str]]) -> list[Summary]:
    """By passes. The reference is Euler's setting of most passes, as the paper samples; else any of most passes."""
    groups: dict[tuple[str, str, str], dict[str, dict[str, str]]] = {}
    for row in rows:
        groups.setdefault(_key(row), {})[row["object"]] = row
    passes = {key: int(next(iter(group.values()))["passes"]) for key, group in groups.items()}
    reference = max(groups, key=lambda key: (key[0] == "euler", passes[key]))
    objects = sorted(groups[reference])

    def values(key: tuple[str, str, str], figure: str) -> Float64[np.ndarray, " n"]:
        return np.array([float(groups[key][name][figure]) for name in objects])

    found = []
    for key in sorted(groups, key=lambda key: (passes[key], key)):
        if sorted(groups[key]) != objects:
            raise FormatError("study.csv", "the same objects in all settings", f"others in {key}", "Run it to its end.")
        means = {figure: bootstrap_mean(values(key, figure)) for figure in FIGURES}
        less = {figure: bootstrap_mean(values(key, figure) - values(reference, figure)) for figure in FIGURES}
        found.append(Summary(key, passes[key], means, less, float(values(key, "seconds").mean())))
    return found


def table(summary: Sequence[Summary]) -> str:
    lines = [
        "| solver | steps | guidance | passes | "
        + " | ".join(f"{name} {better}" for name, better in FIGURES.items())
        + " | differences to most steps | s a clip |"
    ]
    lines += ["|---|---:|---|---:|" + "---:|" * len(FIGURES) + "---|---:|"]
    for one in summary:
        means = " | ".join(f"{one.means[figure].mean:.4g}" for figure in FIGURES)
        less = "; ".join(f"{x.mean:+.3g} [{x.low:+.3g}, {x.high:+.3g}]" for x in one.less.values())
        lines.append(f"| {' | '.join(one.key)} | {one.passes} | {means} | {less} | {one.seconds:.1f} |")
    return "\n".join(lines) + "\n"


def draw(summary: Sequence[Summary], out: Path) -> None:
    """A panel a figure, a line a solver and interval; says so and goes on where matplotlib is not installed."""
    from bench4d.figures.drawing import save, settings

    try:
        with settings():
            from matplotlib.figure import Figure

            figure: Any = Figure(figsize=(9, 2.6), layout="constrained")
            for axes, name in zip(figure.subplots(1, len(FIGURES)), FIGURES, strict=True):
                for k, line in enumerate(sorted({(one.key[0], one.key[2]) for one in summary})):
                    points = [one for one in summary if (one.key[0], one.key[2]) == line]
                    x, y = [one.passes for one in points], [one.means[name] for one in points]
                    color = COLORS[k % len(COLORS)]
                    axes.plot(
                        x, [m.mean for m in y], "o-", color=color, markersize=3, linewidth=1, label=" ".join(line)
                    )
                    axes.fill_between(x, [m.low for m in y], [m.high for m in y], color=color, alpha=0.12, linewidth=0)
                axes.set(xscale="log", xlabel="passes of both networks", title=f"{name} {FIGURES[name]}")
                axes.legend(frameon=False)
            for path in save(figure, out, dpi=200):
                sys.stdout.write(f"{path}\n")
    except FormatError as error:
        sys.stderr.write(f"no figure: {error}\n")


if __name__ == "__main__":
    main()
