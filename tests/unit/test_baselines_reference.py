"""The static oracle: the truth's first frame for all times, for every kind of truth."""

from pathlib import Path

import numpy as np

from bench4d.asset import Asset4D, Mesh
from bench4d.asset_io import read_asset, write_asset
from bench4d.cameras import orbit
from tests import toy


def write_truth(data: Path, asset: Asset4D) -> None:
    write_asset(asset, data / "truth" / "asset")


def test_a_moving_mesh_stands_still_and_keeps_its_times(tmp_path: Path) -> None:
    meshes = [toy.bending_capsule(0.4 * k) for k in range(4)]
    write_truth(tmp_path, Asset4D("mesh", np.arange(4) / 8, meshes, orbit([0], 0, 2, 40, 8)))
    frozen = toy.run_method("oracle_static", tmp_path)
    assert frozen.times.tolist() == [0, 0.125, 0.25, 0.375] and frozen.input_camera is not None
    for mesh in frozen.frames:
        np.testing.assert_array_equal(mesh.vertices, meshes[0].vertices)
        np.testing.assert_array_equal(mesh.colors, meshes[0].colors)
    truth, ours = (
        folder / "frames.safetensors" for folder in (tmp_path / "truth/asset", tmp_path / "out/oracle_static")
    )
    assert ours.stat().st_size < 0.6 * truth.stat().st_size  # one frame, shared


def test_changing_topology_is_cut_to_the_first_frame(tmp_path: Path) -> None:
    meshes: list[Mesh] = [toy.turning_box(0), toy.bending_capsule(0)]
    write_truth(tmp_path, Asset4D("mesh", np.arange(2.0), meshes))
    for mesh in toy.run_method("oracle_static", tmp_path).frames:
        np.testing.assert_array_equal(mesh.faces, meshes[0].faces)
        np.testing.assert_array_equal(mesh.vertices, meshes[0].vertices)


def test_truth_that_is_images_only(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (2, 6, 6, 4), np.uint8) for _ in range(3)]
    write_truth(tmp_path, Asset4D("views", np.arange(3.0), frames, None, orbit([0, 90], 0, 2, 40, 6)))
    for images in toy.run_method("oracle_static", tmp_path).frames:
        np.testing.assert_array_equal(images, frames[0])
    handed_back = toy.run_method("ground_truth", tmp_path)
    for images, wanted in zip(handed_back.frames, read_asset(tmp_path / "truth/asset").frames, strict=True):
        np.testing.assert_array_equal(images, wanted)
