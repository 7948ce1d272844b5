"""official_v1 against torchmetrics called as the released scripts call it; recorded by record_consistent4d_v1.py."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench4d.errors import FormatError
from bench4d.metric import Feature, Metric
from bench4d.metric_loading import load_metric
from benchmarks.consistent4d import official_v1 as v1

sys.path.insert(0, str(Path(__file__).parent))
from consistent4d_folder import DARKEST, FRAMES, OBJECTS, VIEWS, write_folder

RECORD = json.loads((Path(__file__).parents[1] / "fixtures" / "consistent4d_v1.json").read_text("utf-8"))
SCORES = {"psnr": v1.psnr, "ssim": v1.ssim}
# SSIM in float32 of values up to 255 squared: torchmetrics itself is this far from its own float64.
SINGLE = {"psnr": 2e-5, "ssim": 5e-5}
# torchmetrics computes 10 / ln 10 in float32, whatever the pictures are in: its PSNR is too small by 4.5e-8 of itself.
LOG_10 = 10 / np.log(10) / float(np.float32(10) / np.float32(np.log(10)))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("consistent4d")
    write_folder(folder)
    return folder


@pytest.fixture(scope="module")
def view(root):
    """(predicted, truth) of one view of each object, all frames of the prediction."""
    return {
        o: [v1.read_pictures(v1.picture_files(root / part / o / "eval_1")[: FRAMES["pred"]]) for part in ("pred", "gt")]
        for o in OBJECTS
    }


@pytest.mark.parametrize("object_id", OBJECTS)
@pytest.mark.parametrize("name", SCORES)
def test_frames_against_torchmetrics(view, object_id, name):
    ours = SCORES[name](*view[object_id])
    double, single = (RECORD[dtype][f"{object_id}/eval_1"][name] for dtype in ("float64", "float32"))
    exact = np.array(double) * (LOG_10 if name == "psnr" else 1)
    np.testing.assert_allclose(ours, exact, rtol=0, atol=1e-9)
    np.testing.assert_allclose(ours, single, rtol=0, atol=SINGLE[name])


def test_the_range_is_that_of_the_pictures_and_not_255(view):
    """Against the textbook: the peak moves PSNR by exactly 20 log10(255 / span)."""
    for object_id in OBJECTS:
        predicted, truth = (pictures.astype(np.float64) for pictures in view[object_id])
        error = np.square(predicted - truth).mean(axis=(1, 2, 3))
        span = np.ptp(truth, axis=(1, 2, 3))
        textbook = 10 * np.log10(255**2 / error)
        np.testing.assert_allclose(textbook - v1.psnr(*view[object_id]), 20 * np.log10(255 / span), atol=1e-9)
        assert (span == 255).all() == (DARKEST[object_id] == 0)


def constant(value):
    """Not a distance but a count: which frames and views were seen."""
    return lambda predicted, truth: np.full(len(predicted), float(value))


def test_averages_over_the_recorded_numbers(root):
    """PSNR of the whole folder: frames, views, the divisor, objects."""
    found = v1.score_folders(root / "gt", root / "pred", {"psnr": v1.psnr}, objects=OBJECTS)["psnr"]
    for o in OBJECTS:
        each = [LOG_10 * np.mean(RECORD["float64"][f"{o}/{view}"]["psnr"]) for view in VIEWS]
        assert found[o] == pytest.approx(sum(each) / 4, abs=1e-9)
    assert found["average"] == pytest.approx(np.mean([found[o] for o in OBJECTS]), abs=1e-12)


def test_quirk_the_divisor_is_four_whatever_is_asked(root):
    one = {"one": constant(1)}
    for views in (VIEWS, VIEWS[:2], VIEWS[:1]):
        found = v1.score_folders(root / "gt", root / "pred", {}, one, OBJECTS[:1], views)
        assert found["one"] == {OBJECTS[0]: len(views) / 4, "average": len(views) / 4}


def test_quirk_the_prediction_decides_how_many_frames_count(root):
    seen = []
    spy = {"n": lambda predicted, truth: seen.append((len(predicted), len(truth))) or np.zeros(1)}
    v1.score_folders(root / "gt", root / "pred", {}, spy, OBJECTS[:1], VIEWS[:1])
    assert seen == [(FRAMES["pred"], FRAMES["pred"])]
    with pytest.raises(FormatError, match="at least the 4 pictures"):
        v1.score_folders(root / "pred", root / "gt", {}, spy, OBJECTS[:1], VIEWS[:1])


def test_names_are_sorted_as_numbers_and_sizes_are_kept_for_native_scores(tmp_path):
    for k in (10, 9, 100):
        Image.fromarray(np.full((12, 12, 3), k, np.uint8)).save(tmp_path / f"{k}.png")
    files = v1.picture_files(tmp_path)
    assert [path.name for path in files] == ["9.png", "10.png", "100.png"]
    assert v1.read_pictures(files, None).shape == (3, 12, 12, 3)
    assert v1.read_pictures(files[:1]).shape == (1, 512, 512, 3)


def test_pictures_with_alpha_and_other_names_are_refused(tmp_path):
    Image.fromarray(np.zeros((8, 8, 4), np.uint8)).save(tmp_path / "0.png")
    with pytest.raises(FormatError, match="Composite the true pictures on white"):
        v1.read_pictures(v1.picture_files(tmp_path))
    (tmp_path / "a.png").touch()
    with pytest.raises(FormatError, match="numbers as names"):
        v1.picture_files(tmp_path)
    with pytest.raises(FormatError, match="no such folder"):
        v1.picture_files(tmp_path / "eval_0")


def film(of, films, score, weights=()):
    """A metric of features with a network that the test can compute: the mean colour of each picture, or of a film."""

    class Mean:
        def __call__(self, pictures):
            return pictures.double().mean(dim=tuple(range(1, pictures.ndim - 1))).float()

    feature = Feature("mean", 1, of, 3, (), lambda paths, device: Mean())
    record = Metric("m", 1, "", "clip", "features", "lower", "1", 0.0, weights, "", lambda paths: score)
    return replace(record, feature=feature, films=films)


@pytest.mark.parametrize(("of", "films"), [("picture", "frame"), ("film", "view")])
def test_metrics_of_features_see_the_pictures_and_the_films(view, of, films):
    """What CLIP (a vector a frame) and FVD (a vector a view) go through."""
    loaded = load_metric(film(of, films, lambda p, t: np.abs(p - t).sum(axis=1)), {})
    predicted, truth = view["skull"]
    values = v1.as_score(loaded)(predicted, truth)
    each = np.abs(predicted.mean(axis=(1, 2)) - truth.mean(axis=(1, 2))).sum(axis=1)
    pooled = np.abs(predicted.mean(axis=(0, 1, 2)) - truth.mean(axis=(0, 1, 2))).sum()
    np.testing.assert_allclose(values, each if of == "picture" else [pooled], rtol=1e-5)


def test_the_program_prints_one_table_and_says_what_is_left_out(root, monkeypatch, capsys):
    absent = film("film", "view", None, weights=("no-such-file",))
    monkeypatch.setattr(v1, "METRICS", dict.fromkeys(v1.OURS.values(), absent))
    monkeypatch.setattr(v1, "find_weights", lambda ids, tell: {id: {"reason": f"{id} is not here"} for id in ids})
    arguments = [
        "v1",
        "--gt",
        str(root / "gt"),
        "--pred",
        str(root / "pred"),
        "--objects",
        "skull",
        "--views",
        "eval_1",
    ]
    monkeypatch.setattr("sys.argv", arguments)
    v1.main()
    shown = capsys.readouterr()
    table = json.loads(shown.out)
    assert table["psnr"]["skull"] == pytest.approx(LOG_10 * np.mean(RECORD["float64"]["skull/eval_1"]["psnr"]) / 4)
    assert set(table) == {"psnr", "ssim"} and shown.err.count("is left out: ") == len(v1.OURS)
