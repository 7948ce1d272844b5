"""`Clip`: the video a method sees. On disk: `clip.json` and `frames/0000.png`, `frames/0001.png`, ..."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8

from .cameras import Cameras
from .errors import FormatError, within
from .files import read_json, read_png_sequence, write_json, write_png_sequence

MAX_FRAMES = 4096
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


def checked_id(name: object, where: str | Path) -> str:
    """A name that is safe as a folder: letters, digits, '_', '.', '-'; it starts with a letter or digit."""
    if not isinstance(name, str) or not ID.fullmatch(name):
        raise FormatError(where, "an id of 1 to 100 letters, digits, '_', '.' or '-'", repr(name)[:80])
    return name


@dataclass(frozen=True)
class Clip:
    """T frames of a moving object, cut out from its background.

    Attributes:
        id: the clip's name within its benchmark.
        frames: straight (not premultiplied) alpha, sRGB.
        fps: frame k is at k / fps seconds.
        camera: the input camera (one), or None if it is not known.
    """

    id: str
    frames: UInt8[np.ndarray, "T H W 4"]
    fps: float
    camera: Cameras | None = None

    def __post_init__(self) -> None:
        checked_id(self.id, "Clip.id")
        shape = self.frames.shape
        if self.frames.dtype != np.uint8 or len(shape) != 4 or shape[3] != 4 or not 1 <= shape[0] <= MAX_FRAMES:
            raise FormatError(
                f"clip {self.id}", f"uint8 frames [T,H,W,4] with 1 <= T <= {MAX_FRAMES}", f"{self.frames.dtype} {shape}"
            )
        if not (np.isfinite(self.fps) and self.fps > 0):
            raise FormatError(f"clip {self.id}", "a positive frame rate", f"{self.fps}")
        object.__setattr__(self, "fps", float(self.fps))  # 8 and 8.0 are one rate and one hash
        if self.camera is not None and (len(self.camera), self.camera.height, self.camera.width) != (1, *shape[1:3]):
            raise FormatError(
                f"clip {self.id}",
                f"one camera of {shape[2]} x {shape[1]} pixels",
                f"{len(self.camera)} of {self.camera.width} x {self.camera.height}",
            )

    @property
    def times(self) -> Float64[np.ndarray, " T"]:
        """Seconds."""
        return np.arange(len(self.frames)) / self.fps

    @property
    def sha256(self) -> str:
        """Of the pixels, their shape and the frame rate; independent of how PNG compressed them."""
        total = hashlib.sha256(f"{self.frames.shape} {self.fps!r}".encode())
        total.update(np.ascontiguousarray(self.frames).data)
        return total.hexdigest()

    def write(self, folder: Path) -> None:
        write_png_sequence(folder / "frames", self.frames)
        write_json(
            folder / "clip.json",
            {
                "version": 1,
                "id": self.id,
                "fps": self.fps,
                "n_frames": len(self.frames),
                "camera": self.camera.to_json() if self.camera else None,
                "sha256": self.sha256,
            },
        )

    @staticmethod
    def read(folder: Path) -> Clip:
        """Strict: every frame present, RGBA, one size, and the recorded hash must match."""
        where = folder / "clip.json"
        data = read_json(where)
        keys = {"version", "id", "fps", "n_frames", "camera", "sha256"}
        if not isinstance(data, dict) or set(data) != keys or data["version"] != 1:
            raise FormatError(where, f"version 1 with the keys {sorted(keys)}", f"{data!r:.120}")
        count = data["n_frames"]
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAX_FRAMES:
            raise FormatError(where, f"1 to {MAX_FRAMES} frames", repr(count))
        if isinstance(data["fps"], bool) or not isinstance(data["fps"], int | float):
            raise FormatError(where, "a number as fps", repr(data["fps"]))
        camera = Cameras.from_json(data["camera"], str(where)) if data["camera"] is not None else None
        with within(where):
            checked_id(data["id"], "id")
            clip = Clip(data["id"], read_png_sequence(folder / "frames", count, 4), float(data["fps"]), camera)
        if clip.sha256 != data["sha256"]:
            raise FormatError(
                folder,
                f"frames with sha256 {data['sha256']}",
                clip.sha256,
                "Delete the folder and make the clip again.",
            )
        return clip
