"""Make a benchmark of your own clips, without truth: python -m benchmarks.wild FOLDER --name mine

FOLDER holds a folder of RGBA pictures or a film with alpha for each clip, or is one. It writes
benchmarks/wild/protocol-mine.yaml and a link to FOLDER; then add wild-mine to `benchmarks` in config/config.yaml, or:

    bench4d score RESULTS --benchmark wild-mine
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import yaml

from bench4d.benchmark import Benchmark
from bench4d.errors import FormatError
from bench4d.files import atomic, sha256_file, sha256_folder

from .clips import FOV_Y, RADIUS, find_clips, read_clip

HERE = Path(__file__).parent
MOST = 32  # frames, unless asked for more
COLUMNS = ("lpips-vgg", "psnr-masked", "ssim-masked", "silhouette-iou", "jitter", "clip-temporal-vit-b32")
COSTS = ("time", "memory-cpu", "memory-gpu")


def protocol(name: str, clips: list[str], n_frames: int, fps: float, size: int) -> dict[str, object]:
    """A protocol of the input view alone."""
    metrics = [{"id": id, "stride": 1} for id in (*COLUMNS, *COSTS)]
    table = [{"metric": id, "views": "input"} for id in COLUMNS]
    return {
        "id": f"wild-{name}",
        "version": 1,
        "title": f"Clips without truth: {name}, the input view",
        "split": "wild",
        "contaminated_by": [],
        "clips": [{"id": clip} for clip in clips],
        "n_frames": n_frames,
        "fps": fps,
        "size": size,
        "background": [1, 1, 1],
        "rig": {"radius": RADIUS, "fov_y": FOV_Y},
        "views": [{"id": "input", "azimuth": 0, "elevation": 0, "group": "input"}],
        "time_rule": "nearest",
        "alignment": "declared",
        "geometry": False,
        "metrics": metrics,
        "table": table + [{"metric": id} for id in COSTS],
    }


def make(
    folder: Path, name: str, n_frames: int = 0, fps: float = 8.0, size: int = 512, place: Path = HERE
) -> Benchmark:
    """Write `place`/protocol-<name>.yaml and the link `place`/data/<name>; every clip is read once. Raises FormatError.

    `n_frames`: 0 means as many as the shortest clip has, at most 32.
    """
    if not re.fullmatch("[a-z0-9][a-z0-9_.-]{0,40}", name):
        raise FormatError("--name", "small letters, digits, '_', '.' or '-'", repr(name))
    clips = find_clips(folder)
    count = n_frames or min(MOST, *(len(read_clip(path).frames) for path in clips.values()))
    link, path = place / "data" / name, place / f"protocol-{name}.yaml"
    if link.exists() and not link.is_symlink():
        raise FormatError(link, "a link that an earlier run made, or nothing", "something else", "Give another --name.")
    sums = {clip: sha256_folder(p) if p.is_dir() else sha256_file(p) for clip, p in clips.items()}
    # The pictures' hashes make other pictures another protocol: rows of both are never mixed, and all is made anew.
    head = "".join(f"# {clip}: sha256 {sha256}\n" for clip, sha256 in sums.items())
    with atomic(path) as temporary:
        temporary.write_text(head + yaml.safe_dump(protocol(name, list(clips), count, fps, size), sort_keys=False))
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(folder.resolve(), target_is_directory=folder.is_dir())
    return Benchmark.read(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--frames", type=int, default=0, help="of each clip (default: the shortest's, at most 32)")
    parser.add_argument("--fps", type=float, default=8.0, help="the benchmark's clock (default: 8)")
    parser.add_argument("--size", type=int, default=512, help="pixels a side (default: 512)")
    options = parser.parse_args()
    try:
        made = make(options.folder, options.name, options.frames, options.fps, options.size)
    except FormatError as error:
        sys.exit(f"error: {error}")
    shape = f"{made.data['n_frames']} frames of {made.data['size']} x {made.data['size']}"
    sys.stdout.write(f"{made.id}: {len(made.clips)} clips, {shape}; {made.path}\n")


if __name__ == "__main__":
    main()
