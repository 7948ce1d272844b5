"""A whole study in a real browser, from disk, with the keyboard alone: votes are saved and make a table."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bench4d.method import ROOT
from bench4d.schema import check
from bench4d.site.study.preferences import make_preferences
from bench4d.site.study.votes import read_key, read_votes
from tests.toy_study import METHODS, honest, toy_run, toy_study, votes_of

MODULES = ROOT / "frontend" / "node_modules"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DIGITS = {"left": "1", "same": "2", "right": "3"}


def better(question: str, left: str, right: str) -> str:
    if question == "consistency":
        return "same"
    return "left" if METHODS.index(left) < METHODS.index(right) else "right"


@pytest.fixture(scope="module")
def browser() -> str:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None or shutil.which("node") is None:
        pytest.skip("no Chromium, or no Node")
    if not (MODULES / "playwright-core").is_dir():
        pytest.skip("no playwright-core in frontend/node_modules: `npm ci` in frontend/")
    return found


def drive(browser: str, study, out: Path, answers: list[list[str]], **more) -> dict:
    """What study_drive.cjs saw. Screenshots of it: shots=True."""
    out.mkdir(parents=True)
    job = {"page": str(study.page / "index.html"), "modules": str(MODULES), "chromium": browser, "out": str(out)}
    job |= {"answers": answers, "list": 1, "width": 1280, "height": 800, "scheme": "light", "code": ""}
    job |= {"reload_at": -1, "back_at": -1, "axe": False, "shots": False} | more
    (out / "job.json").write_text(json.dumps(job))
    command = ["node", str(Path(__file__).with_name("study_drive.cjs")), str(out / "job.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    return toy_study(folder, toy_run(folder, frames=3))


@pytest.mark.parametrize(
    ("width", "height", "scheme", "keeps"), [(1280, 800, "light", True), (390, 844, "dark", False)]
)
def test_a_study_goes_from_the_first_key_to_the_table(browser, study, tmp_path, width, height, scheme, keeps):
    """Without a store (`keeps` False), as some browsers have it for pages from disk, all but reloading works."""
    data = json.loads(study.key.read_text())
    expected = votes_of(data, 0, honest(better))
    answers = [[DIGITS[choice] for choice in vote["answers"].values()] for vote in expected["votes"]]
    look = {"width": width, "height": height, "scheme": scheme, "axe": True}
    look |= {"forbid_storage": not keeps, "reload_at": 3 if keeps else -1, "back_at": 1}
    told = drive(browser, study, tmp_path / "out", answers, code="Ann 7", **look)
    assert told["forgetful"] != keeps
    assert told["errors"] == told["requests"] == told["axe"] == []
    assert told["screens"] == [f"Comparison {k + 1} of {len(answers)}" for k in range(len(answers))]
    assert not [name for name in METHODS if name in told["body"]]

    saved = list((tmp_path / "out").glob("votes-*.json"))
    assert len(saved) == 1
    assert saved[0].name in told["status"]
    found = json.loads(saved[0].read_text())
    assert found == json.loads(told["text"])
    check(found, "votes", saved[0])
    assert (found["code"], found["list"], found["study"]) == ("Ann 7", 0, study.id)
    assert [vote | {"seconds": 0} for vote in found["votes"]] == [vote | {"seconds": 0} for vote in expected["votes"]]
    assert min(vote["seconds"] for vote in found["votes"]) > 0.2  # every film was shown to its end

    key = read_key(study.key)
    made = make_preferences(key, read_votes(saved, key))
    assert {one.share.mean for one in made.pairs if one.question == "quality"} == {1.0}
    assert {one.ties for one in made.pairs if one.question == "consistency"} == {1.0}


def test_canvases_show_the_frames_themselves(browser, study, tmp_path):
    """A pixel for a pixel: what a canvas holds is a frame of the run."""
    pictures = pixels_of_the_first_comparison(browser, study, tmp_path / "out")
    data = json.loads(study.key.read_text())
    run = toy_run(tmp_path / "same", frames=3)  # the same noise again
    trial = data["design"]["lists"][0][0]
    assert len(pictures) == 1 + 2 + 2
    for k, (side, view) in enumerate([("input", ""), *((s, v) for s in ("left", "right") for v in ("left", "right"))]):
        film = data["films"][trial[side]]
        truth = run.of_input(film["clip"]) if side == "input" else run.of_method(film["method"], film["clip"], view)
        assert any(np.array_equal(pictures[k], frame) for frame in truth), (side, view)
    assert trial["left"] != trial["right"]


def pixels_of_the_first_comparison(browser: str, study, out: Path) -> list[np.ndarray]:
    """RGB of every canvas, paused. Pages from disk may read no pixels but with a flag of the browser."""
    script = """
    const { chromium } = require(process.argv[2] + "/playwright-core");
    (async () => {
      const args = ["--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"];
      const browser = await chromium.launch({ executablePath: process.argv[3], args });
      const page = await browser.newPage();
      await page.goto("file://" + process.argv[4] + "?list=1");
      await page.click("#begin");
      await page.waitForSelector("canvas");
      await page.keyboard.press("p");
      await new Promise((done) => setTimeout(done, 300));
      const shown = await page.$$eval("canvas", (all) => all.map((c) => ({ w: c.width, h: c.height,
        data: Array.from(c.getContext("2d").getImageData(0, 0, c.width, c.height).data) })));
      process.stdout.write(JSON.stringify(shown));
      await browser.close();
    })();
    """
    out.mkdir(parents=True)
    (out / "pixels.cjs").write_text(script)
    command = ["node", str(out / "pixels.cjs"), str(MODULES), browser, str(study.page / "index.html")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    return [np.array(one["data"], np.uint8).reshape(one["h"], one["w"], 4)[..., :3] for one in shown]
