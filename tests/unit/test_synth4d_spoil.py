"""Spoilt input films of synth4d."""

from pathlib import Path

import numpy as np
import pytest

from bench4d.benchmark import find_benchmark
from benchmarks.synth4d.spoil import NEIGHBOURS, blur, ellipse, run, spoilt

ROOT = Path(__file__).parents[2]


def film(count: int = 20, size: int = 48) -> np.ndarray:
    """A disc that grows and changes its colour, straight RGBA."""
    y, x = np.mgrid[:size, :size] - size / 2 + 0.5
    frames = np.zeros((count, size, size, 4), np.uint8)
    for k in range(count):
        frames[k, np.hypot(x, y) < 12 + 0.4 * k] = (200, 10 * k, 30, 255)
    return frames


@pytest.mark.parametrize("u", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("share, expected", [(0.0, 0), (0.4, 8), (1.0, 19)])
def test_a_run_has_its_share_and_never_the_first_frame(u: float, share: float, expected: int) -> None:
    on = run(u, share, 20)
    assert on.sum() == expected and not on[0]
    assert np.abs(np.diff(on.astype(int))).sum() <= 2  # in one piece


def test_shares_count_and_the_rest_is_untouched() -> None:
    frames = film()
    clips = [f"walker-{k}" for k in range(30)]
    places = set()
    for clip in clips:
        found = spoilt(frames, clip, hidden=0.4, blurred=0.0)
        changed = (found != frames).any((1, 2, 3))
        assert changed.sum() <= 8 and not changed[0]
        assert not found[changed][(found != frames)[changed].any(-1)].any()  # hidden is nothing at all
        places.add(tuple(np.flatnonzero(changed)))
    assert len(places) > 5
    assert np.array_equal(spoilt(frames, "walker-1", 0, 0), frames)
    assert np.array_equal(spoilt(frames, "walker-1", 0.4, 0.3), spoilt(frames, "walker-1", 0.4, 0.3))


def test_most_clips_lose_a_visible_part() -> None:
    frames = film()
    lost = []
    for k in range(40):
        found = spoilt(frames, f"clip-{k}", 0.4, 0.0)
        worst = ((frames[..., 3] > 0) & (found[..., 3] == 0)).sum((1, 2)) / (frames[..., 3] > 0).sum((1, 2))
        lost.append(worst.max())
    assert np.median(lost) > 0.1 and max(lost) < 0.7


def test_blur_mixes_neighbours_and_keeps_colours_straight() -> None:
    frames = np.zeros((4, 2, 2, 4), np.uint8)
    frames[1, 0, 0] = (250, 100, 0, 255)
    frames[2, 0, 0] = (50, 100, 0, 255)
    found = blur(frames, np.array([False, True, True, False])).astype(int)
    alpha = round(255 * (1 - NEIGHBOURS))
    assert found[1, 0, 0, 3] == found[2, 0, 0, 3] == pytest.approx(alpha, abs=1)
    expected = ((1 - 2 * NEIGHBOURS) * 250 + NEIGHBOURS * 50) / (1 - NEIGHBOURS)
    assert found[1, 0, 0, 0] == pytest.approx(expected, abs=1) and found[1, 0, 0, 1] == 100
    assert not found[[0, 3]].any() and not found[:, 1].any()


def test_an_ellipse_lies_about_the_object() -> None:
    visible = np.zeros((10, 60, 60), bool)
    visible[:, 10:20, 30:50] = True
    inside = ellipse(visible, np.array([0.5, 0.5, 0.0, 1.0, 0.5, 0.5]))  # in the middle, still
    rows, columns = np.flatnonzero(inside[0].any(1)), np.flatnonzero(inside[0].any(0))
    assert rows.mean() == pytest.approx(14.5) and columns.mean() == pytest.approx(39.5)
    assert (len(rows), len(columns)) == (pytest.approx(3, abs=1), pytest.approx(12, abs=1))
    assert np.array_equal(inside[0], inside[9])


def test_the_benchmark_is_the_test_split_with_other_inputs() -> None:
    test, other = (find_benchmark(name, ROOT).data for name in ("synth4d-test", "synth4d-spoilt"))
    differing = {key for key in other if test.get(key) != other[key]}
    assert differing == {"id", "title", "spoilt"}
