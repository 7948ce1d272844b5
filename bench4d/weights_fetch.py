"""Downloads: a file by its address, resumed and verified; a package's file through the package index.

Nothing here runs downloaded code. A package is never installed or built: its file is found on the index page of its
project (the "simple" interface, PEP 503), at the indexes that pip is configured for, and read as an archive.
"""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import ssl
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, BinaryIO

from tqdm import tqdm

from .errors import FormatError

BLOCK = 1 << 20
ATTEMPTS = 4  # each goes on from where the one before was cut off
MAX_PAGE_BYTES = 32 * 2**20
MAX_BYTES = 64 * 2**30  # of a file whose size nobody states
NETWORK_ERRORS = (OSError, HTTPException)  # urllib.error.URLError, time-outs and resets are OSErrors


class FetchFailed(Exception):
    """One source did not give its file; the message says why."""


@dataclass(frozen=True)
class Indexes:
    """Where pip looks for packages: addresses of "simple" indexes; the certificates it trusts (None: the system's)."""

    urls: tuple[str, ...]
    certificates: str | None = None


def pip_indexes() -> Indexes:
    """What pip would use: its files, environment and default, merged by pip itself in a process of its own."""
    program = (
        "import json; from pip._internal.commands import create_command as c;"
        "o = c('download').parser.get_default_values();"
        "print(json.dumps([[] if o.no_index else [o.index_url, *o.extra_index_urls], o.cert]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise FetchFailed(f"pip did not say which package index it uses ({reason})")
    urls, certificates = json.loads(done.stdout)
    return Indexes(tuple(urls), certificates)


def without_login(url: str) -> str:
    """The address without a name and password in it, fit for messages."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def open_url(url: str, headers: dict[str, str], timeout: float, certificates: str | None = None) -> Any:
    """urllib with a time limit, and basic authentication if the address carries a login."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https", "file"):
        raise FetchFailed(f"an address of kind {parts.scheme!r} is not supported")
    context = ssl.create_default_context(cafile=certificates) if parts.scheme == "https" else None
    request = urllib.request.Request(without_login(url), headers={"User-Agent": "bench4d"} | headers)
    login = parts.netloc.rpartition("@")[0]
    if login:
        token = base64.b64encode(urllib.parse.unquote(login).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")  # not for another host
    return urllib.request.urlopen(request, timeout=timeout, context=context)


def fetch(
    url: str, sha256: str, size: int | None, partial: Path, timeout: float, certificates: str | None = None
) -> None:
    """Bring `url` into the file `partial`, going on from what it already holds. Raises FetchFailed.

    The file ends up with exactly `size` bytes (None: as many as the server says) and this sha256, or it is deleted
    (wrong content) or kept for the next call (connection lost).
    """
    partial.parent.mkdir(parents=True, exist_ok=True)
    reason, whole = "no attempt", size
    for _ in range(ATTEMPTS):
        had = _length(partial)
        try:
            if whole is None or had < whole:
                whole = _download(url, size, partial, timeout, certificates)
        except urllib.error.HTTPError as error:
            reason = f"HTTP {error.code} {error.reason}"
            if error.code == 416:  # the server has no more bytes than we do: what we have is complete or something else
                if size is None and _hash(partial) == sha256:
                    return
                partial.unlink(missing_ok=True)
                continue
            if error.code < 500:
                break
        except NETWORK_ERRORS as error:
            reason = f"{getattr(error, 'reason', error)}"
            if _length(partial) == had:
                break  # no progress: the host is not to be had
        got = _length(partial)
        if whole is not None and got >= whole:
            if got == whole and _hash(partial) == sha256:
                return
            partial.unlink()
            reason = "wrong content: size or sha256 differs from the one stated"
            if not had:  # a resumed file may mix two versions, a whole one is simply another file
                break
        elif got > had:
            reason = f"cut off after {got} of {'unknown' if whole is None else whole} bytes"
    raise FetchFailed(reason)


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _download(url: str, size: int | None, partial: Path, timeout: float, certificates: str | None) -> int:
    """Append to `partial` what it lacks. Returns how many bytes the whole file has: `size`, or what the server says."""
    had = _length(partial)
    headers = {"Range": f"bytes={had}-"} if had else {}
    with open_url(url, headers, timeout, certificates) as answer:
        had = had if getattr(answer, "status", None) == 206 else 0
        announced = answer.headers.get("Content-Length")
        whole = size if size is not None else had + int(announced) if announced else None
        with partial.open("ab" if had else "wb") as file, _bar(url, whole, had) as bar:
            for block in _blocks(answer, (MAX_BYTES if whole is None else whole) - had):
                file.write(block)
                bar.update(len(block))
    return _length(partial) if whole is None else whole


def _blocks(answer: BinaryIO, limit: int) -> Iterator[bytes]:
    """At most one byte more than `limit`: enough to see that a file is too long, never an endless one."""
    left = limit + 1
    while left > 0 and (block := answer.read(min(BLOCK, left))):
        left -= len(block)
        yield block


def _bar(url: str, size: int | None, had: int) -> tqdm:
    name = urllib.parse.urlsplit(url).path.rpartition("/")[2]
    return tqdm(total=size, initial=had, unit="B", unit_scale=True, desc=name, disable=None)  # None: terminals only


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Links(html.parser.HTMLParser):
    """Collects (file name, address) of the links of an index page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        address = dict(attrs).get("href")
        if tag == "a" and address:
            path = urllib.parse.urlsplit(address).path
            self.found.append((urllib.parse.unquote(path.rpartition("/")[2]), address))


def find_in_index(package: str, filename: str, indexes: Indexes, timeout: float) -> str:
    """The address of one file of a package. Raises FetchFailed, with what each index said."""
    reasons = []
    for index in indexes.urls:
        page = f"{index.rstrip('/')}/{package}/"
        accept = {"Accept": "application/vnd.pypi.simple.v1+json, text/html;q=0.5"}
        try:
            address = page + "index.html" if page.startswith("file:") else page
            with open_url(address, accept, timeout, indexes.certificates) as answer:
                text, base = answer.read(MAX_PAGE_BYTES).decode("utf-8", "replace"), answer.geturl()
                kind = answer.headers.get_content_type()
        except urllib.error.HTTPError as error:
            reasons.append(f"{without_login(index)}: HTTP {error.code}")
            continue
        except NETWORK_ERRORS as error:
            reasons.append(f"{without_login(index)}: {getattr(error, 'reason', error)}")
            continue
        for name, address in _links(text, kind):
            if name == filename:
                return _with_login(urllib.parse.urljoin(base, address.partition("#")[0]), index)
        reasons.append(f"{without_login(index)}: does not list {filename}")
    raise FetchFailed("; ".join(reasons) or "pip is told to use no index")


def _links(text: str, kind: str) -> list[tuple[str, str]]:
    if kind == "application/vnd.pypi.simple.v1+json":
        try:
            return [(str(file["filename"]), str(file["url"])) for file in json.loads(text)["files"]]
        except (ValueError, KeyError, TypeError):
            raise FormatError("package index", "a project page as in PEP 691", f"{text[:80]!r}") from None
    links = _Links()
    links.feed(text)
    return links.found


def _with_login(address: str, index: str) -> str:
    """The index's login, if it has one and the file lies on the same host."""
    to, of = urllib.parse.urlsplit(address), urllib.parse.urlsplit(index)
    login, _, host = of.netloc.rpartition("@")
    same = login and "@" not in to.netloc and to.netloc == host
    return urllib.parse.urlunsplit(to._replace(netloc=f"{login}@{host}")) if same else address
