"""SS4D under the method contract: clips in, Gaussians out. docs/add-a-method.md says what a job file holds."""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import cast

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # in place of this folder, whose modules are not top-level ones

import numpy as np  # noqa: E402

from bench4d.asset import Asset4D, Gaussians  # noqa: E402
from bench4d.asset_io import write_asset  # noqa: E402
from bench4d.cameras import Cameras, orbit  # noqa: E402
from bench4d.clip import Clip  # noqa: E402
from bench4d.errors import FormatError  # noqa: E402
from bench4d.files import write_json  # noqa: E402
from ss4d.pipeline import SS4DPipeline, pictures  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", type=Path, required=True)
    job = json.loads(parser.parse_args().job.read_text("utf-8"))
    parameters = job["parameters"]
    checkpoint = ROOT / job["weights"].get("checkpoint", parameters["checkpoint"])
    encoder = job["weights"].get("image_encoder", parameters["image_encoder"])
    if not checkpoint.is_dir():
        where, expected = "checkpoint", "a folder with SS4D's weights"
        raise FormatError(where, expected, f"none at {checkpoint}", "ss4d/README.md says how to get them.")
    pipeline = SS4DPipeline.from_pretrained(
        checkpoint,
        device=parameters["device"],
        image_encoder=ROOT / encoder if encoder else None,
        kernels=parameters["kernels"],
        attention=parameters.get("attention"),
        convolution=parameters.get("convolution"),
        shared_noise=parameters["shared_noise"],
        low_memory=parameters["low_memory"],
        float32=parameters["float32"],
    )
    pipeline.sample_with(parameters["steps"], parameters["guidance"], parameters["solver"])
    say(pipeline.checkpoint.report())
    for entry in job["clips"]:
        say(entry["id"])
        clip, out = Clip.read(Path(entry["clip"])), Path(entry["out"])
        result = pipeline.run(pictures(padded(clip.frames)), seed=entry["seed"])
        asset = result.to_asset(clip.times, declared_camera(clip, parameters["yaw"]), count=len(clip.frames))
        write_asset(frozen(asset) if parameters["frozen"] else asset, out)
        voxels = [len(coords) for coords in result.coords]
        files = dict(pipeline.checkpoint.files)
        write_json(out / "ss4d.json", {"files": files, "seed": entry["seed"], "voxels": voxels})
        (out / "DONE").touch()


def say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def padded(frames: np.ndarray) -> np.ndarray:
    """Frames [T,H,W,4] with the last one repeated if T is odd: the second stage works on pairs."""
    return np.concatenate([frames, frames[-1:]]) if len(frames) % 2 else frames


def frozen(asset: Asset4D) -> Asset4D:
    """Its first frame at all times."""
    frames = cast(list[Gaussians], [asset.frames[0]] * len(asset.times))
    return replace(asset, frames=frames)


def declared_camera(clip: Clip, yaw: float) -> Cameras:
    """Where the input view is taken to stand: the clip's camera, or in front (level, distance 2), turned by `yaw`.

    SS4D puts objects upright into a canonical frame, z up. It does not say from which side the input shows them: as
    the world of the benchmark has it, the input is taken to be a front view. `yaw`, in degrees counter-clockwise seen
    from above, says by how much it is turned from there.
    """
    camera = clip.camera or orbit([0], 0, 2, 40, clip.frames.shape[1])
    c, s = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
    turn = np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    return Cameras(turn @ camera.camera_to_world, camera.intrinsics, camera.width, camera.height)


if __name__ == "__main__":
    try:
        main()
    except FormatError as error:
        sys.exit(str(error))
