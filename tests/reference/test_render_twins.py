"""The CPU renderers against slow independent ones: the plain torch twins, and embree's ray tracer."""

import numpy as np
import pytest
import torch
import trimesh
from trimesh.ray.ray_pyembree import RayMeshIntersector

from bench4d.asset import Gaussians, Mesh
from bench4d.cameras import Cameras, orbit
from bench4d.render import render_gaussians, render_mesh
from bench4d.render.gaussians_torch import splat


def painted_by_index(shape: trimesh.Trimesh) -> Mesh:
    """Each face in one colour that spells its index: red + 256 green + 65536 blue."""
    n = len(shape.faces)
    vertices = shape.vertices[shape.faces].reshape(-1, 3).astype(np.float32)
    colors = np.array([[k & 255, k >> 8 & 255, k >> 16, 255] for k in range(n)], np.uint8).repeat(3, 0)
    return Mesh(vertices, np.arange(3 * n, dtype=np.int32).reshape(-1, 3), colors)


def seen_faces(image: np.ndarray) -> np.ndarray:
    """The indices in an image of `painted_by_index` with one sample a pixel; -1 where nothing was hit."""
    levels = np.rint(image * 255).astype(int)
    assert np.abs(image * 255 - levels).max() < 1e-3  # no mixture of faces
    return np.where(levels[..., 3] == 255, levels[..., :3] @ [1, 256, 65536], -1)


def soup(n: int, seed: int, spread: float = 0.6) -> trimesh.Trimesh:
    """Large intersecting triangles all around, some of them through the plane of the camera."""
    rng = np.random.default_rng(seed)
    vertices = rng.normal(0, spread, (3 * n, 3)).astype(np.float32)
    return trimesh.Trimesh(vertices, np.arange(3 * n).reshape(-1, 3), process=False)


def off_centre(cameras: Cameras, width: int, height: int) -> Cameras:
    """The same poses, a wide image, pixels that are not square, and the principal point off the middle."""
    k = cameras.intrinsics.copy()
    k[:, 0, 0] *= 1.1
    k[:, :2, 2] = [0.61 * width, 0.42 * height]
    return Cameras(cameras.camera_to_world, k, width, height)


SCENES = {
    "sphere": (trimesh.creation.icosphere(subdivisions=4, radius=0.5), orbit([20, 200], 30, 2, 40, 96)),
    "torus": (trimesh.creation.torus(0.35, 0.13), off_centre(orbit([20, 110], -25, 1.2, 50, 96), 100, 60)),
    "soup around the camera": (soup(300, 0), orbit([0, 45, 90], 10, 0.3, 80, 64)),
}


@pytest.mark.parametrize("scene", SCENES)
def test_every_pixel_sees_the_face_that_embree_sees(scene):
    shape, cameras = SCENES[scene]
    faces = seen_faces(render_mesh(painted_by_index(shape), cameras, supersample=1))
    y, x = np.mgrid[: cameras.height, : cameras.width] + 0.5
    pixels = np.stack([x, y, np.ones_like(x)], -1).reshape(-1, 3)
    tracer = RayMeshIntersector(shape)
    for k, pose in enumerate(cameras.camera_to_world):
        directions = pixels @ np.linalg.inv(cameras.intrinsics[k]).T @ pose[:3, :3].T
        origins = np.broadcast_to(pose[:3, 3], directions.shape)
        np.testing.assert_array_equal(faces[k].ravel(), tracer.intersects_first(origins, directions))


def grid_on_samples(n: int = 8) -> trimesh.Trimesh:
    """A wavy sheet whose vertices and edges project exactly onto sample centres of `straight_down`."""
    i, j = np.mgrid[: n + 1, : n + 1]
    z = 1.0 + ((i + 2 * j) % 4) / 4
    vertices = np.stack([(2 * i + 0.5 - 16) / 32 * z, (2 * j + 0.5 - 16) / 32 * z, z], -1).reshape(-1, 3)
    a = (i * (n + 1) + j)[:-1, :-1].ravel()
    faces = np.concatenate([np.stack([a, a + n + 1, a + n + 2], 1), np.stack([a, a + n + 2, a + 1], 1)])
    return trimesh.Trimesh(vertices, faces, process=False)


straight_down = Cameras(np.eye(4)[None], np.array([[[32, 0, 16], [0, 32, 16], [0, 0, 1.0]]]), 32, 32)
TWIN_SCENES = {
    "torus": (
        trimesh.creation.torus(0.35, 0.13, major_sections=12, minor_sections=8),
        off_centre(orbit([20, 110], -25, 1.2, 50, 40), 36, 24),
    ),
    "soup around the camera": (soup(60, 1), orbit([0, 45], 10, 0.3, 80, 32)),
    "edges on samples": (grid_on_samples(), straight_down),
}


@pytest.mark.parametrize("scene", TWIN_SCENES)
def test_mesh_twin_sees_the_same_face_in_every_sample(scene):
    shape, cameras = TWIN_SCENES[scene]
    mesh = painted_by_index(shape)
    twin = render_mesh(mesh, cameras, supersample=1, backend="torch")
    np.testing.assert_array_equal(seen_faces(render_mesh(mesh, cameras, supersample=1)), seen_faces(twin))
    assert twin[..., 3].mean() > 0.05


@pytest.mark.parametrize("scene", TWIN_SCENES)
@pytest.mark.parametrize("alpha", ["opaque", "holes"])
@pytest.mark.parametrize("surface", ["vertex colours", "texture"])
def test_mesh_twin_gives_the_same_colours(scene, alpha, surface):
    shape, cameras = TWIN_SCENES[scene]
    rng = np.random.default_rng(5)
    vertices, faces = shape.vertices.astype(np.float32), shape.faces.astype(np.int32)
    if surface == "texture":
        texture = rng.integers(0, 256, (7, 5, 4), np.uint8)
        mesh = Mesh(vertices, faces, uv=rng.uniform(-2, 2, (len(vertices), 2)).astype(np.float32), texture=texture)
    else:
        texture = rng.integers(0, 256, (len(vertices), 4), np.uint8)
        mesh = Mesh(vertices, faces, texture)
    if alpha == "opaque":
        texture[..., 3] = 255
    image, twin = render_mesh(mesh, cameras, supersample=2), render_mesh(mesh, cameras, supersample=2, backend="torch")
    np.testing.assert_allclose(image, twin, atol=1e-6)
    assert twin[..., 3].mean() > 0.02


def cloud(n: int, terms: int, seed: int, opacity: float, **options) -> Gaussians:
    rng = np.random.default_rng(seed)
    arrays = (
        rng.normal(0, 0.25, (n, 3)),
        np.exp(rng.uniform(np.log(0.001), np.log(0.2), (n, 3))),
        rng.normal(size=(n, 4)),
        rng.uniform(0, opacity, n),
        rng.normal(0, 0.5, (n, terms, 3)),
    )
    return Gaussians(*(a.astype(np.float32) for a in arrays), **options)


@pytest.mark.parametrize(
    ("terms", "dilation", "compensate"), [(1, 0.1, True), (4, 0.3, False), (9, 0.0, False), (16, 0.3, True)]
)
@pytest.mark.parametrize("opacity", [1.0, 0.05])  # with and without pixels that finish early
def test_gaussian_twin_gives_the_same_image(terms, dilation, compensate, opacity):
    scene = cloud(400, terms, terms, opacity, dilation=dilation, compensate=compensate)
    cameras = orbit([20, 140], 15, 0.9, 50, 40)  # close: some are dropped, some meet the limit of the Jacobian
    for rig in (cameras, off_centre(cameras, 41, 27)):
        image, twin = render_gaussians(scene, rig), render_gaussians(scene, rig, backend="torch")
        np.testing.assert_allclose(image, twin, atol=1e-5)
        assert np.ptp(twin[..., 3]) > 0.1


def test_gaussian_twin_has_gradients_that_agree_with_finite_differences():
    scene = cloud(6, 4, 0, 0.9)
    camera = orbit([20], 15, 1.5, 50, 8)
    names = ("means", "scales", "quaternions", "opacities", "sh")
    tensors = [torch.from_numpy(getattr(scene, name)).double().requires_grad_() for name in names]
    tensors[1].data += 0.1  # broad ones: no pixel near the threshold 1/255, where the image jumps
    tensors[3].data = tensors[3].data * 0.5 + 0.3
    pose, matrix = torch.from_numpy(camera.camera_to_world[0]), torch.from_numpy(camera.intrinsics[0])
    assert torch.autograd.gradcheck(
        lambda *t: splat(*t, pose, matrix, (8, 8), 0.3, True), tensors, atol=1e-6, fast_mode=True
    )
