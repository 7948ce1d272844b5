"""Who sees what: lists of comparisons, balanced over pairs, clips and sides, with attention checks among them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

from bench4d.errors import FormatError

Role = Literal["vote", "check", "repeat"]
TRUTH = ":truth"  # sources beside ids of methods, which have no colon
SPOILT = ":spoilt/"  # before the source that is spoilt
CHOICE = 8  # items to choose each of a list from: enough for variety, and few enough for thousands of items
MIN_GAP = 3  # comparisons between a pair and its repetition, where a list is long enough


@dataclass(frozen=True)
class Question:
    id: str
    title: str
    text: str


# The three of 4DSTR's user study (there: alignment with a text), arXiv 2511.07241.
QUESTIONS = (
    Question("quality", "Visual quality", "Which one looks better: sharper, cleaner, more complete from every side?"),
    Question(
        "consistency",
        "Temporal consistency",
        "Which one moves better: no flicker, no jumps, no parts that come and go?",
    ),
    Question(
        "alignment", "Alignment with the input", "Which one is closer to the object and the motion of the input film?"
    ),
)


@dataclass(frozen=True)
class Item:
    """Two sources to compare on one clip, in no order."""

    clip: str
    a: str
    b: str


@dataclass(frozen=True)
class Trial:
    """One comparison as it is shown. `role` "check": one side is spoilt; "repeat": a pair again, sides exchanged."""

    clip: str
    left: str
    right: str
    role: Role = "vote"

    @property
    def swapped(self) -> Trial:
        return replace(self, left=self.right, right=self.left)


@dataclass(frozen=True)
class Plan:
    """How long a list is, and how many lists there are.

    Attributes:
        trials: comparisons of methods in a list (all, if there are fewer).
        checks, repeats: attention checks besides them.
        lists: participants get one of these each; 0 means as many as show every pair on every clip at least twice,
            once from either side, and at least 8.
    """

    trials: int = 20
    checks: int = 2
    repeats: int = 2
    lists: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (("trials", 1, 500), ("checks", 0, 20), ("repeats", 0, 20), ("lists", 0, 1000)):
            if not low <= getattr(self, name) <= high:
                raise FormatError(f"--{name}", f"a number from {low} to {high}", f"{getattr(self, name)}")


def all_pairs(clips: Sequence[str], there: dict[str, set[str]]) -> list[Item]:
    """Every two sources on every clip that both have. `there`: source -> its clips."""
    pairs = combinations(there, 2)
    return [Item(clip, a, b) for a, b in pairs for clip in clips if clip in there[a] & there[b]]


def make_lists(
    items: Sequence[Item], checks: Sequence[Item], plan: Plan, rng: random.Random
) -> tuple[tuple[Trial, ...], ...]:
    """Over all lists, uses of any two items differ by at most one, and so do the sides of each item.

    Within a list pairs and clips are spread as evenly as that allows.
    """
    if not items:
        raise FormatError("study", "at least two methods with frames of one clip", "none", "See --methods and --clips.")
    length = min(plan.trials, len(items))
    count = plan.lists or max(8, -(-2 * len(items) // length))
    used: Counter[Item] = Counter()
    flipped = {item: rng.random() < 0.5 for item in items}
    made = []
    for _ in range(count):
        body = [_show(item, flipped) for item in _spread(items, length, used, rng)]
        rng.shuffle(body)
        tests = [Trial(item.clip, item.a, item.b, "check") for item in _spread(checks, plan.checks, used, rng)]
        start = rng.randrange(2)  # sides take turns within a list: who always says A cannot pass
        tests = [test.swapped if (k + start) % 2 else test for k, test in enumerate(tests)]
        rng.shuffle(tests)
        made.append(tuple(_mixed(body, tests, plan.repeats, rng)))
    return tuple(made)


def _spread(items: Sequence[Item], count: int, used: Counter[Item], rng: random.Random) -> list[Item]:
    """The least used items, and of these such whose pair and clip this list has least of."""
    pairs, clips, chosen = Counter[tuple[str, str]](), Counter[str](), list[Item]()
    left = sorted(rng.sample(items, len(items)), key=lambda i: used[i])[: count * CHOICE]
    for _ in range(min(count, len(left))):
        item = min(left, key=lambda i: (used[i], pairs[i.a, i.b], clips[i.clip]))
        left.remove(item)
        used[item] += 1
        pairs[item.a, item.b] += 1
        clips[item.clip] += 1
        chosen.append(item)
    return chosen


def _show(item: Item, flipped: dict[Item, bool]) -> Trial:
    """The sides change every time that an item is shown."""
    flipped[item] = not flipped[item]
    trial = Trial(item.clip, item.a, item.b)
    return trial.swapped if flipped[item] else trial


def _mixed(body: list[Trial], checks: list[Trial], repeats: int, rng: random.Random) -> list[Trial]:
    """Checks anywhere but first; repetitions of trials of the first half, some way after them."""
    shown = list(body)
    for check in checks:
        shown.insert(rng.randint(1, len(shown)), check)
    early = [trial for trial in shown[: (len(shown) + 1) // 2] if trial.role == "vote"]
    for trial in rng.sample(early, min(repeats, len(early))):
        after = min(shown.index(trial) + 1 + MIN_GAP, len(shown))
        shown.insert(rng.randint(max(after, len(shown) // 2), len(shown)), replace(trial.swapped, role="repeat"))
    return shown
