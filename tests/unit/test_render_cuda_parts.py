"""The CUDA renderers without CUDA: stand-ins take the place of gsplat and nvdiffrast (tests/render_stand_ins.py)."""

import importlib
import sys
import types

import numpy as np
import pytest
import torch
import torch.utils.cpp_extension

from bench4d.asset import Gaussians, Mesh
from bench4d.cameras import Cameras, orbit
from bench4d.errors import FormatError
from bench4d.render import (
    clip_cuda,
    composite,
    cuda,
    gaussians_cuda,
    gaussians_torch,
    mesh_cuda,
    render_gaussians,
    render_mesh,
)
from bench4d.triton_jit import Missing
from tests.render_stand_ins import Gsplat, Nvdiffrast

NAMES = ("means", "scales", "quaternions", "opacities", "sh")


@pytest.fixture
def stand_ins(monkeypatch):
    monkeypatch.setattr(cuda, "gsplat", lambda: Gsplat)
    monkeypatch.setattr(cuda, "nvdiffrast", lambda: Nvdiffrast)
    monkeypatch.setattr(cuda, "device", lambda: torch.device("cpu"))
    monkeypatch.setattr(cuda, "budget", lambda where: cuda.MEMORY)


def cloud(n: int, terms: int, seed: int = 0, opacity: float = 0.95, **options) -> Gaussians:
    rng = np.random.default_rng(seed)
    arrays = (
        rng.normal(0, 0.25, (n, 3)),
        np.exp(rng.uniform(np.log(0.001), np.log(0.2), (n, 3))),
        rng.normal(size=(n, 4)),
        rng.uniform(0, opacity, n),
        rng.normal(0, 0.5, (n, terms, 3)),
    )
    return Gaussians(*(a.astype(np.float32) for a in arrays), **options)


def soup(n: int, seed: int, surface: str, holes: bool, spread: float = 0.5) -> Mesh:
    """Large intersecting triangles of random colours."""
    rng = np.random.default_rng(seed)
    vertices, faces = (
        rng.normal(0, spread, (3 * n, 3)).astype(np.float32),
        np.arange(3 * n, dtype=np.int32).reshape(n, 3),
    )
    shape = (7, 5, 4) if surface == "texture" else (3 * n, 4)
    colors = rng.integers(0, 256, shape, np.uint8)
    if not holes:
        colors[..., 3] = 255
    if surface == "texture":
        return Mesh(vertices, faces, uv=rng.uniform(-2, 2, (3 * n, 2)).astype(np.float32), texture=colors)
    return Mesh(vertices, faces, colors)


def wide(cameras: Cameras, width: int = 41, height: int = 27) -> Cameras:
    """The same poses, a wide image, and the principal point off the middle."""
    k = cameras.intrinsics.copy()
    k[:, 0, 0] *= 1.1
    k[:, :2, 2] = [0.61 * width, 0.42 * height]
    return Cameras(cameras.camera_to_world, k, width, height)


# --- Gaussians


@pytest.mark.parametrize(
    ("terms", "dilation", "compensate"), [(1, 0.1, True), (4, 0.3, False), (9, 0.0, True), (16, 0.3, True)]
)
def test_gaussians_around_gsplat_give_the_image_of_the_cpu_renderer(stand_ins, terms, dilation, compensate):
    scene = cloud(200, terms, terms, dilation=dilation, compensate=compensate)
    rig = wide(orbit([20, 140], 15, 0.9, 50, 40))  # close: some are dropped, some meet the limit of the Jacobian
    image, reference = render_gaussians(scene, rig, backend="cuda"), render_gaussians(scene, rig)
    difference = np.abs(image - reference)
    assert difference.max() < 5e-3 and difference.mean() < 1e-5  # a Gaussian at 1/255 may fall to either side
    assert np.ptp(reference[..., 3]) > 0.1


def test_equally_deep_gaussians_are_blended_in_the_order_of_their_indices_although_single_precision_would_not(
    stand_ins,
):
    rng = np.random.default_rng(1)
    n = 60
    flat = rng.uniform(-0.4, 0.4, (n, 3)).astype(np.float32)
    camera = orbit([37], 0, 2, 40, 24)
    # all in one plane across the view, in coordinates that are not exact: float32 sums of them differ
    axes = camera.camera_to_world[0, :3, :3]
    means = (flat[:, :1] * axes[:, 0] + flat[:, 1:2] * axes[:, 1]).astype(np.float32)
    scene = cloud(n, 1, opacity=0.9)
    scene = Gaussians(means, scene.scales * 0 + 0.1, scene.quaternions, scene.opacities, scene.sh)
    z = torch.from_numpy(means) @ torch.from_numpy(camera.world_to_camera[0, 2, :3]).float()
    assert (z.argsort(stable=True) != torch.arange(n)).any()
    difference = np.abs(render_gaussians(scene, camera, backend="cuda") - render_gaussians(scene, camera))
    assert difference.max() < 5e-3


@pytest.mark.parametrize("compensate", [False, True])
def test_frames_and_views_are_drawn_together_as_the_twin_draws_them_one_by_one(stand_ins, compensate):
    frames = [cloud(n, 1, seed=n, dilation=0.1, compensate=compensate) for n in (50, 31, 64)]
    cameras = orbit([0, 120], 20, 1.5, 45, 24)
    image = gaussians_cuda.draw(gaussians_cuda.upload(frames, torch.device("cpu")), cameras)
    assert image.shape == (3, 2, 24, 24, 4)
    for drawn, frame in zip(image, frames, strict=True):
        np.testing.assert_allclose(drawn.numpy(), render_gaussians(frame, cameras, backend="torch"), atol=5e-3)


def as_tensors(scene: Gaussians, cameras: Cameras, dtype: torch.dtype) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    leaves = [torch.from_numpy(getattr(scene, name))[None].to(dtype).requires_grad_() for name in NAMES]
    return leaves, [torch.from_numpy(a)[None].to(dtype) for a in (cameras.camera_to_world, cameras.intrinsics)]


@pytest.mark.parametrize("terms", [1, 4])
@pytest.mark.parametrize("count", [12, 40])  # fewer and more than a warp
def test_gradients_pass_through_compensation_colours_and_undefined_values(stand_ins, terms, count):
    scene, cameras = cloud(count, terms, 3, opacity=0.9), orbit([20, 200], 15, 0.8, 45, 16)
    scene = Gaussians(scene.means, scene.scales + 0.05, scene.quaternions, scene.opacities * 0.5 + 0.3, scene.sh)
    gradients = []
    for rasterise, dtype in ((gaussians_cuda.rasterise, torch.float32), (gaussians_torch.rasterise, torch.float64)):
        leaves, rig = as_tensors(scene, cameras, dtype)
        image = rasterise(*leaves, *rig, (16, 16), 0.1, True)
        weights = torch.linspace(-1, 1, image.numel(), dtype=dtype).reshape(image.shape).sin()
        gradients.append(torch.autograd.grad((image * weights).sum(), leaves))
    for name, ours, twin in zip(NAMES, *gradients, strict=True):
        assert torch.isfinite(ours).all(), name
        assert (ours - twin).norm() < 1e-3 * twin.norm(), name


def test_colours_without_direction_may_be_given_as_they_are():
    scene, cameras = cloud(30, 1), orbit([20], 15, 1.5, 45, 16)
    leaves, rig = as_tensors(scene, cameras, torch.float64)
    colors = (0.5 + gaussians_cuda.Y00 * leaves[4][:, :, 0]).clamp(min=0)
    size = (16, 16), 0.3, False
    whole = gaussians_torch.rasterise(*leaves, *rig, *size)
    torch.testing.assert_close(gaussians_torch.rasterise(*leaves[:4], colors, *rig, *size), whole)
    np.testing.assert_allclose(whole[0].detach().numpy(), render_gaussians(scene, cameras), atol=1e-6)


def test_compensation_is_the_closed_form():
    rng = np.random.default_rng(0)
    half = rng.normal(0, 1, (500, 2, 2)) * np.exp(rng.uniform(-5, 2, (500, 1, 2)))
    covariance = half @ half.transpose(0, 2, 1)
    dilated = covariance + 0.1 * np.eye(2)
    before, after = np.linalg.det(covariance), np.linalg.det(dilated)
    expected = np.where(before > 1e-6, np.sqrt(before / (after + 1e-6) + 1e-6), 0)
    assert 50 < (before <= 1e-6).sum() < 450
    inverse = torch.from_numpy(np.linalg.inv(dilated))
    conics = torch.stack([inverse[:, 0, 0], inverse[:, 0, 1], inverse[:, 1, 1]], 1)[None, None]
    root = torch.from_numpy(np.sqrt(before / after))[None, None]
    visible = torch.ones(1, 1, 500, dtype=torch.bool)
    visible[..., :7] = False
    root[..., :3], conics[..., :3, :] = float("nan"), float("nan")
    expected[:7] = 0
    np.testing.assert_allclose(gaussians_cuda.compensation(root, conics, visible)[0, 0], expected, rtol=1e-9)


def test_other_types_than_float32_are_refused_and_nothing_to_draw_is_an_empty_image(stand_ins):
    leaves, rig = as_tensors(cloud(40, 1), orbit([0], 0, 2, 40, 8), torch.float64)
    with pytest.raises(FormatError, match=r"rasterise: means.*float32.*float64"):
        gaussians_cuda.rasterise(*leaves, *rig, (8, 8), 0.3, False)
    nothing = [leaf[:, :0].float() for leaf in leaves]
    for rasterise in (gaussians_cuda.rasterise, gaussians_torch.rasterise):
        assert not rasterise(*nothing, *(r.float() for r in rig), (8, 9), 0.3, False).any()
    assert render_gaussians(cloud(40, 1), orbit([], 0, 2, 40, 8), backend="cuda").shape == (0, 8, 8, 4)


# --- meshes


@pytest.mark.parametrize("surface", ["vertex colours", "texture"])
@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize(
    "rig", [wide(orbit([20, 140], 15, 2.5, 50, 40), 20, 14), wide(orbit([0, 45], 10, 0.3, 80, 32), 20, 14)]
)
def test_meshes_around_nvdiffrast_give_the_image_of_the_cpu_renderer(stand_ins, surface, holes, rig):
    mesh = soup(25, 1, surface, holes)
    image, reference = render_mesh(mesh, rig, supersample=2, backend="cuda"), render_mesh(mesh, rig, supersample=2)
    difference = np.abs(image - reference)
    assert (difference > 1e-3).mean() < 2e-3 and difference.mean() < 1e-4
    assert reference[..., 3].mean() > 0.1


def test_of_coinciding_faces_the_first_wins_whatever_their_winding(stand_ins):
    triangle = np.array([[-0.4, 0.01, -0.33], [0.43, 0.02, -0.21], [0.03, -0.04, 0.42]], np.float32)
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1]):
        vertices = np.concatenate([triangle, triangle[order]])
        colors = np.repeat(np.array([[255, 0, 0, 255], [0, 255, 0, 255]], np.uint8), 3, 0)
        mesh = Mesh(vertices, np.array([[3, 4, 5], [0, 1, 2]], np.int32), colors)
        image = render_mesh(mesh, orbit([10, 70], 20, 2, 40, 24), supersample=1, backend="cuda")
        assert image[..., 1].max() == 1 and image[..., 0].max() == 0


def test_clip_space_has_the_samples_where_the_cameras_see_them():
    cameras = wide(orbit([20, 140, 300], 15, 1.1, 50, 40))
    vertices = torch.from_numpy(np.random.default_rng(0).normal(0, 0.3, (2, 50, 3)).astype(np.float32))
    boxes = mesh_cuda.bounding_boxes(vertices)
    np.testing.assert_array_equal(boxes[:, 0], vertices.numpy().min(1))
    np.testing.assert_array_equal(boxes[:, 1], vertices.numpy().max(1))
    poses, matrices = (np.stack([a, a]) for a in (cameras.camera_to_world, cameras.intrinsics))
    to_clip = mesh_cuda.clip_matrices(poses, matrices, boxes, (cameras.height, cameras.width))
    points = mesh_cuda.project(vertices, torch.from_numpy(to_clip)).double().reshape(2, 3, 50, 4).numpy()
    seen = (
        np.einsum("vij,fnj->fvni", cameras.world_to_camera[:, :3, :3], vertices)
        + cameras.world_to_camera[:, None, :3, 3]
    )
    pixels = np.einsum("vij,fvnj->fvni", cameras.intrinsics, seen)
    np.testing.assert_allclose(points[..., 3], seen[..., 2], atol=1e-6)
    front = seen[..., 2] > 0.2
    for axis, size in ((0, cameras.width), (1, cameras.height)):
        at = (points[..., axis] / points[..., 3] + 1) / 2 * size
        np.testing.assert_allclose(at[front], (pixels[..., axis] / pixels[..., 2])[front], atol=1e-3)
    depth = points[..., 2] / points[..., 3]
    assert (np.abs(depth[front]) <= 1).all() and (depth[seen[..., 2] < mesh_cuda.NEAR * 0.99] ** 2 > 1).all()


def test_depth_spans_the_corners_of_the_box_and_never_starts_before_the_near_limit():
    cameras, box = orbit([20, 140], 15, 2.5, 50, 40), np.array([[-0.5, -0.2, -0.4], [0.3, 0.5, 0.1]])
    corners = np.array([[box[i, 0], box[j, 1], box[k, 2], 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    arrays = cameras.camera_to_world[None], cameras.intrinsics[None]
    clip = np.einsum("vij,nj->vni", mesh_cuda.clip_matrices(*arrays, box[None], (40, 40))[0], corners)
    depth, z = clip[..., 2] / clip[..., 3], clip[..., 3]
    near, far = 0.99 * z.min(1), 1.01 * z.max(1)  # the ends of the linear map, from its definition
    np.testing.assert_allclose(clip[..., 2], ((far + near) * z.T - 2 * far * near).T / (far - near)[:, None])
    assert (np.abs(depth) < 1).all()
    around = mesh_cuda.clip_matrices(*arrays, 20 * box[None], (40, 40))[0]
    plane = cameras.camera_to_world @ [0, 0, mesh_cuda.NEAR, 1]  # a point at the near limit before each camera
    at_limit = np.einsum("vij,vj->vi", around, plane)
    np.testing.assert_allclose(at_limit[:, 2] / at_limit[:, 3], -1, atol=1e-9)


@pytest.mark.parametrize("supersample", [1, 2, 3])
@pytest.mark.parametrize("masked", [False, True])
def test_average_is_the_mean_of_a_pixels_samples_that_were_hit(supersample, masked):
    generator = torch.Generator().manual_seed(0)
    samples = torch.rand(2, 4 * supersample, 5 * supersample, 4, generator=generator)
    hits = torch.randint(0, 3, samples.shape, generator=generator).float() if masked else None
    kept = samples if hits is None else samples * (hits[..., 3:] > 0)
    expected = kept.reshape(2, 4, supersample, 5, supersample, 4).mean((2, 4))
    torch.testing.assert_close(mesh_cuda.average(samples, hits, supersample), expected)
    assert (mesh_cuda.average(samples + 1, None, supersample) == 1).all()


def test_nothing_to_see_gives_an_empty_image(stand_ins):
    empty = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32), np.zeros((0, 4), np.uint8))
    assert not render_mesh(empty, orbit([0, 1], 0, 2, 40, 8), backend="cuda").any()
    assert render_mesh(soup(2, 0, "texture", False), orbit([], 0, 2, 40, 8), backend="cuda").shape == (0, 8, 8, 4)


# --- clips


def test_a_clip_is_the_composite_of_its_frames_however_memory_cuts_it(stand_ins, monkeypatch):
    cameras, background = orbit([0, 90, 180], 20, 2, 40, 16), (0.2, 1.0, 0.5)
    moving = [Mesh(m.vertices + 0.01 * k, m.faces, m.colors) for k in range(3) for m in [soup(6, 0, "colours", False)]]
    clips = {
        "gaussians": [cloud(n, 1, n) for n in (40, 50, 45)] + [cloud(40, 4)],
        "meshes": [*moving, soup(5, 1, "texture", True)],
    }
    for frames in clips.values():
        whole = list(clip_cuda.render_frames(frames, cameras, background, 2))
        monkeypatch.setattr(cuda, "budget", lambda where: 1)
        for drawn, alone, frame in zip(
            whole, clip_cuda.render_frames(frames, cameras, background, 2), frames, strict=True
        ):
            rgba = (
                render_mesh(frame, cameras, supersample=2, backend="cuda")
                if isinstance(frame, Mesh)
                else render_gaussians(frame, cameras, backend="cuda")
            )
            for a, b, c in zip(drawn, alone, composite(rgba, background), strict=True):
                np.testing.assert_array_equal(a, c)
                np.testing.assert_array_equal(b, c)
        monkeypatch.setattr(cuda, "budget", lambda where: cuda.MEMORY)


def test_frames_that_differ_in_more_than_their_positions_are_not_drawn_together():
    a = soup(4, 0, "texture", False)
    assert mesh_cuda.alike(a, Mesh(a.vertices * 2, a.faces.copy(), uv=a.uv.copy(), texture=a.texture.copy()))
    for other in (
        Mesh(a.vertices, a.faces[::-1].copy(), uv=a.uv, texture=a.texture),
        Mesh(a.vertices, a.faces, uv=a.uv + 1, texture=a.texture),
        Mesh(a.vertices, a.faces, uv=a.uv, texture=255 - a.texture),
        Mesh(a.vertices, a.faces, np.zeros((len(a.vertices), 4), np.uint8)),
        Mesh(np.concatenate([a.vertices, a.vertices]), a.faces, uv=np.concatenate([a.uv, a.uv]), texture=a.texture),
    ):
        assert not mesh_cuda.alike(a, other)
    assert not gaussians_cuda.alike(cloud(3, 1), cloud(3, 4))
    assert not gaussians_cuda.alike(cloud(3, 1), cloud(3, 1, compensate=True))
    assert gaussians_cuda.alike(cloud(3, 1), cloud(4, 1))


def test_composite_on_a_device_rounds_as_on_the_cpu():
    rgba = torch.rand(1, 2, 50, 60, 4, generator=torch.Generator().manual_seed(0))
    rgba[..., :3] *= rgba[..., 3:]
    rgba[0, 0, 0, :16] = (torch.arange(64).reshape(16, 4) + 0.5) / 255  # halves
    packed = cuda.composite(rgba, (0.3, 1.0, 0.0)).numpy()
    rgb, alpha = composite(rgba[0].numpy(), (0.3, 1.0, 0.0))
    np.testing.assert_array_equal(packed[0, ..., :3], rgb)
    np.testing.assert_array_equal(packed[0, ..., 3], alpha)


@pytest.mark.parametrize(("count", "at_once"), [(0, 3), (1, 0), (7, 3), (9, 3), (5, 100)])
def test_parts_cover_everything_once_and_keep_to_the_limit(count, at_once):
    parts = cuda.parts(count, at_once)
    assert [k for part in parts for k in range(count)[part]] == list(range(count))
    assert all(1 <= part.stop - part.start <= max(1, at_once) for part in parts)


def test_small_arrays_travel_together_and_keep_types_shapes_and_values():
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(3, 1)).astype(np.float32), rng.normal(size=(2, 3, 4))[..., ::2], np.zeros((0, 4))]
    for array, moved in zip(arrays, cuda.to_device(arrays, torch.device("cpu")), strict=True):
        np.testing.assert_array_equal(moved.numpy(), array)
        assert moved.numpy().dtype == array.dtype


# --- packages


def test_without_triton_a_launch_says_what_to_install():
    with pytest.raises(FormatError, match=r"the package triton.*pip install triton"):
        Missing(lambda: None)[(1,)]


def test_without_a_gpu_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    cuda.gsplat.cache_clear()
    cuda.nvdiffrast.cache_clear()
    with pytest.raises(FormatError, match=r'backend "cuda".*NVIDIA GPU.*backend="cpu"'):
        render_gaussians(cloud(3, 1), orbit([0], 0, 2, 40, 8), backend="cuda")
    with pytest.raises(FormatError, match="NVIDIA GPU"):
        render_mesh(soup(2, 0, "texture", False), orbit([0], 0, 2, 40, 8), backend="cuda")


@pytest.mark.parametrize(
    ("load", "says"),
    [("gsplat", r"gsplat==1\.5\.3"), ("nvdiffrast", r"diffrp-nvdiffrast==0\.3\.3\.1.*not commercially")],
)
def test_a_missing_package_is_named_with_its_licence(monkeypatch, load, says):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(cuda, "device", lambda: torch.device("cpu"))
    monkeypatch.setattr(importlib, "import_module", missing)
    getattr(cuda, load).cache_clear()
    with pytest.raises(FormatError, match=f"the package {load}.*{says}"):
        getattr(cuda, load)()


def test_extensions_are_registered_while_they_are_loaded_and_only_then(monkeypatch):
    calls = []

    def load(name, path, is_python_module):
        calls.append((name, path, is_python_module))
        return types.ModuleType(name) if is_python_module else path

    monkeypatch.setattr(torch.utils.cpp_extension, "_import_module_from_library", load)
    name = "bench4d_extension_that_does_not_exist"
    try:
        with pytest.raises(ZeroDivisionError), cuda.extensions_registered():
            module = torch.utils.cpp_extension._import_module_from_library(name, "build", True)
            assert sys.modules[name] is module and importlib.import_module(name) is module
            torch.utils.cpp_extension._import_module_from_library("library", "lib.so", False)
            assert "library" not in sys.modules
            raise ZeroDivisionError
    finally:
        sys.modules.pop(name, None)
    assert torch.utils.cpp_extension._import_module_from_library is load
    assert calls == [(name, "build", True), ("library", "lib.so", False)]
