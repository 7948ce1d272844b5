"""What papers report: `results/published/published.csv`, grouped by the protocols of `benchmarks/protocols`.

Numbers of two protocols are never put side by side: one method on "Consistent4D" has a FVD of 302 and of 1217, both
printed. docs/published.md says where the rows come from.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, cast

from .errors import FormatError
from .method import ROOT
from .plain_yaml import load_yaml
from .schema import check, read_yaml

PUBLISHED = ROOT / "results" / "published" / "published.csv"
CONTRADICTIONS = ROOT / "results" / "published" / "contradictions.yaml"
ATLAS = ROOT / "benchmarks" / "protocols"
MAX_BYTES = 16 * 2**20

Direction = Literal["higher", "lower"]
Provenance = Literal["primary", "secondary", "thread"]
ARXIV = re.compile(r"\d{4}\.\d{5}")


@dataclass(frozen=True)
class Quantity:
    """A metric as papers name it: its unit, which direction is better, and the range of credible values."""

    unit: str
    direction: Direction
    low: float
    high: float


_SHARE_UP, _SHARE_DOWN = Quantity("1", "higher", 0, 1), Quantity("1", "lower", 0, 1)
_LENGTH, _FRECHET = Quantity("1", "lower", 0, 2), Quantity("1", "lower", 0, 5000)
QUANTITIES: Mapping[str, Quantity] = {
    "PSNR": Quantity("dB", "higher", 5, 60),
    **dict.fromkeys(("SSIM", "CLIP", "CLIP-F", "CLIP-I", "CLIP-C", "CLIP-O", "IoU", "F-Score"), _SHARE_UP),
    **dict.fromkeys(("LPIPS", "DreamSim", "Temp"), _SHARE_DOWN),
    **dict.fromkeys(("FVD", "FVD-F", "FVD-V", "FVD-Diag", "FV4D", "FID-VID"), _FRECHET),
    **dict.fromkeys(("CD", "Chamfer", "CD-3D", "CD-4D", "CD-M", "CD-L2", "P2S", "l2-Corr"), _LENGTH),
    "SI-CD": Quantity("1", "lower", 0, 100),
    "time": Quantity("s", "lower", 0.1, 100_000),
    "VRAM": Quantity("GB", "lower", 1, 200),
    "render-FPS": Quantity("1/s", "higher", 0.01, 10_000),
    "generation-FPS": Quantity("1/s", "higher", 0.01, 10_000),
}


@dataclass(frozen=True)
class Published:
    """One number in print.

    Attributes:
        method: as the source names it.
        benchmark: the test set; "" if the source names none.
        metric: as the source names it.
        metric_id: our metric, where it is known to be the same variant; else "".
        value: None if the source gives no single number; the note says what it gives.
        provenance: primary (the source itself was read), secondary (notes of others), thread (a discussion).
        source: paper and table.
        arxiv, arxiv_version: "" where unknown.
        protocol: a file of benchmarks/protocols; "" for statements without one.
    """

    method: str
    benchmark: str
    metric: str
    metric_id: str
    value: float | None
    unit: str
    direction: Direction
    provenance: Provenance
    source: str
    arxiv: str
    arxiv_version: str
    protocol: str
    note: str


COLUMNS = tuple(f.name for f in fields(Published))


@dataclass(frozen=True)
class Contradiction:
    """Numbers in print that should agree and do not.

    Attributes:
        what: the disagreement in one sentence.
        rows: of `published.csv`.
    """

    what: str
    rows: tuple[Published, ...]


def read_published(path: Path = PUBLISHED) -> list[Published]:
    """All rows, in the file's order. Raises FormatError with the line at fault."""
    if not path.is_file():
        raise FormatError(path, "a CSV file of published numbers", "no such file")
    if path.stat().st_size > MAX_BYTES:
        raise FormatError(path, f"at most {MAX_BYTES} bytes", f"{path.stat().st_size}")
    with path.open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file, strict=True)
        try:
            if tuple(table.fieldnames or ()) != COLUMNS:
                raise FormatError(path, f"the columns {', '.join(COLUMNS)}", f"{table.fieldnames}"[:300])
            rows = [_row(f"{path}, line {table.line_num}", cells) for cells in table]
        except (csv.Error, UnicodeDecodeError) as error:
            raise FormatError(path, "a UTF-8 CSV file", f"{error}"[:200]) from None
    seen: set[tuple[str, ...]] = set()
    for row in rows:
        key = (row.method, row.benchmark, row.metric, row.source)
        if key in seen:
            raise FormatError(path, "one row for each method, benchmark, metric and source", f"two of {key}")
        seen.add(key)
    return rows


def _row(where: str, cells: Mapping[str | Any, Any]) -> Published:
    if set(cells) != set(COLUMNS) or None in cells.values():
        raise FormatError(where, f"{len(COLUMNS)} cells", f"{cells}"[:200])
    if not cells["method"] or not cells["source"]:
        raise FormatError(where, "a method and a source", f"{cells['method']!r}, {cells['source']!r}")
    known = QUANTITIES.get(cells["metric"])
    if known is None:
        raise FormatError(where, f"a metric among {', '.join(QUANTITIES)}", repr(cells["metric"]))
    if (cells["unit"], cells["direction"]) != (known.unit, known.direction):
        found = f"{cells['unit']!r} and {cells['direction']!r}"
        raise FormatError(where, f"{known.unit!r} and {known.direction!r} for {cells['metric']}", found)
    if cells["provenance"] not in ("primary", "secondary", "thread"):
        raise FormatError(where, "primary, secondary or thread as provenance", repr(cells["provenance"]))
    if cells["arxiv"] and not ARXIV.fullmatch(cells["arxiv"]):
        raise FormatError(where, "an arXiv id like 2407.17470, or nothing", repr(cells["arxiv"]))
    if not re.fullmatch(r"([1-9]\d*)?", cells["arxiv_version"]):
        raise FormatError(where, "a version number, or nothing", repr(cells["arxiv_version"]))
    value = _value(where, cells["value"], known)
    if value is None and not cells["note"]:
        raise FormatError(where, "a note that says why there is no value", "none")
    return Published(**cast(dict[str, Any], {**cells, "value": value}))


def _value(where: str, text: str, known: Quantity) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not known.low <= value <= known.high:
        raise FormatError(where, f"a value from {known.low:g} to {known.high:g}, or nothing", repr(text))
    return value


def read_atlas(folder: Path = ATLAS) -> dict[str, dict[str, Any]]:
    """Protocol id -> its content, each checked against workflow/schemas/atlas.schema.yaml."""
    atlas = {path.stem: read_yaml(path, "atlas") for path in sorted(folder.glob("*.yaml"))}
    for name, data in atlas.items():
        if data["id"] != name:
            raise FormatError(folder / f"{name}.yaml", f"id: {name} (from the file's name)", repr(data["id"]))
    return atlas


def check_against_atlas(rows: Iterable[Published], atlas: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise FormatError unless every row's protocol is there and lists its test set, its metric and our metric's id."""
    for row in rows:
        where = f"{row.source}: {row.method}, {row.metric}"
        if not row.protocol:
            if row.metric_id or row.benchmark:
                raise FormatError(where, "no benchmark and no metric_id without a protocol", f"{row.benchmark!r}")
            continue
        if row.protocol not in atlas:
            raise FormatError(where, f"a protocol among {sorted(atlas)}", repr(row.protocol))
        protocol = atlas[row.protocol]
        ids = {metric["published"]: metric["id"] or "" for metric in protocol["metrics"]}
        if row.benchmark not in protocol["test_set"]["names"]:
            raise FormatError(where, f"a test set of {row.protocol}", repr(row.benchmark))
        if row.metric not in ids:
            raise FormatError(where, f"a metric of {row.protocol}", repr(row.metric))
        if row.metric_id != ids.get(row.metric, ""):
            raise FormatError(
                where, f"metric_id {ids.get(row.metric, '')!r}, as in {row.protocol}", repr(row.metric_id)
            )


def select(rows: Iterable[Published], protocol: str, benchmark: str) -> list[Published]:
    """The numbers of one protocol on one test set: all that may stand in one table, as grey rows beside ours.

    Rows without a single value are left out. The order is the file's: that of the source's table.
    """
    return [r for r in rows if (r.protocol, r.benchmark) == (protocol, benchmark) and r.value is not None]


def read_contradictions(rows: Iterable[Published], path: Path = CONTRADICTIONS) -> list[Contradiction]:
    """The known disagreements, each with its rows. Raises FormatError if one names a number that is not in `rows`."""
    data = load_yaml(path)
    check(data, "contradictions", path)
    by_key = {(r.method, r.benchmark, r.metric, r.source): r for r in rows}
    found = []
    for entry in data["contradictions"]:
        chosen = []
        for number in entry["numbers"]:
            row = by_key.get((number["method"], number["benchmark"], number["metric"], number["source"]))
            if row is None or row.value != number["value"]:
                raise FormatError(path, f"a row of published.csv with the value {number['value']}", f"{number}"[:200])
            chosen.append(row)
        found.append(Contradiction(entry["what"], tuple(chosen)))
    return found
