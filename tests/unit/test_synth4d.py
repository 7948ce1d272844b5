"""synth4d: the promises of the embedded benchmark, checked on all test objects."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

from bench4d.asset import Mesh
from bench4d.errors import FormatError
from benchmarks.synth4d.generator import FAMILIES, KINDS, Object4D, make_object
from benchmarks.synth4d.hashes import RECORD, TIMES, fingerprint
from benchmarks.synth4d.splits import MINI, TEST, TRAIN_SEEDS, VERSION, train_id

TOPOLOGY = [i for i in TEST if i.split("-")[0] in FAMILIES["topology"]]
CLOSED_TIMES = (0.0, 0.81, 1.43)


@cache
def thing(object_id: str) -> Object4D:
    return make_object(object_id)


def merged(mesh: Mesh) -> trimesh.Trimesh:
    """Vertices of equal position made one."""
    joined = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    joined.merge_vertices(merge_tex=True, merge_norm=True)
    return joined


def pieces(joined: trimesh.Trimesh) -> np.ndarray:
    """Connected component of each face."""
    return trimesh.graph.connected_component_labels(joined.face_adjacency, node_count=len(joined.faces))


def gap(a: Mesh, b: Mesh) -> float:
    """Largest motion: of a vertex, or the Hausdorff distance of the vertices where the topology changes."""
    if a.faces.shape == b.faces.shape and np.array_equal(a.faces, b.faces):
        return float(np.linalg.norm(a.vertices - b.vertices, axis=1).max())
    there, back = cKDTree(b.vertices).query(a.vertices)[0].max(), cKDTree(a.vertices).query(b.vertices)[0].max()
    return float(max(there, back))


@pytest.mark.parametrize("object_id", TEST)
def test_bytes_are_the_recorded_ones(object_id: str) -> None:
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    assert (record["version"], tuple(record["times"])) == (VERSION, TIMES)
    assert fingerprint(thing(object_id)) == record["sha256"][object_id]


@pytest.mark.parametrize("object_id", TEST)
def test_object_fills_its_box_and_never_leaves_it(object_id: str) -> None:
    boxes = []
    for time in np.append(np.linspace(0, 4, 9, endpoint=False) + 0.041, [-0.3, 9.77]):
        v = thing(object_id).mesh_at(time).vertices
        boxes.append([v.min(0), v.max(0)])
    low, high = np.array(boxes)[:, 0].min(0), np.array(boxes)[:, 1].max(0)
    assert low.min() >= -0.45
    assert high.max() <= 0.45
    assert (high - low).max() > 0.82  # as large as fits
    assert (high - low).min() > 0.2  # no thin sliver


@pytest.mark.parametrize("object_id", TEST)
def test_every_clip_of_two_seconds_moves(object_id: str) -> None:
    for start in (0.0, 2.0):
        meshes = [thing(object_id).mesh_at(start + k / 2) for k in range(4)]
        cloud = np.concatenate([m.vertices for m in meshes])
        diagonal = np.linalg.norm(cloud.max(0) - cloud.min(0))
        assert max(gap(meshes[0], m) for m in meshes[1:]) > 0.05 * diagonal


@pytest.mark.parametrize("object_id", TEST)
def test_motion_is_continuous(object_id: str) -> None:
    small = 1 / 500
    # 3.999 to 4.001 crosses the end of the loop
    for time in (*np.linspace(0.017, 3.9, 6), 3.999):
        a, b = thing(object_id).mesh_at(time), thing(object_id).mesh_at(time + small)
        if object_id not in TOPOLOGY:
            assert np.array_equal(a.faces, b.faces)
        # at most 6 units a second; sampling of an implicit surface adds up to about a grid cell
        assert gap(a, b) < 6 * small + (0.03 if object_id in TOPOLOGY else 0)


@pytest.mark.parametrize("object_id", TEST)
def test_watertight_objects_are_closed_and_outward(object_id: str) -> None:
    for time in CLOSED_TIMES:
        joined = merged(thing(object_id).mesh_at(time))
        assert joined.is_winding_consistent
        assert joined.is_watertight == thing(object_id).watertight
        if thing(object_id).watertight:
            a, b, c = (joined.triangles[:, i].astype(np.float64) for i in range(3))
            volumes = np.bincount(pieces(joined), (np.cross(a, b) * c).sum(1))
            assert volumes.min() > 0


def test_only_cloth_is_open() -> None:
    assert [i for i in TEST if not thing(i).watertight] == ["flag-1000003"]


@pytest.mark.parametrize("object_id", TOPOLOGY)
def test_topology_changes(object_id: str) -> None:
    counts, eulers = set(), set()
    for time in np.linspace(0, 2, 14, endpoint=False):
        joined = merged(thing(object_id).mesh_at(time))
        counts.add(int(pieces(joined).max()) + 1)
        eulers.add(int(joined.euler_number))
    if object_id.startswith("donut"):
        assert len(counts) == 1  # always one piece of dough (and its sprinkles)...
        assert max(eulers) - min(eulers) == 2  # ...from a disc (2) to a ring (0)
    else:
        assert len(counts) >= 2
    if object_id.startswith("cell"):
        assert {c - min(counts) for c in counts} == {0, 1, 3}  # one cell, two, four


@pytest.mark.parametrize("object_id", TEST)
def test_colours_have_patterns_and_light(object_id: str) -> None:
    frames = [thing(object_id).mesh_at(time).colors for time in (0.1, 0.6)]
    for colors in frames:
        assert colors is not None
        assert (colors[:, 3] == 255).all()
        assert len(np.unique(colors[:, :3], axis=0)) > 500
        assert colors[:, :3].std(0).max() > 20
        assert 60 < colors[:, :3].mean() < 230  # neither black nor lost on white
    if object_id not in TOPOLOGY:
        turned = np.abs(frames[0].astype(int) - frames[1].astype(int)).max(1)
        assert (turned > 2).mean() > 0.02  # light is fixed in the world: moving surfaces change


def test_splits_are_disjoint_and_balanced() -> None:
    assert len(TEST) == len(set(TEST)) == 21
    assert [sum(thing(i).family == family for i in TEST) for family in FAMILIES] == [3] * 7
    assert {i.split("-")[0] for i in TEST} == set(KINDS)
    assert len(MINI) == 4
    assert set(MINI) < set(TEST)
    assert len({thing(i).family for i in MINI}) == 4
    assert min(int(i.split("-")[1]) for i in TEST) >= TRAIN_SEEDS
    train = [train_id(seed) for seed in range(200)]
    assert len(set(train)) == 200
    assert {i.split("-")[0] for i in train} == set(KINDS)
    assert not set(train) & set(TEST)
    for seed in (-1, TRAIN_SEEDS):
        with pytest.raises(FormatError, match="seed"):
            train_id(seed)


@pytest.mark.parametrize(
    "bad", ["", "walker", "walker-", "walker-01", "unicorn-3", "walker--1", "Walker-1", "walker-1 "]
)
def test_unknown_ids_are_refused(bad: str) -> None:
    with pytest.raises(FormatError, match="kind"):
        make_object(bad)


@pytest.mark.parametrize("kind", KINDS)
def test_seeds_differ_and_training_objects_keep_the_promises(kind: str) -> None:
    test_object = next(thing(i) for i in TEST if i.startswith(kind + "-"))
    other = make_object(f"{kind}-{KINDS.index(kind) + 21}")
    a, b = test_object.mesh_at(0.5), other.mesh_at(0.5)
    assert a.vertices.shape != b.vertices.shape or np.abs(a.vertices - b.vertices).max() > 0.01
    assert a.colors is not None
    assert b.colors is not None
    assert a.colors.shape != b.colors.shape or (a.colors != b.colors).any()
    assert np.abs(b.vertices).max() <= 0.45
    assert other.description
    joined = merged(b)
    assert joined.is_watertight == other.watertight


def test_the_same_id_gives_the_same_bytes_twice() -> None:
    for object_id in MINI:
        assert fingerprint(make_object(object_id)) == fingerprint(thing(object_id))
