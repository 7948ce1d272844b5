"""SS4D as a method in the real workflow: a tiny random checkpoint, untrained, from clip to table."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from bench4d.asset_io import read_asset
from bench4d.cameras import orbit
from bench4d.clip import Clip
from ss4d.random_checkpoint import write_random_checkpoint
from ss4d.run import declared_camera, padded

ROOT = Path(__file__).parents[2]
RESULTS = "results/synth4d-one"


@pytest.fixture
def with_ss4d(checkout):
    """The checkout with ss4d's program as a method `ss4d_untrained` that needs no GPU, and a benchmark of one clip."""
    root, folder = checkout.root, checkout.root / "baselines/ss4d_untrained"
    shutil.copytree(ROOT / "ss4d", root / "ss4d", ignore=shutil.ignore_patterns("__pycache__"))
    write_random_checkpoint(root / "weights/ss4d", "tiny", steps=2)
    folder.mkdir()
    (folder / "run.py").symlink_to(root / "ss4d/run.py")
    (root / "ss4d/environment.yaml").rename(folder / "environment.yaml")
    data = yaml.safe_load((root / "ss4d/method.yaml").read_text())
    data["name"] = "SS4D (tiny, untrained)"
    data["needs"] = {"gpu": False, "vram_gb": 0, "minutes_per_clip": 1}
    data["parameters"]["device"] = "cpu"
    (folder / "method.yaml").write_text(yaml.safe_dump(data))
    (root / "ss4d/method.yaml").unlink()
    protocol = yaml.safe_load((root / "benchmarks/synth4d/protocol-tiny.yaml").read_text())
    protocol |= {"id": "synth4d-one", "clips": protocol["clips"][:1], "n_frames": 3}
    (root / "benchmarks/synth4d/protocol-one.yaml").write_text(yaml.safe_dump(protocol))
    checkout.configure(benchmarks=["synth4d-one"], methods=["ss4d_untrained"])
    return checkout


def test_untrained_ss4d_runs_from_clip_to_table(with_ss4d):
    with_ss4d.snakemake()
    rows = pd.read_parquet(with_ss4d.root / RESULTS / "scores.parquet")
    assert set(rows["method"]) == {"ss4d_untrained"} and len(rows)
    pictures = rows[rows["metric"].isin(["psnr", "silhouette-iou", "time"])]
    assert set(pictures["status"]) == {"ok"} and pictures["value"].notna().all()
    (folder,) = (with_ss4d.root / RESULTS / "ss4d_untrained/seed0").glob("*/asset")
    asset = read_asset(folder)
    assert asset.kind == "gaussians" and len(asset.frames) == 3  # of 4: the clip is odd, one frame was repeated
    assert all(len(frame.means) for frame in asset.frames)
    clip = Clip.read(with_ss4d.root / RESULTS / "clips" / folder.parent.name)
    np.testing.assert_allclose(asset.input_camera.camera_to_world, clip.camera.camera_to_world)
    record = json.loads((folder / "ss4d.json").read_text())
    assert len(record["voxels"]) == 4 and "ckpts/slat_flow_video_4d.safetensors" in record["files"]
    assert "ss4d_untrained" in (with_ss4d.root / RESULTS / "table.txt").read_text()


def test_missing_weights_are_a_failure_that_says_what_to_do(with_ss4d):
    shutil.rmtree(with_ss4d.root / "weights")
    with_ss4d.snakemake()
    rows = pd.read_parquet(with_ss4d.root / RESULTS / "scores.parquet")
    assert set(rows["status"]) == {"failed"}
    (record,) = (with_ss4d.root / RESULTS / "ss4d_untrained/seed0").glob("*/generate.json")
    assert "ss4d/README.md says how to get them" in json.loads(record.read_text())["log_tail"]


def test_the_declared_camera_is_the_clips_or_in_front_and_turned_by_yaw():
    frames = np.zeros((3, 32, 32, 4), np.uint8)
    known = Clip("a", frames, 8, orbit([0], 15, 2, 40, 32))
    np.testing.assert_allclose(declared_camera(known, 0.0).camera_to_world, known.camera.camera_to_world)
    turned = declared_camera(known, 90.0).camera_to_world
    np.testing.assert_allclose(turned, orbit([90], 15, 2, 40, 32).camera_to_world, atol=1e-12)
    front = declared_camera(Clip("a", frames, 8), 0.0)
    np.testing.assert_allclose(front.camera_to_world[0, :3, 3], [0, -2, 0], atol=1e-12)


def test_odd_clips_repeat_their_last_frame():
    frames = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 4), np.uint8)
    assert padded(frames)[:, 0, 0, 0].tolist() == [0, 1, 2, 2] and len(padded(frames[:2])) == 2
