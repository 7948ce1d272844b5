"""The benchmark menagerie: its lists, its downloads from a server on this machine, clips of models made here.

The real models are not in the repository: with BENCH4D_ASSETS naming their folder, those of the split test are tested.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from bench4d.asset import Mesh
from bench4d.asset_io import read_asset
from bench4d.benchmark import Benchmark, find_benchmark
from bench4d.cameras import orbit
from bench4d.clip import Clip
from bench4d.errors import FormatError
from bench4d.gltf import read_animated
from bench4d.render import composite, render_mesh
from bench4d.weights import Locations
from benchmarks.menagerie import assets, moving
from benchmarks.menagerie.assets import File, ListedAsset, ListedClip, find_clip, read_assets, read_clips
from benchmarks.menagerie.build import build
from benchmarks.menagerie.export import export, training_clips
from benchmarks.menagerie.fetch import AssetMissing, find_asset, pack
from metrics.iou import open_edges
from ss4d.data.sources import asset_ids, open_source

pytest_plugins = ["tests.local_server"]
SAMPLES = Path(__file__).parents[1] / "fixtures" / "gltf"
MODEL, PICTURE = (SAMPLES / "skin.glb").read_bytes(), b"a picture"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def listed(url: str = "http://127.0.0.1:9", split: str = "test") -> ListedAsset:
    """A model that names a picture; nobody answers at port 9."""
    files = (
        File("snake.glb", f"{url}/snake.glb", sha256(MODEL), len(MODEL)),
        File("textures/skin.png", f"{url}/textures/skin.png", sha256(PICTURE), None),
    )
    return ListedAsset("snake", split, "creature", 30.0, "CC0-1.0", "nobody", files)


def fill(folder: Path, model: bytes = MODEL, picture: bytes | None = PICTURE) -> Path:
    (folder / "textures").mkdir(parents=True)
    (folder / "snake.glb").write_bytes(model)
    if picture is not None:
        (folder / "textures/skin.png").write_bytes(picture)
    return folder


BEND = ListedClip("snake-bend", "snake", "bend", "bend", False)
SERVED = {"/snake.glb": MODEL, "/textures/skin.png": PICTURE}


# The lists


def test_splits_are_disjoint_and_balanced():
    listed = read_assets().values()
    assert Counter(asset.split for asset in listed) == {"test": 14, "train": 32, "reserved": 14}
    kinds = Counter(asset.kind for asset in listed if asset.split == "test")
    assert kinds == dict.fromkeys(assets.KINDS, 2)
    contents = [asset.files[0].sha256 for asset in listed]
    assert len(set(contents)) == len(contents) == 60, "one model under two names"
    assert all(file.url.startswith(assets.RAW) and " " not in file.url for asset in listed for file in asset.files)


def test_protocols_have_test_assets_and_training_has_none():
    known = read_assets()
    full, mini, long = (find_benchmark(name) for name in ("menagerie-test", "menagerie", "menagerie-long60"))
    objects = full.object_of
    assert sorted(objects.values()) == sorted(id for id, asset in known.items() if asset.split == "test")
    assert all(find_clip(clip)[0].asset == name for clip, name in objects.items())
    assert mini.object_of.items() <= objects.items() and len(mini.clips) == 4
    assert all(find_clip(clip)[0].asset == name for clip, name in long.object_of.items())
    assert set(long.object_of.values()) < set(objects.values()) and len(long.times) == 60
    trained = {clip.asset for clip in training_clips()}
    assert trained == {id for id, asset in known.items() if asset.split == "train"}
    assert {clip.asset for clip in read_clips().values()} == trained | set(objects.values()), "reserved ones have none"
    wanted = {"walk", "run", "swim", "fly", "idle", "attack"}
    assert wanted <= {find_clip(clip)[0].motion for clip in full.clips}


def lists(folder: Path, changes: dict[str, str], clip: str = "quaternius_fish_whale-swim") -> Path:
    """assets.csv with one row, changed; clips.csv with one row."""
    head, *rows = (assets.FOLDER / "assets.csv").read_text().splitlines()
    row = dict(zip(head.split(","), next(r for r in rows if "fish_whale" in r).split(","), strict=True)) | changes
    (folder / "assets.csv").write_text(f"{head}\n{','.join(row.values())}\n")
    head, *rows = (assets.FOLDER / "clips.csv").read_text().splitlines()
    (folder / "clips.csv").write_text("\n".join([head, next(r for r in rows if r.startswith(clip))]))
    return folder


def test_a_list_that_is_right_is_read(tmp_path):
    whale, asset = find_clip("quaternius_fish_whale-swim", lists(tmp_path, {"path": "a b/whale#1.glb"}))
    assert (whale.motion, whale.loop, asset.kind) == ("swim", True, "fish")
    assert asset.files[0].url.endswith("/a%20b/whale%231.glb") and asset.files[0].name == f"{asset.id}.glb"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "tests"}, "none of test, train, reserved"),
        ({"kind": "bird"}, "none of quadruped"),
        ({"licence": ""}, "no licence"),
        ({"sha256": "abc"}, "sha256 'abc'"),
        ({"bytes": "many"}, "many"),
        ({"bytes": str(2**40)}, "bytes"),
        ({"commit": "main"}, "at commit 'main'"),
        ({"path": "../whale.glb"}, "leads out"),
        ({"beside": "/etc/passwd", "beside_sha256": "0" * 64}, "leads out"),
        ({"id": "a/b"}, "an id of 1 to 100"),
        ({"author": "one,two"}, "more or fewer"),
    ],
)
def test_a_list_that_is_wrong_is_refused(tmp_path, changes, message):
    with pytest.raises(FormatError, match=message):
        read_assets(lists(tmp_path, changes))


def test_reserved_assets_have_no_clips(tmp_path):
    with pytest.raises(FormatError, match="of the split test or train"):
        read_clips(lists(tmp_path, {"split": "reserved"}))


# Downloads


def test_the_given_folder_comes_first(tmp_path, server):
    places = Locations(fill(tmp_path / "given"), tmp_path / "cache")
    assert find_asset(listed(server(SERVED)), places) == tmp_path / "given/snake.glb"
    assert not server.requests and not places.cache.exists()


def test_a_download_is_verified_and_kept(tmp_path, server):
    places = Locations(None, tmp_path / "cache")
    asset = listed(server(SERVED))
    for _ in range(2):
        found = find_asset(asset, places)
        assert found.read_bytes() == MODEL and (found.parent / "textures/skin.png").read_bytes() == PICTURE
    assert server.requests == ["/snake.glb", "/textures/skin.png"], "the second time nothing is asked"


def test_a_download_goes_on_where_it_broke_off(tmp_path, server):
    places = Locations(None, tmp_path / "cache")
    half = places.cache / "downloads" / sha256(MODEL)
    half.parent.mkdir(parents=True)
    half.write_bytes(MODEL[:1000])
    assert find_asset(listed(server(SERVED)), places).read_bytes() == MODEL
    assert server.ranges[0] == "bytes=1000-"


def test_what_lacks_beside_a_given_model_is_brought_together(tmp_path, server):
    places = Locations(fill(tmp_path / "given", picture=None), tmp_path / "cache")
    found = find_asset(listed(server(SERVED)), places)
    assert found == places.cache / "snake.glb" and (found.parent / "textures/skin.png").read_bytes() == PICTURE
    assert server.requests == ["/textures/skin.png"], "the given model is copied"


def test_wrong_content_is_never_used(tmp_path, server):
    wrong = MODEL[:-1] + bytes([MODEL[-1] ^ 1])
    places = Locations(fill(tmp_path / "given", wrong), tmp_path / "cache")
    assert find_asset(listed(server(SERVED)), places).read_bytes() == MODEL
    with pytest.raises(AssetMissing, match=r"given/snake.glb: wrong content(.|\n)*sha256 differs"):
        find_asset(listed(server({**SERVED, "/snake.glb": wrong})), Locations(places.given, tmp_path / "other"))
    assert not (tmp_path / "other/snake.glb").exists()


def test_a_missing_file_says_what_to_do(tmp_path):
    asset = listed()
    with pytest.raises(AssetMissing) as caught:
        find_asset(asset, Locations(None, tmp_path / "cache"), timeout=2)
    for part in (asset.files[0].url, asset.files[0].sha256, f"{tmp_path}/cache/snake.glb", "BENCH4D_ASSETS", "--split"):
        assert part in str(caught.value)


def test_a_pack_serves_as_the_given_folder(tmp_path):
    given = Locations(fill(tmp_path / "given"), tmp_path / "cache")
    for name in ("a.zip", "b.zip"):
        pack([listed()], given, tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    shutil.unpack_archive(tmp_path / "a.zip", tmp_path / "else")
    found = find_asset(listed(), Locations(tmp_path / "else", tmp_path / "none"), timeout=2)
    assert found == tmp_path / "else/snake.glb"
    assert "snake\ttest\tCC0-1.0\tnobody\t" in (tmp_path / "else/LICENCES.tsv").read_text()
    with pytest.raises(AssetMissing):
        pack([listed()], Locations(None, tmp_path / "empty"), tmp_path / "c.zip", timeout=2)
    assert not (tmp_path / "c.zip").exists()


def test_licences_of_all_splits_are_listed():
    command = [sys.executable, "-m", "benchmarks.menagerie.fetch", "--licences", "--split", "test"]
    options = {"capture_output": True, "text": True, "check": True, "cwd": Path(__file__).parents[2]}
    rows = subprocess.run([*command, "--split", "reserved", "--split", "train"], **options).stdout.splitlines()
    assert len(rows) == 60 and all(len(row.split("\t")) == 5 for row in rows)
    assert any("CC-BY-4.0" in row and "tomkranis" in row for row in rows)


# Clips


def test_frames_fill_one_period():
    (bend, *_) = read_animated(SAMPLES / "skin.glb").animations
    assert (bend.start, bend.end) == (0, 1)
    bend = dataclasses.replace(bend, start=0.5, end=2.5)
    assert moving.sample(bend, 4, loop=True).tolist() == [0.5, 1.0, 1.5, 2.0]
    assert moving.sample(bend, 5, loop=False).tolist() == [0.5, 1.0, 1.5, 2.0, 2.5]
    assert moving.sample(bend, 1, loop=False).tolist() == [0.5]


@pytest.mark.parametrize(("sample", "animation"), [("skin", "bend"), ("skin", "twist"), ("morph", "wave")])
def test_one_similarity_brings_the_whole_motion_into_the_cube(sample, animation):
    path = SAMPLES / f"{sample}.glb"
    clip = ListedClip("x-y", "x", "y", animation, False)
    few, many = (np.stack([m.vertices for m in moving.clip_meshes(clip, listed(), path, n)]) for n in (5, 97))
    low, high = many.min((0, 1)), many.max((0, 1))
    assert abs((high - low).max() - 2 * moving.HALF) < 1e-4 and np.abs(low + high).max() < 1e-4
    assert np.abs(few - many[::24]).max() < 1e-6, "the similarity does not depend on the number of frames"
    rest = read_animated(path).vertices(animation, moving.sample(read_animated(path).animation(animation), 97, False))
    spans = [np.linalg.norm(points[:, 1:] - points[:, :1], axis=-1) for points in (rest, many)]
    scale = spans[1].sum() / spans[0].sum()
    assert np.abs(spans[1] - scale * spans[0]).max() < 2e-4, "one scale for all frames"
    shift = many[..., 2] - scale * rest[..., 2]
    assert np.ptp(shift) < 2e-4, "one place for all frames, and up stays up"


def test_a_positive_yaw_turns_counter_clockwise_seen_from_above():
    animated = read_animated(SAMPLES / "skin.glb")
    (bend, *_) = animated.animations
    straight, quarter = (moving.turned(animated, bend, np.array([0.3]), yaw)[0] for yaw in (0, 90))
    assert np.abs(quarter - straight[:, [1, 0, 2]] * [-1, 1, 1]).max() < 1e-12


def test_no_frames_and_unknown_animations_are_refused():
    with pytest.raises(FormatError, match="at least one frame"):
        moving.clip_meshes(BEND, listed(), SAMPLES / "skin.glb", 0)
    with pytest.raises(FormatError, match="one animation 'dance'"):
        moving.clip_meshes(dataclasses.replace(BEND, animation="dance"), listed(), SAMPLES / "skin.glb", 2)


def test_a_cut_triangle_is_the_same_surface():
    """A tetrahedron, cut twice: 16 times as many faces of the same planes, area and winding, still closed."""
    points = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)

    def cross(p: np.ndarray, f: np.ndarray) -> np.ndarray:
        return np.cross(p[f[:, 1]] - p[f[:, 0]], p[f[:, 2]] - p[f[:, 0]])

    fine, many = points, faces
    for _ in range(2):
        ends, many = moving.quartered(many, len(fine))
        fine = moving.with_middles(fine, ends)
    assert len(many) == 64 and len(fine) == 34, "vertices minus edges plus faces is 2"
    for part, whole in zip(np.split(cross(fine, many), 16), np.tile(cross(points, faces), (16, 1, 1)), strict=True):
        assert np.abs(16 * part - whole).max() < 1e-12
    assert open_edges(Mesh(fine.astype(np.float32), many, np.full((len(fine), 4), 255, np.uint8))) == 0


def test_texels_are_those_of_scipy():
    rng = np.random.default_rng(0)
    texture, uv = rng.integers(0, 256, (5, 7, 4), np.uint8), rng.uniform(-2, 3, (200, 2))
    place = [uv[:, 1] * 5 - 0.5, uv[:, 0] * 7 - 0.5]
    for channel in range(4):
        wanted = map_coordinates(texture[..., channel].astype(np.float64), place, order=1, mode="grid-wrap")
        assert np.abs(moving.texels(texture, uv)[:, channel] - wanted).max() < 1e-9


def test_a_texture_becomes_colours_of_vertices():
    animated = read_animated(SAMPLES / "painted.glb")
    (rest,) = animated.at(None, [0.0])
    assert rest.texture is not None
    painted = moving.paint(rest)
    assert len(painted.faces) == len(rest.faces) * 4 ** len(painted.edges)
    assert len(painted.faces) <= moving.MAX_FACES < 4 * len(painted.faces)
    assert np.abs(painted.albedo[: len(rest.uv)] * 255 - moving.texels(rest.texture, rest.uv)[:, :3]).max() < 1e-9


def test_light_is_synth4ds():
    """A grey plate that faces up: the sky's colour, the key light at its angle, and the light from behind."""
    points = np.array([[0.0, 0, 0], [0.1, 0, 0], [0, 0.1, 0]])
    plate = moving.Painted((), np.array([[0, 1, 2]], np.int32), np.full((3, 3), 0.5), np.array([255, 255, 9], np.uint8))
    key = 0.62 / np.sqrt(0.48**2 + 2 * 0.62**2)
    light = np.array([0.54, 0.57, 0.62]) + (key + 0.12) / 1.12 * np.array([0.70, 0.67, 0.61])
    light += 0.36 * np.array([0.27, 0.28, 0.31])
    mesh = moving.lit(points, plate)
    assert np.abs(mesh.colors[:, :3] - 255 * np.minimum(0.5 * np.sqrt(light), 1)).max() <= 0.5
    assert mesh.colors[:, 3].tolist() == [255, 255, 9]
    assert np.abs(mesh.vertices - points).max() <= 1 / moving.GRID and not (mesh.vertices * moving.GRID % 1).any()


def small(frames: int) -> Benchmark:
    benchmark = find_benchmark("menagerie")
    return dataclasses.replace(benchmark, data=benchmark.data | {"n_frames": frames, "size": 48})


def test_a_clip_is_the_truth_from_the_input_camera(tmp_path):
    places, benchmark = Locations(fill(tmp_path / "given"), tmp_path / "cache"), small(3)
    for name in ("a", "b"):
        build(benchmark, BEND, listed(), places, tmp_path / name / "clip", tmp_path / name / "truth", threads=1)
    files = [sorted(path for path in (tmp_path / name).rglob("*") if path.is_file()) for name in ("a", "b")]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]] and len(files[0]) == 6
    clip, truth = Clip.read(tmp_path / "a/clip"), read_asset(tmp_path / "a/truth/asset")
    assert (clip.id, clip.fps, clip.frames.shape) == ("snake-bend", benchmark.data["fps"], (3, 48, 48, 4))
    assert truth.times.tolist() == benchmark.times.tolist()
    camera = orbit([0], 15, 2.0, 40, 48)
    for k, mesh in enumerate(truth.frames):
        rgb, alpha = composite(render_mesh(mesh, camera), (1.0, 1.0, 1.0))
        assert np.array_equal(alpha[0], clip.frames[k, ..., 3]) and alpha.any()
        solid = alpha[0] == 255
        assert np.array_equal(rgb[0][solid], clip.frames[k, ..., :3][solid]) and solid.any()
    assert len({mesh.vertices.tobytes() for mesh in truth.frames}) == 3


def test_a_benchmark_has_no_training_assets(tmp_path):
    with pytest.raises(FormatError, match="clips of the split test"):
        build(
            small(2), BEND, listed(split="train"), Locations(None, tmp_path), tmp_path / "clip", tmp_path / "truth", 1
        )
    assert not list(tmp_path.iterdir())


def test_training_has_no_test_assets_and_exports_the_others(tmp_path, monkeypatch):
    places = Locations(fill(tmp_path / "given"), tmp_path / "cache")
    with pytest.raises(FormatError, match="must not be trained on"):
        export("quaternius_fish_whale-swim", places, tmp_path / "out/whale", 2, 8)
    monkeypatch.setattr("benchmarks.menagerie.export.find_clip", lambda id: (BEND, listed(split="train")))
    export("snake-bend", places, tmp_path / "out/snake-bend", 2, 8)
    assert asset_ids(tmp_path / "out") == ["snake-bend"]
    source = open_source("snake-bend", tmp_path / "out", 99, 99)
    assert source.times.tolist() == [0, 0.125]
    wanted = moving.clip_meshes(BEND, listed(), SAMPLES / "skin.glb", 2)
    assert all(
        np.array_equal(m.vertices, w.vertices) for m, w in zip(map(source.mesh_at, source.times), wanted, strict=True)
    )


# The real models

GIVEN = os.environ.get("BENCH4D_ASSETS")
real = pytest.mark.skipif(not GIVEN, reason="BENCH4D_ASSETS names no folder with the models")


@real
@pytest.mark.parametrize(
    "id", sorted({c for b in ("menagerie-test", "menagerie-long60") for c in find_benchmark(b).clips})
)
def test_a_real_clip_moves_inside_the_cube(id, tmp_path):
    clip, asset = find_clip(id)
    meshes = moving.clip_meshes(clip, asset, find_asset(asset, Locations(Path(GIVEN or ""), tmp_path)), 24)
    points = np.stack([mesh.vertices for mesh in meshes])
    assert np.abs(points).max() < 0.45
    assert np.ptp(points, (0, 1)).max() > 0.8, "24 frames nearly fill what the animation fills"
    assert np.linalg.norm(points - points[0], axis=-1).max(0).mean() > 0.03
    assert all(np.ptp(mesh.colors[:, :3]) > 20 for mesh in meshes), "it has colours"


@real
def test_all_listed_animations_are_in_the_files(tmp_path):
    known, read = read_assets(), {}
    for clip in read_clips().values():
        path = find_asset(known[clip.asset], Locations(Path(GIVEN or ""), tmp_path))
        read[path] = read.get(path) or read_animated(path)
        animation = read[path].animation(clip.animation)
        first, last = read[path].vertices(clip.animation, [animation.start, animation.end])
        gap = np.linalg.norm(last - first, axis=-1).max() / np.linalg.norm(np.ptp(first, 0))
        assert (gap < 0.1) == clip.loop, f"{clip.id}: begins and ends {gap:.3f} diagonals apart"
