"""Times of the CUDA renderers beside the packages that they call, and their agreement with the CPU renderers.

    python tools/render_timing.py > build/render-timing.md

Needs one NVIDIA GPU, gsplat and nvdiffrast (requirements/gpu.in). Times are taken on the device, after warm-up.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from bench4d.asset import Frame, Gaussians, Mesh
from bench4d.cameras import Cameras, orbit
from bench4d.files import write_png
from bench4d.render import clip_cuda, composite, cuda, gaussians_cuda, mesh_cuda, render_gaussians, render_mesh
from bench4d.render.bench import shell, torus

SIZE = 512
LAUNCHES = "Launches: kernels and copies of a call, first theirs (gsplat not packed), last ours."


def milliseconds(draw: Callable[[], Any], repeats: int = 15) -> list[float]:
    """Of each call, from the start of its first kernel to the end of its last."""
    for _ in range(3):
        draw()
    torch.cuda.synchronize()
    times = []
    for _ in range(repeats):
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        draw()
        stop.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(stop))
    return times


def spread(times: list[float], images: int) -> str:
    each = sorted(t / images for t in times)
    return f"{statistics.median(each):.3f} ({each[0]:.3f} to {each[-1]:.3f})"


def launches(draw: Callable[[], Any]) -> int:
    """Kernels and copies of one call."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        draw()
        torch.cuda.synchronize()
    return sum(event.device_type == torch.autograd.DeviceType.CUDA for event in profile.events())


def ratio(ours: list[float], bare: list[float]) -> str:
    return f"{statistics.median(ours) / statistics.median(bare):.2f}"


def rig(views: int) -> Cameras:
    return orbit(np.linspace(0, 360, views, endpoint=False) + 30, 35, 2, 40, SIZE)


def on_host(cameras: Cameras) -> tuple[torch.Tensor, torch.Tensor]:
    """Poses and intrinsics as our renderers take them."""
    return torch.from_numpy(cameras.camera_to_world)[None], torch.from_numpy(cameras.intrinsics)[None]


def on_device(cameras: Cameras) -> tuple[torch.Tensor, torch.Tensor]:
    """World to camera and intrinsics as gsplat takes them."""
    return tuple(torch.from_numpy(a)[None].cuda().float() for a in (cameras.world_to_camera, cameras.intrinsics))


@torch.no_grad()
def gaussian_times() -> None:
    print("\n## Gaussians, ms an image\n")
    print(f"Ours takes cameras from main memory, gsplat finds them on the device. {LAUNCHES}\n")
    print("| Gaussians | compensated | views | gsplat | gsplat, packed | ours | ours / faster gsplat | launches |")
    print("|---:|---|---:|---:|---:|---:|---:|---:|")
    g = cuda.gsplat()
    for count in (100_000, 500_000):
        scene = shell(count)
        b = gaussians_cuda.upload([scene], cuda.device())
        for compensate, mode in ((False, "classic"), (True, "antialiased")):
            for views in (1, 32):
                theirs, own = on_device(rig(views)), on_host(rig(views))

                def bare(packed, b=b, cameras=theirs, mode=mode):
                    pose, matrix = cameras
                    return g.rasterization(
                        b.means[0], b.quaternions[0], b.scales[0], b.opacities[0], b.colors[0], pose[0], matrix[0],
                        SIZE, SIZE, near_plane=0.2, eps2d=0.1, rasterize_mode=mode, packed=packed,
                    )  # fmt: skip

                def ours(b=b, cameras=own, compensate=compensate):
                    arrays = b.means, b.scales, b.quaternions, b.opacities, b.colors
                    return gaussians_cuda.rasterise(*arrays, *cameras, (SIZE, SIZE), 0.1, compensate)

                plain, packed = milliseconds(lambda: bare(False)), milliseconds(lambda: bare(True))
                mine = milliseconds(ours)
                fastest = min(plain, packed, key=statistics.median)
                counts = f"{launches(lambda: bare(False))}, {launches(ours)}"
                print(
                    f"| {count} | {'yes' if compensate else 'no'} | {views} | {spread(plain, views)} |"
                    f" {spread(packed, views)} | {spread(mine, views)} | {ratio(mine, fastest)} | {counts} |"
                )


@torch.no_grad()
def gradient_times() -> None:
    print("\n## Gaussians, forward and backward, ms an image\n")
    print("| Gaussians | views | gsplat | ours | ratio | launches |\n|---:|---:|---:|---:|---:|---:|")
    g = cuda.gsplat()
    b = gaussians_cuda.upload([shell(100_000)], cuda.device())
    leaves = [t.clone().requires_grad_() for t in (b.means, b.scales, b.quaternions, b.opacities, b.colors)]
    for views in (1, 8):
        theirs, own = on_device(rig(views)), on_host(rig(views))

        def bare(cameras=theirs):
            x, (pose, matrix) = leaves, cameras
            with torch.enable_grad():
                rgb, _, _ = g.rasterization(
                    x[0], x[2], x[1], x[3], x[4], pose, matrix, SIZE, SIZE, near_plane=0.2, eps2d=0.1,
                    rasterize_mode="antialiased", packed=False,
                )  # fmt: skip
                return torch.autograd.grad(rgb.square().sum(), leaves)

        def ours(cameras=own):
            with torch.enable_grad():
                image = gaussians_cuda.rasterise(*leaves, *cameras, (SIZE, SIZE), 0.1, True)
                return torch.autograd.grad(image.square().sum(), leaves)

        plain, mine = milliseconds(bare), milliseconds(ours)
        counts = f"{launches(bare)}, {launches(ours)}"
        print(
            f"| 100000 | {views} | {spread(plain, views)} | {spread(mine, views)} | {ratio(mine, plain)} | {counts} |"
        )


def textured(mesh: Mesh) -> Mesh:
    texture = np.random.default_rng(0).integers(0, 256, (1024, 1024, 4), np.uint8)
    texture[..., 3] = 255
    return Mesh(mesh.vertices, mesh.faces, uv=mesh.vertices[:, :2] + 0.5, texture=texture)


@torch.no_grad()
def mesh_times() -> None:
    print("\n## Meshes, ms an image\n")
    print(
        "nvdiffrast: rasterize and interpolate (and texture) of points that are in clip space already; averaged: also"
    )
    print(f"the mean of each pixel's samples, by torch, which gives our image. {LAUNCHES}\n")
    print("| triangles | surface | samples a pixel | views | nvdiffrast | averaged | ours | ratio | launches |")
    print("|---:|---|---:|---:|---:|---:|---:|---:|---:|")
    n = cuda.nvdiffrast()
    context = n.RasterizeCudaContext()
    for name, mesh in (("vertex colours", torus()), ("1024^2 texture", textured(torus()))):
        batch = mesh_cuda.upload([mesh], cuda.device())
        surface = batch.surface
        for supersample in (4, 1):
            for views in (1, 32):
                cameras = rig(views)
                poses, intrinsics = (camera.numpy() for camera in on_host(cameras))
                matrices = mesh_cuda.clip_matrices(poses, intrinsics, batch.boxes, (SIZE, SIZE))
                points = mesh_cuda.project(batch.vertices, torch.from_numpy(matrices).cuda())
                resolution = SIZE * supersample, SIZE * supersample

                def bare(points=points, s=surface, resolution=resolution):
                    hits, _ = n.rasterize(context, points, s.faces, resolution, grad_db=False)
                    if s.colors is not None:
                        return n.interpolate(s.colors, hits, s.faces)[0], None
                    uv, _ = n.interpolate(s.uv, hits, s.faces)
                    return n.texture(s.texture, uv, filter_mode="linear"), hits

                def averaged(bare=bare, supersample=supersample):
                    return mesh_cuda.average(*bare(), supersample)

                def ours(batch=batch, cameras=cameras, supersample=supersample):
                    return mesh_cuda.draw(batch, cameras, supersample)

                plain, whole, mine = milliseconds(bare), milliseconds(averaged), milliseconds(ours)
                assert (averaged() - ours()[0]).abs().mean() < 1e-4
                counts = ", ".join(str(launches(draw)) for draw in (bare, averaged, ours))
                print(
                    f"| {len(mesh.faces)} | {name} | {supersample**2} | {views} | {spread(plain, views)} |"
                    f" {spread(whole, views)} | {spread(mine, views)} | {ratio(mine, plain)}, {ratio(mine, whole)} |"
                    f" {counts} |"
                )
    torch.cuda.empty_cache()


def clip_times(threads: int) -> None:
    print("\n## A clip of 32 frames, 5 views, 512 x 512, seconds\n")
    print("From arrays in main memory to 8-bit images there; then the same images written as PNG files.\n")
    print(f"| clip | drawn, median of 3 (spread) | PNG files, {threads} threads | CPU renderer, {threads} threads |")
    print("|---|---:|---:|---:|")
    still, cameras = torus(), rig(5)
    clips: dict[str, list[Frame]] = {
        "50176 triangles": [Mesh(still.vertices * (1 + k / 320), still.faces, still.colors) for k in range(32)]
    }
    for count in (100_000, 500_000):
        g = shell(count)
        clips[f"{count} Gaussians"] = [
            Gaussians(g.means * np.float32(1 + k / 320), g.scales, g.quaternions, g.opacities, g.sh, 0.1, True)
            for k in range(32)
        ]
    for name, frames in clips.items():
        times = []
        for _ in range(4):
            began = time.perf_counter()
            images = list(clip_cuda.render_frames(frames, cameras, (1, 1, 1)))
            times.append(time.perf_counter() - began)
        times = sorted(times[1:])
        with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(threads) as pool:
            began = time.perf_counter()
            jobs = [
                pool.submit(write_png, Path(folder) / f"{k}-{v}-{kind}.png", image[v] if kind else image[v][..., None])
                for k, pair in enumerate(images)
                for kind, image in ((1, pair[0]), (0, pair[1]))
                for v in range(5)
            ]
            for job in jobs:
                job.result()
            written = time.perf_counter() - began
        render = render_mesh if isinstance(frames[0], Mesh) else render_gaussians
        render(frames[0], cameras, threads=threads)
        began = time.perf_counter()
        for frame in frames[:4]:
            composite(render(frame, cameras, threads=threads), (1, 1, 1))
        cpu = 8 * (time.perf_counter() - began)
        drawn = f"{times[1]:.2f} ({times[0]:.2f} to {times[-1]:.2f})"
        print(f"| {name} | {drawn} | {written:.2f} | {cpu:.1f}, from 4 frames |")


def agreement(threads: int) -> None:
    print("\n## Agreement with the CPU renderers, 4 views of 512 x 512, values in [0, 1]\n")
    print("| scene | largest difference | mean | share above 1/255 | largest of 8-bit levels |")
    print("|---|---:|---:|---:|---:|")
    cameras = rig(4)
    solid = shell(100_000)
    scenes: dict[str, Frame] = {
        "100000 Gaussians": solid,
        "100000 Gaussians, compensated, dilation 0.1": Gaussians(
            solid.means, solid.scales, solid.quaternions, solid.opacities, solid.sh, 0.1, True
        ),
        "500000 Gaussians": shell(500_000),
        "50176 triangles, vertex colours": torus(),
        "50176 triangles, 1024^2 texture of noise": textured(torus()),
    }
    holes = textured(torus(80, 40))
    assert holes.texture is not None
    holes.texture[..., 3] = np.kron(np.random.default_rng(1).integers(0, 2, (16, 16)), np.ones((64, 64))) * 255
    scenes["6400 triangles, texture with holes"] = holes
    for name, frame in scenes.items():
        render = render_mesh if isinstance(frame, Mesh) else render_gaussians
        image, reference = render(frame, cameras, backend="cuda"), render(frame, cameras, threads=threads)
        far = np.abs(image - reference)
        levels = [composite(x, (1, 1, 1))[0].astype(int) for x in (image, reference)]
        print(
            f"| {name} | {far.max():.1e} | {far.mean():.1e} | {(far > 1 / 255).mean():.1e} |"
            f" {np.abs(levels[0] - levels[1]).max()} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=16, help="of the CPU renderers and of writing files")
    options = parser.parse_args()
    began = time.perf_counter()
    cuda.gsplat(), cuda.nvdiffrast()
    loaded = time.perf_counter() - began
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, packages loaded in {loaded:.0f} s")
    gaussian_times()
    gradient_times()
    mesh_times()
    clip_times(options.threads)
    agreement(options.threads)


if __name__ == "__main__":
    main()
