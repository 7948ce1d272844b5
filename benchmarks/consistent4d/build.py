"""Make one clip of Consistent4D from the user's downloads: what a method may see, and apart from it the true views.

The truth has no geometry: it is an asset of images at the protocol's cameras.
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
from benchmarks.consistent4d.archives import DATA, INPUT, VIEWS, find_pictures
from benchmarks.consistent4d.pictures import object_pictures


def build(benchmark: Benchmark, clip: str, data: Path, clip_out: Path, truth_out: Path) -> None:
    """Write `clip_out` and `truth_out`/asset. Raises FormatError."""
    if benchmark.views != [INPUT, *VIEWS]:
        raise FormatError(benchmark.path, f"the views {[INPUT, *VIEWS]}", f"{benchmark.views}")
    sequences = find_pictures(data, benchmark.data["n_frames"])
    pictures = object_pictures(sequences, benchmark.object_of[clip], benchmark.data["size"])
    cameras = benchmark.cameras
    moments = list(pictures.swapaxes(0, 1))
    write_asset(Asset4D("views", benchmark.times, moments, cameras[0], cameras), truth_out / "asset")
    Clip(clip, pictures[0], benchmark.data["fps"], cameras[0]).write(clip_out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocol", type=Path, required=True)
    parser.add_argument("--clip", required=True)
    parser.add_argument("--clip-out", type=Path, required=True)
    parser.add_argument("--truth-out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1, help="ignored")
    parser.add_argument("--data", type=Path, default=DATA, help="the downloads (default: data/ beside this file)")
    options = parser.parse_args()
    try:
        build(Benchmark.read(options.protocol), options.clip, options.data, options.clip_out, options.truth_out)
    except FormatError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
