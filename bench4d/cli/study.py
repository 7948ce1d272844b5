"""`bench4d study`: a blind comparison of methods as a page to send to people."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench4d.errors import FormatError

NAME, HELP = "study", "make the page of a blind user study"
DESCRIPTION = """Make a page on which people compare methods two at a time without knowing which is which, by visual
quality, temporal consistency and alignment with the input (docs/study.md).

  bench4d study results/synth4d --out my-study
  bench4d study results/synth4d --methods mine,inflate,billboard --clips walker-1000000 --trials 15 --out my-study

Send the folder my-study/page (zip it; it opens from disk, without a network). Keep my-study/key.json: it alone says
which film is of which method. `bench4d study-table` makes the table of what comes back."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=Path, metavar="RESULTS", help="results/<benchmark> of a workflow run")
    parser.add_argument("--out", type=Path, metavar="DIR", required=True, help="folder for page/ and key.json")
    parser.add_argument("--methods", metavar="A,B", default="", help="two or more ids (default: all but references)")
    parser.add_argument("--clips", metavar="A,B", default="", help="(default: all)")
    parser.add_argument("--views", metavar="A,B", default="", help="shown side by side (default: all novel views)")
    parser.add_argument("--trials", type=int, default=20, metavar="N", help="comparisons a participant (default: 20)")
    parser.add_argument("--checks", type=int, default=2, metavar="N", help="truth against a spoilt film (default: 2)")
    parser.add_argument("--repeats", type=int, default=2, metavar="N", help="pairs that come again (default: 2)")
    parser.add_argument("--lists", type=int, default=0, metavar="N", help="lists of them (default: enough for balance)")
    parser.add_argument("--seed", type=int, metavar="N", help="of names, order and sides (default: a secret one)")
    parser.add_argument("--title", default="", help="the page's; participants read it")


def run(options: argparse.Namespace) -> int:
    import secrets
    import sys

    from tqdm import tqdm

    from bench4d.run_frames import RunFrames
    from bench4d.site.study.design import Plan
    from bench4d.site.study.page import TITLE, build_study

    from .score import split

    plan = Plan(options.trials, options.checks, options.repeats, options.lists)
    if options.seed is not None and not 0 <= options.seed < 2**48:
        raise FormatError("--seed", "a number from 0 to 2^48 - 1", f"{options.seed}")
    run = RunFrames.open(options.results)
    named = split(options.methods)
    methods = [m.id for m in run.chosen(named) if named or m.kind != "reference"]
    clips, views = run.clips(split(options.clips)), run.views(split(options.views))
    seed = secrets.randbelow(2**48) if options.seed is None else options.seed
    with tqdm(desc="films", unit="", leave=False) as bar:  # how many there are is not known before

        def tell(name: str) -> None:
            bar.update()

        made = build_study(run, methods, clips, views, plan, seed, options.out, options.title or TITLE, tell)
    for text in made.left_out:
        sys.stderr.write(f"bench4d study: nobody will see {text}\n")
    print(f"study {made.id}: {len(methods)} methods, {len(clips)} clips, {made.items} pairs to compare")
    print(f"{made.lists} lists of {made.trials} comparisons each, attention checks included")
    print(f"send       {made.page} ({made.size / 1e6:.1f} MB); open its index.html")
    print(f"keep back  {made.key}, which says what is what")
    return 0
