"""The scoring engine: values as the metrics' functions give them, failures, loading, precision, reading ahead."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from bench4d.errors import FormatError
from bench4d.features import HALF
from bench4d.frames import read_view
from bench4d.metric import MetricUnavailable, View
from bench4d.metric_loading import load_metrics
from bench4d.pictures import ahead
from bench4d.scoring_engine import Engine
from metrics import METRICS
from metrics.lpips import WEIGHTS
from tests.fake_features import Counter, film_feature, metric, picture_feature
from tests.toy_results import CLIPS, FRAMES, SIZE, VIEWS, toy_benchmark, write_results
from tests.toy_scoring import entries, run
from tools.random_weights import write_all


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory) -> dict:
    return write_all(tmp_path_factory.mktemp("weights"), WEIGHTS["alex"])


@pytest.mark.parametrize("threads", [1, 3])
def test_metrics_of_frames_give_what_their_functions_give_view_by_view_to_the_last_bit(tmp_path, alexnet, threads):
    strides = {"psnr": 1, "psnr-masked": 2, "ssim": 2, "silhouette-iou": 1, "jitter": 1, "lpips-alex": 2, "tlp-alex": 1}
    benchmark = toy_benchmark(tmp_path, [{"id": id, "stride": s} for id, s in strides.items()])
    write_results(benchmark, tmp_path)
    table = run(benchmark, tmp_path, METRICS, alexnet, threads=threads)
    frames = table.attrs["frames"].set_index(["clip", "view", "metric"]).sort_index()
    rows = table.set_index(["clip", "view", "metric"])["value"]
    assert len(rows) == len(CLIPS) * len(VIEWS) * len(strides)
    paths = {id: Path(alexnet[id]["path"]) for id in WEIGHTS["alex"]}
    for id, stride in strides.items():
        function = METRICS[id].load(paths)
        for clip in CLIPS:
            for view in VIEWS:
                places = tmp_path / "mine/seed0" / clip / "frames", tmp_path / "truth" / clip / "frames"
                seen = (read_view(place, view, FRAMES, SIZE) for place in places)
                values = function(*(View(v.rgb[::stride], v.alpha[::stride]) for v in seen))
                finite = np.isfinite(values)
                assert rows[clip, view, id] == values[finite].mean() and finite.any()
                mine = frames.loc[[(clip, view, id)]]
                assert mine["value"].tolist() == values[finite].tolist()
                assert mine["frame"].tolist() == np.arange(0, FRAMES, stride)[finite].tolist()


def test_a_clip_that_failed_and_a_metric_without_weights_leave_rows(tmp_path):
    benchmark = toy_benchmark(tmp_path, entries(["psnr", "lpips-alex", "time"]))
    write_results(benchmark, tmp_path, failed=["two"])
    missing = {id: {"reason": f"`bench4d weights fetch {id}`"} for id in WEIGHTS["alex"]}
    table = run(benchmark, tmp_path, METRICS, missing).set_index("clip")
    assert set(table.loc["two", "status"]) == {"failed"} and set(table.loc["two", "reason"]) == {"it broke"}
    empty = table.loc["one"].set_index("metric").loc["lpips-alex"]
    assert set(empty["status"]) == {"not-run"} and len(empty) == len(VIEWS)
    assert "bench4d weights fetch alexnet-features" in empty["reason"].iloc[0]
    assert set(table.loc["one"].set_index("metric").loc[["psnr", "time"], "status"]) == {"ok"}


def test_half_precision_runs_networks_under_autocast_and_metrics_without_one_as_ever(tmp_path, alexnet):
    benchmark = toy_benchmark(tmp_path, entries(["psnr", "lpips-alex"]), clips=("one",))
    write_results(benchmark, tmp_path)
    rows = {p: run(benchmark, tmp_path, METRICS, alexnet, precision=p).set_index("metric") for p in ("float32", "half")}
    exact, half = rows["float32"], rows["half"]
    assert (exact.loc["psnr", "value"].to_numpy() == half.loc["psnr", "value"].to_numpy()).all()
    assert set(half.loc["psnr", "device"]) == {"cpu"} and half.loc["lpips-alex", "device"].str.endswith(HALF).all()
    away = np.abs(half.loc["lpips-alex", "value"] / exact.loc["lpips-alex", "value"] - 1)
    assert (away > 0).all() and (away < 0.05).all()


# Loading.


def test_networks_that_cannot_be_loaded_never_stop_the_others(tmp_path):
    def absent(paths, device):
        raise MetricUnavailable("needs the package nothing: python tools/install.py metrics")

    def broken(paths, device):
        raise RuntimeError("size mismatch\nfor conv1")

    counter = Counter()
    features = {"absent": absent, "broken": broken}
    toy = {"well": metric("well", picture_feature(counter)), "wants": metric("wants", picture_feature(counter, ("w",)))}
    for name, load in features.items():
        feature = picture_feature(counter, id=name)
        toy[name] = metric(name, type(feature)(name, 1, "picture", 4, (), load), "set")
    benchmark = toy_benchmark(tmp_path, entries(toy), clips=("one",))
    write_results(benchmark, tmp_path)
    missing = {"w": {"reason": "the weights w are not on this machine: `bench4d weights fetch w`"}}
    table = run(benchmark, tmp_path, toy, missing)
    reasons = table.groupby("metric")["reason"].unique().map(list).to_dict()
    assert reasons["wants"] == ["w: the weights w are not on this machine: `bench4d weights fetch w`"]
    assert reasons["absent"] == ["needs the package nothing: python tools/install.py metrics"]
    assert reasons["broken"] == ["broken cannot be loaded: RuntimeError: size mismatch for conv1"]
    assert table.groupby("metric").size().to_dict() == {"absent": 2, "broken": 2, "wants": 3, "well": 3}
    status = table.groupby("metric")["status"].unique().map(list).to_dict()
    assert status == {"absent": ["not-run"], "broken": ["not-run"], "wants": ["not-run"], "well": ["ok"]}


def test_records_that_contradict_themselves_are_refused(tmp_path):
    pictures, films = picture_feature(Counter()), film_feature(Counter())
    wrong = [
        metric("x", pictures, films="view"),
        metric("x", films, films="frame"),
        metric("x", films, films="time"),
        metric("x", films, films="view", against="prompt"),
    ]
    for record in wrong:
        with pytest.raises(FormatError, match="metric x"):
            load_metrics(toy_benchmark(tmp_path, entries(["x"])), {"x": record}, {})


# Reading ahead.


def test_one_clip_is_read_ahead_and_no_more():
    started, first_used = [], threading.Event()

    def make(key: int) -> int:
        started.append(key)
        if key == 2:
            assert first_used.wait(5)
        return key * key

    values = ahead(range(4), make)
    assert next(values) == (0, 0)
    assert next(values) == (1, 1)
    assert max(started) <= 2
    first_used.set()
    assert list(values) == [(2, 4), (3, 9)] and started == [0, 1, 2, 3]
    assert list(ahead([], make)) == []


def test_errors_of_reading_ahead_come_in_their_turn(tmp_path):
    def make(key: int) -> int:
        if key == 1:
            raise FormatError("frame", "a picture", "none")
        return key

    values = ahead(range(3), make)
    assert next(values) == (0, 0)
    with pytest.raises(FormatError, match="a picture"):
        next(values)
    toy = {"toy": metric("toy", picture_feature(Counter()))}
    benchmark = toy_benchmark(tmp_path, entries(toy))
    write_results(benchmark, tmp_path)
    (tmp_path / "truth/two/frames/left/rgb/0003.png").unlink()
    with pytest.raises(FormatError, match=r"0003\.png"):
        run(benchmark, tmp_path, toy)


def test_without_metrics_of_pictures_none_is_read(tmp_path):
    benchmark = toy_benchmark(tmp_path, entries(["time"]))
    write_results(benchmark, tmp_path)
    (tmp_path / "truth/two/frames/left/rgb/0003.png").unlink()
    assert not Engine(load_metrics(benchmark, METRICS, {}), (1, 1, 1)).looks
    assert run(benchmark, tmp_path, METRICS)["value"].tolist() == [1.5, 1.5, 1.5]
