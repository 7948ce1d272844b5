"""`data/table.js`: methods x metrics, what the first page shows."""

from __future__ import annotations

from typing import Any

from .. import __version__
from ..benchmark import Benchmark
from ..columns import Column
from ..stats import Interval
from ..table_formats import decimals, notes
from ..tables import Cell, TableRow
from .run import Run, record
from .writing import slug

# What people write for the ids that they know well.
TITLES = {"psnr": "PSNR", "ssim": "SSIM", "lpips": "LPIPS", "fvd": "FVD", "kvd": "KVD", "fid": "FID", "iou": "IoU"}
TITLES |= {"cd": "CD", "clip": "CLIP", "vgg": "VGG", "alex": "AlexNet", "cpu": "CPU", "gpu": "GPU", "fv4d": "FV4D"}
WHOLE = {"silhouette-iou": "Silhouette IoU", "chamfer-floor": "Chamfer, floor"}
TITLES |= {"fscore": "F-score", "i3d": "I3D", "3d": "3D", "4d": "4D", "dreamsim": "DreamSim", "videomae": "VideoMAE"}


def table_data(run: Run, posters: dict[str, str | None]) -> dict[str, Any]:
    """`posters`: clip -> a picture of its truth, or None."""
    benchmark = run.benchmark
    clips = [
        {"id": clip, "object": benchmark.object_of[clip], "data": f"clips/{k}", "poster": posters.get(clip)}
        for k, clip in enumerate(benchmark.clips)
    ]
    return {
        "benchmark": benchmark.id,
        "title": benchmark.data["title"],
        "about": about(benchmark),
        "version": benchmark.version,
        "split": benchmark.data["split"],
        "code_version": sorted(set(run.rows["code_version"])),
        "made_from": f"bench4d {__version__}",
        "clips": clips,
        "views": views_data(benchmark),
        "protocol": list(run.table.footer),
        "notes": notes(run.table),
        "warnings": list(run.table.warnings),
        "failures": list(run.table.failures),
        "metrics": [column_data(run, k) for k in range(len(run.columns))],
        "methods": [method_data(run, k) for k in range(len(run.lines))],
        "cells": {
            row.method.id: {c.key: cell_data(cell) for c, cell in zip(run.columns, row.cells, strict=True)}
            for row in run.lines
        },
        "published": published_data(run),
    }


def about(benchmark: Benchmark) -> str:
    """What the benchmark is, for somebody who sees a number of it for the first time."""
    data, objects = benchmark.data, len(set(benchmark.object_of.values()))
    groups = [view["group"] for view in data["views"]]
    novel = groups.count("novel")
    told = "Methods turn one video of an object into a moving 3D object. Here their results on "
    told += f"{_counted(len(benchmark.clips), 'clip')} of {_counted(objects, 'object')} are compared with the truth, "
    if not novel:
        return told + "frame by frame, from the camera of the video."
    return (
        told
        + f"frame by frame, from {_counted(novel, 'view')} that they were not given and from the camera of the video."
    )


def views_data(benchmark: Benchmark) -> list[dict[str, Any]]:
    """Azimuth counter-clockwise seen from above, in degrees from the input camera; elevation in degrees."""
    level = benchmark.data["views"][0]["elevation"]
    found = []
    for k, view in enumerate(benchmark.data["views"]):
        title = "input view" if k == 0 else f"{view['azimuth']:g}° around"
        title += "" if view["elevation"] == level else f", {view['elevation']:g}° up"
        found.append({key: view[key] for key in ("id", "group", "azimuth", "elevation")} | {"title": title})
    return found


def _counted(count: int, what: str) -> str:
    """
    >>> _counted(1, "clip"), _counted(4, "clip")
    ('1 clip', '4 clips')
    """
    return f"{count} {what}{'' if count == 1 else 's'}"


def family_of(column: Column) -> str:
    """Columns of one family are variants of one measure, of which a reader wants one. Costs and floors are none."""
    id = column.metric.id
    return id.split("-")[0] if column.is_quality and not id.endswith("-floor") else id


def title_of(metric: str) -> str:
    """
    >>> title_of("lpips-vgg"), title_of("chamfer"), title_of("psnr-masked")
    ('LPIPS (VGG)', 'Chamfer', 'PSNR (masked)')
    """
    if metric in WHOLE:
        return WHOLE[metric]
    head, *rest = metric.split("-")
    shown = TITLES.get(head, head.capitalize())
    return f"{shown} ({' '.join(TITLES.get(part, part) for part in rest)})" if rest else shown


def column_data(run: Run, k: int) -> dict[str, Any]:
    column = run.columns[k]
    metric, own = column.metric, len(run.table.columns)
    table, place = (run.table, k) if k < own or run.variants is None else (run.variants, k - own)
    return {
        "id": column.key,
        "metric": metric.id,
        "group": column.group,
        "family": family_of(column),
        "title": title_of(metric.id),
        "unit": "" if metric.units == "1" else metric.units,
        "of_set": metric.unit == "set",
        "direction": metric.direction,
        "decimals": decimals(table, place),
        "quality": column.is_quality,
        "in_table": k < own,
        "stride": column.stride,
        "page": f"metrics/{slug(metric.id)}.html",
        "definition": metric.definition,
    }


def method_data(run: Run, k: int) -> dict[str, Any]:
    row = run.lines[k]
    method, data = row.method, row.method.data
    costs = costs_of(run, method.id)
    return {
        "id": method.id,
        "title": run.titles[method.id],
        "kind": method.kind,
        "output": data.get("output", ""),
        "page": f"methods/{run.names[method.id]}.html",
        "data": f"numbers/{k}",
        "status": data.get("status", {}).get(run.benchmark.id, ""),
        "alignment": row.alignment,
        "contaminated": method.contaminated_by(run.benchmark.data["contaminated_by"]),
        "trained_on": list(data["trained_on"]),
        "seeds": run.seeds[method.id],
        "rank": interval_data(row.mean_rank) if row.mean_rank else None,
        "outside_ranks": not row.ranked,
        "reason": "is shown the truth: bounds the others, and is not ranked with them" if not row.ranked else "",
        **costs,
        **coverage(row),
    }


def coverage(row: TableRow) -> dict[str, int]:
    """Clips that failed, and how many there are (times seeds): the worst column's."""
    worst = max(row.cells, key=lambda cell: cell.failed, default=None)
    return {"failed": worst.failed if worst else 0, "of": max((cell.total for cell in row.cells), default=0)}


def costs_of(run: Run, method: str) -> dict[str, Any]:
    """Mean seconds a clip and the largest peaks, over the clips whose records have them."""
    records = [
        record(place / "generate.json")
        for seed in run.seeds[method]
        for clip in run.benchmark.clips
        if (place := run.place(method, seed, clip))
    ]
    records = [r for r in records if r.get("status") == "ok"]
    known = {
        key: [r[key] for r in records if r.get(key) is not None]
        for key in ("seconds", "peak_gpu_bytes", "peak_rss_bytes")
    }
    devices = sorted({str(r["device"]) for r in records if r.get("device")})
    return {
        "device": ", ".join(devices),
        "seconds_per_clip": sum(known["seconds"]) / len(known["seconds"]) if known["seconds"] else None,
        "peak_gpu_bytes": max(known["peak_gpu_bytes"], default=None),
        "peak_ram_bytes": max(known["peak_rss_bytes"], default=None),
    }


def interval_data(interval: Interval) -> dict[str, float]:
    return {"value": interval.mean, "low": interval.low, "high": interval.high}


def cell_data(cell: Cell) -> dict[str, Any]:
    interval = interval_data(cell.interval) if cell.interval else {"value": None, "low": None, "high": None}
    return interval | {
        "n": cell.covered,
        "of": cell.total,
        "failed": cell.failed,
        "objects": cell.interval.count if cell.interval else 0,
        "place": cell.rank,
        "reasons": list(cell.reasons),
    }


def published_data(run: Run) -> list[dict[str, Any]]:
    """Numbers in print, protocol by protocol: {protocol, rows: [{method, values: {column: text}}]}."""
    keys = [column.key for column in run.table.columns]
    return [
        {
            "protocol": block.title,
            "rows": [
                {"method": row.method, "values": {key: text for key, text in zip(keys, row.cells, strict=True) if text}}
                for row in block.rows
            ],
        }
        for block in run.table.published
        if block.rows
    ]
