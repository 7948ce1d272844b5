"""Similarity transforms: exact on points, and invisible when the cameras move along."""

import numpy as np
import pytest

from bench4d.asset import Gaussians, Mesh
from bench4d.cameras import Cameras, orbit
from bench4d.errors import FormatError
from bench4d.render import render_gaussians
from bench4d.similarity import camera_to_camera, split, transformed


def rotation(seed):
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q *= np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q


def similarity(scale, turn, shift):
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = scale * turn, shift
    return matrix


def test_the_identity_changes_nothing_at_all():
    mesh = Mesh(np.zeros((3, 3), np.float32), np.array([[0, 1, 2]], np.int32), np.zeros((3, 4), np.uint8))
    assert transformed(mesh, np.eye(4)) is mesh


def test_points_move_as_the_matrix_says_and_split_recovers_it():
    matrix = similarity(1.7, rotation(0), [0.1, -0.2, 0.3])
    points = np.random.default_rng(1).normal(size=(9, 3)).astype(np.float32)
    mesh = Mesh(points, np.array([[0, 1, 2]], np.int32), np.zeros((9, 4), np.uint8))
    assert np.allclose(transformed(mesh, matrix).vertices, points @ (1.7 * rotation(0)).T + [0.1, -0.2, 0.3], atol=1e-6)
    scale, turn = split(matrix)
    assert np.isclose(scale, 1.7) and np.allclose(turn, rotation(0))


@pytest.mark.parametrize(
    "linear", [np.diag([1.0, 1, 2]), np.diag([1.0, 1, -1]), np.zeros((3, 3)), np.full((3, 3), np.nan)]
)
def test_what_is_no_similarity_is_refused(linear):
    with pytest.raises(FormatError, match="uniform scale"):
        split(similarity(1, linear, 0))


@pytest.mark.parametrize("terms", [1, 4, 9, 16])
def test_gaussians_and_camera_moved_together_look_the_same(terms):
    rng = np.random.default_rng(terms)
    gaussians = Gaussians(
        rng.uniform(-0.3, 0.3, (60, 3)).astype(np.float32),
        rng.uniform(0.02, 0.1, (60, 3)).astype(np.float32),
        rng.normal(size=(60, 4)).astype(np.float32),
        rng.uniform(0.3, 1, 60).astype(np.float32),
        rng.normal(0, 0.5, (60, terms, 3)).astype(np.float32),
    )
    turn = rotation(terms)
    camera = orbit([30], 20, 2, 40, 64)
    pose = camera.camera_to_world.copy()
    pose[0, :3, :3], pose[0, :3, 3] = turn @ pose[0, :3, :3], 1.5 * turn @ pose[0, :3, 3] + [0.2, 0.1, -0.3]
    moved_camera = Cameras(pose, camera.intrinsics, 64, 64)
    moved = transformed(gaussians, similarity(1.5, turn, [0.2, 0.1, -0.3]))
    assert np.abs(render_gaussians(moved, moved_camera) - render_gaussians(gaussians, camera)).max() < 2e-4


def test_declared_cameras_of_one_field_of_view_map_exactly():
    source, target = orbit([140], -10, 1.5, 40, 512), orbit([0], 15, 2.0, 40, 256)
    matrix = camera_to_camera(source, target)
    centre = matrix @ np.append(source.camera_to_world[0, :3, 3], 1)
    assert np.allclose(centre[:3], target.camera_to_world[0, :3, 3])
    assert np.isclose(split(matrix)[0], 2.0 / 1.5)


def test_a_camera_that_looks_away_is_refused():
    pose = orbit([0], 0, 2, 40, 8).camera_to_world.copy()
    pose[0, :3, 3] *= -1
    with pytest.raises(FormatError, match="in front of the origin"):
        camera_to_camera(Cameras(pose, orbit([0], 0, 2, 40, 8).intrinsics, 8, 8), orbit([0], 0, 2, 40, 8))
