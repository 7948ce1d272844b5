"""Metrics of sets in scoring: what they are given, clips that failed, and what they cannot tell."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fake_features import Counter, Rows, film_feature, metric, picture_feature
from tests.toy_results import CLIPS, FRAMES, SIZE, toy_benchmark, write_results
from tests.toy_scoring import by_hand, entries, pixels_of, run


def test_a_set_sees_every_clip_once_for_each_group_of_views(tmp_path):
    counter, seen = Counter(), []

    class Remembered(Rows):
        def __init__(self, factor: int) -> None:
            super().__init__()
            seen.append((self, factor))

    toy = {"set": metric("set", picture_feature(counter), "set", load=lambda weights: Remembered)}
    benchmark = toy_benchmark(tmp_path, [{"id": "set", "stride": 3, "options": {"factor": 5}}])
    write_results(benchmark, tmp_path)
    table = run(benchmark, tmp_path, toy)
    assert table["view"].tolist() == ["input", "novel"] and table["n_frames"].tolist() == [6, 12]
    assert set(table["clip"]) == {""} and set(table["object"]) == {""} and set(table["status"]) == {"ok"}
    assert set(table["alignment"]) == {"none"} and table["asset_sha256"].str.len().eq(64).all()
    assert not len(table.attrs["frames"]) and len(seen) == 2
    for (state, factor), views in zip(seen, (["front"], ["left", "right"]), strict=True):
        assert factor == 5 and len(state.predicted) == len(CLIPS)
        for clip, mine, true in zip(CLIPS, state.predicted, state.truth, strict=True):
            for rows, place in ((mine, "mine/seed0"), (true, "truth")):
                expected = by_hand(pixels_of(tmp_path / place, clip, views)[:, ::3]).reshape(-1, 4)
                np.testing.assert_allclose(rows, expected, rtol=1e-6)
        assert state.value() == pytest.approx(
            table.set_index("view").loc["input" if len(views) == 1 else "novel", "value"]
        )


def test_a_failed_clip_enters_a_set_as_bare_background_and_is_named(tmp_path):
    seen: list[Rows] = []

    def start() -> Rows:
        seen.append(Rows())
        return seen[-1]

    feature, film = picture_feature(Counter()), film_feature(Counter())
    toy = {"pictures": metric("pictures", feature, "set", load=lambda weights: start)}
    toy |= {"films": metric("films", film, "set", "view", load=lambda weights: start), "clip": metric("clip", feature)}
    benchmark = toy_benchmark(tmp_path, entries(toy))
    write_results(benchmark, tmp_path, failed=["one", "three"])
    table = run(benchmark, tmp_path, toy)
    sets = table[table["clip"] == ""].set_index(["metric", "view"])
    assert set(sets["status"]) == {"ok"}
    assert sets.loc[("films", "novel"), "reason"] == "4 of 6 films are bare background: one, three"
    assert sets.loc[("pictures", "input"), "reason"] == "10 of 15 pictures are bare background: one, three"
    bare = np.broadcast_to(np.uint8([255, 128, 0]), (SIZE, SIZE, 3))
    np.testing.assert_allclose(seen[0].predicted[0], np.tile(by_hand(bare), (FRAMES, 1)), rtol=1e-6)
    assert np.abs(seen[0].predicted[1] - seen[0].predicted[0]).max() > 1 and len(seen[0].truth) == 3
    clips = table[table["metric"] == "clip"].set_index("clip")
    assert set(clips.loc["one", "status"]) == {"failed"} and set(clips.loc["two", "status"]) == {"ok"}
    film_of_bare = by_hand(bare) * np.arange(1, FRAMES + 1).sum()
    assert any(
        np.allclose(s.predicted[0], np.tile(film_of_bare, (len(s.predicted[0]), 1)), rtol=1e-6) for s in seen[2:]
    )


def test_what_a_set_or_a_network_cannot_do_is_an_empty_cell_with_the_reason(tmp_path):
    toy = {
        "short": metric("short", film_feature(Counter(), least=9), "set", "view"),
        "short-clip": metric("short-clip", film_feature(Counter(), least=9), films="view"),
        "few": metric("few", picture_feature(Counter()), "set"),
        "well": metric("well", picture_feature(Counter())),
    }
    benchmark = toy_benchmark(tmp_path, [{"id": id, "stride": FRAMES} for id in toy], clips=("one",))
    write_results(benchmark, tmp_path)
    table = run(benchmark, tmp_path, toy).set_index(["metric", "view"])
    assert table.loc[("short", "novel"), "reason"] == "one: toy-film needs 9 frames, not 1"
    assert table.loc[("short-clip", "left"), "reason"] == "toy-film needs 9 frames, not 1"
    assert table.loc[("few", "input"), "reason"] == "two rows are needed"
    assert set(table.loc[["short", "short-clip"], "status"]) == {"not-run"}
    assert table.loc[("few", "novel"), "status"] == "ok" and set(table.loc["well", "status"]) == {"ok"}
