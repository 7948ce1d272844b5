"""ActionBench's alignment by gradient descent, against known transforms and a step by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from bench4d.errors import FormatError
from bench4d.similarity import apply, similarity
from bench4d.surface import sample
from benchmarks.synth4d.generator import make_object
from metrics.gradient_icp import RATE, by_pairs, by_trees, fit, starts

pytestmark = pytest.mark.usefixtures("one_thread")

WALKER = make_object("walker-1000000").mesh_at(0.0)


def test_the_table_of_starts_has_two_rotations_twice():
    found = starts()
    assert found.shape == (24, 3, 3) and set(found.ravel()) == {-1.0, 0.0, 1.0}
    assert np.array_equal(np.linalg.det(found), np.ones(24))
    rows = [r.tobytes() for r in found]
    assert len(set(rows)) == 22
    assert sorted((rows.index(r), k) for k, r in enumerate(rows) if rows.index(r) < k) == [(17, 20), (18, 23)]
    # By hand: Rx(90) Rz(90) takes x to Rx(90) y = z.
    assert np.array_equal(found[5] @ [1, 0, 0], [0, 0, 1])


@pytest.mark.parametrize("seed", [0, 1])
def test_random_similarities_are_undone(seed):
    """Any rotation, scale 0.7 to 1.5, shift to 0.2: every point is back within 1e-3 of the object's cube."""
    rng = np.random.default_rng(seed)
    points = sample(WALKER, 160, 0)
    turn = Rotation.random(random_state=seed).as_matrix()
    moved = similarity(np.exp(rng.uniform(-0.4, 0.4)) * turn, np.zeros(3), rng.uniform(-0.2, 0.2, 3))
    found = fit(apply(moved, points), points)
    assert np.linalg.norm(apply(found @ moved, points) - points, axis=1).max() < 1e-3


def test_wrong_proportions_are_undone_too():
    points = sample(WALKER, 120, 0)
    stretched = np.diag([1.3, 0.8, 1.1, 1])
    found = fit(apply(stretched, points), points, steps=120)
    assert np.linalg.norm(apply(found @ stretched, points) - points, axis=1).max() < 5e-3


def test_equal_clouds_stay_exactly():
    points = sample(WALKER, 150, 0)
    assert np.array_equal(fit(points, points, steps=3), np.eye(4))


def test_one_step_by_hand():
    """Two points and two starts' worth of arithmetic: the rotation before Adam's first step, the rest after it.

    Adam's first step is `rate` in the direction of the gradient's sign. With one point the best start is the one whose
    image is closest to the truth; the loss's slope by the shift and by the scale has known signs.
    """
    source, truth = np.array([[0.5, 0.2, 0.1]]), np.array([[0.6, 0.1, 0.1 + 1e-3]])
    found = fit(source, truth, steps=1)
    best = min(starts(), key=lambda r: np.linalg.norm(source @ r - truth))
    assert np.array_equal(best, np.eye(3))
    difference = source @ best - truth  # slope: 4 d by the shift, 4 d x by the scale
    scale = 1 - RATE * np.sign(difference * source)[0]
    shift = -RATE * np.sign(difference)[0]
    assert found[:3, :3] == pytest.approx(np.diag(scale), abs=1e-5)
    assert found[:3, 3] == pytest.approx(shift, abs=1e-5)


def oracle(source: np.ndarray, truth: np.ndarray, steps: int) -> np.ndarray:
    """The description, word by word: one start after the other, all pairs, Adam's formulas written out."""
    p, t = torch.tensor(source), torch.tensor(truth)
    tracks = []
    for first in torch.tensor(starts()):
        values = [torch.zeros(3).double(), torch.tensor([1.0, 0, 0, 0, 1, 0]).double(), torch.ones(3).double()]
        mean, square, track = [torch.zeros_like(v) for v in values], [torch.zeros_like(v) for v in values], []
        for step in range(1, steps + 1):
            shift, six, scale = (v.clone().requires_grad_() for v in values)
            a = six[:3] / six[:3].norm()
            b = six[3:] - (six[3:] @ a) * a
            turn = first @ torch.stack([a, b / b.norm(), torch.linalg.cross(a, b / b.norm())])
            distance = (((scale * p) @ turn + shift)[:, None] - t).square().sum(-1)
            loss = distance.amin(1).mean() + distance.amin(0).mean()
            slopes = torch.autograd.grad(loss / 24, [shift, six, scale])
            for k, slope in enumerate(slopes):
                mean[k] = 0.9 * mean[k] + 0.1 * slope
                square[k] = 0.999 * square[k] + 0.001 * slope**2
                change = mean[k] / (1 - 0.9**step) / ((square[k] / (1 - 0.999**step)).sqrt() + 1e-8)
                values[k] = values[k] - 0.01 * change
            track.append((float(loss.detach()), turn.detach(), values[0], values[2]))
        tracks.append(track)
    _, turn, shift, scale = min((t for track in tracks for t in track), key=lambda found: found[0])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = (torch.diag(scale) @ turn).T.numpy(), shift.numpy()
    return matrix


def test_against_the_description_word_by_word():
    source, truth = sample(WALKER, 14, 0), sample(make_object("pudding-1000004").mesh_at(0.0), 17, 0)
    found, expected = fit(source + 0.1, truth, steps=12), oracle(source + 0.1, truth, 12)
    assert np.abs(found - expected).max() < 1e-6


def test_both_searches_find_the_closest_points():
    rng = np.random.default_rng(0)
    moved, truth = torch.as_tensor(rng.normal(size=(3, 40, 3))), torch.as_tensor(rng.normal(size=(50, 3)))
    pairs = (moved[:, :, None] - truth).square().sum(-1)
    for search in (by_trees, by_pairs):
        there, back = search(moved, truth)
        assert torch.equal(there, pairs.argmin(2)) and torch.equal(back, pairs.argmin(1))


def test_both_searches_lead_to_one_result():
    points = sample(WALKER, 100, 0)
    turned = apply(similarity(1.2 * Rotation.from_rotvec([0.5, 0.3, 0.9]).as_matrix()), points)
    found = [fit(turned, points, steps=15, search=search) for search in (by_trees, by_pairs)]
    assert np.abs(found[0] - found[1]).max() < 1e-9


def test_nothing_to_align_is_refused():
    with pytest.raises(FormatError, match="points on both sides"):
        fit(np.zeros((0, 3)), np.zeros((1, 3)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_gpu_finds_what_a_cpu_finds():
    points = sample(WALKER, 400, 0)
    turned = apply(similarity(1.2 * Rotation.from_rotvec([0.5, 0.3, 0.9]).as_matrix()), points)
    cpu, gpu = (fit(turned, points, device=device) for device in ("cpu", "cuda"))
    assert np.abs(cpu - gpu).max() < 1e-6
    assert np.array_equal(gpu, fit(turned, points, device="cuda"))
