"""Importing this module makes the repository's packages importable, wherever a script is started from."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
