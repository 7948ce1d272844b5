"""The folder that is sent out: blind, lossless, the same twice; and the key that stays."""

import io
import json
import random

import numpy as np
import pytest
from PIL import Image

from bench4d.cli import main
from bench4d.errors import FormatError
from bench4d.files import sha256_file, sha256_folder
from bench4d.method import ROOT
from bench4d.schema import check
from bench4d.site.study.design import Plan
from bench4d.site.study.films import order_of, sheet, spoil
from bench4d.site.study.page import build_study, sha256_of
from tests.toy_study import METHODS, toy_run, toy_study


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return toy_run(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def study(run, tmp_path_factory):
    return toy_study(tmp_path_factory.mktemp("made"), run)


def files(study):
    return sorted(path for path in study.page.rglob("*") if path.is_file())


def unpacked(path, part):
    """Frames of a sheet, by its own account of itself."""
    image = np.asarray(Image.open(path).convert("RGB"))
    h, w = part["height"], part["width"]
    places = [divmod(k, part["columns"]) for k in range(part["frames"])]
    return np.stack([image[r * h : (r + 1) * h, c * w : (c + 1) * w] for r, c in places])


def test_nothing_that_is_sent_out_tells_a_method_from_another(study, run):
    clips = [f'"{clip}' for clip in run.benchmark.clips]  # as they would stand in data; "one" is a word too
    known = [*METHODS, *clips, "seed0", "noise", "truth", "spoilt", "ground"]
    own = {"index.html", "study.js", "study.css"}  # the same for every study
    for path in files(study):
        content = path.read_bytes().lower() if path.name not in own else b""
        assert not [name for name in known if name.encode() in content or name in path.name.lower()], path
    assert {path.name for path in study.page.iterdir()} == own | {"design.js", "media"}
    assert len({path.stat().st_mtime for path in study.page.rglob("*")}) == 1
    assert study.key.parent == study.page.parent
    assert "key.json" not in {path.name for path in files(study)}


def test_pages_own_files_know_no_method_and_reach_for_no_network():
    for name in ("index.html", "study.js", "study.css"):
        text = (ROOT / "bench4d/site/study" / name).read_text("utf-8")
        assert not [word for word in ("http:", "https:", "fetch(", "XMLHttp", "innerHTML", "eval(") if word in text]
        assert not [word for word in ("billboard", "inflate", "ss4d", "ground_truth", "spoilt") if word in text]


def test_every_picture_is_what_was_rendered(study, run):
    key = json.loads(study.key.read_text())
    roles = set()
    for token, film in key["films"].items():
        parts = key["design"]["films"][token]["parts"]
        shown = [unpacked(study.page / part["file"], part) for part in parts]
        roles.add(film["role"])
        if film["role"] == "input":
            assert np.array_equal(shown[0], run.of_input(film["clip"]))
            assert len(shown) == 1
        elif film["role"] != "spoilt":
            read = run.of_truth if film["role"] == "truth" else lambda c, v: run.of_method(film["method"], c, v)  # noqa: B023
            for frames, view in zip(shown, ["left", "right"], strict=True):
                assert np.array_equal(frames, read(film["clip"], view))
        for part in parts:
            assert sha256_file(study.page / part["file"]) == part["sha256"]
    assert roles == {"method", "truth", "spoilt", "input"}


def test_the_key_satisfies_its_schema_and_its_hash(study):
    key = json.loads(study.key.read_text())
    check(key, "study_key", study.key)
    text = (study.page / "design.js").read_text()
    shown = json.loads(text[text.index("{") : text.rindex("}") + 1])
    assert shown.pop("sha256") == key["design_sha256"] == sha256_of(key["design"])
    assert shown == key["design"]


def test_a_seed_decides_every_byte_and_another_one_every_name(run, study, tmp_path):
    again, other = toy_study(tmp_path / "a", run), toy_study(tmp_path / "b", run, seed=8)
    assert sha256_folder(again.page) == sha256_folder(study.page)
    assert again.key.read_bytes() == study.key.read_bytes()
    first, second = (set(json.loads(s.key.read_text())["films"]) for s in (study, other))
    assert not first & second


def test_names_say_nothing_of_the_order_of_methods(run, tmp_path):
    """Over many seeds the first film by name is of no method in particular."""
    firsts = set()
    for seed in range(8):
        key = json.loads(toy_study(tmp_path / str(seed), run, seed=seed, trials=2, lists=2).key.read_text())
        firsts.add(next(f["method"] or f["role"] for _, f in sorted(key["films"].items())))
    assert len(firsts) > 2


def test_a_clip_that_failed_is_left_out_and_said(tmp_path):
    run = toy_run(tmp_path, failed=("two",))
    made = toy_study(tmp_path, run)
    key = json.loads(made.key.read_text())
    assert made.left_out == tuple(f"{name}, two: it broke" for name in METHODS)
    assert "two" not in {film["clip"] for film in key["films"].values() if film["role"] == "method"}
    assert made.items == 3 * 2


def test_without_truth_a_check_is_a_method_against_its_own_spoilt_film(tmp_path):
    run = toy_run(tmp_path)
    for path in (run.folder / "truth").glob("*/frames/right/rgb/*"):
        path.unlink()
    for path in (run.folder / "truth").glob("*/frames/right/rgb"):
        path.rmdir()
    key = json.loads(toy_study(tmp_path, run).key.read_text())
    roles = [film["role"] for film in key["films"].values()]
    assert "truth" not in roles
    assert "spoilt" in roles


def test_other_files_are_never_removed_and_a_study_may_be_made_again(run, tmp_path):
    toy_study(tmp_path, run)
    toy_study(tmp_path, run, seed=9)
    (tmp_path / "study" / "mine.txt").write_text("mine")
    with pytest.raises(FormatError, match="other files"):
        toy_study(tmp_path, run)
    assert (tmp_path / "study" / "mine.txt").read_text() == "mine"


def test_one_method_and_telling_titles_are_refused(run, tmp_path):
    with pytest.raises(FormatError, match="two or more"):
        toy_study(tmp_path, run, methods=METHODS[:1])
    with pytest.raises(FormatError, match="without names of methods"):
        build_study(run, METHODS, ["one"], ["left"], Plan(), 0, tmp_path, "Is Alpha-Secret better?")


@pytest.mark.parametrize(("count", "width"), [(1, 16), (7, 16), (16, 512), (40, 600)])
def test_a_sheet_holds_all_frames_losslessly(count, width):
    frames = np.random.default_rng(0).integers(0, 256, (count, 8, width, 3), np.uint8)
    made = sheet(frames, "x")
    part = {"frames": made.frames, "columns": made.columns, "width": made.width, "height": made.height}
    assert np.array_equal(unpacked(io.BytesIO(made.webp), part), frames)
    assert b"EXIF" not in made.webp
    assert b"XMP" not in made.webp


def test_frames_too_large_for_one_sheet_are_refused():
    with pytest.raises(FormatError, match="16383"):
        sheet(np.zeros((20, 1000, 4000, 3), np.uint8), "x")


def test_a_spoilt_film_is_another_in_every_question():
    rng = random.Random(0)
    ramp = np.linspace(0, 250, 64).astype(np.uint8)
    frames = np.broadcast_to(ramp[:, None] // 2 + ramp // 2, (6, 64, 64)).copy()
    frames = np.stack([frames, frames // 2, frames // 4], axis=-1) + np.arange(6, dtype=np.uint8)[:, None, None, None]
    order = order_of(6, rng)
    assert sorted(order) == list(range(6))
    assert all(k != was for k, was in enumerate(order))
    spoilt = spoil(frames, order)
    assert spoilt.shape == frames.shape
    assert len(np.unique(spoilt[0, :, 0, 0])) < len(np.unique(frames[0, :, 0, 0])) / 2  # coarse
    assert np.array_equal(spoilt[0, 0, 0], frames[order[0], 0, 0][[1, 2, 0]])  # other colours, another time
    assert order_of(1, rng) == [0]


def test_the_command_makes_a_study_and_says_what_to_send(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("bench4d.run_frames.find_benchmark", lambda name: run.benchmark)
    command = ["study", str(run.folder), "--clips", "one,two", "--views", "left", "--trials", "4"]
    assert main([*command, "--out", str(tmp_path / "study")]) == 0
    told = capsys.readouterr().out
    assert str(tmp_path / "study" / "page") in told
    assert "3 methods, 2 clips, 6 pairs" in told
    first = json.loads((tmp_path / "study" / "key.json").read_text())
    assert main([*command, "--out", str(tmp_path / "study")]) == 0
    second = json.loads((tmp_path / "study" / "key.json").read_text())
    assert first["seed"] != second["seed"]  # a fresh one, unless it is given
    for wrong in (["--methods", "mid-secret"], ["--methods", "a,b"], ["--trials", "0"], ["--seed", "-1"]):
        assert main([*command[:2], *wrong, "--out", str(tmp_path / "no")]) == 2
    assert not (tmp_path / "no").exists()
    assert main(["study", str(tmp_path / "nothing"), "--out", str(tmp_path / "no")]) == 2
