"""All pictures of one clip, decoded once: for metrics in main memory, for networks on their device."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from jaxtyping import UInt8

from .frames import read_view
from .metric import View

if TYPE_CHECKING:  # torch is slow to import, and a protocol without networks does without it
    import torch

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True)
class DeviceView(View):
    """A view whose colours lie on the networks' device too.

    Attributes:
        pixels: `rgb` as uint8 [T,H,W,3]; on a CPU the very same memory.
    """

    pixels: torch.Tensor


@dataclass(frozen=True)
class Pictures:
    """What V cameras saw at T times.

    Attributes:
        rgb: sRGB, on the protocol's background.
        alpha: coverage of the same pixels.
        pixels: `rgb` on the networks' device, once `on` has put it there.
    """

    rgb: UInt8[np.ndarray, "V T H W 3"]
    alpha: UInt8[np.ndarray, "V T H W"]
    pixels: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.rgb)

    @property
    def n_frames(self) -> int:
        return int(self.rgb.shape[1])

    @property
    def sha256(self) -> str:
        """Of the colours, with their shape."""
        total = hashlib.sha256(f"{list(self.rgb.shape)}".encode())
        total.update(np.ascontiguousarray(self.rgb).data)
        return total.hexdigest()

    def on(self, device: torch.device) -> Pictures:
        """The same, with `pixels`."""
        import torch

        return replace(self, pixels=torch.from_numpy(self.rgb).to(device))

    def view(self, v: int, kept: range) -> View:
        """These frames of one view; nothing is copied."""
        chosen = slice(kept.start, kept.stop, kept.step)
        rgb, alpha = self.rgb[v, chosen], self.alpha[v, chosen]
        return View(rgb, alpha) if self.pixels is None else DeviceView(rgb, alpha, self.pixels[v, chosen])


def read_pictures(folder: Path, views: Sequence[str], n_frames: int, size: int, threads: int = 1) -> Pictures:
    """Every view of a folder of renders (see `frames.py`). Missing frames and other sizes raise FormatError."""
    rgb = np.empty((len(views), n_frames, size, size, 3), np.uint8)
    alpha = np.empty(rgb.shape[:-1], np.uint8)

    def read(v: int) -> None:
        seen = read_view(folder, views[v], n_frames, size)
        rgb[v], alpha[v] = seen.rgb, seen.alpha

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(read, range(len(views))))
    return Pictures(rgb, alpha)


def bytes_of(background: Sequence[float]) -> UInt8[np.ndarray, "3"]:
    """A colour in sRGB [0, 1] as the renderer rounds it.

    >>> bytes_of((1, 0.5, 0)).tolist()
    [255, 128, 0]
    """
    return np.floor(np.asarray(background, np.float64) * 255 + 0.5).astype(np.uint8)


def ahead(keys: Iterable[Key], make: Callable[[Key], Value]) -> Iterator[tuple[Key, Value]]:
    """(key, make(key)) in order; a thread makes the next while the caller is busy with this one. Never more than two
    values are alive if the caller drops each before it asks for the next. Errors of `make` are raised in their turn.

    >>> list(ahead("ab", str.upper))
    [('a', 'A'), ('b', 'B')]
    """
    waiting = list(keys)[::-1]
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(make, waiting[-1]) if waiting else None
        while coming is not None:
            key, value = waiting.pop(), coming.result()
            coming = pool.submit(make, waiting[-1]) if waiting else None
            yield key, value
            del value


def indices(groups: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
    """View -> group, as group -> indices of its views.

    >>> indices({"front": "input", "left": "novel", "right": "novel"})
    {'input': (0,), 'novel': (1, 2)}
    """
    found: dict[str, tuple[int, ...]] = {}
    for v, group in enumerate(groups.values()):
        found[group] = (*found.get(group, ()), v)
    return found
