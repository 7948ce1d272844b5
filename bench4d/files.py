"""Small strict readers and writers that the nouns share: JSON, PNG, hashes. Writes are atomic."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from .errors import FormatError

MAX_JSON_BYTES = 64 * 2**20
MAX_IMAGE_SIDE = 16384


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that becomes `path` only if the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    try:
        yield Path(name)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """The content of a UTF-8 JSON file of at most 64 MiB. Raises FormatError."""
    if not path.is_file():
        raise FormatError(path, "a JSON file", "no such file")
    if path.stat().st_size > MAX_JSON_BYTES:
        raise FormatError(path, f"at most {MAX_JSON_BYTES} bytes of JSON", f"{path.stat().st_size} bytes")
    try:
        return json.loads(path.read_text("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise FormatError(path, "valid UTF-8 JSON", str(error)) from None


def write_json(path: Path, data: Any) -> None:
    """Indented, sorted, with a final newline: equal data give equal bytes. NaN is refused."""
    text = json.dumps(data, indent=1, sort_keys=True, allow_nan=False)
    with atomic(path) as temporary:
        temporary.write_text(text + "\n", "utf-8")


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_folder(folder: Path) -> str:
    """One hash over the relative names and contents of all regular files below `folder`."""
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        total.update(f"{path.relative_to(folder).as_posix()}\0{sha256_file(path)}\n".encode())
    return total.hexdigest()


def read_png(path: Path, channels: int) -> UInt8[np.ndarray, "H W C"]:
    """An 8-bit PNG with exactly `channels` channels (1 grey, 3 RGB, 4 RGBA); nothing is converted silently."""
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    if not path.is_file():
        raise FormatError(path, f"an 8-bit {mode} PNG", "no such file")
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if max(image.size) > MAX_IMAGE_SIDE:
                raise FormatError(path, f"at most {MAX_IMAGE_SIDE} pixels a side", f"{image.size}")
            if image.mode != mode:
                raise FormatError(path, f"an 8-bit {mode} PNG", f"mode {image.mode}", f"Save it as {mode}.")
            return np.array(image).reshape(image.height, image.width, channels)
    except FormatError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise FormatError(path, f"a readable 8-bit {mode} PNG", f"{type(error).__name__}: {error}") from None


def write_png(path: Path, image: UInt8[np.ndarray, "H W C"]) -> None:
    """Lossless; level 1 compression (three times as fast as the default for a tenth more bytes)."""
    if image.dtype != np.uint8:
        raise FormatError(path, "a uint8 image", str(image.dtype))
    picture = image[..., 0] if image.shape[-1] == 1 else image
    with atomic(path) as temporary:
        Image.fromarray(np.ascontiguousarray(picture)).save(temporary, format="PNG", compress_level=1)


def read_png_sequence(folder: Path, count: int, channels: int) -> UInt8[np.ndarray, "T H W C"]:
    """Frames 0000.png ... of one size; too few, too many or differing sizes raise FormatError."""
    names = sorted(p.name for p in folder.glob("*.png"))
    expected = [f"{k:04d}.png" for k in range(count)]
    if names != expected:
        missing, extra = sorted(set(expected) - set(names)), sorted(set(names) - set(expected))
        raise FormatError(
            folder,
            f"the {count} files 0000.png to {count - 1:04d}.png",
            f"missing {missing[:4]}, unexpected {extra[:4]}",
        )
    first = read_png(folder / expected[0], channels)
    frames = np.empty((count, *first.shape), np.uint8)
    for k, name in enumerate(expected):
        frame = first if k == 0 else read_png(folder / name, channels)
        if frame.shape != first.shape:
            raise FormatError(folder / name, f"the size of frame 0, {first.shape[:2]}", f"{frame.shape[:2]}")
        frames[k] = frame
    return frames


def write_png_sequence(folder: Path, frames: UInt8[np.ndarray, "T H W C"]) -> None:
    for k, frame in enumerate(frames):
        write_png(folder / f"{k:04d}.png", frame)
