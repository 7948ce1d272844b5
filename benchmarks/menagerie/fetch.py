"""The files of menagerie: from a folder that somebody filled, the user's cache, or the pinned public address.

    python -m benchmarks.menagerie.fetch                  every file of the splits test and train
    python -m benchmarks.menagerie.fetch --split reserved
    python -m benchmarks.menagerie.fetch --licences       who made what, under which licence; downloads nothing
    python -m benchmarks.menagerie.fetch --split test --pack menagerie-test.zip
                                                          all that a machine without a network needs, in one file

Whatever the source, a file has the sha256 of the list, or it is not used.
"""

from __future__ import annotations

import argparse
import os
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from filelock import FileLock

from bench4d.files import atomic, sha256_file
from bench4d.weights import Locations
from bench4d.weights_fetch import FetchFailed, fetch
from benchmarks.menagerie.assets import SPLITS, File, ListedAsset, read_assets

TIMEOUT = 20.0  # seconds to connect, and between two blocks


class AssetMissing(Exception):
    """No source gave the file. The message says what was tried and where to put it."""


def asset_places(environment: Mapping[str, str]) -> Locations:
    """From BENCH4D_ASSETS and XDG_CACHE_HOME. Both folders are laid out alike: <id>.glb, and a picture under the name
    it has there."""
    return Locations.of(environment, "BENCH4D_ASSETS", "menagerie")


def find_asset(asset: ListedAsset, places: Locations, timeout: float = TIMEOUT) -> Path:
    """The verified model; the picture it names lies where it expects it. Raises AssetMissing.

    Files are downloaded only where `places.given` does not hold all of the asset's.
    """
    tried: list[str] = []
    if places.given is not None and all(_is_at(file, places.given, tried) for file in asset.files):
        return places.given / asset.files[0].name
    for file in asset.files:
        path = places.cache / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):  # a second process waits here, then finds the first one's file
            if not _is_at(file, places.cache, tried):
                _bring(asset, file, path, places, timeout, tried)
    return places.cache / asset.files[0].name


def _is_at(file: File, folder: Path, tried: list[str]) -> bool:
    """Whether the right file lies there; if not, `tried` gains the reason."""
    path = folder / file.name
    if not path.is_file():
        tried.append(f"{path}: no such file")
    elif file.size not in (None, path.stat().st_size) or sha256_file(path) != file.sha256:
        tried.append(f"{path}: wrong content (its sha256 is not that of the list)")
    else:
        return True
    return False


def _bring(asset: ListedAsset, file: File, path: Path, places: Locations, timeout: float, tried: list[str]) -> None:
    """Put one file into the cache: a copy of the given one, or the download."""
    if places.given is not None and _is_at(file, places.given, []):
        with atomic(path) as temporary:
            temporary.write_bytes((places.given / file.name).read_bytes())
        return
    download = places.cache / "downloads" / file.sha256
    try:
        fetch(file.url, file.sha256, file.size, download, timeout)
    except FetchFailed as error:
        lines = [f"The file {file.name} of menagerie is not on this machine. Tried:"]
        lines += [f"  - {line}" for line in (*tried, f"{file.url}: {error}")]
        lines += [
            f"`python -m benchmarks.menagerie.fetch --split {asset.split}` brings it on a machine with a network.",
            f"Put it at  {(places.given or places.cache) / file.name}  (sha256 {file.sha256}),",
            "or into any folder that BENCH4D_ASSETS names, together with the asset's other files.",
        ]
        raise AssetMissing("\n".join(lines)) from None
    download.replace(path)


def licences(assets: Sequence[ListedAsset]) -> str:
    """One line an asset: id, split, licence, author, address; tabs between them."""
    return "".join(f"{a.id}\t{a.split}\t{a.licence}\t{a.author}\t{a.files[0].url}\n" for a in assets)


def pack(assets: Sequence[ListedAsset], places: Locations, out: Path, timeout: float = TIMEOUT) -> None:
    """Write a ZIP of the unchanged files and their licences; unpacked anywhere, BENCH4D_ASSETS can name that folder.

    The same assets give the same bytes. Raises AssetMissing.
    """
    files: dict[str, bytes] = {"LICENCES.tsv": licences(assets).encode()}
    for asset in assets:
        folder = find_asset(asset, places, timeout).parent
        files |= {file.name: (folder / file.name).read_bytes() for file in asset.files}
    with atomic(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)  # ZipInfo: the date is fixed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=SPLITS, action="append", help="may be repeated; default: test and train")
    parser.add_argument("--licences", action="store_true", help="list authors and licences, and download nothing")
    parser.add_argument("--pack", type=Path, metavar="ZIP", help="write all of them into one file as well")
    options = parser.parse_args()
    chosen = [a for a in read_assets().values() if a.split in (options.split or ("test", "train"))]
    if options.licences:
        sys.stdout.write(licences(chosen))
        return
    places, missing = asset_places(os.environ), 0
    for asset in chosen:
        try:
            sys.stdout.write(f"{find_asset(asset, places)}\n")
        except AssetMissing as error:
            missing += 1
            sys.stderr.write(f"{error}\n")
    if missing:
        sys.exit(f"{missing} of {len(chosen)} assets are missing")
    if options.pack:
        pack(chosen, places, options.pack)


if __name__ == "__main__":
    main()
