"""What each metric notices of known damages, and its documented mistakes (docs/sanity.md), on a small case."""

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
from tools.sanity_set import LEVELS, METRICS, in_words, mistakes, scores, variants

# What a metric takes for less damaged than it is, at 64 x 64 pixels and 5 frames. An entry here is a fact about the
# metric that its page must not hide; no entry means that no mistake is expected.
FROZEN_HIDES_IN_A_MEAN = "frozen > shift"  # its first frame has 100 dB, and decibels are averaged
DOCUMENTED = {
    "psnr": FROZEN_HIDES_IN_A_MEAN,
    "psnr-masked": FROZEN_HIDES_IN_A_MEAN,
    "ssim": "–",
    "ssim-masked": "–",
    "lpips-vgg": "–",
    "lpips-alex": "–",
    "silhouette-iou": "–",
    "jitter": "shift = truth, blur = truth, frozen = truth, billboard = truth, empty = truth",
    "chamfer": "–",
    "fscore": "–",
    "iou": "–",
}
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
        assert in_words(mistakes(metric, given)) == DOCUMENTED[metric], given


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


def test_the_pages_table_has_every_documented_metric():
    page = (sanity_set.ROOT / "docs/sanity.md").read_text("utf-8")
    assert all(f"| {metric} " in page for metric in DOCUMENTED)
    assert set(DOCUMENTED) <= set(METRICS)


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
