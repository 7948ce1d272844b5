"""The command line: every command on real files, errors in words, scores against closed forms."""

import dataclasses
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from bench4d.asset_io import read_asset, write_asset
from bench4d.benchmark import Benchmark
from bench4d.cli import COMMANDS, main
from bench4d.files import read_png_sequence, sha256_folder, write_png_sequence
from bench4d.glb import write_glb
from bench4d.method import ROOT, method_folders
from bench4d.ply import write_mesh
from bench4d.scoring_folder import make_truth
from bench4d.video import write_video
from metrics import METRICS

CLIPS = ("pudding-1000004", "ball-1000013")
TINY = {
    "id": "tiny",
    "title": "tiny",
    "clips": [{"id": clip} for clip in CLIPS],
    "n_frames": 3,
    "size": 48,
    "metrics": [{"id": m, "stride": 1} for m in ("psnr", "psnr-masked", "silhouette-iou", "jitter", "chamfer", "time")],
    "table": [{"metric": "psnr", "views": "novel"}, {"metric": "psnr-masked", "views": "novel"}, {"metric": "chamfer"}],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Benchmark, Path]:
    """A benchmark of two clips, three frames and two views, and a folder with its clips and truth."""
    folder, work = tmp_path_factory.mktemp("tiny"), tmp_path_factory.mktemp("work")
    protocol = yaml.safe_load((ROOT / "benchmarks/synth4d/protocol.yaml").read_text()) | TINY
    protocol["views"] = protocol["views"][:2]
    (folder / "protocol.yaml").write_text(yaml.safe_dump(protocol))
    (folder / "build.py").symlink_to(ROOT / "benchmarks/synth4d/build.py")
    benchmark = Benchmark.read(folder / "protocol.yaml")
    make_truth(benchmark, work, lambda clip: None)
    return benchmark, work


@pytest.fixture
def tiny(made, monkeypatch) -> tuple[Benchmark, Path]:
    """The same, as `--benchmark tiny`."""
    monkeypatch.setattr("bench4d.benchmark.find_benchmark", {"tiny": made[0]}.__getitem__)
    return made


def score(folder: Path, work: Path, out: Path, *more: str) -> pd.DataFrame:
    """`bench4d score folder --benchmark tiny`; its rows."""
    arguments = ["score", str(folder), "--benchmark", "tiny", "--work", str(work), "--out", str(out), *more]
    assert main(arguments) == 0
    return pd.read_parquet(out / "scores.parquet").set_index(["clip", "metric"]).sort_index()


# The program.


def test_help_answers_at_once_and_both_ways_of_starting_agree(tmp_path):
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "bench4d", "--help"]
    took, said = [], ""
    for _ in range(5):
        began = time.perf_counter()
        said = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        took.append(time.perf_counter() - began)
    assert min(took) < 0.3, took
    assert all(module.NAME in said for module in COMMANDS)
    script = "import sys; from bench4d.cli import main; main(['list', 'metrics']); print(sorted(sys.modules))"
    listed = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert "lpips-vgg" in listed.stdout and "'torch'" not in listed.stdout and "'numba'" in listed.stdout


def test_the_script_that_install_writes_starts_from_anywhere(tmp_path):
    """tools/install.py's template, in a folder that stands for .venv/bin of a checkout."""
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import install
    finally:
        sys.path.pop(0)
    place = tmp_path / "checkout" / ".venv" / "bin"
    place.mkdir(parents=True)
    for name in ("bench4d", "weights.yaml"):
        (tmp_path / "checkout" / name).symlink_to(ROOT / name)
    (place / "bench4d").write_text(install.COMMAND.format(python=sys.executable))
    run = [sys.executable, str(place / "bench4d"), "--version"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    said = subprocess.run(run, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert said.startswith("bench4d 0")


@pytest.mark.parametrize("module", COMMANDS, ids=lambda module: module.NAME)
def test_every_help_teaches_with_an_example(module, capsys):
    with pytest.raises(SystemExit) as stop:
        main([module.NAME, "--help"])
    assert stop.value.code == 0 and f"  bench4d {module.NAME}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["explain", "lpips"], "lpips-vgg, lpips-alex"),
        (["explain", "chamfre"], "Try `bench4d explain chamfer`"),
        (["check", "nobody"], "bench4d list methods"),
        (["table", "/nowhere"], "snakemake --cores all"),
        (["score", "/nowhere", "--benchmark", "synth4d"], "a folder with one folder a clip"),
        (["score", "/nowhere", "--benchmark", "synth5d"], "synth4d-test"),
        (["score", "/nowhere", "--truth", "/nowhere"], "/nowhere"),
        (["score", str(ROOT / "docs"), "--benchmark", "synth4d"], "walker-1000000"),
        (["score", str(ROOT), "--name", "inflate", "--benchmark", "synth4d"], "Give --name"),
        (["weights", "fetch", "vgg"], "vgg16-features"),
        (["new-method", "A b"], "a small letter"),
    ],
)
def test_errors_are_one_message_with_what_to_do_next(arguments, expected, capsys):
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"bench4d {arguments[0]}: ") and said.count("\n") == 1 and expected in said
    assert "expected" in said and "found" in said and "Traceback" not in said


# What is here.


def test_list_names_every_file_that_is_here(capsys):
    assert main(["list"]) == 0
    said = capsys.readouterr().out
    words = {line.split()[0] for line in said.splitlines()}
    protocols = {"synth4d", "synth4d-test", "synth4d-long60", "synth4d-spoilt"}
    protocols |= {"synth4d-test-small", "synth4d-spoilt-small"}
    assert {*method_folders(), *METRICS, *protocols, *yaml.safe_load((ROOT / "weights.yaml").read_text())} <= words


@pytest.mark.parametrize("name", METRICS)
def test_explain_prints_the_record_and_the_page(name, capsys):
    assert main(["explain", name]) == 0
    said, metric = capsys.readouterr().out, METRICS[name]
    assert f"{name}, version {metric.version}" in said and metric.definition in said and metric.reference in said
    page = ROOT / "docs/metrics" / f"{name}.md"
    assert not page.is_file() or page.read_text().strip() in said
    catalogue = yaml.safe_load((ROOT / "weights.yaml").read_text())
    assert all(f"{id}, sha256 {catalogue[id]['sha256']}" in said for id in metric.weights)


def test_weights_verify_tells_here_from_absent_and_from_wrong(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BENCH4D_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "u2netp.onnx").write_bytes(b"not that file")
    assert main(["weights", "verify", "vgg16-features"]) == 0
    assert "– vgg16-features: not here. `bench4d weights fetch vgg16-features`" in capsys.readouterr().out
    assert main(["weights", "verify"]) == 1
    assert "✗ u2netp" in (said := capsys.readouterr().out) and "✓" not in said
    assert main(["weights", "list", "u2netp"]) == 0
    assert "ONNX" in capsys.readouterr().out


def test_check_prints_the_list_and_its_exit_status(tmp_path, capsys):
    shutil.copytree(method_folders()["billboard"], tmp_path / "mine")
    assert main(["check", str(tmp_path / "mine")]) == 0
    assert capsys.readouterr().out.count("✓") == 15  # 14 checks and the sum
    (tmp_path / "mine/README.md").write_text("short")
    text = (tmp_path / "mine/method.yaml").read_text()
    (tmp_path / "mine/method.yaml").write_text(text.replace("code: null", "code: none"))
    assert main(["check", str(tmp_path / "mine")]) == 1
    said = capsys.readouterr().out
    assert "✗ method.yaml satisfies the schema" in said and "✗ README.md" in said
    assert "– runs on the smallest clip: skipped: method.yaml has to be put right first" in said


# A folder against a benchmark.


def test_the_truth_as_assets_is_perfect_and_a_missing_clip_has_failed(tiny, tmp_path, capsys):
    _, work = tiny
    shutil.copytree(work / "truth" / CLIPS[0] / "asset", tmp_path / "in" / CLIPS[0] / "asset")
    before = sha256_folder(tmp_path / "in")
    rows = score(tmp_path / "in", work, tmp_path / "out", "--name", "mine", "--trained-on", "synth4d-test")
    good = rows.loc[CLIPS[0]]
    for metric, value in (("psnr", 100), ("psnr-masked", 100), ("silhouette-iou", 1), ("jitter", 0), ("chamfer", 0)):
        assert (good.loc[[metric], "value"] == value).all(), metric
    assert set(good.loc[["time"], "status"]) == {"not-run"}
    assert (
        set(rows.loc[CLIPS[1], "status"]) == {"failed"}
        and f"a folder {CLIPS[1]}" in rows.loc[CLIPS[1], "reason"].iloc[0]
    )
    said = capsys.readouterr().out
    assert "100.0 (1/2)" in said and f"Failed: mine, seed 0, {CLIPS[1]}" in said and "No other rows" in said
    assert sha256_folder(tmp_path / "in") == before
    assert {"table.csv", "table.html", "frames.parquet"} <= {p.name for p in (tmp_path / "out").iterdir()}
    assert "synth4d-test" in (tmp_path / "out/table.md").read_text()  # contamination, as the submitter says
    assert not (tmp_path / "out/comparisons.csv").exists()  # one row alone
    # `table` makes the same from the rows alone, and other columns on request.
    assert main(["table", str(tmp_path / "out"), "--format", "csv"]) == 0
    assert capsys.readouterr().out == (tmp_path / "out/table.csv").read_text()
    assert main(["table", str(tmp_path / "out"), "--metrics", "jitter,chamfer", "--format", "md"]) == 0
    assert "jitter" in (said := capsys.readouterr().out) and "psnr" not in said
    assert main(["table", str(tmp_path / "out"), "--metrics", "ssim"]) == 2  # the protocol does not score it


def test_rows_of_an_earlier_run_stand_beside_the_folders_own(tiny, tmp_path, capsys):
    _, work = tiny
    both = [shutil.copytree(work / "truth" / clip / "asset", tmp_path / "in" / clip / "asset") for clip in CLIPS]
    rows = score(tmp_path / "in", work, tmp_path / "first", "--name", "mine").reset_index()
    shutil.copytree(work, tmp_path / "work")
    rows["method"], rows.loc[rows["metric"] == "psnr", "value"] = "billboard", 90
    rows[pd.read_parquet(tmp_path / "first/scores.parquet").columns].to_parquet(tmp_path / "work/scores.parquet")
    capsys.readouterr()
    shutil.rmtree(both[0].parent)
    score(tmp_path / "in", tmp_path / "work", tmp_path / "out", "--name", "other")
    said = capsys.readouterr().out
    assert "\nbillboard" in said and "\nother" in said and "No other rows" not in said
    compared = pd.read_csv(tmp_path / "out/comparisons.csv").set_index("metric")
    assert set(compared["method_a"] + " " + compared["method_b"]) == {"billboard other"} and set(compared["n"]) == {2}
    assert compared.loc["psnr", "difference"] == -5  # 90 against 100, and where the other has failed the worst of any
    assert main(["table", str(tmp_path / "out"), "--comparisons"]) == 0
    assert capsys.readouterr().out == (tmp_path / "out/comparisons.csv").read_text()
    # A name that stands there already (of a method that is gone, or of another repository) would mix two rows.
    rows["method"] = "gone"
    rows[pd.read_parquet(tmp_path / "first/scores.parquet").columns].to_parquet(tmp_path / "work/scores.parquet")
    again = ["score", str(tmp_path / "in"), "--benchmark", "tiny", "--work", str(tmp_path / "work")]
    assert main([*again, "--out", str(tmp_path / "new"), "--name", "gone"]) == 2
    assert "Give another --name" in capsys.readouterr().err and not (tmp_path / "new").exists()
    # Rows of another protocol are left out, and that is said.
    rows["protocol"] = "0" * 64
    rows[pd.read_parquet(tmp_path / "first/scores.parquet").columns].to_parquet(tmp_path / "work/scores.parquet")
    score(tmp_path / "in", tmp_path / "work", tmp_path / "out", "--name", "other")
    assert "\nbillboard" not in (said := capsys.readouterr().out) and "another version of the protocol" in said
    assert not (tmp_path / "out/comparisons.csv").exists()


def test_sequences_of_glb_and_ply_files_are_scored_in_the_benchmarks_world(tiny, tmp_path, capsys):
    _, work = tiny
    for clip, inner, suffix, write in ((CLIPS[0], "", "glb", write_glb), (CLIPS[1], "meshes", "ply", write_mesh)):
        asset, folder = read_asset(work / "truth" / clip / "asset"), tmp_path / "in" / clip / inner
        folder.mkdir(parents=True)
        for k, mesh in enumerate(asset.frames):
            write(folder / f"{k}.{suffix}", mesh)
    rows = score(tmp_path / "in", work, tmp_path / "out")
    said = capsys.readouterr().err
    assert "taken for geometry, CLIP/0000.glb|.obj|.ply ... or CLIP/faces.npy with frame_*.npy: 2 clips in" in said
    assert set(rows.loc[(slice(None), "chamfer"), "status"]) == {"ok"}
    assert rows.loc[(slice(None), "chamfer"), "value"].max() < 0.02
    assert rows.loc[(slice(None), "psnr"), "value"].min() > 45


def truth_frames(work: Path, clip: str, view: str) -> tuple[np.ndarray, np.ndarray]:
    folder = work / "truth" / clip / "frames" / view
    return read_png_sequence(folder / "rgb", 3, 3), read_png_sequence(folder / "alpha", 3, 1)


def test_renders_with_alpha_and_without(tiny, tmp_path):
    benchmark, work = tiny
    for view in benchmark.views:
        rgb, alpha = truth_frames(work, CLIPS[0], view)
        write_png_sequence(tmp_path / "in" / CLIPS[0] / view / "rgb", rgb)
        write_png_sequence(tmp_path / "in" / CLIPS[0] / view / "alpha", alpha)
        write_png_sequence(tmp_path / "in" / CLIPS[1] / view, np.zeros((3, 48, 48, 3), np.uint8))  # black, no alpha
    rows = score(tmp_path / "in", work, tmp_path / "out")
    exact = rows.loc[CLIPS[0]]
    assert (exact.loc[["psnr", "psnr-masked"], "value"] == 100).all() and (
        exact.loc[["silhouette-iou"], "value"] == 1
    ).all()
    assert exact.loc[["chamfer"], "reason"].iloc[0] == "the method makes images, not geometry"
    black = rows.loc[CLIPS[1]]
    for view, value in black.loc[["psnr"]].set_index("view")["value"].items():
        squares = (truth_frames(work, CLIPS[1], view)[0].astype(float) ** 2).mean((1, 2, 3))
        assert value == pytest.approx((10 * np.log10(255**2 / squares)).mean(), abs=1e-9)
    for metric in ("psnr-masked", "silhouette-iou", "jitter"):
        assert set(black.loc[[metric], "status"]) == {"not-run"} and "no alpha" in black.loc[[metric], "reason"].iloc[0]
    frames = pd.read_parquet(tmp_path / "out/frames.parquet")
    assert not ((frames["clip"] == CLIPS[1]) & (frames["metric"] == "jitter")).any()


def test_straight_rgba_is_composited_as_the_renderer_does(tiny, tmp_path):
    """A half-covered grey: straight colour c and alpha a on white give c a + 255 (1 - a)."""
    benchmark, work = tiny
    for view in benchmark.views:
        image = np.tile(np.uint8([40, 80, 120, 128]), (3, 48, 48, 1))
        image[:, 0] = 0
        write_png_sequence(tmp_path / "in" / CLIPS[0] / view, image)
    score(tmp_path / "in", work, tmp_path / "out")
    rgb = read_png_sequence(tmp_path / "out" / CLIPS[0] / "frames/az075/rgb", 3, 3)
    a = 128 / 255
    assert (rgb[:, 1:] == np.rint(np.array([40, 80, 120]) * a + 255 * (1 - a))).all() and (rgb[:, 0] == 255).all()


def test_films_are_read_and_wrong_sizes_counts_and_gaps_cost_their_clip(tiny, tmp_path):
    benchmark, work = tiny
    for view in benchmark.views:
        write_video(tmp_path / "in" / CLIPS[0] / f"{view}.mp4", truth_frames(work, CLIPS[0], view)[0], 8)
        write_png_sequence(tmp_path / "in" / CLIPS[1] / view, np.zeros((3, 40, 48, 3), np.uint8))
    rows = score(tmp_path / "in", work, tmp_path / "out", "--metrics", "psnr")
    assert rows.loc[(CLIPS[0], "psnr"), "value"].min() > 25 and set(rows.loc[CLIPS[0], "status"]) == {"ok"}
    assert "3 frames of 48 x 48; found 3 of 48 x 40" in rows.loc[CLIPS[1], "reason"].iloc[0]
    write_png_sequence(tmp_path / "in" / CLIPS[1] / "input", np.zeros((3, 48, 48, 3), np.uint8))
    shutil.rmtree(tmp_path / "in" / CLIPS[1] / "az075")
    rows = score(tmp_path / "in", work, tmp_path / "out", "--metrics", "psnr")
    assert "az075" in rows.loc[CLIPS[1], "reason"].iloc[0]
    shutil.copytree(tmp_path / "in" / CLIPS[1] / "input", tmp_path / "in" / CLIPS[0] / "az075")
    rows = score(tmp_path / "in", work, tmp_path / "out", "--metrics", "psnr")
    assert "one source of its images" in rows.loc[CLIPS[0], "reason"].iloc[0]  # a film and a folder: which?


def test_a_folder_with_other_files_is_never_overwritten(tiny, tmp_path, capsys):
    _, work = tiny
    shutil.copytree(work / "truth" / CLIPS[0] / "asset", tmp_path / "in" / CLIPS[0] / "asset")
    (tmp_path / "out" / CLIPS[0]).mkdir(parents=True)
    (tmp_path / "out" / CLIPS[0] / "thesis.tex").write_text("precious")
    arguments = ["score", str(tmp_path / "in"), "--benchmark", "tiny", "--work", str(work), "--out"]
    assert main([*arguments, str(tmp_path / "out")]) == 2 and "Give --out" in capsys.readouterr().err
    assert (tmp_path / "out" / CLIPS[0] / "thesis.tex").read_text() == "precious"


def test_truth_that_is_damaged_is_made_anew_and_truth_of_another_renderer_is_refused(made, tmp_path, monkeypatch):
    benchmark, work = made
    shutil.copytree(work, tmp_path / "work")
    (tmp_path / "work/truth" / CLIPS[1] / "asset/asset.json").write_text("{}")
    told: list[str] = []
    make_truth(benchmark, tmp_path / "work", told.append)
    assert told == [CLIPS[1]] and sha256_folder(tmp_path / "work") == sha256_folder(work)
    with pytest.raises(ValueError, match="Give --renderer"):
        make_truth(benchmark, tmp_path / "work", told.append, renderer="cuda")


# A folder against a folder.


def pairs(mine: Path, truth: Path, out: Path, *more: str) -> pd.DataFrame:
    assert main(["score", str(mine), "--truth", str(truth), "--out", str(out), *more]) == 0
    return pd.read_parquet(out / "scores.parquet").set_index(["path", "metric"])


def test_pairs_are_matched_by_path_and_means_count_what_is_missing(tmp_path, capsys):
    grey = np.full((3, 32, 32, 3), 100, np.uint8)
    for side, level in (("mine", 110), ("true", 100)):
        write_png_sequence(tmp_path / side / "a/left", np.full_like(grey, level))
        write_png_sequence(tmp_path / side / "b", grey)
    write_png_sequence(tmp_path / "true/c", grey)
    write_png_sequence(tmp_path / "true/d", grey)
    write_png_sequence(tmp_path / "mine/d", grey[:2])
    write_png_sequence(tmp_path / "mine/extra", grey)
    rows = pairs(tmp_path / "mine", tmp_path / "true", tmp_path / "out", "--metrics", "psnr,psnr-masked")
    assert rows.loc[("a/left", "psnr"), "value"] == pytest.approx(10 * np.log10(255**2 / 100), abs=1e-9)
    assert rows.loc[("b", "psnr"), "value"] == 100
    assert rows.loc[("c", "psnr"), "status"] == "failed" and "an item c" in rows.loc[("c", "psnr"), "reason"]
    assert "3 frames of 32 x 32" in rows.loc[("d", "psnr"), "reason"]
    assert rows.loc[("b", "psnr-masked"), "status"] == "not-run"
    said = capsys.readouterr().out
    assert "64.07 (2/4)" in said and "extra" in said
    line = (tmp_path / "out/scores.csv").read_text().splitlines()[-1].split(",")
    assert line[0] == "(mean)" and float(line[1]) == pytest.approx((100 + 10 * np.log10(255**2 / 100)) / 2)


def test_alpha_counts_where_both_have_it_and_background_is_where_there_is_none(tmp_path):
    image = np.zeros((3, 32, 32, 4), np.uint8)
    image[:, 8:24, 8:24] = (200, 100, 50, 255)
    moved = np.roll(image, 4, axis=2)
    write_png_sequence(tmp_path / "true/x", image)
    write_png_sequence(tmp_path / "mine/x", moved)
    rows = pairs(tmp_path / "mine", tmp_path / "true", tmp_path / "out", "--metrics", "silhouette-iou,psnr")
    assert rows.loc[("x", "silhouette-iou"), "value"] == pytest.approx(12 / 20)
    for name, level in (("white", 255), ("black", 0)):
        more = ("--metrics", "psnr", "--background", name)
        rows = pairs(tmp_path / "mine", tmp_path / "true", tmp_path / "out", *more)
        error = 2 * 4 * 16 * np.square(np.float64([200, 100, 50]) - level).sum() / (32 * 32 * 3)
        assert rows.loc[("x", "psnr"), "value"] == pytest.approx(10 * np.log10(255**2 / error), abs=1e-9)


def test_moving_objects_are_rendered_and_measured(made, tmp_path):
    _, work = made
    asset = read_asset(work / "truth" / CLIPS[0] / "asset")
    shifted = [dataclasses.replace(m, vertices=m.vertices + np.float32([0.1, 0, 0])) for m in asset.frames]
    for side, frames in (("mine", shifted), ("true", list(asset.frames))):
        write_asset(dataclasses.replace(asset, frames=frames), tmp_path / side / "thing")
        write_asset(asset, tmp_path / side / "same/asset")
    rows = pairs(tmp_path / "mine", tmp_path / "true", tmp_path / "out", "--metrics", "psnr,chamfer,silhouette-iou")
    same, moved = rows.loc["same/asset", "value"], rows.loc["thing", "value"]
    assert same.to_dict() == {"psnr": 100, "chamfer": 0, "silhouette-iou": 1}
    assert moved["psnr"] < 30 and 0.5 < moved["silhouette-iou"] < 0.95 and 0.01 < moved["chamfer"] <= 0.1
    assert main(["score", str(tmp_path / "mine"), "--truth", str(tmp_path / "true"), "--metrics", "time"]) == 2
