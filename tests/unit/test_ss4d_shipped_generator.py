"""The weights that ship with the repository make of an unseen object what they should, and always the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench4d.benchmark import find_benchmark
from ss4d.pipeline import SS4DPipeline
from tools.generation_agreement import frames_of, sha256_of
from tools.generation_sheet import judge

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pipeline() -> SS4DPipeline:
    return SS4DPipeline.from_pretrained(ROOT / "ss4d" / "checkpoints" / "tiny", device="cpu")


def test_unseen_object(pipeline: SS4DPipeline) -> None:
    cameras = find_benchmark("synth4d", ROOT).cameras
    _, figures, _ = judge(pipeline, "pudding-900001", cameras, frames=16)
    assert figures["silhouette-iou novel"] > 0.9
    assert figures["psnr novel"] > 21


def test_same_seed_same_bits(pipeline: SS4DPipeline) -> None:
    film = frames_of("cactus-900002", 4)
    first, again, other = (sha256_of(pipeline.run(film, seed=seed)) for seed in (0, 0, 1))
    assert first == again != other
