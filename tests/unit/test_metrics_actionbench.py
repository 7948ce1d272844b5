"""CD-3D, CD-4D, CD-M and Motion-80's two, against brute force, closed forms, and objects that drift."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bench4d.asset import Gaussians, Mesh
from bench4d.errors import FormatError
from bench4d.foreign_geometry import points_frame
from bench4d.icp import _fitted_normals
from bench4d.metric import MetricUnavailable
from bench4d.metric_loading import load_metric
from bench4d.similarity import apply, similarity, transformed
from bench4d.surface import at_places, places, sample_mesh
from benchmarks.synth4d.generator import make_object
from metrics import METRICS
from metrics.actionbench import FARTHEST, as_similarity, cloud_of, followed, two_way
from metrics.motion80 import rigid_icp, to_cube

pytestmark = pytest.mark.usefixtures("one_thread")

WALKER = make_object("walker-1000000")
TIMES = (0.0, 0.4, 0.8)
TRUTH = [WALKER.mesh_at(t) for t in TIMES]
OURS = ("cd-3d-similarity", "cd-4d-similarity", "cd-m-similarity")
THEIRS = ("cd-3d", "cd-4d", "cd-m")
SMALL = {"samples": 4000, "queries": 1000}
NOTHING = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32), np.zeros((0, 4), np.uint8))


def score(id, predicted, truth=TRUTH, **options):
    return METRICS[id].load({})(predicted, truth, **options)


def shifted(mesh, by):
    return transformed(mesh, similarity(np.eye(3), None, np.asarray(by, float)))


def brute(a, b):
    """All pairs: the mean distance from each of `a` to the closest of `b`."""
    return np.mean([np.linalg.norm(b - p, axis=1).min() for p in a])


def test_two_way_is_the_sum_of_both_directions_by_all_pairs():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(70, 3)), rng.normal(size=(90, 3))
    assert two_way(a, b, 1000) == pytest.approx(brute(a, b) + brute(b, a), abs=1e-14)
    assert two_way(a, b, 20) == pytest.approx(brute(a[:20], b) + brute(b[:20], a), abs=1e-14)
    assert two_way(a[:0], b, 20) == 2 * FARTHEST


@pytest.mark.parametrize("id", OURS)
def test_the_truth_is_perfect(id):
    assert np.array_equal(score(id, TRUTH, **SMALL), np.zeros(3))


@pytest.mark.parametrize("id", THEIRS)
def test_the_truth_is_perfect_under_their_alignment(id):
    assert np.array_equal(score(id, TRUTH, **SMALL, icp_points=100, icp_steps=3), np.zeros(3))


def test_drift_that_cd_3d_hides_is_in_cd_4d_and_cd_m():
    """The true shape in every frame, one world step of 0.1 farther each time."""
    drifting = [shifted(mesh, (0.1 * k, 0, 0)) for k, mesh in enumerate(TRUTH)]
    cd3, cd4, cdm = (score(id, drifting, **SMALL) for id in OURS)
    assert cd3.max() < 0.02  # twice the floor of the samples at most
    assert cd4[0] < 0.02 and cd4[1] > 0.04 and cd4[2] > 0.1
    assert cdm == pytest.approx([0, 0.2, 0.4], abs=2e-3)  # every followed point is off by the shift, both ways


def test_drift_under_their_alignment():
    drifting = [TRUTH[0], shifted(TRUTH[1], (0.15, 0, 0))]
    options = SMALL | {"icp_points": 80, "icp_steps": 30}
    cd3, cd4 = (score(id, drifting, TRUTH[:2], **options) for id in ("cd-3d", "cd-4d"))
    assert cd4[0] == 0 and cd4[1] > 2 * cd3[1]


def test_swelling_that_cd_3d_hides_is_in_cd_4d():
    swelling = [transformed(mesh, similarity((1 + 0.6 * k) * np.eye(3))) for k, mesh in enumerate(TRUTH[:2])]
    cd3, cd4 = (score(id, swelling, TRUTH[:2], **SMALL) for id in OURS[:2])
    assert cd3.max() < 0.02 and cd4[1] > 0.08


def test_a_wrong_motion_of_the_right_surface_is_in_cd_m_alone():
    """A ball that spins looks the same in every frame; its points do not stay where the truth's are."""
    ball = sphere(0.4)
    turn = Rotation.from_rotvec([0, 0, np.pi / 2]).as_matrix()
    spinning = [ball, transformed(ball, similarity(turn))]
    assert score("cd-4d-similarity", spinning, [ball, ball], samples=20_000).max() < 0.02
    still, moved = score("cd-m-similarity", spinning, [ball, ball], samples=5000)
    # Uniform on a sphere of radius r, turned by a right angle: mean of r sqrt(2) sin(polar angle) = r sqrt(2) pi / 4.
    assert still == 0 and moved == pytest.approx(2 * 0.4 * np.sqrt(2) * np.pi / 4, rel=0.02)


def sphere(radius: float) -> Mesh:
    """Latitudes and longitudes, fine enough to be a ball."""
    theta, phi = np.meshgrid(np.linspace(0, np.pi, 41), np.linspace(0, 2 * np.pi, 81), indexing="ij")
    points = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], -1).reshape(-1, 3)
    a = (np.arange(40)[:, None] * 81 + np.arange(80)).ravel()
    faces = np.concatenate([np.stack([a, a + 81, a + 82], 1), np.stack([a, a + 82, a + 1], 1)])
    return Mesh(np.float32(radius * points), np.int32(faces), np.full((len(points), 4), 255, np.uint8))


def test_cd_m_is_its_definition_by_all_pairs():
    truth, predicted = TRUTH, [shifted(WALKER.mesh_at(t * 0.5), (0.02, 0.01, 0)) for t in TIMES]
    options = {"samples": 150, "queries": 1}
    mine, true = followed(predicted, 150, "prediction"), followed(truth, 150, "truth")
    matrix = as_similarity(predicted[0], truth[0])
    mine = [apply(matrix, points) for points in mine]
    pairs = np.linalg.norm(mine[0][:, None] - true[0][None], axis=2)
    expected = [
        np.mean([np.linalg.norm(p[i] - t[pairs[i].argmin()]) for i in range(150)])
        + np.mean([np.linalg.norm(p[pairs[:, j].argmin()] - t[j]) for j in range(150)])
        for p, t in zip(mine, true, strict=True)
    ]
    assert score("cd-m-similarity", predicted, truth, **options) == pytest.approx(expected, abs=1e-12)


def test_followed_points_are_the_same_points_of_the_surface():
    faces, u, v = places(TRUTH[0], 500)
    assert np.array_equal(at_places(TRUTH[0], faces, u, v), sample_mesh(TRUTH[0], 500)[0])
    matrix = similarity(1.3 * Rotation.from_rotvec([0.3, 0.2, 0.1]).as_matrix(), None, np.array([0.1, 0.2, 0.3]))
    clouds = followed([TRUTH[0], transformed(TRUTH[0], matrix)], 500, "prediction")
    assert np.abs(apply(matrix, clouds[0]) - clouds[1]).max() < 1e-6


def test_points_that_cannot_be_followed_leave_cd_m_empty():
    other = Mesh(TRUTH[1].vertices, TRUTH[1].faces[:-1], TRUTH[1].colors)
    with pytest.raises(MetricUnavailable, match="prediction's faces change at frame 1"):
        score("cd-m-similarity", [TRUTH[0], other, TRUTH[2]])
    with pytest.raises(MetricUnavailable, match="truth's faces change at frame 1"):
        score("cd-m-similarity", TRUTH, [TRUTH[0], other, TRUTH[2]])
    cloud = points_frame(TRUTH[0].vertices)
    with pytest.raises(MetricUnavailable, match="which of them is which"):
        score("cd-m-similarity", [cloud] * 3)
    with pytest.raises(MetricUnavailable, match="other points at frame 1"):
        score("cd-m-similarity", TRUTH, [cloud, points_frame(TRUTH[0].vertices[:-1]), cloud])


def test_a_truth_of_followed_points():
    """ActionBench's kind of truth: no faces, points with numbers. A moved copy of the mesh is laid on it."""
    faces, u, v = places(TRUTH[0], 6000)
    truth = [points_frame(at_places(mesh, faces, u, v).astype(np.float32)) for mesh in TRUTH]
    turn = Rotation.from_rotvec([0.9, 0.4, 0.6]).as_matrix()
    moved = [transformed(mesh, similarity(1.7 * turn, None, np.array([0.5, -0.2, 0.1]))) for mesh in TRUTH]
    for id in OURS[1:]:
        assert score(id, moved, truth, samples=6000, queries=1000).max() < 0.035, id
    assert score("cd-m-similarity", moved[:1] * 3, truth, samples=6000)[2] > 0.1  # frozen


def test_normals_of_a_cloud_without_faces():
    points = np.random.default_rng(0).normal(size=(4000, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    normals = _fitted_normals(points)
    assert np.linalg.norm(normals, axis=1) == pytest.approx(np.ones(4000))
    assert np.abs((normals * points).sum(1)).min() > 0.99  # of a ball they point to its middle
    assert _fitted_normals(points[:0]).shape == (0, 3)


def test_a_prediction_without_a_surface_and_wrong_options():
    assert np.array_equal(score("cd-3d-similarity", [NOTHING] * 3), np.full(3, 2 * FARTHEST))
    assert np.array_equal(score("cd-3d", [NOTHING], TRUTH[:1]), [2 * FARTHEST])
    assert np.array_equal(score("cd-m", [NOTHING], TRUTH[:1]), [2 * FARTHEST])
    with pytest.raises(FormatError, match="as many as the truth has"):
        score("cd-4d", TRUTH[:2])
    with pytest.raises(FormatError, match="positive numbers"):
        score("cd-4d", TRUTH, icp_points=0)


def test_rows_name_the_device_that_the_alignment_ran_on():
    loaded = {id: load_metric(METRICS[id], {}) for id in ("cd-4d", "cd-4d-similarity")}
    assert loaded["cd-4d"].place is not None and loaded["cd-4d-similarity"].place is None
    assert loaded["cd-4d"].device == loaded["cd-4d"].place.name and loaded["cd-4d-similarity"].device == "cpu"


def test_prefixes_of_a_cloud_are_fair():
    """Gaussians are stored in some order: the first hundred must not all be of one end."""
    points = np.sort(np.random.default_rng(0).uniform(-0.5, 0.5, (5000, 3)).astype(np.float32), axis=0)
    assert abs(cloud_of(points_frame(points), 10_000)[:500].mean()) < 0.05


# --- Motion-80


def test_the_cube_of_frame_0():
    moved = transformed(TRUTH[0], similarity(3 * np.eye(3), None, np.array([5.0, -2, 1])))
    box = apply(to_cube(moved), moved.vertices.astype(np.float64))
    assert np.ptp(box, axis=0).max() == pytest.approx(2) and np.abs(box).max() == pytest.approx(1)
    assert np.array_equal(to_cube(NOTHING), np.eye(4))


def test_rigid_icp_undoes_a_small_motion_and_keeps_its_scale():
    points = np.random.default_rng(0).uniform(-1, 1, (4000, 3)) * [1, 0.6, 0.3]
    motion = similarity(Rotation.from_rotvec([0.02, -0.01, 0.03]).as_matrix(), None, np.array([0.01, 0.02, -0.01]))
    moved = apply(motion, points)
    scale = np.clip(np.ptp(points[:, :2], axis=0).max() / np.ptp(moved[:, :2], axis=0).max(), 0.95, 1.05)
    found = rigid_icp(moved, points)
    assert np.cbrt(np.linalg.det(found[:3, :3])) == pytest.approx(scale, abs=1e-12)
    assert np.abs(apply(found @ motion, points) - points).max() < 0.03  # what is left is the wrong scale
    large = rigid_icp(2 * points, points)
    assert np.cbrt(np.linalg.det(large[:3, :3])) == pytest.approx(0.95)


def test_motion80_forgives_size_and_place_and_sees_drift():
    placed = [transformed(m, similarity(2.5 * np.eye(3), None, np.array([4.0, 0, 0]))) for m in TRUTH]
    assert score("cd-motion80", TRUTH) == pytest.approx(np.zeros(3), abs=0)
    assert np.array_equal(score("fscore-motion80", TRUTH), np.ones(3))
    assert score("cd-motion80", placed, samples=5000).max() < 0.05  # the floor of other samples, in the cube of side 2
    drifting = [shifted(mesh, (0.1 * k, 0, 0)) for k, mesh in enumerate(TRUTH)]
    drift, f = (score(id, drifting, samples=5000) for id in ("cd-motion80", "fscore-motion80"))
    assert drift[0] == 0 and drift[2] > 0.15 and f[0] == 1 and f[2] < 0.7


def test_motion80_is_its_definition_by_all_pairs():
    """Plates 0.03 apart in the cube of side 2: beyond 0.02, so nothing is found; the distance is the gap, twice."""
    plate = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32)
    faces, colors = np.array([[0, 1, 2], [0, 2, 3]], np.int32), np.full((4, 4), 255, np.uint8)
    truth = [Mesh(plate, faces, colors)] * 2
    lifted = [truth[0], Mesh(plate + np.array([0, 0, 0.03], np.float32), faces, colors)]
    found = score("cd-motion80", lifted, truth)
    assert found == pytest.approx([0, 0.06], rel=0.05) and found[1] > 0.06
    assert np.array_equal(score("fscore-motion80", lifted, truth), [1, 0])
    assert score("fscore-motion80", lifted, truth, threshold=0.05)[1] > 0.99


def test_gaussians_count_with_their_centres():
    cloud = [points_frame(sample_mesh(mesh, 5000)[0].astype(np.float32)) for mesh in TRUTH]
    assert isinstance(cloud[0], Gaussians)
    for id in ("cd-4d-similarity", "cd-motion80"):
        assert score(id, cloud, samples=5000).max() < 0.06, id
