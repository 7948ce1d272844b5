"""The nouns: what is written is read back, and what is wrong is refused with the expectation named."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from bench4d.asset import Asset4D, Gaussians, Mesh
from bench4d.asset_io import read_asset, write_asset
from bench4d.cameras import Cameras, orbit
from bench4d.clip import Clip
from bench4d.errors import FormatError
from bench4d.files import read_json, write_json


def tetrahedron(shift=0.0, color=200):
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32) + np.float32(shift)
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)
    return Mesh(corners, faces, colors=np.full((4, 4), color, np.uint8))


def some_gaussians(count, seed=0):
    rng = np.random.default_rng(seed)
    return Gaussians(
        rng.normal(size=(count, 3)).astype(np.float32),
        rng.uniform(0.01, 0.1, (count, 3)).astype(np.float32),
        rng.normal(size=(count, 4)).astype(np.float32),
        rng.uniform(0, 1, count).astype(np.float32),
        rng.normal(size=(count, 4, 3)).astype(np.float32),
        dilation=0.1,
        compensate=True,
    )


def equal(a, b):
    return all(np.array_equal(getattr(a, k), getattr(b, k)) for k in vars(a) if getattr(a, k) is not None)


# ------------------------------------------------------------------------------------------------ cameras


def test_orbit_looks_at_the_origin_with_azimuth_counter_clockwise_from_minus_y():
    cameras = orbit([0, 90, 180, -75], elevation=20, radius=2, fov_y=40, size=100)
    for pose, azimuth in zip(cameras.camera_to_world, (0, 90, 180, -75), strict=True):
        a, e = np.radians(azimuth), np.radians(20)
        assert np.allclose(pose[:3, 3], 2 * np.array([np.cos(e) * np.sin(a), -np.cos(e) * np.cos(a), np.sin(e)]))
        assert np.allclose(pose[:3, 2], -pose[:3, 3] / 2)  # forward
        assert pose[2, 1] < 0  # image y points down
        assert np.isclose(pose[2, 0], 0)  # no roll
    assert np.isclose(cameras.intrinsics[0, 1, 1], 50 / np.tan(np.radians(20)))


def test_cameras_survive_json_and_indexing():
    cameras = orbit([0, 75, 165], 15, 2, 40, 64)
    again = Cameras.from_json(json.loads(json.dumps(cameras.to_json())))
    assert np.array_equal(again.camera_to_world, cameras.camera_to_world)
    assert np.array_equal(cameras[-1].camera_to_world[0], cameras.camera_to_world[2])
    assert len(cameras[1:]) == 2


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"width": 0}, "1 to 16384"),
        ({"camera_to_world": [[[2, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]]}, "rotations"),
        ({"camera_to_world": [[[-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]]}, "rotations"),
        ({"intrinsics": [[[0, 0, 5], [0, 9, 5], [0, 0, 1]]]}, "positive focal"),
        ({"intrinsics": [[1, 2]]}, "intrinsics"),
        ({"intrinsics": [[[9, 1, 5], [0, 9, 5], [0, 0, 1]]]}, "skew"),
        ({"intrinsics": [[[9, 0, 5], [0, 9, 5], [0, 0, 2]]]}, "0 0 1"),
        ({"camera_to_world": [[[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 2]]]}, "0 0 0 1"),
        ({"intrinsics": "wide"}, "numbers"),
        ({"extra": 1}, "keys"),
    ],
)
def test_wrong_cameras_are_refused(change, expected):
    with pytest.raises(FormatError, match=expected):
        Cameras.from_json(orbit([0], 0, 2, 40, 10).to_json() | change)


# ------------------------------------------------------------------------------------------------ clips


def small_clip(camera=True):
    frames = np.random.default_rng(1).integers(0, 256, (3, 8, 8, 4), np.uint8)
    return Clip("wolf-1", frames, 8.0, orbit([0], 0, 2, 40, 8) if camera else None)


@pytest.mark.parametrize("camera", [True, False])
def test_clip_round_trip_is_exact(tmp_path, camera):
    clip = small_clip(camera)
    clip.write(tmp_path / "c")
    again = Clip.read(tmp_path / "c")
    assert np.array_equal(again.frames, clip.frames)
    assert (again.id, again.fps, again.sha256) == (clip.id, clip.fps, clip.sha256)
    assert again.times.tolist() == [0.0, 0.125, 0.25]


def test_a_whole_number_as_frame_rate_reads_back(tmp_path):
    Clip("wolf-1", small_clip().frames, 8).write(tmp_path)
    assert Clip.read(tmp_path).fps == 8.0


def break_missing_frame(folder):
    (folder / "frames" / "0001.png").unlink()


def break_extra_frame(folder):
    (folder / "frames" / "0003.png").write_bytes((folder / "frames" / "0000.png").read_bytes())


def break_truncated_png(folder):
    path = folder / "frames" / "0002.png"
    path.write_bytes(path.read_bytes()[:60])


def break_rgb(folder):
    from PIL import Image

    Image.new("RGB", (8, 8)).save(folder / "frames" / "0000.png")


def break_size(folder):
    from PIL import Image

    Image.new("RGBA", (9, 8)).save(folder / "frames" / "0001.png")


def break_pixels(folder):
    from PIL import Image

    Image.new("RGBA", (8, 8)).save(folder / "frames" / "0001.png")


def change(key, value):
    def act(folder):
        data = read_json(folder / "clip.json")
        write_json(folder / "clip.json", data | {key: value})

    return act


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (break_missing_frame, "missing"),
        (break_extra_frame, "unexpected"),
        (break_truncated_png, "readable"),
        (break_rgb, "mode RGB"),
        (break_size, "size of frame 0"),
        (break_pixels, "sha256"),
        (change("version", 2), "version 1"),
        (change("n_frames", 10**9), "frames"),
        (change("fps", "fast"), "fps"),
        (change("fps", 0), "positive"),
        (change("id", "../up"), "an id"),
        (change("surplus", 1), "keys"),
    ],
)
def test_damaged_clips_are_refused(tmp_path, damage, expected):
    small_clip().write(tmp_path)
    damage(tmp_path)
    with pytest.raises(FormatError, match=expected) as caught:
        Clip.read(tmp_path)
    assert "expected" in str(caught.value) and "found" in str(caught.value)


# ------------------------------------------------------------------------------------------------ assets


@settings(max_examples=20, deadline=None)
@given(counts=st.lists(st.integers(0, 5), min_size=1, max_size=4), shared=st.booleans())
def test_gaussian_assets_round_trip_with_any_number_a_frame(tmp_path_factory, counts, shared):
    folder = tmp_path_factory.mktemp("asset")
    frames = [some_gaussians(counts[0] if shared else n, seed=0 if shared else k) for k, n in enumerate(counts)]
    write_asset(Asset4D("gaussians", np.arange(len(frames)) / 8, frames), folder)
    again = read_asset(folder)
    assert all(equal(a, b) for a, b in zip(frames, again.frames, strict=True))
    assert (again.frames[0].dilation, again.frames[0].compensate) == (0.1, True)


def test_what_all_frames_share_is_stored_once(tmp_path):
    moving = [tetrahedron(0.1 * k) for k in range(50)]
    write_asset(Asset4D("mesh", np.arange(50) / 8, moving), tmp_path)
    again = read_asset(tmp_path)
    assert again.frames.offsets.keys() == {"vertices"}
    assert equal(again.frames[-1], moving[49]) and len(again.frames[1:3]) == 2


def test_textured_meshes_and_half_precision(tmp_path):
    uv = np.zeros((4, 2), np.float32)
    textures = [np.full((2 + k, 3, 4), k, np.uint8) for k in range(3)]
    base = tetrahedron()
    frames = [Mesh(base.vertices, base.faces, uv=uv, texture=t) for t in textures]
    write_asset(Asset4D("mesh", [0, 1, 2], frames, input_camera=orbit([0], 0, 2, 40, 8)), tmp_path)
    assert [f.texture.shape for f in read_asset(tmp_path).frames] == [(2, 3, 4), (3, 3, 4), (4, 3, 4)]
    packed = {"vertices": base.vertices.astype(np.float16), "faces": base.faces, "colors": base.colors}
    save_file(packed, tmp_path / "frames.safetensors")
    assert read_asset(tmp_path).frames[2].vertices.dtype == np.float32


def test_views_round_trip(tmp_path):
    cameras = orbit([0, 90], 0, 2, 40, 6)
    images = [np.full((2, 6, 6, 4), k, np.uint8) for k in range(3)]
    write_asset(Asset4D("views", [0, 1, 2], images, cameras=cameras), tmp_path)
    assert np.array_equal(np.stack(list(read_asset(tmp_path).frames)), np.stack(images))
    (tmp_path / "views" / "1" / "0002.png").unlink()
    with pytest.raises(FormatError, match="3 files"):
        read_asset(tmp_path)


def packed(**tensors):
    base = tetrahedron()
    whole = {"vertices": base.vertices, "faces": base.faces, "colors": base.colors} | tensors
    return {k: np.asarray(v) for k, v in whole.items() if v is not None}


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        (packed(vertices=None), "tensors"),
        (packed(colors=None), "colors"),
        (packed(normals=np.zeros((4, 3), np.float32)), "tensors"),
        (packed(vertices=np.zeros((4, 3))), "as one of"),
        (packed(vertices=np.full((4, 3), np.nan, np.float32)), "finite"),
        (packed(vertices=np.zeros((4, 2), np.float32)), r"\[4, 3\]"),
        (packed(faces=np.full((2, 3), 9, np.int32)), "indices from 0 to 3"),
        (packed(**{"vertices.offsets": np.array([0, 4], np.int64)}), r"int64 \[4\]"),
        (packed(**{"vertices.offsets": np.array([0, 2, 4, 5], np.int64)}), "rising from 0 to 4"),
        (packed(**{"vertices.offsets": np.array([0, 3, 2, 4], np.int64)}), "rising from 0 to 4"),
    ],
)
def test_wrong_packed_files_are_refused(tmp_path, tensors, expected):
    write_asset(Asset4D("mesh", [0, 1, 2], [tetrahedron()] * 3), tmp_path)
    save_file(tensors, tmp_path / "frames.safetensors")
    with pytest.raises(FormatError, match=expected):
        list(read_asset(tmp_path).frames)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("kind", "voxels", "kind"),
        ("kind", "views", "cameras"),
        ("kind", "gaussians", "dilation"),
        ("times", [0, 1], "offsets|one time per frame"),
        ("times", [0, 0, 1], "strictly increasing"),
        ("times", [], "a list of 1"),
        ("times", ["a", 1, 2], "numbers"),
        ("data", "../../etc/passwd", "frames.safetensors"),
        ("version", 7, "version 1"),
    ],
)
def test_wrong_descriptions_are_refused(tmp_path, key, value, expected):
    write_asset(Asset4D("mesh", [0, 1, 2], [tetrahedron(k) for k in range(3)]), tmp_path)
    write_json(tmp_path / "asset.json", read_json(tmp_path / "asset.json") | {key: value})
    with pytest.raises(FormatError, match=expected):
        list(read_asset(tmp_path).frames)


def test_a_file_that_is_no_safetensors_is_refused(tmp_path):
    write_asset(Asset4D("mesh", [0], [tetrahedron()]), tmp_path)
    (tmp_path / "frames.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(FormatError, match="safetensors"):
        read_asset(tmp_path)


def test_time_rules():
    asset = Asset4D("mesh", [0.0, 1.0], [tetrahedron(0, 100), tetrahedron(1, 200)])
    assert asset.frame_at(0.5, "nearest").colors[0, 0] == 100
    assert asset.frame_at(0.6, "nearest").colors[0, 0] == 200
    halfway = asset.frame_at(0.25, "linear")
    assert np.allclose(halfway.vertices, tetrahedron(0.25).vertices) and halfway.colors[0, 0] == 125
    assert asset.frame_at(7.0, "linear").colors[0, 0] == 200
    with pytest.raises(FormatError, match="closest is at 0"):
        asset.frame_at(0.4, "refuse")
    changing = Asset4D("gaussians", [0.0, 1.0], [some_gaussians(3), some_gaussians(4)])
    with pytest.raises(FormatError, match="fixed topology"):
        changing.frame_at(0.5, "linear")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"scales": np.full((2, 3), -3.0, np.float32)}, "not logarithms"),
        ({"opacities": np.full(2, 4.0, np.float32)}, "not logits"),
        ({"sh": np.zeros((2, 2, 3), np.float32)}, "K = 1, 4, 9 or 16"),
        ({"means": np.full((2, 3), np.inf, np.float32)}, "finite"),
        ({"dilation": -1.0}, "variance"),
    ],
)
def test_gaussians_refuse_values_before_activation(arguments, expected):
    with pytest.raises(FormatError, match=expected):
        Gaussians(**(vars(some_gaussians(2)) | arguments))
