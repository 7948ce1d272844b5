"""fvd-c4d against the textbook formula under NumPy 1.26 (recorded, see record_fvd_c4d.py); the records of films."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bench4d.errors import FormatError
from metrics import METRICS
from metrics.features import films
from metrics.fvd import fvd_c4d
from tests.reference.record_fvd_c4d import rows

RECORDED = json.loads((Path(__file__).parents[1] / "fixtures" / "fvd_c4d.json").read_text("utf-8"))
SETS = [id for id, metric in METRICS.items() if metric.feature and metric.feature.of == "film" and metric.unit == "set"]


@pytest.mark.parametrize("case", RECORDED["cases"], ids=lambda case: f"{case['width']}-{case['spread']}")
def test_equals_the_recorded_distance(case):
    x, y = rows(case["seed"], case["width"], case["spread"])
    np.testing.assert_allclose(fvd_c4d(x, y), [case["float64"]], rtol=1e-9)
    np.testing.assert_allclose(fvd_c4d(x.astype(np.float32), y.astype(np.float32)), [case["float32"]], rtol=1e-6)


def test_the_second_term_matters():
    """Without it, or with d instead of d - 1, the recorded values would be missed by far more than the tolerance."""
    case = RECORDED["cases"][2]
    x, y = rows(case["seed"], case["width"], case["spread"])
    shift = ((x - y) ** 2).sum()
    assert case["float64"] - shift > 1e-3 * shift
    assert abs(shift + (x.std() - y.std()) ** 2 - case["float64"]) > 1e-7 * case["float64"]


def test_one_value_a_view_symmetric_and_zero_for_equal_rows():
    pairs = [rows(seed, 400, 0.7) for seed in range(4)]
    x, y = (np.concatenate(side).astype(np.float32) for side in zip(*pairs, strict=True))
    together = fvd_c4d(x, y)
    assert together.shape == (4,) and together.dtype == np.float64
    assert (together == [fvd_c4d(a[None], b[None])[0] for a, b in zip(x, y, strict=True)]).all()
    assert (together == fvd_c4d(y, x)).all()
    assert (fvd_c4d(x, x) == METRICS["fvd-c4d"].perfect).all()


def test_other_shapes_are_refused():
    with pytest.raises(FormatError, match="as many predicted as true rows"):
        fvd_c4d(np.zeros((2, 400), np.float32), np.zeros((1, 400), np.float32))


def test_the_distance_of_all_films_is_another_number():
    """The field's 'FVD' of 28 pairs against the distance between the two sets, on the same logits."""
    random = np.random.default_rng(0)
    truth = random.standard_normal((28, 400)).astype(np.float32)
    predicted = random.permutation(truth)  # the same films, other objects: no distribution could tell
    whole = METRICS["fvd-i3d"].load({})()
    whole.add(predicted, truth)
    assert whole.value() < 1e-6
    assert fvd_c4d(predicted, truth).mean() > 500


def test_of_28_films_a_frechet_distance_shows_its_bias_and_a_kernel_distance_none():
    """400 independent numbers a film. The true Frechet distances to the second and third set are 0 and 100."""
    random = np.random.default_rng(2)

    def films_of(spread: float) -> np.ndarray:
        return (random.standard_normal((28, 400)) * spread).astype(np.float32)

    truth, same, collapsed = films_of(1), films_of(1), films_of(0.5)
    frechet, kernel = {}, {}
    for name, predicted in (("same", same), ("collapsed", collapsed)):
        for id, values in (("fvd-i3d", frechet), ("kvd-i3d", kernel)):
            score = METRICS[id].load({})()
            score.add(predicted, truth)
            values[name] = score.value()
    assert 600 < frechet["same"] < 720
    assert 380 < frechet["collapsed"] < 480  # "better" than the truth's own distribution
    assert abs(kernel["same"]) < 0.05


@pytest.mark.parametrize("id", SETS)
def test_metrics_of_sets_start_and_stream(id):
    metric = METRICS[id]
    random = np.random.default_rng(1)
    clips = random.standard_normal((6, 4, metric.feature.width)).astype(np.float32)
    far, near = metric.load({})(), metric.load({})()
    for clip in clips:
        near.add(clip + random.standard_normal(clip.shape).astype(np.float32) * 1e-3, clip)
        far.add(clip + 2, clip)
    if id.endswith("-floor"):
        assert metric.perfect is None and near.value() == far.value()
    else:
        assert far.value() > near.value() + 1


def test_films_of_each_metric():
    expected = {"fvd-f": "view", "fvd-v": "time", "fvd-diag": "diagonal", "fv4d": "raster"}
    assert {id: METRICS[id].films for id in expected} == expected
    assert METRICS["fvd-f"].feature is METRICS["fvd-i3d"].feature is films.I3D_400
    assert METRICS["fvd-stylegan-v"].feature is films.I3D_TORCHSCRIPT
    assert METRICS["fid-vid-r3d"].feature is films.RESNET50_KINETICS
    assert METRICS["kvd-videomae"].feature is METRICS["fvd-videomae"].feature is films.VIDEOMAE_SSV2
