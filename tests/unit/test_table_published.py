"""Published numbers in tables: shown by protocol, grey, and seen by nothing that ranks."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from bench4d.benchmark import Benchmark, find_benchmark
from bench4d.columns import columns_of
from bench4d.errors import FormatError
from bench4d.method import Method
from bench4d.results import ROW, frame_of
from bench4d.table_formats import FORMATS, to_csv, to_html, to_latex, to_markdown, to_text
from bench4d.table_published import Group, blocks_of, groups_of
from bench4d.tables import make_table
from metrics import METRICS

OURS = {"slow": (20.0, 0.30), "quick": (22.0, 0.25)}  # psnr, lpips-vgg, both of novel views; the input view is better


@pytest.fixture
def benchmark(tmp_path: Path) -> Benchmark:
    """consistent4d with one clip, three columns and the numbers of two protocols."""
    real = find_benchmark("consistent4d")
    columns = [("psnr", "novel"), ("lpips-vgg", "novel"), ("lpips-vgg", "input")]
    data = real.data | {"clips": [{"id": "trump"}], "table": [{"metric": m, "views": v} for m, v in columns]}
    data["published"] = [
        {"protocol": "consistent4d-v1", "benchmark": "Consistent4D-7"},
        {"protocol": "align4d", "benchmark": "Consistent4D-7"},
    ]
    return replace(real, data=data)


def table_of(benchmark: Benchmark, tmp_path: Path, groups=()):
    rows = []
    for name, (psnr, lpips) in OURS.items():
        for view, group in benchmark.group_of.items():
            for metric, value in (("psnr", psnr), ("lpips-vgg", lpips if group == "novel" else lpips / 2)):
                row = dict.fromkeys(ROW, "x") | {"benchmark_version": 1, "seed": 0, "metric_version": 1, "n_frames": 32}
                row |= {"method": name, "clip": "trump", "object": "trump", "view": view, "metric": metric}
                rows.append(row | {"value": value, "status": "ok", "reason": "", "alignment": "declared"})
    like = {"kind": "generator", "trained_on": [], "parameters": {}, "weights": []}
    methods = [Method(name, tmp_path, like) for name in OURS]
    return make_table(frame_of(rows, ROW), benchmark, methods, METRICS, {}, groups)


def test_numbers_stand_as_printed_under_their_own_protocol(benchmark, tmp_path):
    first, second = table_of(benchmark, tmp_path, groups_of(benchmark)).published
    ours = {row.method: row.cells for row in first.rows}
    assert ours["Consistent4D"] == ("", "0.1316", "")  # its PSNR is another metric, and the input view has none
    theirs = {row.method: row.cells for row in second.rows}
    assert theirs["L4GM"] == ("14.2?", "0.2?", "")
    assert "consistent4d-v1" in first.title and "align4d" in second.title and "thread" in first.title
    assert "L4GM" not in ours  # what another protocol prints is not mixed in


def test_nothing_that_ranks_or_decides_on_decimals_sees_them(benchmark, tmp_path):
    """Align4D prints better numbers than any of ours: ranks, marks, decimals and the CSV stay."""
    bare, shown = table_of(benchmark, tmp_path), table_of(benchmark, tmp_path, groups_of(benchmark))
    better = [float(row.cells[1].rstrip("?")) for block in shown.published for row in block.rows if row.cells[1]]
    assert min(better) < OURS["quick"][1]
    assert shown.rows == bare.rows and to_csv(shown) == to_csv(bare)
    for write in (to_text, to_markdown, to_latex, to_html):  # columns of the text may become wider
        own = [line.split() for line in write(bare).splitlines() if re.search(r"\b(slow|quick)\b", line)]
        assert own and all(line in [other.split() for other in write(shown).splitlines()] for line in own)
    marks = {line.split()[0]: line.count("*") + line.count("+") for line in to_text(shown).splitlines()[2:6]}
    assert marks["quick"] == 2 and marks["slow"] == 2  # best in both, second best in both


def test_html_and_latex_are_grey_and_never_bold(benchmark, tmp_path):
    shown = table_of(benchmark, tmp_path, groups_of(benchmark))
    parts = re.findall(r'<tbody class="published">.*?</tbody>', to_html(shown), re.DOTALL)
    assert len(parts) == 2  # two protocols in the block of novel views, none in that of the input view
    assert all("rank" not in part and "published: " in part for part in parts)
    assert "tbody.published td { color: #999" in to_html(shown)
    lines = [line for line in to_latex(shown).splitlines() if "14.2" in line]
    assert len(lines) == 1 and all(line.count(r"\textcolor{gray}") == 3 and "textbf" not in line for line in lines)


def test_text_and_markdown_have_a_rule_or_a_line_before_each_protocol(benchmark, tmp_path):
    shown = table_of(benchmark, tmp_path, groups_of(benchmark))
    lines = to_text(shown).splitlines()
    (place,) = [k for k, line in enumerate(lines) if line.startswith("published: consistent4d-v1")]
    assert set(lines[place - 1]) == {"-"} and lines[place + 1].startswith("Consistent4D")
    assert sum(line.startswith("published: ") for line in lines) == 2
    table = [line for line in to_markdown(shown).splitlines() if line.startswith("|")]
    heads = [line for line in table if line.startswith("| method")]
    widths = {line.count("|") for line in table[: table.index(heads[1])]}
    assert len(heads) == 2 and len(widths) == 1  # every line of the first block has all its cells
    assert sum("*published: " in line for line in table) == 2


def test_a_note_says_what_they_are_only_where_they_stand(benchmark, tmp_path):
    shown, bare = table_of(benchmark, tmp_path, groups_of(benchmark)), table_of(benchmark, tmp_path)
    for form in ("txt", "md", "tex", "html"):
        assert "outside ranks and statistics" in FORMATS[form](shown)
        assert "published:" not in FORMATS[form](bare)


def test_what_nobody_printed_is_refused(benchmark):
    data = benchmark.data | {"published": [{"protocol": "align4d", "benchmark": "ObjaverseDy"}]}
    with pytest.raises(FormatError, match="align4d on Consistent4D-7"):
        groups_of(replace(benchmark, data=data))
    assert groups_of(replace(benchmark, data={k: v for k, v in benchmark.data.items() if k != "published"})) == ()


def test_strange_names_are_escaped(benchmark, tmp_path):
    (group, _) = groups_of(benchmark)
    number = next(number for number in group.numbers if number.metric == "LPIPS")
    strange = replace(number, method="<b>_&|x")
    shown = table_of(benchmark, tmp_path, [Group(group.protocol, group.benchmark, (strange,))])
    assert "<b>" not in to_html(shown) and r"\_\&" in to_latex(shown) and r"\|x" in to_markdown(shown)


def test_input_and_novel_views_are_never_exchanged(benchmark):
    """SC4D prints PSNR of the input view; Velox prints both, as two test sets."""
    columns = columns_of(benchmark, METRICS)
    for protocol, name, filled in (
        ("sc4d", "SC4D-10", [False, False, True]),
        ("velox-consistent4d", "Velox-Consistent4D/novel", [True, True, False]),
        ("velox-consistent4d", "Velox-Consistent4D/input", [False, False, True]),
    ):
        data = benchmark.data | {"published": [{"protocol": protocol, "benchmark": name}]}
        (block,) = blocks_of(groups_of(replace(benchmark, data=data)), columns)
        assert [any(row.cells[k] for row in block.rows) for k in range(3)] == filled, name


def test_the_shipped_protocols_name_numbers_that_exist():
    assert [group.protocol["id"] for group in groups_of(find_benchmark("consistent4d"))] == [
        "consistent4d-v1",
        "sv4d-consistent4d",
        "align4d",
    ]
    assert groups_of(find_benchmark("synth4d")) == ()
