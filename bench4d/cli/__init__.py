"""The command line `bench4d`. One small file a command; the work is done by modules that know nothing of it.

This package is on top of everything: it alone in bench4d imports metrics, benchmarks and pieces of the workflow. Heavy
imports stand inside the functions that need them, so that `bench4d --help` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys

from bench4d import __version__
from bench4d.cli import (
    atlas,
    check,
    explain,
    figure,
    listing,
    new_method,
    score,
    site,
    study,
    study_table,
    table,
    weights,
)
from bench4d.errors import FormatError

DESCRIPTION = """Benchmark of video-to-4D generation.

Add a method:      bench4d new-method mine  ->  edit it  ->  bench4d check mine  ->  snakemake --cores all
Score a folder:    bench4d score my-renders --benchmark synth4d
Read a number:     bench4d explain lpips-vgg

`bench4d COMMAND --help` shows an example of each command; docs/cli.md has them all."""
COMMANDS = (listing, check, new_method, score, table, site, atlas, figure, study, study_table, explain, weights)


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Exit status: 0 done, 1 a check failed, 2 a wrong argument or input."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="bench4d", description=DESCRIPTION, formatter_class=form)
    parser.add_argument("--version", action="version", version=f"bench4d {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in COMMANDS:
        one = commands.add_parser(module.NAME, help=module.HELP, description=module.DESCRIPTION, formatter_class=form)
        module.arguments(one)
        one.set_defaults(run=module.run)
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except FormatError as error:
        step = "" if error.next_step else f". See `bench4d {options.command} --help`."
        sys.stderr.write(f"bench4d {options.command}: {error}{step}\n")
        return 2
    except BrokenPipeError:  # the reader, `head` perhaps, has seen enough; Python must not flush into it at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        sys.stderr.write(f"\nbench4d {options.command}: interrupted\n")
        return 130
