"""Train SS4D-tiny without one of its parts at a time, all with the same data, steps and seeds.

python tools/train_ablations.py --from runs/tiny --out runs/ablations --steps 4000 4000 --gpus 2
python tools/train_ablations.py --from runs/tiny --out runs/ablations --steps 4000 4000 --seeds 1 --only no_windows

`--from` is what tools/train_tiny.py left: autoencoders and encoded data. ss4d/training/ablations.json holds changes of
both flows' sections. One without "structure_flow" takes stage 1 of the reference, one that is "like" another has its
networks and differs by parameters of the method. The small image encoder is trained along stage 1 to its end. A GPU
does one ablation after the other. Written are OUT/checkpoints/<name>, and OUT/methods/<name>, a method each, for
`method_folders` of the workflow's config. The same command again goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import queue
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import yaml

from bench4d.files import read_json
from ss4d.data.config import read_section
from tools.train_tiny import CURRICULUM, ROOT, Run, done

AUTOENCODERS = ("structure_encoder", "structure_decoder", "latent_encoder", "gaussian_decoder")
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
        for gpu in range(options.gpus):
            self.gpus.put(gpu)
        self.stage1 = {seed: threading.Event() for seed in options.seeds}

    def trained(self) -> list[tuple[str, int]]:
        """Names and seeds, references first."""
        names = [name for name, entry in self.table.items() if "like" not in entry]
        wanted = [name for name in names if not self.options.only or name in {"reference", *self.options.only}]
        return [(name, seed) for seed in self.options.seeds for name in wanted]

    def train(self, name: str, seed: int) -> None:
        gpu = self.gpus.get()
        try:
            self._train(name, seed, gpu)
        finally:
            self.gpus.put(gpu)
            if name == "reference":
                self.stage1[seed].set()  # also if it has failed

    def _train(self, name: str, seed: int, gpu: int) -> None:
        entry, here, checkpoint = self.table[name], self.folder(name, seed), self.checkpoint(name, seed)
        if (checkpoint / "pipeline.json").is_file():
            return
        run = Run(argparse.Namespace(**vars(self.options) | {"out": here, "data": self.given}))
        for network in AUTOENCODERS:
            for suffix in (".json", ".safetensors"):
                shutil.copyfile(self.given / "networks" / f"{network}{suffix}", run.networks / f"{network}{suffix}")
        if "structure_flow" in entry:
            structure = here / "structure"
            self.flow(run, "structure", entry["structure_flow"], seed, gpu)
            if name == "reference":
                self.stage1[seed].set()
        else:
            self.stage1[seed].wait()
            structure = self.folder("reference", seed) / "structure"
        if not (run.networks / "image_encoder.json").is_file():
            run.do(
                "export", ["ss4d.training", "export", str(structure), "--out", str(run.networks / "of-stage-1")], gpu
            )
            for path in (run.networks / "of-stage-1").glob("image_encoder.*"):
                shutil.copyfile(path, run.networks / path.name)
        self.flow(run, "latent", entry["latent_flow"], seed, gpu)
        runs = ["--structure-flow", str(structure), "--latent-flow", str(here / "latent")]
        arguments = ["ss4d.training", "assemble", "--autoencoders", str(run.networks), *runs]
        run.do("assemble", [*arguments, "--out", str(checkpoint), "--precision", "stored-half"], gpu)

    def flow(self, run: Run, name: str, changes: list[str], seed: int, gpu: int) -> None:
        steps = self.options.steps[("structure", "latent").index(name)]
        if done(run, name) >= steps:
            return
        settings = read_section(self.options.config, f"{name}_flow")["train"]
        frames, clips = settings["frames"], settings["clips"]
        parts = [(int(share * steps), min(short, frames)) for share, short in CURRICULUM] if steps >= 10 else []
        values = {"steps": steps, "seed": seed, "curriculum": [[n, t, clips * frames // t] for n, t in parts]}
        values |= {"save_every": max(1, steps // 2)} | (
            {"freeze": "", "freeze_after": 0} if name == "structure" else {}
        )
        more = [f"train.{key}={json.dumps(value)}" for key, value in values.items()]
        part = {"structure": "structure_latents", "latent": "latents"}[name]
        where = self.given / f"train-{part}", self.given / f"val-{part}"
        arguments = run.training(f"{name}_flow", name, *where, *(x for c in (*more, *changes) for x in ("--set", c)))
        run.do(name, arguments, gpu)

    def method(self, name: str, seed: int) -> None:
        """A method folder beside the others: the tiny one with this checkpoint."""
        entry = self.table[name]
        checkpoint = self.checkpoint(entry.get("like", name), seed)
        folder = self.out / "methods" / self.name(name, seed)
        folder.mkdir(parents=True, exist_ok=True)
        data: dict[str, Any] = yaml.safe_load((METHOD / "method.yaml").read_text("utf-8"))
        data["name"] = f"SS4D-tiny, {name.replace('_', ' ')}" + (f", seed {seed}" if seed else "")
        data["parameters"] |= {"checkpoint": str(checkpoint)} | entry.get("parameters", {})
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="given", type=Path, required=True, metavar="RUN")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, nargs=2, metavar=("STRUCTURE", "LATENT"), required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these and the reference (default: all)")
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--config", default="tiny", help="tiny or a JSON file")
    parser.set_defaults(set=[], compile=False, lpips_weights=None, begin=None)
    options = parser.parse_args()
    ablations = Ablations(options)
    if unknown := set(options.only or ()) - set(ablations.table):
        sys.exit(f"train_ablations: --only: expected some of {list(ablations.table)}; found {sorted(unknown)}")
    todo = ablations.trained()
    with ThreadPoolExecutor(options.gpus) as pool:
        running = [pool.submit(ablations.train, *one) for one in todo]
    failed = [(one, job.exception()) for one, job in zip(todo, running, strict=True) if job.exception()]
    for name, entry in ablations.table.items():
        for seed in options.seeds:
            if (ablations.checkpoint(entry.get("like", name), seed) / "pipeline.json").is_file():
                ablations.method(name, seed)
    if failed:
        sys.exit("train_ablations: " + "\n".join(f"{name}, seed {seed}: {error}" for (name, seed), error in failed))


if __name__ == "__main__":
    main()
