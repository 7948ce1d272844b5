"""The pages: Jinja templates with autoescape. Nothing that a method, a protocol or a description says is markup."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from .. import __version__
from ..features import weights_of
from ..method import ROOT, method_folders
from ..metric import Metric
from ..table_formats import notes, number
from ..tables import Cell, TableRow
from . import markdown
from .run import Run
from .statistics import column_title, mean_ranks, sections
from .table_data import about, method_data, title_of
from .writing import slug

SHELLS = {
    "index.html": ("table", "Results"),
    "clip.html": ("clip", "Clip"),
    "number.html": ("number", "How this number was made"),
}
MAX_TEXT = 200_000  # characters of a document that a page shows


def make_pages(run: Run) -> dict[str, str]:
    """Path in the site -> HTML."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.globals |= {"benchmark_id": run.benchmark.id, "made_from": _made_from(run), "linked": markdown.linked}
    env.filters["short"] = short

    def page(path: str, template: str, title: str, kind: str = "static", **content: Any) -> tuple[str, str]:
        root = "../" * path.count("/")
        shared = {"kind": kind, "title": title, "root": root, "current": path}
        return path, env.get_template(f"{template}.html.j2").render(content | shared)

    made = [page(path, "shell", title, kind) for path, (kind, title) in SHELLS.items()]
    told = [_method(run, k) for k in range(len(run.lines))]
    made.append(page("methods.html", "methods", "Methods", methods=[t["m"] for t in told], skipped=_skipped(run)))
    made += [page(t["m"]["page"], "method", t["m"]["title"], **t) for t in told]
    metrics = [_metric(run, id) for id in dict.fromkeys(column.metric.id for column in run.columns)]
    made.append(page("metrics.html", "metrics", "Metrics", metrics=metrics))
    made += [page(m["page"], "metric", **_without_page(m)) for m in metrics]
    made.append(page("benchmark.html", "benchmark", "Protocol", **_benchmark(run)))
    ranks = mean_ranks(run)
    alignments = len({rank["alignment"] for rank in ranks})
    path = "statistics.html"
    made.append(page(path, "statistics", "Statistics", ranks=ranks, alignments=alignments, sections=sections(run)))
    return dict(made)


def short(text: str, most: int = 32) -> Markup:
    """A name in a table: cut, with the whole of it as a title.

    >>> short("inflate"), short("a-very-long-name", 8)
    (Markup('inflate'), Markup('<span title="a-very-long-name">a-very-…</span>'))
    """
    if len(text) <= most:
        return escape(text)
    return Markup('<span title="{}">{}…</span>').format(text, text[: most - 1])


def _made_from(run: Run) -> str:
    versions = ", ".join(sorted(set(run.rows["code_version"])))
    made = f"Made by bench4d {__version__} from {len(run.rows)} result rows of {run.benchmark.id}"
    return f"{made}, scored by code {versions}."


def _without_page(metric: dict[str, Any]) -> dict[str, Any]:
    return {key: metric[key] for key in ("title", "definition", "facts")} | {"page": metric["document"]}


def _text(path: Path) -> str:
    """A document's text; empty if it is not there, or no text."""
    try:
        return path.read_text("utf-8")[:MAX_TEXT]
    except (OSError, ValueError):
        return ""


def _document(path: Path, links: markdown.Links = markdown.nowhere, top: int = 2) -> Markup | None:
    """Without its heading, which the page has already. `top`: the level of that heading here."""
    text = _text(path)
    if text.startswith("# "):
        text = text.partition("\n")[2]
    return markdown.html(text, links, top) if text.strip() else None


def _method(run: Run, k: int) -> dict[str, Any]:
    row = run.lines[k]
    method, data = row.method, row.method.data
    folder = method_folders().get(method.id)
    known = folder is not None and folder.resolve() == method.folder.resolve()
    m = method_data(run, k)
    code, needs = data.get("code"), data.get("needs", {})
    versions = sorted(set(run.rows.loc[run.rows["method"] == method.id, "method_version"]))
    changed = ""
    if known and versions != [method.version]:
        changed = f"rows of version {', '.join(versions)}, now {method.version}"
    facts: list[tuple[str, Any]] = [
        ("id", method.id),
        (
            "kind",
            {"reference": "reference: is shown the truth, stands outside the ranks"}.get(method.kind, method.kind),
        ),
        ("makes", m["output"]),
        ("paper", markdown.linked(data["paper"]) if data.get("paper") else ""),
        (
            "code",
            markdown.linked(f"{code['repository']} at {code['commit']}")
            if code
            else ""
            if not known
            else "in this repository",
        ),
        ("licence", data.get("licence", "")),
        ("trained on", m["trained_on"] or ("nothing" if known else "not known")),
        ("status here", m["status"]),
        (
            "deterministic",
            {"True": "yes: equal bytes for equal seeds", "False": "no"}.get(f"{data.get('deterministic')}", ""),
        ),
        ("version of the rows", versions),
        ("alignment", row.alignment),
        ("seeds", [str(seed) for seed in m["seeds"]]),
        ("machine", m["device"]),
        ("seconds a clip", "" if m["seconds_per_clip"] is None else f"{m['seconds_per_clip']:.3g}"),
        ("peak memory", _bytes(m["peak_ram_bytes"])),
        ("peak GPU memory", _bytes(m["peak_gpu_bytes"])),
        ("needs", ", ".join(f"{key} {value}" for key, value in needs.items())),
    ]
    return {
        "m": m | {"seen": row.contamination, "licence": data.get("licence", "")},
        "folder": known,
        "changed": changed,
        "facts": facts,
        "weights": data["weights"],
        "deviations": data.get("deviations", []),
        "cells": [_cell(run, row, c) for c in range(len(run.columns))],
        "paper_results": data.get("paper_results", []),
        "clips": run.benchmark.clips,
        "failures": _failures(run, method.id),
        "parameters": json.dumps(data["parameters"], indent=1, sort_keys=True) if data["parameters"] else "",
        "environment": _text(method.folder / "environment.yaml") if known else "",
        "readme": _document(method.folder / "README.md") if known else None,
    }


def _bytes(count: float | None) -> str:
    return "" if count is None else f"{count / 2**30:.3g} GiB"


def _failures(run: Run, method: str) -> dict[str, str]:
    rows = run.rows[(run.rows["method"] == method) & (run.rows["status"] == "failed")]
    return dict(zip(rows["clip"].tolist(), rows["reason"].tolist(), strict=True))


def _cell(run: Run, row: TableRow, k: int) -> dict[str, Any]:
    column, cell = run.columns[k], row.cells[k]
    mean, interval, _ = number(cell, _digits(cell))
    told: dict[str, Any] = {
        "key": column.key,
        "title": column_title(column),
        "page": f"metrics/{slug(column.metric.id)}.html",
    }
    told |= {"mean": mean, "interval": interval, "covered": cell.covered, "total": cell.total}
    return told | {"reasons": "; ".join(cell.reasons)}


def _digits(cell: Cell) -> int:
    return 0 if cell.interval is None or abs(cell.interval.mean) >= 1000 else 4 if abs(cell.interval.mean) < 10 else 2


def _metric(run: Run, id: str) -> dict[str, Any]:
    metric: Metric = run.metrics[id]
    rows = run.rows[run.rows["metric"] == id]
    ids = weights_of(metric)
    sums = sorted({text for text in rows["metric_weights_sha256"].tolist() if text})
    facts: list[tuple[str, Any]] = [
        ("id", id),
        ("version", [str(v) for v in sorted(set(rows["metric_version"]))]),
        ("better", f"{metric.direction} is better"),
        ("truth reaches", "" if metric.perfect is None else f"{metric.perfect:g}"),
        ("units", "plain numbers" if metric.units == "1" else metric.units),
        ("one value", "a set of clips and a group of views" if metric.unit == "set" else "a clip"),
        (
            "looks at",
            {"frames": "rendered frames", "features": "vectors of rendered frames", "geometry": "geometry"}.get(
                metric.needs, "the record of the run"
            ),
        ),
        ("reference", markdown.linked(metric.reference)),
        (
            "weights",
            [Markup("{} (sha256 {})").format(*pair) for text in sums for pair in _paired(ids, text)] or list(ids),
        ),
        ("scored on", sorted(set(rows["device"]) - {""})),
    ]
    shown = {column.metric.id for column in run.columns}

    def links(target: str) -> str | None:
        name = target.removesuffix(".md")
        return f"{slug(name)}.html" if target.endswith(".md") and name in shown else None

    document = _document(ROOT / "docs" / "metrics" / f"{id}.md", links, top=1)
    told = {"id": id, "title": title_of(id), "page": f"metrics/{slug(id)}.html", "definition": metric.definition}
    return told | {"direction": metric.direction, "facts": facts, "document": document}


def _paired(ids: Sequence[str], sums: str) -> list[tuple[str, str]]:
    """Weights and their checksums, which a row joins by "+" in the order of the metric's record; it has none where they
    were not there."""
    pairs = zip_longest(ids, sums.split("+") if sums else [], fillvalue="")
    return [(id or "not in the metric's record", sha256 or "not there") for id, sha256 in pairs]


def _skipped(run: Run) -> list[str]:
    return [line.removeprefix("Not run: ") for line in run.table.footer if line.startswith("Not run: ")]


def _benchmark(run: Run) -> dict[str, Any]:
    benchmark = run.benchmark
    data = benchmark.data
    scored = {column.metric.id for column in run.columns}
    facts = [
        ("benchmark", f"{benchmark.id}, version {benchmark.version}, split {data['split']}"),
        ("frames", f"{data['n_frames']} at {data['fps']:g} a second, {data['size']} x {data['size']} pixels"),
        ("alignment", data["alignment"]),
        ("time rule", data["time_rule"]),
        ("true geometry", "yes" if data["geometry"] else "no"),
        ("counts as seen in training", data["contaminated_by"]),
        ("sha256 of the protocol", sorted(set(run.rows["protocol"]))),
        ("code", sorted(set(run.rows["code_version"]))),
    ]
    entries = [
        {
            "id": m["id"],
            "stride": m["stride"],
            "options": ", ".join(f"{k} {v}" for k, v in m.get("options", {}).items()),
        }
        | {"page": f"metrics/{slug(m['id'])}.html" if m["id"] in scored else ""}
        for m in data["metrics"]
    ]
    if set(run.rows["protocol"]) != {benchmark.protocol_sha256}:
        facts.append(("note", "the protocol's file has changed since these rows were scored"))
    return {
        "about": about(benchmark),
        "facts": facts,
        "clips": list(benchmark.object_of.items()),
        "views": data["views"],
        "metrics": entries,
        "notes": notes(run.table),
        "protocol": _text(benchmark.path),
        "readme": _document(benchmark.path.parent / "README.md"),
    }
