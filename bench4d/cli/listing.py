"""`bench4d list`: what is here, from the real files."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bench4d.errors import FormatError

if TYPE_CHECKING:
    from bench4d.metric import Metric

NAME, HELP = "list", "methods, metrics, benchmarks and weights that are here"
DESCRIPTION = """List what is here, one line each, read from the files themselves.

  bench4d list                everything
  bench4d list metrics        what can be scored; `bench4d explain ID` tells more"""
KINDS = ("methods", "metrics", "benchmarks", "weights")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", nargs="?", choices=KINDS, help="one kind (default: all)", metavar="KIND")


def run(options: argparse.Namespace) -> int:
    lists = {"methods": methods, "metrics": metrics, "benchmarks": benchmarks, "weights": weights}
    for kind in [options.kind] if options.kind else KINDS:
        rows = lists[kind]()
        if not options.kind:
            print(kind)
        for line in columns(rows, "" if options.kind else "  "):
            print(line)
    return 0


def columns(rows: list[tuple[str, ...]], indent: str = "") -> list[str]:
    """Rows of cells, each column as wide as its widest cell; the last is left as it is.

    >>> columns([("a", "bc", "d"), ("efg", "h", "ijk")])
    ['a    bc  d', 'efg  h   ijk']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        indent + "  ".join([*(cell.ljust(w) for cell, w in zip(row[:-1], widths[:-1], strict=True)), row[-1]])
        for row in rows
    ]


def methods() -> list[tuple[str, ...]]:
    """id, kind, output, needs, name; a folder that breaks the schema says so."""
    from bench4d.method import Method, method_folders

    rows: list[tuple[str, ...]] = []
    for name, folder in method_folders().items():
        try:
            data = Method.read(folder).data
        except FormatError:
            rows.append((name, "?", "?", "?", f"breaks the contract: `bench4d check {name}` says where"))
            continue
        needs = "GPU" if data["needs"]["gpu"] else "CPU"
        rows.append((name, data["kind"], data["output"], needs, data["name"]))
    return rows


def metrics() -> list[tuple[str, ...]]:
    """id, version, direction and units, what it needs, its definition's beginning."""
    from metrics import METRICS

    rows: list[tuple[str, ...]] = []
    for metric in METRICS.values():
        arrow = "↑" if metric.direction == "higher" else "↓"
        units = "" if metric.units == "1" else f" {metric.units}"
        rows.append(
            (metric.id, f"v{metric.version}", f"{arrow}{units}", sees(metric), shortened(metric.definition, 70))
        )
    return rows


def sees(metric: Metric) -> str:
    """What it needs; of features also which, of what films, and whether one value is of the whole set."""
    if metric.feature is None:
        return metric.needs
    return f"{metric.feature.id} ({metric.films})" + (", set" if metric.unit == "set" else "")


def shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[:length].rsplit(" ", 1)[0] + " ..."


def size_of(count: int | None) -> str:
    """Bytes for people.

    >>> size_of(6280), size_of(58861016), size_of(2023804201), size_of(None)
    ('6.3 kB', '58.9 MB', '2.0 GB', '?')
    """
    if count is None or count >= 1e9:
        return "?" if count is None else f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def benchmarks() -> list[tuple[str, ...]]:
    """id, version, clips, frames, size, title."""
    from bench4d.benchmark import find_benchmark, protocol_files

    rows: list[tuple[str, ...]] = []
    for name in protocol_files():
        found = find_benchmark(name)
        data = found.data
        size = f"{data['n_frames']} frames of {data['size']} x {data['size']}"
        rows.append((name, f"v{found.version}", f"{len(found.clips)} clips", size, data["title"]))
    return rows


def weights() -> list[tuple[str, ...]]:
    """id, whether it lies here, size, title. Files are not read: `bench4d weights verify` does."""
    import os

    from bench4d.weights import Locations, read_catalogue

    places = Locations.of(os.environ)
    rows: list[tuple[str, ...]] = []
    for entry in read_catalogue().values():
        here = any(entry.may_be(folder / entry.file) for folder in entry.folders(places))
        rows.append((entry.id, "here" if here else "not here", size_of(entry.size), entry.title))
    return rows
