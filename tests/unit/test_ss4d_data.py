"""SS4D's training data: voxels and their features."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch

from bench4d.asset import Mesh
from bench4d.cameras import orbit
from bench4d.render import render_mesh
from metrics.features.torchvision_import import import_torchvision
from ss4d.data.cameras import view_cameras
from ss4d.data.clip import to_uint8
from ss4d.data.config import ViewConfig
from ss4d.data.features import BEHIND, project, surface_features
from ss4d.data.token_features import encoder_features, patch_tokens, sample_tokens
from ss4d.data.voxels import gather, voxelise
from ss4d.image_encoder import DinoConfig, DinoV2, ImageEncoder, SmallEncoderConfig, SmallImageEncoder, normalised
from tests.ss4d_data import fish, mesh_of, plate

NO_UV, NO_TEXTURE = np.zeros((0, 2), np.float32), np.zeros((0, 0, 4), np.uint8)


# ---- voxels ----------------------------------------------------------------------------------------------------------


def brute_force(mesh: Mesh, size: int) -> np.ndarray:
    """Every cube against every triangle on all 13 axes, in NumPy: bool [R,R,R]."""
    triangles = (mesh.vertices[mesh.faces].astype(np.float64) + 0.5) * size  # [F,3,3]
    middle = np.stack(np.meshgrid(*[np.arange(size) + 0.5] * 3, indexing="ij"), -1).reshape(-1, 1, 1, 3)
    on = np.zeros(size**3, bool)
    for triangle in triangles:
        edges = np.roll(triangle, -1, axis=0) - triangle
        axes = [*np.eye(3), np.cross(edges[0], edges[1])]
        axes += [np.cross(edge, unit) for edge in edges for unit in np.eye(3)]
        axes = np.array(axes)  # [13,3]
        across = (triangle - middle[:, 0]) @ axes.T  # [cubes,3,13]
        reach = 0.5 * np.abs(axes).sum(1)
        on |= ((across.min(1) <= reach) & (across.max(1) >= -reach)).all(1)
    return on.reshape(size, size, size)


def grid_of(mesh: Mesh, size: int) -> np.ndarray:
    voxels = voxelise(mesh, size).voxels
    grid = np.zeros((size, size, size), bool)
    grid[tuple(voxels.T)] = True
    assert grid.sum() == len(voxels), "a voxel came twice"
    return grid


@pytest.mark.parametrize("spread", [0.05, 0.3, 1.2])
def test_voxels_are_those_of_the_separating_axis_test(spread: float) -> None:
    """Coordinates in quarters of a voxel: all products are exact, so touching counts as touching."""
    rng = np.random.default_rng(int(100 * spread))
    corners = rng.uniform(-0.7, 0.7, (150, 1, 3)) + rng.uniform(-spread, spread, (150, 3, 3))
    corners[:10, 1] = corners[:10, 0]  # needles
    corners[10:20, :, 2] = 0.125  # in a plane between voxels
    corners[20:24, 1:] = corners[20:24, :1]  # points
    corners = np.round(corners * 32) / 32
    mesh = mesh_of(corners.reshape(-1, 3), np.arange(450).reshape(-1, 3))
    assert (grid_of(mesh, 8) == brute_force(mesh, 8)).all()


def test_voxels_against_dense_samples() -> None:
    """Each voxel with a sample in it is on; each voxel that is on has a sample in it or next to it."""
    mesh, size, steps = fish(), 32, 6
    rest = np.array([(i, j) for i in range(steps + 1) for j in range(steps + 1 - i)]) / steps
    weights = np.concatenate([rest, 1 - rest.sum(1, keepdims=True)], axis=1)
    samples = np.einsum("sc,fcx->fsx", weights, mesh.vertices[mesh.faces].astype(np.float64)).reshape(-1, 3)
    cells = np.floor((samples + 0.5) * size).astype(int)
    sampled = np.zeros((size,) * 3, bool)
    sampled[tuple(cells.T)] = True
    grid = grid_of(mesh, size)
    assert not (sampled & ~grid).any()
    edge = np.linalg.norm(mesh.vertices[mesh.faces] - mesh.vertices[np.roll(mesh.faces, 1, axis=1)], axis=2).max()
    middles = (np.argwhere(grid & ~sampled) + 0.5) / size - 0.5
    assert len(middles) < 0.05 * grid.sum()
    for middle in middles:  # only just touched: a sample is within a sample's spacing of the cube
        outside = np.maximum(np.abs(samples - middle) - 0.5 / size, 0)
        assert np.linalg.norm(outside, axis=1).min() < edge / steps


def test_pieces_add_up_to_the_surface() -> None:
    mesh, size = fish(), 32
    points = (mesh.vertices.astype(np.float64) + 0.5) * size
    assert mesh.colors is not None
    _, sums = gather(points, mesh.faces, mesh.colors, NO_UV, NO_TEXTURE, True, size)
    a, b, c = points[mesh.faces].transpose(1, 0, 2)
    area = 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)
    centroid = ((a + b + c) / 3 * area[:, None]).sum(0) / area.sum()
    assert sums[:, 9].sum() == pytest.approx(area.sum(), rel=1e-6)
    assert sums[:, 6:9].sum(0) / sums[:, 9].sum() == pytest.approx(centroid, rel=1e-6)


@pytest.mark.parametrize("cells", [1, 7, 40])
def test_means_of_a_plate(cells: int) -> None:
    """Closed form, however the plate is cut into triangles: the mean of a linear colour is its value in the middle."""
    size, height = 8, 0.04
    found = voxelise(plate(height, cells), size)
    assert len(found.voxels) == 64 and (found.voxels[:, 2] == 4).all()  # 0.8 wide: it reaches into 8 x 8 voxels
    low = np.maximum(found.voxels[:, :2] / size - 0.5, -0.4)
    high = np.minimum((found.voxels[:, :2] + 1) / size - 0.5, 0.4)
    middle = (low + high) / 2
    centers = found.centers(size)
    np.testing.assert_allclose(found.color[:, :2], (middle + 0.4) / 0.8, atol=0.5 / 255 + 1e-6)
    np.testing.assert_allclose(found.color[:, 2], 0.2, atol=1e-6)
    np.testing.assert_allclose(found.normal, np.tile([0, 0, 1], (64, 1)), atol=1e-6)
    np.testing.assert_allclose(found.offset[:, :2], (middle - centers[:, :2]) * 2 * size, atol=1e-5)
    np.testing.assert_allclose(found.offset[:, 2], (height - centers[:, 2]) * 2 * size, atol=1e-5)


def test_means_do_not_depend_on_the_order_of_faces() -> None:
    mesh = fish()
    order = np.random.default_rng(0).permutation(len(mesh.faces))
    one, other = voxelise(mesh, 32), voxelise(mesh_of(mesh.vertices, mesh.faces[order], mesh.colors[:, :3]), 32)  # type: ignore[index]
    assert (one.voxels == other.voxels).all()
    for name in ("color", "normal", "offset"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-5)


def test_textures_and_holes() -> None:
    """A texture's colour is taken where the surface is; where it is transparent there is no voxel."""
    flat = plate(0.04)
    uv = ((flat.vertices[:, :2] + 0.4) / 0.8).astype(np.float32)
    texture = np.full((64, 64, 4), 255, np.uint8)
    texture[:, :32, :3] = (255, 0, 0)
    texture[:, 32:, :3] = (0, 0, 255)
    texture[:16, :, 3] = 0  # y below -0.2
    found = voxelise(Mesh(flat.vertices, flat.faces, uv=uv, texture=texture), 8)
    centers = found.centers(8)
    assert centers[:, 1].min() > -0.25 and len(found.voxels) == 8 * 6
    left, right = centers[:, 0] < -0.1, centers[:, 0] > 0.1
    assert left.sum() == right.sum() == 3 * 6
    np.testing.assert_allclose(found.color[left], np.tile([1, 0, 0], (18, 1)))
    np.testing.assert_allclose(found.color[right], np.tile([0, 0, 1], (18, 1)))


# ---- features --------------------------------------------------------------------------------------------------------


def slow_patches(points: np.ndarray, focal: float, size: int, views: np.ndarray, patch: int) -> np.ndarray:
    """Channels 9 to 15 by the definition, voxel by voxel and pixel by pixel."""
    side, n = views.shape[1], points.shape[1]
    out = np.zeros((n, 7))
    for p in range(n):
        seen, values, weights = 0, [], []
        for v, view in enumerate(views):
            column, row = np.floor(points[v, p, :2]).astype(int)
            if not (0 <= row < side and 0 <= column < side):
                continue
            half = 0.5 * focal / size / points[v, :, 2]
            over = np.abs(points[v, :, :2] - [column + 0.5, row + 0.5]).max(1) <= half
            if (points[v, over, 2] < points[v, p, 2] - BEHIND / size).any():
                continue
            reach = patch // 2
            square = view[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1]
            square = square.reshape(-1, 4).astype(np.float64) / 255
            square = square[square[:, 3] > 0]
            if len(square):
                seen += 1
                values.append(square[:, :3] / square[:, 3:])
                weights.append(square[:, 3])
        if seen:
            c, w = np.concatenate(values), np.concatenate(weights)
            mean = np.average(c, axis=0, weights=w)
            out[p, :3], out[p, 3:6] = 2 * mean - 1, 2 * np.sqrt(np.average((c - mean) ** 2, axis=0, weights=w))
        out[p, 6] = seen / len(views)
    return out


def test_patches_against_a_slow_oracle() -> None:
    mesh, size = fish(), 12
    cameras = view_cameras(ViewConfig(3, 48, 2.0, 40.0, 1), np.random.default_rng(1))
    views = to_uint8(render_mesh(mesh, cameras, supersample=2))
    surface = voxelise(mesh, size)
    features = surface_features(surface, size, views, cameras, 5)
    assert features.shape == (len(surface.voxels), 16) and features.dtype == np.float16
    points = project(surface.centers(size), cameras)
    expected = slow_patches(points, cameras.intrinsics[0, 0, 0], size, views, 5)
    assert 0.2 < expected[:, 6].mean() < 0.9  # some are seen, some are not
    np.testing.assert_allclose(features[:, 9:], expected, atol=2e-3)  # half precision
    np.testing.assert_allclose(features[:, :3], 2 * surface.color - 1, atol=1e-3)
    np.testing.assert_allclose(features[:, 3:9], np.concatenate([surface.normal, surface.offset], 1), atol=1e-3)


def test_only_the_near_plate_is_seen() -> None:
    upper, lower = plate(0.2), plate(-0.2)
    mesh = mesh_of(np.concatenate([upper.vertices, lower.vertices]), np.concatenate([upper.faces, lower.faces + 4]))
    surface, above = voxelise(mesh, 16), orbit([0], 90, 2.0, 40, 96)
    views = to_uint8(render_mesh(mesh, above, supersample=2))
    features = surface_features(surface, 16, views, above, 3)
    middle = np.abs(surface.centers(16)[:, :2]).max(1) < 0.3  # at the rim the lower one is seen past the upper one
    high = surface.voxels[:, 2] > 8
    assert (features[high & middle, 15] == 1).all() and (features[~high & middle, 9:] == 0).all()
    np.testing.assert_allclose(features[high & middle, 9:12].astype(float), 1, atol=1e-3)  # a white plate


def test_tokens_are_sampled_between_the_centres_of_patches() -> None:
    rng = np.random.default_rng(0)
    tokens = torch.from_numpy(rng.standard_normal((2, 3, 5, 5)).astype(np.float32))
    points = torch.from_numpy(rng.uniform(-0.2, 1.2, (2, 40, 2)).astype(np.float32))
    found = sample_tokens(tokens, points)
    for v in range(2):
        for n, (x, y) in enumerate(points[v].tolist()):
            column, row = x * 5 - 0.5, y * 5 - 0.5
            expected = np.zeros(3)
            for j in (int(np.floor(row)), int(np.floor(row)) + 1):
                for i in (int(np.floor(column)), int(np.floor(column)) + 1):
                    if 0 <= i < 5 and 0 <= j < 5:  # outside counts as 0
                        expected += (1 - abs(row - j)) * (1 - abs(column - i)) * tokens[v, :, j, i].numpy()
            np.testing.assert_allclose(found[v, n], expected, atol=1e-5)


def test_class_and_registers_are_left_out() -> None:
    sequence = torch.arange(2 * 14 * 1.0).reshape(2, 14, 1)  # 5 others, then 3 x 3 patches
    assert patch_tokens(sequence)[1, 0].tolist() == [[19, 20, 21], [22, 23, 24], [25, 26, 27]]


@pytest.mark.parametrize("kind", ["small", "dino"])
def test_encoder_features_are_means_over_views(kind: str) -> None:
    torch.manual_seed(0)
    encoder: ImageEncoder
    if kind == "dino":
        with contextlib.suppress(ImportError):
            import_torchvision()  # transformers imports it where it is installed
        encoder = DinoV2(DinoConfig(image_size=42, patch_size=14, width=32, depth=1, heads=4, registers=4))
    else:
        encoder = SmallImageEncoder(SmallEncoderConfig(image_size=32, patch_size=8, width=24, depth=1, heads=4))
    encoder.eval()
    cameras = view_cameras(ViewConfig(5, 40, 2.0, 40.0, 1), np.random.default_rng(0))
    views = to_uint8(render_mesh(fish(), cameras, supersample=2))
    centers = np.random.default_rng(1).uniform(-0.4, 0.4, (30, 3))
    found = encoder_features(encoder, centers, views, cameras, batch=2)
    assert found.dtype == np.float16
    expected = torch.zeros(30, found.shape[1])
    for v in range(5):  # one view after the other
        with torch.no_grad():
            tokens = encoder(normalised(encoder, views[v : v + 1, ..., :3].copy()))
        pixels = torch.from_numpy(project(centers, cameras[v])[..., :2]).float()
        expected += sample_tokens(patch_tokens(tokens), pixels / 40)[0] / 5
    np.testing.assert_allclose(found.astype(float), expected, atol=5e-3)
