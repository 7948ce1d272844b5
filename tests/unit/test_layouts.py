"""`bench4d score` on bare folders: every layout is found, said and gives the same rows; nothing unclear is guessed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench4d.benchmark import Benchmark, find_benchmark
from bench4d.cli import main
from bench4d.errors import FormatError
from bench4d.files import read_json
from bench4d.frames import read_view
from bench4d.geometry import read_geometry
from bench4d.layouts import LAYOUTS, guess
from bench4d.scoring_folder import LOSSY, Scored, score_folder
from bench4d.submission import Submission
from bench4d.video import write_video
from metrics import METRICS
from tests.fake_features import Counter, metric, picture_feature
from tests.toy_results import CLIPS, FRAMES, SIZE, VIEWS, toy_benchmark, write_results
from tests.toy_scoring import entries, run

NOVEL = [view for view, group in VIEWS.items() if group == "novel"]
PLACES: dict[str, Callable[[str, str], str]] = {  # of the renders of a clip and view
    "clip/view": lambda clip, view: f"{clip}/{view}",
    "view/clip": lambda clip, view: f"{view}/{clip}",
    "clip_view": lambda clip, view: f"{clip}_{view}",
    "consistent4d": lambda clip, view: f"{clip}/eval_{NOVEL.index(view)}" if view in NOVEL else f"{clip}/{view}",
}
SCORED = ("psnr", "silhouette-iou", "jitter", "toy", "toy-set")


@pytest.fixture(scope="module")
def toys() -> dict:
    feature = picture_feature(Counter())
    return dict(METRICS) | {"toy": metric("toy", feature), "toy-set": metric("toy-set", feature, "set")}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Benchmark, Path]:
    """A benchmark of noise, and a folder with truth/ and mine/seed0/ as the workflow leaves them."""
    root = tmp_path_factory.mktemp("noise")
    benchmark = toy_benchmark(root, entries(SCORED))
    write_results(benchmark, root)
    return benchmark, root


def bare(root: Path, to: Path, place: Callable[[str, str], str], views=tuple(VIEWS), clips=CLIPS) -> Path:
    """The renders of mine/seed0 alone, laid out by `place`: rgb/ and alpha/."""
    for clip in clips:
        for view in views:
            shutil.copytree(root / "mine/seed0" / clip / "frames" / view, to / place(clip, view))
    return to


def scored(made, toys, folder: Path, out: Path, layout: str = "") -> Scored:
    benchmark, root = made
    submission = Submission(folder, "bare", layout=layout)
    return score_folder(benchmark, submission, root, out, toys, {}, lambda clip: None)


def by_cell(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.set_index(["metric", "clip", "view"]).sort_index()


@pytest.mark.parametrize("layout", PLACES)
def test_every_layout_of_renders_is_found_and_gives_the_workflows_rows(made, toys, tmp_path, layout):
    benchmark, root = made
    folder = bare(root, tmp_path / "in", PLACES[layout])
    found = guess(benchmark, folder)
    assert found.layout.id == layout and found.root == folder and found.views == tuple(VIEWS)
    assert str(found).endswith(f"3 clips in {folder}")
    theirs = run(benchmark, root, toys)
    ours = scored(made, toys, folder, tmp_path / "out").rows
    assert list(ours.columns) == list(theirs.columns) and len(ours) == len(theirs)
    same = ["value", "status", "reason", "n_frames", "object", "truth_sha256", "protocol", "device", "code_version"]
    pd.testing.assert_frame_equal(by_cell(ours)[same], by_cell(theirs)[same])
    assert read_json(tmp_path / "out/submission/submission.json")["layout"] == layout


@pytest.mark.parametrize("layout", ["consistent4d", "view/clip"])
def test_without_the_input_view_its_cells_alone_are_empty(made, toys, tmp_path, layout):
    benchmark, root = made
    folder = bare(root, tmp_path / "in", PLACES[layout], NOVEL)
    assert str(guess(benchmark, folder)).endswith("none of the view front")
    theirs = by_cell(run(benchmark, root, toys))
    ours = by_cell(scored(made, toys, folder, tmp_path / "out").rows)
    assert ours.index.equals(theirs.index)
    lacking = [cell for cell in ours.index if cell[2] in ("front", "input")]
    assert len(lacking) == 4 * len(CLIPS) + 1
    assert set(ours.loc[lacking, "status"]) == {"not-run"} and ours.loc[lacking, "value"].isna().all()
    assert set(ours.loc[lacking, "reason"]) == {"the folder has no renders of the view front"} | (
        {"the folder has no renders of the view input"}
    )
    rest = ours.index.difference(lacking)
    assert ours.loc[rest, "value"].tolist() == theirs.loc[rest, "value"].tolist()
    # One clip that lacks a view which others have is a failure, whatever the view.
    shutil.copytree(root / "mine/seed0/one/frames/front", tmp_path / "in" / PLACES[layout]("one", "front"))
    rows = by_cell(scored(made, toys, folder, tmp_path / "out").rows)
    assert set(rows.loc[("psnr", "one"), "status"]) == {"ok"}
    assert set(rows.loc[("psnr", "two"), "status"]) == {"failed"}
    assert rows.loc[("psnr", "two", "left"), "reason"].count("front") == 1


def test_consistent4ds_own_folders_are_renders_of_its_benchmark_and_of_any_other(made, tmp_path):
    consistent4d = find_benchmark("consistent4d")
    for clip in consistent4d.clips:
        for k in range(4):
            (tmp_path / f"pred/{clip}/eval_{k}").mkdir(parents=True)
            (tmp_path / f"pred/{clip}/eval_{k}/0.png").touch()
    for layout in ("", "consistent4d"):
        found = guess(consistent4d, tmp_path, layout)
        assert str(found).endswith(f": 7 clips in {tmp_path}/pred, none of the view input")
        places = found.sources["skull"].places
        assert places == {f"eval_{k}": tmp_path / f"pred/skull/eval_{k}" for k in range(4)}
    benchmark, root = made  # its two novel views have other names
    folder = bare(root, tmp_path / "in", PLACES["consistent4d"], NOVEL)
    assert guess(benchmark, folder).sources["one"].places == {
        "left": folder / "one/eval_0",
        "right": folder / "one/eval_1",
    }


def test_a_folder_in_the_given_one_is_found_and_two_are_refused(made, tmp_path):
    benchmark, root = made
    bare(root, tmp_path / "in/pred/", PLACES["clip/view"])
    (tmp_path / "in/logs").mkdir()
    assert guess(benchmark, tmp_path / "in").root == tmp_path / "in/pred"
    bare(root, tmp_path / "in/other/", PLACES["clip/view"], clips=CLIPS[:1])
    with pytest.raises(FormatError, match="results in one layout") as caught:
        guess(benchmark, tmp_path / "in")
    assert f"3 clips in {tmp_path}/in/pred" in caught.value.found and "1 clip in" in caught.value.found
    assert caught.value.next_step == f"Score one folder: {tmp_path}/in/other or {tmp_path}/in/pred."


def test_two_layouts_in_one_folder_are_refused_until_one_is_named(made, toys, tmp_path):
    benchmark, root = made
    folder = bare(root, tmp_path / "in", PLACES["clip/view"])
    for clip in CLIPS[:2]:
        (folder / clip / "0000.ply").touch()
    with pytest.raises(FormatError, match="results in one layout") as caught:
        guess(benchmark, folder)
    assert "geometry, CLIP/0000" in caught.value.found and "renders, CLIP/VIEW/0000.png" in caught.value.found
    assert caught.value.next_step == "Say which: --layout geometry or clip/view."
    assert set(guess(benchmark, folder, "geometry").sources) == set(CLIPS[:2])
    rows = by_cell(scored(made, toys, folder, tmp_path / "out", "clip/view").rows)
    assert set(rows["status"]) == {"ok"}
    # A film beside a folder of the same name is no other layout: that clip alone has failed.
    for clip in CLIPS[:2]:
        (folder / clip / "0000.ply").unlink()
    (folder / "one/left.mp4").touch()
    rows = by_cell(scored(made, toys, folder, tmp_path / "out").rows)
    assert "one source of its images" in rows.loc[("psnr", "one", "left"), "reason"]
    assert set(rows.loc[("psnr", "two"), "status"]) == {"ok"}


def test_an_asset_says_itself_what_it_is(made, tmp_path):
    benchmark, root = made
    folder = bare(root, tmp_path / "in", PLACES["clip/view"])
    for clip in CLIPS:
        (folder / clip / "asset").mkdir()
        (folder / clip / "asset/asset.json").touch()
        (folder / clip / "0000.glb").touch()
    assert guess(benchmark, folder).layout.id == "asset"
    (folder / "three/asset/asset.json").unlink()  # now it is renders, or geometry, or a clip that is missing
    with pytest.raises(FormatError, match=r"--layout asset or geometry or clip/view"):
        guess(benchmark, folder)


def test_geometry_may_lie_one_folder_deeper_but_not_in_two(made, tmp_path):
    benchmark, _ = made
    for name in ("one/meshes/0000.glb", "two/0000.ply", "two/0001.ply"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = guess(benchmark, tmp_path)
    assert found.layout.id == "geometry"
    assert {clip: source.places[""] for clip, source in found.sources.items()} == {
        "one": tmp_path / "one/meshes",
        "two": tmp_path / "two",
    }
    (tmp_path / "one/coarse").mkdir()
    (tmp_path / "one/coarse/0.obj").touch()
    with pytest.raises(FormatError, match="one sequence of geometry"):
        guess(benchmark, tmp_path)


def test_arrays_of_vertices_are_geometry_like_files_of_meshes(made, tmp_path):
    benchmark, _ = made
    vertices, faces = np.eye(3, dtype=np.float32), np.array([[0, 1, 2]], np.int32)
    for clip in CLIPS:
        (tmp_path / "in" / clip).mkdir(parents=True)
        np.save(tmp_path / "in" / clip / "faces.npy", faces)
        for k in range(3):
            np.save(tmp_path / "in" / clip / f"frame_{k:04d}.npy", vertices + k)
    found = guess(benchmark, tmp_path / "in")
    assert found.layout.id == "geometry" and set(found.sources) == set(CLIPS)
    folder = found.sources[CLIPS[0]].places[""]
    upright, turned = (read_geometry(folder, 8, up=up) for up in ("z", "y"))
    assert upright.kind == "mesh" and np.allclose(upright.times, [0, 1 / 8, 2 / 8])
    assert np.allclose(upright.frames[2].vertices, vertices + 2)
    x, y, z = (vertices + 1).T
    assert np.allclose(turned.frames[1].vertices, np.stack([x, -z, y], 1))  # y up becomes z up
    (folder / "0000.glb").touch()
    with pytest.raises(FormatError, match="one form of geometry"):
        read_geometry(folder, 8)


def test_clips_may_be_called_by_their_object_if_it_has_one(made, tmp_path):
    benchmark, root = made
    data = benchmark.data | {"clips": [{"id": "one", "object": "fox"}, {"id": "two", "object": "owl"}]}
    for name in ("fox", "two"):
        bare(root, tmp_path / "in", lambda clip, view, name=name: f"{name}/{view}", clips=("one",))
    renamed = Benchmark(benchmark.id, 1, benchmark.path, "", data)
    assert set(guess(renamed, tmp_path / "in").sources) == {"one", "two"}
    data["clips"][1]["object"] = "fox"  # now "fox" could be either
    assert set(guess(renamed, tmp_path / "in").sources) == {"two"}


def test_where_nothing_fits_the_message_shows_all_layouts_and_names(made, tmp_path):
    benchmark, _ = made
    (tmp_path / "uno").mkdir()
    with pytest.raises(FormatError) as caught:
        guess(benchmark, tmp_path)
    assert all(f"{layout.id} ({layout.form})" in caught.value.expected for layout in LAYOUTS)
    assert caught.value.found == "uno"
    assert caught.value.next_step == "CLIP is one of one, two, three; VIEW one of front, left, right."
    with pytest.raises(FormatError, match=re.escape("['asset', 'geometry', 'clip/view'")):
        guess(benchmark, tmp_path, "dunno")


@pytest.mark.parametrize("layout", ["clip/view", "view/clip", "clip_view"])
def test_films_are_scored_with_a_warning(made, toys, tmp_path, monkeypatch, capsys, layout):
    benchmark, root = made
    for clip in CLIPS:
        for view in VIEWS:
            shown = read_view(root / "truth" / clip / "frames", view, FRAMES, SIZE)
            path = tmp_path / "in" / f"{PLACES[layout](clip, view)}.mp4"
            write_video(path, shown.rgb, 8)
    monkeypatch.setattr("bench4d.benchmark.find_benchmark", {"noise": benchmark}.__getitem__)
    monkeypatch.setattr("metrics.METRICS", toys)
    arguments = ["score", str(tmp_path / "in"), "--benchmark", "noise", "--out", str(tmp_path / "out")]
    monkeypatch.setattr("bench4d.scoring_folder._is_made", lambda *_: True)
    assert main([*arguments, "--work", str(root), "--metrics", "psnr,silhouette-iou", "--name", "films"]) == 0
    said = capsys.readouterr()
    assert LOSSY.format(clips="one, two, three") in said.out
    assert f"taken for renders, {layout.upper()}/0000.png" in said.err
    rows = pd.read_parquet(tmp_path / "out/scores.parquet").set_index("metric")
    assert set(rows.loc["psnr", "status"]) == {"ok"} and rows.loc["psnr", "value"].min() > 11  # other noise: 7.7 dB
    assert rows.loc["psnr", "value"].max() < 100  # the truth itself, and not perfect any more
    assert set(rows.loc["silhouette-iou", "reason"]) == {
        "the renders have no alpha: give RGBA pictures, or rgb/ and alpha/"
    }


def test_pictures_without_loss_bring_no_warning(made, toys, tmp_path):
    _, root = made
    folder = bare(root, tmp_path / "in", PLACES["clip/view"])
    assert not any("lost detail" in note for note in scored(made, toys, folder, tmp_path / "out").notes)
    (folder / "two/left/rgb/0002.png").rename(folder / "two/left/rgb/0002.jpg")
    notes = scored(made, toys, folder, tmp_path / "out").notes
    assert notes[-1] == LOSSY.format(clips="two")
