"""A small generator to start from: each frame's silhouette, filled with Gaussians front and back, like a cushion."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

SH_0 = 0.28209479177387814  # the constant spherical harmonic: colour = 0.5 + SH_0 * sh


def read_clip(folder):
    """Frames [T,H,W,4] (RGBA, straight alpha), times [T] in seconds, the input camera as JSON."""
    data = json.loads((folder / "clip.json").read_text("utf-8"))
    files = sorted((folder / "frames").glob("*.png"))
    frames = np.stack([np.array(Image.open(file).convert("RGBA")) for file in files])
    times = [k / data["fps"] for k in range(len(frames))]
    return frames, times, data["camera"] or default_camera(*frames.shape[1:3])


def default_camera(height, width):
    """For clips without one: at distance 2 on the -y axis, level, vertical field of view 40 degrees."""
    focal = 0.5 * height / np.tan(np.radians(20))
    pose = [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, -2.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    matrix = [[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]]
    return {"camera_to_world": [pose], "intrinsics": [matrix], "width": width, "height": height}


def generate(frame, camera, parameters):
    """One frame [H,W,4] to Gaussians. Your model goes here: it may as well take the whole clip at once.

    Returns means [N,3], scales [N,3] (standard deviations), opacities [N], colours [N,3] in [0, 1].
    """
    size = parameters["cells"]
    small = Image.fromarray(frame).convert("RGBa").resize((size, size), Image.Resampling.BOX).convert("RGBA")
    image = np.asarray(small) / 255.0
    rows, columns = np.nonzero(image[..., 3] > 0.5)
    pose, matrix = np.array(camera["camera_to_world"][0]), np.array(camera["intrinsics"][0])
    step = np.array([camera["width"], camera["height"]]) / size  # pixels a cell
    pixels = np.stack([(columns + 0.5) * step[0], (rows + 0.5) * step[1], np.ones(len(rows))], axis=1)
    depth = -pose[:3, 3] @ pose[:3, 2]  # of the origin
    rays = pixels @ np.linalg.inv(matrix).T  # camera axes, depth 1
    cell = depth * step[1] / matrix[1, 1]  # a cell's side in world units
    thickness = parameters["thickness"] * cell * np.sqrt(steps_to_edge(image[..., 3] > 0.5)[rows, columns])
    points = np.concatenate([rays * (depth - thickness)[:, None], rays * (depth + thickness)[:, None]])
    scales = np.full(points.shape, 0.5 * cell)
    colors = np.tile(image[rows, columns, :3], (2, 1))
    return points @ pose[:3, :3].T + pose[:3, 3], scales, np.full(len(points), 0.95), colors


def steps_to_edge(mask):
    """[S,S] of bool to float: how often the mask can be eroded before a cell goes."""
    depth, inside = np.zeros(mask.shape), np.pad(mask, 1)
    while inside.any():
        depth += inside[1:-1, 1:-1]
        inside[1:-1, 1:-1] &= inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    return depth


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", type=Path, required=True)
    job = json.loads(parser.parse_args().job.read_text("utf-8"))
    # Load your model here, once for all clips. job["weights"] has its paths, job["parameters"] what method.yaml says.
    for clip in job["clips"]:
        print(clip["id"], file=sys.stderr, flush=True)  # standard output stays empty
        frames, times, camera = read_clip(Path(clip["clip"]))
        # Seed every source of randomness with clip["seed"]: the same seed must give the same bytes.
        parts = [generate(frame, camera, job["parameters"]) for frame in frames]
        means, scales, opacities, colors = (np.concatenate(arrays).astype(np.float32) for arrays in zip(*parts))
        offsets = np.cumsum([0] + [len(part[0]) for part in parts], dtype=np.int64)  # where each frame begins
        tensors = {
            "means": means,
            "scales": scales,
            "quaternions": np.tile(np.float32([1, 0, 0, 0]), (len(means), 1)),
            "opacities": opacities,
            "sh": (colors[:, None] - 0.5) / np.float32(SH_0),
        }
        tensors.update({name + ".offsets": offsets for name in list(tensors)})
        out = Path(clip["out"])
        out.mkdir(parents=True, exist_ok=True)
        save_file(tensors, out / "frames.safetensors")
        asset = {"version": 1, "kind": "gaussians", "times": times, "data": "frames.safetensors"}
        asset.update(input_camera=camera, cameras=None, gaussians={"dilation": 0.3, "compensate": False})
        (out / "asset.json").write_text(json.dumps(asset), "utf-8")
        (out / "DONE").touch()  # last: the clip is complete


if __name__ == "__main__":
    main()
