"""The site as a part of the workflow: made by default, cheap to make again, never in the way of a run."""

import json
import shlex
import subprocess
import sys

import pytest

SITE = "results/synth4d-tiny/site"


def data_of(checkout, name):
    text = (checkout.root / SITE / "data" / f"{name}.js").read_text("utf-8")
    return json.loads(text[text.index(",") + 1 : text.rindex(")")])


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def sited(tiny, tmp_path_factory):
    """A finished run with its site."""
    run = tiny.copy(tmp_path_factory.mktemp("sited") / "bench4d")
    run.configure(site=True)
    run.snakemake()
    return run


@pytest.fixture
def checkout(sited, tmp_path):
    return sited.copy(tmp_path / "bench4d")


def test_the_run_leaves_a_site_with_all_evidence(sited):
    table = data_of(sited, "table")
    assert [m["id"] for m in table["methods"]] == ["billboard", "inflate", "ground_truth", "oracle_static"]
    for entry in table["clips"]:
        clip = data_of(sited, entry["data"])
        for shown in (clip["truth"], *clip["methods"]):
            assert set(shown["videos"]) == {view["id"] for view in clip["views"]}
            assert all((sited.root / SITE / path).stat().st_size > 500 for path in shown["videos"].values())
            assert (sited.root / SITE / "data" / f"{shown['asset']}.js").is_file()


def test_the_command_makes_the_same_site_byte_for_byte(sited, tmp_path):
    command = [sys.executable, "-m", "bench4d", "site", "results/synth4d-tiny", "--out", str(tmp_path / "again")]
    process = subprocess.run(command, cwd=sited.root, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0 and process.stdout.strip() == str(tmp_path / "again" / "index.html"), process.stderr
    one, two = files_of(sited.root / SITE), files_of(tmp_path / "again")
    assert set(one) == set(two) and not [path for path in one if one[path] != two[path]]


def test_a_lost_first_page_is_made_again_without_encoding_anything(checkout):
    films = {path: path.stat().st_mtime_ns for path in (checkout.root / SITE).rglob("*.mp4")}
    (checkout.root / SITE / "index.html").unlink()
    assert checkout.planned() == {"site_synth4d-tiny": 1}
    checkout.snakemake()
    assert films and {path: path.stat().st_mtime_ns for path in (checkout.root / SITE).rglob("*.mp4")} == films


def test_the_command_beside_a_number_makes_it_again(checkout):
    method = next(m for m in data_of(checkout, "table")["methods"] if m["id"] == "inflate")
    program, *options = shlex.split(data_of(checkout, method["data"])["command"])
    assert program == "snakemake" and checkout.planned(*options) == {}
    (checkout.root / "results/synth4d-tiny/inflate/seed0/scores.parquet").unlink()
    assert checkout.planned(*options) == {"score_synth4d-tiny": 1}


def test_editing_a_template_makes_the_site_again_and_nothing_else(checkout):
    checkout.edit("bench4d/site/templates/base.html.j2", "\n{# changed #}\n")
    assert checkout.planned() == {"site_synth4d-tiny": 1}


def test_the_config_can_leave_it_out(checkout):
    (checkout.root / SITE / "index.html").unlink()
    checkout.configure(site=False)
    assert checkout.planned() == {}


def test_a_run_that_keeps_scores_alone_has_a_site_that_says_so(checkout):
    checkout.configure(keep="scores")
    checkout.edit("baselines/inflate/run.py", "\n# changed\n")
    checkout.snakemake()
    clip = data_of(checkout, "clips/0")
    inflate = next(m for m in clip["methods"] if m["id"] == "inflate")
    assert inflate["videos"] == {} and inflate["asset"] is None and inflate["cells"]["psnr[novel]"] > 5
    assert "keep" in inflate["pictures_note"] and "keep" in inflate["asset_note"]


def test_snakemakes_own_report_has_the_table(sited):
    sited.snakemake("--report", "report.html")
    text = (sited.root / "report.html").read_text("utf-8")
    assert "table.html" in text and "Tables" in text
