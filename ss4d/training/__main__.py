"""SS4D's training on the command line: docs/training.md."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch
import torch.distributed as dist

from bench4d.errors import FormatError
from bench4d.files import write_json

from ..data.store import Store
from ..trellis import WarmStart
from .assemble import assemble
from .config import read_training
from .evaluate import GATES, evaluate
from .evaluate_flow import evaluate_flow
from .export import begin_with, export, from_checkpoint, read_networks, slim
from .flow import Frozen
from .latent_flow import LatentFlow
from .latent_vae import LatentVAE
from .lpips import Perceptual, find_weights
from .structure_flow import StructureFlow
from .structure_vae import StructureVAE
from .task import Backend, Rasteriser, Task
from .trainer import Options, World, train

TRAIN = """Train on a data set of `python -m ss4d.data build`.

  python -m ss4d.training latent_vae --config tiny --data DATA --val VAL --out RUN --minutes 11
  torchrun --nproc-per-node 4 -m ss4d.training latent_vae --config full ...

RUN gets config.json, log.jsonl, pictures/ and checkpoints/; --resume goes on from the last of these exactly."""
EVALUATE = (
    """Measure networks and write sheets to look at: autoencoders as they were exported, flows as they are in a run."""
)
FLOWS = ("structure_flow", "latent_flow")
ENCODER = "of a flow: DINOv2's weights (file, folder or hub id), where no image encoder of our own is trained"
BEGIN = """Networks of a checkpoint in the released layout (SS4D's, TRELLIS's or ours) as --init and --checkpoint take
them, with the units of its latents: what fine-tuning begins with."""
INIT = "folder of exported networks to begin with, as fine-tuning does, instead of random weights"
CHECKPOINT = "folder of exported networks that a flow builds upon (image encoder) or is validated with (decoders)"
TASKS: dict[str, Any] = {"structure_vae": StructureVAE, "latent_vae": LatentVAE}
TASKS |= {"structure_flow": StructureFlow, "latent_flow": LatentFlow}
PRECISION = "half: blocks in float16; stored-half: the same, but computed in float32 (for CPUs)"
ASSEMBLE = "Put trained autoencoders and both flows together, with pipeline.json: what `python -m ss4d` runs."
SLIM = (
    "Copy the last moving average of a run in half precision: enough for assemble and evaluate, too little to resume."
)
NETWORKS = "folder of the autoencoders and of the image encoder that stage 2 was trained with"
EXPORT = "Write a run's averaged weights in the layout of checkpoints: <network>.json and <network>.safetensors."


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m ss4d.training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    form = argparse.RawDescriptionHelpFormatter
    for name in TASKS:
        command = commands.add_parser(name, help=f"train {name}", description=TRAIN, formatter_class=form)
        command.add_argument("--config", required=True, metavar="SIZE", help="tiny, small, full or a JSON file")
        command.add_argument("--data", type=Path, required=True, metavar="DIR", help="data set to train on")
        command.add_argument("--val", type=Path, metavar="DIR", help="data set to validate on")
        command.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the run")
        command.add_argument("--checkpoint", type=Path, metavar="DIR", help=CHECKPOINT)
        command.add_argument("--init", type=Path, metavar="DIR", help=INIT)
        if name in FLOWS:
            command.add_argument("--image-encoder", metavar="PATH", help=ENCODER)
        command.add_argument("--steps", type=int, help="train.steps, if not the configuration's")
        command.add_argument("--minutes", type=float, help="stop after about so long, with a checkpoint")
        command.add_argument("--until", type=int, metavar="STEP", help="stop there with a checkpoint; to be resumed")
        command.add_argument("--resume", action="store_true", help="go on with the run in RUN")
        command.add_argument("--accumulate", type=int, default=1, help="parts of a process's batch, to save memory")
        command.add_argument("--data-device", help="where the data set is kept (default: with the networks)")
        command.add_argument("--tensorboard", action="store_true", help="write TensorBoard's files too")
        help = "let TorchInductor fuse the blocks on dense tokens"
        command.add_argument("--compile", action="store_true", help=help)
        help = "a value of the section: train.lr=1e-3, loss.lpips=0; may be repeated"
        command.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help=help)
        _add_backend(command)
    command = commands.add_parser("evaluate", help="the figures of acceptance", description=EVALUATE)
    command.add_argument("what", choices=tuple(GATES))
    command.add_argument("--checkpoint", type=Path, required=True, metavar="DIR", help="folder that export wrote")
    command.add_argument("--run", type=Path, metavar="RUN", help="of a flow: its last moving average is measured")
    command.add_argument("--clips", type=int, metavar="N", help="the first so many (default: all)")
    help = "of a flow: another value of its run, such as loss.sampler.steps=8; may be repeated"
    command.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help=help)
    command.add_argument("--data", type=Path, required=True, metavar="DIR", help="data set to measure on")
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="figures.json and sheets")
    command.add_argument("--image-encoder", metavar="PATH", help=ENCODER)
    command.add_argument("--lpips", action="store_true", help="also lpips-alex, which needs its weights")
    _add_backend(command)
    command = commands.add_parser("export", help="weights for use", description=EXPORT)
    command.add_argument("run", type=Path, metavar="RUN")
    command.add_argument("--out", type=Path, required=True, metavar="DIR")
    command.add_argument("--precision", choices=("float32", "half", "stored-half"), default="float32", help=PRECISION)
    command = commands.add_parser("slim", help="what assemble and evaluate need of a run", description=SLIM)
    command.add_argument("run", type=Path, metavar="RUN")
    command.add_argument("--out", type=Path, required=True, metavar="DIR")
    command = commands.add_parser("assemble", help="a checkpoint that the pipeline runs", description=ASSEMBLE)
    command.add_argument("--autoencoders", type=Path, required=True, metavar="DIR", help=NETWORKS)
    command.add_argument("--structure-flow", type=Path, required=True, metavar="RUN")
    command.add_argument("--latent-flow", type=Path, required=True, metavar="RUN")
    command.add_argument("--out", type=Path, required=True, metavar="DIR")
    command.add_argument("--precision", choices=("float32", "half", "stored-half"), default="float32", help=PRECISION)
    help = "of both flows' samplers, as loss.sampler.steps=2 (default: as they were validated); may be repeated"
    command.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help=help)
    command = commands.add_parser("begin", help="what fine-tuning begins with", description=BEGIN)
    command.add_argument("--checkpoint", required=True, metavar="DIR_OR_REPO", help="released layout")
    command.add_argument("--image-encoder", metavar="PATH", help="DINOv2's weights, if they are not beside it")
    help = "how blocks in time begin that TRELLIS lacks (docs/ss4d.md)"
    command.add_argument("--warm-start", choices=get_args(WarmStart), default="xavier", help=help)
    command.add_argument("--out", type=Path, required=True, metavar="DIR")
    options = parser.parse_args(arguments)
    actions: dict[str, Any] = {"evaluate": _evaluate, "export": _export, "slim": _slim, "assemble": _assemble}
    actions["begin"] = _begin
    try:
        actions.get(options.command, _train)(options)
    except FormatError as error:
        sys.exit(f"ss4d.training: {error}")


def _add_backend(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", default="cuda", help='"cuda" (default) or "cpu"; decides the next four')
    command.add_argument("--precision", choices=("float32", "bfloat16"), help="of products (bfloat16 on CUDA)")
    command.add_argument("--attention", choices=("grouped", "varlen"), help="kernel (varlen on CUDA)")
    command.add_argument("--convolution", choices=("taps", "triton"), help="of sparse tensors (triton on CUDA)")
    command.add_argument("--rasteriser", choices=get_args(Rasteriser), help="of Gaussians (cuda on CUDA, else numba)")
    command.add_argument("--lpips-weights", type=Path, metavar="DIR", help="folder with AlexNet's and LPIPS's weights")


def _backend(options: argparse.Namespace, rank: int = 0) -> Backend:
    backend = Backend.of(f"cuda:{rank}" if options.device == "cuda" else options.device)
    chosen = {name: getattr(options, name) for name in ("precision", "attention", "convolution", "rasteriser")}
    backend = replace(backend, **{name: value for name, value in chosen.items() if value})
    if backend.device.type == "cuda":
        torch.cuda.set_device(backend.device)
        torch.backends.cudnn.benchmark = True
    sys.stderr.write(f"{backend}\n")
    return backend


def _train(options: argparse.Namespace) -> None:
    # torchrun tells its processes about each other by these variables; without it there is one process.
    world = World(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))
    backend = replace(_backend(options, int(os.environ.get("LOCAL_RANK", 0))), compile=options.compile)
    changes = list(options.set) + ([f"train.steps={options.steps}"] if options.steps else [])
    section = read_training(options.config, options.command, changes)
    place = torch.device(options.data_device) if options.data_device else backend.device
    store = Store.read(options.data, place, parts=TASKS[options.command].parts)
    validation = None
    if options.val and not world.rank:
        validation = Store.read(options.val, place, parts=TASKS[options.command].validation_parts)
    encoder = _encoder(options, backend)
    task: Task
    if options.command == "structure_vae":
        task = StructureVAE(section, backend)
    elif options.command == "latent_vae":
        task = LatentVAE(section, backend, options.lpips_weights)
    elif options.command == "structure_flow":
        if options.val and options.checkpoint is None:
            raise FormatError("--checkpoint", "the folder of the structure decoder, for validation", "none")
        task = StructureFlow(section, backend, store, options.checkpoint, encoder)
    else:
        task = LatentFlow(section, backend, store, options.checkpoint, encoder)
    init = begin_with(task.networks, section, options.init) if options.init else {}
    run = Options(options.accumulate, options.minutes, options.until, options.resume, options.tensorboard, init)
    if world.size > 1:
        dist.init_process_group("nccl" if backend.device.type == "cuda" else "gloo")
    try:
        train(task, store, options.out, backend, run, validation, world)
    finally:
        if world.size > 1:
            dist.destroy_process_group()


def _encoder(options: argparse.Namespace, backend: Backend) -> Frozen | None:
    source = getattr(options, "image_encoder", None)
    return Frozen.dino(source, backend.device) if source else None


def _evaluate(options: argparse.Namespace) -> None:
    backend = _backend(options)
    if options.what in FLOWS:
        if options.run is None or options.lpips:
            raise FormatError("evaluate", f"--run and no --lpips for {options.what}", "another choice")
        task = TASKS[options.what]
        store = Store.read(options.data, backend.device, parts=task.validation_parts)
        settings = (options.checkpoint, options.out, options.clips, options.set, _encoder(options, backend))
        found = evaluate_flow(options.run, store, backend, *settings)
        sys.stdout.write(f"{found}\n")
        return
    networks, hashes = read_networks(options.checkpoint, options.what, backend.device)
    parts = StructureVAE.parts if options.what == "structure_vae" else LatentVAE.parts
    store = Store.read(options.data, backend.device, parts=parts)
    lpips = Perceptual(find_weights(options.lpips_weights), backend.device) if options.lpips else None
    found = evaluate(options.what, networks, store, backend, options.out, lpips)
    record = {"figures": found.figures, "clips": found.clips, "met": found.met, "weights": hashes}
    write_json(options.out / "figures.json", record)
    sys.stdout.write(f"{found}\n")


def _export(options: argparse.Namespace) -> None:
    for path in export(options.run, options.out, options.precision):
        sys.stdout.write(f"{path}\n")


def _slim(options: argparse.Namespace) -> None:
    sys.stdout.write(f"{slim(options.run, options.out)}\n")


def _assemble(options: argparse.Namespace) -> None:
    runs = (options.structure_flow, options.latent_flow)
    sys.stdout.write(f"{assemble(options.autoencoders, *runs, options.out, options.precision, options.set)}\n")


def _begin(options: argparse.Namespace) -> None:
    for path in from_checkpoint(options.checkpoint, options.image_encoder, options.warm_start, options.out):
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
