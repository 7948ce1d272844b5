"""Animated glTF against Blender 5.0.1, by positions that record_gltf_blender.py wrote down.

The small samples are in the repository. The 46 assets are not: BENCH4D_ASSETS names their folder. The table of
docs/gltf.md, with times:

    python -m tests.reference.test_gltf_blender ASSETS
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bench4d.gltf import AnimatedAsset, read_animated

FOLDER = Path(__file__).parents[1] / "fixtures" / "gltf"
LIMIT = 1e-4  # of the diagonal


def recorded(file: str) -> dict[str, dict[str, np.ndarray]]:
    """For each asset: sha256, vertices (node, primitive, vertex), animations, times, positions [S, n, 3]."""
    found: dict[str, dict[str, np.ndarray]] = {}
    with np.load(FOLDER / file, allow_pickle=False) as arrays:
        for key in arrays.files:
            asset, name = key.rsplit("/", 1)
            found.setdefault(asset, {})[name] = arrays[key]
    return found


SAMPLES, ASSETS = recorded("blender_samples.npz"), recorded("blender_assets.npz")


def largest_error(asset: AnimatedAsset, record: dict[str, np.ndarray]) -> float:
    """Relative to the diagonal of the box around the asset at the recorded times."""
    starts = {(part.node, part.primitive): part.first for part in asset.parts}
    rows = [starts[node, primitive] + vertex for node, primitive, vertex in record["vertices"].tolist()]
    worst = diagonal = 0.0
    for animation, second, positions in zip(record["animations"], record["times"], record["positions"], strict=True):
        (ours,) = asset.vertices(int(animation), [float(second)])
        diagonal = max(diagonal, float(np.linalg.norm(np.ptp(ours, 0))))
        worst = max(worst, float(np.linalg.norm(ours[rows] - positions, axis=1).max()))
    return worst / diagonal


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_move_as_in_blender(name: str) -> None:
    path, record = FOLDER / f"{name}.glb", SAMPLES[name]
    assert hashlib.sha256(path.read_bytes()).digest() == record["sha256"].tobytes(), "record the sample again"
    moved = np.ptp(record["positions"], 0).max()
    assert moved > 0.1 and largest_error(read_animated(path), record) < 1e-6


@pytest.mark.parametrize("name", ASSETS)
def test_assets_move_as_in_blender(name: str) -> None:
    folder = os.environ.get("BENCH4D_ASSETS")
    if not folder:
        pytest.skip("BENCH4D_ASSETS does not name the folder of the animated assets, which are not in the repository")
    path, record = Path(folder) / f"{name}.glb", ASSETS[name]
    assert hashlib.sha256(path.read_bytes()).digest() == record["sha256"].tobytes(), "another file than was recorded"
    assert largest_error(read_animated(path), record) < LIMIT


def test_enough_was_recorded() -> None:
    assert set(SAMPLES) == {"skin", "morph", "painted"} and len(ASSETS) == 46
    assert sum(len(record["times"]) for record in ASSETS.values()) > 46 * 6


def main() -> None:
    sys.stdout.write("| asset | vertices | animations | read (s) | 32 frames (s) | largest error / diagonal |\n")
    sys.stdout.write("|---|---|---|---|---|---|\n")
    for name, record in {**SAMPLES, **ASSETS}.items():
        path = (FOLDER if name in SAMPLES else Path(sys.argv[1])) / f"{name}.glb"
        start = time.perf_counter()
        asset = read_animated(path)
        read = time.perf_counter()
        asset.vertices(0, np.linspace(0, asset.animations[0].duration, 32).tolist())
        done = time.perf_counter()
        count, error = sum(part.count for part in asset.parts), largest_error(asset, record)
        row = f"| {name} | {count} | {len(asset.animations)} | {read - start:.2f} | {done - read:.3f} | {error:.1e} |"
        sys.stdout.write(row + "\n")


if __name__ == "__main__":
    main()
