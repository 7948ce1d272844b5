"""Small animations for tests, made of trimesh's shapes: a bending capsule, and a turning box with a ball."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import trimesh

from bench4d.asset import Asset4D, Mesh
from bench4d.asset_io import read_asset, write_asset
from bench4d.cameras import Cameras, orbit
from bench4d.clip import Clip
from bench4d.method import Method, method_folders
from bench4d.render import render_mesh, to_straight


def bending_capsule(time: float) -> Mesh:
    """0.8 high, radius 0.15, upright at time 0, with coloured bands."""
    shape = trimesh.creation.capsule(height=0.5, radius=0.15, count=(24, 24))
    points = np.array(shape.vertices)
    points[:, 2] -= points[:, 2].mean()
    bands = np.stack([0.5 + 0.5 * np.sin(9 * points[:, 2] + shift) for shift in (0, 2, 4)], axis=1)
    bend = 0.5 * np.sin(2 * time)
    points[:, 0] += bend * points[:, 2] ** 2
    return _mesh(points, shape.faces, bands)


def turning_box(time: float) -> Mesh:
    """A box 0.5 x 0.3 x 0.3 that turns about z with a ball on top; two closed parts."""
    box, ball = trimesh.creation.box((0.5, 0.3, 0.3)), trimesh.creation.icosphere(3, 0.15)
    box = box.subdivide().subdivide()
    box.apply_transform(trimesh.transformations.rotation_matrix(time, [0, 0, 1]))
    ball.apply_translation([0, 0, 0.28])
    shape = trimesh.util.concatenate([box, ball])
    points = np.array(shape.vertices)
    return _mesh(points, shape.faces, 0.5 + np.abs(points).clip(0, 0.5))


def _mesh(points: np.ndarray, faces: np.ndarray, rgb: np.ndarray) -> Mesh:
    colors = np.concatenate([rgb, np.ones((len(rgb), 1))], axis=1)
    return Mesh(points.astype(np.float32), faces.astype(np.int32), np.rint(255 * colors).astype(np.uint8))


def input_camera(size: int, elevation: float = 15) -> Cameras:
    return orbit([0], elevation, 2, 40, size)


def write_clip_and_truth(
    folder: Path, meshes: list[Mesh], size: int, fps: float = 10.0, known_camera: bool = True
) -> None:
    """`folder`/clip as the workflow makes it, and `folder`/truth/asset."""
    camera = input_camera(size)
    frames = np.concatenate([to_straight(render_mesh(mesh, camera)) for mesh in meshes])
    clip = Clip("toy", frames, fps, camera if known_camera else None)
    clip.write(folder / "clip")
    write_asset(Asset4D("mesh", clip.times, meshes, camera), folder / "truth" / "asset")


def run_method(name: str, data: Path, **parameters: float) -> Asset4D:
    """The asset that baselines/<name>/run.py makes of `data`/clip, with some parameters changed."""
    method, out = Method.read(method_folders()[name]), data / "out" / name
    clip = {"id": "toy", "clip": str(data / "clip"), "out": str(out), "seed": 0, "truth": str(data / "truth")}
    job = {"version": 1, "method": name, "clips": [clip], "parameters": method.data["parameters"] | parameters}
    (data / "job.json").write_text(json.dumps(job | {"weights": {}, "times": {"toy": [0.0]}}))
    command = [sys.executable, str(method.folder / "run.py"), "--job", str(data / "job.json")]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    assert (out / "DONE").is_file()
    return read_asset(out)


def silhouette_iou(a: np.ndarray, b: np.ndarray) -> float:
    """Of two images [...,4], alpha cut at one half."""
    a, b = a[..., 3] >= 0.5, b[..., 3] >= 0.5
    return float((a & b).sum() / (a | b).sum())
