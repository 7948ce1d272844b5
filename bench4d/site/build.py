"""`build_site`: a folder of results becomes a folder of pages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from ..benchmark import Benchmark
from ..method import Method
from ..metric import Metric
from .assets import make_asset
from .clip_data import Entry, Shown, clip_data, entries_of, values_of
from .films import Film, Pictures, make_film
from .numbers import grouped_rows, numbers_data
from .pages import make_pages
from .run import Run, read_run
from .table_data import table_data
from .writing import slug, write_data, write_text

STATIC = Path(__file__).with_name("static")


def build_site(
    results: Path,
    benchmark: Benchmark,
    methods: Sequence[Method],
    metrics: Mapping[str, Metric],
    out: Path | None = None,
    skipped: Mapping[str, str] | None = None,
    workers: int | None = None,
) -> Path:
    """Write the site of `results` (a folder with scores.parquet); returns its index.html.

    Films and assets that are there already are not made again; whatever an earlier build left and this one does not
    need is removed.

    Args:
        out: the site's folder (default: `results`/site).
        skipped: methods that were not run, and why.
        workers: films and assets that are made at once (default: all cores).
    """
    run = read_run(results, benchmark, methods, metrics, skipped or {})
    site = out or results / "site"
    index = site / "index.html"
    index.unlink(missing_ok=True)  # while it is there, the site is whole
    kept = _copy_static(site)
    shown = _make_media(run, site, workers or len(os.sched_getaffinity(0)))
    names = ["table"]
    values, by_method = values_of(run), grouped_rows(run)
    posters: dict[str, str | None] = {}
    for k, clip in enumerate(benchmark.clips):
        own = shown[clip]
        films = own[""].films or next((one.films for one in own.values() if one.films), {})
        posters[clip] = next((film.poster for film in films.values()), None)
        write_data(site, f"clips/{k}", clip_data(run, k, values, own))
        names.append(f"clips/{k}")
    for k in range(len(run.lines)):
        write_data(site, f"numbers/{k}", numbers_data(run, k, by_method))
        names.append(f"numbers/{k}")
    write_data(site, "table", table_data(run, posters))
    kept |= {Path("data", f"{name}.js") for name in names} | _media_files(shown)
    pages = make_pages(run)
    for name, text in pages.items():
        if name != "index.html":
            write_text(site / name, text)
    _sweep(site, kept | {Path(name) for name in pages})
    write_text(index, pages["index.html"])
    return index


def _copy_static(site: Path) -> set[Path]:
    files = sorted(path for path in STATIC.rglob("*") if path.is_file()) if STATIC.is_dir() else []
    for path in files:
        target = site / "static" / path.relative_to(STATIC)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.is_file() or target.read_bytes() != path.read_bytes():
            shutil.copyfile(path, target)
    return {Path("static") / path.relative_to(STATIC) for path in files}


def _make_media(run: Run, site: Path, workers: int) -> dict[str, dict[str, Shown]]:
    """Clip -> entry's key ("" for the truth) -> what was made."""
    found = {clip: {key: Shown() for key in ("", *(e.key for e in entries_of(run)))} for clip in run.benchmark.clips}
    with ThreadPoolExecutor(
        workers
    ) as pool:  # the work is done by ffmpeg, Pillow, NumPy and zlib, beside Python's lock
        films = {
            (clip, view): pool.submit(_films, run, site, clip, view)
            for clip in run.benchmark.clips
            for view in run.benchmark.views
        }
        assets = {clip: pool.submit(_assets, run, site, k, clip) for k, clip in enumerate(run.benchmark.clips)}
        for (clip, view), job in films.items():
            for key, (film, error) in job.result().items():
                found[clip][key].films.update({view: film} if film else {})
                found[clip][key].errors.update({view: error} if error else {})
        for clip, assets_job in assets.items():
            for key, (asset, note) in assets_job.result().items():
                found[clip][key] = replace(found[clip][key], asset=asset, asset_note=note)
    return found


def _who(run: Run, entry: Entry) -> str:
    return f"{run.names[entry.method]}-s{entry.seed}"


def _films(run: Run, site: Path, clip: str, view: str) -> dict[str, tuple[Film | None, Film | None]]:
    """Of one view, key -> (film, film of differences): what is compared with the truth finds it decoded."""
    stem, fps, count = f"media/{slug(clip)}", run.benchmark.data["fps"], len(run.benchmark.times)
    truth = Pictures(run.truth(clip) / "frames" / view / "rgb", count)
    found: dict[str, tuple[Film | None, Film | None]] = {}
    found[""] = (make_film(site, f"{stem}/truth-{view}", truth, fps), None)
    for entry in entries_of(run):
        if place := run.place(entry.method, entry.seed, clip):
            own, name = Pictures(place / "frames" / view / "rgb", count), f"{stem}/{_who(run, entry)}-{view}"
            error = make_film(site, f"{name}-error", own, fps, truth)
            found[entry.key] = (make_film(site, name, own, fps), error)
    return found


def _assets(run: Run, site: Path, k: int, clip: str) -> dict[str, tuple[str | None, str]]:
    """Of one clip, key -> (name, note)."""
    found = {"": make_asset(run, site, f"assets/{k}-truth", run.truth(clip), aligned=False)}
    for entry in entries_of(run):
        place = run.place(entry.method, entry.seed, clip)
        found[entry.key] = (None, "no files of this clip were kept")
        if place:
            found[entry.key] = make_asset(run, site, f"assets/{k}-{_who(run, entry)}", place, aligned=True)
    return found


def _media_files(shown: Mapping[str, Mapping[str, Shown]]) -> set[Path]:
    every = [one for clip in shown.values() for one in clip.values()]
    films = [film for one in every for film in (*one.films.values(), *one.errors.values())]
    assets = {Path("data", f"{one.asset}.js") for one in every if one.asset}
    return {Path(path) for film in films for path in (film.video, film.poster)} | assets


def _sweep(site: Path, kept: set[Path]) -> None:
    """Remove what an earlier build left: only in folders that are ours."""
    for top in ("data", "media", "methods", "metrics", "static"):
        for path in sorted((site / top).rglob("*"), reverse=True):
            if path.is_file() and path.relative_to(site) not in kept:
                path.unlink()
            elif path.is_dir() and not any(path.iterdir()):
                path.rmdir()
