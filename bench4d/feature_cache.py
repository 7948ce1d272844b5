"""Vectors of true pictures on disk: every method of a benchmark is compared with the same ones.

A file's name is a hash of everything that decides its content, so that nothing is ever out of date; a file that is
damaged is computed again. Several programs may write at once: each writes a file of its own and renames it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from .features import Request
from .files import atomic

VERSION = 1  # of the files' form


def key_of(request: Request, pictures_sha256: str) -> str:
    """All that decides the vectors, as JSON. The pictures' hash covers renderer, size and background."""
    network = request.network
    return json.dumps(
        {
            "form": VERSION,
            "pictures": pictures_sha256,
            "films": request.films,
            "views": request.views,
            "frames": request.frames,
            "feature": network.feature.id,
            "feature_version": network.feature.version,
            "weights": network.weights_sha256,
            "arithmetic": network.place.arithmetic,
        },
        sort_keys=True,
    )


def cached(
    folder: Path | None, key: str, width: int, compute: Callable[[], Float32[np.ndarray, "n d"]]
) -> Float32[np.ndarray, "n d"]:
    """The vectors [n, width] of `key`, from `folder` if they lie there whole; else computed, and left there."""
    if folder is None:
        return compute()
    path = folder / f"{hashlib.sha256(key.encode()).hexdigest()}.safetensors"
    found = _read(path, key, width)
    if found is None:
        found = compute()
        with atomic(path) as temporary:
            temporary.write_bytes(save({"vectors": np.ascontiguousarray(found)}, _about(key, found)))
    return found


def _read(path: Path, key: str, width: int) -> Float32[np.ndarray, "n d"] | None:
    """None if the file is not there, or not what was written."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "numpy") as file:
            about, found = file.metadata() or {}, file.get_tensor("vectors")
    except (SafetensorError, OSError, ValueError):
        return None
    whole = found.dtype == np.float32 and found.ndim == 2 and found.shape[1] == width
    return found if whole and about == _about(key, found) else None


def _about(key: str, vectors: np.ndarray) -> dict[str, str]:
    """One entry: several would be written in any order, and equal content would not give equal files."""
    total = hashlib.sha256(f"{list(vectors.shape)}".encode() + vectors.tobytes()).hexdigest()
    return {"about": f"{total} {key}"}
