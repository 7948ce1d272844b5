"""Frames in, videos out: a folder of pictures, a GIF, or a film through imageio-ffmpeg."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image, ImageSequence

from bench4d.errors import FormatError

MAX_FRAMES = 4096
MAX_SIDE = 8192
MAX_BYTES = 8 * 2**30  # of decoded frames
PICTURES, FILMS = (".png", ".jpg", ".jpeg", ".webp"), (".mp4", ".webm", ".mov", ".mkv", ".avi", ".m4v")
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


@dataclass(frozen=True)
class Video:
    """Frames of one size: RGB, or RGBA with straight alpha. `times` are seconds from the first frame."""

    frames: UInt8[np.ndarray, "T H W C"]
    times: Float64[np.ndarray, " T"]

    @property
    def has_alpha(self) -> bool:
        """Whether there is an alpha channel that is not 255 everywhere."""
        return self.frames.shape[3] == 4 and bool((self.frames[..., 3] < 255).any())


def read_video(path: Path, fps: float = 8.0) -> Video:
    """A folder of pictures (at `fps`), a GIF (with its own times) or a film. Raises FormatError.

    Pictures are ordered by the numbers in their names (2.png before 10.png). All have one size, and either all have an
    alpha channel or none has. Films are read as RGB: whatever alpha a WebM carries is lost.
    """
    if path.is_dir():
        return _read_folder(path, fps)
    if not path.is_file():
        raise FormatError(path, "a folder of pictures, or a film", "nothing there")
    if path.suffix.lower() == ".gif":
        return _read_gif(path)
    if path.suffix.lower() in FILMS:
        return _read_film(path)
    raise FormatError(path, f"a folder, or a file named {', '.join(('.gif', *FILMS))}", repr(path.suffix))


def natural(path: Path) -> list[tuple[int, str]]:
    """Sorts names by the numbers in them.

    >>> [p.name for p in sorted(map(Path, ["10.png", "2.png", "a1.png"]), key=natural)]
    ['2.png', '10.png', 'a1.png']
    """
    return [(int(part), "") if part.isdigit() else (10**18, part) for part in re.split(r"(\d+)", path.name) if part]


def _read_folder(folder: Path, fps: float) -> Video:
    files = sorted((p for p in folder.iterdir() if p.suffix.lower() in PICTURES and p.is_file()), key=natural)
    if not 1 <= len(files) <= MAX_FRAMES:
        raise FormatError(folder, f"1 to {MAX_FRAMES} pictures {PICTURES}", f"{len(files)}")
    if not fps > 0:
        raise FormatError("frame rate", "a positive number of frames a second", f"{fps}")
    stack = _Stack(folder)
    for file in files:
        try:
            with Image.open(file, formats=["PNG", "JPEG", "WEBP"]) as image:
                _check_size(file, image.size)
                stack.add(np.asarray(image.convert("RGBA" if _transparent(image) else "RGB")), file.name)
        except UNREADABLE as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(file, "a readable picture", f"{type(error).__name__}: {error}") from None
    return Video(stack.done(), np.arange(len(files)) / fps)


def _transparent(image: Image.Image) -> bool:
    return "A" in image.getbands() or "transparency" in image.info


def _read_gif(path: Path) -> Video:
    stack, times, now = _Stack(path), [], 0.0
    try:
        with Image.open(path, formats=["GIF"]) as film:
            _check_size(path, film.size)
            for k, image in enumerate(ImageSequence.Iterator(film)):
                stack.add(np.asarray(image.convert("RGBA")), f"frame {k}")
                times.append(now)
                now += (
                    max(float(image.info.get("duration", 0)), 20.0) / 1000
                )  # browsers show no frame shorter than that
    except UNREADABLE as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(path, "a readable GIF", f"{type(error).__name__}: {error}") from None
    return Video(stack.done(), np.array(times))


def _read_film(path: Path) -> Video:
    ffmpeg = _ffmpeg()
    stack = _Stack(path)
    try:
        reader = ffmpeg.read_frames(str(path), pix_fmt="rgb24")
        about = next(reader)
        width, height = about["size"]
        _check_size(path, (width, height))
        for k, data in enumerate(reader):
            stack.add(np.frombuffer(data, np.uint8).reshape(height, width, 3), f"frame {k}")
    except (OSError, RuntimeError, StopIteration, KeyError) as error:
        reason = " ".join(str(error).split())[-200:]
        raise FormatError(path, "a film that ffmpeg reads", f"{type(error).__name__}: {reason}") from None
    if not about["fps"] > 0:
        raise FormatError(path, "a film with a frame rate", f"{about['fps']}")
    frames = stack.done()
    return Video(frames, np.arange(len(frames)) / about["fps"])


class _Stack:
    """Collects frames and refuses what does not belong together, or becomes too much."""

    def __init__(self, where: Path) -> None:
        self.where, self.frames = where, list[np.ndarray]()

    def add(self, frame: UInt8[np.ndarray, "H W C"], name: str) -> None:
        if self.frames and frame.shape != self.frames[0].shape:
            first = self.frames[0].shape
            kinds = {3: "without alpha", 4: "with alpha"}
            raise FormatError(
                f"{self.where}: {name}",
                f"{first[1]} x {first[0]} pixels {kinds[first[2]]}, as the first frame",
                f"{frame.shape[1]} x {frame.shape[0]} {kinds[frame.shape[2]]}",
            )
        self.frames.append(frame)
        if len(self.frames) > MAX_FRAMES or frame.nbytes * len(self.frames) > MAX_BYTES:
            limit = f"at most {MAX_FRAMES} frames and {MAX_BYTES / 2**30:g} GiB of pixels"
            raise FormatError(self.where, limit, "more", "Cut or shrink the video first.")

    def done(self) -> UInt8[np.ndarray, "T H W C"]:
        if not self.frames:
            raise FormatError(self.where, "at least one frame", "none")
        return np.stack(self.frames)


def _check_size(where: Path, size: tuple[int, int]) -> None:
    if not (min(size) > 0 and max(size) <= MAX_SIDE):
        raise FormatError(where, f"1 to {MAX_SIDE} pixels a side", f"{size[0]} x {size[1]}")


def resample(video: Video, count: int) -> Video:
    """`count` frames, evenly spread from the first to the last: each is the stored frame nearest in time.

    Of two equally near frames the earlier one is taken. A video with `count` evenly spaced frames comes back as it is;
    a shorter one has frames that repeat.

    >>> short = Video(np.zeros((3, 1, 1, 3), np.uint8), np.array([0.0, 0.5, 1.0]))
    >>> resample(short, 4).times.round(3).tolist()
    [0.0, 0.333, 0.667, 1.0]
    """
    if not 1 <= count <= MAX_FRAMES:
        raise FormatError("frames", f"1 to {MAX_FRAMES}", f"{count}")
    wanted = np.linspace(video.times[0], video.times[-1], count)
    distance = np.abs(video.times[None] - wanted[:, None])  # [count,T]
    nearest = (distance <= distance.min(1, keepdims=True) + 1e-9).argmax(1)
    return Video(video.frames[nearest], wanted)


def write_video(path: Path, images: Iterable[UInt8[np.ndarray, "H W 3"]], fps: float) -> None:
    """An H.264 film of images of one even size."""
    if path.suffix.lower() != ".mp4":
        raise FormatError(path, "a name that ends in .mp4", repr(path.suffix))
    ffmpeg, writer, size = _ffmpeg(), None, None
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        for image in images:
            if writer is None:
                size = image.shape
                if size[0] % 2 or size[1] % 2:
                    raise FormatError(path, "images with an even number of rows and columns", f"{size[1]} x {size[0]}")
                writer = ffmpeg.write_frames(
                    str(path), (size[1], size[0]), fps=fps, quality=8, macro_block_size=2, ffmpeg_log_level="error"
                )
                writer.send(None)
            if image.shape != size:
                raise FormatError(path, f"images of one size {size}", f"{image.shape}")
            writer.send(np.ascontiguousarray(image))
    finally:
        if writer is not None:
            writer.close()
    if writer is None:
        raise FormatError(path, "at least one image", "none")


def _ffmpeg() -> Any:
    try:
        import imageio_ffmpeg  # type: ignore[import-untyped]
    except ImportError:
        raise FormatError(
            "video",
            "the package imageio-ffmpeg",
            "none",
            "pip install -r requirements/ss4d.txt, or give a folder of PNG files.",
        ) from None
    return imageio_ffmpeg
