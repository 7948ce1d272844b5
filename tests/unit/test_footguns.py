"""The demonstrations of docs/footguns.md: each claim that the page makes, on a small case."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tools import footguns
from tools.footgun_figures import FIGURES, draw
from tools.sanity_set import ROOT


def test_the_old_formula_on_one_pair_is_the_closed_form_and_new_numpy_gives_nan():
    values = dict(footguns.one_pair(seed=3)[1:])
    script, closed, square = [float(values[name]) for name in list(values)[2:]]
    assert script == pytest.approx(closed, rel=1e-12) and 0 < closed - square < 1
    old = tuple(map(int, re.findall(r"\d+", np.__version__)[:2])) < (2, 2)
    assert values["share of it that is NaN"] == (0.0 if old else 1.0)


def test_a_frechet_distance_of_few_vectors_prefers_the_collapsed_method_and_the_kernel_does_not():
    (_, *few), (_, *many) = footguns.small_sets(sizes=(12, 600), width=60, vectors=1200)[1:]
    assert few[1] < few[0] and few[2] == "0%"
    assert many[0] < many[1] and many[2] == "100%" and many[0] == pytest.approx(0, abs=10)
    assert many[1] == pytest.approx(60 * 0.25, abs=8)  # the closed form of the infinite sets
    assert abs(many[3]) < 0.2 * many[4] and many[5] == "100%"


def test_the_filter_changes_what_metrics_say_and_antialiasing_matters():
    rows = {row[0]: row[1:] for row in footguns.filters(size=192, to=84)[1:]}
    psnr = {name: values[0] for name, values in rows.items()}
    assert psnr["Pillow bicubic (the default since 7.0)"] == 100
    assert psnr["Pillow nearest (the default before)"] < 40
    with_it, without = (psnr[f"torch bilinear{end}"] for end in ("", " without antialiasing (its default)"))
    assert with_it == pytest.approx(psnr["Pillow bilinear"], abs=0.3) and without < with_it - 2


def test_an_inferred_peak_falls_with_contrast_though_the_error_is_the_same():
    rows = footguns.data_range(size=48)[1:]
    assert len({row[2] for row in rows}) == 1
    assert all(a[3] > b[3] for a, b in pairwise(rows[:-1])) and rows[-1][3] == "-inf"
    for _, span, fixed, inferred in rows[:-1]:
        assert inferred == pytest.approx(fixed + 20 * np.log10(span / 255))


def test_a_film_costs_before_anything_is_compared():
    kept, through = footguns.film(size=64, n_frames=4)[1:]
    assert kept[1:4] == (100.0, 100.0, 1.0) and 20 < through[2] < through[1] < 50


def test_nothing_on_white_beats_a_render_beside_the_truth_where_background_counts():
    rows = {row[0]: row[1:] for row in footguns.empty_render(size=96, n_frames=2)[1:]}
    nothing, aside = rows["nothing, on white"], rows["the truth, 6 pixels aside"]
    assert nothing[1] > aside[1]  # SSIM of all pixels
    assert nothing[2] < aside[2] and nothing[4] == 0 < aside[4]  # masked PSNR, silhouettes


def test_conventions_of_chamfer_multiply_up_to_more_than_an_order_of_magnitude():
    rows = footguns.chamfer_units(samples=2000)[1:]
    value = {row[0]: row[1] for row in rows}
    plain = value["mean of both directions, not squared, cube of side 1"]
    assert value["sum of both directions, not squared, cube of side 1"] == pytest.approx(2 * plain)
    assert value["mean of both directions, not squared, cube of side 2"] == pytest.approx(2 * plain, rel=0.05)
    assert max(row[2] for row in rows if "F-score" not in row[0]) > 11


SMALL: dict[str, dict[str, Any]] = {  # options that draw the same figure sooner
    "one-pair": {},
    "small-sets": {"sizes": (12, 60), "width": 20, "vectors": 120},
    "filters": {"size": 96, "to": 56},
    "data-range": {"size": 48},
    "film": {"size": 64, "n_frames": 2, "crop": 24},
    "empty-render": {"size": 64, "n_frames": 2},
    "chamfer-units": {"samples": 300},
}


@pytest.mark.parametrize("name", list(footguns.DEMONSTRATIONS))
def test_every_demonstration_has_a_figure_that_shows_something(name, tmp_path):
    """Each half of it: a sheet of tiles or panels with an empty end would pass as a whole."""
    picture = np.asarray(Image.open(draw(name, tmp_path, **SMALL[name])).convert("L"))
    for half in np.array_split(picture, 2, axis=1):
        assert half.min() < 128 < half.max() and (half != np.median(half)).mean() > 0.02


def test_the_page_has_the_table_and_the_figure_of_every_demonstration():
    page = (ROOT / "docs/footguns.md").read_text("utf-8")
    assert list(FIGURES) == list(footguns.DEMONSTRATIONS)
    for name, section in zip(footguns.DEMONSTRATIONS, page.split("\n## ")[1:], strict=True):
        file = f"footguns_{name.replace('-', '_')}.png"
        assert f"`python tools/footguns.py {name}`" in section and f"](images/{file})" in section
        assert 2_000 < (ROOT / "docs/images" / file).stat().st_size < 80_000
    for name in ("one-pair", "data-range"):  # quick, and the same on every machine
        for line in footguns.as_text(footguns.DEMONSTRATIONS[name]()).splitlines():
            assert line in page or "numpy" in line, line


def test_the_film_figure_shows_no_loss_where_there_is_none(tmp_path, monkeypatch):
    truth = footguns.filmed(size=64, n_frames=2)[0]
    monkeypatch.setattr(footguns, "filmed", lambda: (truth, truth, 0))
    before, after, difference = np.array_split(tiles(draw("film", tmp_path, crop=24, times=1), 24), 3)
    assert np.array_equal(before, after) and (difference == 128).all()


def tiles(path: Path, side: int) -> np.ndarray:
    """The three tiles of a sheet, without the gaps."""
    sheet = np.asarray(Image.open(path).convert("RGB"))
    return np.concatenate([sheet[:, k * (side + 6) :][:, :side] for k in range(3)])
