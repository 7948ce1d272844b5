"""Clips without truth: what is found and cut, the protocol made for them, a folder scored, the grid of pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench4d.asset import Asset4D, Mesh
from bench4d.asset_io import read_asset, write_asset
from bench4d.benchmark import find_benchmark
from bench4d.cli import main
from bench4d.clip import Clip
from bench4d.errors import FormatError
from bench4d.files import write_json, write_png_sequence
from bench4d.frames import read_view
from bench4d.method import ROOT
from bench4d.scoring_folder import make_truth
from benchmarks.wild.__main__ import make
from benchmarks.wild.clips import SHARE, find_clips, prepared
from benchmarks.wild.grid import LABEL, grid, shots

COUNT, SIZE, CELL = 3, 64, 32


def pictures(count: int = 5, height: int = 60, width: int = 90, step: int = 4) -> np.ndarray:
    """A block of 20 rows and 10 columns, orange above and blue below, that moves to the right: RGBA."""
    frames = np.zeros((count, height, width, 4), np.uint8)
    for k in range(count):
        frames[k, 20:30, 10 + step * k : 20 + step * k] = (240, 130, 20, 255)
        frames[k, 30:40, 10 + step * k : 20 + step * k] = (20, 60, 220, 255)
    return frames


@pytest.fixture
def folder(tmp_path) -> Path:
    write_png_sequence(tmp_path / "clips/walk", pictures())
    write_png_sequence(tmp_path / "clips/run", pictures(4, step=9))
    (tmp_path / "clips/notes.txt").write_text("no clip")
    return tmp_path / "clips"


@pytest.fixture
def place(tmp_path) -> Path:
    """benchmarks/wild of another checkout."""
    place = tmp_path / "checkout/benchmarks/wild"
    place.mkdir(parents=True)
    (place / "build.py").symlink_to(ROOT / "benchmarks/wild/build.py")
    return place


def test_clips_are_folders_and_films_or_the_folder_itself(folder):
    (folder / "film.webm").touch()
    assert find_clips(folder) == {name: folder / name for name in ("run", "walk")} | {"film": folder / "film.webm"}
    assert find_clips(folder / "walk") == {"walk": folder / "walk"}
    assert find_clips(folder / "film.webm") == {"film": folder / "film.webm"}
    (folder / "walk.mp4").touch()
    with pytest.raises(FormatError, match="one clip of that name"):
        find_clips(folder)
    with pytest.raises(FormatError, match="folders of pictures, or films"):
        find_clips(folder.parent)
    (folder / "walk.mp4").rename(folder / "my walk.mp4")
    with pytest.raises(FormatError, match="an id of"):
        find_clips(folder)


def test_the_square_holds_the_object_at_all_times_and_has_its_share(folder):
    """Columns 10 to 36 are covered, rows 20 to 40: the square's side is 26 / SHARE around (23, 30)."""
    frames = prepared(folder / "walk", COUNT, SIZE)
    assert frames.shape == (COUNT, SIZE, SIZE, 4)
    rows, columns = (np.flatnonzero((frames[..., 3] > 127).any(axes)) for axes in ((0, 2), (0, 1)))
    scale = SIZE * SHARE / 26  # pixels of the square for one of the film
    assert len(columns) == pytest.approx(26 * scale, abs=1.5) and len(rows) == pytest.approx(20 * scale, abs=1.5)
    assert (rows[0] + rows[-1] + 1) / 2 == pytest.approx(SIZE / 2, abs=1)
    assert (columns[0] + columns[-1] + 1) / 2 == pytest.approx(SIZE / 2, abs=1)
    for k, source in enumerate((0, 2, 4)):  # evenly spread over the five
        middle = np.flatnonzero((frames[k, ..., 3] > 127).any(0)).mean() + 0.5
        assert middle == pytest.approx(SIZE / 2 + (15 + 4 * source - 23) * scale, abs=1)
    solid = frames[0][frames[0, ..., 3] == 255][:, :3]
    ends = solid[[0, -1]].astype(int) - [[240, 130, 20], [20, 60, 220]]
    assert np.abs(ends).max() <= 1  # no dark seam from outside, and nothing brighter than the film


def test_a_clip_that_fills_its_pictures_gets_room_around_it(tmp_path):
    write_png_sequence(tmp_path / "full", np.full((2, 20, 20, 4), (9, 9, 9, 200), np.uint8))
    frames = prepared(tmp_path / "full", 2, SIZE)
    assert (frames[:, 0] == 0).all() and abs((frames[0, SIZE // 2, :, 3] > 100).sum() - SIZE * SHARE) < 2


def test_without_alpha_or_object_a_clip_is_refused(tmp_path):
    write_png_sequence(tmp_path / "opaque", pictures()[..., :3])
    with pytest.raises(FormatError, match="Cut the object out first"):
        prepared(tmp_path / "opaque", COUNT, SIZE)
    write_png_sequence(tmp_path / "empty", np.zeros((2, 20, 20, 4), np.uint8))
    with pytest.raises(FormatError, match="transparent frames"):
        prepared(tmp_path / "empty", COUNT, SIZE)


def test_the_protocol_is_found_and_other_pictures_make_another(folder, place, tmp_path):
    made = make(folder, "mine", place=place)
    found = find_benchmark("wild-mine", tmp_path / "checkout")
    assert found == made and found.clips == ["run", "walk"] and found.views == ["input"]
    assert found.data["n_frames"] == 4  # the shorter one's
    assert make(folder, "mine", place=place).protocol_sha256 == made.protocol_sha256
    write_png_sequence(folder / "walk", pictures()[::-1])
    assert make(folder, "mine", place=place).protocol_sha256 != made.protocol_sha256
    with pytest.raises(FormatError, match="--name"):
        make(folder, "../mine", place=place)
    (place / "data/mine").unlink()
    (place / "data/mine").mkdir()
    with pytest.raises(FormatError, match="a link that an earlier run made"):
        make(folder, "mine", place=place)


def test_a_folder_is_scored_on_the_input_view_alone(folder, place, tmp_path, monkeypatch, capsys):
    """The very pictures that a method saw are perfect; a still is not."""
    benchmark = make(folder, "mine", COUNT, 8.0, SIZE, place)
    monkeypatch.setattr("bench4d.benchmark.find_benchmark", {"wild-mine": benchmark}.__getitem__)
    for clip in benchmark.clips:
        frames = prepared(folder / clip, COUNT, SIZE)
        write_png_sequence(tmp_path / "in" / clip / "input", frames if clip == "walk" else frames[[0, 0, 0]])
    arguments = ["score", str(tmp_path / "in"), "--benchmark", "wild-mine", "--out", str(tmp_path / "out")]
    metrics = "psnr-masked,silhouette-iou,jitter"
    assert main([*arguments, "--work", str(tmp_path / "work"), "--metrics", metrics]) == 0
    assert "Input view" in (said := capsys.readouterr().out) and "Novel views" not in said
    rows = pd.read_parquet(tmp_path / "out/scores.parquet").set_index(["clip", "metric"])
    assert set(rows["view"]) == {"input"} and set(rows["status"]) == {"ok"}
    assert rows.loc["walk", "value"].to_dict() == {"psnr-masked": 100, "silhouette-iou": 1, "jitter": 0}
    assert rows.loc[("run", "psnr-masked"), "value"] < 60 and rows.loc[("run", "silhouette-iou"), "value"] < 0.9
    clip = Clip.read(tmp_path / "work/clips/run")
    assert clip.camera is None and clip.fps == 8
    shown = read_view(tmp_path / "work/truth/run/frames", "input", COUNT, SIZE)
    assert (shown.alpha == clip.frames[..., 3]).all()
    assert len(read_asset(tmp_path / "work/truth/run/asset").cameras) == 1


def test_the_grid_shows_the_input_and_every_method_from_all_sides(folder, place, tmp_path):
    """One method is the truth itself (images: no sides), one a mesh, one has failed."""
    benchmark = make(folder / "walk", "one", COUNT, 8.0, SIZE, place)
    results = tmp_path / "results"
    make_truth(benchmark, results, lambda clip: None)
    corners = np.float32([[x, y, z] for x in (-0.3, 0.3) for y in (-0.3, 0.3) for z in (-0.3, 0.3)])
    faces = np.int32([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1]])
    faces = np.concatenate([faces, np.int32([[2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]])])
    box = Mesh(corners, faces, np.full((8, 4), (200, 30, 30, 255), np.uint8))
    write_asset(Asset4D("mesh", np.zeros(1), [box], benchmark.cameras[0]), results / "box/seed0/walk/asset")
    (results / "truth/walk/asset").rename(results / "flat")
    (results / "views/seed0/walk").mkdir(parents=True)
    (results / "flat").rename(results / "views/seed0/walk/asset")
    for name, reason in (("box", ""), ("views", ""), ("broken", "exit status 3")):
        state = {"status": "failed" if reason else "ok", "reason": reason, "matrix": np.eye(4).tolist()}
        write_json(results / name / "seed0/walk/aligned.json", state)
    image = np.array(grid(benchmark, results, ["box", "views", "broken"], CELL))
    columns = len(shots(COUNT))
    assert image.shape == (4 * (CELL + LABEL), columns * CELL, 3)
    cells = image.reshape(4, CELL + LABEL, columns, CELL, 3)[:, LABEL:].transpose(0, 2, 1, 3, 4)
    drawn = (cells < 250).any((2, 3, 4))  # [row, column]
    sides = [azimuth is not None for _, azimuth in shots(COUNT)]
    assert drawn.tolist() == [[not s for s in sides], [True] * columns, [not s for s in sides], [False] * columns]
    assert (cells[1, 0] != cells[1, 3]).any()  # the box from 45 degrees is another picture
    assert np.abs(cells[0, 0].astype(int) - cells[2, 0]).max() < 40  # the truth is the input, resized after compositing
