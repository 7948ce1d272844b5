"""Which clips, which frames of them and which random numbers make a step: pure functions of the seed and the step.

Nothing here has a state, so a run that was stopped goes on with the same data, on any number of processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Int64

from bench4d.errors import FormatError

START, DRAW = 1, 2  # purposes of random numbers
MASK = 2**64 - 1


def mix(*numbers: int) -> int:
    """A number from 0 to 2^63 - 1 that changes all over when any of `numbers` does (splitmix64, chained)."""
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
        state ^= state >> 31
    return state >> 1


@lru_cache(maxsize=4)
def permutation(seed: int, epoch: int, clips: int) -> Int64[np.ndarray, " clips"]:
    return np.random.Generator(np.random.Philox(mix(seed, epoch))).permutation(clips)


@dataclass(frozen=True)
class Rows:
    """Rows of a batch: clip, first frame, and the seed of all that is drawn for that row."""

    clips: list[int]
    starts: list[int]
    seeds: list[int]

    def __getitem__(self, part: slice) -> Rows:
        return Rows(self.clips[part], self.starts[part], self.seeds[part])


def rows(seed: int, step: int, batch: int, frames: Sequence[int], window: int, before: int = 0) -> Rows:
    """The global batch of a step. Every clip comes once before any comes again.

    Args:
        batch: rows of the global batch.
        frames: how many frames each clip has.
        window: how many of them a row has; it starts anywhere that fits.
        before: rows that came before step 0, in batches of another size.
    """
    if short := [k for k, count in enumerate(frames) if count < window]:
        found = f"{frames[short[0]]} in clip {short[0]} ({len(short)} such clips)"
        raise FormatError("clips", f"at least train.frames = {window} frames each", found)
    clips, starts, seeds = [], [], []
    for place in range(before + step * batch, before + (step + 1) * batch):
        epoch, position = divmod(place, len(frames))
        clip = int(permutation(seed, epoch, len(frames))[position])
        clips.append(clip)
        starts.append(mix(seed, START, place) % (frames[clip] - window + 1))
        seeds.append(mix(seed, DRAW, place))
    return Rows(clips, starts, seeds)
