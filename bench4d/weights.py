"""Network weights: from an id in weights.yaml to a verified file on this machine.

Order: the directory in BENCH4D_WEIGHTS, the user's cache, the network. Whatever the source, the file that comes out has
the one sha256 that weights.yaml states; a file with another is never used. If nothing works, `WeightsMissing` says what
was tried and where to put the file: nothing is ever replaced by random weights.
"""

from __future__ import annotations

import hashlib
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
    """Where weights may lie.

    Attributes:
        given: a directory that somebody filled by hand, or None; it is only read.
        cache: a directory that this program fills.
    """

    given: Path | None
    cache: Path

    @staticmethod
    def of(environment: Mapping[str, str]) -> Locations:
        """From BENCH4D_WEIGHTS and XDG_CACHE_HOME.

        >>> Locations.of({"HOME": "/home/ada"}).cache.as_posix()
        '/home/ada/.cache/bench4d/weights'
        """
        given = environment.get("BENCH4D_WEIGHTS")
        cache = environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME") or Path.home()) / ".cache"
        return Locations(Path(given) if given else None, Path(cache) / "bench4d" / "weights")


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
    """One file of weights.yaml; sha256 and size are those of the canonical file `file`."""

    id: str
    title: str
    file: str
    sha256: str
    size: int
    licence: str
    sources: tuple[Source, ...]


def read_catalogue(path: Path = CATALOGUE) -> dict[str, Entry]:
    """All entries of weights.yaml. Raises FormatError."""
    return {id: _entry(path, id, fields) for id, fields in load_yaml(path).items()}


def _entry(path: Path, id: str, fields: Any) -> Entry:
    where = f"{path}: {id}"
    try:
        sources = tuple(Source(**source) for source in fields["sources"])
        entry = Entry(**(fields | {"id": id, "sources": sources}))
    except (TypeError, KeyError) as error:
        raise FormatError(where, "the fields of an entry and its sources", f"{type(error).__name__}: {error}") from None
    file = entry.file if isinstance(entry.file, str) else ""
    if file != Path(file).name or not file or file.startswith("."):
        raise FormatError(where, "a plain file name", repr(entry.file))
    for source in sources:
        whole = bool(source.url) != bool(source.package and source.filename)
        if not whole or source.form not in FORMS or (source.form == "file") == bool(source.modules):
            expected = f"a url, or package and filename; a form of {FORMS}; modules unless the form is file"
            raise FormatError(where, expected, source.name)
    for sha256, size in [(entry.sha256, entry.size)] + [(source.sha256, source.size) for source in sources]:
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
    path = places.cache / entry.file
    try:
        (places.cache / "downloads").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        tried.append(f"the network: not asked, since {places.cache} cannot be made ({error.strerror})")
        raise WeightsMissing(_advice(entry, places, tried)) from None
    with FileLock(f"{path}.lock"):  # a second process waits here, then finds the first one's file
        if _is(path, entry):
            return path
        for source in entry.sources:
            try:
                data = _from_source(source, places.cache / "downloads", indexes, timeout)
            except (FetchFailed, FormatError) as error:
                tried.append(f"{source.name}: {error}")
                continue
            found = hashlib.sha256(data).hexdigest()
            if found != entry.sha256:
                tried.append(f"{source.name}: its content gives sha256 {found}")
                continue
            with atomic(path) as temporary:
                temporary.write_bytes(data)
            return path
    raise WeightsMissing(_advice(entry, places, tried))


def look(entry: Entry, places: Locations) -> tuple[Path | None, list[str]]:
    """The verified file where it already lies, or None; and of each place that lacks it, why. No network."""
    tried: list[str] = []
    for folder in [places.cache] if places.given is None else [places.given, places.cache]:
        path = folder / entry.file
        if _is(path, entry):
            return path, tried
        tried.append(f"{path}: {'wrong content' if path.is_file() else 'no such file'}")
    return None, tried


def _is(path: Path, entry: Entry) -> bool:
    return path.is_file() and path.stat().st_size == entry.size and sha256_file(path) == entry.sha256


def _from_source(source: Source, downloads: Path, indexes: Callable[[], Indexes], timeout: float) -> bytes:
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
            return convert(read_member(download, source.member), source.form, source.modules or {})
        data = download.read_bytes()
        download.unlink()
        return convert(data, source.form, source.modules or {})


def _advice(entry: Entry, places: Locations, tried: list[str]) -> str:
    target = (places.given or places.cache) / entry.file
    return "\n".join(
        [
            f"The weights {entry.id!r} ({entry.title}) are not on this machine. Tried:",
            *[f"  - {line}" for line in tried],
            f"`bench4d weights fetch {entry.id}` makes the file on a machine with a network. Put it at",
            f"  {target}  ({entry.size} bytes, sha256 {entry.sha256}),",
            "or into any directory that BENCH4D_WEIGHTS names.",
        ]
    )
