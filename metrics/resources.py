"""What a method used: wall time and peak memory, as the run recorded them. No quality, so no perfect value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench4d.metric import Metric, MetricUnavailable

GIB = 2**30


def recorded(record: Mapping[str, Any], key: str) -> float:
    value = record.get(key)
    if value is None:
        raise MetricUnavailable(f"{key} was not recorded")
    return float(value)


def seconds(record: Mapping[str, Any]) -> float:
    return recorded(record, "seconds")


def memory_cpu(record: Mapping[str, Any]) -> float:
    return recorded(record, "peak_rss_bytes") / GIB


def memory_gpu(record: Mapping[str, Any]) -> float:
    if record.get("peak_gpu_bytes") is None:
        raise MetricUnavailable("no GPU used")
    return recorded(record, "peak_gpu_bytes") / GIB


TIME = Metric(
    id="time",
    version=1,
    definition=(
        "Wall-clock seconds that the method took for one clip, as recorded when it ran; machine and sharing of it "
        "count."
    ),
    unit="clip",
    needs="record",
    direction="lower",
    units="s",
    perfect=None,
    weights=(),
    reference="defined here",
    load=lambda weights: seconds,
)
MEMORY_CPU = Metric(
    id="memory-cpu",
    version=1,
    definition="Peak resident memory of the method's process tree while it made the clip, in GiB (2^30 bytes).",
    unit="clip",
    needs="record",
    direction="lower",
    units="GiB",
    perfect=None,
    weights=(),
    reference="defined here",
    load=lambda weights: memory_cpu,
)
MEMORY_GPU = Metric(
    id="memory-gpu",
    version=1,
    definition="Peak GPU memory while the method made the clip, in GiB (2^30 bytes); empty where no GPU was used.",
    unit="clip",
    needs="record",
    direction="lower",
    units="GiB",
    perfect=None,
    weights=(),
    reference="defined here",
    load=lambda weights: memory_gpu,
)
