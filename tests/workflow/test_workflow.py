"""What the workflow promises: perfect truth, minimal reruns, contained failures, hidden truth."""

import json
import shutil

import pandas as pd
import pytest
import yaml

RESULTS = "results/synth4d-tiny"
METHODS = ("billboard", "ground_truth", "inflate", "oracle_static")


def rows_of(checkout):
    return pd.read_parquet(checkout.root / RESULTS / "scores.parquet")


def scaffold(checkout, name, program, **changes):
    """A new method folder, as a contributor would add it."""
    source, folder = checkout.root / "baselines/billboard", checkout.root / "baselines" / name
    folder.mkdir()
    (folder / "environment.yaml").write_text((source / "environment.yaml").read_text())
    data = yaml.safe_load((source / "method.yaml").read_text()) | changes
    (folder / "method.yaml").write_text(yaml.safe_dump(data))
    (folder / "run.py").write_text(program if program else (source / "run.py").read_text())


def test_every_table_is_there_and_nothing_is_left_to_do(tiny):
    for form in ("csv", "md", "tex", "html", "txt"):
        text = (tiny.root / RESULTS / f"table.{form}").read_text()
        assert all(name in text.replace("\\_", "_") for name in METHODS), form
    assert "Nothing to be done" in tiny.snakemake()


def test_ground_truth_is_perfect_and_no_warning_stands_in_the_table(tiny):
    rows = rows_of(tiny)
    truth = rows[rows["method"] == "ground_truth"].set_index("metric")["value"]
    assert (truth["psnr"] == 100).all() and (truth["silhouette-iou"] == 1).all() and (truth["chamfer"] == 0).all()
    assert "WARNING" not in (tiny.root / RESULTS / "table.txt").read_text()


def test_oracle_static_is_perfect_at_frame_0_and_worse_later(tiny):
    frames = pd.read_parquet(tiny.root / RESULTS / "frames.parquet")
    psnr = frames[(frames["method"] == "oracle_static") & (frames["metric"] == "psnr")]
    assert (psnr.loc[psnr["frame"] == 0, "value"] == 100).all()
    assert (psnr.loc[psnr["frame"] > 0].groupby("clip")["value"].mean() < 40).all()


def test_billboard_is_good_at_the_input_view_and_poor_at_novel_views(tiny):
    rows = rows_of(tiny)
    board = rows[rows["method"] == "billboard"]
    for metric, gap in (("psnr", 5.0), ("silhouette-iou", 0.2)):
        by_view = board[board["metric"] == metric].groupby("view")["value"].mean()
        assert by_view["input"] > by_view["az075"] + gap


def test_rows_say_where_they_come_from(tiny):
    rows = rows_of(tiny)
    assert set(rows["status"]) == {"ok"} and len(rows) == 4 * 2 * (2 * 2 + 2)
    for column in ("protocol", "method_version", "params_sha256", "asset_sha256", "truth_sha256", "code_version"):
        assert rows[column].str.len().min() >= 12, column
    assert set(rows["alignment"]) == {"declared"}


def test_only_reference_methods_are_told_where_the_truth_is(tiny):
    for name in METHODS:
        job = json.loads((tiny.root / RESULTS / f"logs/generate/{name}-seed0-0.log.job.json").read_text())
        is_reference = name in ("ground_truth", "oracle_static")
        assert all(("truth" in clip) == is_reference for clip in job["clips"])
        assert ("truth" in json.dumps(job).replace("ground_truth", "")) == is_reference


def test_a_new_method_folder_schedules_only_its_own_jobs_and_the_tables(checkout):
    scaffold(checkout, "newcomer", None)
    kinds = ("generate_synth4d-tiny_0", "align_synth4d-tiny_0", "render_synth4d-tiny_0", "score_synth4d-tiny")
    assert checkout.planned() == dict.fromkeys([*kinds, "report_synth4d-tiny"], 1)
    plan = checkout.snakemake("-n")
    assert "method=newcomer" in plan and not any(f"method={name}" in plan for name in METHODS)


def test_a_method_may_stand_in_another_folder_that_the_config_names(checkout):
    scaffold(checkout, "newcomer", None)
    (checkout.root / "own").mkdir()
    (checkout.root / "baselines/newcomer").rename(checkout.root / "own/newcomer")
    checkout.configure(method_folders=["own"])
    plan = checkout.snakemake("-n")
    assert "method=newcomer" in plan and not any(f"method={name}" in plan for name in METHODS)
    shutil.copytree(checkout.root / "own/newcomer", checkout.root / "baselines/newcomer")
    assert "a name of its own" in checkout.snakemake("-n", ok=False)


def test_editing_one_program_reruns_that_method_only(checkout):
    checkout.edit("baselines/inflate/run.py", "\n# changed\n")
    plan = checkout.snakemake("-n")
    assert "method=inflate" in plan and not any(f"method={n}" in plan for n in METHODS if n != "inflate")
    assert checkout.planned()["generate_synth4d-tiny_0"] == 1


def test_touching_a_program_reruns_nothing(checkout):
    (checkout.root / "baselines/inflate/run.py").touch()
    assert checkout.planned() == {}


def test_editing_a_metric_scores_again_and_regenerates_nothing(checkout):
    checkout.edit("metrics/psnr.py", "\n# changed\n")
    assert set(checkout.planned()) == {"score_synth4d-tiny", "report_synth4d-tiny"}
    assert checkout.planned()["score_synth4d-tiny"] == len(METHODS)


def test_another_seed_regenerates_nothing_old(checkout):
    checkout.configure(seeds=[0, 1])
    plan = checkout.snakemake("-n")
    assert "seed=1" in plan and "seed=0" not in plan


CRASHES_ON_SECOND = """
import json, runpy, sys, pathlib
job = json.loads(pathlib.Path(sys.argv[2]).read_text())
second = sorted(c["id"] for c in json.loads(pathlib.Path(sys.argv[2]).read_text())["clips"])
if len(job["clips"]) == 1:
    print("out of <memory> & luck", file=sys.stderr)
    sys.exit(3)
whole = job["clips"]
job["clips"] = whole[:1]
path = pathlib.Path(sys.argv[2] + ".one")
path.write_text(json.dumps(job))
sys.argv[2] = str(path)
runpy.run_path(str(pathlib.Path(__file__).parents[1] / "billboard" / "run.py"), run_name="__main__")
sys.exit(3)
"""


@pytest.mark.parametrize(
    ("name", "program", "covered", "reason"),
    [
        ("crashing", CRASHES_ON_SECOND, "1/2", "exit status 3"),
        ("silent", "raise SystemExit(0)\n", "0/2", "without the marker DONE"),
        ("killed", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", "0/2", "signal SIGKILL"),
    ],
)
def test_a_failing_method_costs_its_own_clips_and_is_listed(checkout, name, program, covered, reason):
    scaffold(checkout, name, program)
    checkout.snakemake()
    rows = rows_of(checkout)
    mine = rows[rows["method"] == name]
    assert len(mine) == len(rows[rows["method"] == "billboard"])  # failures are rows, not absences
    assert reason in " ".join(mine.loc[mine["status"] == "failed", "reason"])
    assert (rows.loc[rows["method"] != name, "status"] == "ok").all()
    text = (checkout.root / RESULTS / "table.txt").read_text()
    assert f"Failed: {name}, seed 0" in text
    line = next(line for line in text.splitlines() if line.startswith(name))
    assert f"({covered})" in line
    record = json.loads(next((checkout.root / RESULTS / name).rglob("generate.json")).read_text())
    assert record["version"] == 1


def test_an_asset_that_breaks_the_contract_is_a_failed_clip(checkout):
    program = (checkout.root / "baselines/billboard/run.py").read_text()
    program += "\n    import pathlib, json\n" if False else ""
    broken = program.replace('if __name__ == "__main__":\n    main()', BREAK)
    assert broken != program
    scaffold(checkout, "broken", broken)
    checkout.snakemake()
    rows = rows_of(checkout)
    mine = rows[rows["method"] == "broken"]
    assert (mine["status"] == "failed").all() and mine["reason"].str.contains("strictly increasing").all()


BREAK = """if __name__ == "__main__":
    main()
    for clip in json.loads(Path(sys.argv[2]).read_text())["clips"]:
        where = Path(clip["out"]) / "asset.json"
        data = json.loads(where.read_text())
        data["times"] = [0.0] * len(data["times"])
        where.write_text(json.dumps(data))
"""


def test_keep_scores_leaves_no_assets_and_no_renders(checkout):
    checkout.configure(keep="scores", seeds=[5], methods=["billboard"])
    checkout.snakemake()
    root = checkout.root / RESULTS / "billboard/seed5"
    assert (
        (root / "scores.parquet").is_file() and not list(root.rglob("*.png")) and not list(root.rglob("*.safetensors"))
    )
    assert len(list(root.rglob("generate.json"))) == 2


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"benchmarks": ["nowhere"]}, "expected one of"),
        ({"methods": ["nobody"]}, "expected some of"),
        ({"method_folders": ["nowhere"]}, "a folder that holds folders of methods"),
        ({"keep": "some"}, "config.schema.yaml"),
        ({"surplus": 1}, "config.schema.yaml"),
    ],
)
def test_a_wrong_config_is_refused_in_words(checkout, change, expected):
    checkout.configure(**change)
    output = checkout.snakemake("-n", ok=False)
    assert expected in output and "Traceback" not in output
