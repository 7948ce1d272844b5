"""SS4D on the command line: `python -m ss4d generate INPUT --checkpoint DIR --out DIR`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from bench4d.asset import Asset4D
from bench4d.asset_io import write_asset
from bench4d.cameras import orbit
from bench4d.errors import FormatError
from bench4d.files import write_json, write_png_sequence
from bench4d.render import composite, render_gaussians
from bench4d.video import Video, read_video, resample, write_video
from bench4d.weights import WeightsMissing

from .attention import Kernel as AttentionKernel
from .checkpoint import Checkpoint, load_checkpoint
from .gaussians import write_ply
from .matting import remove_background
from .pipeline import SS4DPipeline, choose_device, pictures
from .random_checkpoint import write_random_checkpoint
from .sparse.conv import Method
from .speed import Kernels, check_choices

GENERATE = """Make one set of 3-D Gaussians per frame from a video of one object.

INPUT is a folder of pictures, a GIF or a film (mp4, webm, ...). Frames should show one whole object, cut out by an
alpha channel; for frames without alpha a small network removes the background (look at it with --save-frames).
The official examples have 32 frames; --frames picks that many, evenly spread from the first to the last.

  python -m ss4d generate walk/ --checkpoint weights/ss4d --out out/walk --turntable out/walk.mp4
  python -m ss4d generate walk.mp4 --checkpoint lizb6626/SS4D --revision 0123abc --out out/walk --ply

OUT gets asset.json and frames.safetensors (all of bench4d reads them), ss4d.json (what was run, with the sha256 of
every file of the checkpoint) and, with --ply, ply/0000.ply ... for 3DGS viewers (y up)."""
RANDOM = """Write a checkpoint with random weights in the released layout, to try everything without trained ones.

What it makes is no object but a noisy ball. "tiny" takes a second; "full" has the released sizes (4 GB on disk)."""
CHECK = (
    """Read a checkpoint strictly, and say how its files meet the networks: what is missing, unexpected, different."""
)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m ss4d", description="Video to 4D with SS4D: docs/ss4d.md.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    form = argparse.RawDescriptionHelpFormatter

    generate = commands.add_parser("generate", help="video -> Gaussians", description=GENERATE, formatter_class=form)
    generate.add_argument("input", type=Path, metavar="INPUT")
    _add_checkpoint(generate)
    generate.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the asset")
    generate.add_argument("--frames", type=int, default=32, metavar="T", help="an even number (default: 32)")
    generate.add_argument("--fps", type=float, default=8.0, help="of a folder of pictures (default: 8)")
    generate.add_argument("--seed", type=int, default=42, help="of all noise (default: 42)")
    generate.add_argument("--device", default="auto", help='"auto" (a GPU if there is one), "cpu", "cuda", "cuda:1"')
    help = "how networks are computed: docs/ss4d.md (default: the fastest for the device)"
    generate.add_argument("--kernels", choices=get_args(Kernels), default="auto", help=help)
    help = "attention by this way or package instead (docs/ss4d.md)"
    generate.add_argument("--attention", choices=get_args(AttentionKernel), help=help)
    help = "sparse convolutions by this way or package instead (docs/ss4d.md)"
    generate.add_argument("--convolution", choices=get_args(Method), help=help)
    help = "three quarters of the memory of a GPU, a second or two more"
    generate.add_argument("--low-memory", action="store_true", help=help)
    help = "another GPU, cuda:1 for example, which computes the passes without images at the same time"
    generate.add_argument("--second-device", metavar="DEVICE", help=help)
    generate.add_argument("--turntable", type=Path, metavar="FILE.mp4", help="film: the camera turns once around it")
    generate.add_argument("--ply", action="store_true", help="also one PLY file per frame")
    generate.add_argument("--save-frames", type=Path, metavar="DIR", help="write the frames as cut out (RGBA PNG)")

    check = commands.add_parser("check", help="read a checkpoint", description=CHECK, formatter_class=form)
    _add_checkpoint(check)

    random = commands.add_parser("random-checkpoint", help="random weights", description=RANDOM, formatter_class=form)
    random.add_argument("--size", choices=("tiny", "full"), default="tiny")
    random.add_argument("--out", type=Path, required=True, metavar="DIR")
    random.add_argument("--seed", type=int, default=0)
    random.add_argument("--steps", type=int, help="of both samplers (default: 4 for tiny, 25 for full)")

    options = parser.parse_args(arguments)
    try:
        {"generate": _generate, "check": _check, "random-checkpoint": _random}[options.command](options)
    except (FormatError, WeightsMissing) as error:
        sys.exit(f"ss4d: {error}")


def _add_checkpoint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint", required=True, metavar="DIR_OR_REPO", help="a folder, or a hub repository such as lizb6626/SS4D"
    )
    parser.add_argument("--revision", help="commit of the hub repository")
    parser.add_argument(
        "--image-encoder",
        metavar="PATH_OR_REPO",
        help="DINOv2's weights if they are not beside the checkpoint: the official file, a folder, a hub id[@revision]",
    )
    parser.add_argument("--float32", action="store_true", help="no float16 anywhere: slower on a GPU, faster on a CPU")
    parser.add_argument(
        "--warm-start",
        choices=("xavier", "identity"),
        default="xavier",
        help="how blocks in time begin that a TRELLIS checkpoint lacks (docs/ss4d.md); no effect on SS4D's own",
    )


def _generate(options: argparse.Namespace) -> None:
    if options.frames < 2 or options.frames % 2:
        raise FormatError("--frames", "an even number", f"{options.frames}", "Stage 2 works on pairs of frames.")
    device = choose_device(options.device)
    check_choices(options.attention, options.convolution, device)
    video = resample(read_video(options.input, options.fps), options.frames)
    if not video.has_alpha:
        _say("no alpha: removing the background")
        video = Video(remove_background(video.frames[..., :3], progress=True), video.times)
    if options.save_frames:
        write_png_sequence(options.save_frames, video.frames)
    checkpoint = _load(options)
    _say(checkpoint.report())
    more: dict[str, Any] = {
        "kernels": options.kernels,
        "attention": options.attention,
        "convolution": options.convolution,
        "second": options.second_device,
        "low_memory": options.low_memory,
    }
    pipeline = SS4DPipeline(checkpoint, device, progress=True, **more)
    result = pipeline.run(pictures(video.frames), seed=options.seed)
    voxels = [len(coords) for coords in result.coords]
    _say(f"{min(voxels)} to {max(voxels)} voxels a frame")
    times = video.times - video.times[0]
    if times[-1] <= 0:  # a single picture, repeated
        times = np.arange(len(times)) / options.fps
    asset = result.to_asset(times, orbit([0], 0, 2, 40, video.frames.shape[1]))
    write_asset(asset, options.out)
    record = {"files": dict(checkpoint.files), "seed": options.seed, "frames": options.frames, "voxels": voxels}
    write_json(options.out / "ss4d.json", record | {"device": str(device), "float32": options.float32})
    if options.ply:
        for k, frame in enumerate(result.gaussians):
            write_ply(options.out / "ply" / f"{k:04d}.ply", frame)
    if options.turntable:
        write_video(options.turntable, turntable(asset), fps=24)
    _say(f"wrote {options.out}")


def turntable(asset: Asset4D, size: int = 512, repeat: int = 3) -> Iterator[UInt8[np.ndarray, "S S 3"]]:
    """The camera turns once while the asset plays once, each frame shown `repeat` times; white background."""
    count = repeat * len(asset.frames)
    for k in tqdm(range(count), "turntable"):
        camera = orbit([360 * k / count], 15, 2, 40, size)
        yield composite(render_gaussians(asset.frames[k // repeat], camera), (1.0, 1.0, 1.0))[0][0]  # type: ignore[arg-type]


def _check(options: argparse.Namespace) -> None:
    checkpoint = _load(options)
    _say(checkpoint.report())
    for title, settings in (("structure", checkpoint.structure_sampler), ("latents", checkpoint.latent_sampler)):
        _say(f"{title}: {settings}")


def _load(options: argparse.Namespace) -> Checkpoint:
    return load_checkpoint(
        options.checkpoint,
        options.revision,
        image_encoder=options.image_encoder,
        float32=options.float32,
        warm_start=options.warm_start,
    )


def _random(options: argparse.Namespace) -> None:
    write_random_checkpoint(options.out, options.size, options.seed, options.steps)
    _say(f"wrote {options.out}")


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
