"""The results site in a real browser, from disk: frontend/test/*.test.mjs, each in one headless Chromium.

They need Node, `npm ci` in frontend/ and Chromium (CHROMIUM, or in PATH); WebGL is drawn in software.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench4d.benchmark import Benchmark
from bench4d.cameras import orbit
from bench4d.render import render_gaussians, render_mesh
from tests.toy_site import make_site, toy_gaussians, toy_mesh

FRONTEND = Path(__file__).parents[2] / "frontend"
TESTS = sorted(path.name for path in (FRONTEND / "test").glob("*.test.mjs"))


def node() -> str:
    """The program, or a skip that says what is missing."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("no node: the front end is tested where Node is")
    if not (FRONTEND / "node_modules").is_dir():
        pytest.skip("no frontend/node_modules: run npm ci in frontend/")
    return program


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    node()
    if chromium is None:
        pytest.skip("no chromium: pages are tested where it is installed")
    folder = tmp_path_factory.mktemp("site")
    site = make_site(folder)
    return os.environ | {"BENCH4D_SITE": str(site), "BENCH4D_RENDERS": str(renders(folder)), "CHROMIUM": chromium}


def renders(folder: Path) -> Path:
    """What bench4d draws of the toy's outputs at frame 2, from the cameras of its videos: <output>-<view>.png."""
    benchmark = Benchmark.read(folder / "benchmark" / "protocol.yaml")
    out = folder / "renders"
    out.mkdir()
    time = float(benchmark.times[2])
    rig = benchmark.data["rig"]
    for view in benchmark.data["views"]:
        cameras = orbit([view["azimuth"]], view["elevation"], rig["radius"], rig["fov_y"], 512)
        splats = render_gaussians(toy_gaussians(time), cameras)
        pictures = {"truth": render_mesh(toy_mesh(time), cameras), "splats": splats}
        for name, picture in pictures.items():
            on_white = picture[0, ..., :3] + 1 - picture[0, ..., 3:]
            bytes_of = np.rint(on_white * 255).clip(0, 255).astype(np.uint8)
            Image.fromarray(bytes_of).save(out / f"{name}-{view['id']}.png")
    return out


@pytest.mark.slow
@pytest.mark.parametrize("name", TESTS)
def test_pages_in_a_browser(name: str, surroundings: dict[str, str]) -> None:
    command = [node(), "--test", "--test-reporter=tap", str(FRONTEND / "test" / name)]
    done = subprocess.run(command, env=surroundings, cwd=FRONTEND, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_the_committed_bundles_are_what_the_sources_build() -> None:
    done = subprocess.run([node(), "build.mjs", "--check"], cwd=FRONTEND, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
