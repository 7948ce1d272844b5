"""`bench4d explain`: what a metric measures, exactly, and what it cannot see."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench4d.metric import Metric

from bench4d.errors import FormatError

NAME, HELP = "explain", "what a metric measures, exactly, and what it cannot see"
DESCRIPTION = """Print a metric's record (version, unit, direction, weights) and its page from docs/metrics.

  bench4d explain psnr-masked
  bench4d explain lpips         an unknown id: the nearest ones are named"""

UNITS = {"clip": "clip", "set": "set of clips, for each group of views"}
NEEDS = {
    "frames": "rendered frames",
    "features": "vectors of rendered frames",
    "geometry": "geometry",
    "record": "the record of the method's run",
}
FILMS = {
    "frame": "every picture alone",
    "view": "a view's frames make one film",
    "time": "a moment's views make one film",
    "diagonal": "moments one after the other, going through the views meanwhile, make one film",
    "raster": "all views, one after the other and every other one backwards, make one film",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("metric", metavar="METRIC", help="an id of `bench4d list metrics`")


def run(options: argparse.Namespace) -> int:
    from bench4d.method import ROOT

    metric = find_metric(options.metric)
    print("\n".join(record(metric)))
    page = ROOT / "docs" / "metrics" / f"{metric.id}.md"
    if page.is_file():
        print("\n" + page.read_text("utf-8").rstrip())
    return 0


def find_metric(name: str) -> Metric:
    """The metric with this id. Raises FormatError with the nearest ids."""
    import difflib

    from metrics import METRICS

    if name not in METRICS:
        near = [id for id in METRICS if id.startswith(name)] or difflib.get_close_matches(name, METRICS, 3, 0.5)
        expected = "an id of `bench4d list metrics`" + (f" (the nearest: {', '.join(near)})" if near else "")
        step = f"Try `bench4d explain {near[0]}`." if near else "That command shows them all."
        raise FormatError("metric", expected, repr(name), step)
    return METRICS[name]


def record(metric: Metric) -> list[str]:
    from .listing import columns

    better = {"higher": "↑ higher is better", "lower": "↓ lower is better"}[metric.direction]
    rows: list[tuple[str, ...]] = [
        ("metric", f"{metric.id}, version {metric.version}"),
        ("definition", metric.definition),
        ("direction", better + ("" if metric.perfect is None else f"; the truth reaches {metric.perfect:g}")),
        ("unit", f"one value a {UNITS[metric.unit]}, in {'plain numbers' if metric.units == '1' else metric.units}"),
        *needs_of(metric),
        ("reference", metric.reference),
    ]
    rows += [("weights", text) for text in weights_lines(metric)] or [("weights", "none")]
    return columns(rows)


def needs_of(metric: Metric) -> list[tuple[str, ...]]:
    if metric.feature is None:
        return [("needs", NEEDS[metric.needs] + (" with their alpha" if metric.alpha else ""))]
    feature = metric.feature
    against = "the clip's prompt" if metric.against == "prompt" else "the true pictures"
    return [
        ("needs", f"vectors of rendered frames, against {against}"),
        ("feature", f"{feature.id}, version {feature.version}: {feature.width} numbers a {feature.of}"),
        ("films", f"{metric.films}: {FILMS[metric.films]}"),
    ]


def weights_lines(metric: Metric) -> list[str]:
    import os

    from bench4d.features import weights_of
    from bench4d.weights import Locations, look, read_catalogue

    catalogue, places, lines = read_catalogue(), Locations.of(os.environ), []
    for id in weights_of(metric):
        here, _ = look(catalogue[id], places)
        state = f"here: {here}" if here else f"not here: {catalogue[id].next_step}"
        lines.append(f"{id}, sha256 {catalogue[id].sha256 or 'unpinned'}, {state}")
    return lines
