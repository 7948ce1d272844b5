"""What a finished run left behind, read once with the house's own readers; every page is made of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from ..asset_io import read_asset
from ..benchmark import Benchmark
from ..columns import Column
from ..comparisons import Comparison, compare
from ..errors import FormatError
from ..files import read_json
from ..method import Method
from ..metric import Metric
from ..results import FRAME_ROW, ROW, read_rows
from ..scoring_folder import with_columns
from ..table_published import groups_of
from ..tables import Table, TableRow, make_table
from .writing import slug


@dataclass(frozen=True)
class Run:
    """One benchmark's results.

    Attributes:
        folder: results/<benchmark>.
        rows: of scores.parquet, those of `methods`.
        frames: of frames.parquet, one value a frame.
        table: the protocol's table, as `bench4d table` prints it.
        variants: the metrics that are scored and have no column there, in the same form. Its ranks mean nothing.
    """

    folder: Path
    benchmark: Benchmark
    methods: tuple[Method, ...]
    metrics: Mapping[str, Metric]
    rows: pd.DataFrame
    frames: pd.DataFrame
    table: Table
    variants: Table | None

    @cached_property
    def comparisons(self) -> list[Comparison]:
        return compare(self.rows, self.benchmark, self.methods, self.metrics)

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Those of the table, then the variants."""
        return self.table.columns + (self.variants.columns if self.variants else ())

    @cached_property
    def lines(self) -> tuple[TableRow, ...]:
        """One a method, in the table's order, with a cell for each of `columns`."""
        if self.variants is None:
            return self.table.rows
        more = {row.method.id: row.cells for row in self.variants.rows}
        return tuple(replace(row, cells=row.cells + more[row.method.id]) for row in self.table.rows)

    @cached_property
    def seeds(self) -> dict[str, list[int]]:
        """Method id -> its seeds."""
        found = self.rows.groupby("method")["seed"].unique()
        return {str(name): sorted(int(seed) for seed in seeds) for name, seeds in found.items()}

    @cached_property
    def titles(self) -> dict[str, str]:
        """Method id -> its name for people, with the id where several have one name."""
        names = {method.id: str(method.data.get("name", method.id)) for method in self.methods}
        often = Counter(names.values())
        return {id: name if often[name] == 1 else f"{name} ({id})" for id, name in names.items()}

    @cached_property
    def names(self) -> dict[str, str]:
        """Method id -> its part of file names."""
        return {method.id: slug(method.id) for method in self.methods}

    def place(self, method: str, seed: int, clip: str) -> Path | None:
        """The clip's folder of a method, if there can be one: a hostile name in the rows leads nowhere."""
        root = self.folder / method / f"seed{seed}" / clip
        try:
            safe = root.resolve().is_relative_to(self.folder.resolve()) and root.is_dir()
        except (OSError, ValueError):  # too long, a zero byte
            return None
        return root if safe else None

    def truth(self, clip: str) -> Path:
        return self.folder / "truth" / clip


def read_run(
    folder: Path,
    benchmark: Benchmark,
    methods: Sequence[Method],
    metrics: Mapping[str, Metric],
    skipped: Mapping[str, str],
) -> Run:
    """Raises FormatError."""
    path = folder / "scores.parquet"
    if not path.is_file():
        raise FormatError(path, "a file of result rows", "no such file", "`snakemake --cores all` writes it.")
    rows = read_rows(path, ROW)
    rows = rows[rows["method"].isin({m.id for m in methods})]
    path = folder / "frames.parquet"
    frames = read_rows(path, FRAME_ROW) if path.is_file() else pd.DataFrame(columns=list(FRAME_ROW))
    table = make_table(rows, benchmark, methods, metrics, skipped, groups_of(benchmark))
    return Run(
        folder, benchmark, tuple(methods), metrics, rows, frames, table, _variants(rows, benchmark, table, metrics)
    )


def _variants(rows: pd.DataFrame, benchmark: Benchmark, table: Table, metrics: Mapping[str, Metric]) -> Table | None:
    """Everything that was scored and has no column in the protocol's table."""
    scored = set(rows["metric"])
    names = [entry["id"] for entry in benchmark.data["metrics"] if entry["id"] in scored]
    whole = with_columns(benchmark, names, metrics)
    shown = {column.key for column in table.columns}
    left = [c for c in whole.data["table"] if c["metric"] + (f"[{c['views']}]" if "views" in c else "") not in shown]
    if not left:
        return None
    benchmark = replace(whole, data=whole.data | {"table": left})
    return make_table(rows, benchmark, [row.method for row in table.rows], metrics, {})


def record(path: Path) -> dict[str, Any]:
    """A stage's JSON record; empty if there is none, or it cannot be read."""
    try:
        data = read_json(path)
    except FormatError:
        return {}
    return data if isinstance(data, dict) else {}


def asset_kind(folder: Path) -> str:
    """ "mesh", "gaussians", "views", or "" where no asset can be read."""
    try:
        return read_asset(folder).kind
    except (FormatError, OSError):
        return ""
