"""Find the benchmark's pictures in what a user downloaded: folders and .zip files, as they are or re-arranged.

Two layouts are known, at any depth: `<object>/eval_<0..3>/<n>.png` (the true views) and `<object>/<n>.png` (the input
video). Archives come from strangers: they are read in place and never unpacked, so no name in them can lead anywhere;
counts and sizes have limits.
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from bench4d.errors import FormatError
from bench4d.files import UNREADABLE, check_pixels, inside

OBJECTS = ("trump", "aurorus", "monster", "skull", "pistol", "guppie", "crocodile")
VIEWS = ("eval_0", "eval_1", "eval_2", "eval_3")
INPUT = "input"
DATA = Path(__file__).parent / "data"
DRIVE = "https://drive.google.com/file/d/"
DOWNLOADS = {
    "test set": f"{DRIVE}1jn18kA2FfKMnyQ6fisIn8rhBI0dr3NFk/view",
    "input videos": f"{DRIVE}1mJNhFKvzZ-8icAw6KC-W-sf7JmmmMUkx/view",
}
NEXT_STEP = (
    "Download with a browser the test set ("
    + DOWNLOADS["test set"]
    + ") and the input videos ("
    + DOWNLOADS["input videos"]
    + f"), and put both, as .zip files or unpacked, into {DATA}. benchmarks/consistent4d/README.md says more."
)
PREDICTIONS = "pred"  # a folder of this name holds results, in the official layout
MAX_FILES = 200_000
MAX_PICTURE_BYTES = 64 * 2**20
PICTURE = re.compile(
    rf"(?:(?P<root>.+)/)?(?P<object>{'|'.join(OBJECTS)})/(?:(?P<view>eval_[0-3])/)?(?P<frame>\d{{1,4}})\.png",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Picture:
    """One PNG of a folder (`archive` None) or inside a .zip file; nothing is read before `content` is called."""

    place: Path
    archive: Path | None
    name: str

    def __str__(self) -> str:
        return f"{self.archive}: {self.name}" if self.archive else str(self.place)

    def content(self) -> bytes:
        """At most 64 MiB. Raises FormatError."""
        limit = f"a picture of at most {MAX_PICTURE_BYTES} bytes"
        try:
            if self.archive is None:
                if self.place.stat().st_size > MAX_PICTURE_BYTES:
                    raise FormatError(str(self), limit, f"{self.place.stat().st_size}")
                return self.place.read_bytes()
            with zipfile.ZipFile(self.archive) as archive, archive.open(self.name) as file:
                content = file.read(MAX_PICTURE_BYTES + 1)  # whatever the archive's index says of its size
        except (OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
            raise FormatError(str(self), "a readable file", f"{type(error).__name__}: {error}"[:200]) from None
        if len(content) > MAX_PICTURE_BYTES:
            raise FormatError(str(self), limit, "more")
        return content

    def rgba(self) -> UInt8[np.ndarray, "H W 4"]:
        """Straight alpha. A picture without alpha is refused: it was composited already."""
        try:
            with Image.open(io.BytesIO(self.content()), formats=["PNG"]) as image:
                check_pixels(str(self), image.size)
                if image.mode != "RGBA":
                    step = "Take the pictures as they were downloaded, with their alpha."
                    raise FormatError(str(self), "an 8-bit RGBA PNG", f"mode {image.mode}", step)
                return np.array(image)
        except FormatError:
            raise
        except UNREADABLE as error:
            found = f"{type(error).__name__}: {error}"[:200]
            raise FormatError(str(self), "a readable 8-bit RGBA PNG", found) from None


Sequences = Mapping[tuple[str, str], list[Picture]]  # (object, view) -> its pictures in order


def find_pictures(data: Path, count: int) -> Sequences:
    """All complete sequences of `count` pictures below `data`; view "input" is the video that a method may see.

    A sequence found in several places must be the same picture for picture; folders called "pred" are left out.
    """
    found: dict[tuple[str, str], dict[str, dict[int, Picture]]] = {}
    for name, picture in _everything(data):
        match = PICTURE.fullmatch(name)
        root = ((match["root"] or "") if match else "").lower()
        if match is None or PREDICTIONS in root.split("/"):
            continue
        view = (match["view"] or INPUT).lower()
        frames = found.setdefault((match["object"].lower(), view), {}).setdefault(root, {})
        if frames.setdefault(int(match["frame"]), picture) is not picture:
            raise FormatError(str(picture), "one picture for each frame", f"also {frames[int(match['frame'])]}")
    return {key: _one_of(key, places, count) for key, places in found.items()}


def _one_of(key: tuple[str, str], places: Mapping[str, Mapping[int, Picture]], count: int) -> list[Picture]:
    complete = []
    for frames in places.values():
        numbers = sorted(frames)
        if numbers == list(range(numbers[0], numbers[0] + count)):
            complete.append([frames[k] for k in numbers])
    if not complete:
        lengths = sorted(len(frames) for frames in places.values())
        raise FormatError("/".join(key), f"{count} pictures with successive numbers", f"{lengths} pictures")
    if len(complete) > 1 and len({sequence_sha256(pictures) for pictures in complete}) > 1:
        where = "; ".join(str(pictures[0]) for pictures in complete)
        step = f'Keep the true ones, or call the folder of results "{PREDICTIONS}".'
        raise FormatError("/".join(key), "one sequence, or equal ones", f"{len(complete)} that differ: {where}", step)
    return complete[0]


def sequence_sha256(pictures: list[Picture]) -> str:
    total = hashlib.sha256()
    for picture in pictures:
        total.update(hashlib.sha256(picture.content()).digest())
    return total.hexdigest()


def _everything(data: Path) -> Iterator[tuple[str, Picture]]:
    """(name below `data` or below the archive, picture) of every file that ends in .png."""
    if not data.is_dir():
        raise FormatError(data, "a folder with the pictures of Consistent4D", "no such folder", NEXT_STEP)
    number = 0
    for path in sorted(data.rglob("*")):
        suffix = path.suffix.lower()
        if suffix not in (".png", ".zip") or not path.is_file():
            continue
        inside(data, path)
        if suffix == ".png":
            items = [(path.relative_to(data).as_posix(), Picture(path, None, ""))]
        else:
            items = [(f"{path.stem}/{n}", Picture(path, path, n)) for n in _names(path)]
        number += len(items)
        if number > MAX_FILES:
            raise FormatError(data, f"at most {MAX_FILES} pictures", "more")
        yield from items


def _names(archive: Path) -> list[str]:
    """Members that end in .png."""
    try:
        with zipfile.ZipFile(archive) as file:
            members = file.infolist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        step = "Download it again: Google Drive sometimes sends a web page instead of the file."
        raise FormatError(archive, "a .zip file", f"{type(error).__name__}: {error}"[:200], step) from None
    if len(members) > MAX_FILES:
        raise FormatError(archive, f"at most {MAX_FILES} files", f"{len(members)}")
    names = [m.filename for m in members if not m.is_dir() and m.filename.lower().endswith(".png")]
    if encrypted := [m.filename for m in members if m.flag_bits & 1]:
        raise FormatError(archive, "files without a password", f"{encrypted[0]!r:.80}")
    return names
