"""The smallest SS4D: ss4d/run.py with the parameters of this folder's method.yaml."""

import runpy
from pathlib import Path

if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).resolve().parents[2] / "ss4d" / "run.py"), run_name="__main__")
