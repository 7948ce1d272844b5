"""Train SS4D-tiny without one of its parts at a time, all with the same data, steps and seeds.

python tools/train_ablations.py --from runs/tiny --out runs/ablations --steps 4000 4000 --gpus 2 --at-once 3
python tools/train_ablations.py --from runs/tiny --out runs/ablations --steps 4000 4000 --seeds 1 --only no_windows

`--from` holds what every run takes as it is: `networks` with the autoencoders and the image encoder (frozen, as DINOv2
is in SS4D), and the encoded data; it is what tools/train_tiny.py left, or made as docs/training.md says.
ss4d/training/ablations.json holds changes of the flows' sections. A flow that an ablation does not change is the
reference's; one that is "like" another has its networks and differs by parameters of the method. So a stage of an
ablation is one training, and `--at-once` of them share a GPU. Written are OUT/checkpoints/<name>, and
OUT/methods/<name>, a method each, for `method_folders` of the workflow's config. The same command again goes on where
it was stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import shutil
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import yaml

from bench4d.files import read_json
from ss4d.data.config import read_section
from tools.train_tiny import CURRICULUM, ROOT, Run, done

AUTOENCODERS = ("structure_encoder", "structure_decoder", "latent_encoder", "gaussian_decoder")
STAGES = ("structure", "latent")
METHOD = ROOT / "baselines" / "ss4d_tiny"  # what the others are variants of
RUN = '''"""{title}: ss4d/run.py with the parameters of this folder's method.yaml."""

import runpy

if __name__ == "__main__":
    runpy.run_path({program!r}, run_name="__main__")
'''


class Ablations:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.given, self.out = options, options.given.resolve(), options.out.resolve()
        self.table: dict[str, Any] = read_json(ROOT / "ss4d" / "training" / "ablations.json")
        self.gpus: queue.Queue[int] = queue.Queue()
        for _ in range(options.at_once):
            for gpu in range(options.gpus):
                self.gpus.put(gpu)
        self.encoder = self.out / "encoder"  # alone in its folder, so that nothing else is begun with
        copy_networks(self.given / "networks", self.encoder, "image_encoder")

    def names(self) -> list[str]:
        """What is trained, the reference first."""
        names = [name for name, entry in self.table.items() if "like" not in entry]
        return [name for name in names if not self.options.only or name in {"reference", *self.options.only}]

    def trainings(self) -> list[tuple[str, str, int]]:
        """Name, stage and seed of each."""
        stages = [(name, stage) for name in self.names() for stage in STAGES if self.owner(name, stage) == name]
        return [(*one, seed) for seed in self.options.seeds for one in stages]

    def owner(self, name: str, stage: str) -> str:
        """Whose training a stage of an ablation is: its own, or the reference's where it changes nothing."""
        return name if f"{stage}_flow" in self.table[name] else "reference"

    def train(self, name: str, stage: str, seed: int) -> None:
        gpu = self.gpus.get()
        try:
            self._train(name, stage, seed, gpu)
        finally:
            self.gpus.put(gpu)

    def _train(self, name: str, stage: str, seed: int, gpu: int) -> None:
        steps = self.options.steps[STAGES.index(stage)]
        run = self.run(name, seed)
        if done(run, stage) >= steps:
            return
        settings = read_section(self.options.config, f"{stage}_flow")["train"]
        frames, clips = settings["frames"], self.options.clips or settings["clips"]
        parts = [(int(share * steps), min(short, frames)) for share, short in CURRICULUM] if steps >= 10 else []
        values = {"steps": steps, "seed": seed, "clips": clips, "save_every": max(1, steps // 2)}
        values |= {"curriculum": [[n, t, clips * frames // t] for n, t in parts]}
        values |= {"freeze": "image_encoder", "freeze_after": 0} if stage == "structure" else {}
        changes = [f"train.{key}={json.dumps(value)}" for key, value in values.items()]
        changes += self.table[name][f"{stage}_flow"]
        part = {"structure": "structure_latents", "latent": "latents"}[stage]
        where = self.given / f"train-{part}", self.given / f"val-{part}"
        more = ["--init", str(self.encoder)] if stage == "structure" else []
        more += [part for change in changes for part in ("--set", change)]
        run.do(stage, run.training(f"{stage}_flow", stage, *where, *more), gpu)

    def assemble(self, name: str, seed: int) -> None:
        """OUT/checkpoints/<name>, from the trainings of its stages."""
        checkpoint = self.checkpoint(name, seed)
        if (checkpoint / "pipeline.json").is_file():
            return
        run = self.run(name, seed)
        flows = [str(self.folder(self.owner(name, stage), seed) / stage) for stage in STAGES]
        arguments = ["ss4d.training", "assemble", "--autoencoders", str(run.networks), "--structure-flow", flows[0]]
        arguments += ["--latent-flow", flows[1], "--out", str(checkpoint), "--precision", "stored-half"]
        run.do("assemble", arguments)

    def run(self, name: str, seed: int) -> Run:
        """Its folder, with the networks that all share."""
        run = Run(argparse.Namespace(**vars(self.options) | {"out": self.folder(name, seed), "data": self.given}))
        copy_networks(self.given / "networks", run.networks, "image_encoder", *AUTOENCODERS)
        return run

    def method(self, name: str, seed: int) -> None:
        """A method folder beside the others: the tiny one with this checkpoint."""
        entry = self.table[name]
        checkpoint = self.checkpoint(entry.get("like", name), seed)
        sampler = self.options.sampler  # else the checkpoint's
        folder = self.out / "methods" / (self.name(name, seed) + (f"_steps{sampler[0]}" if sampler else ""))
        folder.mkdir(parents=True, exist_ok=True)
        data: dict[str, Any] = yaml.safe_load((METHOD / "method.yaml").read_text("utf-8"))
        data["name"] = f"SS4D-tiny, {name.replace('_', ' ')}" + (f", seed {seed}" if seed else "")
        data["name"] += f", {sampler[0]} steps" if sampler else ""
        data["parameters"] |= {"checkpoint": str(checkpoint)} | entry.get("parameters", {})
        if sampler:
            data["parameters"] |= {"steps": int(sampler[0]), "guidance": float(sampler[1])}
        (folder / "method.yaml").write_text(yaml.safe_dump(data, sort_keys=False), "utf-8")
        program = str(ROOT / "ss4d" / "run.py")
        (folder / "run.py").write_text(RUN.format(title=data["name"], program=program), "utf-8")
        shutil.copyfile(METHOD / "environment.yaml", folder / "environment.yaml")

    def name(self, name: str, seed: int) -> str:
        return f"ablation_{name}" + (f"_seed{seed}" if seed else "")

    def folder(self, name: str, seed: int) -> Path:
        return self.out / "runs" / self.name(name, seed)

    def checkpoint(self, name: str, seed: int) -> Path:
        return self.out / "checkpoints" / self.name(name, seed)


def copy_networks(source: Path, to: Path, *names: str) -> None:
    to.mkdir(parents=True, exist_ok=True)
    for name in names:
        for suffix in (".json", ".safetensors"):
            shutil.copyfile(source / f"{name}{suffix}", to / f"{name}{suffix}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="given", type=Path, required=True, metavar="RUN")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, nargs=2, metavar=("STRUCTURE", "LATENT"), required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these and the reference (default: all)")
    parser.add_argument("--clips", type=int, help="of all frames in a step (default: the configuration's)")
    sampler = "more methods, NAME_stepsN, that sample both stages so (default: as the configuration says)"
    parser.add_argument("--sampler", nargs=2, metavar=("STEPS", "GUIDANCE"), help=sampler)
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=1, metavar="N", help="trainings that share a GPU (default 1)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--config", default="tiny", help="tiny or a JSON file")
    parser.set_defaults(set=[], compile=False, lpips_weights=None, begin=None)
    options = parser.parse_args()
    share = (os.cpu_count() or 1) // (options.gpus * options.at_once)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, share)))  # else every training starts a thread a processor
    ablations = Ablations(options)
    if unknown := set(options.only or ()) - set(ablations.table):
        sys.exit(f"train_ablations: --only: expected some of {list(ablations.table)}; found {sorted(unknown)}")
    failed = in_parallel(ablations.train, ablations.trainings(), options.gpus * options.at_once)
    whole = [(name, seed) for name in ablations.names() for seed in options.seeds]
    failed += in_parallel(ablations.assemble, whole, 4)
    for name, entry in ablations.table.items():
        for seed in options.seeds:
            if (ablations.checkpoint(entry.get("like", name), seed) / "pipeline.json").is_file():
                ablations.method(name, seed)
    if failed:
        sys.exit("train_ablations: " + "\n".join(failed))


def in_parallel(function: Callable[..., None], calls: Sequence[tuple[Any, ...]], workers: int) -> list[str]:
    """Call `function` with each; what failed, in words."""
    with ThreadPoolExecutor(workers) as pool:
        running = [pool.submit(function, *call) for call in calls]
    errors = [(call, job.exception()) for call, job in zip(calls, running, strict=True)]
    return [f"{', '.join(map(str, call))}: {error}" for call, error in errors if error]


if __name__ == "__main__":
    main()
