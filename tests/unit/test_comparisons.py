"""Comparisons between methods and mean ranks: known effects, ties, too few objects, Holm, failures, seeds."""

import csv
import io
from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from bench4d.benchmark import Benchmark
from bench4d.columns import Column, rivals_means
from bench4d.comparisons import compare, mean_ranks
from bench4d.method import Method
from bench4d.results import ROW, frame_of
from bench4d.stats import bootstrap_mean, holm, ranks, shares, signed_rank, smallest_p
from bench4d.table_formats import comparisons_to_csv
from metrics import METRICS

PSNR, CHAMFER, TIME = (Column(METRICS[id], None, 1) for id in ("psnr", "chamfer", "time"))


def rows(name, metric, values, seeds=(0,), failed=(), absent=(), alignment="declared"):
    """One clip an object, one view. `values`: [n], or [seeds, n]."""
    out = []
    for seed, line in zip(seeds, np.broadcast_to(values, (len(seeds), np.shape(values)[-1])), strict=True):
        for k, value in enumerate(line):
            status = "failed" if k in failed else "not-run" if k in absent else "ok"
            row = dict.fromkeys(ROW, "x") | {"benchmark_version": 1, "metric_version": 1, "n_frames": 4, "view": None}
            row |= {"method": name, "object": f"o{k:03}", "clip": f"c{k:03}", "seed": seed, "metric": metric}
            row |= {"alignment": alignment, "status": status, "reason": "" if status == "ok" else "why"}
            out.append(row | {"value": value if status == "ok" else np.nan})
    return out


def compared(tmp_path, *parts, references=(), columns=("psnr",)):
    table = frame_of([row for part in parts for row in part], ROW)
    data = {"metrics": [{"id": c, "stride": 1} for c in columns], "table": [{"metric": c} for c in columns]}
    benchmark = Benchmark("b", 1, tmp_path / "p.yaml", "0" * 64, data | {"views": []})
    names = sorted(set(table["method"]))
    methods = [Method(n, tmp_path, {"kind": "reference" if n in references else "generator"}) for n in names]
    return {(c.metric, c.method_a, c.method_b): c for c in compare(table, benchmark, methods, METRICS)}


def ranked(columns, *parts):
    table = frame_of([row for part in parts for row in part], ROW)
    by_method = {str(name): part for name, part in table.groupby("method")}
    names = sorted(by_method)
    return mean_ranks({column: rivals_means(by_method, column, names) for column in columns}, names)


def test_a_known_effect_is_found_and_has_the_right_side(tmp_path):
    random = np.random.default_rng(0)
    base = random.normal(25, 4, 20)  # objects differ far more than methods: pairing must remove that
    parts = [rows("a", "psnr", base), rows("b", "psnr", base + 1 + random.normal(0, 0.5, 20))]
    (found,) = compared(tmp_path, *parts).values()
    assert found.verdict == "b better" and found.p_holm == found.p < 1e-3
    assert found.difference.low < -1 < found.difference.high < 0 and found.probability.mean < 0.1
    worse = [rows("a", "chamfer", base), rows("b", "chamfer", base + 1)]
    assert compared(tmp_path, *worse, columns=("chamfer",))["chamfer", "a", "b"].verdict == "a better"


def test_no_effect_is_found_as_often_as_the_level_says(tmp_path):
    random, found = np.random.default_rng(0), 0
    for _ in range(400):
        found += signed_rank(random.normal(size=12))[0] <= 0.05
    assert 0.02 < found / 400 < 0.08
    (made,) = compared(tmp_path, *[rows(m, "psnr", random.normal(25, 4, 20)) for m in "ab"]).values()
    assert made.verdict == "no difference shown" and made.difference.low < 0 < made.difference.high


def test_seven_objects_and_six_baselines_are_too_few(tmp_path):
    parts = [rows(f"m{k}", "psnr", np.arange(7.0) + 10 * k) for k in range(7)]
    made = compared(tmp_path, *parts)
    assert len(made) == 21 and {c.verdict for c in made.values()} == {"n too small"}
    assert {c.p for c in made.values()} == {2 / 128}
    assert {c.p_holm for c in made.values()} == {21 * 2 / 128}
    assert compared(tmp_path, *parts[:2])["psnr", "m0", "m1"].verdict == "b better"  # alone, seven are enough
    many = [rows(f"m{k}", "psnr", np.arange(20.0) + 10 * k) for k in range(7)]
    assert {c.verdict for c in compared(tmp_path, *many).values()} == {"b better"}


def test_equal_methods_tie(tmp_path):
    parts = [rows("a", "psnr", [0.1 + 0.2] * 10), rows("b", "psnr", [0.3] * 10)]  # equal but for rounding
    (made,) = compared(tmp_path, *parts).values()
    assert (made.probability.mean, made.p, made.verdict) == (0.5, 1.0, "no difference shown")
    assert ranked([PSNR], *parts).of["a"].mean == 1.5


def test_signed_rank_equals_all_flips_of_signs():
    for values in ([1.0, -2, 3, 4, 5, 6, 7.5], [1.0, 1, -1, 2, 2, 3], [0.0, 0, 1, -2, 3, 4]):
        kept = np.array([v for v in values if v])
        sizes = ranks(np.abs(kept))
        own = abs((np.sign(kept) * sizes).sum())
        flips = np.abs(np.array(list(product((-1, 1), repeat=len(kept)))) @ sizes)
        p, side = signed_rank(np.array(values))
        assert p == pytest.approx((flips >= own - 1e-9).mean()) and side == 1
    assert signed_rank(np.zeros(5)) == (1.0, 0)
    assert signed_rank(-np.arange(1.0, 9)) == (smallest_p(8), -1)


def test_holm_by_hand():
    """Sorted .005 .01 .03 .04 times 4 3 2 1 = .02 .03 .06 .04, then never falling: .02 .03 .06 .06."""
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0] and holm(np.zeros(0)).tolist() == []


def test_bootstrap_intervals_agree_with_the_normal_theory_and_are_paired():
    values = np.random.default_rng(3).normal(2, 1, 300)
    made, error = bootstrap_mean(values), values.std() / np.sqrt(300)
    assert (made.low, made.high) == pytest.approx(norm.interval(0.95, values.mean(), error), abs=0.1 * error)
    assert shares(5).sum(axis=1) == pytest.approx(1) and (shares(5) == shares(5)).all()
    assert shares(5).mean(axis=0) == pytest.approx(0.2, abs=0.005)
    covered = 0
    for seed in range(200):
        made = bootstrap_mean(np.random.default_rng(seed).normal(size=40))
        covered += made.low < 0 < made.high
    assert 0.89 < covered / 200 < 0.99


def test_a_failure_counts_as_the_worst_value_of_any_ranked_method(tmp_path):
    parts = [rows("a", "psnr", [30.0] * 8, failed=(0, 1)), rows("b", "psnr", np.arange(20.0, 28))]
    parts += [rows("oracle", "psnr", [1.0] * 8)]
    made = compared(tmp_path, *parts, references=("oracle",))["psnr", "a", "b"]
    values = np.array([20, 20, *[30] * 6])
    assert made.n == 8 and made.difference.mean == pytest.approx((values - np.arange(20.0, 28)).mean())
    assert made.probability.mean == (0.5 + 0 + 6) / 8


def test_one_failed_seed_costs_that_seed(tmp_path):
    values = np.array([[30.0, 30, 30, 30], [32, 32, 32, 32]])
    parts = rows("a", "psnr", values, seeds=(0, 1))
    parts = [r | {"status": "failed", "value": np.nan} if (r["seed"], r["clip"]) == (1, "c002") else r for r in parts]
    made = compared(tmp_path, parts, rows("b", "psnr", [10.0] * 4))["psnr", "a", "b"]
    assert made.n == 4 and made.difference.mean == pytest.approx((21 + 21 + 10 + 21) / 4)  # (30 + 10) / 2 - 10


def test_seeds_are_averaged_before_objects_are_drawn(tmp_path):
    """Seeds of an object are no further objects: three equal seeds change no number."""
    random = np.random.default_rng(0)
    a, b = random.normal(size=9), random.normal(size=9)
    one = compared(tmp_path, rows("a", "psnr", a), rows("b", "psnr", b))
    three = compared(tmp_path, rows("a", "psnr", a, seeds=(0, 1, 2)), rows("b", "psnr", b))
    assert one["psnr", "a", "b"].p == three["psnr", "a", "b"].p and three["psnr", "a", "b"].n == 9
    assert three["psnr", "a", "b"].difference.low == pytest.approx(one["psnr", "a", "b"].difference.low)


def test_methods_of_another_alignment_are_not_compared_and_nothing_is_silent(tmp_path):
    good = rows("a", "psnr", [1.0] * 6)
    made = compared(tmp_path, good, rows("b", "psnr", [2.0] * 6, alignment="none"))
    assert made == {}
    made = compared(tmp_path, good, rows("b", "psnr", [2.0] * 6, absent=range(6)), rows("c", "psnr", [2.0] * 6))
    assert {key[1:]: c.verdict for key, c in made.items()} == {
        ("a", "b"): "no value",
        ("a", "c"): "no difference shown" if smallest_p(6) > 0.05 else "b better",
        ("b", "c"): "no value",
    }


@pytest.mark.parametrize("reference", [False, True])
def test_where_all_ranked_methods_failed_there_is_no_value(tmp_path, reference):
    parts = [rows(name, "psnr", [1.0] * 6, failed=range(6)) for name in "ab"]
    parts += [rows("oracle", "psnr", [30.0] * 6)] if reference else []
    made = compared(tmp_path, *parts, references=("oracle",))
    assert {c.verdict for c in made.values()} == {"no value"} and len(made) == (3 if reference else 1)
    assert ranked([PSNR], *parts[:2]) is None


def test_bounds_are_compared_without_a_test_and_the_truth_not_at_all(tmp_path):
    values = {"a": 10.0, "b": 11.0, "ground_truth": 100.0, "oracle_static": 30.0}
    parts = [rows(name, "psnr", [value] * 9) for name, value in values.items()]
    made = compared(tmp_path, *parts, references=("ground_truth", "oracle_static"))
    assert {key[1:] for key in made} == {("a", "b"), ("a", "oracle_static"), ("b", "oracle_static")}
    bound = made["psnr", "a", "oracle_static"]
    assert (bound.verdict, bound.difference.mean, bound.probability.mean) == ("bound", -20.0, 0.0)
    assert np.isnan(bound.p) and made["psnr", "a", "b"].p_holm == smallest_p(9)  # a bound costs the others nothing


def test_mean_ranks_by_hand():
    parts = [rows("a", "psnr", [30.0, 30]), rows("b", "psnr", [20.0, 20]), rows("c", "psnr", [10.0, 10])]
    parts += [rows("a", "chamfer", [2.0, 2]), rows("b", "chamfer", [1.0, 1]), rows("c", "chamfer", [2.0, 2])]
    parts += [rows(name, "time", [k, k]) for k, name in enumerate("abc")]
    made = ranked([PSNR, CHAMFER, TIME], *parts)
    assert {name: i.mean for name, i in made.of.items()} == {"a": (1 + 2.5) / 2, "b": 1.5, "c": (3 + 2.5) / 2}
    assert all(i.low == i.mean == i.high for i in made.of.values())  # equal objects: every draw ranks alike
    assert made.columns == ("psnr", "chamfer")  # time is no quality


def test_the_interval_of_a_mean_rank_is_that_of_the_draws():
    """Two objects on which the methods trade places: half of the draws hold both (tie), a quarter each one alone."""
    made = ranked([PSNR], rows("a", "psnr", [1.0, 0]), rows("b", "psnr", [0.0, 1]))
    assert [(i.mean, i.low, i.high) for i in made.of.values()] == [(1.5, 1.0, 2.0)] * 2
    random = np.random.default_rng(0)
    clear = ranked([PSNR], rows("a", "psnr", random.normal(1, 1, 30)), rows("b", "psnr", random.normal(-1, 1, 30)))
    assert clear.of["a"].low == clear.of["a"].high == 1


def test_failing_ranks_last_and_does_not_apply_is_left_out():
    parts = [
        rows("a", "psnr", [30.0] * 4, failed=range(4)),
        rows("b", "psnr", [20.0] * 4),
        rows("c", "psnr", [9.0] * 4),
    ]
    assert ranked([PSNR], *parts).of["a"].mean == 2.5  # as bad as the worst value of any
    partly = [rows("a", "psnr", [30.0] * 4, failed=(1, 2, 3)), rows("b", "psnr", [12.0, 28, 25, 24])]
    assert ranked([PSNR], *partly).of["a"].mean == 2  # 30 and three times 12: one good clip buys no rank
    geometry = [
        rows("a", "chamfer", [1.0] * 4),
        rows("b", "chamfer", [2.0] * 4),
        rows("c", "chamfer", [1.0] * 4, absent=range(4)),
    ]
    made = ranked([PSNR, CHAMFER], *parts, *geometry)
    assert made.columns == ("psnr",)
    assert ranked([PSNR], rows("a", "psnr", [1.0])) is None


def test_a_column_of_few_objects_counts_only_in_draws_that_have_them():
    """psnr has 2 objects, chamfer only the first: draws of the second alone rank by psnr."""
    parts = [rows("a", "psnr", [1.0, 0]), rows("b", "psnr", [0.0, 1])]
    parts += [rows("a", "chamfer", [1.0, 9], absent=(1,)), rows("b", "chamfer", [2.0, 9], absent=(1,))]
    made = ranked([PSNR, CHAMFER], *parts)
    assert (made.of["a"].mean, made.of["a"].low, made.of["a"].high) == (1.25, 1.0, 2.0)


def test_all_pairs_of_every_column_stand_in_the_file(tmp_path):
    parts = [rows(m, c, np.arange(5.0) + k) for k, m in enumerate("abcd") for c in ("psnr", "time")]
    made = compared(tmp_path, *parts, columns=("psnr", "time"))
    assert list(made) == [(c, *pair) for c in ("psnr", "time") for pair in combinations("abcd", 2)]
    lines = list(csv.DictReader(io.StringIO(comparisons_to_csv(list(made.values())))))
    assert len(lines) == 12 and lines[0]["verdict"] == "n too small" and lines[0]["n"] == "5"
    assert float(lines[0]["difference"]) == -1 and float(lines[0]["probability"]) == 0
    assert list(lines[0])[:9] == [
        *("metric", "views", "alignment", "method_a", "method_b", "n", "difference", "low", "high")
    ]
    table = pd.read_csv(io.StringIO(comparisons_to_csv(list(made.values()))))
    assert table[["difference", "p", "p_holm", "probability_high"]].notna().all(axis=None)
