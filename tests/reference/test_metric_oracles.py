"""Metrics against independent implementations: scipy's filters and distances, trimesh's ray casting."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import trimesh
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist

from bench4d.asset import Mesh
from bench4d.metric import View
from bench4d.surface import sample
from metrics.chamfer import chamfer, distance
from metrics.fscore import harmonic
from metrics.iou import occupancy, open_edges
from metrics.psnr import psnr
from metrics.ssim import ssim, ssim_map


def to_mesh(shape: trimesh.Trimesh) -> Mesh:
    colors = np.full((len(shape.vertices), 4), 255, np.uint8)
    return Mesh(np.float32(shape.vertices), np.int32(shape.faces), colors)


def shapes() -> dict[str, trimesh.Trimesh]:
    """Closed surfaces: convex, with a hole, dented, and turned so that nothing is aligned with the grid."""
    dented = trimesh.creation.icosphere(4, 0.4)
    dented.vertices *= 1 + 0.25 * np.sin(7 * dented.vertices[:, :1] * 3) * np.cos(11 * dented.vertices[:, 2:])
    torus = trimesh.creation.torus(0.28, 0.11, major_sections=48, minor_sections=24)
    torus.apply_transform(trimesh.transformations.rotation_matrix(0.7, [1, 2, 3]))
    capsule = trimesh.creation.capsule(0.4, 0.15)
    capsule.apply_translation(np.array([0.013, -0.007, 0.004]) - capsule.bounds.mean(axis=0))
    return {"dented": dented, "torus": torus, "capsule": capsule}


@pytest.mark.parametrize("name", shapes())
def test_occupancy_equals_ray_casting(name):
    """Embree casts rays and counts hits; a sum of signed crossings must agree on closed shapes."""
    shape, size = shapes()[name], 24
    mesh = to_mesh(shape)
    assert open_edges(mesh) == 0
    axis = (np.arange(size) + 0.5) / size - 0.5
    centres = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    expected = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).contains(centres).reshape(size, size, size)
    assert expected.any()
    np.testing.assert_array_equal(occupancy(mesh, size), expected)


@pytest.mark.parametrize("name", shapes())
def test_occupied_volume_tends_to_the_mesh_volume(name):
    shape, size = shapes()[name], 96
    assert occupancy(to_mesh(shape), size).sum() / size**3 == pytest.approx(shape.volume, rel=0.01)


def test_chamfer_and_fscore_equal_all_pairs_of_distances():
    a, b = (to_mesh(shape) for shape in list(shapes().values())[:2])
    p, q = sample(a, 700, 0.1), sample(b, 700, 0.1)
    pairs = cdist(p, q)
    forward, backward = pairs.min(axis=1), pairs.min(axis=0)
    assert distance(p, q, False, "mean") == pytest.approx((forward.mean() + backward.mean()) / 2, abs=1e-14)
    assert distance(p, q, True, "sum") == pytest.approx((forward**2).mean() + (backward**2).mean(), abs=1e-14)
    assert chamfer([a], [b], samples=700)[0] == distance(p, q, False, "mean")
    precision, recall = (forward <= 0.05).mean(), (backward <= 0.05).mean()
    assert harmonic(p, q, 0.05) == pytest.approx(2 * precision * recall / (precision + recall), abs=1e-14)


def test_chamfer_of_many_samples_tends_to_the_exact_distance_between_the_surfaces():
    """A ball around a box: distances from points to both surfaces are closed forms."""
    half = np.array([0.15, 0.2, 0.1])
    ball, block = to_mesh(trimesh.creation.icosphere(5, 0.4)), to_mesh(trimesh.creation.box(2 * half))
    to_block = np.linalg.norm(np.maximum(np.abs(sample(ball, 8_000, 0.1)) - half, 0), axis=1).mean()
    to_ball = (0.4 - np.linalg.norm(sample(block, 8_000, 0.1), axis=1)).mean()
    assert chamfer([ball], [block], samples=16_000)[0] == pytest.approx((to_block + to_ball) / 2, rel=0.01)


def images(seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    a = gaussian_filter(random.uniform(-400, 650, (61, 47, 3)), (2, 2, 0)).clip(0, 255)
    return a.astype(np.uint8), (a + random.normal(0, 20, a.shape)).clip(0, 255).astype(np.uint8)


def filtered_ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """SSIM map per channel by scipy's Gaussian filter; truncate 3.5 at sigma 1.5 gives its 11 taps."""
    a, b = a.astype(np.float64), b.astype(np.float64)

    def blur(image: np.ndarray) -> np.ndarray:
        return gaussian_filter(image, (1.5, 1.5, 0), truncate=3.5, mode="reflect")

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b, cov = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2, blur(a * b) - mean_a * mean_b
    c1, c2 = 2.55**2, 7.65**2
    return (2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))


@pytest.mark.parametrize("seed", range(3))
def test_ssim_equals_scipys_filters_at_every_pixel(seed):
    a, b = images(seed)
    expected = filtered_ssim(a, b)
    np.testing.assert_allclose(ssim_map(a, b), expected.mean(axis=2), rtol=0, atol=1e-10)
    alpha = np.full((1, *a.shape[:2]), 255, np.uint8)
    value = ssim(View(a[None], alpha), View(b[None], alpha))[0]
    assert value == pytest.approx(expected[5:-5, 5:-5].mean(), abs=1e-10)
    assert 0.1 < value < 0.9


def test_ssim_and_psnr_equal_scikit_image_where_it_is_installed():
    skimage = importlib.import_module("skimage.metrics")
    a, b = images(7)
    alpha = np.full((1, *a.shape[:2]), 255, np.uint8)
    views = View(a[None], alpha), View(b[None], alpha)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    expected = skimage.structural_similarity(a, b, channel_axis=2, **options)
    assert ssim(*views)[0] == pytest.approx(expected, abs=1e-10)
    assert psnr(*views)[0] == pytest.approx(skimage.peak_signal_noise_ratio(a, b, data_range=255), abs=1e-10)
