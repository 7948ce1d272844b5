"""Random weights and films that are the same on every machine: what the recorder and the test of video networks share.

Made by NumPy's PCG64, whose stream does not change between versions; scaled so that activations do not fade or grow.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def random_state(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    """float32 arrays of these shapes, in the order of their names."""
    random, state = np.random.default_rng(seed), {}
    for name in sorted(shapes):
        shape = shapes[name]
        values = random.standard_normal(shape, np.float32)
        if len(shape) > 1:
            values *= np.float32(np.sqrt(2 / np.prod(shape[1:])))
        elif name.endswith("running_var"):
            values = np.abs(values) * np.float32(0.1) + np.float32(0.9)
        elif "norm" in name or ".bn" in name or name.startswith("bn") or ".downsample.1." in name:
            values = values * np.float32(0.1) + np.float32(name.endswith("weight"))
        else:
            values *= np.float32(0.1)
        state[name] = values
    return state


def random_film(frames: int, height: int, width: int, seed: int) -> np.ndarray:
    """uint8 [T,H,W,3]: coloured waves that drift, with noise."""
    random = np.random.default_rng(seed)
    t, y, x = np.meshgrid(*(np.arange(n) for n in (frames, height, width)), indexing="ij")
    phase = t * random.uniform(0.05, 0.3, 3)[:, None, None, None] + random.uniform(0, 6, 3)[:, None, None, None]
    waves = random.uniform(0.02, 0.15, (2, 3))
    film = 127 + 90 * np.sin(waves[0, :, None, None, None] * x + waves[1, :, None, None, None] * y + phase)
    film += random.uniform(-25, 25, film.shape)
    return np.moveaxis(film, 0, -1).round().clip(0, 255).astype(np.uint8)


def random_input(shape: tuple[int, ...], low: float, high: float, seed: int) -> np.ndarray:
    """float32 in [low, high): a network's input, smooth in no way."""
    return np.random.default_rng(seed).random(shape, np.float32) * np.float32(high - low) + np.float32(low)
