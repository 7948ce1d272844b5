"""The table of metrics itself, and the metrics of resources."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from bench4d.features import weights_of
from bench4d.metric import MetricUnavailable, View
from bench4d.weights import read_catalogue
from metrics import METRICS
from tools.random_weights import write_all

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


# Costs (time, memory) and floors measure no quality: their pages need heading, version and blind spots alone.
QUALITY = [id for id, metric in METRICS.items() if metric.needs != "record" and not id.endswith("-floor")]
FIELDS = ["Network", "Weights", "Resize", "Range", "Direction"]
INTERVAL = re.compile(r"[\[(](-?[\d.]+|-inf), (-?[\d.]+|inf)[\])]")
FILTER = re.compile(r"(112|224|299)\b.*(bicubic|bilinear)|(bicubic|bilinear).*(112|224|299)\b")


@pytest.mark.parametrize("id", QUALITY)
def test_the_page_of_a_quality_metric_states_what_decides_its_numbers(id):
    metric = METRICS[id]
    parts = re.split(r"^## ", (ROOT / "docs" / "metrics" / f"{id}.md").read_text("utf-8"), flags=re.MULTILINE)
    sections = {part.partition("\n")[0]: part.partition("\n")[2].strip() for part in parts[1:]}
    for name in ("Definition", "In papers", "What it cannot see"):
        assert len(sections[name]) > 40, name
    assert "Who uses it" not in sections

    entries = re.findall(r"^- (\w+): (.*(?:\n  .*)*)", parts[0], re.MULTILINE)
    assert [name for name, _ in entries] == FIELDS
    told = {name: " ".join(text.split()) for name, text in entries}
    assert told["Weights"].startswith("`" if weights_of(metric) else "none")
    assert dict(re.findall(r"`([\w-]+)` \(([^)]+)\)", told["Weights"])) == pinned(metric)
    perfect = "" if metric.perfect is None else f"; the truth has {metric.perfect:g}"
    assert told["Direction"].startswith(f"{metric.direction} is better{perfect}")
    low, high = map(float, INTERVAL.match(told["Range"]).groups())
    best = {"higher": high, "lower": low}[metric.direction]
    assert low < high and (metric.perfect in (best, None) or best == -math.inf)
    if metric.feature is None:
        assert (told["Network"] == "none") == (not metric.weights)
        pictures = metric.needs == "frames"
        whole = "none: pictures are scored at their size" if pictures else "none: surfaces, no pictures"
        assert told["Resize"].startswith(whole)
    else:
        assert f"{metric.feature.width:,} " in told["Network"] and FILTER.search(told["Resize"])


def pinned(metric):
    """Weight id -> what its page says in brackets."""
    known = {id: read_catalogue()[id].sha256 for id in weights_of(metric)}
    return {id: f"sha256 {sha[:12]}" if sha else "not pinned: no published checksum" for id, sha in known.items()}


@pytest.mark.parametrize("id", [id for id, metric in METRICS.items() if metric.needs == "frames" and id != "lpips-vgg"])
def test_a_metric_looks_at_alpha_exactly_if_its_record_says_so(id, tmp_path):
    """Tried out: another alpha gives another value, or it does not. (lpips-vgg has lpips-alex's function.)"""
    metric = METRICS[id]
    weights = write_all(tmp_path, metric.weights)
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
