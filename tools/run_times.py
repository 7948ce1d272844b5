"""Where the time of a finished run went, from Snakemake's records: `python tools/run_times.py results/synth4d`."""

import argparse
import csv
from collections import defaultdict
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    options = parser.parse_args()
    seconds: dict[str, list[float]] = defaultdict(list)
    peaks: dict[str, float] = defaultdict(float)
    for path in sorted(options.results.glob("logs/*/*.tsv")):
        with path.open(newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                seconds[path.parent.name].append(float(row["s"]))
                peaks[path.parent.name] = max(peaks[path.parent.name], float(row["max_rss"].replace("-", "0")))
    print("| step | jobs | seconds in all | longest | peak memory, MB |\n|---|---:|---:|---:|---:|")
    for step, times in seconds.items():
        print(f"| {step} | {len(times)} | {sum(times):.1f} | {max(times):.1f} | {peaks[step]:.0f} |")


if __name__ == "__main__":
    main()
