"""The published numbers and the protocols they belong to: every row, and what the readers refuse."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from bench4d.benchmark import find_benchmark
from bench4d.errors import FormatError
from bench4d.published import (
    ATLAS,
    PUBLISHED,
    QUANTITIES,
    check_against_atlas,
    read_atlas,
    read_contradictions,
    read_published,
    select,
)
from metrics import METRICS

ROWS, PROTOCOLS = read_published(), read_atlas()
# Checked by eye against the survey's text, apart from the CSV: (protocol, test set) -> {(method, metric): value}.
KNOWN = {
    ("gvfd-100", "GVFD-100"): {
        ("GVFDiffusion", "PSNR"): 18.47,
        ("L4GM", "FVD"): 529.10,
        ("Consistent4D", "time"): 5400,
    },
    ("sv4d-objaversedy", "ObjaverseDy"): {("SV4D", "FVD-V"): 368.53, ("STAG4D", "FV4D"): 1003.16},
    ("motion3to4-consistent4d", "Consistent4D-7"): {("V2M4", "DreamSim"): 0.1832, ("Motion 3-to-4", "CLIP"): 0.8609},
    ("shapegen4d-rendering", "Consistent4D-7"): {("L4GM", "FVD"): 302},
    ("align4d", "Consistent4D-7"): {("L4GM", "FVD"): 1217.1, ("SC4D", "VRAM"): 8.9, ("Align4D", "time"): 1500},
    ("consistent4d-v1", "Consistent4D-7"): {("Consistent4D", "PSNR"): 17.25, ("Consistent4D", "LPIPS"): 0.1316},
    ("actionbench", "ActionBench-128"): {("ActionMesh", "CD-M"): 0.148, ("V2M4", "CD-4D"): 0.34},
    ("4dstr", "Consistent4D-7"): {("4DSTR", "FID-VID"): 45.31, ("STAG4D", "FID-VID"): 53},
    ("diffusion4d", "Diffusion4D-20"): {("4DGen", "time"): 5400, ("STAG4D", "time"): 9000},
    ("wt-d", "ActionBench"): {("SS4D", "CD-L2"): 0.0882},
}


def test_no_row_of_the_survey_is_lost():
    assert len(ROWS) == 669
    assert Counter(r.provenance for r in ROWS) == {"primary": 383, "secondary": 251, "thread": 35}


def test_every_row_belongs_to_a_protocol_that_names_its_test_set_and_metric():
    check_against_atlas(ROWS, PROTOCOLS)
    without = [r for r in ROWS if not r.protocol]
    assert len(without) == 8 and all("README" in r.source for r in without)


@pytest.mark.parametrize("group", KNOWN, ids=lambda g: g[0])
def test_selected_numbers(group):
    chosen = select(ROWS, *group)
    assert {(r.protocol, r.benchmark) for r in chosen} == {group}
    for (method, metric), value in KNOWN[group].items():
        assert value in [r.value for r in chosen if (r.method, r.metric) == (method, metric)]


def test_a_selection_never_mixes_protocols_and_has_every_value_once():
    groups = {(r.protocol, r.benchmark) for r in ROWS}
    chosen = [row for group in groups for row in select(ROWS, *group)]
    assert len(chosen) == len(set(chosen)) == len([r for r in ROWS if r.value is not None])
    fvds = {
        (r.protocol, r.value) for r in ROWS if (r.method, r.metric, r.benchmark) == ("L4GM", "FVD", "Consistent4D-7")
    }
    assert len(fvds) == 4 == len({protocol for protocol, _ in fvds})


def test_a_range_in_print_has_no_value_and_is_not_selected():
    (row,) = [r for r in ROWS if r.value is None]
    assert (row.method, row.source) == ("SV4D", "SV4D Sec. 3.2") and '"15-20 min"' in row.note
    assert row not in select(ROWS, row.protocol, row.benchmark)


def test_times_are_in_seconds_and_keep_their_printed_form():
    times = [r for r in ROWS if r.metric == "time"]
    assert len(times) == 46 and all("printed" in r.note for r in times)


def test_the_mean_of_the_objects_is_the_average_of_issue_11():
    """The thread prints seven values a metric and their mean: the transcription is consistent with itself."""
    for metric, digits in (("CLIP", 4), ("LPIPS", 4), ("PSNR", 2)):
        each = [r.value for r in ROWS if r.benchmark.startswith("Consistent4D-7/") and r.metric == metric]
        (mean,) = [r.value for r in select(ROWS, "consistent4d-v1", "Consistent4D-7")
                   if (r.method, r.metric) == ("Consistent4D", metric)]  # fmt: skip
        assert len(each) == 7 and round(sum(v for v in each if v) / 7, digits) == mean


def test_contradictions_are_rows_that_differ():
    found = read_contradictions(ROWS)
    values = [{r.value for r in c.rows} for c in found]
    assert {1133.44, 1133.93} in values and {26.37, 53} in values
    same = [c for c, v in zip(found, values, strict=True) if len(v) == 1]
    assert len(same) == 1 and len({r.method for r in same[0].rows}) == 2  # one number printed for two methods


def test_a_contradiction_must_name_a_row(tmp_path):
    content = yaml.safe_load((PUBLISHED.parent / "contradictions.yaml").read_text("utf-8"))
    content["contradictions"][0]["numbers"][0]["value"] = 1133.45
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(FormatError, match=r"1133\.45"):
        read_contradictions(ROWS, tmp_path / "c.yaml")


HEADER, FIRST = PUBLISHED.read_text("utf-8").splitlines()[:2]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.129", "1.29", "a value from 0 to 1"),
        ("0.129", "nan", "a value from 0 to 1"),
        ("0.129", "", "why there is no value|NVVS"),
        (",lower,", ",higher,", "'lower' for LPIPS"),
        (",1,", ",dB,", "'1' and 'lower'"),
        ("LPIPS", "LPIPS2", "a metric among PSNR"),
        (",primary,", ",hearsay,", "primary, secondary or thread"),
        ("2407.17470", "24.1", "an arXiv id"),
        ("SV3D,", ",", "a method and a source"),
        ("NVVS", "a,NVVS", "13 cells"),
    ],
)
def test_broken_rows_are_refused(tmp_path: Path, old: str, new: str, message: str):
    line = FIRST.replace(old, new, 1)
    if old == "0.129" and not new:
        line = line[: line.rindex(",") + 1]  # and no note either
    (tmp_path / "p.csv").write_text(f"{HEADER}\n{line}\n")
    with pytest.raises(FormatError, match=message):
        read_published(tmp_path / "p.csv")


def test_a_number_twice_and_other_columns_are_refused(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text(f"{HEADER}\n{FIRST}\n{FIRST}\n")
    with pytest.raises(FormatError, match="one row for each"):
        read_published(path)
    path.write_text(f"{HEADER},more\n{FIRST},x\n")
    with pytest.raises(FormatError, match="the columns"):
        read_published(path)
    path.write_bytes(HEADER.encode() + b"\n\xff\n")
    with pytest.raises(FormatError, match="UTF-8"):
        read_published(path)
    with pytest.raises(FormatError, match="no such file"):
        read_published(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protocol": "nobody"}, "a protocol among"),
        ({"benchmark": "ObjaverseDy"}, "a test set of"),
        ({"metric": "DreamSim"}, "a metric of"),
        ({"metric_id": "lpips-vgg"}, "metric_id ''"),
        ({"protocol": ""}, "no benchmark"),
    ],
)
def test_rows_that_their_protocol_does_not_know(change, message):
    with pytest.raises(FormatError, match=message):
        check_against_atlas([replace(ROWS[0], **change)], PROTOCOLS)


def test_the_atlas_names_metrics_of_papers_and_metrics_of_ours():
    for name, protocol in PROTOCOLS.items():
        for metric in protocol["metrics"]:
            assert metric["published"] in QUANTITIES, name
            assert not (metric["id"] and metric["likely"]), name
            assert {metric["id"], metric["likely"]} - {None} <= set(METRICS), name


def test_every_protocol_has_rows_or_is_one_of_four_without():
    assert set(PROTOCOLS) - {r.protocol for r in ROWS} == {"consistent4d-v2", "stag4d", "diffusion2", "v2m4"}


def test_the_atlas_entry_of_our_own_protocol_is_the_protocol():
    ours, entry = find_benchmark("consistent4d"), PROTOCOLS["consistent4d-v2"]
    novel = [v for v in ours.data["views"] if v["group"] == "novel"]
    assert [v["azimuth"] for v in novel] == entry["views"]["azimuths"]
    assert {v["elevation"] for v in ours.data["views"]} == {entry["views"]["elevation"]}
    assert ours.data["rig"] == entry["rig"] and ours.data["background"] == entry["image"]["background"]
    assert (ours.data["n_frames"], ours.data["size"]) == (entry["frames"]["count"], entry["image"]["size"])
    assert len(ours.clips) == entry["test_set"]["objects"]
    assert {metric["id"] for metric in entry["metrics"]} <= {metric["id"] for metric in ours.data["metrics"]}


def test_an_atlas_file_has_its_id_as_name(tmp_path):
    (tmp_path / "other.yaml").write_bytes((ATLAS / "stag4d.yaml").read_bytes())
    with pytest.raises(FormatError, match="id: other"):
        read_atlas(tmp_path)
