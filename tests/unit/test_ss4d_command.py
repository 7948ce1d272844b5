"""`python -m ss4d` as a person calls it, on a checkpoint of random weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from bench4d.asset_io import read_asset
from ss4d.__main__ import main
from ss4d.checkpoint import load_checkpoint
from ss4d.pipeline import FAST_STEPS
from ss4d.random_checkpoint import write_random_checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")

STEPS = FAST_STEPS + 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint")
    write_random_checkpoint(path, "tiny", seed=3, steps=STEPS)
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures of a disc that moves to the right, RGBA."""
    path = tmp_path_factory.mktemp("film")
    for k in range(4):
        image = Image.new("RGBA", (40, 40))
        ImageDraw.Draw(image).ellipse((6 + 2 * k, 11, 24 + 2 * k, 29), fill=(200, 90, 40, 255))
        image.save(path / f"{k}.png")
    return path


def test_generate_writes_what_it_promises(folder: Path, film: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["generate", str(film), "--checkpoint", str(folder), "--out", str(out), "--frames", "4"]
    main([*command, "--device", "cpu", "--ply", "--save-frames", str(tmp_path / "cut")])
    asset = read_asset(out)
    assert asset.kind == "gaussians" and len(asset.frames) == 4 and asset.input_camera is not None
    assert asset.times.tolist() == [0, 0.125, 0.25, 0.375]
    assert len(list((out / "ply").glob("*.ply"))) == 4 and len(list((tmp_path / "cut").glob("*.png"))) == 4
    record = json.loads((out / "ss4d.json").read_text())
    assert set(record["files"]) == set(load_checkpoint(folder).files) and record["seed"] == 42
    assert record["steps"] == [STEPS, STEPS]


def test_fast_on_the_command_line_is_written_down(folder: Path, film: Path, tmp_path: Path) -> None:
    command = ["generate", str(film), "--checkpoint", str(folder), "--frames", "2", "--device", "cpu"]
    for name, more, steps in (("three", ["--steps", "3"], 3), ("fast", ["--fast"], FAST_STEPS)):
        main([*command, "--out", str(tmp_path / name), *more])
        assert json.loads((tmp_path / name / "ss4d.json").read_text())["steps"] == [steps, steps]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "x", "--checkpoint", "y", "--out", "z", "--frames", "3"], "even number"),
        (["generate", "no-such", "--checkpoint", "y", "--out", "z"], "nothing there"),
        (["check", "--checkpoint", "no-such"], "owner/name"),
    ],
)
def test_the_command_line_answers_in_words(arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        main(arguments)


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["generate", "--help"])
    text = capsys.readouterr().out
    assert "python -m ss4d generate walk" in text and "even number" in text
