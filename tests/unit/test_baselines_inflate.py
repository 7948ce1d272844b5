"""Inflate: closed surfaces that show the input view and are right for round things."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bench4d.asset import Asset4D, Mesh
from bench4d.cameras import orbit
from bench4d.clip import Clip
from bench4d.method import method_folders
from bench4d.render import composite, render_mesh, to_straight
from tests import toy

SIZE = 128
FRAMES = 3


def load_program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("inflate_run", method_folders()["inflate"] / "run.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


inflate = load_program()


def blown(frames: np.ndarray, camera: dict, grid: int = 128, thickness: float = 1.0) -> list[Mesh]:
    """The meshes of frames [T,H,W,4], in this process."""
    tensors = inflate.make_asset(frames, camera, {"grid": grid, "thickness": thickness})

    def part(name: str, k: int) -> np.ndarray:
        offsets = tensors[f"{name}.offsets"]
        return tensors[name][offsets[k] : offsets[k + 1]]

    names = ("vertices", "faces", "uv", "texture")
    return [Mesh(**{name: part(name, k) for name in names}) for k in range(len(frames))]


def solid(mesh: Mesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)


@pytest.fixture(scope="module", params=["bending_capsule", "turning_box"])
def moving(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[Mesh], Clip, dict[str, Asset4D]]:
    """Truth, clip, and the assets of inflate and billboard."""
    data = tmp_path_factory.mktemp(request.param)
    truth = [getattr(toy, request.param)(0.4 * k) for k in range(FRAMES)]
    toy.write_clip_and_truth(data, truth, SIZE)
    return truth, Clip.read(data / "clip"), {name: toy.run_method(name, data) for name in ("inflate", "billboard")}


def test_the_input_view_comes_back(moving: tuple[list[Mesh], Clip, dict[str, Asset4D]]) -> None:
    truth, clip, assets = moving
    assert clip.camera is not None
    for mesh, wanted in zip(assets["inflate"].frames, truth, strict=True):
        seen, right = render_mesh(mesh, clip.camera), render_mesh(wanted, clip.camera)
        assert toy.silhouette_iou(seen, right) > 0.97
        error = composite(seen, (1, 1, 1))[0].astype(float) - composite(right, (1, 1, 1))[0]
        assert 10 * np.log10(255**2 / (error**2).mean()) > 32


def test_it_is_closed_outward_and_of_sensible_volume(moving: tuple[list[Mesh], Clip, dict[str, Asset4D]]) -> None:
    truth, _, assets = moving
    for mesh, wanted in zip(assets["inflate"].frames, truth, strict=True):
        ours, volume = solid(mesh), sum(part.volume for part in solid(wanted).split())
        assert ours.is_watertight and ours.is_winding_consistent
        assert 0.6 * volume < ours.volume < 1.6 * volume
    volumes = [solid(mesh).volume for mesh in assets["inflate"].frames]
    assert max(volumes) < 1.4 * min(volumes)  # no pulsing


def test_it_beats_the_billboard_at_new_views(moving: tuple[list[Mesh], Clip, dict[str, Asset4D]]) -> None:
    truth, _, assets = moving
    for azimuth in (45, 90, 135, 255):
        camera = orbit([azimuth], 15, 2, 40, SIZE)
        scores = {
            name: np.mean(
                [
                    toy.silhouette_iou(render_mesh(mesh, camera), render_mesh(wanted, camera))
                    for mesh, wanted in zip(asset.frames, truth, strict=True)
                ]
            )
            for name, asset in assets.items()
        }
        assert scores["inflate"] > scores["billboard"] + 0.05 and scores["inflate"] > 0.65


def ball_clip(elevation: float, size: int = 256) -> tuple[np.ndarray, dict]:
    """A white ball of radius 0.3 at the origin."""
    camera = orbit([20], elevation, 2, 40, size)
    shape = trimesh.creation.icosphere(5, 0.3)
    mesh = Mesh(
        shape.vertices.astype(np.float32),
        shape.faces.astype(np.int32),
        np.full((len(shape.vertices), 4), 255, np.uint8),
    )
    return to_straight(render_mesh(mesh, camera)), camera.to_json()


@pytest.mark.parametrize("elevation", [0, 30, 80])
def test_a_ball_becomes_a_ball(elevation: float) -> None:
    (mesh,) = blown(*ball_clip(elevation))
    assert solid(mesh).volume == pytest.approx(4 / 3 * np.pi * 0.3**3, rel=0.05)
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices, axis=1), 0.3, atol=0.015)


def test_thickness_scales_the_depth_and_nothing_else() -> None:
    frames, camera = ball_clip(0)
    (round_one,), (flat,) = blown(frames, camera), blown(frames, camera, thickness=0.5)
    assert solid(flat).volume == pytest.approx(0.5 * solid(round_one).volume, rel=0.02)
    np.testing.assert_array_equal(flat.faces, round_one.faces)


CAMERA = inflate.default_camera(24, 24)


@settings(max_examples=60, deadline=None)
@given(
    alpha=arrays(
        np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.sampled_from([0, 100, 127, 128, 255])
    )
)
@pytest.mark.parametrize("grid", [12, 5])
def test_any_silhouette_gives_a_closed_surface(alpha: np.ndarray, grid: int) -> None:
    """Several parts, holes, single pixels, saddles, cut by the border, empty."""
    frame = np.full((1, *alpha.shape, 4), 200, np.uint8)
    frame[0, ..., 3] = alpha
    (mesh,) = blown(frame, inflate.default_camera(*alpha.shape), grid)
    if grid >= 12:
        assert bool(len(mesh.faces)) == bool((alpha >= 128).any())
    if len(mesh.faces):
        shape = solid(mesh)
        assert shape.is_watertight and shape.is_winding_consistent and shape.volume > 0
        merged = trimesh.Trimesh(mesh.vertices, mesh.faces)  # as scorers read it: equal positions merged
        assert merged.is_watertight


def test_a_ring_keeps_its_hole_and_two_discs_stay_two() -> None:
    rows, columns = np.mgrid[:64, :64]
    distance = np.hypot(rows - 31.5, columns - 31.5)
    frames = np.zeros((2, 64, 64, 4), np.uint8)
    frames[0, ..., 3] = 255 * ((distance < 25) & (distance > 12))
    frames[1, ..., 3] = 255 * ((np.hypot(rows - 31.5, columns - 15) < 10) | (np.hypot(rows - 31.5, columns - 48) < 10))
    ring, discs = (solid(mesh) for mesh in blown(frames, inflate.default_camera(64, 64)))
    assert ring.euler_number == 0 and ring.body_count == 1
    assert discs.body_count == 2 and discs.euler_number == 4


def test_empty_frames_among_others_are_empty_meshes(tmp_path: Path) -> None:
    frames = np.zeros((3, 32, 32, 4), np.uint8)
    frames[1, 8:20, 8:20] = [250, 10, 10, 255]
    Clip("toy", frames, 10, None).write(tmp_path / "clip")
    asset = toy.run_method("inflate", tmp_path)
    assert [len(mesh.faces) > 0 for mesh in asset.frames] == [False, True, False]
    assert asset.input_camera is not None
    assert not render_mesh(asset.frames[0], asset.input_camera).any()


def test_pixels_that_are_hardly_covered_do_not_stain_the_border() -> None:
    image = np.zeros((8, 8, 4), np.uint8)
    image[2:6, 2:6] = [0, 255, 0, 255]
    image[1, 2:6] = [255, 0, 255, 40]
    filled = inflate.opaque(image)
    assert (filled == [0, 255, 0, 255]).all()
