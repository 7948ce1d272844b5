"""Vectors of feature networks in scoring: values by hand, each picture once, films, batches, the cache of the truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from bench4d.errors import FormatError
from bench4d.features import HALF, LoadedFeature, Place, Request, pictures_of, vectors
from bench4d.metric import MetricUnavailable
from tests.fake_features import MAP, Counter, differences, film_feature, metric, picture_feature
from tests.toy_results import CLIPS, FRAMES, VIEWS, toy_benchmark, write_results
from tests.toy_scoring import by_hand, entries, pixels_of, run

CPU = Place(torch.device("cpu"), "float32", "cpu")


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
