"""Score one set of outputs as other people's evaluations do: `python -m benchmarks.existing`.

  actionbench   RESULTS/<uid>/mesh_00.glb ...       TRUTH/<uid>/surfaces.npy
  motion80      RESULTS/<object>/{faces.npy, frame_0000.npy ...}, or GLB, OBJ, PLY   TRUTH/<object>/{faces.npy, ...}
  v2m4          RESULTS/<film>.mp4 (or folders of pictures)                          TRUTH/<film>.mp4

What each of them measures, and where we differ: benchmarks/existing/README.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from bench4d.errors import FormatError
from bench4d.features import weights_of
from bench4d.files import atomic
from bench4d.metric_loading import Loader, find_weights
from metrics import METRICS

from . import geometry

SUITES = {
    "actionbench": ("cd-3d", "cd-4d", "cd-m", "cd-3d-similarity", "cd-4d-similarity", "cd-m-similarity"),
    "motion80": ("cd-motion80", "fscore-motion80"),
    "v2m4": ("lpips-vgg", "clip-bigg14", "dreamsim-ensemble-bilinear", "fvd-stylegan-v"),
}


def tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def run(suite: str, results: Path, truth: Path, ids: list[str], icp_points: int) -> pd.DataFrame:
    """Rows of `geometry.score` or `videos.score`."""
    chosen = [METRICS[id] for id in ids]
    if suite != "v2m4":
        options = {id: {"icp_points": icp_points} for id in ("cd-3d", "cd-4d", "cd-m")}
        return pd.DataFrame(geometry.score(results, truth, chosen, options, tell))
    from . import videos  # here: geometry does without networks

    loader = Loader(find_weights([w for metric in chosen for w in weights_of(metric)], tell))
    return pd.DataFrame(videos.score(results, truth, [loader.load(metric) for metric in chosen], tell))


def summary(rows: pd.DataFrame) -> str:
    """A line a metric: their mean, which leaves failures out, and how many there were."""
    lines = []
    for metric, part in rows.groupby("metric", sort=False):
        good = part[part["status"] == "ok"]["value"]
        note = "  what has no value is left out, as theirs is" if 0 < len(good) < len(part) else ""
        lines.append(f"{metric:28} {f'{good.mean():.4f}' if len(good) else '–':7} ({len(good)}/{len(part)}){note}")
    reasons = rows[rows["reason"] != ""].groupby("reason", sort=False)["object"]
    lines += [f"{', '.join(dict.fromkeys(o or '(set)' for o in names))}: {reason}" for reason, names in reasons]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.existing", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("suite", choices=SUITES)
    parser.add_argument("results", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--metrics", help="some of the suite's, between commas (default: all)")
    parser.add_argument(
        "--icp-points", type=int, default=10_000, help="of ActionBench's own ICP (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, help="a CSV file for the rows")
    options = parser.parse_args()
    ids = options.metrics.split(",") if options.metrics else list(SUITES[options.suite])
    try:
        if unknown := sorted(set(ids) - set(SUITES[options.suite])):
            raise FormatError("--metrics", f"ids among {', '.join(SUITES[options.suite])}", ", ".join(unknown))
        rows = run(options.suite, options.results, options.truth, ids, options.icp_points)
    except FormatError as error:
        sys.exit(f"error: {error}")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        with atomic(options.out) as temporary:
            rows.to_csv(temporary, index=False)
    sys.stdout.write(summary(rows))


if __name__ == "__main__":
    main()
