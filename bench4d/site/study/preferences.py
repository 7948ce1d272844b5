"""The table of preferences: shares with intervals, from votes alone. docs/study.md has the formulas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from jaxtyping import Float64
from scipy.stats import norm

from bench4d.stats import DRAWS, LEVEL, SEED, Interval, bounds, holm, signed_rank, smallest_p

from .votes import RULE, Ballots, Key, Vote

Verdict = Literal["a preferred", "b preferred", "no difference shown", "n too small", "no votes"]


@dataclass(frozen=True)
class Preference:
    """How often a method was preferred in one question, ties counted half.

    Attributes:
        a: the method.
        b: its rival; empty for the mean over all rivals.
        share: Wilson's interval for a pair, else the bootstrap's; `count` is the number of comparisons.
        ties: share of answers "no difference".
        participants, objects: how many of each the comparisons come from.
        p_holm: signed-rank test over participants, adjusted for the question's pairs; NaN for b empty.
    """

    question: str
    a: str
    b: str
    share: Interval
    ties: float
    participants: int
    objects: int
    p_holm: float
    verdict: Verdict | Literal[""]


@dataclass(frozen=True)
class Preferences:
    """`questions`: id -> title. `notes`: what must be read with the numbers."""

    study: str
    questions: dict[str, str]
    methods: tuple[str, ...]
    overall: tuple[Preference, ...]
    pairs: tuple[Preference, ...]
    notes: tuple[str, ...]


def make_preferences(key: Key, ballots: Ballots) -> Preferences:
    votes = [vote for ballot in ballots.kept for vote in ballot.votes]
    overall, pairs = [], []
    for question in key.questions:
        overall += _overall(votes, key.methods, question)
        pairs += _pairs(votes, key.methods, question)
    notes = tuple(_notes(key, ballots, pairs))
    return Preferences(key.study, key.questions, key.methods, tuple(overall), tuple(pairs), notes)


def wilson(share: float, count: int) -> Interval:
    """Wilson's score interval of a share of `count` independent answers.

    >>> i = wilson(0.5, 10)
    >>> round(i.low, 4), round(i.high, 4)
    (0.2366, 0.7634)
    """
    if not count:
        return Interval(math.nan, math.nan, math.nan, 0)
    z = float(norm.isf(LEVEL / 2))
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half), count)


def crossed_draws(
    wins: Float64[np.ndarray, "pairs P O"], counts: Float64[np.ndarray, "pairs P O"]
) -> Float64[np.ndarray, "DRAWS pairs"]:
    """Shares of pairs in draws of participants and, apart from them, of objects; NaN where a draw has no vote.

    A vote weighs how often its participant was drawn times how often its object was.
    """
    people = _weights(counts.shape[1], 1)
    objects = _weights(counts.shape[2], 2)
    won = np.stack([((people @ part) * objects).sum(axis=1) for part in wins], axis=1)
    cast = np.stack([((people @ part) * objects).sum(axis=1) for part in counts], axis=1)
    return np.where(cast > 0, won / np.where(cast > 0, cast, 1), np.nan)


def _weights(count: int, stream: int) -> Float64[np.ndarray, "DRAWS n"]:
    """How often each of n is drawn. Participants and objects need streams of their own to be drawn independently."""
    drawn = np.random.default_rng([SEED, stream]).integers(0, count, (DRAWS, count))
    drawn += np.arange(DRAWS)[:, None] * count
    return np.bincount(drawn.ravel(), minlength=DRAWS * count).reshape(DRAWS, count).astype(np.float64)


def _overall(votes: Sequence[Vote], methods: Sequence[str], question: str) -> list[Preference]:
    """The mean over rivals of the shares against them: equal weight, however often each pair was shown."""
    people = sorted({vote.participant for vote in votes})
    objects = sorted({vote.object for vote in votes})
    rivals = list(combinations(methods, 2))
    wins = np.zeros((len(rivals), len(people), len(objects)))
    counts = np.zeros_like(wins)
    for vote in votes:
        at = rivals.index((vote.a, vote.b)), people.index(vote.participant), objects.index(vote.object)
        wins[at] += vote.answers[question]
        counts[at] += 1
    total = counts.sum(axis=(1, 2))
    exact = np.where(total > 0, wins.sum(axis=(1, 2)) / np.where(total > 0, total, 1), np.nan)[None]
    drawn = crossed_draws(wins, counts)
    found = []
    for method in methods:
        own = [vote for vote in votes if method in (vote.a, vote.b)]
        draws = _against_all(drawn, rivals, method)
        enough = min(len({v.participant for v in own}), len({v.object for v in own})) > 1
        low, high = bounds(draws[~np.isnan(draws)]) if enough else (math.nan, math.nan)
        share = Interval(float(_against_all(exact, rivals, method)[0]), low, high, len(own))
        found.append(_preference(question, method, "", share, own, math.nan, ""))
    return found


def _against_all(
    shares: Float64[np.ndarray, "k pairs"], rivals: Sequence[tuple[str, str]], method: str
) -> Float64[np.ndarray, " k"]:
    own = [shares[:, k] if a == method else 1 - shares[:, k] for k, (a, b) in enumerate(rivals) if method in (a, b)]
    there = ~np.isnan(own)
    count = there.sum(axis=0)
    return np.where(count > 0, np.where(there, own, 0).sum(axis=0) / np.where(count > 0, count, 1), np.nan)


def _pairs(votes: Sequence[Vote], methods: Sequence[str], question: str) -> list[Preference]:
    chosen = {pair: [vote for vote in votes if (vote.a, vote.b) == pair] for pair in combinations(methods, 2)}
    there = [pair for pair, own in chosen.items() if own]
    tests = {pair: signed_rank(_leanings(chosen[pair], question)) for pair in there}
    adjusted = dict(zip(there, holm(np.array([tests[pair][0] for pair in there])), strict=True))
    found = []
    for (a, b), own in chosen.items():
        verdict: Verdict = "no votes"
        if own:
            people = len({vote.participant for vote in own})
            verdict = "no difference shown"
            if adjusted[a, b] <= LEVEL:
                verdict = "a preferred" if tests[a, b][1] > 0 else "b preferred"
            elif smallest_p(people) * len(there) > LEVEL:
                verdict = "n too small"
        share = float(np.mean([vote.answers[question] for vote in own])) if own else math.nan
        p = float(adjusted.get((a, b), math.nan))
        found.append(_preference(question, a, b, wilson(share, len(own)), own, p, verdict))
    return found


def _leanings(votes: Sequence[Vote], question: str) -> Float64[np.ndarray, " P"]:
    """Each participant's mean share for a, less one half: the independent values of the test."""
    people: dict[str, list[float]] = {}
    for vote in votes:
        people.setdefault(vote.participant, []).append(vote.answers[question])
    return np.array([np.mean(own) - 0.5 for own in people.values()])


def _preference(
    question: str, a: str, b: str, share: Interval, own: Sequence[Vote], p: float, verdict: Verdict | Literal[""]
) -> Preference:
    ties = float(np.mean([vote.answers[question] == 0.5 for vote in own])) if own else math.nan
    people, objects = len({vote.participant for vote in own}), len({vote.object for vote in own})
    return Preference(question, a, b, share, ties, people, objects, p, verdict)


def needed(pairs: int) -> int:
    """Participants from which a test of so many pairs can pass at all.

    >>> [needed(pairs) for pairs in (1, 3, 6, 10)]
    [6, 7, 8, 9]
    """
    count = 1
    while smallest_p(count) * pairs > LEVEL:
        count += 1
    return count


def _notes(key: Key, ballots: Ballots, pairs: Sequence[Preference]) -> list[str]:
    kept = ballots.kept
    objects = {vote.object for ballot in kept for vote in ballot.votes}
    minutes = np.median([ballot.seconds for ballot in kept]) / 60
    lines = [
        f"Study {key.study}: {len(kept)} participants, {len(objects)} objects, "
        f"{sum(len(ballot.votes) for ballot in kept)} comparisons; {minutes:.1f} minutes each (median)."
    ]
    tested = sum(1 for pair in pairs if pair.verdict != "no votes") // max(1, len(key.questions))
    if any(pair.verdict == "n too small" for pair in pairs):
        lines.append(
            f"WARNING: n too small: {tested} pairs need {needed(tested)} participants for each pair before any result "
            "could pass the test. Read the intervals, and ask more people."
        )
    if len(kept) < 2 or len(objects) < 2:
        lines.append("WARNING: with one participant or one object there is no interval of the overall shares.")
    if repeated := sum(ballot.repeats for ballot in kept):
        same, opposite = sum(b.repeats_same for b in kept), sum(b.repeats_opposite for b in kept)
        lines.append(
            f"When pairs came again with their sides exchanged, {same / repeated:.0%} of {repeated} answers were the "
            f"same and {opposite / repeated:.0%} the opposite. Repetitions are not counted in the table."
        )
    lines += [f"Left out: {name}: {why}." for name, why in sorted(ballots.left_out.items())]
    lines += [f"Shown to nobody: {text}. Shares say nothing of it." for text in key.left_out]
    return [
        *lines,
        RULE,
        "Share: of comparisons in which a was preferred, answers without difference counted half. Overall: the mean "
        f"over a method's rivals, with a bootstrap over participants and objects ({DRAWS} draws, seed {SEED}). Pairs: "
        "Wilson's interval, which takes answers for independent and is too narrow where one participant gave several. "
        "Verdict: signed-rank test over participants, adjusted (Holm) for the pairs of a question.",
    ]
