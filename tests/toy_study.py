"""A small study on noise, and participants who answer as they are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench4d.clip import Clip
from bench4d.run_frames import RunFrames
from bench4d.site.study.design import Plan
from bench4d.site.study.page import Study, build_study
from bench4d.submission import method_of
from tests.toy_results import toy_benchmark, write_results

METHODS = ("zeta-secret", "alpha-secret", "mid-secret")
Choose = Callable[[str, str, str, str], str]  # question, role, what is left, what is right -> choice


def toy_run(folder: Path, methods=METHODS, failed=(), clips=("one", "two", "three"), frames=5) -> RunFrames:
    """Results of noise, with the clips' inputs."""
    benchmark = toy_benchmark(folder / "benchmark", [{"id": "psnr", "stride": 1}], clips=clips, frames=frames)
    root = folder / "run"
    write_results(benchmark, root, methods, failed)
    for k, clip in enumerate(clips):
        shape = (frames, 24, 24, 4)
        Clip(clip, np.random.default_rng(k).integers(0, 256, shape, np.uint8), 8.0).write(root / "clips" / clip)
    return RunFrames(benchmark, root, tuple(method_of(name, (), root / name) for name in sorted(methods)))


def toy_study(folder: Path, run: RunFrames | None = None, methods=METHODS, seed=7, **plan: int) -> Study:
    run = run or toy_run(folder)
    views = ["left", "right"]
    return build_study(run, methods, run.benchmark.clips, views, Plan(**plan), seed, folder / "study")


def meaning(film: dict) -> str:
    """What a film is, for `Choose`: a method's name, or the film's role."""
    return film["method"] or film["role"]


def votes_of(key: dict, number: int, choose: Choose, which: int | None = None) -> dict:
    """The file of participant `number`."""
    design = key["design"]
    which = number % len(design["lists"]) if which is None else which
    questions = [question["id"] for question in design["questions"]]
    votes = []
    for k, (trial, role) in enumerate(zip(design["lists"][which], key["roles"][which], strict=True)):
        sides = [meaning(key["films"][trial[side]]) for side in ("left", "right")]
        answers = {question: choose(question, role, *sides) for question in questions}
        votes.append({"trial": k, "left": trial["left"], "right": trial["right"], "seconds": 10.5, "answers": answers})
    head = {"format": "bench4d-votes", "version": 1, "study": design["id"], "design_sha256": key["design_sha256"]}
    times = {"started": "2026-01-01T10:00:00.000Z", "finished": f"2026-01-01T11:{number:02d}:00.000Z"}
    return head | {"participant": f"p{number:011d}", "code": "", "list": which} | times | {"votes": votes}


def honest(prefer: Callable[[str, str, str], str]) -> Choose:
    """Sees through checks, and otherwise prefers as told (question, left, right)."""

    def choose(question: str, role: str, left: str, right: str) -> str:
        if role == "check":
            return "left" if right == "spoilt" else "right"
        return prefer(question, left, right)

    return choose


def write_votes(folder: Path, files: list[dict]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"votes-{k}.json" for k in range(len(files))]
    for path, data in zip(paths, files, strict=True):
        path.write_text(json.dumps(data))
    return paths
