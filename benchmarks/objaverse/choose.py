"""Choose the objects of the benchmark, and freeze them: `selection.csv`, `considered.csv` and `protocol.yaml`.

    python -m benchmarks.objaverse.choose --seed 0
    python -m benchmarks.objaverse.choose --licences CC0-1.0 CC-BY-4.0 --count 33 --out benchmarks/objaverse

The candidates, in an order that the seed and their ids alone decide, are taken one by one until enough have a licence
that is allowed, a readable file and enough motion. What was found about a file is kept, so that a run that was killed
goes on where it was. A file that cannot be had, or not whole, stops the choice at the end: nothing is frozen that would
have been another list on a better day. `--without-missing` leaves those out, and considered.csv says so.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import hashlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from bench4d.errors import FormatError
from bench4d.files import atomic, read_json, sha256_file, write_json
from bench4d.weights import Locations
from benchmarks.menagerie.fetch import AssetMissing
from benchmarks.objaverse import motion
from benchmarks.objaverse.lists import ROLES, ids_named, places, read_lists
from benchmarks.objaverse.motion import Motion, Unfit, find_motion
from benchmarks.objaverse.objects import Annotation, describe, find_object, one_line
from benchmarks.objaverse.selection import DIGITS, FILE, Selected, as_csv

FOLDER = Path(__file__).parent
ALLOWED = ("CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0")
DESCRIBED_AT_ONCE = 1000
CHOSEN, MISSING = "chosen", "missing"


@dataclass(frozen=True)
class Considered:
    """What became of one candidate: "chosen", "unknown", "licence", "unfit" or "missing", and why."""

    id: str
    verdict: str
    reason: str
    licence: str


def order(ids: set[str], seed: int) -> list[str]:
    """By the sha256 of seed and id: adding or leaving out some changes nothing in the order of the others."""
    return sorted(ids, key=lambda id: hashlib.sha256(f"{seed}/{id}".encode()).hexdigest())


def choose(
    ids: Sequence[str],
    lists: dict[str, tuple[str, ...]],
    where: Locations,
    licences: Sequence[str],
    count: int,
) -> tuple[list[Considered], list[Selected]]:
    """Take the candidates one by one until `count` are chosen. All that were looked at, and the chosen ones."""
    considered: list[Considered] = []
    chosen: list[Selected] = []
    holding = {name: frozenset(members) for name, members in lists.items()}
    with tqdm(total=count, unit="object", disable=None) as bar:
        for about in _described(ids, where):
            if len(chosen) == count:
                break
            verdict, reason = CHOSEN, ""
            if about.licence not in licences:
                verdict, reason = (
                    ("licence", "not allowed") if about.licence else ("unknown", "no annotation, no licence")
                )
            else:
                try:
                    path = find_object(about.id, about.sha256, where)
                    sha256, found = examine(path, where.cache / "motion")
                    members = "+".join(Path(name).stem for name in lists if about.id in holding[name])
                    chosen.append(_selected(about, path.stat().st_size, sha256, members, found))
                    bar.update()
                except AssetMissing as error:
                    verdict, reason = MISSING, str(error)
                except Unfit as error:
                    verdict, reason = "unfit", str(error)
            considered.append(Considered(about.id, verdict, reason, about.licence))
    return considered, chosen


def _described(ids: Sequence[str], where: Locations) -> Iterator[Annotation]:
    """The annotation of each; one that Objaverse does not know has no licence."""
    for first in range(0, len(ids), DESCRIBED_AT_ONCE):
        batch = ids[first : first + DESCRIBED_AT_ONCE]
        known = describe(batch, where)
        yield from (known.get(id, Annotation(id, "", "", "", "", "")) for id in batch)


def examine(path: Path, records: Path) -> tuple[str, Motion]:
    """The file's sha256 and what `find_motion` says of it, from the record of an earlier run if there is one.

    Raises Unfit.
    """
    sha256 = sha256_file(path)
    record = records / f"{sha256}-{motion.VERSION}.json"
    if record.is_file():
        content: dict[str, Any] = read_json(record)
    else:
        try:
            content = dataclasses.asdict(find_motion(path))
        except Unfit as error:
            content = {"unfit": str(error)}
        write_json(record, content)
    if "unfit" in content:
        raise Unfit(content["unfit"])
    return sha256, Motion(**content)


def _selected(about: Annotation, size: int, sha256: str, lists: str, found: Motion) -> Selected:
    return Selected(
        id=about.id,
        bytes=size,
        sha256=sha256,
        licence=about.licence,
        author=about.author,
        name=about.name,
        url=about.url,
        lists=lists,
        animation=found.animation,
        title=one_line(found.name),
        start=found.start,
        end=found.end,
        yaw=found.yaw,
        moved=found.moved,
        filled=found.filled,
    )


def freeze(considered: Sequence[Considered], chosen: list[Selected], seed: int, out: Path) -> None:
    """Write considered.csv, selection.csv and, last, the protocol that names the list's hash."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, ("id", "verdict", "reason", "licence"), lineterminator="\n")
    writer.writeheader()
    for row in considered:
        reason = "not to be had" if row.verdict == MISSING else row.reason  # without this machine's paths
        writer.writerow(dataclasses.asdict(row) | {"reason": reason})
    rows = as_csv(chosen)
    settings = yaml.safe_load((FOLDER / "settings.yaml").read_text("utf-8"))
    digits = hashlib.sha256(rows.encode()).hexdigest()[:DIGITS]
    settings["title"] = f"objaverse: {len(chosen)} held-out animated objects, seed {seed}, list {digits}"
    settings["clips"] = [{"id": row.id} for row in chosen]
    text = "# Written by choose.py from settings.yaml and the chosen objects.\n"
    text += yaml.safe_dump(settings, sort_keys=False, default_flow_style=None, width=110)
    for name, content in (("considered.csv", stream.getvalue()), (FILE, rows), ("protocol.yaml", text)):
        with atomic(out / name) as temporary:
            temporary.write_bytes(content.encode())


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    known = read_lists().values()
    names = {role: [listed.name for listed in known if listed.role == role] for role in ROLES}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=33)
    for role, text in (("candidates", "from which"), ("exclude", "never"), ("training", "marked in the list")):
        helps = f"lists of the objects: {text} (default: {' '.join(names[role])})"
        parser.add_argument(f"--{role}", nargs="*", default=names[role], metavar="LIST", help=helps)
    parser.add_argument("--licences", nargs="+", default=ALLOWED, metavar="SPDX", help=f"default: {' '.join(ALLOWED)}")
    parser.add_argument("--without-missing", action="store_true", help="freeze a list without files that are missing")
    parser.add_argument("--out", type=Path, default=FOLDER)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options, where = parse(arguments), places(os.environ)
    try:
        names = dict.fromkeys([*options.candidates, *options.exclude, *options.training])
        lists = {name: ids_named(name, where) for name in names}
        excluded = {id for name in options.exclude for id in lists[name]}
        ids = order({id for name in options.candidates for id in lists[name]} - excluded, options.seed)
        considered, chosen = choose(ids, lists, where, options.licences, options.count)
    except (FormatError, AssetMissing) as error:
        sys.exit(f"error: {error}")
    missing = [row for row in considered if row.verdict == MISSING]
    sys.stderr.write("".join(f"{row.reason}\n" for row in missing))
    if missing and not options.without_missing:
        sys.exit(f"{len(missing)} files are missing: run this again, or add --without-missing. Nothing was frozen.")
    if len(chosen) < options.count:
        sys.exit(f"only {len(chosen)} of {len(ids)} candidates fit, not {options.count}. Nothing was frozen.")
    freeze(considered, chosen, options.seed, options.out)
    sys.stdout.write(f"{len(chosen)} of {len(considered)} objects that were looked at: {options.out / FILE}\n")


if __name__ == "__main__":
    main()
