"""Intervals, ranks, coverage and escaping of the tables, on rows made by hand."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest

from bench4d.benchmark import Benchmark
from bench4d.errors import FormatError
from bench4d.method import Method
from bench4d.metric import Metric
from bench4d.results import ROW, frame_of
from bench4d.stats import bootstrap_mean
from bench4d.table_formats import FORMATS, notes, number
from bench4d.tables import make_table, object_means
from metrics import METRICS

CLIPS = ["a", "b", "c", "d"]


@pytest.fixture
def benchmark(tmp_path):
    data = {
        "title": "a <b> & c_d",
        "split": "s",
        "contaminated_by": ["objaverse"],
        "clips": [{"id": c} for c in CLIPS],
        "n_frames": 4,
        "fps": 2,
        "size": 32,
        "time_rule": "nearest",
        "alignment": "declared",
        "views": [{"id": "input", "group": "input"}, {"id": "side", "group": "novel"}],
        "metrics": [{"id": "psnr", "stride": 1}, {"id": "chamfer", "stride": 2}],
        "table": [{"metric": "psnr", "views": "novel"}, {"metric": "psnr", "views": "input"}, {"metric": "chamfer"}],
    }
    return Benchmark("bench", 1, tmp_path / "protocol.yaml", "0" * 64, data)


def method(tmp_path, name, kind="generator", trained_on=()):
    return Method(name, tmp_path, {"kind": kind, "trained_on": list(trained_on), "parameters": {}, "weights": []})


def rows(name, psnr, chamfer, failed=(), reason="boom"):
    """psnr: value at the input view; the novel view is 5 dB worse."""
    out = []
    for k, clip in enumerate(CLIPS):
        for metric, view, value in (
            ("psnr", "input", psnr[k]),
            ("psnr", "side", psnr[k] - 5),
            ("chamfer", None, chamfer[k]),
        ):
            bad = clip in failed
            row = dict.fromkeys(ROW, "x") | {"benchmark_version": 1, "seed": 0, "metric_version": 1, "n_frames": 4}
            row |= {
                "method": name,
                "object": clip,
                "clip": clip,
                "view": view,
                "metric": metric,
                "alignment": "declared",
            }
            row |= {
                "value": np.nan if bad else value,
                "status": "failed" if bad else "ok",
                "reason": reason if bad else "",
            }
            out.append(row)
    return out


def table_of(benchmark, methods, *parts):
    return make_table(frame_of([r for part in parts for r in part], ROW), benchmark, methods, METRICS, {})


def test_bootstrap_agrees_with_the_exact_distribution_of_two_objects():
    # Means of two draws from {0, 1}: 0, 1/2, 1 with weights 1/4, 1/2, 1/4; so the 2.5 % quantiles are 0 and 1.
    interval = bootstrap_mean(np.array([0.0, 1.0]))
    assert (interval.mean, interval.low, interval.high, interval.count) == (0.5, 0.0, 1.0, 2)


def test_bootstrap_width_is_that_of_the_standard_error():
    values = np.random.default_rng(0).normal(size=400)
    interval = bootstrap_mean(values)
    expected = 2 * 1.96 * values.std() / np.sqrt(400)
    assert abs((interval.high - interval.low) / expected - 1) < 0.05


def test_one_object_has_no_interval_and_nan_is_refused():
    assert np.isnan(bootstrap_mean(np.array([3.0])).low)
    with pytest.raises(ValueError, match="finite"):
        bootstrap_mean(np.array([np.nan, 1.0]))


def test_views_and_clips_of_an_object_are_averaged_before_objects(benchmark, tmp_path):
    table = frame_of(rows("m", [10, 20, 30, 40], [1, 1, 1, 1]), ROW)
    table.loc[table["clip"] == "b", "object"] = "a"  # two clips of one object
    table = table.assign(group=table["view"].map(benchmark.group_of))
    column = make_table(table, benchmark, [method(tmp_path, "m")], METRICS, {}).columns[1]
    assert object_means(table, column).tolist() == [15.0, 30.0, 40.0]


def test_best_and_second_best_follow_the_direction_and_leave_references_out(benchmark, tmp_path):
    methods = [method(tmp_path, "good"), method(tmp_path, "bad"), method(tmp_path, "ground_truth", "reference")]
    table = table_of(
        benchmark,
        methods,
        rows("good", [30] * 4, [0.1] * 4),
        rows("bad", [20] * 4, [0.2] * 4),
        rows("ground_truth", [100] * 4, [0] * 4),
    )
    ranks = {row.method.id: [cell.rank for cell in row.cells] for row in table.rows}
    assert ranks == {"good": [1, 1, 1], "bad": [2, 2, 2], "ground_truth": [None] * 3}
    assert [row.method.id for row in table.rows] == ["bad", "good", "ground_truth"]


def test_a_failed_clip_counts_as_the_worst_value_in_the_ranks_and_shows_as_coverage(benchmark, tmp_path):
    methods = [method(tmp_path, "brittle"), method(tmp_path, "steady")]
    table = table_of(
        benchmark,
        methods,
        rows("brittle", [31, 31, 31, 31], [0.1] * 4, failed=["d"]),
        rows("steady", [30, 30, 30, 20], [0.1] * 4),
    )
    brittle, steady = table.rows
    assert brittle.cells[1].interval.mean > steady.cells[1].interval.mean  # its mean looks better,
    assert number(brittle.cells[1], 2)[2] == "3/4"  # but says so,
    assert (brittle.cells[1].rank, steady.cells[1].rank) == (1, 2)  # (31 + 31 + 31 + 20) / 4 > 27.5
    assert table.failures == ("brittle, seed 0, d: boom",)
    table = table_of(
        benchmark,
        methods,
        rows("brittle", [31, 31, 31, 31], [0.1] * 4, failed=["b", "c", "d"]),
        rows("steady", [30, 30, 30, 20], [0.1] * 4),
    )
    assert [row.cells[1].rank for row in table.rows] == [2, 1]  # and cannot buy a rank by failing


def test_contamination_is_a_column(benchmark, tmp_path):
    methods = [method(tmp_path, "clean"), method(tmp_path, "seen", trained_on=["objaverse", "other"])]
    table = table_of(benchmark, methods, rows("clean", [1] * 4, [1] * 4), rows("seen", [1] * 4, [1] * 4))
    assert [row.contamination for row in table.rows] == ["none known", "objaverse"]


def test_sanity_rows_out_of_order_are_said(benchmark, tmp_path):
    methods = [method(tmp_path, "billboard"), method(tmp_path, "ground_truth", "reference")]
    fine = table_of(benchmark, methods, rows("billboard", [30] * 4, [1] * 4), rows("ground_truth", [105] * 4, [0] * 4))
    assert len(fine.warnings) == 1 and "ground_truth reaches 100 to 105 in psnr" in fine.warnings[0]
    odd = rows("billboard", [30] * 4, [1] * 4)
    for row in odd:
        row["value"] = {"input": 10.0, "side": 20.0}.get(row["view"], 1.0)
    strange = table_of(benchmark, methods, odd, rows("ground_truth", [100] * 4, [0.1] * 4))
    assert [w.split(" ")[0] for w in strange.warnings] == ["ground_truth", "ground_truth", "billboard"]
    assert "WARNING" in FORMATS["html"](strange) and "WARNING" in FORMATS["md"](strange)


def test_a_method_without_rows_is_an_error(benchmark, tmp_path):
    with pytest.raises(KeyError, match="absent"):
        table_of(benchmark, [method(tmp_path, "m"), method(tmp_path, "absent")], rows("m", [1] * 4, [1] * 4))


def test_whatever_a_reason_contains_is_escaped(benchmark, tmp_path):
    nasty = "<script>alert(1)</script> | \\input{x} & 100% `a`\nsecond line"
    part = rows("m_1", [1] * 4, [1] * 4, failed=CLIPS, reason=nasty)
    table = table_of(benchmark, [method(tmp_path, "m_1")], part)
    html, tex, md = (FORMATS[f](table) for f in ("html", "tex", "md"))
    assert "<script>" not in html and "&lt;script&gt;" in html
    assert all(line.startswith("%") for line in tex.splitlines() if "\\input{" in line) and "m\\_1" in tex
    assert "\\<script\\>" in md and "second line" in md and "\nsecond line" not in md


def test_csv_has_full_precision_and_coverage(benchmark, tmp_path):
    table = table_of(benchmark, [method(tmp_path, "m")], rows("m", [1 / 3] * 4, [2] * 4, failed=["a"]))
    (line,) = csv.DictReader(io.StringIO(FORMATS["csv"](table)))
    assert float(line["psnr[input].mean"]) == 1 / 3
    assert (line["psnr[input].k"], line["psnr[input].n"], line["chamfer.mean"]) == ("3", "4", "2.0")


def test_numbers_show_four_significant_digits(benchmark, tmp_path):
    table = table_of(benchmark, [method(tmp_path, "m")], rows("m", [31.23456] * 4, [0.0123456] * 4))
    line = " ".join(line for line in FORMATS["md"](table).splitlines() if line.startswith("| m "))
    assert "26.23" in line and "31.23" in line and "0.01235" in line


def test_result_rows_are_checked():
    good = rows("m", [1] * 4, [1] * 4)[0]
    with pytest.raises(FormatError, match="columns"):
        frame_of([{k: v for k, v in good.items() if k != "seed"}], ROW)
    with pytest.raises(FormatError, match="status"):
        frame_of([good | {"status": "maybe"}], ROW)


def test_intervals_differ_between_methods_only_through_their_values(benchmark, tmp_path):
    a = table_of(benchmark, [method(tmp_path, "m")], rows("m", [1, 2, 3, 4], [1] * 4))
    b = table_of(benchmark, [method(tmp_path, "n")], rows("n", [1, 2, 3, 4], [1] * 4))
    assert replace(a.rows[0], method=b.rows[0].method) == b.rows[0]


def test_the_mean_rank_stands_first_in_every_form(benchmark, tmp_path):
    methods = [method(tmp_path, "good"), method(tmp_path, "bad"), method(tmp_path, "ground_truth", "reference")]
    parts = (
        rows("good", [30] * 4, [0.1] * 4),
        rows("bad", [20] * 4, [0.2] * 4),
        rows("ground_truth", [100] * 4, [0] * 4),
    )
    table = table_of(benchmark, methods, *parts)
    assert [row.mean_rank.mean if row.mean_rank else None for row in table.rows] == [2.0, 1.0, None]
    line = list(csv.DictReader(io.StringIO(FORMATS["csv"](table))))[1]
    assert [line[f"mean_rank.{part}"] for part in ("mean", "low", "high")] == ["1.0"] * 3
    html, tex, md, text = (FORMATS[form](table) for form in ("html", "tex", "md", "txt"))
    assert [page.count("<th>mean rank</th>") for page in (html,)] == [1]
    assert md.count("| mean rank |") == 1 and "| good | declared | none known | 1.00 <sub>[1.00, 1.00]</sub> |" in md
    assert tex.count("method & mean rank &") == 1 and r"good & 1.00 {\tiny [1.00, 1.00]} &" in tex
    assert "Novel views         mean rank" in text and "ground_truth (ref)          –" in text
    assert "3 of 3 of alignment declared" in " ".join(table.footer)
    alone = table_of(benchmark, methods[:1], parts[0])
    assert alone.rows[0].mean_rank is None and "Mean rank: none" in " ".join(alone.footer)


def test_a_method_that_failed_everywhere_ranks_last_and_underlines_no_dash(benchmark, tmp_path):
    methods = [method(tmp_path, "broken"), method(tmp_path, "fine")]
    parts = rows("broken", [30] * 4, [0.1] * 4, failed=CLIPS), rows("fine", [20, 21, 22, 23], [0.2, 0.1, 0.3, 0.4])
    table = table_of(benchmark, methods, *parts)
    assert [row.mean_rank.mean for row in table.rows] == [2.0, 1.0]
    assert [row.cells[0].rank for row in table.rows] == [None, 1] and "<u>–</u>" not in FORMATS["md"](table)


FVD = Metric("fvd", 1, "A.", "set", "features", "lower", "1", 0.0, ("w",), "r", lambda weights: None)
SETS = METRICS | {"fvd": FVD, "fvd-floor": replace(FVD, id="fvd-floor", perfect=None)}


@pytest.fixture
def with_sets(benchmark):
    entries = [{"id": "fvd", "stride": 1}, {"id": "fvd-floor", "stride": 1}]
    columns = [{"metric": "fvd", "views": "novel"}, {"metric": "fvd", "views": "input"}]
    data = benchmark.data
    data = data | {"metrics": data["metrics"] + entries, "table": columns + data["table"]}
    return replace(benchmark, data=data)


def set_rows(name, value, metric="fvd", seed=0, status="ok", reason="", device="cpu"):
    """As the scoring engine writes them: no clip, and the group where a view would stand."""
    shared = rows(name, [1] * 4, [1] * 4)[0] | {"object": "", "clip": "", "metric": metric, "seed": seed}
    shared |= {"status": status, "reason": reason, "device": device, "metric_weights_sha256": "0123456789abcdef"}
    values = {"novel": value, "input": 2 * value}
    return [
        shared | {"view": group, "value": v, "n_frames": 84 if group == "novel" else 28} for group, v in values.items()
    ]


def set_table(benchmark, methods, *parts):
    return make_table(frame_of([r for part in parts for r in part], ROW), benchmark, methods, SETS, {})


def test_a_metric_of_sets_has_one_value_no_interval_and_its_n_and_floor(with_sets, tmp_path):
    methods = [method(tmp_path, "a"), method(tmp_path, "b"), method(tmp_path, "ground_truth", "reference")]
    noted = set_rows("b", 300.0, reason="3 of 84 films are bare background: c")
    truth = rows("ground_truth", [100] * 4, [0] * 4) + set_rows("ground_truth", -1.5)  # below 0 is no worse than 0
    truth += set_rows("ground_truth", 55.0, metric="fvd-floor")
    parts = rows("a", [30] * 4, [0.1] * 4) + set_rows("a", 100.0), rows("b", [20] * 4, [0.2] * 4) + noted
    table = set_table(with_sets, methods, *parts, truth)
    assert not any("fvd" in warning for warning in table.warnings) and table.blocks[0] == ("Novel views", [0, 2])
    assert [number(row.cells[0], 1) for row in table.rows] == [("100.0", "", ""), ("300.0", "", ""), ("-1.5", "", "")]
    assert [row.cells[0].rank for row in table.rows] == [1, 2, None]
    told = "\n".join(notes(table))
    assert "fvd[novel] of n = 84; fvd[input] of n = 28" in told
    assert (
        "Floor of fvd[novel]: two halves of the 84 true inputs, over fixed splits of the clips, are 55 apart." in told
    )
    assert "\nb fvd[novel]: 3 of 84 films are bare background: c\n" in "\n" + told
    assert "3 of 3 of alignment declared" in told  # the mean rank is over the columns with objects
    worse = [row | {"value": 3.0} if row["metric"] == "fvd" else row for row in truth]
    assert "ground_truth reaches 3 to 3 in fvd, not 0" in set_table(with_sets, methods, *parts, worse).warnings


def test_seeds_of_a_set_are_averaged(with_sets, tmp_path):
    seeds = set_rows("a", 100.0) + set_rows("a", 200.0, seed=1)
    cell = set_table(with_sets, [method(tmp_path, "a")], rows("a", [1] * 4, [1] * 4) + seeds).rows[0].cells[0]
    assert (cell.interval.mean, cell.covered, cell.total) == (150.0, 2, 2) and np.isnan(cell.interval.low)


def test_a_set_of_no_group_of_views_is_refused(with_sets, tmp_path):
    bare = replace(with_sets, data=with_sets.data | {"table": [{"metric": "fvd"}]})
    with pytest.raises(FormatError, match="views: novel"):
        set_table(bare, [method(tmp_path, "a")], set_rows("a", 1.0))


def test_a_column_without_values_keeps_its_place_and_gives_its_reason_once(with_sets, tmp_path):
    missing = {"status": "not-run", "reason": "w: `bench4d weights fetch w`"}
    parts = [rows(name, [1] * 4, [1] * 4) + set_rows(name, np.nan, **missing) for name in ("a", "b")]
    table = set_table(with_sets, [method(tmp_path, "a"), method(tmp_path, "b")], *parts)
    assert "Empty: fvd[novel], fvd[input]: w: `bench4d weights fetch w`" in notes(table)
    assert " ".join(notes(table)).count("weights fetch") == 1 and FORMATS["md"](table).count("| – |") >= 4
    one = [parts[0], rows("b", [1] * 4, [1] * 4) + set_rows("b", 5.0)]
    table = set_table(with_sets, [method(tmp_path, "a"), method(tmp_path, "b")], *one)
    assert "Empty: a fvd[novel], a fvd[input]: w: `bench4d weights fetch w`" in notes(table)


def test_an_empty_column_gives_the_metrics_reason_not_that_of_failures(benchmark, tmp_path):
    none = {"status": "not-run", "value": np.nan, "reason": "no chamfer here"}
    parts = [rows("a", [1] * 4, [1] * 4, failed=["b"]), rows("c", [1] * 4, [1] * 4)]
    parts = [[r | none if r["metric"] == "chamfer" and r["status"] == "ok" else r for r in part] for part in parts]
    told = notes(table_of(benchmark, [method(tmp_path, "a"), method(tmp_path, "c")], *parts))
    assert "Empty: chamfer: no chamfer here" in told and "Failed: a, seed 0, b: boom" in told


def test_half_precision_is_said_once(with_sets, tmp_path):
    part = rows("a", [1] * 4, [1] * 4) + set_rows("a", 5.0, device="x, half precision")
    assert "scored on x; half precision for fvd." in " ".join(
        set_table(with_sets, [method(tmp_path, "a")], part).footer
    )
