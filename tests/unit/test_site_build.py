"""The site of a small folder of results: whole, escaped, made again cheaply, and complete where evidence is missing."""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import imageio_ffmpeg
import numpy as np
import pandas as pd
import pytest

from bench4d.cli import main
from bench4d.comparisons import compare
from bench4d.errors import FormatError
from bench4d.files import read_png_sequence
from bench4d.published import read_published
from bench4d.results import FRAME_ROW, ROW, read_rows, write_rows
from bench4d.site import build_site
from bench4d.site.films import error_map
from bench4d.site.run import read_run
from bench4d.video import read_video
from metrics import METRICS
from tests.toy_site import EVIL, FRAMES, HOSTILE, make_results


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(results, benchmark, methods, site)."""
    results, benchmark, methods = make_results(tmp_path_factory.mktemp("toy"))
    index = build_site(results, benchmark, methods, METRICS, skipped={"absent": f"needs a GPU {EVIL}"})
    return results, benchmark, methods, index.parent


@pytest.fixture
def copied(made, tmp_path):
    """The same, to change at will, with a function that builds again."""
    results, benchmark, methods, _ = made
    shutil.copytree(results, tmp_path / "toy")
    return tmp_path / "toy", lambda: build_site(tmp_path / "toy", benchmark, methods, METRICS).parent


def data_of(site: Path, name: str):
    text = (site / "data" / f"{name}.js").read_text("utf-8")
    assert text.startswith(f'BENCH4D.put("{name}",') and text.endswith(");\n")
    return json.loads(text[text.index(",") + 1 : text.rindex(")")])


class Page(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_no_word_of_a_method_becomes_markup_script_or_a_link_to_one(made):
    site = made[3]
    pages = list(site.rglob("*.html"))
    assert len(pages) > 12
    for path in pages:
        page = Page(path)
        tags = [tag for tag, _ in page.elements]
        assert tags.count("script") == 1 and "img" not in tags and "iframe" not in tags, path
        for tag, attributes in page.elements:
            assert not any(name.startswith("on") for name in attributes), (path, tag)
            for name in ("href", "src"):
                assert urlsplit(attributes.get(name) or "").scheme in ("", "https", "http", "data"), (path, attributes)


def test_data_are_scripts_that_hold_no_markup_and_no_number_that_json_lacks(made):
    paths = [path for path in (made[3] / "data").rglob("*.js") if "assets" not in path.parts]
    assert len(paths) == 1 + 2 + 4
    for path in paths:
        text = path.read_text("utf-8")
        assert "<" not in text and "\u2028" not in text and "NaN" not in text and text.count("\n") == 1
        assert EVIL in json.dumps(data_of(made[3], path.relative_to(made[3] / "data").with_suffix("").as_posix()))


def test_every_link_leads_to_a_file_and_names_what_is_there(made):
    site, clips = made[3], made[1].clips
    methods = {method.id for method in made[2]}
    for path in site.rglob("*.html"):
        for _, attributes in Page(path).elements:
            for target in filter(None, (attributes.get("href"), attributes.get("src"))):
                parts = urlsplit(target)
                if parts.scheme or not parts.path:
                    continue
                assert (path.parent / unquote(parts.path)).is_file(), (path, target)
                asked = parse_qs(parts.query)
                assert set(asked.get("clip", [])) <= set(clips) and set(asked.get("method", [])) <= methods


def test_a_hostile_method_has_a_page_and_a_row_like_others(made):
    site = made[3]
    table = data_of(site, "table")
    row = next(m for m in table["methods"] if m["id"] == HOSTILE)
    assert row["page"].removeprefix("methods/").replace("-", "").replace(".html", "").isalnum()
    assert HOSTILE in Page(site / row["page"]).text
    assert row["contaminated"] == ["synth4d-test"] and row["status"] == "not-reproducing"
    assert data_of(site, row["data"])["method"] == HOSTILE


def test_failures_and_missing_values_are_told(made):
    site = made[3]
    table = data_of(site, "table")
    cell = table["cells"]["splats"]["psnr[novel]"]
    assert (cell["n"], cell["of"], cell["failed"]) == (1, 2, 1)
    empty = table["cells"]["splats"]["chamfer"]
    assert empty["value"] is None and any(EVIL in reason for reason in empty["reasons"])
    splats = next(m for m in data_of(site, "clips/1")["methods"] if m["id"] == "splats")
    assert splats["status"] == "failed" and EVIL in splats["reason"] and splats["videos"] == {} and not splats["asset"]
    assert any(EVIL in line for line in table["failures"])
    variants = [m["id"] for m in table["metrics"] if not m["in_table"]]
    masked = ["psnr-masked[novel]", "psnr-masked[input]"]
    assert set(variants) == {*masked, "silhouette-iou[input]", "lpips-vgg[input]"}


def test_numbers_in_print_stand_apart_by_protocol(made):
    (block,) = data_of(made[3], "table")["published"]
    numbers = [r for r in read_published() if r.protocol == "consistent4d-v1" and r.metric == "LPIPS"]
    printed = {(r.method, r.value) for r in numbers}
    assert block["protocol"].startswith("consistent4d-v1 on Consistent4D-7") and block["rows"]
    for row in block["rows"]:
        assert set(row["values"]) == {"lpips-vgg[novel]"}
        assert (row["method"], float(row["values"]["lpips-vgg[novel]"].rstrip("?"))) in printed
    assert not {row["method"] for row in block["rows"]} & set(data_of(made[3], "table")["cells"])


def test_the_numbers_of_a_cell_are_the_rows_it_is_the_mean_of(made):
    site = made[3]
    table = data_of(site, "table")
    name, data = next((m["id"], m["data"]) for m in table["methods"] if m["id"] == "mesh")
    numbers = data_of(site, data)
    rows = numbers["rows"]["psnr[novel]"]
    by_object = {}
    for row in rows:
        by_object.setdefault(row["object"], []).append(row["value"])
    mean = np.mean([np.mean(values) for values in by_object.values()])
    assert table["cells"][name]["psnr[novel]"]["value"] == pytest.approx(mean)
    made_of = {entry["clip"]: entry for entry in numbers["made"]}
    assert made_of["clip-0"]["asset_sha256"] == "2" * 64 and made_of["clip-0"]["wall_s"] > 1
    assert numbers["columns"]["chamfer"]["stride"] == 2


def test_frames_of_the_clip_page_are_those_of_the_rows(made):
    clip = data_of(made[3], "clips/0")
    mesh = next(m for m in clip["methods"] if m["id"] == "mesh")
    assert [v is None for v in mesh["frames"]["chamfer"][""]] == [False, True] * 3
    curve = mesh["frames"]["psnr"]["az090"]
    assert len(curve) == FRAMES and np.allclose(np.diff(curve), 0.1, atol=1e-3)


def test_films_show_the_pictures_and_can_be_cut_at_any_frame(made):
    results, _, _, site = made
    clip = data_of(site, "clips/0")
    mesh = next(m for m in clip["methods"] if m["id"] == "mesh")
    shown = read_video(site / mesh["videos"]["az090"]).frames
    truth = read_png_sequence(results / "mesh/seed0/clip-0/frames/az090/rgb", FRAMES, 3)
    assert np.abs(shown.astype(int) - truth).mean() < 3  # of 255: colours are right, edges are soft
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-skip_frame", "nokey", "-i"]
    command += [str(site / mesh["videos"]["az090"]), "-f", "framecrc", "-"]
    keys = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert sum(not line.startswith("#") for line in keys.splitlines()) == FRAMES


def test_difference_films_are_dark_where_pictures_agree_and_light_where_not(made):
    site = made[3]
    clip = data_of(site, "clips/0")
    mesh = next(m for m in clip["methods"] if m["id"] == "mesh")
    shown = read_video(site / mesh["error"]["input"]).frames
    assert shown[:, 0, 0].mean() < 30 and shown.max() > 120
    a, b = np.zeros((1, 2, 2, 3), np.uint8), np.full((1, 2, 2, 3), 64, np.uint8)
    assert (error_map(a, b) == error_map(b, a)).all() and (error_map(a, b) != error_map(a, a)).any()
    with pytest.raises(FormatError, match="size"):
        error_map(a, b[:, :1])


def test_a_second_build_changes_no_file_and_a_new_picture_one_film_of_each_kind(copied):
    results, build = copied
    site = build()
    before = {path: path.stat().st_mtime_ns for path in site.rglob("*") if path.is_file()}
    build()
    after = {path: path.stat().st_mtime_ns for path in site.rglob("*") if path.is_file()}
    assert {path for path in after if after[path] != before[path]} == {site / "index.html"} and set(after) == set(
        before
    )
    picture = results / "mesh/seed0/clip-0/frames/input/rgb/0003.png"
    shutil.copy(results / "mesh/seed0/clip-0/frames/input/rgb/0001.png", picture)
    build()
    films = set(site.rglob("*.mp4"))
    gone, new = {p for p in before if p.suffix == ".mp4"} - films, films - set(before)
    assert len(gone) == len(new) == 2
    assert {p.name.rpartition("-")[0] for p in gone} == {"mesh-s0-input", "mesh-s0-input-error"}


def test_methods_of_one_name_are_told_apart(made):
    results, benchmark, methods, _ = made
    data = {"kind": "generator", "trained_on": [], "parameters": {}, "weights": [], "name": "Twin"}
    twins = [replace(m, data=data) if m.id in ("mesh", "splats") else m for m in methods]
    titles = read_run(results, benchmark, twins, METRICS, {}).titles
    assert (titles["mesh"], titles["splats"], titles["oracle"]) == ("Twin (mesh)", "Twin (splats)", "Oracle")


def test_seeds_are_entries_of_their_own(copied):
    results, build = copied
    shutil.rmtree(results / "site")
    shutil.copytree(results / "mesh/seed0", results / "mesh/seed1")
    for name, schema in (("scores", ROW), ("frames", FRAME_ROW)):
        rows = read_rows(results / f"{name}.parquet", schema)
        more = rows[rows["method"] == "mesh"].assign(seed=1)
        more["value"] += 1
        write_rows(results / f"{name}.parquet", pd.concat([rows, more], ignore_index=True))
    site = build()
    clip, table = data_of(site, "clips/0"), data_of(site, "table")
    mesh = {m["key"]: m for m in clip["methods"] if m["id"] == "mesh"}
    assert [m["title"] for m in mesh.values()] == ["Mesh, seed 0", "Mesh, seed 1"]
    first, second = mesh.values()
    assert second["cells"]["psnr[novel]"] == pytest.approx(first["cells"]["psnr[novel]"] + 1, abs=1e-4)
    assert second["frames"]["psnr"]["input"][0] == pytest.approx(first["frames"]["psnr"]["input"][0] + 1, abs=1e-4)
    row = next(m for m in table["methods"] if m["id"] == "mesh")
    numbers = data_of(site, row["data"])
    assert row["seeds"] == [0, 1] and [(m["seed"], m["clip"]) for m in numbers["made"]][2] == (1, "clip-0")
    values = [r["value"] for r in numbers["rows"]["psnr[novel]"]]
    assert len(values) == 4 and table["cells"]["mesh"]["psnr[novel]"]["value"] == pytest.approx(np.mean(values))


def test_other_files_beside_the_site_stay_and_leftovers_go(copied):
    _, build = copied
    site = build()
    (site / "study.html").write_text("mine")
    (site / "data" / "clips" / "77.js").write_text("old")
    build()
    assert (site / "study.html").is_file() and not (site / "data/clips/77.js").exists()


def test_a_folder_without_pictures_and_assets_has_a_whole_site(copied):
    results, build = copied
    shutil.rmtree(results / "site")
    for folder in [*results.glob("*/*/*/frames"), *results.glob("*/*/*/asset"), *results.glob("truth/*/*")]:
        shutil.rmtree(folder)
    site = build()
    assert not list(site.rglob("*.mp4")) and not list(site.glob("data/assets/*"))
    clip = data_of(site, "clips/0")
    mesh = next(m for m in clip["methods"] if m["id"] == "mesh")
    assert mesh["cells"]["psnr[novel]"] > 0 and "keep" in mesh["pictures_note"] and "keep" in mesh["asset_note"]
    assert data_of(site, "table")["clips"][0]["poster"] is None


def test_broken_pictures_and_assets_cost_themselves_alone(copied):
    results, build = copied
    shutil.rmtree(results / "site")
    folder = results / "mesh/seed0/clip-0"
    (folder / "frames/input/rgb/0002.png").write_bytes(b"no picture")
    (folder / "frames/az090/rgb/0005.png").unlink()
    (folder / "asset/frames.safetensors").write_bytes(b"12345678901234567890")
    (results / "oracle/seed0/clip-0/generate.json").write_text("{")
    clip = data_of(build(), "clips/0")
    shown = {m["id"]: m for m in clip["methods"]}
    assert shown["mesh"]["videos"] == {} and shown["mesh"]["asset"] is None and "asset" in shown["mesh"]["asset_note"]
    assert set(shown["splats"]["videos"]) == set(shown["oracle"]["videos"]) == {"input", "az090"}


def test_statistics_are_those_of_the_comparisons(made):
    results, benchmark, methods, site = made
    pairs = compare(read_rows(results / "scores.parquet", ROW), benchmark, methods, METRICS)
    page = Page(site / "statistics.html")
    assert sum(tag == "section" and "data-column" in attributes for tag, attributes in page.elements) == 7
    assert len(pairs) > 10
    for pair in pairs:
        if pair.n:
            assert f"{pair.difference.mean:.3g} [{pair.difference.low:.3g}, {pair.difference.high:.3g}]" in page.text
    assumed = [a for tag, a in page.elements if tag == "circle" and "assumed" in (a.get("class") or "")]
    assert len(assumed) == 7  # of the method that failed: the second object in 5 columns, both where it has no value


def test_the_command_names_what_it_expects(tmp_path, capsys):
    assert main(["site", str(tmp_path)]) == 2
    assert "scores.parquet" in capsys.readouterr().err


def test_a_site_has_no_path_of_the_machine_that_made_it(made):
    home = os.fsencode(made[0].parents[1])
    assert not [path for path in made[3].rglob("*") if path.is_file() and home in path.read_bytes()]
