"""`bench4d new-method`: a folder to start from."""

from __future__ import annotations

import argparse
from pathlib import Path

NAME, HELP = "new-method", "make a method's folder to start from"
DESCRIPTION = """Make a folder with a small generator that satisfies the contract, to put your model into.

  bench4d new-method mine --output gaussians
  bench4d check mine
  snakemake --cores all

`# edit` marks in method.yaml what is the scaffold's and waits for yours; run.py says where the model goes."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the method's id: the folder's name, and the row's in tables")
    parser.add_argument(
        "--output",
        choices=("mesh", "gaussians", "views"),
        default="gaussians",
        help="what it makes (default: %(default)s)",
    )
    parser.add_argument("--dir", type=Path, help="folder that gets it (default: the repository's baselines/)")


def run(options: argparse.Namespace) -> int:
    from bench4d.method import ROOT
    from bench4d.new_method import new_method

    parent = options.dir or ROOT / "baselines"
    folder = new_method(options.name, options.output, parent)
    shown = options.name if parent.resolve() == ROOT / "baselines" else str(folder)
    print(f"{folder}: " + ", ".join(sorted(path.name for path in folder.iterdir())))
    print(f"Edit run.py and method.yaml, then: bench4d check {shown}")
    return 0
