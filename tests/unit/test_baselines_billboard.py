"""The billboard: the input view comes back, and there is nothing behind it."""

from pathlib import Path

import numpy as np
import pytest

from bench4d.asset import Asset4D
from bench4d.cameras import Cameras, orbit
from bench4d.clip import Clip
from bench4d.render import composite, render_mesh
from tests import toy

SIZE = 128


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


def over_white(frame: np.ndarray) -> np.ndarray:
    share = frame[..., 3:] / 255
    return np.rint(share * frame[..., :3] + (1 - share) * 255)


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> tuple[Clip, Asset4D]:
    data = tmp_path_factory.mktemp("billboard")
    toy.write_clip_and_truth(data, [toy.turning_box(0.4 * k) for k in range(3)], SIZE)
    return Clip.read(data / "clip"), toy.run_method("billboard", data)


def test_the_input_view_comes_back(moving: tuple[Clip, Asset4D]) -> None:
    clip, asset = moving
    assert clip.camera is not None and len(asset.frames) == len(clip.frames)
    for frame, mesh in zip(clip.frames, asset.frames, strict=True):
        rgb, alpha = composite(render_mesh(mesh, clip.camera), (1, 1, 1))
        assert psnr(rgb[0], over_white(frame)) > 45
        assert ((alpha[0] >= 128) == (frame[..., 3] >= 128)).mean() > 0.999
    with_next = composite(render_mesh(asset.frames[0], clip.camera), (1, 1, 1))[0][0]
    assert psnr(with_next, over_white(clip.frames[2])) < 30  # the frames are in order


def test_a_noisy_picture_comes_back(tmp_path: Path) -> None:
    """The worst case for texture filtering: every pixel differs, up to the border of the image."""
    camera = orbit([30], 20, 2, 40, 32)
    frame = np.random.default_rng(0).integers(100, 156, (1, 32, 32, 4), np.uint8)
    frame[..., 3] = 255
    Clip("toy", frame, 10, camera).write(tmp_path / "clip")
    (mesh,) = toy.run_method("billboard", tmp_path).frames
    rgb, alpha = composite(render_mesh(mesh, camera), (1, 1, 1))
    assert psnr(rgb[0], frame[0, ..., :3]) > 30
    assert (alpha >= 128).all()


def test_it_faces_the_camera_and_is_thin(moving: tuple[Clip, Asset4D]) -> None:
    clip, asset = moving
    assert clip.camera is not None
    mesh, forward = asset.frames[0], clip.camera.camera_to_world[0, :3, 2]
    np.testing.assert_allclose(mesh.vertices @ forward, 0, atol=1e-6)  # a plane through the origin
    corners = mesh.vertices[mesh.faces[0]]
    assert np.cross(corners[1] - corners[0], corners[2] - corners[0]) @ forward < 0  # its front looks at the camera
    side = orbit([90], 0, 2, 40, SIZE)
    assert (render_mesh(mesh, side)[..., 3] > 0).sum() < 0.01 * (
        render_mesh(mesh, clip.camera)[..., 3] > 0
    ).sum() + SIZE


def test_a_clip_without_camera_is_seen_from_the_documented_one(tmp_path: Path) -> None:
    camera = orbit([0], 0, 2, 40, 48)
    frame = np.zeros((1, 48, 48, 4), np.uint8)
    frame[0, 10:20, 5:30] = [10, 200, 30, 255]
    Clip("toy", frame, 10, None).write(tmp_path / "clip")
    asset = toy.run_method("billboard", tmp_path)
    assert isinstance(asset.input_camera, Cameras)
    np.testing.assert_allclose(asset.input_camera.camera_to_world, camera.camera_to_world, atol=1e-12)
    np.testing.assert_allclose(asset.input_camera.intrinsics, camera.intrinsics)
    image = render_mesh(asset.frames[0], camera)[0]
    assert ((image[..., 3] >= 0.5) == (frame[0, ..., 3] > 0)).all()


def test_empty_frames_stay_empty(tmp_path: Path) -> None:
    Clip("toy", np.zeros((2, 16, 16, 4), np.uint8), 10, None).write(tmp_path / "clip")
    asset = toy.run_method("billboard", tmp_path)
    assert asset.input_camera is not None
    assert not render_mesh(asset.frames[1], asset.input_camera).any()
