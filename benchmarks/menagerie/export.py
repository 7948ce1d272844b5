"""Write the training clips of menagerie as a folder of assets, which `python -m ss4d.data --assets` reads.

    python -m benchmarks.menagerie.export --out OUT --frames 32 --fps 16

The splits test and reserved are never written.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from bench4d.asset import Asset4D
from bench4d.asset_io import write_asset
from bench4d.errors import FormatError
from bench4d.weights import Locations
from benchmarks.menagerie.assets import ListedClip, find_clip, read_assets, read_clips
from benchmarks.menagerie.fetch import AssetMissing, asset_places, find_asset
from benchmarks.menagerie.moving import clip_meshes


def training_clips() -> list[ListedClip]:
    """In the list's order."""
    assets = read_assets()
    return [clip for clip in read_clips().values() if assets[clip.asset].split == "train"]


def export(id: str, places: Locations, out: Path, frames: int, fps: float) -> None:
    """Write the clip `id` into the folder `out`. Raises FormatError, AssetMissing."""
    clip, asset = find_clip(id)
    if asset.split != "train":
        raise FormatError(f"clip {id}", "a clip of the split train", asset.split, "Others must not be trained on.")
    meshes = clip_meshes(clip, asset, find_asset(asset, places), frames)
    write_asset(Asset4D("mesh", np.arange(frames) / fps, meshes), out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", nargs="+", help="ids of clips.csv (default: all of the split train)")
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--fps", type=float, default=16)
    options = parser.parse_args()
    try:
        for id in tqdm(options.clips or [clip.id for clip in training_clips()], unit="clip", disable=None):
            export(id, asset_places(os.environ), options.out / id, options.frames, options.fps)
    except (FormatError, AssetMissing) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
