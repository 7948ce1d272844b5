"""The render stage: files, record, and the choice of renderer (stand-ins take the place of the GPU's packages)."""

import types

import numpy as np
import pytest
import torch

from bench4d.asset import Asset4D, Mesh
from bench4d.asset_io import write_asset
from bench4d.cameras import orbit
from bench4d.files import read_json, read_png
from bench4d.render import cuda
from bench4d.rendering import render_clip
from tests.render_stand_ins import Nvdiffrast

SIZE, TIMES = 16, np.array([0.0, 0.5, 1.0])
BENCHMARK = types.SimpleNamespace(
    times=TIMES,
    views=["front", "side"],
    cameras=orbit([0, 90], 10, 2, 40, SIZE),
    data={"background": [1.0, 0.5, 0.0], "time_rule": "nearest"},
)
MATRIX = np.diag([1.2, 1.2, 1.2, 1.0])
ALIGNED = {"status": "ok", "reason": "", "asset_sha256": "x", "matrix": MATRIX.tolist()}


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(cuda, "nvdiffrast", lambda: Nvdiffrast)
    monkeypatch.setattr(cuda, "device", lambda: torch.device("cpu"))
    monkeypatch.setattr(cuda, "budget", lambda where: cuda.MEMORY)


def moving_triangle() -> Asset4D:
    corners = np.array([[-0.3, 0.1, -0.3], [0.35, 0, -0.2], [0.05, -0.2, 0.4]], np.float32)
    colors = np.array([[250, 0, 30, 255], [0, 200, 10, 255], [10, 20, 240, 255]], np.uint8)
    frames = [Mesh(corners + np.float32(0.05 * k), np.array([[0, 1, 2]], np.int32), colors) for k in range(3)]
    return Asset4D("mesh", TIMES, frames, input_camera=None)


def images(folder) -> np.ndarray:
    files = sorted(folder.glob("*/*/*.png"))
    assert len(files) == 2 * 2 * 3
    return np.concatenate([read_png(f, 3 if f.parent.name == "rgb" else 1).astype(int).ravel() for f in files])


def test_both_renderers_write_the_same_files_and_say_who_they_are(gpu, tmp_path):
    write_asset(moving_triangle(), tmp_path / "asset")
    for backend in ("cpu", "cuda"):
        render_clip(BENCHMARK, tmp_path / "asset", ALIGNED, tmp_path / backend, 2, backend)
        assert read_json(tmp_path / backend / "render.json")["renderer"] == f"bench4d-{backend}-1"
    one, other = images(tmp_path / "cpu"), images(tmp_path / "cuda")
    assert np.abs(one - other).max() <= 1 and (one != other).mean() < 0.01
    assert len(np.unique(one)) > 20


def test_images_of_a_video_method_are_the_same_whatever_renders(gpu, tmp_path):
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (2, SIZE, SIZE, 4), np.uint8) for _ in TIMES]
    write_asset(Asset4D("views", TIMES, frames, cameras=BENCHMARK.cameras), tmp_path / "asset")
    for backend in ("cpu", "cuda"):
        render_clip(BENCHMARK, tmp_path / "asset", ALIGNED, tmp_path / backend, 1, backend)
    np.testing.assert_array_equal(images(tmp_path / "cpu"), images(tmp_path / "cuda"))


@pytest.mark.parametrize("backend", ["cpu", "cuda"])
def test_a_failed_clip_leaves_only_its_record(tmp_path, backend):
    failed = {"status": "failed", "reason": "no asset", "asset_sha256": None}
    render_clip(BENCHMARK, tmp_path / "nothing", failed, tmp_path / "out", 1, backend)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["render.json"]
    assert read_json(tmp_path / "out" / "render.json")["reason"] == "no asset"
