"""chamfer, fscore and iou against closed forms and properties."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from bench4d.asset import Gaussians, Mesh
from bench4d.errors import FormatError
from bench4d.metric import MetricUnavailable
from bench4d.surface import sample
from metrics import METRICS
from metrics.chamfer import chamfer, chamfer_floor
from metrics.fscore import fscore, fscore_floor
from metrics.iou import iou, occupancy, open_edges
from metrics.surface import FARTHEST

BOX_FACES = np.array(
    [
        [0, 2, 1], [1, 2, 3], [4, 5, 6], [5, 7, 6], [0, 1, 4], [1, 5, 4],
        [2, 6, 3], [3, 6, 7], [0, 4, 2], [2, 4, 6], [1, 3, 5], [3, 7, 5],
    ],
    np.int32,
)  # fmt: skip


def mesh(vertices: np.ndarray, faces: np.ndarray) -> Mesh:
    return Mesh(np.float32(vertices), np.int32(faces), np.full((len(vertices), 4), 255, np.uint8))


def box(low, high) -> Mesh:
    """Corner k has the bits of k as (x, y, z); faces counter-clockwise seen from outside."""
    bits = np.array([[k & 1, k >> 1 & 1, k >> 2 & 1] for k in range(8)])
    return mesh(np.where(bits, high, low), BOX_FACES)


def sphere(radius: float, subdivisions: int = 4) -> Mesh:
    ball = trimesh.creation.icosphere(subdivisions, radius)
    return mesh(ball.vertices, ball.faces)


def joined(*parts: Mesh) -> Mesh:
    starts = np.cumsum([0] + [len(part.vertices) for part in parts[:-1]])
    faces = [part.faces + start for part, start in zip(parts, starts, strict=True)]
    return mesh(np.concatenate([part.vertices for part in parts]), np.concatenate(faces))


def gaussians(means, opacity=1.0) -> Gaussians:
    n = len(means)
    return Gaussians(
        np.float32(means),
        np.full((n, 3), 0.01, np.float32),
        np.tile(np.float32([1, 0, 0, 0]), (n, 1)),
        np.broadcast_to(np.float32(opacity), n).copy(),
        np.zeros((n, 1, 3), np.float32),
    )


EMPTY = mesh(np.zeros((0, 3)), np.zeros((0, 3)))
CUBE = box(-0.25, 0.25)


def test_identical_surfaces_are_perfect_exactly():
    frames = [CUBE, sphere(0.4, 2)]
    np.testing.assert_array_equal(chamfer(frames, frames), 0)
    np.testing.assert_array_equal(fscore(frames, frames), 1)
    np.testing.assert_array_equal(iou(frames, frames), 1)


# sampling


def test_samples_lie_on_the_surface_uniformly_by_area():
    slab = box([-0.4, -0.2, -0.1], [0.4, 0.2, 0.1])
    points = sample(slab, 40_000, 0.1)
    scaled = np.abs(points) / [0.4, 0.2, 0.1]
    assert (np.isclose(scaled.max(axis=1), 1)).all()  # on a face of the slab
    areas = np.array([0.4 * 0.2, 0.8 * 0.2, 0.8 * 0.4])  # of a face across x, y, z
    shares = np.bincount(scaled.argmax(axis=1), minlength=3) / len(points)
    np.testing.assert_allclose(shares, areas / areas.sum(), atol=0.01)
    top = points[scaled[:, 2] == scaled.max(axis=1)]
    np.testing.assert_allclose(np.histogram(top[:, 0], bins=4, range=(-0.4, 0.4))[0] / len(top), 0.25, atol=0.015)


def test_samples_depend_on_content_and_draw_alone():
    again = box(-0.25, 0.25)
    np.testing.assert_array_equal(sample(CUBE, 100, 0.1), sample(again, 100, 0.1))
    assert not np.array_equal(sample(CUBE, 100, 0.1), sample(CUBE, 100, 0.1, draw=1))
    moved = box(-0.25, np.nextafter(np.float32(0.25), 1))
    assert np.abs(sample(CUBE, 100, 0.1) - sample(moved, 100, 0.1)).max() > 0.01


def test_a_mesh_without_area_still_has_points():
    line = mesh([[0, 0, 0], [0.1, 0, 0], [0.2, 0, 0]], [[0, 1, 2]])
    points = sample(line, 50, 0.1)
    assert points.shape == (50, 3) and (points[:, 1:] == 0).all()


def test_gaussians_are_their_opaque_centres():
    cloud = gaussians([[0, 0, 0], [0.1, 0, 0], [0.2, 0, 0]], [1.0, 0.1, 0.09])
    np.testing.assert_allclose(sample(cloud, 10, np.float32(0.1)), [[0, 0, 0], [0.1, 0, 0]], atol=1e-7)
    many = gaussians(np.random.default_rng(0).random((500, 3)) - 0.5)
    chosen = sample(many, 200, 0.1)
    assert len(np.unique(chosen, axis=0)) == 200  # without replacement


# chamfer


def test_chamfer_of_concentric_spheres_is_the_gap():
    value = chamfer([sphere(0.45)], [sphere(0.40)], samples=20_000)[0]
    assert value == pytest.approx(0.05, abs=1e-3)  # samples are not exactly opposite: a little more than the gap


def test_chamfer_of_a_point_cloud_in_all_variants():
    """One Gaussian at the centre of a small sphere at distance 0.3: every distance is known."""
    truth, cloud = (
        mesh(sphere(1e-4, 1).vertices + np.float32([0.3, 0, 0]), sphere(1e-4, 1).faces),
        gaussians([[0, 0, 0]]),
    )
    expected = {("mean", False): 0.3, ("sum", False): 0.6, ("mean", True): 0.09, ("sum", True): 0.18}
    for (reduction, squared), value in expected.items():
        assert chamfer([cloud], [truth], reduction=reduction, squared=squared)[0] == pytest.approx(value, abs=3e-4)


def test_chamfer_of_shifted_parallel_plates():
    """Two large plates 0.1 apart: the distance is 0.1 up to the spacing of the samples."""
    plate = mesh([[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0]], [[0, 1, 2], [0, 2, 3]])
    raised = mesh(plate.vertices + np.float32([0, 0, 0.1]), plate.faces)
    assert chamfer([raised], [plate])[0] == pytest.approx(0.1, abs=5e-4)


def test_an_empty_prediction_is_as_far_as_can_be():
    for nothing in (EMPTY, gaussians([[0, 0, 0]], 0.01)):
        assert chamfer([nothing], [CUBE])[0] == FARTHEST
        assert fscore([nothing], [CUBE])[0] == 0


def test_the_floor_is_small_and_falls_with_the_number_of_samples():
    coarse, fine = chamfer_floor([CUBE], samples=1000)[0], chamfer_floor([CUBE], samples=16_000)[0]
    assert 0 < fine < coarse < 0.03
    assert coarse / fine == pytest.approx(4, rel=0.2)  # spacing of points on a surface: 1 / sqrt(samples)
    assert 0.99 < fscore_floor([CUBE])[0] <= 1
    as_metric = METRICS["chamfer-floor"].load({})([EMPTY], [CUBE], samples=1000)
    assert as_metric[0] == coarse  # whatever was predicted


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**16), st.floats(0.05, 0.4))
def test_chamfer_and_fscore_are_symmetric_and_scale(seed, size):
    shift = np.random.default_rng(seed).uniform(-0.1, 0.1, 3)
    a, b = box(-size / 2, size / 2), box(shift - size / 2, shift + size / 2)
    assert chamfer([a], [b], samples=500)[0] == chamfer([b], [a], samples=500)[0]
    assert fscore([a], [b], samples=500)[0] == fscore([b], [a], samples=500)[0]
    squared = chamfer([a], [b], samples=500, squared=True)[0]
    assert chamfer([a], [b], samples=500)[0] ** 2 <= squared * (
        1 + 1e-12
    )  # the mean squared is at most the mean square


def test_bad_options_and_frame_counts_are_refused():
    with pytest.raises(FormatError, match="reduction"):
        chamfer([CUBE], [CUBE], reduction="max")
    with pytest.raises(FormatError, match="positive"):
        chamfer([CUBE], [CUBE], samples=0)
    for function in (chamfer, fscore, iou):
        with pytest.raises(FormatError, match="as many as"):
            function([CUBE], [CUBE, CUBE])


# fscore


def test_fscore_jumps_at_the_threshold():
    plate = mesh([[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0]], [[0, 1, 2], [0, 2, 3]])
    raised = mesh(plate.vertices + np.float32([0, 0, 0.03]), plate.faces)
    assert fscore([raised], [plate], threshold=0.029)[0] == 0
    assert fscore([raised], [plate], threshold=0.05)[0] > 0.99


def test_fscore_is_the_harmonic_mean_of_precision_and_recall():
    """Half of the prediction far away: precision 1/2, recall 1."""
    tiny, far = sphere(1e-3, 1), mesh(sphere(1e-3, 1).vertices + np.float32([0.4, 0, 0]), sphere(1e-3, 1).faces)
    assert fscore([joined(tiny, far)], [tiny], samples=4000)[0] == pytest.approx(2 / 3, abs=0.02)


# iou


def test_iou_of_half_overlapping_boxes():
    """On a 48 grid the sides 0.5 and the shift 0.25 are 24 and 12 cells: the value is exact."""
    a, b = box([-0.25] * 3, [0.25] * 3), box([0, -0.25, -0.25], [0.5, 0.25, 0.25])
    assert iou([a], [b])[0] == 1 / 3
    assert iou([b], [a])[0] == 1 / 3
    assert iou([a], [box([-0.25, -0.25, 0.3], [0.25, 0.25, 0.4])])[0] == 0


def test_iou_of_concentric_spheres():
    assert iou([sphere(0.3)], [sphere(0.4)])[0] == pytest.approx((0.3 / 0.4) ** 3, abs=0.01)


def test_occupancy_at_cell_centres_on_faces_edges_and_corners():
    """Faces of the box go through cell centres: every column is still decided once, and the box is half open."""
    size = 8
    low, high = 1.5 / size - 0.5, 5.5 / size - 0.5  # centres of cells 1 and 5
    inside = occupancy(box([low] * 3, [high] * 3), size)
    assert inside.sum() == 4**3
    assert all(len(np.unique(np.nonzero(inside)[axis])) == 4 for axis in range(3))


def test_parts_that_overlap_or_nest_are_a_union():
    outer, inner, beside = box([-0.4] * 3, [0.2] * 3), box([-0.2] * 3, [0] * 3), box([0] * 3, [0.4] * 3)
    np.testing.assert_array_equal(occupancy(joined(outer, inner)), occupancy(outer))
    np.testing.assert_array_equal(occupancy(joined(outer, beside)), occupancy(outer) | occupancy(beside))
    hollow = mesh(inner.vertices, inner.faces[:, ::-1])  # an inner wall that faces inwards is a real hole
    np.testing.assert_array_equal(occupancy(joined(outer, hollow)), occupancy(outer) & ~occupancy(inner))


def test_a_mesh_turned_inside_out_has_the_same_inside():
    np.testing.assert_array_equal(occupancy(mesh(CUBE.vertices, CUBE.faces[:, ::-1])), occupancy(CUBE))


def test_parts_outside_the_grid_are_cut_off():
    assert occupancy(box([-2] * 3, [2] * 3)).all()
    assert not occupancy(box([0.6] * 3, [2] * 3)).any()
    assert iou([EMPTY], [EMPTY])[0] == 1
    assert iou([EMPTY], [CUBE])[0] == 0


def test_iou_needs_watertight_meshes():
    torn = mesh(CUBE.vertices, CUBE.faces[1:])
    assert open_edges(CUBE) == 0 and open_edges(torn) == 3
    with pytest.raises(MetricUnavailable, match="truth is not watertight: 3 open edges in frame 1"):
        iou([CUBE, CUBE], [CUBE, torn])
    with pytest.raises(MetricUnavailable, match="prediction is not watertight"):
        iou([torn], [CUBE])
    with pytest.raises(MetricUnavailable, match="Gaussians"):
        iou([gaussians([[0, 0, 0]])], [CUBE])


def test_watertight_is_about_positions_not_indices():
    soup = mesh(CUBE.vertices[CUBE.faces].reshape(-1, 3), np.arange(36).reshape(-1, 3))
    assert open_edges(soup) == 0
    flipped = mesh(CUBE.vertices, np.concatenate([CUBE.faces[:1, ::-1], CUBE.faces[1:]]))
    assert open_edges(flipped) == 6  # one face the wrong way round: its three edges run twice in one direction
    negative_zero = soup.vertices.copy()
    at_zero = mesh(np.where(negative_zero == -0.25, np.float32(-0.0), negative_zero), soup.faces)
    at_zero.vertices[::2][at_zero.vertices[::2] == 0] = 0.0
    assert open_edges(at_zero) == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**16))
def test_iou_does_not_depend_on_the_order_of_faces_and_vertices(seed):
    random = np.random.default_rng(seed)
    ball = sphere(float(random.uniform(0.1, 0.5)), 1)
    order, turn = random.permutation(len(ball.vertices)), random.integers(0, 3)
    back = np.argsort(order)
    faces = np.roll(back[ball.faces][random.permutation(len(ball.faces))], turn, axis=1)
    np.testing.assert_array_equal(occupancy(mesh(ball.vertices[order], faces)), occupancy(ball))
