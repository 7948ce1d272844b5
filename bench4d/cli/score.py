"""`bench4d score`: a folder of results against a benchmark, or against another folder."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench4d.errors import FormatError

if TYPE_CHECKING:
    from bench4d.metric import Metric

NAME, HELP = "score", "score a folder of assets, meshes, renders or videos"
DESCRIPTION = """Score results that were made elsewhere.

Against a benchmark: DIR, or a folder in it, holds in one of these layouts (CLIP, VIEW: ids of the protocol)
    asset         CLIP/asset/asset.json ...                    docs/add-a-method.md
    geometry      CLIP/0000.glb CLIP/0001.glb ... (OBJ, PLY)   one file a frame, in the benchmark's world (z up, input
                                                               camera on -y)
    clip/view     CLIP/VIEW/0000.png ... or CLIP/VIEW.mp4      renders, at the protocol's size and frames: RGBA or RGB
    view/clip     VIEW/CLIP/0000.png ... or VIEW/CLIP.mp4      pictures, rgb/ and alpha/, or films (lossy). Those of the
    clip_view     CLIP_VIEW/0000.png ... or CLIP_VIEW.mp4      input view may be missing altogether
    consistent4d  CLIP/eval_0/0.png ... CLIP/eval_1/0.png ...  renders of the novel views, in the protocol's order

It is guessed and said; where two fit, it stops, and --layout tells it which.

  bench4d score my-results --benchmark synth4d
  bench4d score my-results --benchmark synth4d --name mine --metrics lpips-vgg,psnr --out scores/mine

It makes the truth if the workflow has not, aligns, renders and scores as the workflow does, and prints the table with
DIR's row beside the rows of an earlier `snakemake --cores all`; comparisons.csv has each pair of them. A missing clip
has failed; it is never left out.

Against a folder of the same structure: films, folders of pictures and moving objects are matched by relative path.

  bench4d score renders --truth true-renders --metrics psnr,ssim,lpips-vgg --out scores/pairs

Without --metrics it scores, against a benchmark, what its protocol names; against a folder, all that fit but those of
feature networks and of other people's geometry (cd-3d ...), which are scored when they are named. A metric of a set
has one value for all clips or pairs."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR")
    against = parser.add_mutually_exclusive_group(required=True)
    against.add_argument("--benchmark", metavar="B", help="an id of `bench4d list benchmarks`")
    against.add_argument("--truth", type=Path, metavar="DIR2", help="folder of the same structure")
    parser.add_argument("--metrics", metavar="A,B", help="ids of `bench4d list metrics` (default: see below)")
    parser.add_argument(
        "--precision", choices=("float32", "half"), default="float32", help="of metrics' networks (default: float32)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the scores (default: results/scored/...)")
    one = parser.add_argument_group("against a benchmark")
    one.add_argument("--name", help="of the row (default: DIR's name)")
    one.add_argument("--work", type=Path, metavar="DIR", help="clips, truth and other rows (default: results/B)")
    one.add_argument(
        "--trained-on", metavar="A,B", default="", help="data sets that the method has seen, for the table"
    )
    one.add_argument("--layout", default="", metavar="L", help="how DIR is laid out, see above (default: guessed)")
    one.add_argument("--up", choices=("z", "y"), default="z", help="up axis of OBJ and PLY files (default: z)")
    one.add_argument("--threads", type=int, default=1, metavar="N", help="for rendering (default: 1)")
    one.add_argument("--renderer", choices=("cpu", "cuda"), default="cpu", help="as the truth's (default: cpu)")
    two = parser.add_argument_group("against a folder")
    two.add_argument("--background", choices=("white", "black"), default="white", help="where there is alpha")
    two.add_argument("--fps", type=float, default=8.0, help="of one geometry file a frame (default: 8)")


def run(options: argparse.Namespace) -> int:
    return against_benchmark(options) if options.benchmark else against_folder(options)


def against_benchmark(options: argparse.Namespace) -> int:
    import sys

    from bench4d.benchmark import find_benchmark
    from bench4d.comparisons import compare
    from bench4d.method import ROOT
    from bench4d.scoring_folder import make_truth, score_folder, with_columns
    from bench4d.submission import Submission
    from bench4d.table_formats import to_text, write_comparisons, write_tables
    from bench4d.table_published import groups_of
    from bench4d.tables import make_table
    from metrics import METRICS

    benchmark = find_benchmark(options.benchmark)
    if options.metrics:
        benchmark = with_columns(benchmark, split(options.metrics), METRICS)
    name = options.name or options.folder.resolve().name
    submission = Submission(options.folder, name, tuple(split(options.trained_on)), options.up, options.layout)
    sys.stderr.write(f"bench4d score: taken for {submission.guess(benchmark)}\n")
    work = options.work or ROOT / "results" / benchmark.id
    out = options.out or ROOT / "results" / "scored" / benchmark.id / name
    with progress("truth", len(benchmark.clips)) as tell:
        make_truth(benchmark, work, tell, options.threads, options.renderer)
    weights = fetched(entry["id"] for entry in benchmark.data["metrics"])
    with progress("score", 2 * len(benchmark.clips)) as tell:
        how = options.threads, options.renderer, options.precision
        scored = score_folder(benchmark, submission, work, out, METRICS, weights, tell, *how)
    made = make_table(scored.rows, benchmark, scored.methods, METRICS, {}, groups_of(benchmark))
    write_tables(made, out)
    compared = compare(scored.rows, benchmark, scored.methods, METRICS)
    if compared:
        write_comparisons(compared, out)
    else:  # no other row: what an earlier run may have left is not of these rows
        (out / "comparisons.csv").unlink(missing_ok=True)
    print(to_text(made))
    for note in scored.notes:
        print(note)
    names = "scores.parquet, frames.parquet, " + ("comparisons.csv, " if compared else "")
    sys.stderr.write(f"wrote {out}/{names}table.csv, .md, .tex, .html, .txt\n")
    return 0


def against_folder(options: argparse.Namespace) -> int:
    import sys

    from bench4d.files import atomic
    from bench4d.method import ROOT
    from bench4d.metric_loading import Loader
    from bench4d.results import write_rows
    from bench4d.scoring_pairs import find_items, score_pairs, to_csv, to_text
    from metrics import METRICS

    items = find_items(options.truth)
    has_geometry = any(item.kind == "geometry" for item in items.values())
    fitting = [m for m in METRICS.values() if fits(m, has_geometry)]
    # Not those of features, whose weights are large, or not to be had at once.
    usual = [m.id for m in fitting if m.needs != "features" and not m.named_only]
    chosen = known(split(options.metrics), [m.id for m in fitting]) if options.metrics else usual
    loader = Loader(fetched(chosen), options.precision)
    loaded = [loader.load(METRICS[id]) for id in chosen]
    background = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0)}[options.background]
    with progress("score", len(items)) as tell:
        rows = score_pairs(options.folder, options.truth, loaded, background, options.fps, tell)
    out = options.out or ROOT / "results" / "scored" / "pairs" / options.folder.resolve().name
    write_rows(out / "scores.parquet", rows)
    with atomic(out / "scores.csv") as temporary:
        temporary.write_text(to_csv(rows), "utf-8")
    print(to_text(rows), end="")
    if surplus := sorted(set(find_items(options.folder)) - set(items)):
        print(f"Not compared, since {options.truth} lacks them: {', '.join(surplus)}.")
    sys.stderr.write(f"wrote {out}/scores.parquet and scores.csv\n")
    return 0


def fits(metric: Metric, has_geometry: bool) -> bool:
    """Whether it can be had of two folders: there are no prompts, no records of runs, and no geometry in pictures."""
    if metric.needs == "geometry":
        return has_geometry
    return metric.needs == "frames" or (metric.needs == "features" and metric.against == "truth")


def split(text: str) -> list[str]:
    """Names between commas.

    >>> split("psnr, ssim,")
    ['psnr', 'ssim']
    """
    return [name.strip() for name in text.split(",") if name.strip()]


def known(names: list[str], ids: list[str]) -> list[str]:

    if unknown := [name for name in names if name not in ids]:
        raise FormatError("--metrics", f"ids among {ids}", f"{unknown}", "`bench4d explain ID` tells what one is.")
    return names


def fetched(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Weights of these metrics, as `load_metrics` takes them: the path, or why there is none (also told on stderr)."""
    import sys

    from bench4d.features import weights_of
    from bench4d.metric_loading import find_weights
    from metrics import METRICS

    ids = (id for name in names for id in weights_of(METRICS[name]))
    return find_weights(ids, lambda text: sys.stderr.write(f"{text}\n"))


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[str], None]]:
    """tell(name), called before each of `total` steps: a bar on stderr from the first call on."""
    from tqdm import tqdm

    bars: list[tqdm] = []

    def tell(name: str) -> None:
        bars.append(bars[0] if bars else tqdm(total=total, desc=what))
        bars[0].set_postfix_str(name)
        bars[0].update(1 if len(bars) > 1 else 0)

    yield tell
    for bar in bars[:1]:
        bar.update(1)
        bar.close()
