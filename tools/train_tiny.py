"""Train ss4d-tiny from nothing: data, autoencoders, both flows, the checkpoint, its figures and pictures.

python tools/train_tiny.py --out runs/tiny --minutes 28 --gpus 2 --workers 32
python tools/train_tiny.py --out runs/tiny --minutes 50 --gpus 1

Two chains share the data and the image encoder. The first makes the flows' data and trains the structure autoencoder
(or takes one: --structure-vae), then stage 1 with the image encoder; the encoder is frozen after a quarter of that, and
stage 1 goes on. The second trains the latent autoencoder meanwhile, on data of its own, and stage 2 once the encoder is
there. With two GPUs each chain has its own. Steps of the flows follow from the time that is left and from the measured
time of a step. The same command again goes on where a run was stopped. OUT/slim has the flows' last moving averages,
10 MB each, every two minutes.

With --begin the image encoder of an earlier run is taken as it is and its flows are trained on: both begin at once.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench4d.files import read_json, write_json
from ss4d.data.config import read_section
from ss4d.training import state
from ss4d.training.export import slim

ROOT = Path(__file__).resolve().parents[1]
ENCODER = 0.25  # of stage 1's time, after which the image encoder is frozen
AUTOENCODER = 0.35  # of all the time, at most, for each autoencoder
STAGE1 = 0.5  # on one GPU: stage 1's share of what the autoencoders leave
CURRICULUM = ((0.35, 4), (0.65, 8))  # until this share of the steps, clips of so many frames; then all
ENDING = 75.0  # seconds that evaluation and pictures need
SAVE, VALIDATE = 120.0, 300.0  # seconds between checkpoints and validations
START = 30.0  # seconds from a command to its first step: imports, reading and checking the data
CAREFUL = 0.94  # planned steps / those that would fit


class Run:
    """Folders, processes and the clock of one call."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.out, self.began = options, options.out.resolve(), time.monotonic()
        self.data = (options.data or options.out).resolve()
        self.networks, self.slim = self.out / "networks", self.out / "slim"
        self.data_are_there, self.encoder_is_there = threading.Event(), threading.Event()
        self.lock = threading.Lock()
        self.networks.mkdir(parents=True, exist_ok=True)

    @property
    def left(self) -> float:
        """Seconds until training has to end."""
        return 60 * self.options.minutes - ENDING - (time.monotonic() - self.began)

    def release(self) -> None:
        """Let the second chain go on."""
        for event in (self.data_are_there, self.encoder_is_there):
            event.set()

    def say(self, text: str) -> None:
        line = f"{(time.monotonic() - self.began) / 60:5.1f} min  {text}\n"
        sys.stderr.write(line)
        sys.stderr.flush()
        with self.lock, (self.out / "progress.log").open("a", encoding="utf-8") as file:
            file.write(line)

    def do(self, name: str, arguments: list[str], gpu: int | None = None) -> None:
        """`python -m` (or `python`, of a file) with these arguments, to its end; what it prints goes to OUT/logs."""
        front = [sys.executable] if arguments[0].endswith(".py") else [sys.executable, "-m"]
        environment = dict(os.environ)
        if gpu is not None and self.options.device == "cuda":
            visible = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")
            environment["CUDA_VISIBLE_DEVICES"] = visible[gpu] if visible[0] else str(gpu)
        log = self.out / "logs" / f"{name}.log"
        log.parent.mkdir(exist_ok=True)
        self.say(name)
        with log.open("ab") as file:
            process = subprocess.Popen([*front, *arguments], stdout=file, stderr=file, cwd=ROOT, env=environment)
            while process.poll() is None:
                time.sleep(1)
                self.keep()
        self.keep()
        if process.returncode:
            raise RuntimeError(f"{name} failed:\n{log.read_text('utf-8', 'replace')[-3000:]}")
        self.say(f"done: {name}")

    def keep(self) -> None:
        """Copy to OUT/slim what the trainings of flows have saved."""
        with self.lock:
            for name in ("structure", "latent"):
                found, kept = state.checkpoints(self.out / name), state.checkpoints(self.slim / name)
                if found and (not kept or kept[-1].name != found[-1].name):
                    slim(self.out / name, self.slim / name)

    def training(self, section: str, run: str, data: Path, val: Path, *more: str) -> list[str]:
        """The arguments of a training; it goes on where it was stopped."""
        options = self.options
        arguments = ["ss4d.training", section, "--config", options.config, "--data", str(data), "--val", str(val)]
        arguments += ["--device", options.device, "--out", str(self.out / run)]
        if section.endswith("flow"):
            arguments += ["--checkpoint", str(self.networks)]
            if options.begin and (options.begin / f"{section}.json").is_file():
                arguments += ["--init", str(options.begin.resolve())]
            arguments += [part for change in options.set for part in ("--set", change)]
        if section == "latent_vae" and options.lpips_weights:
            arguments += ["--lpips-weights", str(options.lpips_weights.resolve())]
        if section == "structure_flow" and options.compile:
            arguments.append("--compile")
        return [*arguments, *(["--resume"] if state.checkpoints(self.out / run) else []), *more]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True, help="in all, data and evaluation included")
    parser.add_argument("--gpus", type=int, choices=(1, 2), default=1)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--config", default="tiny", help="tiny or a JSON file")
    parser.add_argument("--structure-vae", type=Path, metavar="DIR", help="a trained one, as export wrote it")
    parser.add_argument("--begin", type=Path, metavar="DIR", help="an earlier run's image encoder and flows, exported")
    parser.add_argument("--data", type=Path, metavar="DIR", help="where the data sets are, or will be (default: OUT)")
    parser.add_argument("--clips", type=int, default=2100, help="of the flows' training set")
    parser.add_argument("--view-clips", type=int, default=630, help="of the latent autoencoder's")
    parser.add_argument("--val-clips", type=int, default=63)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that make data")
    parser.add_argument("--render", choices=("cpu", "cuda"), default="cpu", help="what draws the data")
    parser.add_argument("--steps", type=int, nargs=3, metavar=("ENCODER", "STRUCTURE", "LATENT"), help="no measuring")
    parser.add_argument("--pilot", type=int, default=120, help="steps of a measurement, of which the last half counts")
    parser.add_argument("--lpips-weights", type=Path, metavar="DIR", help="folder with AlexNet's and LPIPS's weights")
    parser.add_argument("--gate-clips", type=int, default=10)
    parser.add_argument("--compile", action="store_true", help="stage 1 with compiled blocks")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="of both flows")
    run = Run(parser.parse_args())
    try:
        if run.options.begin:
            take(run, run.options.begin, "image_encoder")
            run.encoder_is_there.set()
        make_data(run, "val", "train-views")
        if run.options.gpus == 2:
            with ThreadPoolExecutor(2) as pool:
                chains = [pool.submit(first_chain, run, 0), pool.submit(second_chain, run, 1)]
                chains[0].add_done_callback(lambda chain: run.release())  # also if it has failed
            for chain in chains:
                chain.result()
        else:
            make_data(run, "train")
            latent_autoencoder(run, 0)
            first_chain(run, 0)
            second_chain(run, 0)
        finish(run)
    except RuntimeError as error:
        sys.exit(f"train_tiny: {error}")


def make_data(run: Run, *names: str) -> None:
    """Pictures for the latent autoencoder are two thirds of the work: the flows' clips, "train", have none."""
    options = run.options
    counts = {"val": options.val_clips, "train-views": options.view_clips, "train": options.clips}
    for name in names:
        if not (run.data / name / "index.json").is_file():
            split = name.removesuffix("-views")
            arguments = ["ss4d.data", "build", "--config", options.config, "--split", split]
            arguments += ["--clips", str(counts[name]), "--workers", str(options.workers), "--render", options.render]
            more = ["--no-views"] if name == "train" else []
            run.do(f"build-{name}", [*arguments, *more, "--out", str(run.data / name)])
    if "train" in names:
        run.data_are_there.set()


def take(run: Run, folder: Path, *names: str) -> None:
    """Networks of an earlier run, as they are."""
    for name in names:
        for suffix in (".json", ".safetensors"):
            shutil.copyfile(folder / f"{name}{suffix}", run.networks / f"{name}{suffix}")


def first_chain(run: Run, gpu: int) -> None:
    """The flows' data; the structure autoencoder, then stage 1 with the image encoder, then stage 1 alone."""
    make_data(run, "train")
    if run.options.structure_vae:
        take(run, run.options.structure_vae, "structure_encoder", "structure_decoder")
    autoencoder(run, "structure", gpu, run.data / "train")
    encode(run, "structure_latents", gpu)
    where = run.out / "train-structure_latents", run.out / "val-structure_latents"
    arguments = run.training("structure_flow", "structure", *where)
    plan = planned(run, "structure", gpu, where, STAGE1 if run.options.gpus == 1 else 1.0)
    if not (run.networks / "image_encoder.json").is_file():
        if done(run, "structure") < plan["encoder"]:
            run.do("structure", [*arguments, *schedule(run, plan, "structure"), "--until", str(plan["encoder"])], gpu)
        export(run, "structure")
    run.encoder_is_there.set()
    frozen = ["--set", "train.freeze=image_encoder", "--set", f"train.freeze_after={plan['encoder']}"]
    if done(run, "structure") < plan["structure"]:
        arguments = run.training("structure_flow", "structure", *where)  # now there is something to resume
        run.do("structure", [*arguments, *schedule(run, plan, "structure"), *frozen], gpu)


def second_chain(run: Run, gpu: int) -> None:
    """The latent autoencoder, then stage 2, as soon as there is the image encoder."""
    latent_autoencoder(run, gpu)
    run.encoder_is_there.wait()
    if not (run.networks / "image_encoder.json").is_file():
        raise RuntimeError("stage 1 has left no image encoder")
    where = run.out / "train-latents", run.out / "val-latents"
    plan = planned(run, "latent", gpu, where, 1.0)
    if done(run, "latent") < plan["latent"]:
        run.do("latent", [*run.training("latent_flow", "latent", *where), *schedule(run, plan, "latent")], gpu)


def latent_autoencoder(run: Run, gpu: int) -> None:
    autoencoder(run, "latent", gpu, run.data / "train-views")
    run.data_are_there.wait()
    encode(run, "latents", gpu)


def autoencoder(run: Run, name: str, gpu: int, data: Path) -> None:
    """Train one and export it, unless it is there."""
    if not (run.networks / f"{name}_encoder.json").is_file():
        more = ["--minutes", f"{AUTOENCODER * run.options.minutes:.2f}", "--set", "train.save_every=1000"]
        run.do(f"{name}-vae", run.training(f"{name}_vae", f"{name}-vae", data, run.data / "val", *more), gpu)
        export(run, f"{name}-vae")


def encode(run: Run, part: str, gpu: int) -> None:
    for split in ("val", "train"):
        out = run.out / f"{split}-{part}"
        if not (out / "index.json").is_file():
            arguments = ["ss4d.data", "encode", "--data", str(run.data / split), "--checkpoint", str(run.networks)]
            arguments += ["--parts", part, "--out", str(out), "--device", run.options.device]
            views = ["--views"] if split == "val" and part == "latents" else []
            run.do(f"encode-{split}-{part}", [*arguments, *views], gpu)


def export(run: Run, name: str) -> None:
    arguments = ["ss4d.training", "export", str(run.out / name), "--out", str(run.networks)]
    run.do(f"export-{name}", [*arguments, "--precision", "stored-half"])


def planned(run: Run, name: str, gpu: int, where: tuple[Path, Path], share: float) -> dict[str, int]:
    """How many steps a stage gets: plan-<name>.json, which stays for a call that goes on.

    A pilot on the small data set tells the time of a step with the longest clips; other phases cost no more.
    """
    path, options = run.out / f"plan-{name}.json", run.options
    if not path.is_file():
        seconds = None if options.steps else measured(run, name, gpu, where[1])
        if options.steps:
            plan: dict[str, Any] = dict(zip(("encoder", "structure", "latent"), options.steps, strict=True))
        else:
            steps = max(1, int(CAREFUL * (share * run.left - START) / seconds)) if seconds else 1
            plan = {name: steps, "encoder": max(1, int(ENCODER * steps))}
        plan |= {"encoder": 0} if options.begin else {}
        write_json(path, plan | {"seconds": seconds or 1.0})
    plan = dict(read_json(path))
    run.say(f"{name}: {plan}")
    return plan


def measured(run: Run, name: str, gpu: int, data: Path) -> float:
    """Seconds a step of a pilot."""
    shutil.rmtree(run.out / "pilot" / name, ignore_errors=True)
    pilot = run.options.pilot
    frozen = "image_encoder" if run.options.begin and name == "structure" else ""
    values = {"curriculum": [], "freeze": frozen, "freeze_after": 0, "log_every": max(1, pilot // 2)}
    more = [part for key, value in values.items() for part in ("--set", f"train.{key}={json.dumps(value)}")]
    arguments = run.training(f"{name}_flow", f"pilot/{name}", data, data, "--until", str(pilot), *more)
    no_val = arguments.index("--val")
    run.do(f"pilot-{name}", arguments[:no_val] + arguments[no_val + 2 :], gpu)
    lines = [json.loads(line) for line in (run.out / "pilot" / name / "log.jsonl").read_text("utf-8").splitlines()]
    return float(next(line["ms"] for line in reversed(lines) if line["kind"] == "train")) / 1000


def schedule(run: Run, plan: dict[str, Any], name: str) -> list[str]:
    """Length, curriculum, when to write what; it ends at the latest when the time is over."""
    steps, settings = plan[name], read_section(run.options.config, f"{name}_flow")["train"]
    frames, clips = settings["frames"], settings["clips"]
    parts = [(int(share * steps), min(short, frames)) for share, short in CURRICULUM]
    curriculum = [[until, short, clips * frames // short] for until, short in parts] if steps >= 10 else []
    changes = {"steps": steps, "curriculum": curriculum, "save_every": max(1, int(SAVE / plan["seconds"]))}
    changes |= {"validate_every": max(1, int(VALIDATE / plan["seconds"])), "validate_clips": 8}
    changes |= {"freeze": "", "freeze_after": 0} if name == "structure" else {}
    share = STAGE1 if run.options.gpus == 1 and name == "structure" else 1.0
    more = ["--minutes", f"{max(share * run.left, 1) / 60:.2f}"]
    return more + [part for key, value in changes.items() for part in ("--set", f"train.{key}={json.dumps(value)}")]


def done(run: Run, name: str) -> int:
    """Steps of a training that its last checkpoint has behind it."""
    found = state.checkpoints(run.out / name)
    return int(found[-1].name.removeprefix("step-")) if found else 0


def finish(run: Run) -> None:
    """The checkpoint, its figures, and what it makes of unseen objects."""
    options, out, device = run.options, run.out / "ss4d-tiny", run.options.device
    runs = ["--structure-flow", str(run.slim / "structure"), "--latent-flow", str(run.slim / "latent")]
    arguments = ["ss4d.training", "assemble", "--autoencoders", str(run.networks), *runs, "--out", str(out)]
    run.do("assemble", [*arguments, "--precision", "stored-half"])
    jobs = {}
    gates = (("G3", "structure", "train-structure_latents"), ("unseen", "structure", "val-structure_latents"))
    for name, stage, data in (*gates, ("G4", "latent", "val-latents")):
        arguments = ["ss4d.training", "evaluate", f"{stage}_flow", "--run", str(run.slim / stage), "--device", device]
        arguments += ["--checkpoint", str(run.networks), "--data", str(run.out / data)]
        jobs[name] = [*arguments, "--clips", str(options.gate_clips), "--out", str(run.out / "figures" / name)]
    sheet = ["tools.generation_sheet", "--checkpoint", str(out), "--clips", str(min(6, options.val_clips))]
    jobs["sheet"] = [*sheet, "--out", str(run.out / "sheet.png"), "--device", device]
    with ThreadPoolExecutor(len(jobs)) as pool:
        chosen = [pool.submit(run.do, name, job, k % options.gpus) for k, (name, job) in enumerate(jobs.items())]
    for name in jobs:
        text = (run.out / "logs" / f"{name}.log").read_text("utf-8", "replace")
        run.say(f"{name}:\n{text[-1500:]}")
    for one in chosen:
        one.result()


if __name__ == "__main__":
    main()
