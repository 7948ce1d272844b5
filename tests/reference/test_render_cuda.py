"""The CUDA renderers on a GPU, against the CPU renderers and the torch twins. docs/rendering.md has the figures.

Limits are those of the rules, not of one machine: a Gaussian at the threshold 1/255 may fall to either side of it in
single precision, and a mesh sample within 1/32 of a sample of a silhouette may be covered or not.
"""

import numpy as np
import pytest
import torch

from bench4d.asset import Gaussians, Mesh
from bench4d.cameras import Cameras, orbit
from bench4d.render import (
    clip_cuda,
    composite,
    cuda,
    gaussians_cuda,
    gaussians_torch,
    kernels,
    mesh_cuda,
    render_gaussians,
    render_mesh,
)
from bench4d.render.bench import shell, torus

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
NAMES = ("means", "scales", "quaternions", "opacities", "sh")
RIG = orbit([0, 75, 200], 20, 2, 40, 128)


@pytest.fixture(autouse=True, scope="module")
def packages():
    pytest.importorskip("gsplat", reason="needs gsplat (requirements/gpu.in)")
    pytest.importorskip("nvdiffrast", reason="needs nvdiffrast (requirements/gpu.in)")


def cloud(n: int, terms: int, seed: int = 0, opacity: float = 0.95, largest: float = 0.1, **options) -> Gaussians:
    rng = np.random.default_rng(seed)
    arrays = (
        rng.normal(0, 0.25, (n, 3)),
        np.exp(rng.uniform(np.log(0.001), np.log(largest), (n, 3))),
        rng.normal(size=(n, 4)),
        rng.uniform(0, opacity, n),
        rng.normal(0, 0.5, (n, terms, 3)),
    )
    return Gaussians(*(a.astype(np.float32) for a in arrays), **options)


def off_centre(cameras: Cameras, width: int, height: int) -> Cameras:
    """The same poses, a wide image, pixels that are not square, and the principal point off the middle."""
    k = cameras.intrinsics.copy()
    k[:, 0, 0] *= 1.1
    k[:, :2, 2] = [0.61 * width, 0.42 * height]
    return Cameras(cameras.camera_to_world, k, width, height)


def difference(image: np.ndarray, reference: np.ndarray) -> np.ndarray:
    assert image.dtype == np.float32 and np.isfinite(image).all() and np.ptp(reference[..., 3]) > 0.1
    return np.abs(image - reference)


# --- Gaussians

GAUSSIANS = {
    "shell": (shell(20_000), RIG),
    "compensated": (cloud(5000, 1, 1, dilation=0.1, compensate=True), RIG),
    "degree 1, close": (cloud(2000, 4, 2, largest=0.2), orbit([20, 140], 15, 0.9, 50, 96)),
    "degree 3, wide image": (cloud(3000, 16, 3, dilation=0.1, compensate=True), off_centre(RIG, 130, 75)),
    "many views": (cloud(1000, 9, 4), orbit(np.linspace(0, 350, 48), 10, 1.8, 45, 64)),
}


@pytest.mark.parametrize("scene", GAUSSIANS)
def test_gaussians_are_those_of_the_cpu_renderer(scene):
    gaussians, cameras = GAUSSIANS[scene]
    far = difference(render_gaussians(gaussians, cameras, backend="cuda"), render_gaussians(gaussians, cameras))
    assert far.max() < 1.2e-2 and far.mean() < 2e-5, f"largest {far.max():.2e}, mean {far.mean():.2e}"


def test_gaussians_are_those_of_the_twin():
    gaussians, cameras = cloud(400, 4, 5, dilation=0.1, compensate=True), orbit([20, 140], 15, 1.2, 50, 40)
    far = difference(
        render_gaussians(gaussians, cameras, backend="cuda"), render_gaussians(gaussians, cameras, backend="torch")
    )
    assert far.max() < 1e-2 and far.mean() < 2e-5


def test_nearly_opaque_gaussians_differ_by_the_limit_of_alpha_only():
    one = Gaussians(
        np.zeros((1, 3), np.float32), np.full((1, 3), 0.2, np.float32), np.ones((1, 4), np.float32),
        np.ones(1, np.float32), np.full((1, 1, 3), 1.5, np.float32),
    )  # fmt: skip
    camera = orbit([0], 0, 2, 40, 65)
    image, reference = render_gaussians(one, camera, backend="cuda"), render_gaussians(one, camera)
    assert abs(image[..., 3].max() - 0.999) < 1e-5 and abs(reference[..., 3].max() - 0.99) < 1e-5
    assert 0.0085 < np.abs(image - reference)[..., 3].max() < 0.0095
    assert np.abs(image - reference)[reference[..., 3] < 0.989].max() < 5e-5


def test_equally_deep_gaussians_are_blended_in_the_order_of_their_indices():
    scene, camera = cloud(3000, 1, 6, opacity=0.9), orbit([37], 0, 2, 40, 96)
    axes = camera.camera_to_world[0, :3, :3]
    means = (scene.means[:, :1] * axes[:, 0] + scene.means[:, 1:2] * axes[:, 1]).astype(np.float32)
    sheet = Gaussians(means, np.full_like(scene.scales, 0.05), scene.quaternions, scene.opacities, scene.sh)
    far = difference(render_gaussians(sheet, camera, backend="cuda"), render_gaussians(sheet, camera))
    assert far.max() < 1.2e-2 and far.mean() < 2e-4


def leaves_of(gaussians: list[Gaussians], dtype: torch.dtype) -> list[torch.Tensor]:
    arrays = [np.stack([getattr(frame, name) for frame in gaussians]) for name in NAMES]
    return [torch.from_numpy(array).to("cuda", dtype).requires_grad_() for array in arrays]


@pytest.mark.parametrize(("count", "terms", "compensate"), [(300, 1, False), (300, 4, True), (20, 1, True)])
def test_gradients_are_those_of_the_twin(count, terms, compensate):
    """Two frames, three cameras; with fewer Gaussians than a warp has threads, too."""
    frames = [cloud(count, terms, seed) for seed in (7, 8)]
    frames = [Gaussians(g.means, g.scales + 0.03, g.quaternions, 0.2 + 0.6 * g.opacities, g.sh) for g in frames]
    cameras = orbit([0, 100, 220], 20, 1.6, 45, 32)
    gradients, images = [], []
    for rasterise, dtype in ((gaussians_cuda.rasterise, torch.float32), (gaussians_torch.rasterise, torch.float64)):
        leaves = leaves_of(frames, dtype)
        rig = [
            torch.from_numpy(a).to("cuda", dtype)[None].repeat(2, 1, 1, 1)
            for a in (cameras.camera_to_world, cameras.intrinsics)
        ]
        image = rasterise(*leaves, *rig, (32, 32), 0.1, compensate)
        weights = torch.linspace(0, 900, image.numel(), dtype=torch.float64, device="cuda").sin().reshape(image.shape)
        gradients.append(torch.autograd.grad((image * weights.to(dtype)).sum(), leaves))
        images.append(image.detach().double())
    assert (images[0] - images[1]).abs().max() < 1e-2
    for name, ours, twin in zip(NAMES, *gradients, strict=True):
        for frame in range(2):
            error = (ours[frame] - twin[frame]).norm() / twin[frame].norm()
            assert error < 2e-2, f"{name}, frame {frame}: relative error {error:.1e}"


def test_gaussians_do_not_depend_on_what_is_drawn_with_them_and_repeat_to_the_bit():
    frames = [cloud(n, 4, n, dilation=0.1, compensate=True) for n in (900, 1000, 20)]
    whole = gaussians_cuda.draw(gaussians_cuda.upload(frames, cuda.device()), RIG)
    again = gaussians_cuda.draw(gaussians_cuda.upload(frames, cuda.device()), RIG)
    assert torch.equal(whole, again)
    for drawn, frame in zip(whole, frames, strict=True):
        for k in range(len(RIG)):
            np.testing.assert_array_equal(render_gaussians(frame, RIG[k], backend="cuda")[0], drawn[k].cpu().numpy())


# --- meshes


def soup(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Large intersecting triangles all around."""
    vertices = np.random.default_rng(seed).normal(0, 0.4, (3 * n, 3)).astype(np.float32)
    return vertices, np.arange(3 * n, dtype=np.int32).reshape(n, 3)


def painted(vertices: np.ndarray, faces: np.ndarray, surface: str, holes: bool) -> Mesh:
    rng = np.random.default_rng(1)
    colors = rng.integers(0, 256, (9, 7, 4) if surface == "texture" else (len(vertices), 4), np.uint8)
    if not holes:
        colors[..., 3] = 255
    if surface == "texture":
        return Mesh(vertices, faces, uv=(3 * vertices[:, :2] - 1).copy(), texture=colors)
    return Mesh(vertices, faces, colors)


small = torus(40, 20)
MESHES = {
    "torus": (torus(), RIG),
    "torus, wide image": (small, off_centre(orbit([20, 110], -25, 1.2, 50, 96), 131, 75)),
    "texture": (painted(small.vertices, small.faces, "texture", False), RIG),
    "texture with holes": (painted(small.vertices, small.faces, "texture", True), RIG),
    "colours with holes": (painted(small.vertices, small.faces, "colours", True), RIG),
    "soup": (painted(*soup(200, 0), "colours", False), orbit([10, 80], 10, 3, 40, 128)),
    "many views": (small, orbit(np.linspace(0, 350, 48), 10, 1.8, 45, 64)),
}


@pytest.mark.parametrize("scene", MESHES)
def test_meshes_are_those_of_the_cpu_renderer(scene):
    mesh, cameras = MESHES[scene]
    far = difference(render_mesh(mesh, cameras, backend="cuda"), render_mesh(mesh, cameras))
    found = f"largest {far.max():.2e}, mean {far.mean():.2e}, above 1/255: {(far > 1 / 255).mean():.2e}"
    limit = 0.5 if "holes" in scene or scene == "soup" else 0.26  # samples, of 16, that may go over at one place
    assert far.max() < limit and far.mean() < 1e-3 and (far > 1 / 255).mean() < 0.06, found


def test_a_mesh_around_the_camera_is_that_of_the_cpu_renderer_up_to_its_creases():
    """Faces run behind the camera: depth is less exact there, so lines where faces cross may shift a little."""
    mesh, cameras = painted(*soup(200, 2), "colours", False), orbit([0, 45, 90], 10, 0.3, 80, 128)
    far = np.abs(render_mesh(mesh, cameras, backend="cuda") - render_mesh(mesh, cameras))
    assert far.mean() < 3e-3 and (far > 0.1).mean() < 0.02, f"mean {far.mean():.2e}, {(far > 0.1).mean():.2e}"


def test_meshes_are_those_of_the_twin():
    mesh, cameras = torus(12, 8), orbit([20, 110], -25, 1.5, 50, 32)
    far = difference(
        render_mesh(mesh, cameras, supersample=2, backend="cuda"),
        render_mesh(mesh, cameras, supersample=2, backend="torch"),
    )
    assert far.max() < 0.51 and far.mean() < 2e-3


def test_of_coinciding_faces_the_first_wins_whatever_their_winding():
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1]):
        mesh = torus(40, 20)
        vertices = np.concatenate([mesh.vertices, mesh.vertices])
        faces = np.concatenate([mesh.faces, mesh.faces[:, order] + len(mesh.vertices)])
        colors = np.repeat(np.array([[255, 0, 0, 255], [0, 255, 0, 255]], np.uint8), len(mesh.vertices), 0)
        image = render_mesh(Mesh(vertices, faces[::-1].copy(), colors), RIG, supersample=1, backend="cuda")
        assert image[..., 1].max() > 0.99 and image[..., 0].max() == 0


def test_images_larger_than_one_pass_of_nvdiffrast_have_no_seams():
    camera = orbit([30], 35, 2, 40, 600)  # 2400 samples a side
    far = difference(render_mesh(small, camera, backend="cuda"), render_mesh(small, camera))
    assert far.max() < 0.3 and far.mean() < 1e-3
    holes = painted(small.vertices, small.faces, "colours", True)
    far = difference(render_mesh(holes, camera, backend="cuda"), render_mesh(holes, camera))
    assert far.max() < 0.5 and far.mean() < 1e-3


def test_meshes_do_not_depend_on_what_is_drawn_with_them_and_repeat_to_the_bit():
    frames = [Mesh(small.vertices * (1 + 0.1 * k), small.faces, small.colors) for k in range(3)]
    whole = mesh_cuda.draw(mesh_cuda.upload(frames, cuda.device()), RIG, 4)
    assert torch.equal(whole, mesh_cuda.draw(mesh_cuda.upload(frames, cuda.device()), RIG, 4))
    for drawn, frame in zip(whole, frames, strict=True):
        for k in range(len(RIG)):
            np.testing.assert_array_equal(render_mesh(frame, RIG[k], backend="cuda")[0], drawn[k].cpu().numpy())


# --- kernels, against their twins in plain torch


def on_gpu(seed: int):
    """A generator of random tensors on the GPU."""
    generator = torch.Generator("cuda").manual_seed(seed)
    return lambda *shape, **options: torch.rand(shape, generator=generator, device="cuda", **options)


@pytest.mark.parametrize("count", [1, 1000, 3001])
def test_projecting_is_that_of_the_twin(count):
    random = on_gpu(0)
    vertices, matrices = random(2, count, 3) - 0.5, random(2, 3, 4, 4, dtype=torch.float64) - 0.5
    ours, twin = kernels.project(vertices, matrices), mesh_cuda.project(vertices, matrices)
    torch.testing.assert_close(ours, twin, rtol=2e-7, atol=1e-14)  # two orders of summing in double precision


@pytest.mark.parametrize("supersample", [1, 2, 3, 4])
@pytest.mark.parametrize("masked", [False, True])
def test_averaging_is_that_of_the_twin(supersample, masked):
    random = on_gpu(supersample)
    samples = 1.2 * random(3, 33 * supersample, 47 * supersample, 4)
    hits = (random(*samples.shape) > 0.4).float() if masked else None
    ours, twin = kernels.average(samples, hits, supersample), mesh_cuda.average(samples, hits, supersample)
    torch.testing.assert_close(ours, twin, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("compensate", [False, True])
@pytest.mark.parametrize(("frames", "views", "count"), [(1, 1, 40), (2, 3, 3001)])
def test_blending_and_its_gradients_are_those_of_the_twin(compensate, frames, views, count):
    random = on_gpu(count)
    half = 2 * random(frames, views, count, 2, 2) - 1
    inverse = (half @ half.mT + 0.05 * torch.eye(2, device="cuda")) * 10 ** (4 * random(frames, views, count, 1, 1))
    conics = torch.stack([inverse[..., 0, 0], inverse[..., 0, 1], inverse[..., 1, 1]], -1)
    roots = random(frames, views, count) ** 3
    least = 1e-6 * (conics[..., 0] * conics[..., 2] - conics[..., 1].square())
    roots[(roots.square() / least - 1).abs() < 1e-3] *= 2  # no doubts about which is dropped by the rule d0 > 1e-6
    radii = (3 * random(frames, views, count, 2)).int()
    seen = radii[..., 0] > 0
    conics[~seen], roots[~seen] = float("nan"), 0.0  # as gsplat may leave them
    means, rows = random(frames, count, 3) - 0.5, random(frames, views, 4, dtype=torch.float64)
    opacities, weights = random(frames, count), random(frames, views, count) - 0.5
    results = []
    for blend, dtype in ((kernels.blending, torch.float32), (gaussians_cuda.blending, torch.float64)):
        leaves = [t.to(dtype, copy=True).requires_grad_() for t in (opacities, roots, conics)]
        opacity, depth = blend(leaves[0], leaves[1] if compensate else None, leaves[2], radii, means, rows)
        assert opacity.requires_grad and not depth.requires_grad
        wanted = leaves if compensate else leaves[:1]
        results.append((opacity.detach(), depth, torch.autograd.grad((opacity * weights).sum(), wanted)))
    (opacity, depth, gradients), (twin_opacity, twin_depth, twin_gradients) = results
    torch.testing.assert_close(depth, twin_depth, rtol=2e-7, atol=1e-14)
    assert (opacity - twin_opacity).abs().max() < 1e-5
    if compensate:
        assert ((twin_opacity == 0) & seen).any() or count < 100
    for ours, twin in zip(gradients, twin_gradients, strict=True):
        twin = twin if twin.ndim == 2 else twin.masked_fill(~(seen if twin.ndim == 3 else seen[..., None]), 0.0)
        assert torch.isfinite(ours).all() and (ours - twin).norm() < 1e-4 * twin.norm()


# --- clips


def test_a_clip_is_the_composite_of_its_frames(monkeypatch):
    clips = (
        [cloud(n, 1, n) for n in (400, 500, 450)],
        [Mesh(small.vertices * (1 + 0.1 * k), small.faces, small.colors) for k in range(3)],
    )
    for frames in clips:
        for budget in (cuda.MEMORY, 1):
            monkeypatch.setattr(cuda, "budget", lambda where, budget=budget: budget)
            for drawn, frame in zip(clip_cuda.render_frames(frames, RIG, (1, 1, 1)), frames, strict=True):
                render = render_mesh if isinstance(frame, Mesh) else render_gaussians
                for a, b in zip(drawn, composite(render(frame, RIG, backend="cuda"), (1, 1, 1)), strict=True):
                    np.testing.assert_array_equal(a, b)
