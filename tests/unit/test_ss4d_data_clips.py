"""SS4D's training data: cameras, sources, condition clips."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench4d.asset import Asset4D, Gaussians
from bench4d.asset_io import write_asset
from bench4d.cameras import orbit
from bench4d.errors import FormatError
from bench4d.render import render_mesh, to_straight
from benchmarks.synth4d import splits
from ss4d.data.cameras import condition_cameras, generator_of, hammersley, view_cameras
from ss4d.data.clip import Tools, cropped, cropped_intrinsics, make_condition, make_views
from ss4d.data.config import ConditionConfig, DataConfig, ViewConfig, strict
from ss4d.data.features import project
from ss4d.data.sources import SPLITS, AssetSource, SynthSource, asset_ids, open_source, placed, synth_ids
from ss4d.preprocess import preprocess
from tests.ss4d_data import plate, tiny_config

# ---- cameras ---------------------------------------------------------------------------------------------------------


def test_clips_take_turns_between_rates() -> None:
    config = replace(tiny_config(), fps=(8.0, 16.0))
    assert [config.rate(name) for name in ("fish-4", "fish-5", "robot-7", "a-plate")] == [8.0, 16.0, 16.0, 8.0]
    for given, expected in ((12, (12.0,)), ([8, 16], (8.0, 16.0))):
        assert strict(DataConfig, {**config.to_json(), "fps": given}, "data").fps == expected
    for wrong in ([], [0], [8, -1], "8"):
        with pytest.raises(FormatError, match="data"):
            strict(DataConfig, {**config.to_json(), "fps": wrong}, "data")


def test_hammersley() -> None:
    np.testing.assert_allclose(hammersley(4)[:, 0], [0, 180, 90, 270])
    np.testing.assert_allclose(np.sin(np.radians(hammersley(4)[:, 1])), [1, 0.5, 0, -0.5], atol=1e-12)
    spread = hammersley(64, (0.37, 0.81))
    a, e = np.radians(spread).T
    directions = np.stack([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)], 1)
    assert np.abs(directions.mean(0)).max() < 0.05  # even over the sphere
    assert np.linalg.norm(directions[:, None] - directions, axis=2)[~np.eye(64, dtype=bool)].min() > 0.09


def test_views_look_at_the_origin_from_their_distance() -> None:
    cameras = view_cameras(ViewConfig(7, 64, 2.0, 40.0, 1), np.random.default_rng(0))
    points = project(np.zeros((1, 3)), cameras)[:, 0]
    np.testing.assert_allclose(points, np.tile([32, 32, 2.0], (7, 1)), atol=1e-9)


def test_condition_cameras() -> None:
    """The cube's sphere fills the picture; the inverse square of the distance is uniform between its ends."""
    config = ConditionConfig(400, 64, 128, 1, (-20.0, 20.0), (5.0, 25.0), (20.0, 60.0))
    cameras = condition_cameras(config, np.random.default_rng(0))
    place = cameras.camera_to_world[:, :3, 3]
    distance = np.linalg.norm(place, axis=1)
    tangent = np.tan(np.arcsin(np.sqrt(3) / 2 / distance))  # of the angle at which the sphere is seen
    np.testing.assert_allclose(cameras.intrinsics[:, 0, 0] * tangent, 64, rtol=1e-9)
    elevation = np.degrees(np.arcsin(place[:, 2] / distance))
    azimuth = np.degrees(np.arctan2(place[:, 0], -place[:, 1]))
    assert 5 <= elevation.min() < 6 and 24 < elevation.max() <= 25
    assert -20 <= azimuth.min() < -18 and 18 < azimuth.max() <= 20
    low, high = (np.sin(np.radians(fov) / 2) ** 2 / 0.75 for fov in config.fov)
    share = np.sort((distance**-2.0 - low) / (high - low))
    assert np.abs(share - (np.arange(400) + 0.5) / 400).max() < 1.63 / 20  # Kolmogorov and Smirnov at 1 per cent


def test_random_numbers_belong_to_a_clip_and_a_purpose() -> None:
    keys = list(product((0, 1), "ab", "xy"))
    draws = {key: generator_of(*key).random() for key in keys}
    assert len(set(draws.values())) == 8
    assert generator_of(1, "b", "x").random() == draws[1, "b", "x"]


# ---- sources ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*splits.TEST, "walker-1", "walker-021", "walker", "nothing-0"])
def test_test_objects_are_refused(name: str) -> None:
    with pytest.raises(FormatError, match=r"synth4d object|train_id"):
        open_source(name, None, 2, 8.0)


def test_splits_share_nothing() -> None:
    train, val = synth_ids("train", 50), synth_ids("val", 50)
    assert not set(train) & set(val) and not (set(train) | set(val)) & set(splits.TEST)
    (first, end), (start, last) = SPLITS["train"], SPLITS["val"]
    assert first == 0 and end == start and last == splits.TRAIN_SEEDS
    for split, clips, seed in (("train", 2, end - 1), ("val", 2, last - 1), ("val", 1, 0), ("train", 0, 0)):
        with pytest.raises(FormatError, match="seeds"):
            synth_ids(split, clips, seed)
    with pytest.raises(FormatError, match="split"):
        synth_ids("test", 1)


def test_synth4d_is_left_as_it_is() -> None:
    source = SynthSource.open("flag-3", 2, 8.0)
    for mesh, time in zip(placed(source), (0.0, 0.125), strict=True):
        assert (mesh.vertices == source.mesh_at(time).vertices).all()


def test_one_similarity_for_all_frames(tmp_path: Path) -> None:
    """A plate that rises and grows: it does so after normalisation too, turned, and within the cube."""
    frames = [plate(height, half=half) for height, half in ((3.0, 1.0), (4.0, 2.0), (7.0, 1.5))]
    write_asset(Asset4D("mesh", np.array([0.0, 0.1, 0.3]), frames), tmp_path / "a-plate" / "asset")
    assert asset_ids(tmp_path) == ["a-plate"]
    source = open_source("a-plate", tmp_path, 99, 8.0)
    assert source.kind == "asset" and source.times.tolist() == [0.0, 0.1, 0.3]
    for yaw in (0.0, 30.0):
        meshes = placed(source, yaw)
        points = [mesh.vertices.astype(np.float64) for mesh in meshes]
        everything = np.concatenate(points)
        assert np.abs(everything).max() <= 0.499 + 1e-6
        np.testing.assert_allclose((everything.max(0) + everything.min(0)) / 2, 0, atol=1e-6)
        side = [np.linalg.norm(p[1] - p[0]) for p in points]
        scale = side[0] / 2.0
        np.testing.assert_allclose(side, scale * np.array([2.0, 4.0, 3.0]), rtol=1e-5)
        rises = [b[0, 2] - a[0, 2] for a, b in pairwise(points)]
        np.testing.assert_allclose(rises, scale * np.array([1.0, 3.0]), rtol=1e-5)
        edge = points[0][1] - points[0][0]  # was along y
        assert np.degrees(np.arctan2(-edge[0], edge[1])) == pytest.approx(yaw, abs=1e-3)


def test_gaussians_have_no_surface(tmp_path: Path) -> None:
    one = np.ones((1, 3), np.float32)
    blob = Gaussians(one, one, np.ones((1, 4), np.float32), one[:, 0], np.ones((1, 1, 3), np.float32))
    write_asset(Asset4D("gaussians", np.array([0.0]), [blob]), tmp_path / "blob")
    with pytest.raises(FormatError, match="Surfaces"):
        AssetSource.open(tmp_path / "blob", 8.0)


# ---- clips -----------------------------------------------------------------------------------------------------------


def test_condition_frames_are_what_inference_makes() -> None:
    meshes = placed(SynthSource.open("fish-1", 3, 8.0))
    rgba = [render_mesh(mesh, orbit([20], 15, 2.0, 40, 96), supersample=2)[0] for mesh in meshes]
    frames = [Image.fromarray(straight) for straight in to_straight(np.stack(rgba))]
    config = ConditionConfig(1, 518, 96, 1, (0.0, 0.0), (0.0, 0.0), (40.0, 40.0))
    pictures, _ = cropped(frames, config)
    for picture, expected in zip(pictures, preprocess(frames), strict=True):
        assert (picture[..., :3] == np.asarray(expected)).all()
        assert (picture[..., :3] <= picture[..., 3:]).all() and picture[..., 3].max() == 255


def test_cameras_of_condition_clips_fit_the_cropped_pictures() -> None:
    """What is seen in the pictures lies where the stored cameras project the mesh to."""
    config, source = tiny_config(), SynthSource.open("fish-1", 3, 8.0)
    meshes = placed(source)
    (poses, intrinsics), pictures = make_condition(source.id, meshes, config, Tools())
    size = config.condition.size
    assert pictures.shape == (3, config.condition.count, size, size, 4)
    for q in range(config.condition.count):
        boxes = []
        for mesh, picture in zip(meshes, pictures[:, q], strict=True):
            local = (mesh.vertices - poses[q, :3, 3]) @ poses[q, :3, :3]
            pixels = local @ intrinsics[q].T
            pixels = pixels[:, :2] / pixels[:, 2:]
            y, x = (picture[..., 3] > 127).nonzero()
            boxes.append([pixels.min(0), pixels.max(0)])
            np.testing.assert_allclose([x.min(), y.min()], pixels.min(0), atol=1.0)
            np.testing.assert_allclose([x.max() + 1, y.max() + 1], pixels.max(0), atol=1.0)
        extent = np.max(np.array(boxes)[:, 1], 0) - np.min(np.array(boxes)[:, 0], 0)
        assert extent.max() == pytest.approx(size / 1.2, abs=2.5)  # one crop for the clip, with its margin


def test_cropping_moves_the_camera_by_the_box() -> None:
    matrix = np.array([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]])
    point = np.array([0.1, -0.2, 1.0])
    x, y, _ = matrix @ point  # (60, 30)
    moved = cropped_intrinsics(matrix, (40, -10, 80, 30), 20) @ point
    assert moved.tolist() == pytest.approx([(x - 40) / 2, (y + 10) / 2, 1])


def test_views_are_renders_by_their_cameras() -> None:
    config, source = tiny_config(), SynthSource.open("flag-3", 2, 8.0)
    meshes = placed(source)
    rigs, views = make_views(source.id, meshes, config, Tools())
    for rig, view, mesh in zip(rigs, views, meshes, strict=True):
        expected = render_mesh(mesh, rig, supersample=config.views.supersample)
        assert np.abs(view / 255.0 - expected).max() <= 0.5 / 255 + 1e-6
        assert (view[..., :3] <= view[..., 3:]).all() and view[..., 3].max() == 255
    assert np.abs(rigs[0].camera_to_world - rigs[1].camera_to_world).max() > 0.1  # other cameras in each frame


def test_building_needs_few_packages() -> None:
    """Machines that only make data lack much of what the benchmark needs; and workers start fast without torch."""
    code = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name.split('.')[0] in {'jsonschema', 'pandas', 'pyarrow', 'trimesh', 'torch', 'transformers'}:\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "import ss4d.data.build, ss4d.data.__main__\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
