"""The scoring engine: existing scores as they were, networks called once, caches, failures and sets."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from bench4d.errors import FormatError
from bench4d.features import HALF, LoadedFeature, Place, Request, pictures_of, vectors
from bench4d.frames import read_view
from bench4d.method import Method, method_folders
from bench4d.metric import MetricUnavailable, View
from bench4d.metric_loading import load_metrics
from bench4d.pictures import ahead
from bench4d.results import FRAME_ROW, ROW, frame_of
from bench4d.score import score_method
from bench4d.scoring_engine import Engine
from metrics import METRICS
from metrics.lpips import WEIGHTS
from tests.fake_features import MAP, Counter, Rows, differences, film_feature, metric, picture_feature
from tests.toy_results import CLIPS, FRAMES, SIZE, VIEWS, toy_benchmark, write_results

CPU = Place(torch.device("cpu"), "float32", "cpu")


def run(benchmark, root: Path, metrics, weights=None, name="mine", precision="float32", threads=1) -> pd.DataFrame:
    """The rows of one method, whatever it is called: the record is a real method's."""
    method = Method.read(method_folders()["billboard"])
    loaded = load_metrics(benchmark, metrics, weights or {}, precision)
    places = root / name / "seed0", root / "truth"
    rows, frames = score_method(benchmark, method, 0, *places, loaded, lambda clip: None, threads)
    table = frame_of(rows, ROW)
    table.attrs["frames"] = frame_of(frames, FRAME_ROW)
    return table


def entries(metrics, stride=1) -> list[dict]:
    return [{"id": id, "stride": stride} for id in metrics]


def pixels_of(root: Path, clip: str, views=tuple(VIEWS)) -> np.ndarray:
    return np.stack([read_view(root / clip / "frames", view, FRAMES, SIZE).rgb for view in views])


def by_hand(pictures: np.ndarray) -> np.ndarray:
    """What the toy network gives: uint8 [...,H,W,3] -> [...,4]."""
    return (pictures.sum(axis=(-3, -2), dtype=np.int64) / 256) @ MAP.numpy().astype(np.float64)


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory) -> dict:
    """Random weights for lpips-alex, in the form of `load_metrics`."""
    folder, random = tmp_path_factory.mktemp("weights"), torch.Generator().manual_seed(0)
    shapes = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
    trunk = {f"features.{k}.weight": torch.randn(a, b, s, s, generator=random) / 50 for k, (a, b, s) in shapes.items()}
    trunk |= {f"features.{k}.bias": torch.zeros(a) for k, (a, _, _) in shapes.items()}
    heads = {f"lin{n}.weight": torch.rand(1, s[0], 1, 1, generator=random) for n, s in enumerate(shapes.values())}
    found = {}
    for id, tensors in zip(WEIGHTS["alex"], (trunk, heads), strict=True):
        save_file(tensors, folder / id)
        found[id] = {"path": str(folder / id), "sha256": id.ljust(64, "0")}
    return found


# Metrics that were there before.


@pytest.mark.parametrize("threads", [1, 3])
def test_metrics_of_frames_give_what_their_functions_give_view_by_view_to_the_last_bit(tmp_path, alexnet, threads):
    strides = {"psnr": 1, "psnr-masked": 2, "ssim": 2, "silhouette-iou": 1, "jitter": 1, "lpips-alex": 2}
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


# Features.


def test_values_of_features_are_those_of_the_network_by_hand(tmp_path):
    counter = Counter()
    toy = {"toy": metric("toy", picture_feature(counter)), "film": metric("film", film_feature(counter), films="view")}
    benchmark = toy_benchmark(tmp_path, entries(toy))
    write_results(benchmark, tmp_path)
    table = run(benchmark, tmp_path, toy).set_index(["metric", "clip", "view"])
    for clip in CLIPS:
        mine, true = (by_hand(pixels_of(tmp_path / place, clip)) for place in ("mine/seed0", "truth"))
        weights = np.arange(1, FRAMES + 1)[:, None]
        for v, view in enumerate(VIEWS):
            assert table.loc[("toy", clip, view), "value"] == pytest.approx(
                differences(mine[v], true[v]).mean(), rel=1e-6
            )
            film = differences((weights * mine[v]).sum(0)[None], (weights * true[v]).sum(0)[None])[0]
            assert table.loc[("film", clip, view), "value"] == pytest.approx(film, rel=1e-6)
            assert table.loc[("film", clip, view), "n_frames"] == FRAMES
    frames = pd.DataFrame(table.attrs["frames"])
    assert set(frames["metric"]) == {"toy"} and len(frames) == len(CLIPS) * len(VIEWS) * FRAMES
    assert set(table["device"]) <= {"cpu", *([torch.cuda.get_device_name()] if torch.cuda.is_available() else [])}


def test_a_feature_of_several_metrics_runs_once_on_each_picture_that_any_of_them_needs(tmp_path):
    counter = Counter()
    feature = picture_feature(counter)
    toy = {id: metric(id, feature, unit) for id, unit in (("a", "clip"), ("b", "clip"), ("c", "set"))}
    benchmark = toy_benchmark(tmp_path, [{"id": "a", "stride": 2}, {"id": "b", "stride": 4}, {"id": "c", "stride": 2}])
    write_results(benchmark, tmp_path)
    table = run(benchmark, tmp_path, toy)
    assert counter.loads == 1
    kept = len(range(0, FRAMES, 2))
    assert counter.inputs == 2 * len(CLIPS) * len(VIEWS) * kept  # prediction and truth
    frames = table.attrs["frames"]
    assert set(frames.loc[frames["metric"] == "b", "frame"]) == {0, 4}
    both = frames[frames["frame"] == 4].pivot(index=["clip", "view"], columns="metric", values="value")
    assert (both["a"] == both["b"]).all()


@pytest.mark.parametrize("films", ["frame", "view", "time", "diagonal", "raster"])
@pytest.mark.parametrize(("n_views", "frames"), [(3, [0, 2, 4]), (2, [0, 1, 2, 3, 4]), (4, [0, 3]), (1, [0, 1])])
def test_films_are_in_the_order_that_their_definition_says(films, n_views, frames):
    views, count = [7 + v for v in range(n_views)], max(n_views, len(frames))
    expected = {
        "frame": [(v, k) for v in views for k in frames],
        "view": [[(v, k) for k in frames] for v in views],
        "time": [[(v, k) for v in views] for k in frames],
        "diagonal": [[(views[k * n_views // count], frames[k * len(frames) // count]) for k in range(count)]],
        "raster": [[(v, k) for n, v in enumerate(views) for k in (frames[::-1] if n % 2 else frames)]],
    }[films]
    v, k = pictures_of(films, views, frames)
    assert np.stack([v, k], -1).tolist() == np.array(expected).tolist()


@pytest.mark.parametrize("batch", [1, 2, 7, None])
def test_batches_and_threads_change_no_value(batch):
    pixels = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (3, 6, 16, 16, 3), np.uint8))
    for feature, films in ((picture_feature(Counter()), "frame"), (film_feature(Counter()), "time")):
        request = Request(LoadedFeature(feature, feature.load({}, CPU.device), CPU, ""), films, (0, 1, 2), (0, 2, 5))
        v, k = pictures_of(films, request.views, request.frames)
        whole = feature.load({}, CPU.device)(pixels[v, k]).numpy()
        np.testing.assert_allclose(vectors(request, pixels, batch), whole, rtol=1e-6)


@pytest.mark.parametrize("batch", [1, 4, None])
def test_batches_of_a_real_network_differ_by_rounding_alone(batch):
    random = torch.Generator().manual_seed(0)
    kernel, dense = torch.randn(32, 3, 7, 7, generator=random), torch.randn(32 * 9 * 9, 4, generator=random)

    def network(pictures: torch.Tensor) -> torch.Tensor:
        x = torch.nn.functional.conv2d(pictures.permute(0, 3, 1, 2).float() / 255, kernel, stride=3).relu()
        return x.flatten(1) @ dense

    pixels = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (2, 9, 32, 32, 3), np.uint8))
    feature = picture_feature(Counter())
    request = Request(LoadedFeature(feature, network, CPU, ""), "frame", (0, 1), tuple(range(9)))
    whole = vectors(request, pixels, 18)
    assert np.abs(vectors(request, pixels, batch) - whole).max() <= 1e-5 * np.abs(whole).max()


def test_a_network_with_another_output_than_its_record_says_is_refused():
    feature = picture_feature(Counter())
    network = LoadedFeature(feature, lambda pictures: torch.zeros(len(pictures), 3), CPU, "")
    pixels = torch.zeros(1, 2, 8, 8, 3, dtype=torch.uint8)
    with pytest.raises(FormatError, match=r"vectors \[2,4\]"):
        vectors(Request(network, "frame", (0,), (0, 1)), pixels)
    endless = LoadedFeature(feature, lambda pictures: torch.full((len(pictures), 4), torch.inf), CPU, "")
    with pytest.raises(MetricUnavailable, match="not finite"):
        vectors(Request(endless, "frame", (0,), (0, 1)), pixels)


# The cache.


def test_the_cache_saves_the_truth_and_changes_no_value(tmp_path):
    counter = Counter()
    toy = {"toy": metric("toy", picture_feature(counter)), "set": metric("set", film_feature(counter), "set", "time")}
    benchmark = toy_benchmark(tmp_path, entries(toy))
    write_results(benchmark, tmp_path, ("mine", "yours"))
    first = run(benchmark, tmp_path, toy)
    both = counter.inputs
    files = sorted((tmp_path / "features").iterdir())
    assert len(files) == len(CLIPS) * 3  # pictures of all views, films of both groups
    again = run(benchmark, tmp_path, toy)
    pd.testing.assert_frame_equal(first, again)
    assert counter.inputs - both == both / 2
    run(benchmark, tmp_path, toy, name="yours")  # another method: the truth is the same
    assert counter.inputs - both == both and sorted((tmp_path / "features").iterdir()) == files


def test_a_damaged_file_of_the_cache_is_computed_again(tmp_path):
    counter = Counter()
    toy = {"toy": metric("toy", picture_feature(counter))}
    benchmark = toy_benchmark(tmp_path, entries(toy), clips=CLIPS)
    write_results(benchmark, tmp_path)
    first, seen = run(benchmark, tmp_path, toy), counter.inputs
    files = sorted((tmp_path / "features").iterdir())
    whole = [file.read_bytes() for file in files]
    files[0].write_bytes(whole[0][:40])
    files[1].write_bytes(whole[1][:-1] + bytes([whole[1][-1] ^ 1]))  # another vector of the same form
    files[2].write_bytes(whole[0])  # of other pictures
    pd.testing.assert_frame_equal(first, run(benchmark, tmp_path, toy))
    assert counter.inputs - seen == seen  # nothing came from the cache
    assert [file.read_bytes() for file in files] == whole


def test_other_pictures_precision_weights_and_versions_never_share_a_file(tmp_path):
    counter = Counter()
    weights = {}
    for name in ("w", "v"):
        (tmp_path / name).write_bytes(b"\x02" if name == "w" else b"\x03")
        weights[name] = {"path": str(tmp_path / name), "sha256": name * 64}
    toy = {"toy": metric("toy", picture_feature(counter, ("w",)))}
    benchmark = toy_benchmark(tmp_path, entries(toy), clips=("one",))
    write_results(benchmark, tmp_path)
    count = lambda: len(list((tmp_path / "features").iterdir()))  # noqa: E731
    single = run(benchmark, tmp_path, toy, weights)
    assert count() == 1
    half = run(benchmark, tmp_path, toy, weights, precision="half")
    assert count() == 2
    assert set(half["device"]) == {next(iter(set(single["device"]))) + HALF}
    other = {"toy": metric("toy", picture_feature(counter, ("v",)))}
    more = run(benchmark, tmp_path, other, weights)
    assert count() == 3 and (more["value"] / single["value"]).to_numpy() == pytest.approx(1.5)
    assert set(more["metric_weights_sha256"]) == {"v" * 64}
    write_results(toy_benchmark(tmp_path, entries(toy), clips=("two",)), tmp_path)
    (tmp_path / "truth/one/frames/left/rgb/0000.png").write_bytes(
        (tmp_path / "truth/one/frames/left/rgb/0001.png").read_bytes()
    )
    run(benchmark, tmp_path, toy, weights)
    assert count() == 4


def test_half_precision_runs_networks_under_autocast_and_metrics_without_one_as_ever(tmp_path, alexnet):
    benchmark = toy_benchmark(tmp_path, entries(["psnr", "lpips-alex"]), clips=("one",))
    write_results(benchmark, tmp_path)
    rows = {p: run(benchmark, tmp_path, METRICS, alexnet, precision=p).set_index("metric") for p in ("float32", "half")}
    exact, half = rows["float32"], rows["half"]
    assert (exact.loc["psnr", "value"].to_numpy() == half.loc["psnr", "value"].to_numpy()).all()
    assert set(half.loc["psnr", "device"]) == {"cpu"} and half.loc["lpips-alex", "device"].str.endswith(HALF).all()
    away = np.abs(half.loc["lpips-alex", "value"] / exact.loc["lpips-alex", "value"] - 1)
    assert (away > 0).all() and (away < 0.05).all()


# Sets.


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


def test_against_the_prompt(tmp_path):
    toy = {"said": metric("said", picture_feature(Counter()), against="prompt")}
    benchmark = toy_benchmark(tmp_path, entries(toy), clips=("one",))
    write_results(benchmark, tmp_path)
    table = run(benchmark, tmp_path, toy)
    assert set(table["status"]) == {"not-run"} and set(table["reason"]) == {"the benchmark's clips have no prompt"}
    told = toy_benchmark(tmp_path, entries(toy), clips=("one",), prompt="a red fox")
    table = run(told, tmp_path, toy)
    mine = by_hand(pixels_of(tmp_path / "mine/seed0", "one", ["left"])[0])
    expected = differences(mine, np.array([[9.0, 0, 0, 1]])).mean()
    assert table.set_index("view").loc["left", "value"] == pytest.approx(expected, rel=1e-6)
    assert not (tmp_path / "features").exists()  # the truth was not looked at


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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_what_a_cpu_gives(tmp_path):
    feature = picture_feature(Counter())
    pixels = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (3, 6, 16, 16, 3), np.uint8))
    found = []
    for device in ("cpu", "cuda"):
        place = Place(torch.device(device), "float32", device)
        network = lambda pictures: (pictures.float().mean((1, 2)) @ MAP.to(pictures.device)).float()  # noqa: E731
        request = Request(LoadedFeature(feature, network, place, ""), "frame", (0, 1, 2), (0, 2, 5))
        found.append(vectors(request, pixels.to(device)))
    np.testing.assert_allclose(*found, rtol=1e-5)
