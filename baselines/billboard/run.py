"""Billboard: each input frame on a card through the origin that faces the input camera. What a method must beat."""

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


def crop_box(alpha):
    """Rows and columns (top, bottom, left, right) that any frame [T,H,W] covers, at least one pixel."""
    rows, columns = np.flatnonzero(alpha.any((0, 2))), np.flatnonzero(alpha.any((0, 1)))
    if not len(rows):
        return 0, 1, 0, 1
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


def card(box, camera):
    """Corners [4,3] of the pixel rectangle `box` on the plane through the origin parallel to the image."""
    top, bottom, left, right = box
    pose = np.array(camera["camera_to_world"][0])
    pixels = np.array([[left, top, 1], [right, top, 1], [right, bottom, 1], [left, bottom, 1]])
    rays = pixels @ np.linalg.inv(np.array(camera["intrinsics"][0])).T  # depth 1 along the camera's axis
    depth = -pose[:3, 3] @ pose[:3, 2]  # of the origin
    return rays * depth @ pose[:3, :3].T + pose[:3, 3]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", type=Path, required=True)
    job = json.loads(parser.parse_args().job.read_text("utf-8"))
    for clip in job["clips"]:
        print(clip["id"], file=sys.stderr, flush=True)
        frames, times, camera = read_clip(Path(clip["clip"]))
        top, bottom, left, right = crop_box(frames[..., 3])
        # One transparent texel all round: textures repeat, and opposite borders must not mix.
        images = np.pad(frames[:, top:bottom, left:right], ((0, 0), (1, 1), (1, 1), (0, 0)))
        count, height = images.shape[:2]
        tensors = {
            "vertices": card((top - 1, bottom + 1, left - 1, right + 1), camera).astype(np.float32),
            "faces": np.array([[0, 3, 2], [0, 2, 1]], np.int32),  # counter-clockwise for the input camera
            "uv": np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32),
            "texture": images.reshape(count * height, -1, 4),
            "texture.offsets": np.arange(count + 1, dtype=np.int64) * height,
        }
        out = Path(clip["out"])
        out.mkdir(parents=True, exist_ok=True)
        save_file(tensors, out / "frames.safetensors")
        asset = {"version": 1, "kind": "mesh", "times": times, "data": "frames.safetensors"}
        asset.update(input_camera=camera, cameras=None)
        (out / "asset.json").write_text(json.dumps(asset), "utf-8")
        (out / "DONE").touch()


if __name__ == "__main__":
    main()
