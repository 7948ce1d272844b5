"""What comes back from participants: what is kept, what is left out and why, and the table that it makes."""

import copy
import csv
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy.stats import binomtest

from bench4d.cli import main
from bench4d.errors import FormatError
from bench4d.site.study.preferences import crossed_draws, make_preferences, needed, wilson
from bench4d.site.study.preferences_formats import FORMATS
from bench4d.site.study.votes import read_key, read_votes
from bench4d.stats import DRAWS
from tests.toy_study import METHODS, honest, toy_run, toy_study, votes_of, write_votes

QUESTIONS = ("quality", "consistency", "alignment")
ORDER = {name: k for k, name in enumerate(METHODS)}


def better(question, left, right):
    """The method that comes first in METHODS is preferred; nobody sees a difference in consistency."""
    if question == "consistency":
        return "same"
    return "left" if ORDER[left] < ORDER[right] else "right"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    return toy_study(folder, toy_run(folder))


@pytest.fixture(scope="module")
def data(study):
    return json.loads(study.key.read_text())


def table(study, folder, files):
    key = read_key(study.key)
    return make_preferences(key, read_votes(write_votes(folder, files), key))


def left_out(study, folder, files):
    """Why each file is left out; one honest participant is always kept."""
    key = read_key(study.key)
    good = votes_of(json.loads(study.key.read_text()), 59, honest(better))
    paths = write_votes(folder, [*files, good])
    made = read_votes(paths, key)
    assert paths[-1] in [ballot.path for ballot in made.kept]
    return [made.left_out.get(str(path), "") for path in paths[:-1]]


def test_honest_votes_are_kept_and_counted(study, data, tmp_path):
    made = table(study, tmp_path, [votes_of(data, k, honest(better)) for k in range(8)])
    assert not [note for note in made.notes if note.startswith(("Left out:", "WARNING"))]
    for one in made.pairs:
        expected = 0.5 if one.question == "consistency" else 1.0
        assert one.share.mean == expected
        assert one.ties == (1.0 if one.question == "consistency" else 0.0)
        assert one.verdict == ("no difference shown" if one.question == "consistency" else "a preferred")
        assert (one.participants, one.objects, one.share.count) == (8, 3, 24)  # every pair on every clip
    overall = {(one.question, one.a): one.share for one in made.overall}
    assert [overall["quality", name].mean for name in METHODS] == [1.0, 0.5, 0.0]
    assert [overall["consistency", name].mean for name in METHODS] == [0.5] * 3


def test_methods_stand_in_the_authors_order(data):
    assert [method["id"] for method in data["methods"]] == list(METHODS)  # as they were given, not sorted


def test_shares_are_those_counted_by_hand(study, data, tmp_path):
    rng = np.random.default_rng(3)
    files = [votes_of(data, k, honest(lambda *_: rng.choice(["left", "same", "right"]).item())) for k in range(5)]
    made = table(study, tmp_path, files)
    won: dict = {}
    for file in files:
        roles = data["roles"][file["list"]]
        for vote, role in zip(file["votes"], roles, strict=True):
            left, right = (data["films"][vote[side]]["method"] for side in ("left", "right"))
            for question, choice in vote["answers"].items() if role == "vote" else ():
                score = {"left": 1, "same": 0.5, "right": 0}[choice]
                won.setdefault((question, left, right), []).append(score)
                won.setdefault((question, right, left), []).append(1 - score)
    for one in made.pairs:
        assert one.share.mean == pytest.approx(np.mean(won[one.question, one.a, one.b]))
        assert one.share.count == len(won[one.question, one.a, one.b])
    for one in made.overall:
        rivals = [np.mean(won[one.question, one.a, b]) for b in METHODS if b != one.a]
        assert one.share.mean == pytest.approx(np.mean(rivals))
        assert one.share.low <= one.share.mean <= one.share.high


@pytest.mark.parametrize("wins", [0, 3, 10, 20])
def test_wilson_is_scipys(wins):
    expected = binomtest(wins, 20).proportion_ci(method="wilson")
    made = wilson(wins / 20, 20)
    assert (made.low, made.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_draws_are_of_participants_and_of_objects_apart():
    """Against votes repeated one by one, and against the variance in closed form."""
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 3, (2, 4, 5)).astype(float)
    wins = counts * rng.random((2, 4, 5))
    drawn = crossed_draws(wins, counts)
    people = np.random.default_rng([0, 1]).integers(0, 4, (DRAWS, 4))
    objects = np.random.default_rng([0, 2]).integers(0, 5, (DRAWS, 5))
    for d in range(50):
        chosen = (slice(None), people[d][:, None], objects[d][None])
        total = counts[chosen].sum(axis=(1, 2))
        assert drawn[d] == pytest.approx(wins[chosen].sum(axis=(1, 2)) / total)
    # with all answers different between participants alone, objects add nothing: the plain bootstrap's variance
    values = np.array([0.0, 1.0, 1.0, 0.0, 1.0, 0.0])
    alone = crossed_draws(np.repeat(values[None, :, None], 7, axis=2), np.ones((1, 6, 7)))
    assert alone.std() == pytest.approx(values.std() / np.sqrt(6), rel=0.03)


def test_intervals_cover_as_often_as_they_say():
    """Participants and objects of random leanings; the overall share of a method against one rival."""
    rng, covered = np.random.default_rng(5), 0
    for _ in range(40):
        leaning = 0.5 + 0.15 * rng.standard_normal((1, 20, 1)) + 0.15 * rng.standard_normal((1, 1, 20))
        wins = (rng.random((1, 20, 20)) < leaning).astype(float)
        low, high = np.quantile(crossed_draws(wins, np.ones((1, 20, 20))), [0.025, 0.975])
        covered += low <= 0.5 <= high
    assert covered >= 35  # of 40; below that with a chance of 1 in 70 if it is 95 %


def test_n_too_small_is_said(study, data, tmp_path):
    few = table(study, tmp_path / "few", [votes_of(data, k, honest(better)) for k in range(needed(3) - 1)])
    enough = table(study, tmp_path / "enough", [votes_of(data, k, honest(better)) for k in range(needed(3))])
    quality = {one.verdict for one in few.pairs if one.question == "quality"}
    assert quality == {"n too small"}
    assert any("WARNING: n too small: 3 pairs need 7 participants" in note for note in few.notes)
    assert {one.verdict for one in enough.pairs if one.question == "quality"} == {"a preferred"}
    one = table(study, tmp_path / "one", [votes_of(data, 0, honest(better))])
    assert all(np.isnan(o.share.low) for o in one.overall)
    assert any("with one participant" in note for note in one.notes)


def always(choice):
    return lambda question, role, left, right: choice


def test_the_inattentive_are_left_out_by_the_rule(study, data, tmp_path):
    def half_blind(question, role, left, right):
        return "left" if role == "check" else better(question, left, right)

    def one_slip(question, role, left, right):  # one of six answers to checks
        wrong = role == "check" and question == "quality" and right == "spoilt" and not slipped
        slipped.extend([1] * wrong)
        return "right" if wrong else honest(better)(question, role, left, right)

    def contradicting(question, role, left, right):
        return "left" if role != "check" else honest(better)(question, role, left, right)

    slipped: list = []
    chosen = always("left"), always("same"), half_blind, one_slip, contradicting
    files = [votes_of(data, k, choose) for k, choose in enumerate(chosen)]
    found = left_out(study, tmp_path, files)
    assert found[0] == "failed checks: 3 of 6 answers name the unspoilt film"
    assert found[1] == "failed checks: 0 of 6 answers name the unspoilt film"
    assert found[2] == found[0]
    assert (found[3], slipped) == ("", [1])
    assert found[4] == "contradicts all of 6 answers when pairs come again"


def test_files_that_do_not_belong_are_left_out_with_the_reason(study, data, tmp_path):
    good = votes_of(data, 1, honest(better))
    again = copy.deepcopy(good) | {"finished": "2026-01-02T00:00:00.000Z"}
    coded = [votes_of(data, k, honest(better)) | {"code": code} for k, code in ((2, "Ann 7"), (3, " ann  7 "))]
    other = copy.deepcopy(good) | {"participant": "q" * 12, "study": "0" * 12}
    changed = copy.deepcopy(good) | {"participant": "r" * 12, "design_sha256": "0" * 64}
    short = copy.deepcopy(good) | {"participant": "s" * 12, "votes": good["votes"][:-1]}
    swapped = copy.deepcopy(good) | {"participant": "t" * 12}
    vote = swapped["votes"][0]
    vote["left"], vote["right"] = vote["right"], vote["left"]
    silent = copy.deepcopy(good) | {"participant": "u" * 12}
    del silent["votes"][2]["answers"]["quality"]
    surplus = copy.deepcopy(good) | {"participant": "v" * 12, "name": "<b>Bob</b>"}
    files = [good, again, *coded, other, changed, short, swapped, silent, surplus, {**good, "list": 900}]
    found = left_out(study, tmp_path, files)
    patterns = ["", "the same participant again", "", "the code 'ann 7' again", "votes of study", "another version"]
    patterns += ["comparisons of list", "in their order", "an answer to each", "votes.schema.yaml", "one of 8 lists"]
    assert len(found) == len(patterns)
    for why, pattern in zip(found, patterns, strict=True):
        assert (pattern in why) if pattern else not why


def test_repetitions_are_reported_and_not_counted(study, data, tmp_path):
    def wavering(question, role, left, right):
        return "same" if role == "repeat" else honest(better)(question, role, left, right)

    made = table(study, tmp_path, [votes_of(data, k, wavering) for k in range(2)])
    assert {one.share.mean for one in made.pairs if one.question == "quality"} == {1.0}
    assert any("33% of 12 answers were the same and 0% the opposite" in note for note in made.notes)


def test_nothing_to_tabulate_is_an_error_that_lists_the_files(study, data, tmp_path):
    key = read_key(study.key)
    paths = write_votes(tmp_path, [votes_of(data, 0, always("left"))])
    with pytest.raises(FormatError, match="failed checks"):
        read_votes(paths, key)
    with pytest.raises(FormatError, match="no such file"):
        read_votes([tmp_path / "nothing.json"], key)


def test_a_key_that_was_touched_is_refused(study, data, tmp_path):
    for change in ("title", "roles", "films"):
        touched = copy.deepcopy(data)
        if change == "title":
            touched["design"]["title"] = "another"
        elif change == "roles":
            touched["roles"][0].pop()
        else:
            touched["films"].popitem()
        path = tmp_path / f"{change}.json"
        path.write_text(json.dumps(touched))
        with pytest.raises(FormatError):
            read_key(path)


class Page(HTMLParser):
    def __init__(self, content):
        super().__init__()
        self.tags, self.text = set(), ""
        self.feed(content)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        self.text += data


HOSTILE = ("<script>alert(1)</script>", "=HYPERLINK(1)", "a|b `c` [d](e)")


def test_hostile_names_stay_text(data, study, tmp_path):
    named = dict(zip(METHODS, HOSTILE, strict=True))
    touched = copy.deepcopy(data) | {"methods": [m | {"id": named[m["id"]]} for m in data["methods"]]}
    for film in touched["films"].values():
        film["method"] = named.get(film["method"], "")
    path = tmp_path / "key.json"
    path.write_text(json.dumps(touched))
    key = read_key(path)
    files = [votes_of(data, k, honest(better)) for k in range(2)]
    made = make_preferences(key, read_votes(write_votes(tmp_path / "votes", files), key))
    page = Page(FORMATS["html"](made))
    assert "script" not in page.tags
    assert all(name in page.text for name in HOSTILE)
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](made))))
    assert len(rows) == 3 * (3 + 3)
    assert {row["method_a"] for row in rows} == {HOSTILE[0], "'" + HOSTILE[1], HOSTILE[2]}
    lines = [line for line in FORMATS["md"](made).splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {6, 11}


def test_the_command_prints_and_writes(study, data, tmp_path, capsys):
    paths = write_votes(tmp_path / "votes", [votes_of(data, k, honest(better)) for k in range(7)])
    assert main(["study-table", *map(str, paths), "--key", str(study.key), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "| zeta-secret |" in printed or "| zeta\\-secret |" in printed
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"preferences.{form}" for form in FORMATS}
    assert (tmp_path / "out" / "preferences.md").read_text() == printed
    assert main(["study-table", str(tmp_path / "no.json"), "--key", str(study.key)]) == 2
