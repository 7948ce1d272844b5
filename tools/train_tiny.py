"""Train ss4d-tiny's flows from nothing: data, latents, both flows, the checkpoint, its figures and pictures.

python tools/train_tiny.py --out runs/tiny --minutes 26 --gpus 2 --render cuda --workers 32
python tools/train_tiny.py --out runs/tiny --minutes 40 --gpus 1

Two GPUs: both train stage 1 with the image encoder; then the encoder is frozen, one GPU goes on with stage 1 and the
other trains stage 2. One GPU: one stage after the other. Steps follow from the time that is left and from the measured
time of a step. The same command again goes on where a run was stopped. `--only structure` ends after stage 1;
`--only latent --structure FOLDER` takes it from OUT/slim/structure of such a run. Trainings keep a checkpoint every two
minutes, and OUT/slim has their last moving averages, 10 MB each, as soon as there is one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench4d.files import read_json, write_json
from ss4d.data.config import read_section
from ss4d.training import state
from ss4d.training.export import slim

ROOT = Path(__file__).resolve().parents[1]
SHARE = 0.3  # of the time of training that all GPUs spend on stage 1 and the image encoder
STAGE1 = 0.55  # on one GPU: stage 1's share
FIRST, SECOND = 0.35, 0.7  # of the steps with the shortest clips, and until the longest
ENDING = 150.0  # seconds that evaluation and pictures need
SAVE, VALIDATE = 120.0, 240.0  # seconds between checkpoints and validations
START = 30.0  # seconds from a command to its first step: imports, reading and checking the data
CAREFUL = 0.92  # planned steps / those that would fit


class Run:
    """Folders, processes and the clock of one call."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.out, self.began = options, options.out.resolve(), time.monotonic()
        self.networks, self.slim = self.out / "networks", self.out / "slim"
        self.out.mkdir(parents=True, exist_ok=True)

    @property
    def left(self) -> float:
        """Seconds until training has to end."""
        return 60 * self.options.minutes - ENDING - (time.monotonic() - self.began)

    def say(self, text: str) -> None:
        line = f"{(time.monotonic() - self.began) / 60:5.1f} min  {text}\n"
        sys.stderr.write(line)
        sys.stderr.flush()
        with (self.out / "progress.log").open("a", encoding="utf-8") as file:
            file.write(line)

    def start(self, name: str, arguments: list[str], gpu: int | None = None, gpus: int = 1) -> subprocess.Popen[bytes]:
        """`python -m` (or `python`, of a file) with these arguments; what it prints goes to OUT/logs/<name>.log."""
        front = [sys.executable] if arguments[0].endswith(".py") else [sys.executable, "-m"]
        if gpus > 1:
            front += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(gpus), "-m"]
        environment = dict(os.environ)
        if gpu is not None and self.options.device == "cuda":
            environment["CUDA_VISIBLE_DEVICES"] = str(gpu)
        log = self.out / "logs" / f"{name}.log"
        log.parent.mkdir(exist_ok=True)
        self.say(name)
        with log.open("ab") as file:
            return subprocess.Popen([*front, *arguments], stdout=file, stderr=file, cwd=ROOT, env=environment)

    def wait(self, **processes: subprocess.Popen[bytes]) -> None:
        """Until all have ended; what the trainings have saved meanwhile goes to OUT/slim."""
        if not processes:
            return
        while any(process.poll() is None for process in processes.values()):
            time.sleep(1)
            self.keep()
        self.keep()
        if failed := [name for name, process in processes.items() if process.returncode]:
            tail = (self.out / "logs" / f"{failed[0]}.log").read_text("utf-8", "replace")[-3000:]
            sys.exit(f"train_tiny: {', '.join(failed)} failed:\n{tail}")
        self.say(f"done: {', '.join(processes)}")

    def keep(self) -> None:
        for name in ("structure", "latent"):
            found, kept = state.checkpoints(self.out / name), state.checkpoints(self.slim / name)
            if found and (not kept or kept[-1].name != found[-1].name):
                slim(self.out / name, self.slim / name)

    def do(self, name: str, arguments: list[str], gpu: int | None = None, gpus: int = 1) -> None:
        self.wait(**{name: self.start(name, arguments, gpu, gpus)})

    def training(self, section: str, run: str, *more: str, data: str = "train") -> list[str]:
        """The arguments of a training."""
        options = self.options
        arguments = ["ss4d.training", section, "--config", options.config, "--data", str(self.out / f"{data}-latents")]
        arguments += ["--checkpoint", str(self.networks), "--device", options.device, "--out", str(self.out / run)]
        return [*arguments, *more, *(part for change in options.set for part in ("--set", change))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True, help="in all, data and evaluation included")
    parser.add_argument("--gpus", type=int, choices=(1, 2), default=1)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--config", default="tiny", help="tiny or a JSON file")
    parser.add_argument("--autoencoders", type=Path, default=ROOT / "ss4d/checkpoints/tiny")
    parser.add_argument("--clips", type=int, default=1260, help="of the training set")
    parser.add_argument("--val-clips", type=int, default=63)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that make data")
    parser.add_argument("--render", choices=("cpu", "cuda"), default="cpu", help="what draws the data")
    parser.add_argument("--only", choices=("structure", "latent"), help="one stage")
    parser.add_argument("--structure", type=Path, help="for --only latent: stage 1 as OUT/slim/structure has it")
    parser.add_argument("--steps", type=int, nargs=3, metavar=("ENCODER", "STRUCTURE", "LATENT"), help="no measuring")
    parser.add_argument("--pilot", type=int, default=40, help="steps of a measurement, of which the last half counts")
    parser.add_argument("--gate-clips", type=int, default=10)
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="of both trainings")
    options = parser.parse_args()
    if (options.only == "latent") != (options.structure is not None):
        parser.error("--only latent and --structure belong together")
    run = Run(options)
    make_data(run)
    plan = make_plan(run)
    train(run, plan)
    if options.only != "structure":
        finish(run)


def make_data(run: Run) -> None:
    """Both data sets and their latents; what is there is not made again."""
    options, jobs = run.options, {}
    for split, clips in (("val", options.val_clips), ("train", options.clips)):
        if not (run.out / split / "index.json").is_file():
            arguments = ["ss4d.data", "build", "--config", options.config, "--split", split, "--clips", str(clips)]
            arguments += ["--workers", str(options.workers), "--render", options.render]
            run.do(f"build-{split}", [*arguments, "--out", str(run.out / split)])
    if not run.networks.exists():
        shutil.copytree(options.autoencoders, run.networks)
    for gpu, split in enumerate(("train", "val")):
        out = run.out / f"{split}-latents"
        if not (out / "index.json").is_file():
            arguments = [
                "ss4d.data",
                "encode",
                "--data",
                str(run.out / split),
                "--checkpoint",
                str(options.autoencoders),
            ]
            arguments += ["--out", str(out), "--device", options.device, *(["--views"] if split == "val" else [])]
            jobs[f"encode-{split}"] = run.start(f"encode-{split}", arguments, gpu % options.gpus)
    run.wait(**jobs)


def make_plan(run: Run) -> dict[str, Any]:
    """How many steps each part gets: plan.json, which stays for a call that goes on."""
    path, options = run.out / "plan.json", run.options
    if not path.is_file():
        steps = dict(zip(("encoder", "structure", "latent"), options.steps or measured_steps(run), strict=True))
        write_json(path, steps)
    plan = dict(read_json(path))
    run.say(f"steps: {plan}")
    return plan


def measured_steps(run: Run) -> tuple[int, int, int]:
    """From pilots on the small data set, whose steps cost what those on the large one do."""
    options, free = run.options, ["--set", "train.freeze=", "--set", "train.freeze_after=0"]
    whole = [
        "--until",
        str(options.pilot),
        "--set",
        f"train.log_every={max(1, options.pilot // 2)}",
        "--set",
        "train.curriculum=[]",
    ]
    frozen = ["--set", "train.freeze=image_encoder", "--set", "train.freeze_after=1"]
    two, speeds = options.gpus == 2, {}
    shutil.rmtree(run.out / "pilot", ignore_errors=True)
    stages = {"encoder": run.training("structure_flow", "pilot/encoder", *whole, *free, data="val")}
    if options.only != "latent":
        run.do("pilot-encoder", stages["encoder"], 0 if not two else None, options.gpus)
        speeds["encoder"] = speed(run, "encoder")
        run.do("pilot-export", ["ss4d.training", "export", str(run.out / "pilot/encoder"), "--out", str(run.networks)])
    else:
        export_structure(run, options.structure)
    names = [] if options.only == "structure" else ["latent"]
    names += ["structure"] if two and options.only is None else []
    jobs = {}
    for name in names:
        more = frozen if name == "structure" else []
        arguments = run.training(f"{name}_flow", f"pilot/{name}", *whole, *more, data="val")
        if two and options.only == "latent":
            jobs[name] = run.start(f"pilot-{name}", arguments, None, 2)
        else:
            jobs[name] = run.start(f"pilot-{name}", arguments, 1 if two and name == "latent" else 0)
    run.wait(**jobs)
    speeds |= {name: speed(run, name) for name in jobs}
    write_json(run.out / "speeds.json", speeds)
    run.say(f"seconds a step: {speeds}")

    def fits(name: str, share: float) -> int:
        return max(1, int(CAREFUL * (share * run.left - START) / speeds[name]))

    if options.only is not None:
        return (fits("encoder", 1), 0, 0) if options.only == "structure" else (0, 0, fits("latent", 1))
    if not two:
        return fits("encoder", STAGE1), 0, fits("latent", 1 - STAGE1)
    encoder = fits("encoder", SHARE)
    return encoder, encoder + fits("structure", 1 - SHARE), fits("latent", 1 - SHARE)


def speed(run: Run, name: str) -> float:
    """Seconds a step of a pilot."""
    lines = [json.loads(line) for line in (run.out / "pilot" / name / "log.jsonl").read_text("utf-8").splitlines()]
    return float(next(line["ms"] for line in reversed(lines) if line["kind"] == "train")) / 1000


def train(run: Run, plan: dict[str, Any]) -> None:
    """Stage 1 with the encoder, then both stages beside each other or one after the other."""
    options, two = run.options, run.options.gpus == 2
    apart = two and options.only is None  # the stages run beside each other, with the encoder frozen
    if options.only == "latent":
        export_structure(run, options.structure)
    else:
        more = ["--until", str(plan["encoder"])] if apart else []
        latest = min(1.0, 1.15 * (SHARE if apart else STAGE1)) if options.only is None else 1.0
        arguments = scheduled(run, plan, "structure", apart, latest)
        if done(run, "structure") < plan["encoder"]:
            run.do("structure", [*arguments, *more], None if two else 0, options.gpus)
        plan |= {"encoder": done(run, "structure")} if apart and done(run, "structure") < plan["encoder"] else {}
        if not (run.out / "exported").exists():  # stage 2 must not lose the encoder that it has begun with
            export_structure(run, run.out / "structure")
            (run.out / "exported").touch()
    jobs = {}
    if apart:
        jobs["structure"] = run.start("structure", scheduled(run, plan, "structure", apart), 0)
    if options.only != "structure":
        together = two and options.only == "latent"
        gpu = None if together else options.gpus - 1
        jobs["latent"] = run.start("latent", scheduled(run, plan, "latent", False), gpu, 2 if together else 1)
    run.wait(**jobs)


def scheduled(run: Run, plan: dict[str, Any], name: str, freeze: bool, share: float = 1.0) -> list[str]:
    """The arguments of a stage's training: length, curriculum, when to write what; it ends at the latest when `share`
    of the time that is left is over."""
    steps = plan["structure"] or plan["encoder"] if name == "structure" else plan["latent"]
    settings = read_section(run.options.config, f"{name}_flow")["train"]
    frames, clips = settings["frames"], settings["clips"]
    parts = [(int(share * steps), max(2, frames // part)) for share, part in ((FIRST, 4), (SECOND, 2))]
    curriculum = [[until, short, clips * frames // short] for until, short in parts] if steps >= 10 else []
    seconds = read_json(path)[name] if (path := run.out / "speeds.json").is_file() and name in read_json(path) else 1.0
    if name == "structure" and path.is_file():
        seconds = max(read_json(path).values())
    changes = {"steps": steps, "curriculum": curriculum, "save_every": max(1, int(SAVE / seconds))}
    changes |= {"validate_every": max(1, int(VALIDATE / seconds)), "validate_clips": 8}
    changes |= {"freeze": "image_encoder" if freeze else "", "freeze_after": plan["encoder"] if freeze else 0}
    more = ["--val", str(run.out / "val-latents"), "--minutes", f"{max(share * run.left, 1) / 60:.2f}"]
    more += ["--resume"] if state.checkpoints(run.out / name) else []
    more += [part for key, value in changes.items() for part in ("--set", f"train.{key}={json.dumps(value)}")]
    return run.training(f"{name}_flow", name, *more)


def done(run: Run, name: str) -> int:
    """Steps of a training that its last checkpoint has behind it."""
    found = state.checkpoints(run.out / name)
    return int(found[-1].name.removeprefix("step-")) if found else 0


def export_structure(run: Run, source: Path) -> None:
    """Stage 1's networks beside the autoencoders: stage 2 takes the encoder from there."""
    arguments = ["ss4d.training", "export", str(source), "--out", str(run.networks), "--precision", "stored-half"]
    run.do("export", arguments)


def finish(run: Run) -> None:
    """The checkpoint, its figures, and what it makes of unseen objects."""
    options, out, device = run.options, run.out / "ss4d-tiny", run.options.device
    if options.only == "latent":
        shutil.copytree(options.structure, run.slim / "structure", dirs_exist_ok=True)
    runs = ["--structure-flow", str(run.slim / "structure"), "--latent-flow", str(run.slim / "latent")]
    arguments = ["ss4d.training", "assemble", "--autoencoders", str(run.networks), *runs, "--out", str(out)]
    run.do("assemble", [*arguments, "--precision", "stored-half"])
    jobs = {}
    wanted = (("G3", "structure", "train"), ("unseen", "structure", "val"), ("G4", "latent", "val"))
    for number, (name, stage, data) in enumerate(wanted):
        arguments = ["ss4d.training", "evaluate", f"{stage}_flow", "--run", str(run.slim / stage), "--device", device]
        arguments += ["--checkpoint", str(run.networks), "--data", str(run.out / f"{data}-latents")]
        arguments += ["--clips", str(options.gate_clips), "--out", str(run.out / "figures" / name)]
        jobs[name] = run.start(name, arguments, number % options.gpus)
    jobs["sheet"] = run.start("sheet", [*sheet(run, out), "--device", device], 0)
    run.wait(**jobs)
    for name in jobs:
        text = (run.out / "logs" / f"{name}.log").read_text("utf-8", "replace")
        run.say(f"{name}:\n{text[-1500:]}")


def sheet(run: Run, checkpoint: Path) -> list[str]:
    count = str(min(6, run.options.val_clips))
    return [
        "tools.generation_sheet",
        "--checkpoint",
        str(checkpoint),
        "--clips",
        count,
        "--out",
        str(run.out / "sheet.png"),
    ]


if __name__ == "__main__":
    main()
