"""`python -m bench4d`: the command line, see bench4d/cli."""

import sys

from bench4d.cli import main

if __name__ == "__main__":
    sys.exit(main())
