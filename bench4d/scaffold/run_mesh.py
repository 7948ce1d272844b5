"""A small generator to start from: each frame's silhouette as a relief of two height fields, front and back."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file


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
    """One frame [H,W,4] to a mesh. Your model goes here: it may as well take the whole clip at once.

    Returns vertices [V,3], faces [F,3] (counter-clockwise seen from outside), colours [V,4] (RGBA, 0 to 255).
    """
    size = parameters["cells"]
    small = Image.fromarray(frame).convert("RGBa").resize((size, size), Image.Resampling.BOX).convert("RGBA")
    image = np.array(small)
    inside = image[..., 3] > 127
    pose, matrix = np.array(camera["camera_to_world"][0]), np.array(camera["intrinsics"][0])
    step = np.array([camera["width"], camera["height"]]) / size  # pixels a cell
    rows, columns = np.mgrid[:size, :size]
    pixels = np.stack([(columns + 0.5) * step[0], (rows + 0.5) * step[1], np.ones((size, size))], axis=-1)
    rays = pixels.reshape(-1, 3) @ np.linalg.inv(matrix).T  # camera axes, depth 1
    depth = -pose[:3, 3] @ pose[:3, 2]  # of the origin
    cell = depth * step[1] / matrix[1, 1]  # a cell's side in world units
    thickness = parameters["thickness"] * cell * np.sqrt(steps_to_edge(inside)).ravel()
    points = np.concatenate([rays * (depth - thickness)[:, None], rays * (depth + thickness)[:, None]])
    # Two triangles for every square of four covered cells; the back is the front turned over.
    square = inside[:-1, :-1] & inside[1:, :-1] & inside[:-1, 1:] & inside[1:, 1:]
    corner = (rows * size + columns)[:-1, :-1][square]
    right, below, across = corner + 1, corner + size, corner + size + 1
    front = np.concatenate([np.stack([corner, below, across], 1), np.stack([corner, across, right], 1)])
    faces = np.concatenate([front, front[:, ::-1] + size * size])
    colors = np.tile(image.reshape(-1, 4), (2, 1))
    colors[:, 3] = 255  # solid: the silhouette is where the faces are
    used, faces = np.unique(faces, return_inverse=True)
    vertices = points @ pose[:3, :3].T + pose[:3, 3]
    return vertices[used], faces.reshape(-1, 3), colors[used]


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
        tensors = {}
        for name, dtype, arrays in zip(("vertices", "faces", "colors"), ("f4", "i4", "u1"), zip(*parts)):
            tensors[name] = np.concatenate(arrays).astype(dtype)
            # Where each frame begins. Faces count vertices within their own frame.
            tensors[name + ".offsets"] = np.cumsum([0] + [len(array) for array in arrays], dtype=np.int64)
        out = Path(clip["out"])
        out.mkdir(parents=True, exist_ok=True)
        save_file(tensors, out / "frames.safetensors")
        asset = {"version": 1, "kind": "mesh", "times": times, "data": "frames.safetensors"}
        asset.update(input_camera=camera, cameras=None)
        (out / "asset.json").write_text(json.dumps(asset), "utf-8")
        (out / "DONE").touch()  # last: the clip is complete


if __name__ == "__main__":
    main()
