"""Make one of a user's clips: what a method may see, and as truth the same pictures at the input camera.

Nobody has seen the object from anywhere else. Where the camera stood is not known: the clip has none, and the truth
stands where methods put a camera that they do not know.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench4d.asset import Asset4D
from bench4d.asset_io import write_asset
from bench4d.benchmark import Benchmark
from bench4d.clip import Clip
from bench4d.errors import FormatError
from benchmarks.wild.clips import find_clips, prepared


def data_of(benchmark: Benchmark) -> Path:
    """What `python -m benchmarks.wild` pointed the benchmark at."""
    return benchmark.path.parent / "data" / benchmark.id.removeprefix("wild-")


def build(benchmark: Benchmark, clip: str, clip_out: Path, truth_out: Path) -> None:
    """Write `clip_out` and `truth_out`/asset. Raises FormatError."""
    data, step = data_of(benchmark), "Point at the clips again: python -m benchmarks.wild FOLDER --name ..."
    if not data.exists():
        raise FormatError(data, "the user's clips", "nothing", step)
    places = find_clips(data.resolve())
    if clip not in places:
        raise FormatError(data, f"a clip {clip}", f"{sorted(places)}", step)
    frames = prepared(places[clip], benchmark.data["n_frames"], benchmark.data["size"])
    cameras = benchmark.cameras
    truth = Asset4D("views", benchmark.times, list(frames[:, None]), cameras[0], cameras)
    write_asset(truth, truth_out / "asset")
    Clip(clip, frames, benchmark.data["fps"]).write(clip_out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocol", type=Path, required=True)
    parser.add_argument("--clip", required=True)
    parser.add_argument("--clip-out", type=Path, required=True)
    parser.add_argument("--truth-out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1, help="ignored")
    options = parser.parse_args()
    try:
        build(Benchmark.read(options.protocol), options.clip, options.clip_out, options.truth_out)
    except FormatError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
