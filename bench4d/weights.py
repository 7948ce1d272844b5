"""Network weights: from an id in weights.yaml to a verified file on this machine.

Order: the directory in BENCH4D_WEIGHTS, the user's cache, the network. Whatever the source, the file that comes out has
the one sha256 that weights.yaml states; a file with another is never used. If nothing works, `WeightsMissing` says what
was tried and where to put the file: nothing is ever replaced by random weights.

A few files have no published checksum ("unpinned"). Such a file is never downloaded, only taken from the directory in
BENCH4D_WEIGHTS, where somebody put it, and every result row says which sha256 it had.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from .errors import FormatError
from .files import atomic, sha256_file
from .plain_yaml import load_yaml
from .weights_convert import convert, read_member
from .weights_fetch import FetchFailed, Indexes, fetch, find_in_index, pip_indexes

CATALOGUE = Path(__file__).parents[1] / "weights.yaml"
TIMEOUT = 20.0  # seconds to connect, and between two blocks
FORMS = ("file", "torch", "flax")


class WeightsMissing(Exception):
    """No source gave the file. The message names all of them and what to do."""


@dataclass(frozen=True)
class Locations:
    """Where downloaded files may lie.

    Attributes:
        given: a directory that somebody filled by hand, or None; it is only read.
        cache: a directory that this program fills.
    """

    given: Path | None
    cache: Path

    @staticmethod
    def of(environment: Mapping[str, str], given: str = "BENCH4D_WEIGHTS", folder: str = "weights") -> Locations:
        """From the variable that names the given directory, and XDG_CACHE_HOME, where the cache is bench4d/<folder>.

        >>> Locations.of({"HOME": "/home/ada"}).cache.as_posix()
        '/home/ada/.cache/bench4d/weights'
        """
        filled = environment.get(given)
        cache = environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME") or Path.home()) / ".cache"
        return Locations(Path(filled) if filled else None, Path(cache) / "bench4d" / folder)


@dataclass(frozen=True)
class Source:
    """One way to a file.

    Attributes:
        sha256, size: of the file as it is downloaded.
        url: its address; empty if it comes from a package.
        package, filename: the package and which of its files.
        member: the file inside the archive; empty if the download is not an archive.
        form: "file" (canonical as it is), "torch" or "flax".
        modules: canonical module name -> the source's.
    """

    sha256: str
    size: int
    form: str
    url: str = ""
    package: str = ""
    filename: str = ""
    member: str = ""
    modules: Mapping[str, str] | None = None

    @property
    def name(self) -> str:
        return self.url or f"package {self.package}, file {self.filename}" + (f", {self.member}" if self.member else "")


@dataclass(frozen=True)
class Entry:
    """One file of weights.yaml.

    Attributes:
        sha256, size: of the canonical file `file`. None if none is published: the file is unpinned, without sources.
        sources: tried in this order.
        by_hand: pages from which a person can get the file; no program opens them.
    """

    id: str
    title: str
    file: str
    sha256: str | None
    size: int | None
    licence: str
    sources: tuple[Source, ...]
    by_hand: tuple[str, ...] = ()

    @property
    def next_step(self) -> str:
        """What to do where the file is missing, in a few words; `WeightsMissing` has more."""
        if self.sha256 is not None:
            return f"`bench4d weights fetch {self.id}`"
        return (
            f"put {self.file} into the folder that BENCH4D_WEIGHTS names; `bench4d weights list {self.id}`: from where"
        )

    def folders(self, places: Locations) -> list[Path]:
        """Where the file may lie, in order: an unpinned one only where a person put it."""
        cache = [] if self.sha256 is None else [places.cache]
        return cache if places.given is None else [places.given, *cache]

    def may_be(self, path: Path) -> bool:
        """Whether a file of the right size lies there; its content is not read."""
        return path.is_file() and self.size in (None, path.stat().st_size)

    def is_at(self, path: Path) -> bool:
        """Whether the right file lies there: any file, if it is unpinned."""
        return self.may_be(path) and self.sha256 in (None, sha256_file(path))


def read_catalogue(path: Path = CATALOGUE) -> dict[str, Entry]:
    """All entries of weights.yaml. Raises FormatError."""
    return {id: _entry(path, id, fields) for id, fields in load_yaml(path).items()}


def _entry(path: Path, id: str, fields: Any) -> Entry:
    where = f"{path}: {id}"
    try:
        sources = tuple(Source(**source) for source in fields["sources"])
        by_hand = tuple(str(address) for address in fields.get("by_hand", ()))
        entry = Entry(**(fields | {"id": id, "sources": sources, "by_hand": by_hand}))
    except (TypeError, KeyError, AttributeError) as error:
        raise FormatError(where, "the fields of an entry and its sources", f"{type(error).__name__}: {error}") from None
    file = entry.file if isinstance(entry.file, str) else ""
    if file != Path(file).name or not file or file.startswith("."):
        raise FormatError(where, "a plain file name", repr(entry.file))
    for source in sources:
        whole = bool(source.url) != bool(source.package and source.filename)
        if not whole or source.form not in FORMS or (source.form == "file") == bool(source.modules):
            expected = f"a url, or package and filename; a form of {FORMS}; modules unless the form is file"
            raise FormatError(where, expected, source.name)
    unpinned = entry.sha256 is None
    if unpinned and (sources or entry.size is not None or not by_hand):
        expected = "with sha256 null: size null, no sources, and an address in by_hand"
        raise FormatError(where, expected, f"size {entry.size!r}, {len(sources)} sources, {len(by_hand)} addresses")
    pins = [] if unpinned else [(entry.sha256, entry.size)]
    for sha256, size in pins + [(source.sha256, source.size) for source in sources]:
        if not (isinstance(sha256, str) and len(sha256) == 64 and isinstance(size, int)):
            raise FormatError(where, "a sha256 of 64 hexadecimal digits and a size in bytes", f"{sha256!r}, {size!r}")
    return entry


def resolve(
    id: str,
    locations: Locations | None = None,
    *,
    catalogue: Path = CATALOGUE,
    indexes: Callable[[], Indexes] = pip_indexes,
    timeout: float = TIMEOUT,
) -> Path:
    """The verified canonical file of `id`. Raises WeightsMissing, or FormatError for an unknown id.

    Args:
        locations: where to look; None means what the environment says now.
        indexes: tells the package indexes, asked only if a package has to be fetched.
        timeout: seconds without an answer after which a host is given up.
    """
    entries = read_catalogue(catalogue)
    if id not in entries:
        raise FormatError(f"weights {id!r}", f"one of {sorted(entries)}", "an unknown id")
    entry, places = entries[id], locations or Locations.of(os.environ)
    here, tried = look(entry, places)
    if here is not None:
        return here
    if entry.sha256 is None:
        raise WeightsMissing(_advice(entry, places, tried))
    path = places.cache / entry.file
    try:
        (places.cache / "downloads").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        tried.append(f"the network: not asked, since {places.cache} cannot be made ({error.strerror})")
        raise WeightsMissing(_advice(entry, places, tried)) from None
    with FileLock(f"{path}.lock"):  # a second process waits here, then finds the first one's file
        if entry.is_at(path):
            return path
        for source in entry.sources:
            try:
                with atomic(path) as temporary:
                    _from_source(source, places.cache / "downloads", temporary, indexes, timeout)
                    if not entry.is_at(temporary):
                        raise FetchFailed(f"its content gives sha256 {sha256_file(temporary)}")
                return path
            except (FetchFailed, FormatError) as error:
                tried.append(f"{source.name}: {error}")
    raise WeightsMissing(_advice(entry, places, tried))


def look(entry: Entry, places: Locations) -> tuple[Path | None, list[str]]:
    """The verified file where it already lies, or None; and of each place that lacks it, why. No network."""
    tried: list[str] = []
    for folder in entry.folders(places):
        path = folder / entry.file
        if entry.is_at(path):
            return path, tried
        tried.append(f"{path}: {'wrong content' if path.is_file() else 'no such file'}")
    return None, tried


def _from_source(source: Source, downloads: Path, to: Path, indexes: Callable[[], Indexes], timeout: float) -> None:
    """Download, verify, take out the member, convert. An archive is kept: another entry may need its other members."""
    download = downloads / source.sha256
    with FileLock(f"{download}.lock"):
        if source.url:
            fetch(source.url, source.sha256, source.size, download, timeout)
        else:
            where = indexes()
            url = find_in_index(source.package, source.filename, where, timeout)
            fetch(url, source.sha256, source.size, download, timeout, where.certificates)
        if source.member:
            to.write_bytes(convert(read_member(download, source.member), source.form, source.modules or {}))
        elif source.form == "file":
            download.replace(to)  # gigabytes are moved, not read
        else:
            to.write_bytes(convert(download.read_bytes(), source.form, source.modules or {}))
            download.unlink()


def _advice(entry: Entry, places: Locations, tried: list[str]) -> str:
    lines = [f"The weights {entry.id!r} ({entry.title}) are not on this machine. Tried:"]
    lines += [f"  - {line}" for line in tried or ["nothing: BENCH4D_WEIGHTS is not set"]]
    if entry.by_hand:
        lines += ["A person can get the file from", *[f"  {address}" for address in entry.by_hand]]
    if entry.sha256 is None:
        lines += [
            "No checksum of it is published, so that no program downloads it. Put it into a directory under the name",
            f"  {entry.file}  and name the directory in BENCH4D_WEIGHTS. Every result row will say its sha256.",
        ]
    else:
        lines += [
            f"`bench4d weights fetch {entry.id}` makes the file on a machine with a network. Put it at",
            f"  {(places.given or places.cache) / entry.file}  ({entry.size} bytes, sha256 {entry.sha256}),",
            "or into any directory that BENCH4D_WEIGHTS names.",
        ]
    return "\n".join(lines)
