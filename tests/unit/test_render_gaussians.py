"""The Gaussian renderer against closed forms: footprints, blending, thresholds, harmonics."""

import numpy as np
import pytest
from scipy.special import sph_harm_y

from bench4d.asset import Gaussians
from bench4d.cameras import Cameras, orbit
from bench4d.errors import FormatError
from bench4d.render import render_gaussians

Y00 = 0.28209479177387814
SIZE, FOCAL = 64, 80.0


def gaussians(
    means, colors=None, scales=0.02, opacities=0.5, quaternions=(1, 0, 0, 0), sh=None, **options
) -> Gaussians:
    means = np.atleast_2d(np.asarray(means, np.float32))
    n = len(means)
    if sh is None:
        sh = (np.broadcast_to(1.0 if colors is None else colors, (n, 3))[:, None] - 0.5) / Y00
    return Gaussians(
        means,
        np.broadcast_to(np.float32(scales), (n, 3)).copy(),
        np.broadcast_to(np.float32(quaternions), (n, 4)).copy(),
        np.broadcast_to(np.float32(opacities), (n,)).copy(),
        np.asarray(sh, np.float32),
        **options,
    )


def at_origin() -> Cameras:
    """In the world's origin, looking along +z. The principal point is the centre of pixel (32, 32)."""
    matrix = np.array([[FOCAL, 0, 32.5], [0, FOCAL, 32.5], [0, 0, 1.0]])
    return Cameras(np.eye(4)[None], matrix[None], SIZE, SIZE)


def cloud(n: int, terms: int = 1, seed: int = 0, **options) -> Gaussians:
    rng = np.random.default_rng(seed)
    return gaussians(
        rng.normal(0, 0.2, (n, 3)),
        scales=rng.uniform(0.003, 0.06, (n, 3)),
        opacities=rng.uniform(0, 1, n),
        quaternions=rng.normal(size=(n, 4)),
        sh=rng.normal(0, 0.6, (n, terms, 3)),
        **options,
    )


@pytest.mark.parametrize("dilation", [0.1, 0.3])
def test_one_round_gaussian_has_the_profile_of_the_closed_form(dilation):
    sigma, opacity, z = 0.05, 0.8, 2.0
    scene = gaussians([0, 0, z], [0.25, 0.5, 0.75], sigma, opacity, dilation=dilation)
    image = render_gaussians(scene, at_origin())[0]
    y, x = np.mgrid[:SIZE, :SIZE] - 32
    alpha = opacity * np.exp(-(x**2 + y**2) / 2 / ((sigma * FOCAL / z) ** 2 + dilation))
    alpha[alpha < 1 / 255] = 0
    np.testing.assert_allclose(image[..., 3], alpha, atol=1e-6)
    np.testing.assert_allclose(image[..., :3], alpha[..., None] * [0.25, 0.5, 0.75], atol=1e-6)


def test_the_footprint_is_the_covariance_under_the_derivative_of_the_projection():
    rng = np.random.default_rng(3)
    quaternion, scale, mean = rng.normal(size=4), np.array([0.12, 0.05, 0.02]), np.array([0.13, -0.21, 1.7])
    scene = gaussians(mean, scales=scale, opacities=0.9, quaternions=quaternion)
    alpha = render_gaussians(scene, at_origin())[0, ..., 3].astype(np.float64)
    # -2 log(alpha / opacity) is a quadratic form of the offset: recover its matrix from the pixels
    center = FOCAL * mean[:2] / mean[2] + 32.5
    rows, columns = np.nonzero(alpha > 0.05)
    dx, dy = columns + 0.5 - center[0], rows + 0.5 - center[1]
    q = -2 * np.log(alpha[rows, columns] / 0.9)
    xx, xy, yy = np.linalg.lstsq(np.stack([dx * dx, 2 * dx * dy, dy * dy], 1), q, rcond=None)[0]
    w, v = quaternion[0] / np.linalg.norm(quaternion), quaternion[1:] / np.linalg.norm(quaternion)
    skew = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    axes = (np.eye(3) + 2 * w * skew + 2 * skew @ skew) * scale  # Rodrigues
    h = 1e-5
    steps = [
        (FOCAL * (mean + s)[:2] / (mean + s)[2] - FOCAL * (mean - s)[:2] / (mean - s)[2]) / (2 * h)
        for s in h * np.eye(3)
    ]
    jacobian = np.stack(steps, 1)
    expected = jacobian @ axes @ axes.T @ jacobian.T + 0.3 * np.eye(2)
    np.testing.assert_allclose(np.linalg.inv([[xx, xy], [xy, yy]]), expected, rtol=1e-4)


def test_nearer_gaussians_are_blended_over_farther_ones():
    scene = gaussians([[0, 0, 3], [0, 0, 2], [0, 0, 1]], np.eye(3), opacities=[0.9, 0.6, 0.5])
    np.testing.assert_allclose(render_gaussians(scene, at_origin())[0, 32, 32], [0.9 * 0.2, 0.3, 0.5, 0.98], atol=1e-6)


def test_equally_deep_gaussians_are_blended_in_the_order_of_their_indices():
    colors = np.random.default_rng(0).uniform(0, 1, (200, 3))
    depth = np.tile([3, 2], 100)
    scene = gaussians(np.stack([0 * depth, 0 * depth, depth], 1), colors, opacities=0.03125)
    weights = 0.03125 * (1 - 0.03125) ** np.arange(200)
    expected = weights @ np.concatenate([colors[1::2], colors[::2]])
    np.testing.assert_allclose(render_gaussians(scene, at_origin())[0, 32, 32, :3], expected, atol=1e-6)


def test_alpha_is_limited_to_099_and_blending_stops_before_transmittance_falls_below_1e_4():
    one = gaussians([0, 0, 2], opacities=1.0)
    assert render_gaussians(one, at_origin())[0, 32, 32, 3] == np.float32(0.99)
    # 0.01, then 0.00015 remains; the third, red one would leave 1.5e-6 and is not drawn; nor is the faint fourth
    scene = gaussians(
        [[0, 0, z] for z in (1, 2, 3, 4)], [[0, 1, 0], [0, 1, 0], [1, 0, 0], [1, 0, 0]], opacities=[1, 0.985, 1, 0.1]
    )
    np.testing.assert_allclose(
        render_gaussians(scene, at_origin())[0, 32, 32], [0, 1 - 1.5e-4, 0, 1 - 1.5e-4], atol=1e-7
    )


def test_a_tile_that_is_half_finished_still_shows_what_is_behind_it():
    rows, columns = np.mgrid[32:48, 32:40].reshape(2, -1)  # half of the tile that starts at pixel (32, 32)
    dots = [
        np.stack([(columns - 32) * z / FOCAL, (rows - 32) * z / FOCAL, np.full(128, z)], 1) for z in (1.0, 2.0, 3.0)
    ]
    means = np.concatenate([*dots, [[0.46875, 0.46875, 5.0]]])  # three layers finish a pixel; one stays within the tile
    scales = np.repeat([1e-6, 0.14], [384, 1])[:, None] * np.ones(3)
    colors = np.repeat([[0, 1, 0], [1, 0, 0]], [384, 1], axis=0)
    image = render_gaussians(
        gaussians(means, colors, scales, np.repeat([1, 0.5], [384, 1]), dilation=0.01), at_origin()
    )[0]
    assert image[32:48, 32:40, 0].max() == 0
    assert image[39:41, 40, 0].min() > 0.45


def test_what_is_fainter_than_1_over_255_or_closer_than_02_is_dropped():
    assert not render_gaussians(gaussians([0, 0, 2], opacities=0.0039), at_origin()).any()
    assert render_gaussians(gaussians([0, 0, 2], opacities=0.00393), at_origin()).any()
    assert not render_gaussians(gaussians([0, 0, 0.1999]), at_origin()).any()
    assert render_gaussians(gaussians([0, 0, 0.2001]), at_origin()).any()


@pytest.mark.parametrize("sigma", [0.004, 0.02, 0.1])
def test_compensation_takes_back_what_dilation_adds(sigma):
    scene = gaussians([0, 0, 2], scales=sigma, opacities=0.8, dilation=0.1, compensate=True)
    before = (sigma * FOCAL / 2) ** 4
    after = ((sigma * FOCAL / 2) ** 2 + 0.1) ** 2
    expected = 0.8 * np.sqrt(before / (after + 1e-6) + 1e-6)
    assert render_gaussians(scene, at_origin())[0, 32, 32, 3] == pytest.approx(expected, rel=1e-6)


def test_compensation_removes_gaussians_without_any_projected_area():
    tiny = {"scales": 1e-4, "opacities": 0.8, "dilation": 0.1}
    assert not render_gaussians(gaussians([0, 0, 2], compensate=True, **tiny), at_origin()).any()
    assert render_gaussians(gaussians([0, 0, 2], **tiny), at_origin()).any()


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_colours_follow_the_spherical_harmonics_of_an_independent_library(degree):
    rng = np.random.default_rng(degree)
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    sh = rng.normal(0, 0.15, ((degree + 1) ** 2, 3))
    polar, azimuth = np.arccos(direction[2]), np.arctan2(direction[1], direction[0])
    value = np.full(3, 0.5)
    for k in range((degree + 1) ** 2):
        n = int(np.sqrt(k))
        m = k - n * n - n
        y = sph_harm_y(n, abs(m), polar, azimuth)  # with the Condon-Shortley phase, which 3DGS keeps
        real = y.real if m == 0 else np.sqrt(2) * (y.real if m > 0 else y.imag)
        value += real * sh[k]
    eye = np.array([0.1, -0.2, 0.3])
    helper = np.cross(direction, [0.3, 0.5, 0.8])
    right = helper / np.linalg.norm(helper)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = np.stack([right, np.cross(direction, right), direction], 1), eye
    camera = Cameras(pose[None], at_origin().intrinsics, SIZE, SIZE)
    pixel = render_gaussians(gaussians(eye + 2 * direction, sh=sh[None]), camera)[0, 32, 32]
    np.testing.assert_allclose(pixel[:3] / pixel[3], value.clip(0), atol=2e-6)


def test_negative_colours_count_as_0_and_bright_ones_are_limited_at_the_end():
    scene = gaussians([[0, 0, 1], [0, 0, 2]], [[-3, 0, 4], [0, 1, 0]], opacities=0.5)
    np.testing.assert_allclose(render_gaussians(scene, at_origin())[0, 32, 32], [0, 0.25, 1, 0.75], atol=1e-6)


def test_same_bytes_for_any_number_of_threads_and_any_grouping_of_cameras():
    scene = cloud(30_000, terms=4)
    cameras = orbit([0, 70], elevation=20, radius=1.5, fov_y=40, size=100)
    image = render_gaussians(scene, cameras, threads=1)
    assert image[..., 3].max() > 0.99
    for threads in (2, 3, None):
        assert render_gaussians(scene, cameras, threads=threads).tobytes() == image.tobytes()
    single = np.concatenate([render_gaussians(scene, cameras[k]) for k in range(2)])
    assert single.tobytes() == image.tobytes()


def test_turning_camera_and_object_together_changes_nothing():
    scene = cloud(500, seed=1)
    cameras = orbit([33], elevation=20, radius=1.5, fov_y=40, size=64)
    quarter = np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    w, x, y, z = scene.quaternions.T
    turned = np.stack([w - z, x - y, x + y, w + z], 1)  # the quaternion (1, 0, 0, 1) times each
    moved = Gaussians(
        (scene.means @ quarter[:3, :3].T).astype(np.float32), scene.scales, turned, scene.opacities, scene.sh
    )
    image = render_gaussians(scene, cameras)
    both = render_gaussians(moved, Cameras(quarter @ cameras.camera_to_world, cameras.intrinsics, 64, 64))
    np.testing.assert_allclose(both, image, atol=1e-5)
    assert np.abs(render_gaussians(moved, cameras) - image).max() > 0.1


def test_a_scene_does_not_depend_on_the_order_of_its_gaussians():
    scene = cloud(400, seed=2)
    order = np.random.default_rng(0).permutation(400)
    shuffled = Gaussians(*(getattr(scene, k)[order] for k in ("means", "scales", "quaternions", "opacities", "sh")))
    cameras = orbit([10], 20, 1.5, 40, 64)
    np.testing.assert_array_equal(render_gaussians(scene, cameras), render_gaussians(shuffled, cameras))


def test_nothing_to_see_gives_an_empty_image_and_giants_do_no_harm():
    for means in (np.zeros((0, 3)), [[0, 0, -2.0]], [[50, 0, 2.0]], [[0, -50, 2.0]], [[1e38, 1e38, 1e38]]):
        image = render_gaussians(gaussians(means), at_origin())
        assert image.shape == (1, SIZE, SIZE, 4)
        assert not image.any()
    giants = gaussians(
        [[0, 0, 0.21], [3, 3, 0.3], [0, 0, 1e30]], scales=[[1e30, 1, 1], [1e-30, 5, 1e-30], [1e20, 1e20, 1]]
    )
    image = render_gaussians(giants, at_origin())
    assert np.isfinite(image).all()
    assert image.max() <= 1


def test_bad_arguments_are_named():
    with pytest.raises(FormatError, match="quaternion"):
        render_gaussians(gaussians([0, 0, 2], quaternions=(0, 0, 0, 0)), at_origin())
    with pytest.raises(FormatError, match="backend"):
        render_gaussians(gaussians([0, 0, 2]), at_origin(), backend="cuda9")
