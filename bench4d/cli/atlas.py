"""`bench4d atlas`: one set of outputs under every published protocol."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench4d.errors import FormatError

NAME, HELP = "atlas", "score the same outputs under all published protocols"
DESCRIPTION = """Score what a workflow run left under the protocols of benchmarks/protocols: the same outputs, every
paper's number, and how far they are apart (docs/atlas.md).

  bench4d atlas results/synth4d
  bench4d atlas results/synth4d --methods billboard,inflate --protocols consistent4d-v1,sv4d-consistent4d,4diffusion

Metrics whose weights are not on this machine stay empty; nothing is downloaded. Slow evaluations of others (cd-3d) are
scored only if --metrics names them. Tables go to RESULTS/atlas (atlas.txt,
atlas.md, one CSV a family of metrics). What was scored is remembered there, so that a second call is quick."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=Path, metavar="RESULTS", help="results/<benchmark> of a workflow run")
    parser.add_argument("--methods", metavar="A,B", default="", help="ids (default: all that are there)")
    parser.add_argument("--protocols", metavar="A,B", default="", help="files of benchmarks/protocols (default: all)")
    parser.add_argument(
        "--metrics", metavar="A,B", default="", help="score these alone (ids of `bench4d list metrics`)"
    )
    parser.add_argument(
        "--stride",
        type=int,
        metavar="N",
        help="networks see every N-th frame (default: as in the benchmark's protocol)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the tables (default: RESULTS/atlas)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="for rendering and decoding (default: 1)")


def run(options: argparse.Namespace) -> int:
    import os
    import sys

    from bench4d.atlas import apply, narrowed, own
    from bench4d.atlas_renders import find_run
    from bench4d.atlas_run import Scorer, weights_here
    from bench4d.atlas_table import make_atlas, to_text, write_atlas
    from bench4d.benchmark import find_benchmark
    from bench4d.published import read_atlas
    from bench4d.weights import Locations, read_catalogue
    from metrics import METRICS

    from .score import known, split

    if options.stride is not None and options.stride < 1:
        raise FormatError("--stride", "a number of 1 or more", f"{options.stride}")
    if not options.results.is_dir():
        step = "`make results` makes one."
        raise FormatError(options.results, "a folder results/<benchmark>", "no such folder", step)
    base, atlas = find_benchmark(options.results.resolve().name), read_atlas()
    names = known_protocols(split(options.protocols), list(atlas))
    usual = [id for id, metric in METRICS.items() if not metric.named_only]
    only = known(split(options.metrics), list(METRICS)) or usual
    run = find_run(base, options.results, split(options.methods))
    protocols = [own(base, METRICS, atlas), *(apply(atlas[name], atlas, base, METRICS) for name in names)]
    protocols = [narrowed(protocol, only, options.stride) for protocol in protocols]
    asks = [ask for protocol in protocols for ask in protocol.asks if ask.metric]
    weights = weights_here([ask.metric for ask in asks if ask.metric], read_catalogue(), Locations.of(os.environ))
    tell = lambda text: print(f"score {text}", file=sys.stderr)  # noqa: E731
    out = options.results / "atlas"
    found = Scorer(run, out / "rows", weights, tell, options.threads).score(asks)
    made = make_atlas(protocols, [method.id for method, _ in run.outputs], found)
    write_atlas(made, options.out or out)
    print(to_text(made), end="")
    sys.stderr.write(f"wrote {options.out or out}/atlas.txt, atlas.md and one CSV a family of metrics\n")
    return 0


def known_protocols(names: list[str], there: list[str]) -> list[str]:
    """All of them if none is named. Raises FormatError."""
    if unknown := [name for name in names if name not in there]:
        raise FormatError("--protocols", f"files of benchmarks/protocols: {there}", f"{unknown}")
    return names or there
