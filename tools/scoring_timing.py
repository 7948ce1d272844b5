"""Scoring of many films beside the packages called one after another as evaluation scripts do, and its peak memory.

    python tools/scoring_timing.py > build/scoring-timing.md
    python tools/scoring_timing.py --clips 1 --frames 4 --size 128 --no-memory     a small case

Runs on one GPU, else on the CPU. Networks have random weights, made for the run. Both sides start from the same PNG
files and from loaded, warmed-up networks, and compute the same metrics: one whose package is not here is left out on
both sides, and said. Each row is printed as soon as it is known; progress goes to stderr.

fvd-c4d stands for all metrics of I3D's features: these are what costs time, the distances do not. fvd-i3d has no
package side of its own. silhouette-iou and jitter have no package; other sizes of CLIP would not add a kind of work.
"""

import argparse
import json
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
import yaml

from bench4d.benchmark import Benchmark
from bench4d.features import find_place, weights_of
from bench4d.files import write_json
from bench4d.frames import write_frame
from bench4d.method import ROOT, Method, method_folders
from bench4d.metric_loading import load_metrics
from bench4d.score import score_method
from metrics import METRICS
from tools.random_weights import HALF_WRITERS, write_all
from tools.scoring_packages import Packages, tf32, workers_of

WANTED = ("psnr", "psnr-masked", "ssim", "ssim-masked", "lpips-vgg", "lpips-alex", "clip-vit-b32")
WANTED += ("clip-temporal-vit-b32", "dreamsim-ensemble", "dreamsim-dino-vitb16", "fid-inception", "fvd-c4d")
MEMORY_CLIPS = (7, 70)
VIEWS = 4
Rows = list[dict[str, Any]]


def make_results(folder: Path, ids: list[str], clips: int, distinct: int, frames: int, size: int) -> Benchmark:
    """A protocol, and pictures of `distinct` clips; those beyond are links to the same files."""
    protocol = yaml.safe_load((ROOT / "benchmarks/synth4d/protocol.yaml").read_text())
    names = [f"clip-{k:03d}" for k in range(clips)]
    protocol |= {"id": "timing", "clips": [{"id": name} for name in names], "n_frames": frames, "size": size}
    protocol |= {"geometry": False, "alignment": "none", "table": []}
    protocol["views"] = [
        view | {"group": "input"} for view in protocol["views"]
    ]  # a set: all pictures, as the packages'
    protocol["metrics"] = [{"id": id, "stride": 1} for id in ids]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "protocol.yaml").write_text(yaml.safe_dump(protocol))
    benchmark = Benchmark.read(folder / "protocol.yaml")
    for side, shift in (("truth", 0.0), ("mine/seed0", 0.4)):
        for k, name in enumerate(names):
            place = folder / side / name
            if k >= distinct:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(folder / side / names[k % distinct])
            else:
                write_clip(benchmark, place, k, shift)
    return benchmark


def write_clip(benchmark: Benchmark, place: Path, seed: int, shift: float) -> None:
    common = {"version": 1, "status": "ok", "reason": "", "asset_sha256": f"{seed:064d}"}
    write_json(place / "frames" / "render.json", common)
    write_json(place / "aligned.json", common | {"alignment": "none", "matrix": None})
    write_json(place / "generate.json", common | {"device": ""})
    size = benchmark.data["size"]
    y, x = np.mgrid[:size, :size] / size
    inside = np.hypot(x - 0.5, y - 0.5) < 0.35

    def write(v: int, k: int) -> None:
        phase = 0.2 * k + v + seed + shift
        waves = [127 + 100 * np.sin((20 + 7 * c) * x + (11 + 5 * c) * y + phase + c) for c in range(3)]
        rgb = np.where(inside[..., None], np.stack(waves, -1), 255).astype(np.uint8)
        write_frame(place / "frames", benchmark.views[v], k, rgb, np.where(inside, 255, 0).astype(np.uint8))

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, *zip(*product(range(len(benchmark.views)), range(len(benchmark.times))), strict=True)))


def ours(benchmark: Benchmark, folder: Path, loaded: Any, threads: int) -> Rows:
    """One pass of the scoring engine. Vectors of the truth are kept in `folder`/features."""
    method = Method.read(method_folders()["billboard"])  # any: rows name a method
    rows, _ = score_method(
        benchmark, method, 0, folder / "mine/seed0", folder / "truth", loaded, lambda clip: None, threads
    )
    for row in rows:
        if row["status"] != "ok":  # too few films for a set
            print(f"{row['metric']} ({row['view']}): {row['reason']}", file=sys.stderr)
    return rows


def means(rows: Rows, clips: Collection[str]) -> dict[str, float]:
    """Mean value of every metric over these clips; of a set, over the groups of views."""
    values: dict[str, list[float]] = {}
    for row in rows:
        if row["status"] == "ok" and (row["clip"] in clips or not row["clip"]):
            values.setdefault(row["metric"], []).append(row["value"])
    return {id: float(np.mean(some)) for id, some in values.items()}


def seconds(run: Callable[[], Any]) -> tuple[float, Any]:
    """Wall-clock time, and what `run` returned."""
    began = time.perf_counter()
    found = run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began, found


def say(text: str) -> None:
    print(text, flush=True)


def tell_setting(options: argparse.Namespace, ids: list[str]) -> None:
    allowed = {None: "as PyTorch has it (convolutions yes, matrix products no)", True: "allowed", False: "forbidden"}
    films = options.clips * VIEWS
    say(f"{films} films of {options.frames} frames, {options.size} x {options.size}, on {find_place().name}, PyTorch")
    say(
        f"{torch.__version__}, {torch.get_num_threads()} threads of torch, {options.threads} of ours, "
        f"{workers_of(options.size)} worker processes of pytorch-fid."
    )
    say(f"TF32: never in ours; in the packages {allowed[options.packages_tf32]}.")
    say(f"Metrics: {', '.join(ids)}.\n\n| | s |\n|---|---:|")


def compare(options: argparse.Namespace, folder: Path, ids: list[str], packages: Packages, weights: Any) -> None:
    """Times both sides, ours first: they are the shorter half."""
    form = options.frames, options.size
    benchmark = make_results(folder / "films", ids, options.clips, options.clips, *form)
    small = make_results(folder / "warm", ids, 1, 1, *form) if options.warm else None
    loaded = load_metrics(benchmark, METRICS, weights)
    score = lambda: ours(benchmark, folder / "films", loaded, options.threads)  # noqa: E731
    if small:
        ours(small, folder / "warm", loaded, options.threads)
    tell_setting(options, ids)
    took, rows = [], Rows()
    for _ in range(options.repeats):
        shutil.rmtree(folder / "films/features", ignore_errors=True)
        spent, rows = seconds(score)
        took.append(spent)
        say(f"| ours | {spent:.1f} |")
    with tf32(options.packages_tf32):
        if small:
            packages.films(small, folder / "warm")
            packages.sets(small, folder / "warm", distance=False)
            packages.images(small, folder / "warm", frames=2)
        films, theirs = seconds(lambda: packages.films(benchmark, folder / "films"))
        say(f"| packages, films | {films:.1f} |")
        sets, more = seconds(lambda: packages.sets(benchmark, folder / "films"))
        say(f"| packages, sets of pictures | {sets:.1f} |")
        limit = options.packages_seconds
        pictures, (most, done) = seconds(lambda: packages.images(benchmark, folder / "films", limit=limit))
    share = options.clips / len(done)
    part = "" if share == 1 else f", {len(done)} of {options.clips} clips in {pictures:.1f} s, times {share:.3g}"
    say(f"| packages, pictures{part} | {pictures * share:.1f} |")
    whole, middle = films + sets + pictures * share, statistics.median(took)
    say(f"| packages, together | {whole:.1f} |\n")
    say(f"Ratio: {whole / middle:.2f} (ours: median of {len(took)}).")
    tell_values(means(rows, done), most, means(rows, benchmark.clips), theirs | more)
    again, _ = seconds(score)
    say(f"\nOurs with vectors of the truth in the cache: {again:.1f} s, ratio {whole / again:.2f}.")


def tell_values(
    pictures: dict[str, float], most: dict[str, float], rest: dict[str, float], more: dict[str, float]
) -> None:
    """`pictures`, `most`: ours and the packages' over the same clips; `rest`, `more`: films and sets over all."""
    say("\n| metric | ours | packages | difference |\n|---|---:|---:|---:|")
    for id in pictures | rest:
        mine, theirs = (pictures, most) if id in most else (rest, more)
        if id in mine and id in theirs:
            say(f"| {id} | {mine[id]:.7g} | {theirs[id]:.7g} | {mine[id] - theirs[id]:.1e} |")
        else:
            say(f"| {id} | {rest.get(id, math.nan):.7g} | – | – |")


def child(folder: Path, threads: int) -> None:
    """Peak memory of scoring what lies in `folder`, in a process of its own: JSON on stdout."""
    weights = json.loads((folder / "weights.json").read_text())
    benchmark = Benchmark.read(folder / "protocol.yaml")
    spent, _ = seconds(lambda: ours(benchmark, folder, load_metrics(benchmark, METRICS, weights), threads))
    gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    # Not getrusage: its maximum is handed down from the parent.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(json.dumps({"rss": int(status["VmHWM"].split()[0]) * 1024, "gpu": gpu, "seconds": spent}))


def memory(options: argparse.Namespace, folder: Path, ids: list[str], weights: Any) -> None:
    """Each number of clips in a process of its own; those beyond the seventh show the same pictures again."""
    say(f"\nPeak memory of ours with {options.threads} threads. Metrics: {', '.join(ids)}.")
    say("\n| clips | peak main memory, MB | peak GPU memory, MB | s with loading |\n|---:|---:|---:|---:|")
    for clips in options.memory_clips:
        place = folder / f"memory-{clips}"
        make_results(place, ids, clips, min(clips, MEMORY_CLIPS[0]), options.frames, options.size)
        (place / "weights.json").write_text(json.dumps(weights))
        command = [sys.executable, __file__, "--child", str(place), "--threads", str(options.threads)]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        peak = json.loads(said.splitlines()[-1])
        say(f"| {clips} | {peak['rss'] / 1e6:.0f} | {peak['gpu'] / 1e6:.0f} | {peak['seconds']:.0f} |")


def with_weights(ids: Collection[str], weights: Any, left_out: list[str]) -> list[str]:
    """Those metrics whose weights could be made."""
    kept = [id for id in ids if all("path" in weights[part] for part in weights_of(METRICS[id]))]
    left_out += [f"{id}, on both sides: no weights for it" for id in ids if id not in kept]
    return kept


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=7, help="of four views each (default: 7, so 28 films)")
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--threads", type=int, default=8 if torch.cuda.is_available() else 1)
    parser.add_argument("--metrics", default=",".join(WANTED), help="ids between commas")
    parser.add_argument("--repeats", type=int, default=1, help="of ours; the packages are timed once")
    parser.add_argument(
        "--packages-tf32",
        action=argparse.BooleanOptionalAction,
        help="(default: as PyTorch has it; forbid to compare values)",
    )
    parser.add_argument(
        "--packages-seconds",
        type=float,
        default=math.inf,
        help="the packages begin no other clip's pictures after so long; their time is then scaled, and that is said",
    )
    parser.add_argument(
        "--warm",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="(not for times, only to compare values: --no-warm)",
    )
    parser.add_argument("--time", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--memory", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--memory-clips", type=int, nargs="+", default=list(MEMORY_CLIPS))
    parser.add_argument("--memory-metrics", help="ids between commas (default: those that are timed)")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.metrics = options.metrics.split(",")
    options.memory_metrics = options.memory_metrics.split(",") if options.memory_metrics else None
    for id in options.metrics + (options.memory_metrics or []):
        if id not in METRICS:
            parser.error(f"no metric {id}")
    return options


def main(arguments: list[str] | None = None) -> None:
    options = parsed(arguments)
    if options.child:
        return child(options.child, options.threads)
    left_out: list[str] = []
    with tempfile.TemporaryDirectory(prefix="scoring-timing.") as temporary:
        folder = Path(temporary)
        every = dict.fromkeys(options.metrics + (options.memory_metrics or []))
        wanted = dict.fromkeys(part for id in every for part in weights_of(METRICS[id]))
        (folder / "weights").mkdir()
        weights = write_all(folder / "weights", wanted, HALF_WRITERS)
        left_out += [f"{id}: {entry['reason']}" for id, entry in weights.items() if "reason" in entry]
        ids = with_weights(options.metrics, weights, left_out)
        if options.time or not options.memory_metrics:
            packages = Packages(ids, weights, left_out)
            ids = [id for id in ids if id in packages.parts]
        if options.time:
            compare(options, folder, ids, packages, weights)
        if options.memory:
            memory(options, folder, with_weights(options.memory_metrics or ids, weights, left_out), weights)
    say("\n" + "\n".join(f"Left out: {text}." for text in dict.fromkeys(left_out)))
    return None


if __name__ == "__main__":
    main()
