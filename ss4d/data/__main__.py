"""Training data on the command line: `python -m ss4d.data build | verify | info | sheet | encode`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from bench4d.errors import FormatError

from .build import Job, build
from .config import DataConfig
from .sources import asset_ids, synth_ids

LATENTS = ("structure_latents", "latents")  # as `encode.LATENTS`; that module needs torch


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(prog="python -m ss4d.data", description=__doc__)
    commands = whole.add_subparsers(dest="command", required=True)
    make = commands.add_parser("build", help="make a data set, or finish one")
    make.add_argument("--config", default="tiny", help="tiny, small, full or a .json file")
    make.add_argument("--out", type=Path, required=True)
    make.add_argument("--clips", type=int, default=2000, help="of synth4d")
    make.add_argument("--first-seed", type=int, help="of synth4d; by default the first of the split")
    make.add_argument("--split", choices=("train", "val"), default="train")
    make.add_argument("--assets", type=Path, help="a folder of folders, each an asset or one mesh file a frame")
    make.add_argument("--workers", type=int, default=1, help="processes")
    make.add_argument("--no-views", action="store_true", help="no pictures but the condition's, as flows need it")
    make.add_argument("--render", choices=("cpu", "cuda"), default="cpu")
    make.add_argument("--encoder", help='DINOv2\'s weights, for features of kind "dinov2"')
    make.add_argument("--device", default="cpu", help="of that encoder")
    for name, text in (("verify", "read and check everything"), ("info", "print counts and sizes")):
        commands.add_parser(name, help=text).add_argument("folder", type=Path)
    sheet = commands.add_parser("sheet", help="a picture of some clips")
    sheet.add_argument("folder", type=Path)
    sheet.add_argument("--out", type=Path, required=True, help="a .png")
    sheet.add_argument("--clips", type=int, default=6)
    sheet.add_argument("--first", type=int, default=0)
    latents = commands.add_parser("encode", help="latents of a data set, by trained autoencoders")
    latents.add_argument("--data", type=Path, required=True)
    latents.add_argument("--checkpoint", type=Path, required=True)
    latents.add_argument("--out", type=Path, required=True)
    latents.add_argument("--device", default="cpu")
    latents.add_argument("--frames", type=int, help="that the latent encoder sees together; all of a clip by default")
    latents.add_argument("--parts", nargs="+", choices=LATENTS, default=LATENTS, help="which latents (default: both)")
    latents.add_argument("--views", action="store_true", help="keep the views, which validation needs")
    return whole


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        run(options)
    except FormatError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def run(options: argparse.Namespace) -> None:
    if options.command == "build":
        config = DataConfig.read(options.config)
        if options.no_views:
            config = replace(config, views=replace(config.views, count=0))
        if options.assets is None:
            clips = synth_ids(options.split, options.clips, options.first_seed)
        else:
            clips = asset_ids(options.assets)
        job = Job(config, options.out, options.assets, options.render, options.encoder, options.device)
        build(job, clips, options.split, options.workers)
        options.folder, options.command = options.out, "info"
    if options.command in ("verify", "info"):
        from .check import describe, verify  # here and below: torch, which building does without

        show(verify(options.folder) if options.command == "verify" else describe(options.folder))
    elif options.command == "sheet":
        from .sheet import write_sheet

        write_sheet(options.folder, options.out, options.clips, options.first)
    else:
        from .encode import encode

        settings = (options.device, options.frames, options.views, options.parts)
        show(encode(options.data, options.checkpoint, options.out, *settings)["normalisation"])


def show(data: object) -> None:
    sys.stdout.write(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
