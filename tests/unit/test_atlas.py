"""The atlas: protocols as settings, pictures under a setting, the same numbers as the workflow's, and its tables."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from bench4d.align import align_clip
from bench4d.asset_io import read_asset, write_asset
from bench4d.atlas import Applied, apply, narrowed, own
from bench4d.atlas_renders import find_run, lay_out, obstacle, shown_already
from bench4d.atlas_run import Scorer, Want, weights_here
from bench4d.atlas_table import FAILED, Spread, legend, make_atlas, to_csv, to_markdown, to_text
from bench4d.benchmark import Benchmark
from bench4d.cli import main
from bench4d.errors import FormatError
from bench4d.files import read_json, read_png, write_json
from bench4d.frames import read_view
from bench4d.method import ROOT, Method
from bench4d.metric_loading import load_metrics
from bench4d.published import read_atlas
from bench4d.rendering import render_at, render_method_clip
from bench4d.results import ROW, frame_of, read_rows, write_rows
from bench4d.score import score_method
from bench4d.scoring_folder import make_truth
from bench4d.submission import method_of
from metrics import METRICS

CLIPS = ("pudding-1000004", "ball-1000013")
SCORED = ("psnr", "ssim", "chamfer", "fscore")
ATLAS = read_atlas()


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """results/tiny of a run on two clips, four frames and three views: the truth, turned a little, and frozen."""
    folder, work = tmp_path_factory.mktemp("tiny"), tmp_path_factory.mktemp("results") / "tiny"
    data = yaml.safe_load((ROOT / "benchmarks/synth4d/protocol.yaml").read_text())
    data |= {"id": "tiny", "clips": [{"id": c} for c in CLIPS], "n_frames": 4, "size": 48, "views": data["views"][:3]}
    data |= {"metrics": [{"id": m, "stride": 1} for m in SCORED], "table": [{"metric": "psnr", "views": "novel"}]}
    (folder / "protocol.yaml").write_text(yaml.safe_dump(data))
    (folder / "build.py").symlink_to(ROOT / "benchmarks/synth4d/build.py")
    base = Benchmark.read(folder / "protocol.yaml")
    make_truth(base, work, lambda clip: None)
    for name, shift in (("near", 0.02), ("far", 0.1)):
        for clip in CLIPS:
            asset = read_asset(work / "truth" / clip / "asset")
            moved = [replace(frame, vertices=frame.vertices + np.float32(shift)) for frame in asset.frames]
            place = work / name / "seed0" / clip
            write_asset(replace(asset, frames=moved), place / "asset")
            write_json(place / "generate.json", {"status": "ok", "reason": "", "device": "cpu", "seconds": 1.0})
            write_json(place / "aligned.json", align_clip(base, place))
            render_method_clip(base, place, 1)
    loaded = load_metrics(base, METRICS, {})
    rows = []
    for name in ("near", "far"):
        method = method_of(name, (), work / name)
        rows += score_method(base, method, 0, work / name / "seed0", work / "truth", loaded, lambda clip: None)[0]
    write_rows(work / "scores.parquet", frame_of(rows, ROW))
    shutil.copytree(folder, work / "protocol", symlinks=True)
    return work


@pytest.fixture
def base(results) -> Benchmark:
    return Benchmark.read(results / "protocol" / "protocol.yaml")


def score(results: Path, base: Benchmark, out: Path, *protocols: Applied, told: list[str] | None = None):
    run = find_run(base, results)
    asks = [ask for protocol in protocols for ask in protocol.asks if ask.metric]
    tell = (told if told is not None else []).append
    return Scorer(run, out, {}, tell).score(asks)


def protocol(**changes) -> dict:
    """A protocol of PSNR that states nothing but `changes`."""
    data = ATLAS["mesh4d-views"] | {"metrics": [{"published": "PSNR", "id": "psnr", "likely": None, "options": {}}]}
    return data | {"id": "made"} | changes


def value_of(results, base, out, data, method="near") -> float:
    applied = apply(data, ATLAS, base, METRICS)
    atlas = make_atlas([applied], ["near", "far"], score(results, base, out, applied))
    (column,) = atlas.families[0].columns
    return column.cells[method].value


# The workflow's own protocol.


def test_the_own_protocol_gives_the_workflows_own_numbers_to_the_bit(results, base, tmp_path):
    applied = own(base, METRICS, ATLAS)
    assert {ask.metric.id for ask in applied.asks} == set(SCORED)
    found = score(results, base, tmp_path, applied)
    theirs = read_rows(results / "scores.parquet", ROW).set_index(["method", "metric", "clip", "view"])["value"]
    ours = pd.concat(found.values()).set_index(["method", "metric", "clip", "view"])["value"]
    pd.testing.assert_series_equal(ours.sort_index(), theirs.sort_index(), check_exact=True)


def test_pictures_made_anew_are_the_workflows_own_to_the_bit(results, base, tmp_path):
    """Without the workflow's renders, the same setting is rendered."""
    bare = tmp_path / "bare"
    shutil.copytree(results, bare, ignore=shutil.ignore_patterns("rgb", "alpha"))
    assert value_of(bare, base, tmp_path / "a", protocol()) == value_of(results, base, tmp_path / "b", protocol())


def test_what_is_remembered_is_not_scored_again_and_what_decides_it_is(results, base, tmp_path):
    applied, told = apply(protocol(), ATLAS, base, METRICS), []
    first = score(results, base, tmp_path, applied, told=told)
    assert sorted(told) == ["far, seed 0: psnr", "near, seed 0: psnr"]
    again = score(results, base, tmp_path, applied, told=(second := []))
    assert not second and all(first[key].equals(again[key]) for key in first)
    other = apply(protocol(image=image(size=64)), ATLAS, base, METRICS)
    score(results, base, tmp_path, other, told=(third := []))
    assert len(third) == 2
    assert not [path for path in results.iterdir() if path.name.startswith(".atlas.")]  # renders are thrown away


# Settings.


def image(**changes) -> dict:
    return {"size": None, "resize": None, "background": None, "mask": None} | changes


@pytest.mark.parametrize(
    "changes",
    [
        {"image": image(size=64)},
        {"image": image(background=[0, 0, 0])},
        {"frames": {"count": 2, "rule": None}},
        {"rig": {"radius": 3.0, "fov_y": 40}},
        {"views": {"input": False, "novel": 1, "azimuths": [30], "elevation": 0}},
        {"views": {"input": True, "novel": 0, "azimuths": [], "elevation": None}},
        {"applied": {"scored": "together"}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_a_protocol_states_changes_the_number(results, base, tmp_path, changes):
    assert value_of(results, base, tmp_path, protocol(**changes)) != value_of(results, base, tmp_path, protocol())


def test_the_background_changes_psnr_as_it_must(results, base, tmp_path):
    """The same coverage on black: pixels outside both silhouettes agree on both, so only the object's error moves."""
    black = protocol(image=image(background=[0, 0, 0]))
    setting = apply(black, ATLAS, base, METRICS).asks[0].settings[0]
    run = find_run(base, results)
    lay_out(run, setting, results / "near" / "seed0", tmp_path / "x", True, 1)
    view = base.views[1]
    mine = read_view(tmp_path / "x" / CLIPS[0] / "frames", view, 4, 48)
    theirs = read_view(results / "near" / "seed0" / CLIPS[0] / "frames", view, 4, 48)
    np.testing.assert_array_equal(mine.alpha, theirs.alpha)
    assert (mine.rgb[mine.alpha == 0] == 0).all() and (theirs.rgb[mine.alpha == 0] == 255).all()
    np.testing.assert_array_equal(mine.rgb[mine.alpha == 255], theirs.rgb[mine.alpha == 255])


def test_a_filter_resizes_the_files_as_pillow_does(results, base, tmp_path):
    data = protocol(image=image(size=96), applied={"resize": "bicubic"})
    setting = apply(data, ATLAS, base, METRICS).asks[0].settings[0]
    assert (setting.resized_from, setting.benchmark.data["size"]) == (48, 96)
    lay_out(find_run(base, results), setting, results / "near" / "seed0", tmp_path / "x", True, 1)
    view = setting.benchmark.views[0]
    mine = read_png(tmp_path / "x" / CLIPS[0] / "frames" / view / "rgb" / "0001.png", 3)
    with Image.open(results / "near" / "seed0" / CLIPS[0] / "frames" / view / "rgb" / "0001.png") as picture:
        np.testing.assert_array_equal(mine, np.asarray(picture.resize((96, 96), Image.Resampling.BICUBIC)))
    values = [
        value_of(results, base, tmp_path, protocol(image=image(size=96), **more))
        for more in ({}, {"applied": {"resize": "bicubic"}}, {"applied": {"resize": "bilinear"}})
    ]
    assert len(set(values)) == 3


def test_new_cameras_show_what_the_renderer_shows_from_there(results, base, tmp_path):
    data = protocol(views={"input": False, "novel": 2, "azimuths": [-75, 15], "elevation": 0})
    setting = apply(data, ATLAS, base, METRICS).asks[0].settings[0]
    assert shown_already(base, setting) is None
    lay_out(find_run(base, results), setting, results / "truth", tmp_path / "x", True, 1)
    asset = read_asset(results / "truth" / CLIPS[0] / "asset")
    seen = render_at(asset, 0.125, setting.benchmark, np.eye(4), 1)
    for v, view in enumerate(setting.benchmark.views):
        shown = read_view(tmp_path / "x" / CLIPS[0] / "frames", view, 4, 48)
        np.testing.assert_allclose(shown.alpha[1] / 255, seen[v, ..., 3], atol=1 / 500)


def test_frames_are_the_first_or_every_kth(base):
    every = apply(protocol(frames={"count": 2, "rule": None}), ATLAS, base, METRICS).asks[0].settings[0]
    first = protocol(frames={"count": 2, "rule": "the first"}, applied={"frames": "first"})
    first = apply(first, ATLAS, base, METRICS).asks[0].settings[0]
    assert every.benchmark.times.tolist() == base.times[::2].tolist() and every.step == 2
    assert first.benchmark.times.tolist() == base.times[:2].tolist() and first.step == 1


def test_the_frames_of_every_kth_are_the_workflows_own(results, base, tmp_path):
    setting = apply(protocol(frames={"count": 2, "rule": None}), ATLAS, base, METRICS).asks[0].settings[0]
    lay_out(find_run(base, results), setting, results / "near" / "seed0", tmp_path / "x", True, 1)
    view = base.views[1]
    mine = read_view(tmp_path / "x" / CLIPS[0] / "frames", view, 2, 48)
    theirs = read_view(results / "near" / "seed0" / CLIPS[0] / "frames", view, 4, 48)
    np.testing.assert_array_equal(mine.rgb, theirs.rgb[::2])


def test_another_alignment_moves_the_geometry(results, base, tmp_path):
    entry = {"published": "CD", "id": None, "likely": "chamfer", "options": {"samples": 4000}}
    one = replace(base, data=base.data | {"clips": base.data["clips"][:1]})
    data = protocol(metrics=[entry], applied={"geometry_alignment": "icp-frame0"})
    (ask,) = apply(data, ATLAS, one, METRICS).asks
    assert ask.options == {"samples": 4000} and ask.group is None
    ((_, rows),) = Scorer(find_run(one, results, ["far"]), tmp_path, {}, print).score([ask]).items()
    workflow = read_rows(results / "scores.parquet", ROW).set_index(["method", "metric", "clip"])["value"]
    assert rows["value"].item() < 0.3 * workflow["far", "chamfer", CLIPS[0]]  # moved by 0.1 along each axis, and back


def test_what_is_open_is_said_and_is_the_benchmarks_own(base):
    applied = apply(protocol(), ATLAS, base, METRICS)
    assert not applied.stated and len(applied.open) == 8
    (setting,) = applied.asks[0].settings
    assert setting.benchmark.data["rig"] == base.data["rig"] and setting.benchmark.data["size"] == base.data["size"]
    assert [v for v in base.data["views"] if v["group"] == "novel"] == setting.benchmark.data["views"]
    mine = [ask for ask in own(base, METRICS, ATLAS).asks if (ask.published, ask.group) == ("PSNR", "novel")]
    assert mine[0].key == applied.asks[0].key  # one column, scored once
    stated = apply(ATLAS["consistent4d-v2"], ATLAS, base, METRICS)
    assert len(stated.stated) == 7 and len(stated.open) == 1  # the alignment alone


# What cannot be had.


def test_every_protocol_applies_or_says_why_not_and_none_is_lost(base):
    applied = [apply(data, ATLAS, base, METRICS) for data in ATLAS.values()]
    assert [a.id for a in applied] == list(ATLAS)
    refused = {a.id: a.refused for a in applied if a.refused}
    assert set(refused) == {"diffusion4d", "in-2-4d", "v2m4"}
    assert "32 frames are dropped" in refused["v2m4"]
    for a, data in zip(applied, ATLAS.values(), strict=True):
        published = {entry["published"] for entry in data["metrics"]}
        assert a.refused or {ask.published for ask in a.asks} == published
        assert all(ask.metric is None or ask.settings for ask in a.asks)


def test_films_of_another_length_are_refused_and_pictures_are_not(base):
    asks = {ask.published: ask for ask in apply(ATLAS["sv4d-consistent4d"], ATLAS, base, METRICS).asks}
    assert asks["FVD-F"].metric is None and "films of 4 frames, not of 21" in asks["FVD-F"].reason
    assert asks["LPIPS"].metric is METRICS["lpips-vgg"] and not asks["LPIPS"].is_known
    assert asks["time"].reason == "a cost of the run"


def test_metrics_without_weights_are_empty_with_the_reason(results, base, tmp_path):
    applied = apply(ATLAS["l4gm"], ATLAS, base, METRICS)
    asks = [ask for ask in applied.asks if ask.metric]
    weights = weights_here([ask.metric for ask in asks], *nothing_here(tmp_path))
    found = Scorer(find_run(base, results), tmp_path / "rows", weights, print).score(asks)
    atlas = make_atlas([applied], ["near", "far"], found)
    assert not any(family.columns for family in atlas.families)
    assert "bench4d weights fetch" in atlas.unscored["l4gm"] and "l4gm: not scored: " in to_text(atlas)


def nothing_here(folder: Path):
    from bench4d.weights import Locations, read_catalogue

    return read_catalogue(), Locations(None, folder / "no-weights")


def test_images_are_shown_from_their_own_cameras_alone(results, base):
    images = Method("painter", results, {"kind": "generator", "output": "views"})
    run = find_run(base, results)
    elsewhere = apply(ATLAS["l4gm"], ATLAS, base, METRICS).asks[0].settings[0]
    at_home = apply(protocol(), ATLAS, base, METRICS).asks[0].settings[0]
    assert "the method makes images" in obstacle(run, elsewhere, images)
    assert obstacle(run, at_home, images) == "" == obstacle(run, elsewhere, run.outputs[0][0])
    flat = replace(run, base=replace(base, data=base.data | {"geometry": False}))
    assert "the truth is images" in obstacle(flat, elsewhere, run.outputs[0][0])


def test_a_failed_clip_is_out_of_the_mean_or_an_error_as_the_protocol_says(results, base, tmp_path):
    broken = tmp_path / "results"
    shutil.copytree(results, broken)
    place = broken / "near" / "seed0" / CLIPS[0]
    failed = {"status": "failed", "reason": "boom", "asset_sha256": "", "matrix": None}
    write_json(place / "aligned.json", read_json(place / "aligned.json") | failed)
    lenient = apply(protocol(), ATLAS, base, METRICS)
    strict = apply(protocol(id="strict", applied={"failures": "error"}), ATLAS, base, METRICS)
    atlas = make_atlas([lenient, strict], ["near", "far"], score(broken, base, tmp_path / "rows", lenient, strict))
    first, second = atlas.families[0].columns
    assert (first.cells["near"].covered, first.cells["near"].total) == (1, 2)
    assert second.cells["near"].reason == FAILED and second.cells["far"].value == first.cells["far"].value
    assert "(1/2)" in to_text(atlas) and f"strict PSNR: near: {FAILED}" in to_text(atlas)


def test_outputs_that_are_not_there_are_an_error(results, base, tmp_path):
    with pytest.raises(FormatError, match="nobody"):
        find_run(base, results, ["nobody"])
    with pytest.raises(FormatError, match="outputs of"):
        find_run(base, tmp_path)
    with pytest.raises(FormatError, match="changed since"):
        find_run(replace(base, data=base.data | {"n_frames": 3}), results)
    bare = tmp_path / "bare"
    shutil.copytree(results, bare)
    shutil.rmtree(bare / "near" / "seed0" / CLIPS[0] / "asset")
    with pytest.raises(FormatError, match="keep: all"):
        score(bare, base, tmp_path / "rows", apply(protocol(image=image(size=64)), ATLAS, base, METRICS))


def test_applied_must_name_a_protocol(base):
    with pytest.raises(FormatError, match="cameras_of"):
        apply(protocol(applied={"cameras_of": "nobody"}), ATLAS, base, METRICS)


# Tables.


def psnr_rows(value: float) -> pd.DataFrame:
    row = dict.fromkeys(ROW, "x") | {"benchmark_version": 1, "seed": 0, "metric_version": 1, "n_frames": 4}
    return frame_of([row | {"metric": "psnr", "status": "ok", "reason": "", "value": value}], ROW)


def hand_made(base, *columns: dict[str, float]):
    """An atlas of one family with these values, each a protocol of its own."""
    protocols, found = [], {}
    for k, values in enumerate(columns):
        data = protocol(id=f"p{k}", image=image(size=32 + 16 * k))
        applied = apply(data, ATLAS, base, METRICS)
        protocols.append(applied)
        (ask,) = applied.asks
        for name, value in values.items():
            found[ask.settings[0].key, Want.of(ask).key, name] = psnr_rows(value)
    return make_atlas(protocols, list(columns[0]), found)


def test_spread_and_order(base):
    atlas = hand_made(base, {"a": 10.0, "b": 12.0}, {"a": 25.0, "b": 24.0}, {"a": 5.0, "b": 5.0})
    (family,) = atlas.families
    spread = family.spread("a")
    assert (spread.low, spread.high, spread.difference, spread.ratio) == (5.0, 25.0, 20.0, 5.0)
    assert family.orders == {("b", "a"): (0,), ("a", "b"): (1,), ("a", "=b"): (2,)}
    text = to_text(atlas)
    assert "The order of the methods changes: b, a in [1]; a, b in [2]; a, =b in [3]." in text
    assert "the same in all columns: b, a." in to_text(hand_made(base, {"a": 1.0, "b": 2.0}, {"a": 2.0, "b": 9.0}))
    assert "| a | 10.00 | 25.00 | 5.00 | 20.00 | 5.00 |" in to_markdown(atlas)
    first, *others = family.columns
    mixed = replace(family, columns=(replace(first, asks=(replace(first.asks[0], group="input"),)), *others))
    assert mixed.spread("a") == spread and mixed.spread("a", "novel") == Spread(5.0, 25.0)
    assert mixed.spread("b", "novel") == Spread(5.0, 24.0) and mixed.spread("b", "input") is None
    assert any("novel views alone: a 20.00 (5.00), b 19.00 (4.80)." in line for line in legend(mixed))
    lines = to_csv(family).splitlines()
    assert lines[0] == "method,p0:PSNR,p1:PSNR,p2:PSNR,min,max,difference,ratio"
    assert lines[2] == "a,10.0,25.0,5.0,5.0,25.0,20.0,5.0"


def test_protocols_that_come_to_the_same_share_a_column(base):
    same = [apply(protocol(id=name), ATLAS, base, METRICS) for name in ("one", "two")]
    likely = [{"published": "PSNR", "id": None, "likely": "psnr", "options": {}}]
    third = apply(protocol(id="three", metrics=likely), ATLAS, base, METRICS)
    (ask,) = same[0].asks
    key = ask.settings[0].key, Want.of(ask).key, "a"
    empty = make_atlas([*same, third], ["a"], {key: "no"})
    assert empty.unscored == {"one": "no", "two": "no", "three": "no"}
    (column,) = make_atlas([*same, third], ["a"], {key: psnr_rows(1.0)}).families[0].columns
    assert column.names == ["one", "two", "three?"]


def test_metrics_that_were_not_asked_for_say_so(base):
    applied = narrowed(apply(ATLAS["align4d"], ATLAS, base, METRICS), ["psnr"], stride=2)
    reasons = {ask.published: ask.reason for ask in applied.asks}
    assert reasons["PSNR"] == "" and reasons["SSIM"] == "not asked for" and reasons["FVD"].startswith("which metric")
    wide = narrowed(apply(ATLAS["4diffusion"], ATLAS, base, METRICS), METRICS, stride=2)
    strides = {ask.published: ask.stride for ask in wide.asks if ask.metric}
    assert (strides["LPIPS"], strides["PSNR"]) == (2, 1)  # of networks alone


def test_the_command(results, base, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("bench4d.benchmark.find_benchmark", {"tiny": base}.__getitem__)
    arguments = ["atlas", str(results), "--metrics", "psnr", "--protocols", "sc4d,mesh4d-views,v2m4"]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    assert "PSNR ↑" in said.out and "v2m4: not scored: clips of fewer than 32 frames are dropped" in said.out
    assert (tmp_path / "out" / "atlas.txt").read_text("utf-8") == said.out
    table = pd.read_csv(tmp_path / "out" / "psnr.csv", index_col=0)
    workflow = read_rows(results / "scores.parquet", ROW)
    novel = workflow[(workflow["method"] == "near") & (workflow["metric"] == "psnr") & (workflow["view"] != "input")]
    assert float(table.loc["near", "tiny:PSNR"]) == pytest.approx(
        novel.groupby("clip")["value"].mean().mean(), abs=1e-12
    )
    assert float(table.loc["near", "mesh4d-views:PSNR"]) == float(table.loc["near", "tiny:PSNR"])
    assert main([*arguments, "--out", str(tmp_path / "again")]) == 0
    assert "score " not in capsys.readouterr().err
    assert main(["atlas", str(results), "--protocols", "nobody"]) == 2
    assert main(["atlas", str(tmp_path / "none")]) == 2
    assert main(["atlas", str(results), "--stride", "0"]) == 2
