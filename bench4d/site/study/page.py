"""`build_study`: the folder for participants, `page/`, and beside it the author's `key.json`, which is not sent out."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from bench4d import __version__
from bench4d.errors import FormatError
from bench4d.files import write_json
from bench4d.run_frames import RunFrames

from .design import QUESTIONS, SPOILT, TRUTH, Item, Plan, Trial, all_pairs, make_lists
from .films import order_of, sheet, spoil

STATIC = ("index.html", "study.js", "study.css")
TIME = 946684800  # of every file of the page, 2000-01-01: the order in which films were made is nobody's business
TOKEN = 10  # letters of a film's name
TITLE = "Comparing moving objects"


@dataclass(frozen=True)
class Film:
    """What one name stands for: written into the key alone. `method` is empty for truth, spoilt and input films."""

    role: str
    method: str
    clip: str
    object: str


@dataclass(frozen=True)
class Study:
    """What was written. `left_out`: pairs that nobody will see, and why. `size`: bytes of the page's folder."""

    page: Path
    key: Path
    id: str
    lists: int
    trials: int
    items: int
    left_out: tuple[str, ...]
    size: int


def build_study(
    run: RunFrames,
    methods: Sequence[str],
    clips: Sequence[str],
    views: Sequence[str],
    plan: Plan,
    seed: int,
    out: Path,
    title: str = TITLE,
    tell: Callable[[str], None] = lambda name: None,
) -> Study:
    """Write `out`/page and `out`/key.json. The same arguments on the same run give the same bytes.

    Args:
        methods: two or more ids.
        seed: decides names, orders and sides; whoever knows it can undo the blinding.
        tell: called with a name before each film.
    """
    if len(set(methods)) < 2 or len(set(methods)) < len(methods):
        raise FormatError("--methods", "two or more different methods", f"{list(methods)}")
    if named := [method for method in methods if method.lower() in title.lower()]:
        raise FormatError("--title", "a title without names of methods: participants read it", f"{named}")
    clear(out)
    rng = random.Random(f"bench4d study {seed}")
    there, left_out = _there(run, methods, clips)
    items = all_pairs(clips, there)
    goods = {clip: _good(run, clip, views, there) for clip in clips}
    checks = [Item(clip, good, SPOILT + good) for clip, good in goods.items() if good]
    lists = make_lists(items, checks, plan, rng)
    films = _Films(run, views, rng, out / "page" / "media", tell)
    films.write(lists)
    shown = {
        "format": "bench4d-study",
        "version": 1,
        "title": title,
        "fps": run.benchmark.data["fps"],
        "views": len(views),
        "questions": [asdict(question) for question in QUESTIONS],
        "films": {token: films.shown[token] for token in sorted(films.shown)},
        "lists": [[films.shown_trial(trial) for trial in trials] for trials in lists],
    }
    shown["id"] = sha256_of(shown)[:12]
    key = {
        "format": "bench4d-study-key",
        "version": 1,
        "design": shown,
        "design_sha256": sha256_of(shown),
        "seed": seed,
        "benchmark": {"id": run.benchmark.id, "protocol_sha256": run.benchmark.protocol_sha256},
        "code_version": __version__,
        "methods": [{"id": method, "seed": run.seed_of(method)} for method in methods],
        "views": list(views),
        "films": {token: asdict(film) for token, film in sorted(films.meaning.items())},
        "roles": [[trial.role for trial in trials] for trials in lists],
        "left_out": left_out,
    }
    _write_page(out / "page", shown)
    write_json(out / "key.json", key)
    size = sum(path.stat().st_size for path in (out / "page").rglob("*") if path.is_file())
    return Study(
        out / "page", out / "key.json", shown["id"], len(lists), len(lists[0]), len(items), tuple(left_out), size
    )


def sha256_of(design: dict[str, Any]) -> str:
    """Of a study's design: of its JSON with sorted keys, without spaces, in ASCII."""
    return hashlib.sha256(json.dumps(design, sort_keys=True, separators=(",", ":")).encode("ascii")).hexdigest()


def clear(out: Path) -> None:
    """Remove an earlier study; refuse to touch anything else."""
    if out.exists() and any(out.iterdir()):
        if {path.name for path in out.iterdir()} - {"page", "key.json"} or not (out / "key.json").is_file():
            raise FormatError(out, "an empty folder, or one with an earlier study alone", "other files", "Give --out.")
        shutil.rmtree(out / "page", ignore_errors=True)
        (out / "key.json").unlink()


def _there(run: RunFrames, methods: Sequence[str], clips: Sequence[str]) -> tuple[dict[str, set[str]], list[str]]:
    """Method -> the clips that it has frames of; and what is missing, in words."""
    there: dict[str, set[str]] = {method: set() for method in methods}
    missing = []
    for method in methods:
        for clip in clips:
            if why := run.why_missing(method, clip):
                missing.append(f"{method}, {clip}: {why}")
            else:
                there[method].add(clip)
    return there, missing


def _good(run: RunFrames, clip: str, views: Sequence[str], there: dict[str, set[str]]) -> str:
    """What a check shows unspoilt: the truth, or where there is none of these views a method's output; "": nothing."""
    if run.has_truth(clip, views):
        return TRUTH
    return next((method for method, clips in there.items() if clip in clips), "")


class _Films:
    """Writes the films of the lists under names that say nothing, in an order that says nothing."""

    def __init__(
        self, run: RunFrames, views: Sequence[str], rng: random.Random, out: Path, tell: Callable[[str], None]
    ) -> None:
        self.run, self.views, self.rng, self.out, self.tell = run, views, rng, out, tell
        self.tokens: dict[tuple[str, str], str] = {}  # (clip, source) -> name; source "" is the input
        self.shown: dict[str, dict[str, Any]] = {}
        self.meaning: dict[str, Film] = {}

    def write(self, lists: Sequence[Sequence[Trial]]) -> None:
        wanted = {(t.clip, source) for trials in lists for t in trials for source in (t.left, t.right, "")}
        order = sorted(wanted)
        self.rng.shuffle(order)
        self.out.mkdir(parents=True, exist_ok=True)
        for clip, source in order:
            self.tell(clip)
            token = self._token()
            self.tokens[clip, source] = token
            self.meaning[token] = self._film(clip, source)
            parts = [self.run.of_input(clip)] if not source else self._views(clip, source)
            self.shown[token] = {"parts": [self._part(f"{token}-{v + 1}", frames) for v, frames in enumerate(parts)]}

    def shown_trial(self, trial: Trial) -> dict[str, str]:
        sides = {"left": trial.left, "right": trial.right, "input": ""}
        return {side: self.tokens[trial.clip, source] for side, source in sides.items()}

    def _token(self) -> str:
        while True:
            token = "".join(self.rng.choices("abcdefghijkmnpqrstuvwxyz23456789", k=TOKEN))
            if token not in self.shown:
                return token

    def _film(self, clip: str, source: str) -> Film:
        role = "spoilt" if source.startswith(SPOILT) else {"": "input", TRUTH: "truth"}.get(source, "method")
        return Film(role, source if role == "method" else "", clip, self.run.benchmark.object_of[clip])

    def _views(self, clip: str, source: str) -> list[UInt8[np.ndarray, "T H W 3"]]:
        if source.startswith(SPOILT):
            found = self._views(clip, source.removeprefix(SPOILT))
            order = order_of(len(found[0]), self.rng)
            return [spoil(frames, order) for frames in found]
        if source == TRUTH:
            return [self.run.of_truth(clip, view) for view in self.views]
        return [self.run.of_method(source, clip, view) for view in self.views]

    def _part(self, name: str, frames: UInt8[np.ndarray, "T H W 3"]) -> dict[str, Any]:
        made = sheet(frames, name)
        (self.out / f"{name}.webp").write_bytes(made.webp)
        sizes = {"frames": made.frames, "columns": made.columns, "width": made.width, "height": made.height}
        return {"file": f"media/{name}.webp", "sha256": hashlib.sha256(made.webp).hexdigest()} | sizes


def _write_page(folder: Path, shown: dict[str, Any]) -> None:
    for name in STATIC:
        shutil.copyfile(Path(__file__).with_name(name), folder / name)
    data = json.dumps(shown | {"sha256": sha256_of(shown)}, sort_keys=True, separators=(",", ":"))
    (folder / "design.js").write_text(f'"use strict";\nvar BENCH4D_STUDY = {data};\n', "ascii")
    for path in folder.rglob("*"):
        os.utime(path, (TIME, TIME))
