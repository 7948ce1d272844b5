"""The lists of menagerie: `assets.csv`, one model a row, and `clips.csv`, one named clip a row."""

from __future__ import annotations

import csv
import re
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from bench4d.clip import checked_id
from bench4d.errors import FormatError

FOLDER = Path(__file__).parent
SPLITS = ("test", "train", "reserved")
KINDS = ("quadruped", "dinosaur", "fish", "person", "machine", "creature", "thing")
RAW = "https://raw.githubusercontent.com/"
SHA256, COMMIT = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")
REPOSITORY = re.compile(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+")
MAX_BYTES = 64 * 2**20  # of one file
Row = TypeVar("Row")


@dataclass(frozen=True)
class File:
    """One file to be had.

    Attributes:
        name: where it lies in a folder of assets: relative, with "/" between parts.
        url: where it is published, pinned to a commit.
        size: bytes, or None if nobody states them.
    """

    name: str
    url: str
    sha256: str
    size: int | None


@dataclass(frozen=True)
class ListedAsset:
    """One row of assets.csv.

    Attributes:
        split: "test", "train" or "reserved"; a model belongs to one of them with all its clips.
        yaw: degrees, counter-clockwise seen from above, by which the model is turned before anything looks at it.
        files: the model first, then the picture it names, if it names one.
    """

    id: str
    split: str
    kind: str
    yaw: float
    licence: str
    author: str
    files: tuple[File, ...]


@dataclass(frozen=True)
class ListedClip:
    """One row of clips.csv.

    Attributes:
        motion: in a word: walk, run, swim, fly, idle, attack ...
        animation: its name in the file.
        loop: whether it ends in the pose in which it begins.
    """

    id: str
    asset: str
    motion: str
    animation: str
    loop: bool


def read_assets(folder: Path = FOLDER) -> dict[str, ListedAsset]:
    """By id, in the list's order. Raises FormatError."""
    path = folder / "assets.csv"
    assets = {asset.id: asset for asset in _rows(path, _asset)}
    sums: dict[str, str] = {}
    for file in (file for asset in assets.values() for file in asset.files):
        if sums.setdefault(file.name, file.sha256) != file.sha256:
            raise FormatError(path, f"one file called {file.name}", "two that differ: they share a folder")
    return assets


def read_clips(folder: Path = FOLDER) -> dict[str, ListedClip]:
    """By id, in the list's order. Raises FormatError; a reserved asset must not have clips."""
    clips, assets = {clip.id: clip for clip in _rows(folder / "clips.csv", _clip)}, read_assets(folder)
    for clip in clips.values():
        if clip.asset not in assets or assets[clip.asset].split == "reserved":
            where = f"{folder / 'clips.csv'}: {clip.id}"
            raise FormatError(where, "an asset of the split test or train", repr(clip.asset))
    return clips


def find_clip(id: str, folder: Path = FOLDER) -> tuple[ListedClip, ListedAsset]:
    """A clip and its model. Raises FormatError for an unknown id."""
    clips = read_clips(folder)
    if id not in clips:
        raise FormatError("clip", f"an id of {folder / 'clips.csv'}", repr(id)[:120])
    return clips[id], read_assets(folder)[clips[id].asset]


def _rows(path: Path, parse: Callable[[dict[str, str]], Row]) -> Iterator[Row]:
    """What `parse` makes of each row; its errors name the line."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, strict=True)
        seen: set[str] = set()
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if None in row or None in row.values():
                raise FormatError(where, f"the columns {reader.fieldnames}", "more or fewer")
            try:
                found = parse(row)
            except (KeyError, ValueError) as error:
                raise FormatError(where, "a row as README.md describes it", f"{error}"[:200]) from None
            if row["id"] in seen:
                raise FormatError(where, "an id that is not in use", row["id"])
            seen.add(row["id"])
            yield found


def _asset(row: dict[str, str]) -> ListedAsset:
    _one_of(row, "split", SPLITS)
    _one_of(row, "kind", KINDS)
    if not (REPOSITORY.fullmatch(row["repository"]) and COMMIT.fullmatch(row["commit"])):
        raise ValueError(f"repository {row['repository']!r} at commit {row['commit']!r}")
    if not (row["licence"] and row["author"]):
        raise ValueError("no licence or no author")
    where = PurePosixPath(row["path"])
    model = _file(row, f"{checked_id(row['id'], 'id')}{where.suffix}", where, row["sha256"], int(row["bytes"]))
    files = [model]
    if row["beside"]:
        files.append(_file(row, row["beside"], where.parent / row["beside"], row["beside_sha256"], None))
    return ListedAsset(
        row["id"], row["split"], row["kind"], float(row["yaw"]), row["licence"], row["author"], tuple(files)
    )


def _file(row: dict[str, str], name: str, where: PurePosixPath, sha256: str, size: int | None) -> File:
    if any(path.is_absolute() or ".." in path.parts for path in (PurePosixPath(name), where)):
        raise ValueError(f"the path {name!r} leads out of its folder")
    if not SHA256.fullmatch(sha256) or not (size is None or 0 < size <= MAX_BYTES):
        raise ValueError(f"{name}: sha256 {sha256!r}, {size} bytes")
    return File(name, f"{RAW}{row['repository']}/{row['commit']}/{urllib.parse.quote(str(where))}", sha256, size)


def _clip(row: dict[str, str]) -> ListedClip:
    _one_of(row, "loop", ("yes", "no"))
    if row["id"] != f"{row['asset']}-{row['motion']}":
        raise ValueError(f"the id {row['id']!r} is not <asset>-<motion>")
    return ListedClip(checked_id(row["id"], "id"), row["asset"], row["motion"], row["animation"], row["loop"] == "yes")


def _one_of(row: dict[str, str], column: str, values: tuple[str, ...]) -> None:
    if row[column] not in values:
        raise ValueError(f"{column} {row[column]!r} is none of {', '.join(values)}")
