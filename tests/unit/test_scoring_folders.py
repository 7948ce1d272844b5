"""`bench4d score` with metrics of features and of sets: a folder against a benchmark, and two folders."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import yaml

from bench4d.benchmark import Benchmark
from bench4d.cli import main
from bench4d.files import read_png_sequence, write_png_sequence
from bench4d.method import ROOT
from bench4d.scoring_folder import with_columns
from bench4d.scoring_pairs import SET
from metrics import METRICS
from tests.fake_features import Counter, differences, film_feature, metric, picture_feature
from tests.toy_scoring import by_hand

CLIPS = ("pudding-1000004", "ball-1000013")
SIZE, FRAMES = 24, 2


@pytest.fixture
def counter(monkeypatch) -> Counter:
    """Three more metrics in METRICS, whose networks count."""
    counter = Counter()
    pictures, films = picture_feature(counter), film_feature(counter)
    for record in (
        metric("toy", pictures),
        metric("toy-set", pictures, "set"),
        metric("toy-films", films, "set", "view"),
    ):
        monkeypatch.setitem(METRICS, record.id, record)
    monkeypatch.setitem(METRICS, "toy-prompt", metric("toy-prompt", pictures, against="prompt"))
    return counter


def noise(seed: int, frames: int = FRAMES) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, SIZE, SIZE, 3), np.uint8)


@pytest.fixture
def bench(tmp_path, counter, monkeypatch) -> Benchmark:
    """Two clips and two views, as `--benchmark tiny`."""
    protocol = yaml.safe_load((ROOT / "benchmarks/synth4d/protocol.yaml").read_text())
    protocol |= {"id": "tiny", "clips": [{"id": clip} for clip in CLIPS], "n_frames": FRAMES, "size": SIZE}
    ids = ("psnr", "toy", "toy-set", "toy-films")
    protocol |= {"metrics": [{"id": id, "stride": 1} for id in ids], "views": protocol["views"][:2]}
    protocol["table"] = [{"metric": id, "views": "novel"} for id in ids]
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny/protocol.yaml").write_text(yaml.safe_dump(protocol))
    (tmp_path / "tiny/build.py").symlink_to(ROOT / "benchmarks/synth4d/build.py")
    benchmark = Benchmark.read(tmp_path / "tiny/protocol.yaml")
    monkeypatch.setattr("bench4d.benchmark.find_benchmark", {"tiny": benchmark}.__getitem__)
    return benchmark


def test_a_folder_against_a_benchmark(bench, tmp_path, capsys):
    for v, view in enumerate(bench.views):
        write_png_sequence(tmp_path / "in" / CLIPS[0] / view, noise(v))
    arguments = [
        "score",
        str(tmp_path / "in"),
        "--benchmark",
        "tiny",
        "--work",
        str(tmp_path / "work"),
        "--name",
        "mine",
    ]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    rows = pd.read_parquet(tmp_path / "out/scores.parquet")
    sets = rows[rows["clip"] == ""].set_index(["metric", "view"])
    assert sorted(sets.index) == [(m, g) for m in ("toy-films", "toy-set") for g in ("input", "novel")]
    assert sets.loc[("toy-films", "novel"), "reason"] == f"1 of 2 films are bare background: {CLIPS[1]}"
    assert sets.loc[("toy-set", "novel"), "n_frames"] == 2 * FRAMES
    one = rows.set_index(["metric", "clip", "view"]).loc[("toy", CLIPS[0], bench.views[1])]
    true = read_png_sequence(tmp_path / "work/truth" / CLIPS[0] / "frames" / bench.views[1] / "rgb", FRAMES, 3)
    assert one["value"] == pytest.approx(differences(by_hand(noise(1)), by_hand(true)).mean(), rel=1e-6)
    assert "toy-set" in said and "toy-films" in said and list((tmp_path / "work/features").iterdir())
    # Chosen columns: metrics of features have one for each group of views.
    chosen = with_columns(bench, ["toy-set", "toy"], METRICS)
    groups = [(c["metric"], c["views"]) for c in chosen.data["table"]]
    assert groups == [(m, g) for g in ("novel", "input") for m in ("toy-set", "toy")]


def test_half_precision_is_said_in_the_rows(bench, tmp_path, capsys):
    for v, view in enumerate(bench.views):
        write_png_sequence(tmp_path / "in" / CLIPS[0] / view, noise(v))
    arguments = [
        "score",
        str(tmp_path / "in"),
        "--benchmark",
        "tiny",
        "--work",
        str(tmp_path / "work"),
        "--name",
        "mine",
    ]
    assert main([*arguments, "--out", str(tmp_path / "out"), "--precision", "half"]) == 0
    rows = pd.read_parquet(tmp_path / "out/scores.parquet").set_index("metric")
    assert rows.loc[["toy", "toy-set"], "device"].str.endswith(", half precision").all()
    assert set(rows.loc["psnr", "device"]) == {"cpu"}
    capsys.readouterr()


def test_two_folders(tmp_path, counter, capsys):
    for k, name in enumerate(("a", "b/c", "lost", "short")):
        write_png_sequence(tmp_path / "true" / name, noise(k, 3))
        if name != "lost":
            write_png_sequence(tmp_path / "mine" / name, noise(10 + k, 2 if name == "short" else 3))
    arguments = ["score", str(tmp_path / "mine"), "--truth", str(tmp_path / "true"), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--metrics", "psnr,toy,toy-set,toy-films"]) == 0
    said = capsys.readouterr().out
    rows = pd.read_parquet(tmp_path / "out/scores.parquet").set_index(["path", "metric"])
    for k, name in enumerate(("a", "b/c")):
        expected = differences(by_hand(noise(10 + k, 3)), by_hand(noise(k, 3))).mean()
        assert rows.loc[(name, "toy"), "value"] == pytest.approx(expected, rel=1e-6)
        assert rows.loc[(name, "toy"), "n_frames"] == 3
    assert rows.loc[("lost", "toy"), "status"] == "failed" and "an item lost" in rows.loc[("lost", "toy"), "reason"]
    assert "3 frames of 24 x 24" in rows.loc[("short", "psnr"), "reason"]
    white = np.full((3, SIZE, SIZE, 3), 255, np.uint8)
    mine = np.concatenate([by_hand(p) for p in (noise(10, 3), noise(11, 3), white, white)])
    true = np.concatenate([by_hand(noise(k, 3)) for k in range(4)])
    row = rows.loc[(SET, "toy-set")]
    assert row["value"] == pytest.approx(np.abs(mine.mean(0) - true.mean(0)).sum(), rel=1e-6)
    assert row["n_frames"] == 12 and row["reason"] == "6 of 12 pictures are bare background: lost, short"
    assert rows.loc[(SET, "toy-films"), "reason"] == "2 of 4 films are bare background: lost, short"
    assert "Note: toy-films: 2 of 4 films are bare background: lost, short." in said
    assert SET in said and (SET, "toy") not in rows.index and (SET, "psnr") not in rows.index
    line = (tmp_path / "out/scores.csv").read_text().splitlines()[-1].split(",")
    assert float(line[3]) == pytest.approx(row["value"])
    # Each picture once: three metrics, two networks, films of the same pictures.
    assert sum(n[0] for n in counter.batches if len(n) == 4) == 2 * 6 + 2 * 3 + 1  # two pairs, two truths, one white


def test_metrics_of_features_are_named_to_be_scored_and_prompts_cannot_be(tmp_path, counter, capsys):
    for side in ("mine", "true"):
        write_png_sequence(tmp_path / side / "a", noise(0, 3))
    arguments = ["score", str(tmp_path / "mine"), "--truth", str(tmp_path / "true"), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--metrics", "toy-prompt"]) == 2
    assert "toy-prompt" in capsys.readouterr().err
    assert main([*arguments, "--metrics", "toy"]) == 0
    assert pd.read_parquet(tmp_path / "out/scores.parquet")["value"].tolist() == [0.0]
    assert counter.inputs == 6


def test_list_and_explain_say_what_a_metric_of_features_sees(counter, capsys):
    assert main(["list", "metrics"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "toy-picture (frame)  " in lines["toy"] and "toy-film (view), set" in lines["toy-films"]
    assert main(["explain", "toy-films"]) == 0
    said = capsys.readouterr().out
    assert "toy-film, version 1: 4 numbers a film" in said and "a view's frames make one film" in said
    assert "one value a set of clips, for each group of views" in said
    assert main(["explain", "toy-prompt"]) == 0
    assert "against the clip's prompt" in capsys.readouterr().out
