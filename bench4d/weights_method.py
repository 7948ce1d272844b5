"""A method's own weights: from what its method.yaml says to verified files on this machine.

`source` is a path in this repository, a URL, or a file of a hub repository ("owner/name/path/in/it" with `revision`, a
commit). A file from elsewhere lies at <folder>/<method>/<name><suffix of source>, where <folder> is the directory in
BENCH4D_WEIGHTS or the cache. As for the networks of metrics, nothing with another sha256 is ever used.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, urlsplit

from filelock import FileLock

from .errors import FormatError
from .files import sha256_file
from .method import ROOT, Method
from .weights import TIMEOUT, Locations, WeightsMissing
from .weights_fetch import FetchFailed, fetch

HUB = "https://huggingface.co"


def resolve_for_method(method: Method, locations: Locations | None = None, hub: str = HUB) -> dict[str, dict[str, str]]:
    """Name -> {"path", "sha256"}, or {"reason"} where a file cannot be had: then the method cannot run.

    `locations`: where to look; None means what the environment says now.
    """
    found, places = {}, locations or Locations.of(os.environ)
    for entry in method.data["weights"]:
        try:
            path = resolve_one(method.id, entry, places, hub)
            found[entry["name"]] = {"path": str(path), "sha256": entry["sha256"]}
        except (WeightsMissing, FormatError) as error:
            found[entry["name"]] = {"reason": str(error)}
    return found


def resolve_one(method: str, entry: Mapping[str, Any], places: Locations, hub: str = HUB) -> Path:
    """The verified file of one item of `weights`. Raises WeightsMissing, FormatError for a source of another kind."""
    name, sha256 = entry["name"], entry["sha256"]
    if (own := in_repository(method, entry)) is not None:
        return own
    url = address(method, entry, hub)
    file = Path(method) / f"{name}{PurePosixPath(urlsplit(url).path).suffix}"
    tried = []
    for folder in [places.cache] if places.given is None else [places.given, places.cache]:
        if (folder / file).is_file() and sha256_file(folder / file) == sha256:
            return folder / file
        tried.append(f"{folder / file}: {'wrong content' if (folder / file).is_file() else 'no such file'}")
    path, download = places.cache / file, places.cache / "downloads" / sha256
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        download.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{download}.lock"):
            if not (path.is_file() and sha256_file(path) == sha256):
                fetch(url, sha256, None, download, TIMEOUT)
                download.replace(path)
        return path
    except (FetchFailed, OSError) as error:
        tried.append(f"{url}: {error}")
    where = (places.given or places.cache) / file
    raise WeightsMissing(
        f"the weights {name!r} cannot be had ({'; '.join(tried)}). Put the file with sha256 {sha256} at {where}"
    )


def in_repository(method: str, entry: Mapping[str, Any]) -> Path | None:
    """The verified file of this repository; None if the source is elsewhere. Raises FormatError for wrong content."""
    name, source, sha256 = entry["name"], entry["source"], entry["sha256"]
    own = ROOT / source
    if "://" in source or not own.is_file():
        return None
    if (found := sha256_file(own)) != sha256:
        raise FormatError(own, f"the weights {name} of {method}, sha256 {sha256}", f"sha256 {found}")
    return own


def address(method: str, entry: Mapping[str, Any], hub: str = HUB) -> str:
    """Where a file lies that is not in this repository. Raises FormatError.

    >>> address("m", {"name": "w", "source": "owner/name/a/b.pt", "revision": "ab" * 20}).split("/resolve/")
    ['https://huggingface.co/owner/name', 'abababababababababababababababababababab/a/b.pt']
    """
    source, revision = entry["source"], entry["revision"] or ""
    if "://" in source:
        return str(source)
    parts = source.split("/")
    if len(parts) < 3 or not all(parts) or ".." in parts or not re.fullmatch("[0-9a-f]{40}", revision):
        expected = "a file in this repository, a URL, or a hub's owner/name/file with the commit as revision"
        raise FormatError(f"{method}: weights {entry['name']}: source", expected, f"{source!r}, revision {revision!r}")
    return f"{hub}/{parts[0]}/{parts[1]}/resolve/{revision}/{quote('/'.join(parts[2:]))}"
