"""Alignments that search: what they find again, what they refuse, what they hide, and that they are never mixed."""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import yaml
from scipy.spatial.transform import Rotation

from bench4d.align import Aligned, align, align_clip
from bench4d.asset import Asset4D, Gaussians, Mesh
from bench4d.asset_io import write_asset
from bench4d.benchmark import ALIGNMENTS, Benchmark, find_benchmark
from bench4d.cameras import orbit
from bench4d.errors import FormatError
from bench4d.files import write_json, write_png
from bench4d.icp import fit_surfaces, turns
from bench4d.method import Method
from bench4d.render import composite, render_gaussians, render_mesh
from bench4d.results import ROW, frame_of
from bench4d.silhouette_align import fit_silhouette
from bench4d.similarity import apply, scale_of, similarity, transformed
from bench4d.surface import sample
from bench4d.tables import make_table
from benchmarks.synth4d.generator import make_object
from metrics import METRICS
from metrics.chamfer import chamfer, chamfer_floor

CAMERA = orbit([0], 15, 2.0, 40, 256)
KINDS = ("walker-1000000", "flag-1000003", "jellyfish-1000007", "robot-1000020")


def benchmark_of(tmp_path, alignment):
    data = {
        "alignment": alignment,
        "n_frames": 2,
        "fps": 2.7,
        "size": 256,
        "time_rule": "nearest",
        "geometry": True,
        "rig": {"radius": 2.0, "fov_y": 40},
        "views": [{"id": "input", "azimuth": 0, "elevation": 15, "group": "input"}],
    }
    return Benchmark("b", 1, tmp_path / "protocol.yaml", "0" * 64, data)


@cache
def truth_of(name, time=0.0):
    return make_object(name).mesh_at(time)


def any_similarity(seed):
    """Any rotation, any place, a scale from 1/e to e."""
    rng = np.random.default_rng(seed)
    turn = Rotation.random(random_state=seed).as_matrix()
    return similarity(np.exp(rng.uniform(-1, 1)) * turn, np.zeros(3), rng.normal(size=3))


def other_samples(mesh):
    """The same surface in other bytes: its samples are independent of the first one's."""
    return replace(mesh, faces=mesh.faces[::-1].copy())


def cloud(points, opacity=1.0, size=0.01):
    count = len(points)
    quaternions = np.tile(np.float32([1, 0, 0, 0]), (count, 1))
    sh = np.zeros((count, 1, 3), np.float32)
    opacities = np.full(count, opacity, np.float32)
    return Gaussians(np.float32(points), np.full((count, 3), size, np.float32), quaternions, opacities, sh)


def error(matrix, moved_by, mesh):
    """How far a vertex ends from where it began, at most, as a share of the object's diagonal."""
    points = mesh.vertices.astype(np.float64)
    back = apply(matrix @ moved_by, points)
    return np.linalg.norm(back - points, axis=1).max() / np.linalg.norm(np.ptp(points, axis=0))


def coverage(mesh, camera=CAMERA):
    return composite(render_mesh(mesh, camera, threads=1), (1, 1, 1))[1][0]


# --- icp-frame0


def test_starts_are_rotations_and_hold_the_24_that_map_axes_to_axes():
    grid = turns()
    assert np.allclose(grid @ grid.transpose(0, 2, 1), np.eye(3)) and np.allclose(np.linalg.det(grid), 1)
    axes = [r for r in grid if np.allclose(np.abs(r), np.abs(r).round())]
    assert len(axes) == 24 and any(np.allclose(r, np.eye(3)) for r in axes)
    others = Rotation.random(500, random_state=0).as_matrix()
    angle = np.arccos(np.clip((np.einsum("aij,bij->ab", others, grid).max(1) - 1) / 2, -1, 1))
    assert np.degrees(angle.max()) < 40  # no rotation is farther from every start


@pytest.mark.parametrize("seed", range(len(KINDS)))
def test_icp_finds_any_similarity_again(seed):
    truth, moved_by = truth_of(KINDS[seed]), any_similarity(seed)
    fit = fit_surfaces(other_samples(transformed(truth, moved_by)), truth)
    assert error(fit.matrix, moved_by, truth) < 1e-3
    assert fit.converged and fit.residual < 0.005 and (fit.starts, fit.start) == (312, "grid")


def test_icp_lays_a_symmetric_object_on_the_truth_and_prefers_the_declared_one_of_its_poses():
    truth, moved_by = truth_of("carousel-1000016"), any_similarity(1)
    asset = other_samples(transformed(truth, moved_by))
    free = fit_surfaces(asset, truth)
    assert chamfer([transformed(asset, free.matrix)], [truth])[0] < 1.3 * chamfer_floor([truth])[0]
    nearly = similarity(1.05 * Rotation.from_rotvec([0.05, 0, 0.1]).as_matrix()) @ np.linalg.inv(moved_by)
    told = fit_surfaces(asset, truth, nearly)
    assert told.start == "declared" and error(told.matrix, moved_by, truth) < 1e-3


def test_a_wrong_declared_pose_does_not_win():
    truth = truth_of(KINDS[0])
    upside_down = similarity(Rotation.from_rotvec([np.pi, 0, 0]).as_matrix())
    fit = fit_surfaces(other_samples(truth), truth, upside_down)
    assert (fit.start, fit.starts) == ("grid", 313) and error(fit.matrix, np.eye(4), truth) < 1e-3


def test_icp_of_gaussians_takes_opaque_centres_and_ignores_a_few_floaters():
    truth, moved_by = truth_of(KINDS[0]), any_similarity(5)
    rng = np.random.default_rng(0)
    points = np.concatenate([sample(truth, 12_000, 0, draw=1), rng.uniform(-1, 1, (600, 3))])
    opaque, veil = cloud(points), cloud(rng.uniform(-3, 3, (9000, 3)), opacity=0.05)
    names = ("means", "scales", "quaternions", "opacities", "sh")
    both = Gaussians(*(np.concatenate([getattr(opaque, n), getattr(veil, n)]) for n in names))
    fit = fit_surfaces(transformed(both, moved_by), truth)
    assert error(fit.matrix, moved_by, truth) < 2e-3


def test_icp_does_not_shrink_what_lies_within_the_truth():
    """One direction alone would put a part of the object anywhere on the truth, however small, at no distance."""
    truth = truth_of(KINDS[0])
    points = sample(truth, 20_000, 0, draw=1)
    front = points[points[:, 1] < np.quantile(points[:, 1], 0.75)]
    fit = fit_surfaces(cloud(front), truth, np.eye(4))
    assert 0.97 < scale_of(fit.matrix) < 1.03 and error(fit.matrix, np.eye(4), truth) < 0.04


def test_the_same_input_gives_the_same_bytes():
    truth, asset = truth_of(KINDS[1]), other_samples(transformed(truth_of(KINDS[1]), any_similarity(2)))
    first, second = fit_surfaces(asset, truth), fit_surfaces(asset, truth)
    assert np.array_equal(first.matrix, second.matrix) and first.to_json() == second.to_json()


def test_one_similarity_a_clip_does_not_hide_drift():
    truth = [truth_of(KINDS[0], time) for time in (0.0, 1.0)]
    drift = [similarity((1 + 0.1 * k) * np.eye(3), np.zeros(3), np.array([0.06 * k, 0, 0])) for k in range(2)]
    asset = [other_samples(transformed(mesh, moved)) for mesh, moved in zip(truth, drift, strict=True)]
    per_frame = [fit_surfaces(a, t).matrix for a, t in zip(asset, truth, strict=True)]
    once = chamfer([transformed(a, per_frame[0]) for a in asset], truth)
    each = chamfer([transformed(a, m) for a, m in zip(asset, per_frame, strict=True)], truth)
    assert once[0] == each[0] and once[1] > 3 * each[1] and each[1] < 1.3 * chamfer_floor(truth[1:])[0]


# --- silhouette-view0


@pytest.mark.parametrize("seed", range(len(KINDS)))
def test_silhouette_finds_scale_and_shift_again(seed):
    truth = truth_of(KINDS[seed])
    rng = np.random.default_rng(seed)
    right, down = CAMERA.camera_to_world[0, :3, 0], CAMERA.camera_to_world[0, :3, 1]
    shift = rng.uniform(-0.12, 0.12) * right + rng.uniform(-0.12, 0.12) * down
    wanted = similarity(np.exp(rng.uniform(-0.5, 0.5)) * np.eye(3), np.zeros(3), shift)
    fit = fit_silhouette(transformed(truth, np.linalg.inv(wanted)), CAMERA, coverage(truth), np.eye(4))
    assert abs(scale_of(fit.matrix) / scale_of(wanted) - 1) < 2e-3
    assert np.abs(fit.matrix[:3, 3] - shift).max() < 2e-3 and fit.residual < 0.01 and fit.converged
    assert np.allclose(fit.matrix[:3, :3], scale_of(fit.matrix) * np.eye(3))  # the declared rotation stays
    assert abs(CAMERA.camera_to_world[0, :3, 2] @ fit.matrix[:3, 3]) < 1e-12  # and so does the depth


def test_silhouette_of_gaussians():
    """Seen at 512 pixels and fitted at fewer: the renderer's dilation, in pixels, must not become a scale."""
    camera, right = orbit([0], 15, 2.0, 40, 512), CAMERA.camera_to_world[0, :3, 0]
    truth = cloud(truth_of(KINDS[0]).vertices, size=0.003)
    alpha = composite(render_gaussians(truth, camera, threads=1), (1, 1, 1))[1][0]
    wanted = similarity(1.4 * np.eye(3), np.zeros(3), 0.1 * right)
    fit = fit_silhouette(transformed(truth, np.linalg.inv(wanted)), camera, alpha, np.eye(4))
    assert np.abs(fit.matrix - wanted).max() < 4e-3 and fit.residual < 0.03


def test_without_a_declared_camera_a_yaw_is_found():
    truth = truth_of(KINDS[0])
    turn = Rotation.from_rotvec([0, 0, 2.0]).as_matrix()
    asset = transformed(truth, similarity(3.0 * turn, np.zeros(3), np.array([5.0, -2, 1])))
    fit = fit_silhouette(asset, CAMERA, coverage(truth))
    left_over = Rotation.from_matrix(fit.matrix[:3, :3] / scale_of(fit.matrix) @ turn).magnitude()
    assert np.degrees(left_over) < 1 and fit.residual < 0.01 and (fit.starts, fit.start) == (24, "yaw")


def test_silhouette_cannot_see_depth():
    """An object 30 % larger and farther by as much covers the same pixels: it is left where it is declared."""
    truth, eye = truth_of(KINDS[0]), CAMERA.camera_to_world[0, :3, 3]
    asset = transformed(truth, similarity(1.3 * np.eye(3), eye, eye))
    fit = fit_silhouette(asset, CAMERA, coverage(truth), np.eye(4))
    assert fit.residual < 1e-3 and abs(scale_of(fit.matrix) - 1) < 1e-3


def test_a_clip_of_another_size_is_seen_by_the_same_camera_and_another_shape_is_refused():
    truth = truth_of(KINDS[3])
    larger = coverage(truth, orbit([0], 15, 2.0, 40, 384))
    fit = fit_silhouette(truth, CAMERA, larger, np.eye(4))
    assert np.allclose(fit.matrix, np.eye(4), atol=1e-4) and fit.residual < 1e-4
    with pytest.raises(FormatError, match="256 x 256"):
        fit_silhouette(truth, CAMERA, larger[:200], np.eye(4))


# --- the stage


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_the_truth_stays_exactly_where_it_is(tmp_path, alignment):
    truth = truth_of(KINDS[2])
    asset = Asset4D("mesh", np.array([0.0]), [truth], CAMERA)
    reference = {"icp-frame0": truth, "silhouette-view0": coverage(truth)}.get(alignment)
    done = align(asset, benchmark_of(tmp_path, alignment), reference)
    assert done.alignment == alignment and np.array_equal(done.matrix, np.eye(4))
    assert done.fit is None if reference is None else done.fit.residual < 1e-12


@pytest.mark.parametrize("alignment", ALIGNMENTS[1:])
def test_images_are_posed_by_declaration_and_never_moved(tmp_path, alignment):
    images = np.zeros((1, 256, 256, 4), np.uint8)
    asset = Asset4D("views", np.array([0.0]), [images], cameras=CAMERA)
    done = align(asset, benchmark_of(tmp_path, alignment), None)
    assert isinstance(done, Aligned) and done.alignment == "declared" and np.array_equal(done.matrix, np.eye(4))


def on_disk(tmp_path, frames, kind="mesh", input_alpha=255):
    """A generated clip, the truth and the input, as the stage finds them."""
    clip, truth = tmp_path / "clip", tmp_path / "truth"
    times = np.arange(len(frames)) / 2.7
    write_asset(Asset4D(kind, times, frames, CAMERA), clip / "asset")
    write_json(clip / "generate.json", {"status": "ok", "reason": ""})
    true = truth_of(KINDS[0])
    write_asset(Asset4D("mesh", times, [true] * len(frames), CAMERA), truth)
    image = np.zeros((256, 256, 4), np.uint8)
    image[..., 3] = np.minimum(coverage(true), input_alpha)
    write_png(tmp_path / "input" / "frames" / "0000.png", image)
    return {"folder": clip, "truth": truth, "clip": tmp_path / "input"}


@pytest.mark.parametrize("alignment", ["icp-frame0", "silhouette-view0"])
def test_the_record_says_how_it_was_found(tmp_path, alignment):
    truth = truth_of(KINDS[0])
    moved = transformed(truth, similarity(0.8 * np.eye(3)))
    record = align_clip(benchmark_of(tmp_path, alignment), **on_disk(tmp_path, [moved, truth]))
    assert (record["status"], record["alignment"]) == ("ok", alignment)
    fit = json.loads(json.dumps(record, allow_nan=False))["fit"]
    assert set(fit) == {"residual", "unit", "starts", "start", "iterations", "converged"}
    assert fit["start"] == "declared" and fit["converged"] and fit["iterations"] > 0
    assert error(np.array(record["matrix"]), similarity(0.8 * np.eye(3)), truth) < 1e-2  # from frame 0, not frame 1


NOTHING = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32), np.zeros((0, 4), np.uint8))
POINT = Mesh(np.ones((3, 3), np.float32), np.int32([[0, 1, 2]]), np.zeros((3, 4), np.uint8))
BEHIND = Mesh(np.float32([[0, -9, 0], [1, -9, 0], [0, -9, 1]]), np.int32([[0, 1, 2]]), np.full((3, 4), 255, np.uint8))
HIDDEN = cloud(np.random.default_rng(0).normal(0, 0.2, (50, 3)), opacity=0.0)


@pytest.mark.parametrize(
    ("alignment", "frame", "reason"),
    [
        ("icp-frame0", NOTHING, "frame 0: expected a surface to align"),
        ("icp-frame0", POINT, "all of it in one point"),
        ("icp-frame0", HIDDEN, "Gaussians of opacity >= 0.1"),
        ("silhouette-view0", NOTHING, "nothing in the image"),
        ("silhouette-view0", BEHIND, "nothing in the image"),
        ("silhouette-view0", HIDDEN, "nothing in the image"),
    ],
)
def test_what_cannot_be_aligned_fails_its_clip_and_says_why(tmp_path, alignment, frame, reason):
    kind = "gaussians" if isinstance(frame, Gaussians) else "mesh"
    record = align_clip(benchmark_of(tmp_path, alignment), **on_disk(tmp_path, [frame], kind))
    assert record["status"] == "failed" and reason in record["reason"]
    assert record["matrix"] is None and record["fit"] is None


def test_an_empty_input_fails_the_clip(tmp_path):
    given = on_disk(tmp_path, [truth_of(KINDS[0])], input_alpha=0)
    record = align_clip(benchmark_of(tmp_path, "silhouette-view0"), **given)
    assert record["status"] == "failed" and "alpha 0 everywhere" in record["reason"]


@pytest.mark.parametrize(("alignment", "lacking"), [("icp-frame0", "truth"), ("silhouette-view0", "clip")])
def test_a_missing_reference_is_an_error_of_the_caller_not_of_the_clip(tmp_path, alignment, lacking):
    given = on_disk(tmp_path, [truth_of(KINDS[0])])
    with pytest.raises(FormatError, match=alignment):
        align_clip(benchmark_of(tmp_path, alignment), **given | {lacking: None})


def test_a_protocol_may_name_each_alignment_and_icp_needs_true_geometry(tmp_path):
    source = yaml.safe_load(find_benchmark("synth4d").path.read_text("utf-8"))
    for alignment in ALIGNMENTS:
        (tmp_path / "protocol.yaml").write_text(yaml.safe_dump(source | {"alignment": alignment}))
        assert Benchmark.read(tmp_path / "protocol.yaml").data["alignment"] == alignment
    (tmp_path / "protocol.yaml").write_text(yaml.safe_dump(source | {"alignment": "icp-frame0", "geometry": False}))
    with pytest.raises(FormatError, match="geometry: true"):
        Benchmark.read(tmp_path / "protocol.yaml")
    (tmp_path / "protocol.yaml").write_text(yaml.safe_dump(source | {"alignment": "icp"}))
    with pytest.raises(FormatError, match="alignment"):
        Benchmark.read(tmp_path / "protocol.yaml")


# --- tables


def ranks(tmp_path, *rows):
    """Method -> rank, of one clip's chamfer; rows are (method, alignment, value, status)."""
    data = benchmark_of(tmp_path, "icp-frame0").data | {
        "split": "s",
        "contaminated_by": [],
        "clips": [{"id": "a"}, {"id": "b"}],
        "metrics": [{"id": "chamfer", "stride": 1}],
        "table": [{"metric": "chamfer"}],
    }
    texts = dict.fromkeys(ROW, "x") | {"benchmark_version": 1, "seed": 0, "metric_version": 1, "n_frames": 2}
    made = [
        texts
        | {"method": method, "alignment": alignment, "metric": "chamfer", "view": None, "value": value}
        | {"object": clip, "clip": clip, "status": "failed" if np.isnan(value) else "ok"}
        for method, clip, alignment, value in rows
    ]
    methods = [
        Method(name, tmp_path, {"kind": "generator", "trained_on": [], "parameters": {}, "weights": []})
        for name in dict.fromkeys(method for method, *_ in rows)
    ]
    benchmark = Benchmark("b", 1, tmp_path / "protocol.yaml", "0" * 64, data)
    table = make_table(frame_of(made, ROW), benchmark, methods, METRICS, {})
    return {line.method.id: (line.alignment, line.cells[0].rank) for line in table.rows}


def test_rows_of_different_alignments_are_never_ranked_together(tmp_path):
    rows = [(m, clip, "icp-frame0", v) for m, v in (("p", 0.02), ("q", 0.03), ("r", 0.04)) for clip in "ab"]
    rows += [(m, clip, "declared", v) for m, v in (("s", 0.01), ("t", 0.05)) for clip in "ab"]
    rows += [("alone", clip, "none", 0.001) for clip in "ab"]
    rows += [("mixed", "a", "none", 0.001), ("mixed", "b", "declared", 0.001)]
    assert ranks(tmp_path, *rows) == {
        "p": ("icp-frame0", 1),
        "q": ("icp-frame0", 2),
        "r": ("icp-frame0", None),
        "s": ("declared", 1),
        "t": ("declared", 2),
        "alone": ("none", None),
        "mixed": ("declared, none", None),
    }


def test_a_failed_clip_of_images_does_not_change_the_group_that_they_are_ranked_in(tmp_path):
    """A clip without an asset is recorded under the protocol's alignment, images that were made under "declared"."""
    rows = [("p", "a", "declared", 0.02), ("p", "b", "icp-frame0", np.nan)]
    rows += [("q", clip, "declared", 0.03) for clip in "ab"]
    assert ranks(tmp_path, *rows) == {"p": ("declared", 1), "q": ("declared", 2)}
