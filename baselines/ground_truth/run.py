"""Ground truth: hands back the truth's asset, byte by byte. Its quality columns show whether the benchmark is sound."""

import argparse
import json
import shutil
import sys
from pathlib import Path


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", type=Path, required=True)
    job = json.loads(parser.parse_args().job.read_text("utf-8"))
    for clip in job["clips"]:
        print(clip["id"], file=sys.stderr, flush=True)
        out = Path(clip["out"])
        shutil.copytree(Path(clip["truth"]) / "asset", out, copy_function=shutil.copyfile, dirs_exist_ok=True)
        (out / "DONE").touch()


if __name__ == "__main__":
    main()
