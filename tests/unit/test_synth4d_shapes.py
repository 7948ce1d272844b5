"""synth4d: its primitives and its polygonisation are closed, outward and of the right size."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from benchmarks.synth4d import shapes, skin
from benchmarks.synth4d.clockwork import gear
from benchmarks.synth4d.implicit import COUNTS, TRIANGLES, ball, polygonise, smooth_union


def joined(vertices: np.ndarray, faces: np.ndarray) -> trimesh.Trimesh:
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    return mesh


SOLIDS = {
    "sphere": (shapes.sphere((0, 0, 0), 0.5, 40, 60), 4 / 3 * np.pi * 0.125),
    "cylinder": (shapes.cylinder((0, 0, 0), (0.6, 0.6, 0.3), 0.2, bevel=1e-3, around=90), np.pi * 0.04 * 0.9),
    "capsule": (shapes.capsule((0, 0, 0), (0, 1, 0), 0.2, rows=20, around=80), np.pi * 0.04 + 4 / 3 * np.pi * 0.008),
    "cone": (shapes.cone((0, 0, 0), (0, 0, 1), 0.3, around=80, rows=30), np.pi * 0.09 / 3 * 1.065),
    "box": (shapes.box((1, 2, 3), (0.3, 0.5, 0.7), bevel=1e-3), 0.105),
    "torus": (shapes.torus(0.5, 0.1, 90, 60), 2 * np.pi**2 * 0.5 * 0.01),
    "plate": (shapes.extrude(shapes.oval(2, 2, count=120), 0.2, hole=0.5, bevel=1e-3), np.pi * 0.75 * 0.2),
    "tube": (shapes.tube(np.linspace([0, 0, 0], [1, 0, 0], 9), np.full(9, 0.1), 90), np.pi * 0.01),
}


@pytest.mark.parametrize("name", SOLIDS)
def test_primitive_is_closed_and_has_its_volume(name: str) -> None:
    shape, volume = SOLIDS[name]
    mesh = joined(shape.vertices, shape.faces)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume == pytest.approx(volume, rel=0.04)
    assert len(shape.uv) == len(shape.vertices)


@pytest.mark.parametrize("shape", [shapes.pillow(shapes.star_outline(5, 0.5), 0.1), gear(12, 0.3, 0.1, 0.02, 0.1)])
def test_outlined_solid_is_closed_and_outward(shape: shapes.Shape) -> None:
    mesh = joined(shape.vertices, shape.faces)
    assert mesh.is_watertight
    assert mesh.volume > 0


def test_sheet_is_open() -> None:
    shape = shapes.sheet(4, 3)
    assert not joined(shape.vertices, shape.faces).is_watertight


def test_hard_edges_do_not_share_vertices() -> None:
    rod = shapes.cylinder((0, 0, 0), (0, 0, 1), 0.3, bevel=0.02)
    assert len(joined(rod.vertices, rod.faces).vertices) < len(rod.vertices)


def test_polygonised_ball_is_round() -> None:
    vertices, faces = polygonise(lambda p: ball(p, (0.1, 0, 0), 0.4), (-0.5,) * 3, (0.6,) * 3, 0.05)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    assert mesh.is_watertight
    assert mesh.euler_number == 2
    assert np.abs(np.linalg.norm(vertices - [0.1, 0, 0], axis=1) - 0.4).max() < 1e-3
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 0.4**3, rel=0.02)


def test_polygonised_balls_merge() -> None:
    def euler(distance: float) -> tuple[int, int]:
        def field(p: np.ndarray) -> np.ndarray:
            return smooth_union(ball(p, (-distance, 0, 0), 0.2), ball(p, (distance, 0, 0), 0.2), 0.05)

        mesh = trimesh.Trimesh(*polygonise(field, (-0.7,) * 3, (0.7,) * 3, 0.05), process=False)
        return mesh.body_count, mesh.euler_number

    assert euler(0.3) == (2, 4)
    assert euler(0.15) == (1, 2)


def test_every_cell_configuration_closes() -> None:
    """Random signs on a grid meet all 256 corner patterns, the ambiguous ones next to each other."""
    signs = np.random.default_rng(0).normal(size=(14, 14, 14))
    signs[[0, -1]], signs[:, [0, -1]], signs[:, :, [0, -1]] = 1, 1, 1

    def field(p: np.ndarray) -> np.ndarray:
        i = np.rint(p).astype(int)
        return signs[i[:, 0], i[:, 1], i[:, 2]]

    vertices, faces = polygonise(field, (0, 0, 0), (13, 13, 13), 1.0, relax=0)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume > 0
    assert COUNTS[0] == COUNTS[255] == 0
    assert (COUNTS[1:255] > 0).all()
    assert TRIANGLES.max() < 16


def test_frames_compose_and_invert() -> None:
    points = np.random.default_rng(1).normal(size=(5, 3))
    outer, inner = skin.turn((1, 2, 3), 0.7, (0.1, 0.2, 0.3)), skin.compose(skin.shift((1, 0, 2)), skin.turn("y", -1.2))
    twice = skin.apply(outer, skin.apply(inner, points))
    np.testing.assert_allclose(skin.apply(skin.compose(outer, inner), points), twice, atol=1e-12)
    np.testing.assert_allclose(skin.into(outer, skin.apply(outer, points)), points, atol=1e-12)
    np.testing.assert_allclose(skin.apply(outer, np.array([[0.1, 0.2, 0.3]])), [[0.1, 0.2, 0.3]], atol=1e-12)


def test_skin_weights_sum_to_one_and_follow_bones() -> None:
    limbs = [skin.Limb(0, (-0.4, 0, 0), (0, 0, 0), 0.1, 0.1), skin.Limb(1, (0, 0, 0), (0.4, 0, 0), 0.1, 0.1)]
    body = skin.clay(limbs, 2, cell=0.04)
    np.testing.assert_allclose(body.weights.sum(1), 1)
    x = body.shape.vertices[:, 0]
    assert body.weights[x > 0.2, 1].min() > 0.95
    moved = skin.skinned(body.weights, [lambda t: skin.STILL, lambda t: skin.shift((0, 0, t))])(
        body.shape.vertices, 0.3
    )
    lift = moved[:, 2] - body.shape.vertices[:, 2]
    assert lift[x > 0.3].min() > 0.28
    assert lift[x < -0.3].max() < 0.02
