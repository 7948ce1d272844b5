"""Figures for papers: pictures pixel for pixel, numbers of the table, text that stays text, the same bytes twice."""

import io
import re
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from bench4d.cli import main
from bench4d.errors import FormatError
from bench4d.figures import drawing, plots, strips
from bench4d.figures.differences import draw_differences, make_differences
from bench4d.figures.plots import caption, draw_panels, make_panels, title_of
from bench4d.figures.strips import INPUT, TRUTH, Inset, draw_strip, make_strip, moments_of
from bench4d.results import ROW, frame_of, write_rows
from bench4d.stats import bootstrap_mean
from metrics import METRICS
from tests.toy_results import SIZE
from tests.toy_study import toy_run
from tests.unit.test_tables import benchmark, method, rows

__all__ = ["benchmark"]  # a fixture

NAMES = ("a$b$_c", "office")  # no formula, and no ligature


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return toy_run(tmp_path_factory.mktemp("toy"), NAMES)


def strip_of(run, clips=("one",), views=("left", "right"), frames=(0, 3), **options):
    return make_strip(run, NAMES, moments_of(run, clips, views, frames), **options)


def find(page, picture):
    """Where a picture lies in the page, as (row, column); exactly once."""
    (h, w), found = picture.shape[:2], []
    for y, x in np.argwhere((page[: -h + 1, : -w + 1] == picture[0, 0]).all(axis=-1)):
        if np.array_equal(page[y : y + h, x : x + w], picture):
            found.append((int(y), int(x)))
    assert len(found) == 1, found
    return found[0]


def read_png(path):
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.mark.parametrize("methods_in", ["columns", "rows"])
def test_pictures_are_the_frames_pixel_for_pixel_in_their_places(run, tmp_path, methods_in):
    strip = strip_of(run)
    assert strip.sources == (INPUT, TRUTH, *NAMES)
    draw_strip(strip, tmp_path / "s.png", methods_in=methods_in)
    page = read_png(tmp_path / "s.png")
    places = {}
    for source in strip.sources[1:]:
        for m, moment in enumerate(strip.moments):
            read = run.of_truth if source == TRUTH else lambda c, v: run.of_method(source, c, v)  # noqa: B023
            places[source, m] = find(page, read(moment.clip, moment.view)[moment.frame])
    along = 1 if methods_in == "columns" else 0
    sources = [[places[source, m][along] for source in strip.sources[1:]] for m in range(4)]
    moments = [[places[source, m][1 - along] for m in range(4)] for source in strip.sources[1:]]
    assert all(line == sources[0] == sorted(line) for line in sources)
    assert all(line == moments[0] == sorted(line) for line in moments)
    gaps = np.diff(moments[0]) - SIZE
    assert gaps[1] > gaps[0] == gaps[2] >= 0  # wider between views


def test_the_input_comes_first_and_is_of_the_same_time(run):
    strip = strip_of(run)
    small = run.of_input("one")[3]
    assert strip.cells[INPUT][1].shape == (SIZE, SIZE, 3) != small.shape
    resized = np.asarray(Image.fromarray(small).resize((SIZE, SIZE), Image.Resampling.LANCZOS))
    assert np.array_equal(strip.cells[INPUT][1], resized)
    assert strip.times == ("0.00 s", "0.38 s") * 2
    assert strip.groups == ("view 90°",) * 2 + ("view 180°",) * 2
    assert strip_of(run, clips=("one", "two")).groups[0] == "one, view 90°"


def streams(path):
    content = path.read_bytes()
    for match in re.finditer(rb"<<[^\0]*?>>\s*stream\r?\n", content):
        head = match.group().rpartition(b" obj")[2]
        if b"FlateDecode" in head:
            yield head, zlib.decompressobj().decompress(content[match.end() :])


def texts(path):
    """What stands between BT and ET, letter by letter: two bytes each, with kerning between them."""
    page = next(data for _, data in streams(path) if b"BT" in data and b"TJ" in data)
    found = []
    for block in re.findall(rb"\nBT\n(.*?)\nET\n", page, re.DOTALL):
        letters = b"".join(re.findall(rb"\(((?:[^()\\]|\\.)*)\)", block, re.DOTALL))
        found.append(re.sub(rb"\\(.)", rb"\1", letters).decode("utf-16-be"))
    return found


def test_a_pdf_has_lossless_pictures_and_text_as_text(run, tmp_path):
    strip = strip_of(run)
    draw_strip(strip, tmp_path / "s.pdf")
    content = (tmp_path / "s.pdf").read_bytes()
    assert b"/FontFile2" in content  # TrueType, not outlines (type 3)
    assert b"/Type3" not in content
    parts = list(streams(tmp_path / "s.pdf"))
    assert {INPUT, TRUTH, *NAMES, *strip.times, *strip.groups} <= set(texts(tmp_path / "s.pdf"))
    images = [(head, data) for head, data in parts if b"/Image" in head]
    wanted = {cell.tobytes() for line in strip.cells.values() for cell in line}
    assert len(images) == 4 * len(strip.moments)
    assert {pixels(head, data).tobytes() for head, data in images} == wanted


def pixels(head, data):
    """An image stream with PNG's predictors is the inside of a PNG file. PDF counts rows from below: turned here."""
    assert b"/Predictor 10 /Colors 3" in head
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", SIZE, SIZE, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(data)),
        (b"IEND", b""),
    )
    chunks = [struct.pack(">I", len(d)) + name + d + struct.pack(">I", zlib.crc32(name + d)) for name, d in parts]
    return np.asarray(Image.open(io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))))[::-1]


def test_files_come_out_the_same_twice(run, tmp_path):
    for name in ("first", "second"):
        written = draw_strip(strip_of(run), tmp_path / name)
        assert [path.name for path in written] == [f"{name}.pdf", f"{name}.png"]
    for suffix in ("pdf", "png"):
        assert (tmp_path / f"first.{suffix}").read_bytes() == (tmp_path / f"second.{suffix}").read_bytes()


def test_a_failed_clip_is_shown_as_failed(tmp_path):
    run = toy_run(tmp_path, NAMES)
    record = run.place("office", "one") / "frames" / "render.json"
    record.write_text(record.read_text().replace('"ok"', '"failed"').replace('"reason": ""', '"reason": "it broke"'))
    strip = strip_of(run)
    assert strip.cells["office"] == ["it broke"] * 4
    draw_strip(strip, tmp_path / "s.pdf")
    assert texts(tmp_path / "s.pdf").count("failed") == 4


def square(run, corner, side):
    """A run in which only a square is seen, elsewhere for each source."""
    background = np.array([255, 128, 0], np.uint8)

    def film(_, source, clip, view):
        frames = np.broadcast_to(background, (5, SIZE, SIZE, 3)).copy()
        y, x = corner[clip][source]
        frames[:, y : y + side, x : x + side] = 7
        return frames

    return film


def test_crops_show_all_that_any_method_shows_at_one_size(run, monkeypatch):
    sources = (INPUT, TRUTH, *NAMES)
    at = {
        "one": dict(zip(sources, [(4, 5), (4, 6), (8, 5), (6, 10)], strict=True)),
        "two": dict.fromkeys(sources, (25, 28)),
    }
    monkeypatch.setattr(strips, "_film", square(run, at, 4))
    strip = strip_of(run, clips=("one", "two"), views=("left",), crop=True)
    width, height = strip.size
    assert (width, height) == (9 + 2, 8 + 2)  # columns 5 to 14, rows 4 to 12; margins of 6 % of 9, rounded up
    for source in sources:
        for cell, moment in zip(strip.cells[source], strip.moments, strict=True):
            assert cell.shape == (height, width, 3)
            assert (cell == 7).all(axis=-1).sum() == 16, (source, moment)


def test_insets_are_the_square_enlarged(run, tmp_path):
    strip = strip_of(run, views=("left",), frames=(0,))
    inset = Inset(0.25, 0.5, 0.25)
    draw_strip(strip, tmp_path / "s.png", insets=[inset])
    draw_strip(strip, tmp_path / "plain.png")
    page, plain = read_png(tmp_path / "s.png"), read_png(tmp_path / "plain.png")
    assert page.shape[0] - plain.shape[0] == SIZE + round(0.02 * SIZE)
    cell = strip.cells["office"][0]
    enlarged = cell[16:24, 8:16].repeat(4, axis=0).repeat(4, axis=1)
    below = page[-SIZE:, -SIZE:]
    inner = (slice(3, -3), slice(3, -3))  # the frame is drawn over the edge
    assert np.array_equal(below[inner], enlarged[inner])


@pytest.mark.parametrize("wrong", [(0.9, 0, 0.2), (0, -0.1, 0.2), (0, 0, 0), (0, 0, 0.6), (float("nan"), 0, 0.2)])
def test_insets_outside_are_refused(wrong):
    with pytest.raises(FormatError, match="--inset"):
        Inset(*wrong)


def test_frames_that_are_not_there_are_refused(run):
    with pytest.raises(FormatError, match="0 to 4"):
        moments_of(run, ["one"], ["left"], [0, 5])


PSNR = {"good": [30.0, 31, 32, 33], "bad": [20.0, 25, 21, 22], "ground_truth": [100.0] * 4, "bound": [35.0] * 4}


@pytest.fixture
def panels(benchmark, tmp_path):
    methods = [
        method(tmp_path, name, "reference" if name in ("ground_truth", "bound") else "generator") for name in PSNR
    ]
    parts = [
        rows(name, psnr, [1 / p for p in psnr], failed=("c",) if name == "bad" else ()) for name, psnr in PSNR.items()
    ]
    return make_panels(frame_of([row for part in parts for row in part], ROW), benchmark, methods, METRICS)


def test_plots_show_the_tables_numbers(panels):
    assert [row.method.id for row in panels.rows] == ["good", "bad", "bound"]
    assert [panel.title for panel in panels.panels] == [
        "psnr, novel views (dB) ↑",
        "psnr, input view (dB) ↑",
        "chamfer ↓",
    ]
    good, bad = panels.panels[1].objects[:2]
    assert np.array_equal(good, PSNR["good"])
    assert np.array_equal(bad, [20, 25, 22])
    assert panels.panels[1].cells[0].interval == bootstrap_mean(np.array(PSNR["good"]))
    assert "n = 3 to 4 objects" in caption(panels)


def test_dots_and_lines_lie_where_the_numbers_are(panels, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "save", lambda figure, out, dpi: drawn.append(figure) or [])
    draw_panels(panels, tmp_path / "m.png")
    axes = drawn[0].axes[1]
    means = {
        float(line.get_ydata()[0]): float(line.get_xdata()[0]) for line in axes.lines if line.get_markersize() == 4.5
    }
    expected = bootstrap_mean(np.array([20.0, 25, 22]))
    assert means == {0.0: 31.5, 1.0: expected.mean, 2.0: 35.0}
    spans = [part.get_segments()[0] for part in axes.collections]
    assert [tuple(x for x, _ in span) for span in spans][1] == (expected.low, expected.high)
    assert [text.get_text() for text in axes.texts] == ["3/4"]
    low, high = axes.get_xlim()
    assert low < 20 < 35 < high
    assert axes.get_ylim() == (2.5, -0.5)


def test_columns_without_any_value_are_named_and_not_drawn(benchmark, tmp_path):
    made = rows("good", PSNR["good"], [np.nan] * 4)
    for row in made:
        if row["metric"] == "chamfer":
            row |= {"status": "not-run", "reason": "no geometry"}
    panels = make_panels(frame_of(made, ROW), benchmark, [method(tmp_path, "good")], METRICS)
    assert len(panels.panels) == 2
    assert panels.empty == ("chamfer ↓",)
    assert "chamfer" in caption(panels)


@pytest.fixture
def differences(benchmark, tmp_path):
    """Of two generators and a bound to "good"; "bad" has failed on one object."""
    kinds = {"bad": "generator", "good": "generator", "bound": "reference"}
    methods = [method(tmp_path, name, kind) for name, kind in kinds.items()]
    parts = [rows(name, PSNR[name], [1 / p for p in PSNR[name]], failed=("c",) * (name == "bad")) for name in kinds]
    table = frame_of([row for part in parts for row in part], ROW)
    return make_differences(table, benchmark, methods, METRICS, "good")


def test_differences_are_those_of_the_comparisons_turned_to_one_method(differences, monkeypatch, tmp_path):
    assert differences.methods == ("bad", "bound") and differences.count == 4
    panels = {title_of(panel.column): panel for panel in differences.panels}
    assert list(panels) == ["psnr, novel views (dB) ↑", "psnr, input view (dB) ↑", "chamfer ↓"]
    bad, bound = panels["psnr, input view (dB) ↑"].intervals
    assert bound.mean == 3.5 and bound.low <= 3.5 <= bound.high  # 35 - (30, 31, 32, 33)
    assert bad.low <= bad.mean <= bad.high < 0
    assert panels["chamfer ↓"].intervals[0].mean > 0 and not any(panel.shown[1] for panel in differences.panels)
    drawn = []
    monkeypatch.setattr(plots, "save", lambda figure, out, dpi: drawn.append(figure) or [])
    draw_differences(differences, tmp_path / "d.png")
    dots = [line for line in drawn[0].axes[1].lines if line.get_markersize() == 4.5]
    assert [float(dot.get_xdata()[0]) for dot in dots] == [bad.mean, 3.5]


def test_a_method_without_pairs_has_no_differences(benchmark, tmp_path):
    alone = frame_of(rows("good", PSNR["good"], [0.1] * 4), ROW)
    with pytest.raises(FormatError, match="--against"):
        make_differences(alone, benchmark, [method(tmp_path, "good")], METRICS, "good")


def test_the_commands_write_both_files(run, benchmark, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("bench4d.run_frames.find_benchmark", lambda name: run.benchmark)
    command = ["figure", "strip", str(run.folder), "--crop", "--inset", "0.2,0.2,0.3", "--methods", "office"]
    assert main([*command, "--out", str(tmp_path / "strip")]) == 0
    assert {path.name for path in tmp_path.glob("strip.*")} == {"strip.pdf", "strip.png"}
    monkeypatch.setattr("bench4d.benchmark.find_benchmark", lambda name: replace(benchmark, protocol_sha256="x"))
    (tmp_path / "rows").mkdir()
    parts = [row | {"benchmark": "bench"} for row in rows("good", PSNR["good"], [0.1] * 4)]
    write_rows(tmp_path / "rows" / "scores.parquet", frame_of(parts, ROW))
    assert main(["figure", "metrics", str(tmp_path / "rows"), "--out", str(tmp_path / "m.pdf")]) == 0
    assert (tmp_path / "m.pdf").is_file()
    assert "n = 4 objects" in capsys.readouterr().out
    parts += [row | {"benchmark": "bench"} for row in rows("bad", PSNR["bad"], [0.2] * 4)]
    write_rows(tmp_path / "rows" / "scores.parquet", frame_of(parts, ROW))
    command_2 = ["figure", "differences", str(tmp_path / "rows"), "--out", str(tmp_path / "d")]
    assert main([*command_2, "--against", "good", "--methods", "bad", "--metrics", "psnr"]) == 0
    assert {path.name for path in tmp_path.glob("d.*")} == {"d.pdf", "d.png"}
    assert "Differences to good" in capsys.readouterr().out
    assert main([*command_2, "--against", "nobody"]) == 2
    for wrong in (["--frames", "x"], ["--inset", "1,2"], ["--methods", "nobody"], ["--views", "up"]):
        assert main([*command[:3], *wrong, "--out", str(tmp_path / "no")]) == 2


def test_nobodys_settings_enter_a_figure(tmp_path):
    import matplotlib

    matplotlib.rcParams["font.size"] = 30
    with drawing.settings():
        assert matplotlib.rcParams["font.size"] == drawing.FONT
    assert matplotlib.rcParams["font.size"] == 30
    matplotlib.rcdefaults()
