"""Frames in, videos out: a folder of pictures, a GIF, or a film through the ffmpeg program of imageio-ffmpeg.

Videos come from strangers. ffmpeg runs as a process of its own, so that a decoder that crashes or needs too much memory
costs an error and not this process. It gets the one demuxer that the file's first bytes and name ask for and no
protocol but files: a film that is really a playlist cannot make it open anything else.
"""

from __future__ import annotations

import math
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from .clip import MAX_FRAMES
from .errors import FormatError
from .files import UNREADABLE, atomic, natural

MAX_SIDE = 8192
MAX_PIXELS = 2**25  # of one frame: 8K, 7680 x 4320, fits
MAX_BYTES = 4 * 2**30  # of decoded frames
MAX_DECODER_BYTES = 6 * 2**30  # address space of ffmpeg, on Linux
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
MODES = ("L", "LA", "P", "PA", "RGB", "RGBA")  # 8 bits a channel
# name -> ffmpeg's demuxer, and what the file begins with
DEMUXERS = {".mp4": "mov", ".m4v": "mov", ".mov": "mov", ".webm": "matroska", ".mkv": "matroska", ".avi": "avi"}
FILMS = tuple(DEMUXERS)
STARTS = {"mov": rb"....(ftyp|moov|mdat|wide|free|skip)", "matroska": rb"\x1a\x45\xdf\xa3", "avi": rb"RIFF....AVI "}
# of ffmpeg: stop at the first error; repeat, drop and rescale no frame
STRICT = ["-hide_banner", "-nostdin", "-nostats", "-loglevel", "level+info", "-xerror", "-err_detect", "explode"]
STRICT += ["-threads", "2", "-max_pixels", f"{MAX_PIXELS}"]
EVERY_FRAME = ["-fps_mode", "passthrough", "-frames:v", f"{MAX_FRAMES + 1}", "-vf", "showinfo=checksum=0"]
EVERY_FRAME += ["-sws_flags", "bicubic+accurate_rnd+full_chroma_int", "-c:v", "pam"]
# what ffmpeg says, each from the start of its line: a film's own title cannot pass for it
STREAM = re.compile(r"^ +Stream #0:\d+.*?: Video: (\w+).*?, (\w+)(?:\(.*?\))?, (\d+)x(\d+)", re.MULTILINE)
ALPHA_TAG = re.compile(r"^ +alpha_mode +: 1$", re.MULTILINE | re.IGNORECASE)
SHOWN = re.compile(r"^\[Parsed_showinfo\S+ @ \w+\] \[info\] n: .* pts_time:(\S+) .* s:(\d+)x(\d+) ", re.MULTILINE)
ERROR = re.compile(r"^(\[[^\]]* @ \w+\] )?\[(error|fatal)\] ", re.MULTILINE)
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # ffmpeg's own decoders drop the alpha of VP8 and VP9
ALPHA_FORMATS = re.compile(r"yuva|gbrap|rgba|argb|bgra|abgr|ya\d|pal8")
MAX_LOG_BYTES = 16 * 2**20
ENCODERS = {
    ".mp4": ["-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p", "-movflags", "+faststart"],
    ".gif": ["-vf", "split[a][b];[a]palettegen[p];[b][p]paletteuse"],
}
INSTALL = "pip install -r requirements/core.txt, or give a folder of PNG files."


@dataclass(frozen=True)
class Video:
    """Frames of one size: RGB, or RGBA with straight alpha. `times` are seconds from the first frame."""

    frames: UInt8[np.ndarray, "T H W C"]
    times: Float64[np.ndarray, " T"]

    @property
    def has_alpha(self) -> bool:
        """Whether there is an alpha channel that is not 255 everywhere."""
        return self.frames.shape[3] == 4 and any(bool((frame[..., 3] < 255).any()) for frame in self.frames)


def read_video(path: Path, fps: float = 8.0) -> Video:
    """A folder of pictures (at `fps`), a GIF or a film (with their own times). Raises FormatError.

    Pictures are ordered by the numbers in their names (2.png before 10.png). All have one size, and either all have an
    alpha channel or none has. A film has the alpha that its codec carries (VP8 and VP9 in WebM, PNG and ProRes 4444 in
    MOV, ...). A film that breaks off, or whose size changes on the way, is refused: nothing is repaired or rescaled.
    """
    if path.is_dir():
        return _read_folder(path, fps)
    if not path.is_file():
        raise FormatError(path, "a folder of pictures, or a film", "nothing there")
    if path.suffix.lower() == ".gif":
        return _read_gif(path)
    if path.suffix.lower() in DEMUXERS:
        return _read_film(path)
    raise FormatError(path, f"a folder, or a file named {', '.join(('.gif', *DEMUXERS))}", repr(path.suffix))


def _read_folder(folder: Path, fps: float) -> Video:
    files = sorted((p for p in folder.iterdir() if p.suffix.lower() in PICTURES and p.is_file()), key=natural)
    if not 1 <= len(files) <= MAX_FRAMES:
        raise FormatError(folder, f"1 to {MAX_FRAMES} pictures {PICTURES}", f"{len(files)}")
    if not (fps > 0 and np.isfinite(fps)):
        raise FormatError("frame rate", "a positive number of frames a second", f"{fps}")
    stack = _Stack(folder)
    for file in files:
        try:
            with Image.open(file, formats=["PNG", "JPEG", "WEBP"]) as image:
                _check_size(file, image.size)
                if image.mode not in MODES or getattr(image, "n_frames", 1) != 1:
                    found = f"mode {image.mode}, {getattr(image, 'n_frames', 1)} pictures in one"
                    raise FormatError(file, "one 8-bit grey, palette, RGB or RGBA picture", found)
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
            for k in range(MAX_FRAMES + 1):
                try:
                    film.seek(k)
                except EOFError:
                    break
                _check_size(path, film.size)  # a frame may be larger than what the header says
                stack.add(np.asarray(film.convert("RGBA")), f"frame {k}")
                times.append(now)
                # browsers show no frame for a shorter time than 20 ms
                now += max(float(film.info.get("duration", 0)), 20.0) / 1000
    except UNREADABLE as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(path, "a readable GIF", f"{type(error).__name__}: {error}") from None
    return Video(stack.done(), np.array(times))


@dataclass(frozen=True)
class _Stream:
    """What ffmpeg says of a film's first video stream before it decodes it."""

    codec: str
    width: int
    height: int
    has_alpha: bool


def _read_film(path: Path) -> Video:
    demuxer = DEMUXERS[path.suffix.lower()]
    with path.open("rb") as file:
        start = file.read(16)
    if not re.match(STARTS[demuxer], start, re.DOTALL):
        raise FormatError(path, f"a {path.suffix} film that ffmpeg reads", f"a file that begins with {start!r}")
    program = _ffmpeg()
    source = ["-protocol_whitelist", "file", "-f", demuxer, "-i", f"file:{path.resolve()}"]
    stream = _probe(path, [program, "-hide_banner", "-nostdin", *source])
    stack = _Stack(path)
    _check_size(path, (stream.width, stream.height))
    decoder = ["-c:v", ALPHA_DECODERS[stream.codec]] if stream.has_alpha and stream.codec in ALPHA_DECODERS else []
    command = [program, *STRICT, *decoder, *source, "-map", "0:v:0", *EVERY_FRAME]
    command += ["-pix_fmt", "rgba" if stream.has_alpha else "rgb24", "-f", "image2pipe", "-"]
    with _running(path, command, stdout=subprocess.PIPE) as (process, log):
        assert process.stdout is not None
        for k, frame in enumerate(_pam_frames(path, process.stdout)):
            stack.add(frame, f"frame {k}")
        process.wait()
        text = _text(log)
    if process.returncode or ERROR.search(text):
        raise FormatError(path, "a whole film that ffmpeg reads", _last_words(text), "Is the file complete?")
    shown = SHOWN.findall(text)
    sizes = list(dict.fromkeys(f"{width} x {height}" for _, width, height in shown))
    if len(sizes) > 1:
        raise FormatError(path, "one size in all frames", ", then ".join(sizes[:4]))
    return Video(stack.done(), _times(path, [time for time, _, _ in shown], stack.count))


def _probe(path: Path, command: list[str]) -> _Stream:
    with _running(path, command, stdout=subprocess.DEVNULL) as (process, log):
        process.wait()
        text = _text(log)
    stream = STREAM.search(text)
    if not stream:
        raise FormatError(path, f"a {path.suffix} film that ffmpeg reads", _last_words(text))
    codec, pixel_format, width, height = stream.groups()
    has_alpha = bool(ALPHA_FORMATS.match(pixel_format))
    if codec in ALPHA_DECODERS:  # alpha is a second picture beside the stream; a tag says that there is one
        has_alpha = bool(ALPHA_TAG.search(text))
    return _Stream(codec, int(width), int(height), has_alpha)


def _pam_frames(path: Path, pipe: IO[bytes]) -> Iterator[UInt8[np.ndarray, "H W C"]]:
    """Frames of a stream of PAM pictures: each says its size before its pixels."""
    while head := pipe.readline(64):
        fields = {b"MAXVAL": b"255"}
        while head != b"ENDHDR\n":
            if not head:
                return  # ffmpeg died on the way: its exit status tells
            name, _, value = head.strip().partition(b" ")
            fields[name], head = value, pipe.readline(64)
        shape = [int(fields[name]) for name in (b"HEIGHT", b"WIDTH", b"DEPTH")]
        _check_size(path, (shape[1], shape[0]))
        data = pipe.read(math.prod(shape))
        if len(data) < math.prod(shape):
            return
        yield np.frombuffer(data, np.uint8).reshape(shape)


def _times(path: Path, shown: list[str], count: int) -> Float64[np.ndarray, " T"]:
    """Seconds from the first frame. A film of several frames that does not say when each is shown is refused."""
    if len(shown) != count or (count > 1 and "NOPTS" in shown):
        raise FormatError(path, f"a time for each of its {count} frames", f"{len(shown)} times, {shown[:3]}...")
    times = np.array([0.0]) if count == 1 else np.array([float(time) for time in shown])
    if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise FormatError(path, "frames whose times increase", f"{shown[:6]}...")
    return times - times[0]


@contextmanager
def _running(path: Path, command: list[str], **pipes: Any) -> Iterator[tuple[subprocess.Popen, IO[bytes]]]:
    """ffmpeg with bounded memory and its messages in a temporary file; it never outlives the block."""
    with tempfile.TemporaryFile() as log:
        try:
            process = subprocess.Popen(command, stdin=pipes.pop("stdin", subprocess.DEVNULL), stderr=log, **pipes)
        except OSError as error:
            raise FormatError(path, "a program ffmpeg that starts", f"{error}", INSTALL) from None
        try:
            if sys.platform == "linux":
                limit = MAX_DECODER_BYTES if (most := resource.getrlimit(resource.RLIMIT_AS)[1]) < 0 else most
                resource.prlimit(process.pid, resource.RLIMIT_AS, (min(limit, MAX_DECODER_BYTES),) * 2)
            yield process, log
        finally:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(BrokenPipeError):
                        pipe.close()
            process.wait()


def _text(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read(MAX_LOG_BYTES).decode("utf-8", "replace")


def _last_words(text: str) -> str:
    """The last lines that are about an error, without addresses: equal errors read equal."""
    lines = [re.sub(r" @ 0x[0-9a-f]+", "", line).strip() for line in text.splitlines()]
    told = [line for line in lines if line and "showinfo" not in line and not line.startswith("Conversion failed")]
    return "; ".join(told[-3:])[-300:] or "no error message"


class _Stack:
    """Collects frames in one growing block, and refuses what does not belong together, or becomes too much."""

    def __init__(self, where: Path) -> None:
        self.where, self.shape, self.count, self.pixels = where, (0, 0, 0), 0, bytearray()

    def add(self, frame: UInt8[np.ndarray, "H W C"], name: str) -> None:
        self.shape = self.shape if self.count else frame.shape
        if frame.shape != self.shape:
            kinds = {3: "without alpha", 4: "with alpha"}
            raise FormatError(
                f"{self.where}: {name}",
                f"{self.shape[1]} x {self.shape[0]} pixels {kinds[self.shape[2]]}, as the first frame",
                f"{frame.shape[1]} x {frame.shape[0]} {kinds[frame.shape[2]]}",
            )
        if self.count == MAX_FRAMES or len(self.pixels) + frame.nbytes > MAX_BYTES:
            limit = f"at most {MAX_FRAMES} frames and {MAX_BYTES / 2**30:g} GiB of pixels"
            raise FormatError(self.where, limit, "more", "Cut or shrink the video first.")
        self.pixels += np.ascontiguousarray(frame).data.cast("B")
        self.count += 1

    def done(self) -> UInt8[np.ndarray, "T H W C"]:
        if not self.count:
            raise FormatError(self.where, "at least one frame", "none")
        return np.frombuffer(self.pixels, np.uint8).reshape(self.count, *self.shape)


def _check_size(where: Path, size: tuple[int, int]) -> None:
    if not (min(size) > 0 and max(size) <= MAX_SIDE and size[0] * size[1] <= MAX_PIXELS):
        limit = f"1 to {MAX_SIDE} pixels a side, at most {MAX_PIXELS} altogether"
        raise FormatError(where, limit, f"{size[0]} x {size[1]}")


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


def write_video(
    path: Path, images: Iterable[UInt8[np.ndarray, "H W 3"]], fps: float, options: Sequence[str] = ()
) -> None:
    """Images of one size, for viewing: an H.264 film (.mp4; even sizes) or a GIF with its best 256 colours (.gif).

    Both lose something; numbers are never computed from them. Nothing is left behind if an error ends the writing.
    `options`: of ffmpeg's encoder, after ours.
    """
    if path.suffix.lower() not in ENCODERS:
        raise FormatError(path, f"a name that ends in {' or '.join(ENCODERS)}", repr(path.suffix))
    if not (fps > 0 and np.isfinite(fps)):
        raise FormatError("frame rate", "a positive number of frames a second", f"{fps}")
    images = iter(images)
    first = next(images, None)
    if first is None:
        raise FormatError(path, "at least one image", "none")
    height, width = first.shape[:2]
    if path.suffix.lower() == ".mp4" and (height % 2 or width % 2):
        raise FormatError(path, "images with an even number of rows and columns", f"{width} x {height}")
    command = [_ffmpeg(), "-hide_banner", "-nostats", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-video_size", f"{width}x{height}", "-framerate", f"{fps}", "-i", "pipe:0"]
    with atomic(path) as temporary:
        command += [*ENCODERS[path.suffix.lower()], *options, f"file:{temporary.resolve()}"]
        with _running(path, command, stdin=subprocess.PIPE) as (process, log):
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # ffmpeg ended before us: its exit status tells
                for image in chain([first], images):
                    if image.shape != (height, width, 3) or image.dtype != np.uint8:
                        raise FormatError(
                            path, f"uint8 images of one size {first.shape}", f"{image.dtype} {image.shape}"
                        )
                    process.stdin.write(np.ascontiguousarray(image).data)
                process.stdin.close()
            if process.wait():
                raise FormatError(path, "a film that ffmpeg can write", _last_words(_text(log)))


def _ffmpeg() -> str:
    """The program that comes with imageio-ffmpeg."""
    try:
        import imageio_ffmpeg  # type: ignore[import-untyped]
    except ImportError:
        raise FormatError("video", "the package imageio-ffmpeg", "none", INSTALL) from None
    return str(imageio_ffmpeg.get_ffmpeg_exe())
