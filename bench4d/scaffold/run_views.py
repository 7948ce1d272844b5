"""A small generator to start from: from every camera it shows the input frame. For models that make videos only."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image


def read_clip(folder):
    """Frames [T,H,W,4] (RGBA, straight alpha), times [T] in seconds, the input camera as JSON."""
    data = json.loads((folder / "clip.json").read_text("utf-8"))
    files = sorted((folder / "frames").glob("*.png"))
    frames = np.stack([np.array(Image.open(file).convert("RGBA")) for file in files])
    times = [k / data["fps"] for k in range(len(frames))]
    return frames, times, data["camera"]


def generate(frames, pose, matrix, size):
    """The clip's frames [T,H,W,4] as seen by one camera. Your model goes here.

    Args:
        pose: camera to world [4,4], OpenCV axes (x right, y down, z forward).
        matrix: intrinsics [3,3] in pixels.
        size: (width, height) of the images to make.

    Returns T images RGBA with straight alpha.
    """
    images = (Image.fromarray(frame).convert("RGBa") for frame in frames)  # resize with premultiplied colours
    return [image.resize(size, Image.Resampling.BICUBIC).convert("RGBA") for image in images]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", type=Path, required=True)
    job = json.loads(parser.parse_args().job.read_text("utf-8"))
    cameras = job["cameras"]  # given to methods with "output: views" alone
    size = cameras["width"], cameras["height"]
    # Load your model here, once for all clips. job["weights"] has its paths, job["parameters"] what method.yaml says.
    for clip in job["clips"]:
        print(clip["id"], file=sys.stderr, flush=True)  # standard output stays empty
        frames, times, camera = read_clip(Path(clip["clip"]))
        # Seed every source of randomness with clip["seed"]: the same seed must give the same bytes.
        out = Path(clip["out"])
        for v, (pose, matrix) in enumerate(zip(cameras["camera_to_world"], cameras["intrinsics"])):
            folder = out / "views" / str(v)
            folder.mkdir(parents=True, exist_ok=True)
            for k, image in enumerate(generate(frames, np.array(pose), np.array(matrix), size)):
                image.save(folder / f"{k:04d}.png")
        asset = {"version": 1, "kind": "views", "times": times, "data": None, "cameras": cameras}
        asset.update(input_camera=camera)
        (out / "asset.json").write_text(json.dumps(asset), "utf-8")
        (out / "DONE").touch()  # last: the clip is complete


if __name__ == "__main__":
    main()
