"""The author's key, and the files that participants sent back: read strictly, left out by stated rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench4d.errors import FormatError
from bench4d.files import read_json
from bench4d.schema import check

from .page import Film, sha256_of

CHECKS_RIGHT = 0.8  # share of the answers to checks that must name the unspoilt side
MIN_REPEATED = 3  # answers to repetitions from which a total reversal says something
RULE = (
    f"Left out is who names the unspoilt film in less than {CHECKS_RIGHT:.0%} of the answers to checks, or who "
    f"contradicts every one of {MIN_REPEATED} or more answers when pairs come again with their sides exchanged (as "
    "those do who always press the same key); likewise every file of a participant or code but the first one finished."
)


@dataclass(frozen=True)
class Key:
    """What every film is. `roles` and `lists` go together."""

    path: Path
    design_sha256: str
    study: str
    questions: dict[str, str]  # id -> title
    methods: tuple[str, ...]
    films: dict[str, Film]
    lists: list[list[dict[str, str]]]
    roles: list[list[str]]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Vote:
    """One comparison of two methods by one participant. `answers`: question -> 1 for a, 0 for b, 1/2 for neither."""

    participant: str
    object: str
    a: str
    b: str
    answers: dict[str, float]


@dataclass(frozen=True)
class Ballot:
    """One participant's file. Of repetitions: answers that are the same, and that are the opposite."""

    path: Path
    participant: str
    code: str
    finished: str
    votes: tuple[Vote, ...]
    checks: int
    checks_right: int
    repeats: int
    repeats_same: int
    repeats_opposite: int
    seconds: float


@dataclass(frozen=True)
class Ballots:
    """`left_out`: file -> why."""

    kept: tuple[Ballot, ...]
    left_out: dict[str, str]


def read_key(path: Path) -> Key:
    """Raises FormatError for a key that is not whole, or whose design has been changed."""
    data = read_json(path)
    check(data, "study_key", path)
    design = data["design"]
    if (found := sha256_of(design)) != data["design_sha256"]:
        raise FormatError(
            path, f"a design with sha256 {data['design_sha256']}", found, "Use the key as it was written."
        )
    names = {name for trials in design["lists"] for trial in trials for name in trial.values()}
    if [len(r) for r in data["roles"]] != [len(t) for t in design["lists"]] or not names <= set(data["films"]):
        raise FormatError(path, "a role of every comparison, and an entry of every film", "some are missing")
    return Key(
        path,
        data["design_sha256"],
        design["id"],
        {question["id"]: question["title"] for question in design["questions"]},
        tuple(method["id"] for method in data["methods"]),
        {name: Film(**film) for name, film in data["films"].items()},
        design["lists"],
        data["roles"],
        tuple(data["left_out"]),
    )


def read_votes(paths: Sequence[Path], key: Key) -> Ballots:
    """Every file is either kept or left out with its reason. Raises FormatError if none can be kept."""
    found, left_out = [], {}
    for path in dict.fromkeys(paths):
        try:
            found.append(read_ballot(path, key))
        except FormatError as error:
            left_out[str(path)] = f"expected {error.expected}; found {error.found}"
    kept = []
    participants, codes = set[str](), set[str]()
    for ballot in sorted(found, key=lambda b: (b.finished, str(b.path))):
        if why := "the same participant again" if ballot.participant in participants else "":
            left_out[str(ballot.path)] = why
        elif ballot.code and ballot.code in codes:
            left_out[str(ballot.path)] = f"the code {ballot.code!r} again"
        elif why := inattentive(ballot):
            left_out[str(ballot.path)] = why
        else:
            kept.append(ballot)
        participants.add(ballot.participant)
        codes.add(ballot.code)
    if not kept:
        told = "; ".join(f"{path}: {why}" for path, why in left_out.items()) or "no file"
        raise FormatError("votes", f"at least one file of study {key.study} that can be kept", told[:2000])
    return Ballots(tuple(kept), left_out)


def inattentive(ballot: Ballot) -> str:
    """Why a participant is left out by RULE, or ""."""
    if ballot.checks and ballot.checks_right < CHECKS_RIGHT * ballot.checks:
        return f"failed checks: {ballot.checks_right} of {ballot.checks} answers name the unspoilt film"
    if ballot.repeats >= MIN_REPEATED and ballot.repeats_opposite == ballot.repeats:
        return f"contradicts all of {ballot.repeats} answers when pairs come again"
    return ""


def read_ballot(path: Path, key: Key) -> Ballot:
    """Raises FormatError for a file that is no whole set of answers to one list of this study."""
    data = read_json(path)
    check(data, "votes", path)
    if data["study"] != key.study or data["design_sha256"] != key.design_sha256:
        raise FormatError(path, f"votes of study {key.study}", f"those of {data['study']}, or of another version of it")
    if data["list"] >= len(key.lists):
        raise FormatError(path, f"one of {len(key.lists)} lists", f"list {data['list']}")
    trials, roles = key.lists[data["list"]], key.roles[data["list"]]
    shown = [(k, trial["left"], trial["right"]) for k, trial in enumerate(trials)]
    if [(vote["trial"], vote["left"], vote["right"]) for vote in data["votes"]] != shown:
        found = f"{len(data['votes'])}, or others"
        raise FormatError(path, f"the {len(trials)} comparisons of list {data['list']}, in their order", found)
    if any(set(vote["answers"]) != set(key.questions) for vote in data["votes"]):
        raise FormatError(path, f"an answer to each of {list(key.questions)} in every comparison", "some are missing")
    return _counted(path, data, key, roles)


def _counted(path: Path, data: dict[str, Any], key: Key, roles: Sequence[str]) -> Ballot:
    cast = list(zip(data["votes"], roles, strict=True))
    votes = tuple(_vote(vote, data["participant"], key) for vote, role in cast if role == "vote")
    checks = [
        choice == ("right" if key.films[vote["left"]].role == "spoilt" else "left")
        for vote, role in cast
        if role == "check"
        for choice in vote["answers"].values()
    ]
    first = {(vote["left"], vote["right"]): vote["answers"] for vote, role in cast if role == "vote"}
    other = {"left": "right", "same": "same", "right": "left"}
    pairs = [
        (first[vote["right"], vote["left"]][question], other[choice])
        for vote, role in cast
        if role == "repeat"
        for question, choice in vote["answers"].items()
    ]
    return Ballot(
        path,
        data["participant"],
        " ".join(data["code"].split()).casefold(),
        data["finished"],
        votes,
        len(checks),
        sum(checks),
        len(pairs),
        sum(before == now for before, now in pairs),
        sum({before, now} == {"left", "right"} for before, now in pairs),
        sum(float(vote["seconds"]) for vote, _ in cast),
    )


def _vote(vote: dict[str, Any], participant: str, key: Key) -> Vote:
    """With the methods in the key's order, whichever side they were on."""
    left, right = key.films[vote["left"]], key.films[vote["right"]]
    won = {"left": 1.0, "same": 0.5, "right": 0.0}
    answers = {question: won[choice] for question, choice in vote["answers"].items()}
    if key.methods.index(left.method) < key.methods.index(right.method):
        return Vote(participant, left.object, left.method, right.method, answers)
    return Vote(participant, left.object, right.method, left.method, {q: 1 - w for q, w in answers.items()})
