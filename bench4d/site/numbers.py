"""`data/numbers/<n>.js`: how every number of a method was made - rows, hashes, machine, cost, and the command."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path
from typing import Any

import pandas as pd

from ..columns import select, with_groups
from ..method import method_folders
from .clip_data import rounded
from .run import Run, record

ROW_KEYS = ("clip", "object", "seed", "view", "value", "status", "reason", "n_frames")


def numbers_data(run: Run, k: int, by_method: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """`by_method`: of `grouped_rows`."""
    row = run.lines[k]
    name, rows = row.method.id, by_method[row.method.id]
    chosen = {column.key: select(rows, column) for column in run.columns}
    seeds = run.seeds[name]
    return {
        "method": name,
        "title": run.titles[name],
        "rows": {key: _rows(part) for key, part in chosen.items()},
        "columns": {key: _once(part, options_of(run, key)) for key, part in chosen.items() if len(part)},
        "made": [_made(run, name, seed, clip, rows) for seed in seeds for clip in run.benchmark.clips],
        "stages": [stage for seed in seeds for stage in stages_of(run.folder, name, seed)],
        "common": _common(run, rows),
        "command": command_of(run, name, seeds),
        "command_note": ""
        if name in method_folders()
        else "The method has no folder in this repository: it was scored by `bench4d score`.",
    }


def grouped_rows(run: Run) -> dict[str, pd.DataFrame]:
    rows = with_groups(run.rows, run.benchmark, run.metrics)
    return {str(name): part for name, part in rows.groupby("method", observed=True)}


def _rows(part: pd.DataFrame) -> list[dict[str, Any]]:
    part = part.assign(view=part["view"].fillna(""))
    columns = [part[key].tolist() for key in ROW_KEYS]
    return [dict(zip(ROW_KEYS, line, strict=True)) for line in zip(*columns, strict=True)]


def options_of(run: Run, key: str) -> dict[str, Any]:
    """What the protocol tells the column's metric."""
    column = next(c for c in run.columns if c.key == key)
    return next(entry for entry in run.benchmark.data["metrics"] if entry["id"] == column.metric.id)


def _once(part: pd.DataFrame, options: dict[str, Any]) -> dict[str, Any]:
    """What all rows of a column share; several values are listed."""
    told = {key: _unique(part[key]) for key in ("metric", "metric_version", "metric_weights_sha256", "device")}
    return told | {"stride": options["stride"], "options": options.get("options", {})}


def _unique(values: pd.Series) -> Any:
    found = sorted({v for v in values.tolist() if not pd.isna(v)} - {""})
    return found[0] if len(found) == 1 else found


def _common(run: Run, rows: pd.DataFrame) -> dict[str, Any]:
    keys = ["benchmark", "benchmark_version", "split", "protocol", "alignment", "method_version"]
    keys += ["params_sha256", "weights_sha256", "code_version"]
    told = {key: _unique(rows[key]) for key in keys}
    return {("protocol_sha256" if key == "protocol" else key): value for key, value in told.items() if value != []}


def _made(run: Run, name: str, seed: int, clip: str, rows: pd.DataFrame) -> dict[str, Any]:
    own = rows[(rows["clip"] == clip) & (rows["seed"] == seed)]
    place = run.place(name, seed, clip)
    made, aligned, shown = (
        record(place / path) if place else {} for path in ("generate.json", "aligned.json", "frames/render.json")
    )
    states = set(own["status"])
    told = {
        "clip": clip,
        "seed": seed,
        "status": "failed" if "failed" in states else "ok" if "ok" in states else "missing",
        "reason": next((r for r in own.loc[own["status"] == "failed", "reason"]), ""),
        "asset_sha256": _unique(own["asset_sha256"]),
        "truth_sha256": _unique(own["truth_sha256"]),
        "wall_s": rounded(made["seconds"]) if made.get("seconds") is not None else None,
        "peak_ram_bytes": made.get("peak_rss_bytes"),
        "peak_gpu_bytes": made.get("peak_gpu_bytes"),
        "gpu_memory_from": made.get("gpu_memory_from"),
        "device": made.get("device"),
        "python": made.get("python"),
        "alignment": aligned.get("alignment"),
        "alignment_fit": aligned.get("fit"),
        "renderer": shown.get("renderer"),
    }
    return {key: value for key, value in told.items() if value is not None}


def command_of(run: Run, name: str, seeds: list[int]) -> str:
    """Makes the method's rows again from a checkout of the repository; "" if only `bench4d score` can."""
    if name not in method_folders():
        return ""
    targets = [f"results/{run.benchmark.id}/{name}/seed{seed}/scores.parquet" for seed in seeds]
    return shlex.join(["snakemake", "--cores", "all", "--config", f"benchmarks=[{run.benchmark.id}]", "--", *targets])


def stages_of(folder: Path, name: str, seed: int) -> list[dict[str, Any]]:
    """Wall time and memory of each job of the workflow, over all its clips, from Snakemake's own records."""
    found = []
    for stage in ("generate", "align", "render", "score"):
        named = re.compile(rf"{re.escape(name)}-seed{seed}(-\d+)?\.tsv")
        for path in sorted((folder / "logs" / stage).glob("*.tsv")):
            if not named.fullmatch(path.name):
                continue
            with path.open(newline="", encoding="utf-8") as file:
                for line in csv.DictReader(file, delimiter="\t"):
                    cost = {"wall_s": _number(line.get("s")), "peak_ram_mb": _number(line.get("max_rss"))}
                    found.append({"stage": stage, "seed": seed} | cost)
    return found


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
