"""`bench4d check`: does a method's folder keep the contract?"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench4d.errors import FormatError

NAME, HELP = "check", "does a method's folder keep the contract?"
DESCRIPTION = """Go through everything that a method must satisfy, and run it on a clip of a few small frames.

  bench4d check inflate
  bench4d check path/to/my-method

  ✓ it holds      ✗ it does not: why, and what to do      –  it cannot be tried here (a GPU, weights, a package)

The exit status is 1 if there is any ✗. The tests of tests/conformance run the same list."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("method", metavar="METHOD|FOLDER", help="an id (`bench4d list methods`), or a method's folder")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep the clip, the assets and the logs in this folder"
    )


def run(options: argparse.Namespace) -> int:
    import tempfile

    from bench4d.conformance import check_method

    from .tiny_clip import make_clip

    folder = method_folder(options.method)
    marks = {"ok": "✓", "failed": "✗", "skipped": "–"}
    counts = dict.fromkeys(marks, 0)
    print(folder)
    with tempfile.TemporaryDirectory(prefix="bench4d-check-") as temporary:
        for outcome in check_method(folder, scratch(options.keep, Path(temporary)), make_clip):
            counts[outcome.status] += 1
            said = f"skipped: {outcome.detail}" if outcome.status == "skipped" else outcome.detail
            print(f"  {marks[outcome.status]} {outcome.name}" + (f": {said}" if said else ""), flush=True)
            for line in outcome.next_step.splitlines():
                print(f"      {line}")
    print(f"{counts['ok']} ✓, {counts['failed']} ✗, {counts['skipped']} skipped. " + verdict(counts, options.method))
    return 1 if counts["failed"] else 0


def verdict(counts: dict[str, int], name: str) -> str:
    if counts["failed"]:
        return f"Put right what is marked ✗, then: bench4d check {name}"
    holds = "What could be tried here holds. " if counts["skipped"] else ""
    return holds + "Next, with the folder in baselines/: snakemake --cores all"


def scratch(keep: Path | None, temporary: Path) -> Path:

    if keep is None:
        return temporary
    if keep.exists() and any(keep.iterdir()):
        raise FormatError("--keep", "a new or an empty folder", f"{keep}, which holds files")
    return keep


def method_folder(name: str) -> Path:
    """The folder of a method's id, or the folder itself. Raises FormatError."""
    from bench4d.method import method_folders

    known = method_folders()
    folder = known.get(name, Path(name))
    if not folder.is_dir():
        step = "`bench4d list methods` shows what is here; `bench4d new-method NAME` makes a new one."
        raise FormatError("method", f"one of {sorted(known)}, or a folder", repr(name), step)
    return folder.resolve()
