"""Who sees what: balance over lists and sides, attention checks, repetitions."""

import random
from collections import Counter

import pytest

from bench4d.errors import FormatError
from bench4d.site.study.design import MIN_GAP, SPOILT, TRUTH, Item, Plan, Trial, all_pairs, make_lists

CLIPS = ["a", "b", "c", "d", "e"]


def lists(methods: int, seed: int = 0, **plan: int) -> tuple[list[Item], tuple[tuple[Trial, ...], ...]]:
    names = [f"m{k}" for k in range(methods)]
    items = all_pairs(CLIPS, {name: set(CLIPS) for name in names})
    checks = [Item(clip, TRUTH, SPOILT + TRUTH) for clip in CLIPS]
    return items, make_lists(items, checks, Plan(**plan), random.Random(seed))


@pytest.mark.parametrize("methods", [2, 3, 6])
@pytest.mark.parametrize("trials", [3, 8, 40])
@pytest.mark.parametrize("count", [0, 7])
def test_lists_are_balanced(methods, trials, count):
    items, made = lists(methods, trials=trials, lists=count)
    votes = [trial for trials_of in made for trial in trials_of if trial.role == "vote"]
    uses = Counter((trial.clip, frozenset((trial.left, trial.right))) for trial in votes)
    used = [uses[item.clip, frozenset((item.a, item.b))] for item in items]
    assert max(used) - min(used) <= 1
    assert count or min(used) >= 2
    for item in items:
        first = sum((t.clip, t.left, t.right) == (item.clip, item.a, item.b) for t in votes)
        second = sum((t.clip, t.left, t.right) == (item.clip, item.b, item.a) for t in votes)
        assert abs(first - second) <= 1


def test_a_list_has_checks_and_repetitions_where_they_belong():
    _, made = lists(4, trials=20, checks=2, repeats=3, lists=12)
    for trials in made:
        assert Counter(trial.role for trial in trials) == {"vote": 20, "check": 2, "repeat": 3}
        assert trials[0].role == "vote"
        for at, trial in enumerate(trials):
            if trial.role == "check":
                assert {trial.left, trial.right} == {TRUTH, SPOILT + TRUTH}
            if trial.role == "repeat":
                before = [k for k, t in enumerate(trials) if t == Trial(trial.clip, trial.right, trial.left)]
                assert len(before) == 1
                assert at - before[0] > MIN_GAP
        assert {trial.left for trial in trials if trial.role == "check"} == {TRUTH, SPOILT + TRUTH}


def test_within_a_list_pairs_and_clips_are_spread():
    _, made = lists(3, trials=6, checks=0, repeats=0, lists=20)  # 15 items: 3 pairs on 5 clips
    for trials in made:
        pairs = Counter(frozenset((t.left, t.right)) for t in trials)
        assert max(pairs.values()) <= 4  # of 6: the least used items leave little choice at the end of a round
        assert len(set(trials)) == 6


def test_a_seed_decides_everything():
    assert lists(3, seed=1) == lists(3, seed=1)
    assert lists(3, seed=1) != lists(3, seed=2)


def test_pairs_are_only_of_clips_that_both_have():
    there = {"x": {"a", "b"}, "y": {"b", "c"}, "z": {"c"}}
    assert set(all_pairs(CLIPS, there)) == {Item("b", "x", "y"), Item("c", "y", "z")}


def test_a_study_without_pairs_and_plans_without_sense_are_refused():
    with pytest.raises(FormatError, match="at least two methods"):
        make_lists([], [], Plan(), random.Random(0))
    for plan in ({"trials": 0}, {"checks": -1}, {"repeats": 21}, {"lists": 1001}):
        with pytest.raises(FormatError, match=f"--{next(iter(plan))}"):
            Plan(**plan)
