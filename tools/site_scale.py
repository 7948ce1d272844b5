"""How large the results site becomes and how long it takes: synthetic copies of a run, many methods and clips.

    python tools/site_scale.py results/synth4d --methods 20 --clips 21 --out scaled

Clips and methods of the run are repeated under other names (hard links, no copies); every copy's rows are shifted a
little, so that intervals and tests have something to do, and its pictures are other files for the site. `--splats`
packs Gaussian sequences of that many splats instead, and says how large and slow one is.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd
import yaml

from bench4d.asset import Asset4D, Gaussians
from bench4d.asset_io import write_asset
from bench4d.benchmark import Benchmark, find_benchmark
from bench4d.files import read_json, write_json
from bench4d.render import composite, render_gaussians
from bench4d.results import FRAME_ROW, ROW, read_rows, write_rows
from bench4d.site import build_site
from bench4d.site.assets import make_asset
from bench4d.site.gaussian_assets import gaussians_of
from bench4d.site.packing import read_packed
from bench4d.site.run import read_run
from bench4d.submission import methods_of
from metrics import METRICS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="results/<benchmark> of a finished run")
    parser.add_argument("--methods", type=int, default=20)
    parser.add_argument("--clips", type=int, default=21)
    parser.add_argument("--out", type=Path, help="keep the scaled results and their site here")
    parser.add_argument("--splats", type=int, help="pack sequences of this many splats")
    parser.add_argument("--frames", type=int, default=32, help="of --splats")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.out or Path(scratch)
        if options.splats:
            pack_splats(options.results, folder, options.splats, options.frames)
        else:
            scale(options.results, folder, options.methods, options.clips)


def scale(source: Path, folder: Path, methods: int, clips: int) -> None:
    rows, frames = read_rows(source / "scores.parquet", ROW), read_rows(source / "frames.parquet", FRAME_ROW)
    benchmark = find_benchmark(rows["benchmark"].iloc[0])
    own = methods_of(rows, source)[0]
    clip_of = {
        f"{benchmark.clips[k % len(benchmark.clips)]}-copy{k}": benchmark.clips[k % len(benchmark.clips)]
        for k in range(clips)
    }
    ranked = [m for m in own if m.kind != "reference"]
    copies = [replace(ranked[k % len(ranked)], id=f"{ranked[k % len(ranked)].id}-copy{k}") for k in range(methods)]
    method_of = {copy.id: ranked[k % len(ranked)].id for k, copy in enumerate(copies)}
    bigger = scaled_benchmark(benchmark, folder, clip_of)
    for name, old in {"truth": "truth", **{copy: f"{old}/seed0" for copy, old in method_of.items()}}.items():
        for clip, before in clip_of.items():
            target = folder / name / ("" if name == "truth" else "seed0") / clip
            if not target.exists():
                shutil.copytree(source / old / before, target, copy_function=os.link)
                differ(target, f"{name} {clip}")
    write_rows(folder / "scores.parquet", copied(rows, method_of, clip_of, bigger, shift=True))
    write_rows(folder / "frames.parquet", copied(frames, method_of, clip_of, bigger, shift=False))
    for what in ("first build", "second build"):
        began, used = time.perf_counter(), cpu_seconds()
        site = build_site(folder, bigger, copies, METRICS).parent
        print(f"{what}: {time.perf_counter() - began:.1f} s, {cpu_seconds() - used:.1f} s of all cores together")
    tell(site)


def cpu_seconds() -> float:
    """Of this process and of the encoders it has started."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def scaled_benchmark(benchmark: Benchmark, folder: Path, clip_of: dict[str, str]) -> Benchmark:
    data = benchmark.data | {"id": "scaled", "title": "Scaled copies", "clips": [{"id": clip} for clip in clip_of]}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "protocol.yaml").write_text(yaml.safe_dump(data), "utf-8")
    return Benchmark.read(folder / "protocol.yaml")


def differ(folder: Path, text: str) -> None:
    """Bytes behind the end of every PNG: the same picture for a reader, another file for the site."""
    for path in folder.glob("frames/*/rgb/0000.png"):
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content + text.encode())
    path = folder / "aligned.json"
    if path.is_file():
        aligned = read_json(path) | {"asset_sha256": hashlib.sha256(text.encode()).hexdigest()}
        path.unlink()
        write_json(path, aligned)


def copied(
    table: pd.DataFrame, method_of: dict[str, str], clip_of: dict[str, str], benchmark: Benchmark, shift: bool
) -> pd.DataFrame:
    random, parts = np.random.default_rng(0), []
    by_pair = dict(list(table.groupby(["method", "clip"])))
    for method, old in method_of.items():
        for clip, before in clip_of.items():
            part = by_pair[old, before].assign(method=method, clip=clip, benchmark=benchmark.id)
            if shift:
                part = part.assign(object=clip, protocol=benchmark.protocol_sha256)
                part["value"] *= random.normal(1, 0.05)
            parts.append(part)
    return pd.concat(parts, ignore_index=True)


def tell(site: Path) -> None:
    sizes: dict[str, list[int]] = {}
    for path in site.rglob("*"):
        if path.is_file():
            first = path.relative_to(site).parts
            kind = "assets" if "assets" in first else path.suffix
            sizes.setdefault(kind, []).append(path.stat().st_size)
    for kind, each in sorted(sizes.items(), key=lambda item: -sum(item[1])):
        print(f"{kind:8} {len(each):6} files {sum(each) / 1e6:9.1f} MB, largest {max(each) / 1e6:.2f} MB")
    print(f"{'all':8} {sum(map(len, sizes.values())):6} files {sum(map(sum, sizes.values())) / 1e6:9.1f} MB")


def pack_splats(source: Path, folder: Path, count: int, frames: int) -> None:
    """Splats near a surface, others at every time, as a network makes them that decodes each frame alone."""
    rows = read_rows(source / "scores.parquet", ROW)
    benchmark = find_benchmark(rows["benchmark"].iloc[0])
    benchmark = replace(benchmark, data=benchmark.data | {"n_frames": frames})
    run = replace(read_run(source, benchmark, methods_of(rows, source)[0], METRICS, {}), benchmark=benchmark)
    place = folder / "splats"
    asset = Asset4D("gaussians", benchmark.times, [splats(count, k) for k in range(frames)])
    write_asset(asset, place / "asset")
    write_json(place / "aligned.json", {"status": "ok", "reason": "", "matrix": np.eye(4).tolist()})
    began = time.perf_counter()
    name, _ = make_asset(run, folder, "assets/splats", place, aligned=True)
    took, path = time.perf_counter() - began, folder / "data" / f"{name}.js"
    data = read_packed(path)
    pictures = [
        composite(render_gaussians(one, benchmark.cameras), (1, 1, 1))[0] / 255
        for one in (gaussians_of(data, 0), splats(count, 0))
    ]
    psnr = -10 * np.log10(((pictures[0] - pictures[1]) ** 2).mean(axis=(1, 2, 3)))
    note = f"{data['note']}; frame 0 looks the same within {psnr.min():.1f} dB PSNR"
    print(f"{count} splats x {frames} frames: {path.stat().st_size / 1e6:.2f} MB in {took:.1f} s {note}")


def splats(count: int, seed: int) -> Gaussians:
    random = np.random.default_rng(seed)
    points = random.normal(size=(count, 3))
    points *= (0.35 + 0.1 * np.sin(5 * points[:, :1]) + 0.003 * random.normal(size=(count, 1))) / np.linalg.norm(
        points, axis=1, keepdims=True
    )
    colors = (0.5 + 0.4 * np.sin(9 * points) + 0.02 * random.normal(size=(count, 3)) - 0.5) / 0.28209479177387814
    scales = np.exp(random.normal(-5.2, 0.4, (count, 3)))
    arrays = (points, scales, random.normal(size=(count, 4)), random.beta(2, 1, count), colors[:, None])
    return Gaussians(*(array.astype(np.float32) for array in arrays), 0.1, True)


if __name__ == "__main__":
    main()
