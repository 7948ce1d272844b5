"""The importer of Consistent4D on archives made here: both layouts, what strangers' files may do, truth as images."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from bench4d.asset_io import read_asset
from bench4d.benchmark import Benchmark, find_benchmark
from bench4d.clip import Clip
from bench4d.errors import FormatError
from bench4d.files import sha256_folder, write_json
from bench4d.frames import read_view
from bench4d.rendering import render_method_clip, render_truth
from benchmarks.consistent4d import archives, build, checksums
from benchmarks.consistent4d.archives import INPUT, VIEWS, find_pictures
from benchmarks.consistent4d.pictures import object_pictures, on_white, resized
from metrics import METRICS
from metrics.psnr import psnr
from tests.toy import run_method

COUNT, NATIVE, SIZE = 3, 40, 32


def picture(object_id: str, view: str, frame: int, size: int = NATIVE) -> np.ndarray:
    """A soft-edged, coloured disc; each object, view and frame has its own."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    seed = archives.OBJECTS.index(object_id) + 0.1 * (view == INPUT) + 0.2 * frame + ord(view[-1])
    centre = 0.5 + 0.1 * np.sin(seed), 0.5 + 0.1 * np.cos(seed)
    distance = np.hypot(x - centre[0], y - centre[1])
    rgb = 0.5 + 0.5 * np.sin(9 * x[..., None] + 7 * y[..., None] + seed + np.arange(3))
    alpha = np.clip((0.3 - distance) * size / 3, 0, 1)
    return np.rint(255 * np.concatenate([rgb, alpha[..., None]], axis=2)).astype(np.uint8)


def png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def content(objects=("skull",), views=(*VIEWS, INPUT), first: int = 0) -> dict[str, bytes]:
    """Name -> bytes, in the documented layouts."""
    files = {}
    for object_id in objects:
        for view in views:
            folder = f"inputs/{object_id}" if view == INPUT else f"gt/{object_id}/{view}"
            for k in range(COUNT):
                files[f"{folder}/{first + k}.png"] = png(picture(object_id, view, k))
    return files


def unpacked(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def zipped(folder: Path, files: dict[str, bytes], name: str = "test_set.zip") -> Path:
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / name, "w") as archive:
        for member, data in files.items():
            archive.writestr(member, data)
    return folder


@pytest.fixture(scope="module")
def protocol(tmp_path_factory) -> Path:
    """The real protocol, small."""
    data = yaml.safe_load(find_benchmark("consistent4d").path.read_text("utf-8"))
    data |= {"n_frames": COUNT, "size": SIZE, "clips": [{"id": "skull"}]}
    path = tmp_path_factory.mktemp("protocol") / "protocol.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


@pytest.fixture(scope="module")
def built(protocol, tmp_path_factory) -> Path:
    """`clip`, `truth`/{asset,frames}, as the workflow has them."""
    root = tmp_path_factory.mktemp("built")
    data = zipped(root / "data", content())
    build.build(Benchmark.read(protocol), "skull", data, root / "clip", root / "truth")
    render_truth(Benchmark.read(protocol), root / "truth", 1)
    return root


def test_the_protocol_is_the_official_rig():
    benchmark = find_benchmark("consistent4d")
    assert benchmark.clips == list(archives.OBJECTS) and benchmark.views == [INPUT, *VIEWS]
    assert len(benchmark.times) == 32 and benchmark.times[-1] == 31 / 16
    cameras = benchmark.cameras
    np.testing.assert_allclose(np.linalg.norm(cameras.camera_to_world[:, :3, 3], axis=1), 2.0)
    np.testing.assert_allclose(cameras.intrinsics[:, 1, 1], 256 / np.tan(np.radians(49.1 / 2)))
    x, y = cameras.camera_to_world[:, 0, 3], cameras.camera_to_world[:, 1, 3]
    np.testing.assert_allclose(np.degrees(np.arctan2(x, -y)), [0, -75, 15, 105, -165], atol=1e-9)
    assert {entry["id"] for entry in benchmark.data["metrics"]} <= set(METRICS)
    assert not benchmark.data["geometry"]


def test_folder_and_zip_and_either_numbering_give_the_same_clip(tmp_path):
    sources = [
        unpacked(tmp_path / "folder", content()),
        zipped(tmp_path / "zip", content()),
        unpacked(tmp_path / "from_one", content(first=1)),
        unpacked(tmp_path / "deep", {f"a/b/{name.upper()}": data for name, data in content().items()}),
    ]
    expected = np.stack([[picture("skull", v, k) for k in range(COUNT)] for v in (INPUT, *VIEWS)])
    for source in sources:
        np.testing.assert_array_equal(object_pictures(find_pictures(source, COUNT), "skull", NATIVE), expected)


def test_two_archives_together_and_equal_copies(tmp_path):
    zipped(tmp_path, content(views=VIEWS))
    zipped(tmp_path, content(views=(INPUT,)), "input_videos.zip")
    zipped(tmp_path, content(views=(INPUT,)), "again.zip")
    assert set(find_pictures(tmp_path, COUNT)) == {("skull", v) for v in (*VIEWS, INPUT)}


def test_results_are_not_taken_for_the_truth(tmp_path):
    theirs = {name.replace("gt/", "{}/"): png(picture("trump", "eval_0", 0)) for name in content(views=VIEWS)}
    unpacked(tmp_path, content())
    unpacked(tmp_path, {name.format("pred"): data for name, data in theirs.items()})
    np.testing.assert_array_equal(
        find_pictures(tmp_path, COUNT)["skull", "eval_2"][1].rgba(), picture("skull", "eval_2", 1)
    )
    unpacked(tmp_path, {name.format("results"): data for name, data in theirs.items()})
    with pytest.raises(FormatError, match=r"2 that differ: .*gt.*results.*pred"):
        find_pictures(tmp_path, COUNT)


def test_truth_is_shown_within_one_level_of_the_official_order(built, protocol):
    """White first, then Pillow's resize: what the official scripts compare with."""
    benchmark = Benchmark.read(protocol)
    worst = 0
    for view in benchmark.views:
        seen = read_view(built / "truth" / "frames", view, COUNT, SIZE)
        for k in range(COUNT):
            official = Image.fromarray(on_white(picture("skull", view, k))).resize((SIZE, SIZE))
            worst = max(worst, int(np.abs(seen.rgb[k].astype(int) - np.asarray(official)).max()))
    assert worst <= 1


def test_the_clip_is_the_input_view_and_holds_no_other(built, protocol):
    clip, truth = Clip.read(built / "clip"), read_asset(built / "truth" / "asset")
    assert clip.fps == 16 and clip.frames.shape == (COUNT, SIZE, SIZE, 4)
    for k, moment in enumerate(truth.frames):
        np.testing.assert_array_equal(moment[0], clip.frames[k])
        assert all((moment[v] != clip.frames[k]).any() for v in range(1, 5))
    assert truth.kind == "views" and truth.cameras is not None
    np.testing.assert_allclose(truth.cameras.camera_to_world, Benchmark.read(protocol).cameras.camera_to_world)
    assert sorted(p.name for p in (built / "clip").iterdir()) == ["clip.json", "frames"]


@pytest.mark.parametrize("method", ["ground_truth", "oracle_static"])
def test_reference_methods_run_on_a_truth_of_images(built, protocol, method):
    benchmark = Benchmark.read(protocol)
    run_method(method, built)
    folder = built / "out" / method
    record = {"status": "ok", "reason": "", "matrix": np.eye(4).tolist(), "asset_sha256": ""}
    (folder / "asset").mkdir()
    for part in ("asset.json", "views"):
        (folder / part).rename(folder / "asset" / part)
    write_json(folder / "aligned.json", record)
    render_method_clip(benchmark, folder, 1)
    for view in benchmark.views:
        shown, true = (read_view(f / "frames", view, COUNT, SIZE) for f in (folder, built / "truth"))
        values = psnr(shown, true)
        assert values[0] == 100
        assert (values == 100).all() if method == "ground_truth" else (values[1:] < 60).all()


@pytest.mark.parametrize("size", [17, 32, 40, 64])
def test_resizing(size):
    rgba = picture("monster", "eval_1", 0)
    small = resized(rgba, size)
    assert small.shape == (size, size, 4)
    if size == NATIVE:
        np.testing.assert_array_equal(small, rgba)
    official = np.asarray(Image.fromarray(on_white(rgba)).resize((size, size))).astype(int)
    assert np.abs(on_white(small) - official).max() <= 1
    alpha = np.asarray(Image.fromarray(rgba[..., 3]).resize((size, size)))
    assert (small[..., 3] >= alpha).all() and (small[..., 3] - alpha).max() < 32 and small[0, 0, 3] == 0


def test_resizing_a_hard_black_edge_keeps_the_overshoot():
    """Bicubic darkens white beside black nowhere, but black beside white is clipped: alpha must cope with both."""
    rgba = np.zeros((40, 40, 4), np.uint8)
    rgba[10:30, 10:30] = [255, 255, 255, 255]
    rgba[14:26, 14:26, :3] = 0
    official = np.asarray(Image.fromarray(on_white(rgba)).resize((64, 64))).astype(int)
    assert np.abs(on_white(resized(rgba, 64)) - official).max() <= 1
    with pytest.raises(FormatError, match="a square one"):
        resized(rgba[:30], 64)


def test_without_the_data_the_program_says_what_to_download_and_where_to_put_it(tmp_path, protocol):
    command = [sys.executable, build.__file__, "--protocol", str(protocol), "--clip", "skull"]
    command += ["--clip-out", str(tmp_path / "c"), "--truth-out", str(tmp_path / "t"), "--data", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    for part in (*archives.DOWNLOADS.values(), str(archives.DATA), "input videos"):
        assert part in done.stderr
    assert not (tmp_path / "c").exists() and not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (content(views=VIEWS), r"skull/<n>\.png; found only"),
        (content(views=(*VIEWS[:3], INPUT)), r"skull/eval_3/<n>\.png"),
        ({n: d for n, d in content().items() if n != "gt/skull/eval_1/1.png"}, "3 pictures with successive numbers"),
        (content() | {"gt/skull/eval_0/3.png": b""}, "3 pictures with successive numbers"),
        (content() | {"gt/skull/eval_0/0.png": b"<html>"}, "a readable 8-bit RGBA PNG"),
        (content() | {"gt/skull/eval_0/0.png": png(picture("skull", INPUT, 0)[..., :3])}, "as they were downloaded"),
        (content() | {"gt/skull/eval_0/0.png": png(picture("skull", INPUT, 0)[:30])}, "a square one"),
        ({}, "skull/<n>.png; found none. Download"),
    ],
)
def test_incomplete_and_broken_pictures(tmp_path, protocol, files, message):
    data = zipped(tmp_path / "data", files)
    with pytest.raises(FormatError, match=message):
        build.build(Benchmark.read(protocol), "skull", data, tmp_path / "c", tmp_path / "t")


def test_names_that_lead_out_reach_nothing(tmp_path):
    """A member's name is only ever matched and opened inside its archive."""
    secret = png(picture("skull", "eval_0", 0))
    unpacked(tmp_path / "outside", {"skull/0.png": secret})
    zipped(tmp_path / "data", {"../outside/skull/0.png": b"x", "/skull/1.png": b"y", "../../evil.png": b"z"})
    before = sha256_folder(tmp_path)
    with pytest.raises(FormatError, match="successive"):
        find_pictures(tmp_path / "data", COUNT)
    assert sha256_folder(tmp_path) == before
    link = tmp_path / "linked" / "skull"
    link.mkdir(parents=True)
    (link / "0.png").symlink_to(tmp_path / "outside" / "skull" / "0.png")
    with pytest.raises(FormatError, match="a path inside"):
        find_pictures(tmp_path / "linked", 1)


def test_limits_and_archives_that_are_none(tmp_path, monkeypatch):
    (tmp_path / "page.zip").write_text("<html>Google Drive can't scan this file</html>")
    with pytest.raises(FormatError, match="sends a web page"):
        find_pictures(tmp_path, COUNT)
    (tmp_path / "page.zip").unlink()
    bomb = zipped(tmp_path / "bomb", {})
    with zipfile.ZipFile(bomb / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("skull/0.png", bytes(2**20))
    monkeypatch.setattr(archives, "MAX_PICTURE_BYTES", 2**16)
    with pytest.raises(FormatError, match="at most 65536 bytes"):
        find_pictures(bomb, 1)["skull", INPUT][0].rgba()
    monkeypatch.setattr(archives, "MAX_FILES", 4)
    with pytest.raises(FormatError, match="at most 4"):
        find_pictures(zipped(tmp_path / "many", content()), COUNT)
    with pytest.raises(FormatError, match="at most 4"):
        find_pictures(unpacked(tmp_path / "files", content()), COUNT)


def test_a_frame_twice_is_refused(tmp_path):
    unpacked(tmp_path, {"skull/0.png": b"a", "skull/00.png": b"b"})
    with pytest.raises(FormatError, match="one picture for each frame"):
        find_pictures(tmp_path, 1)


def test_checksums_do_not_depend_on_the_archive(tmp_path):
    a = checksums.checksums(find_pictures(unpacked(tmp_path / "a", content()), COUNT))
    b = checksums.checksums(find_pictures(zipped(tmp_path / "b", content(first=1)), COUNT))
    assert a == b and len(a) == 5 * COUNT and checksums.differences(a, b) == []
    (tmp_path / "list").write_text(checksums.to_text(a))
    assert checksums.read_checksums(tmp_path / "list") == a
    other = dict(a) | {"skull/eval_1/0002.png": "0" * 64}
    del other["skull/input/0000.png"]
    assert checksums.differences(a, other) == [
        "skull/eval_1: 1 differ, 0 only in theirs, 0 only in ours",
        "skull/input: 0 differ, 0 only in theirs, 1 only in ours",
    ]
    (tmp_path / "list").write_text("0" * 64 + "  ../../etc/passwd\n")
    with pytest.raises(FormatError, match="line 1"):
        checksums.read_checksums(tmp_path / "list")
