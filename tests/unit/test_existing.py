"""Other people's layouts and scripts: ActionBench's and Motion-80's folders, V2M4's pieces of films."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from bench4d.errors import FormatError
from bench4d.foreign_geometry import is_tracked_points, read_numbered_glbs, read_tracked_points, read_vertex_frames
from bench4d.glb import write_glb
from bench4d.metric import MetricUnavailable
from bench4d.metric_loading import load_metric
from bench4d.similarity import similarity, transformed
from bench4d.surface import at_places, places
from benchmarks.existing import __main__ as program
from benchmarks.existing import geometry, videos
from benchmarks.synth4d.generator import make_object
from metrics import METRICS, fvd
from metrics.features import dreamsim, i3d
from tests.fake_features import Counter, film_feature
from tests.fake_features import metric as toy_metric

WALKER = make_object("walker-1000000")
MESHES = [WALKER.mesh_at(t) for t in (0.0, 0.5)]
CD = [METRICS["cd-3d-similarity"], METRICS["cd-m-similarity"]]


def quiet(text: str) -> None:
    pass


def write_tracked(folder: Path, meshes=MESHES, count=3000) -> np.ndarray:
    where = places(meshes[0], count)
    points = np.stack([at_places(mesh, *where) for mesh in meshes]).astype(np.float32)
    folder.mkdir(parents=True)
    np.save(folder / "surfaces.npy", np.concatenate([points, np.zeros_like(points)], axis=2))
    return points


def write_arrays(folder: Path, meshes=MESHES) -> None:
    folder.mkdir(parents=True)
    np.save(folder / "faces.npy", meshes[0].faces.astype(np.int64))
    for k, mesh in enumerate(meshes):
        np.save(folder / f"frame_{k:04d}.npy", mesh.vertices)


def write_glbs(folder: Path, meshes=MESHES) -> None:
    folder.mkdir(parents=True)
    for k, mesh in enumerate(meshes):
        write_glb(folder / f"mesh_{k}.glb", mesh)


def test_tracked_points_are_read_as_they_are(tmp_path):
    points = write_tracked(tmp_path / "a")
    asset = read_tracked_points(tmp_path / "a", 8)
    assert is_tracked_points(tmp_path / "a") and not is_tracked_points(tmp_path)
    assert asset.kind == "gaussians" and np.array_equal(asset.times, [0, 1 / 8])
    assert all(np.array_equal(frame.means, p) for frame, p in zip(asset.frames, points, strict=True))


def test_vertex_frames_and_glbs_hold_the_same_meshes_in_their_own_axes(tmp_path):
    write_arrays(tmp_path / "arrays")
    write_glbs(tmp_path / "glbs")
    (tmp_path / "glbs" / "animation.glb").write_bytes(b"not looked at")
    arrays, glbs = read_vertex_frames(tmp_path / "arrays", 8), read_numbered_glbs(tmp_path / "glbs", 8)
    for mesh, a, b in zip(MESHES, arrays.frames, glbs.frames, strict=True):
        assert np.array_equal(a.vertices, mesh.vertices) and np.array_equal(a.faces, mesh.faces)
        x, y, z = mesh.vertices.T  # a GLB is y up, and stays so
        assert np.sort(b.vertices, axis=0) == pytest.approx(np.sort(np.stack([x, z, -y], 1), axis=0), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("surfaces.npy", np.zeros((2, 3)), r"floats \[T,N,6\]"),
        ("surfaces.npy", np.zeros((2, 3, 6), np.int64), r"floats \[T,N,6\]"),
        ("surfaces.npy", np.array([{}]), "without objects"),
        ("faces.npy", np.zeros((2, 3)), r"integers \[F,3\]"),
        ("faces.npy", np.full((2, 3), -1), "indices from 0"),
    ],
)
def test_broken_files_are_refused(tmp_path, name, array, message):
    np.save(tmp_path / name, array, allow_pickle=True)
    np.save(tmp_path / "frame_0000.npy", np.zeros((3, 3)))
    with pytest.raises(FormatError, match=message):
        (read_tracked_points if name == "surfaces.npy" else read_vertex_frames)(tmp_path, 8)


def test_faces_beyond_the_vertices_and_cut_files_are_refused(tmp_path):
    write_arrays(tmp_path / "a")
    np.save(tmp_path / "a" / "frame_0001.npy", np.zeros((3, 3)))
    with pytest.raises(FormatError, match=r"Mesh\.faces"):
        _ = read_vertex_frames(tmp_path / "a", 8).frames[1]
    (tmp_path / "a" / "frame_0001.npy").write_bytes((tmp_path / "a" / "frame_0000.npy").read_bytes()[:200])
    with pytest.raises(FormatError, match="an array in NumPy's format"):
        _ = read_vertex_frames(tmp_path / "a", 8).frames[1]


def test_a_folder_of_actionbench(tmp_path):
    """Good, too short, missing, and longer than the truth: as their script, but nothing is left out silently."""
    results, truth = tmp_path / "results", tmp_path / "truth"
    for uid in ("good", "short", "gone", "longer"):
        write_tracked(truth / uid)
    turned = [transformed(m, similarity(2 * np.eye(3)[[1, 2, 0]], None, np.ones(3))) for m in MESHES]
    write_glbs(results / "good", turned)
    write_glbs(results / "short", MESHES[:1])
    write_glbs(results / "longer", [*MESHES, MESHES[0]])
    options = {metric.id: {"samples": 3000, "queries": 500} for metric in CD}
    rows = geometry.score(results, truth, CD, options, quiet)
    found = {(r["object"], r["metric"]): r for r in rows}
    assert len(found) == len(rows) == 8
    for name in ("good", "longer"):
        for metric in CD:
            row = found[name, metric.id]
            assert row["status"] == "ok" and row["n_frames"] == 2 and row["value"] < 0.05
    assert "2, as many as the truth has" in found["short", CD[0].id]["reason"].replace("2 frames", "2")
    assert found["gone", CD[0].id]["status"] == "failed" and np.isnan(found["gone", CD[0].id]["value"])


def test_motion80_from_the_command_line(tmp_path, monkeypatch, capsys):
    for side in ("results", "truth"):
        write_arrays(tmp_path / side / "a")
    write_arrays(tmp_path / "truth" / "b")
    out = tmp_path / "out" / "rows.csv"
    arguments = ["x", "motion80", str(tmp_path / "results"), str(tmp_path / "truth"), "--out", str(out)]
    monkeypatch.setattr("sys.argv", arguments)
    program.main()
    said = capsys.readouterr().out.splitlines()
    assert said[0].split()[:3] == ["cd-motion80", "0.0000", "(1/2)"] and said[1].split()[:2] == [
        "fscore-motion80",
        "1.0000",
    ]
    assert said[2].startswith("b: ") and len(out.read_text().splitlines()) == 5
    monkeypatch.setattr("sys.argv", [*arguments, "--metrics", "cd-3d"])
    with pytest.raises(SystemExit, match="ids among cd-motion80"):
        program.main()


def test_every_suite_names_metrics():
    assert all(id in METRICS for ids in program.SUITES.values() for id in ids)


# --- V2M4's films


def write_film(folder: Path, length: int, offset: int = 0) -> None:
    folder.mkdir(parents=True)
    for k in range(length):
        Image.fromarray(np.full((8, 8, 3), min(255, 2 * k + offset), np.uint8)).save(folder / f"{k:04d}.png")


def test_films_are_scored_in_pieces_of_32_frames(tmp_path, monkeypatch):
    """70 frames make two pieces; the last six frames, and the film of 20 frames, do not count. Sets see all pieces."""
    monkeypatch.setattr(videos, "SIDE", 8)
    for side, offset in (("truth", 0), ("results", 10)):
        write_film(tmp_path / side / "a", 70, offset)
        write_film(tmp_path / side / "b", 32, offset)
        write_film(tmp_path / side / "short", 20)
    write_film(tmp_path / "truth" / "gone", 32)
    counter = Counter()
    loaded = [
        load_metric(METRICS["psnr"], {}),
        load_metric(toy_metric("toy-set", film_feature(counter), "set", "view"), {}),
    ]
    rows = videos.score(tmp_path / "results", tmp_path / "truth", loaded, quiet)
    found = {(r["object"], r["metric"]): r for r in rows}
    psnr = 20 * np.log10(255 / 10)
    assert found["a", "psnr"]["value"] == pytest.approx(psnr) and found["a", "psnr"]["n_frames"] == 64
    assert found["b", "psnr"]["n_frames"] == 32
    assert found["short", "psnr"]["status"] == "not-run" and "fewer than 32" in found["short", "psnr"]["reason"]
    assert found["gone", "psnr"]["status"] == "failed"
    (of_all,) = [r for r in rows if r["object"] == ""]
    assert of_all["n_frames"] == 4 and "1 of 4 films are bare background: gone/0" in of_all["reason"]


def test_pieces_and_how_short_films_are_filled_up():
    film = torch.arange(70, dtype=torch.uint8)[:, None, None, None].expand(70, 1, 1, 3)
    number = lambda length: i3d.pieces(film[:length])[..., 0, 0, 0].tolist()  # noqa: E731
    assert number(70) == [list(range(32)), list(range(32, 64))]
    assert number(30) == [[*range(30), 29, 28]]
    assert number(16) == [[*range(16), *range(15, -1, -1)]]
    with pytest.raises(MetricUnavailable, match="16 or more, these have 15"):
        i3d.pieces(film[:15])


def test_the_network_of_pieces_gives_their_mean(monkeypatch):
    sums = lambda films: films.flatten(1).double().sum(1, keepdim=True).float()  # noqa: E731
    monkeypatch.setattr(i3d, "load_torchscript", lambda weights, device: sums)
    films = torch.randint(0, 255, (2, 64, 4, 4, 3), dtype=torch.uint8)
    found = i3d.load_pieces({}, torch.device("cpu"))(films)
    assert found == pytest.approx(films.flatten(1).double().sum(1, keepdim=True).numpy() / 2)


def test_the_pair_distance_is_what_a_frechet_distance_keeps_of_one_film():
    a, b = np.random.default_rng(0).normal(size=(2, 3, 400)).astype(np.float32)
    found = fvd.squared(a, b)
    assert found == pytest.approx(
        [sum((float(x) - float(y)) ** 2 for x, y in zip(p, q, strict=True)) for p, q in zip(a, b, strict=True)]
    )
    assert np.array_equal(fvd.squared(a, a), np.zeros(3))


def test_dreamsims_bilinear_pictures_are_torchs_antialiased_ones():
    """torchvision resizes tensors with this operator; Pillow's bicubic 8-bit pictures are others."""
    pictures = torch.randint(0, 255, (2, 512, 512, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = dreamsim.shrink(pictures, "bilinear")
    image = pictures.permute(0, 3, 1, 2).float() / 255
    theirs = interpolate(image, size=(224, 224), mode="bilinear", align_corners=False, antialias=True)
    assert (found - theirs).abs().max() < 1e-5
    assert (dreamsim.shrink(pictures, "bicubic") - theirs).abs().max() > 0.02


def test_lpips_as_a_map_has_the_mean_of_the_plain_one():
    """V2M4 asks the package for a map in the picture's size and takes its mean. The layers of VGG have a whole share of
    512 pixels; enlarging by whole numbers keeps a mean: so `lpips-vgg` at 512 x 512 is the same number."""
    for share in (1, 2, 4, 8, 16):
        layer = torch.rand(1, 1, 512 // share, 512 // share, dtype=torch.float64)
        enlarged = interpolate(layer, size=(512, 512), mode="bilinear", align_corners=False)
        assert float(enlarged.mean()) == pytest.approx(float(layer.mean()), abs=1e-12)
