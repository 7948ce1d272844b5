"""`bench4d figure` with these arguments."""

import sys

import _root  # noqa: F401

from bench4d.cli import main

sys.exit(main(["figure", *sys.argv[1:]]))
