"""The rows of a run on disk and the benchmark they are of, as several commands need them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench4d.errors import FormatError

if TYPE_CHECKING:
    import pandas as pd

    from bench4d.benchmark import Benchmark


def read_run(place: Path, command: str) -> tuple[Path, pd.DataFrame, Benchmark]:
    """The file of rows, its rows, and their benchmark as it is now; says on stderr if that has changed since.

    Args:
        place: the file, or the folder with scores.parquet.
        command: who speaks on stderr.
    """
    from bench4d.benchmark import find_benchmark  # late: `bench4d --help` reads no pandas
    from bench4d.results import ROW, read_rows

    path = place / "scores.parquet" if place.is_dir() else place
    if not path.is_file():
        step = "`snakemake --cores all` and `bench4d score` write it."
        raise FormatError(path, "a file of result rows", "no such file", step)
    rows = read_rows(path, ROW)
    names = sorted(set(rows["benchmark"]))
    if len(names) != 1:
        raise FormatError(path, "rows of one benchmark", f"{names or 'no rows'}")
    benchmark = find_benchmark(names[0])
    if set(rows["protocol"]) != {benchmark.protocol_sha256}:
        sys.stderr.write(f"bench4d {command}: {benchmark.path} has changed since these rows were scored\n")
    return path, rows, benchmark
