"""What each metric notices of known damages: the values and mistakes that docs/sanity.md prints, run again."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
import torch

from bench4d.metric import Feature, Metric
from bench4d.metric_loading import Loader
from bench4d.weights import WeightsMissing, resolve
from metrics.frechet import Frechet
from tools import sanity_set
from tools.sanity_set import LEVELS, METRICS, UNWEIGHED, in_words, mistakes, same, scores, variants

PAGE = (sanity_set.ROOT / "docs/sanity.md").read_text("utf-8")


def page_table(title):
    """Metric -> its cells (column's name -> text) in the table of docs/sanity.md under that heading."""
    section = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    header, _, *lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
    return {line[0].rstrip(" ↑↓"): dict(zip(header[1:], line[1:], strict=True)) for line in lines}


DOCUMENTED = page_table("The small case")  # 64 x 64 pixels, 5 frames, two views: what is run here
RANDOM = page_table("Random weights")  # 64 x 64, 3 frames, two views
# Of that table half of the time is spared: the shift is always "another", and the two metrics left out are made as
# clip-vit-b32 and fvd-i3d are.
TRIED = [name for name in UNWEIGHED if name != "shift"]
QUICK = [id for id in RANDOM if id not in ("dreamsim-dino-vitb16", "fid-vid-r3d")]
LPIPS = ("vgg16-features", "lpips-vgg-heads", "alexnet-features", "lpips-alex-heads")


@pytest.fixture(scope="module")
def made():
    return variants("walker-1000000", 64, 5, sanity_set.NOVEL[:2])


@pytest.fixture(scope="module")
def found(made):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for id in LPIPS:  # small files that a package index has; the other networks are scored where they lie
            with suppress(WeightsMissing):
                resolve(id)
        items, absent = sanity_set.loaded_metrics()
        return scores(items, made), absent
    finally:
        torch.set_num_threads(before)


def test_every_variant_is_the_damage_that_it_is_called(made):
    truth = made["truth"].views[0]
    assert list(made) == list(LEVELS) and len(truth) == 5
    for name, variant in made.items():
        view = variant.views[0]
        assert view.rgb.shape == truth.rgb.shape
        assert (name == "truth") == (view.rgb == truth.rgb).all()
    views = {name: variant.views[0] for name, variant in made.items()}
    assert (views["shift"].rgb[:, :, 1:] == truth.rgb[:, :, :-1]).all()
    assert (views["frozen"].rgb == truth.rgb[:1]).all()
    same = [[(a == b).all() for b in truth.rgb] for a in views["shuffle"].rgb]
    assert np.array(same).sum(axis=1).all() and not np.diag(same).any()  # all frames are there, none in its place
    assert views["empty"].alpha.max() == 0 and views["empty"].rgb.min() == 255
    assert abs(views["blur"].rgb.mean() - truth.rgb.mean()) < 0.5 and views["blur"].rgb.std() < truth.rgb.std()


JUDGING = [m.id for m in METRICS.values() if m.needs != "record" and not m.id.endswith("-floor") and not m.named_only]


@pytest.mark.parametrize("metric", JUDGING)
def test_a_metric_that_runs_here_judges_the_truth_best_and_errs_only_as_documented(metric, found):
    values, absent = found
    if metric in absent:
        pytest.skip(absent[metric])
    given, record = values[metric], METRICS[metric]
    if not np.isfinite(list(given.values())).any():
        pytest.skip("one small object is too little for it")
    if record.perfect is not None:
        sign = 1 if record.direction == "higher" else -1
        finite = [sign * value for value in given.values() if np.isfinite(value)]
        assert max(finite) - sign * given["truth"] <= 1e-6 * (max(finite) - min(finite)), given
        if record.unit == "clip":  # an unbiased statistic of sets misses its value by chance
            assert given["truth"] == pytest.approx(record.perfect, abs=1e-5)
    if metric in DOCUMENTED:
        printed = dict(DOCUMENTED[metric])
        assert in_words(mistakes(metric, given)) == printed.pop("mistakes"), given
        for name, text in printed.items():
            assert (
                np.isnan(given[name]) if text == "–" else given[name] == pytest.approx(float(text), rel=2e-3, abs=1e-3)
            )


def colours(weights, device):
    """A network without weights: the mean colour of a picture, or of a film frame by frame."""
    return lambda pictures: pictures.float().mean(dim=(-3, -2)).flatten(1)


@pytest.mark.parametrize(
    ("unit", "films", "load"),
    [
        ("clip", "frame", lambda weights: lambda a, b: np.abs(a - b).mean(axis=1).astype(np.float64)),
        ("clip", "view", lambda weights: lambda a, b: np.abs(a - b).mean(axis=1).astype(np.float64)),
        ("set", "frame", lambda weights: Frechet),
    ],
)
def test_metrics_of_features_and_sets_are_scored_like_the_others(made, unit, films, load):
    of, width = ("picture", 3) if films == "frame" else ("film", 15)
    feature = Feature("mean-colour", 1, of, width, (), colours)
    about = {"version": 1, "definition": "", "units": "1", "perfect": 0.0, "weights": (), "reference": ""}
    metric = Metric(
        "fake", unit=unit, needs="features", direction="lower", load=load, feature=feature, films=films, **about
    )
    values = scores([Loader({}).load(metric)], made)["fake"]
    assert values["truth"] == pytest.approx(0, abs=1e-6) and all(np.isfinite(list(values.values())))
    if unit == "set":
        assert values["shuffle"] == pytest.approx(0, abs=1e-6)  # a set of pictures has no order
    else:
        assert values["empty"] > values["frozen"] > 0 and values["shuffle"] > 0


def test_the_page_has_both_cases_for_every_metric_that_needs_no_further_weights():
    whole = page_table("The whole case")
    assert set(whole) == set(DOCUMENTED) >= {m.id for m in METRICS.values() if m.needs == "frames" and not m.named_only}
    assert set(DOCUMENTED) <= set(METRICS)
    for table in (whole, DOCUMENTED):
        for metric, cells in table.items():
            printed = {name: np.nan if text == "–" else float(text) for name, text in cells.items() if name in LEVELS}
            assert in_words(mistakes(metric, printed)) == cells["mistakes"], metric


@pytest.fixture(scope="module")
def random_values(tmp_path_factory):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        items = sanity_set.with_random_weights(tmp_path_factory.mktemp("weights"), QUICK)
        made = variants("walker-1000000", 64, 3, sanity_set.NOVEL[:2])
        return scores(items, {name: made[name] for name in TRIED})
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
def test_what_does_not_depend_on_weights_is_as_the_page_says(random_values):
    assert any(id.startswith("clip") for id in random_values), "needs open_clip"
    assert list(RANDOM) == list(sanity_set.RANDOM)
    printed = {id: {name: RANDOM[id][name] for name in TRIED} for id in QUICK}
    assert {id: same(id, values) for id, values in random_values.items()} == printed


@pytest.mark.slow
def test_orderings_that_hold_for_any_weights(random_values):
    sets_of_pictures, sets_of_films = ("fid-inception", "fvd-v"), ("fvd-i3d", "fvd-f", "kvd-i3d")
    for id in sets_of_pictures:  # a set has no order
        assert (
            same(id, random_values[id])["shuffle"] == "perfect" and same(id, random_values[id])["frozen"] == "another"
        )
    for id in (*sets_of_films, "fvd-c4d", "fid-vid-frames"):
        assert same(id, random_values[id])["shuffle"] == "another"
    assert random_values["fvd-f"] == random_values["fvd-i3d"]
    for id in set(random_values) & {"clip-vit-b32"}:
        words = same(id, random_values[id])
        assert words.pop("truth") == "perfect" and set(words.values()) == {"another"}
    for id in set(random_values) & {"clip-temporal-vit-b32"}:  # nothing is smoother than a picture that stands still
        assert [name for name, word in same(id, random_values[id]).items() if word == "perfect"] == ["frozen", "empty"]


def test_words_of_sameness():
    values = dict(zip(LEVELS, (0.0, 1.0, 2.0, 1e-9, np.nan, 4.0, 5.0), strict=True))
    words = same("fvd-i3d", values)
    assert words == dict(zip(LEVELS, ["perfect", *["another"] * 2, "perfect", "–", *["another"] * 2], strict=True))
    biased = same("kvd-i3d", values | {"truth": -3.0, "shuffle": -3.0})
    assert (biased["truth"], biased["shuffle"], biased["blur"]) == ("as the truth", "as the truth", "another")


def test_mistakes_name_the_least_damaged_and_tell_equal_from_preferred():
    perfect = dict(zip(LEVELS, (0, 1, 1.5, 2, 3, 4, 5), strict=True))
    assert mistakes("lpips-vgg", perfect) == []
    assert mistakes("lpips-vgg", perfect | {"empty": 0.0}) == [("empty", "truth", "=")]
    assert mistakes("lpips-vgg", perfect | {"frozen": 1.2}) == [("frozen", "blur", ">")]
    assert mistakes("psnr", {name: -value for name, value in perfect.items()}) == []
    assert mistakes("psnr", dict.fromkeys(LEVELS, np.nan)) == []


def test_one_frame_has_no_other_order():
    assert sanity_set.disorder(2).tolist() == [1, 0]
    with pytest.raises(ValueError, match="found 1"):
        sanity_set.disorder(1)
