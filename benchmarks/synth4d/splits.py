"""Which objects are for testing and which for training. Test seeds start at 1,000,000; training seeds end below."""

from __future__ import annotations

from bench4d.errors import FormatError

from .generator import KINDS

VERSION = 1  # of the generator: any change of any byte of any object is a new version
TRAIN_SEEDS = 1_000_000  # training objects have seeds 0 <= seed < TRAIN_SEEDS
TEST = tuple(f"{kind}-{TRAIN_SEEDS + k}" for k, kind in enumerate(KINDS))  # 21, three a family
MINI = ("walker-1000000", "pudding-1000004", "cell-1000009", "robot-1000020")


def train_id(seed: int) -> str:
    """The training object of a seed; the kinds take turns."""
    if not 0 <= seed < TRAIN_SEEDS:
        raise FormatError("train_id", f"a seed from 0 to {TRAIN_SEEDS - 1}", str(seed), "Larger seeds are for testing.")
    return f"{KINDS[seed % len(KINDS)]}-{seed}"
