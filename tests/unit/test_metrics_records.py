"""The table of metrics itself, and the metrics of resources."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from bench4d.metric import MetricUnavailable, View
from bench4d.weights import read_catalogue
from metrics import METRICS
from tests.toy_scoring import random_alexnet

ROOT = Path(__file__).parents[2]
GIB = 2**30

WITHOUT_TRUTH = {"clip-text-vit-b32", "clip-temporal-vit-b32"}  # the truth has no fixed value


def test_every_record_is_complete():
    catalogue = read_catalogue()
    for id, metric in METRICS.items():
        assert metric.id == id and metric.version >= 1
        assert metric.definition.endswith(".") and metric.reference and metric.units
        assert set(metric.weights) <= set(catalogue)
        assert (metric.perfect is None) == (metric.needs == "record" or id.endswith("-floor") or id in WITHOUT_TRUTH)


@pytest.mark.parametrize("id", list(METRICS))
def test_every_metric_has_a_page_that_says_what_it_cannot_see(id):
    page = (ROOT / "docs" / "metrics" / f"{id}.md").read_text("utf-8")
    assert page.startswith(f"# {id}\n")
    assert "## What it cannot see" in page
    assert f"version {METRICS[id].version}" in page


@pytest.mark.parametrize("id", [id for id, metric in METRICS.items() if metric.needs == "frames" and id != "lpips-vgg"])
def test_a_metric_looks_at_alpha_exactly_if_its_record_says_so(id, tmp_path):
    """Tried out: another alpha gives another value, or it does not. (lpips-vgg has lpips-alex's function.)"""
    metric = METRICS[id]
    weights = random_alexnet(tmp_path) if metric.weights else {}
    score = metric.load({id: Path(weights[id]["path"]) for id in metric.weights})
    noise = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    mask = np.zeros((4, 64, 64), np.uint8)
    mask[:, :40, :40] = 255
    truth = View(np.full_like(noise, 128), mask)  # at rest: a metric of motion must not come out as 0
    first, second = (score(View(noise, alpha), truth) for alpha in (mask, np.rot90(mask, 2, (1, 2))))
    assert metric.alpha != np.array_equal(np.asarray(first), np.asarray(second), equal_nan=True)


def test_alpha_is_of_metrics_of_frames_alone():
    looking = {id for id, metric in METRICS.items() if metric.alpha}
    assert {METRICS[id].needs for id in looking} == {"frames"}
    assert {"psnr-masked", "ssim-masked", "silhouette-iou", "jitter"} <= looking


def test_every_metric_of_sets_has_its_floor():
    sets = {id for id, metric in METRICS.items() if metric.unit == "set" and not id.endswith("-floor")}
    assert {"fid-inception", "fvd-i3d", "kvd-i3d"} <= sets
    for id in sets:
        metric, noise = METRICS[id], METRICS[f"{id}-floor"]
        assert (noise.feature, noise.films, noise.version) == (metric.feature, metric.films, metric.version)
        options = {"frames": 4} if id == "fid-vid-frames" else {}
        clips = np.random.default_rng(0).standard_normal((4, 8, metric.feature.width)).astype(np.float32)
        score = noise.load({})(**options)
        for clip in clips:
            score.add(np.zeros_like(clip), clip)
        assert np.isfinite(score.value()) and score.value() != 0


def test_a_protocol_that_scores_a_metric_of_sets_scores_its_floor_in_the_same_way():
    """The table's footer prints it. Protocols of the atlas are left out: they hold what papers print."""
    paths = [*(ROOT / "benchmarks").glob("*/protocol*.yaml"), ROOT / "benchmarks/objaverse/settings.yaml"]
    scored = {}
    for path in paths:
        entries = {entry["id"]: entry for entry in yaml.safe_load(path.read_text("utf-8"))["metrics"]}
        for id, entry in entries.items():
            if METRICS[id].unit == "set" and not id.endswith("-floor"):
                assert entries.get(f"{id}-floor") == entry | {"id": f"{id}-floor"}, path
                scored.setdefault(path.parent.name, set()).add(id)
    assert scored == {name: {"kvd-i3d", "fvd-i3d"} for name in ("consistent4d", "synth4d", "menagerie", "objaverse")}


def test_importing_the_metrics_does_not_import_torch():
    program = "import metrics, sys; assert 'torch' not in sys.modules, 'torch'"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_resources_come_from_the_record():
    record = {"seconds": 12.5, "peak_rss_bytes": 3 * GIB, "peak_gpu_bytes": GIB // 2}
    values = {id: METRICS[id].load({})(record) for id in ("time", "memory-cpu", "memory-gpu")}
    assert values == {"time": 12.5, "memory-cpu": 3.0, "memory-gpu": 0.5}


def test_what_was_not_recorded_is_an_empty_cell_with_a_reason():
    with pytest.raises(MetricUnavailable, match="no GPU used"):
        METRICS["memory-gpu"].load({})({"seconds": 1.0, "peak_gpu_bytes": None})
    with pytest.raises(MetricUnavailable, match="seconds was not recorded"):
        METRICS["time"].load({})({})
