"""The result row: one schema for every number. Tables, intervals and pages are pure functions of these rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow
from pyarrow import parquet

from .errors import FormatError
from .files import atomic

# One row per clip, view (None for geometry, cost and set metrics) and metric. Failures are rows, not absences.
ROW = {
    "benchmark": "string",
    "benchmark_version": "int64",
    "split": "string",
    "protocol": "string",  # sha256 of the protocol file
    "alignment": "string",
    "method": "string",
    "method_version": "string",  # of the method's folder
    "params_sha256": "string",
    "weights_sha256": "string",  # the method's
    "seed": "int64",
    "object": "string",
    "clip": "string",
    "view": "string",
    "metric": "string",
    "metric_version": "int64",
    "metric_weights_sha256": "string",
    "value": "float64",
    "status": "string",  # ok | failed (the method's clip) | not-run (the metric has no value here)
    "reason": "string",
    "n_frames": "int64",  # frames that were scored
    "asset_sha256": "string",
    "truth_sha256": "string",
    "code_version": "string",
    "device": "string",  # where the value was computed; for cost, where the method ran
}
# One row per scored frame of a clip, view and metric.
FRAME_ROW = {
    "benchmark": "string",
    "method": "string",
    "seed": "int64",
    "clip": "string",
    "view": "string",
    "metric": "string",
    "frame": "int64",
    "value": "float64",
}
MAX_ROWS = 10_000_000
STATUSES = {"ok", "failed", "not-run"}


def frame_of(rows: Iterable[Mapping[str, Any]], schema: Mapping[str, str]) -> pd.DataFrame:
    """Rows as a table with exactly the schema's columns and types. Raises FormatError."""
    rows = list(rows)
    for row in rows:
        if set(row) != set(schema):
            raise FormatError("result row", f"the columns {list(schema)}", f"{sorted(set(row) ^ set(schema))} differ")
    table = pd.DataFrame(rows, columns=list(schema)).astype(dict(schema))
    if "status" in table and not set(table["status"]) <= STATUSES:
        raise FormatError("result row", f"a status of {sorted(STATUSES)}", f"{sorted(set(table['status']) - STATUSES)}")
    return table


def write_rows(path: Path, table: pd.DataFrame) -> None:
    with atomic(path) as temporary:
        table.to_parquet(temporary, index=False)


def read_rows(path: Path, schema: Mapping[str, str]) -> pd.DataFrame:
    """Rows of exactly the schema's columns and types. Raises FormatError."""
    expected = "a parquet file of result rows"
    try:
        count = parquet.read_metadata(path).num_rows  # before a small file becomes a large table
        if count > MAX_ROWS:
            raise FormatError(path, f"at most {MAX_ROWS} rows", f"{count}")
        # without pandas' own metadata, which could ask for other types and names
        table = parquet.read_table(path).replace_schema_metadata(None).to_pandas()
        if list(table.columns) == list(schema):
            return table.astype(dict(schema))
    except FormatError:
        raise
    except (OSError, ValueError, TypeError, LookupError, pyarrow.ArrowException) as error:
        raise FormatError(path, expected, " ".join(f"{error}".split())[:200]) from None
    raise FormatError(path, f"the columns {list(schema)}", f"{list(table.columns)}"[:300])
