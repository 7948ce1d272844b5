"""Oracle, static: the truth's first frame for all times. What it loses against the truth is due to motion alone."""

import argparse
import json
import shutil
import sys
from pathlib import Path

from safetensors import safe_open
from safetensors.numpy import save_file


def freeze_tensors(source, target):
    """Keep the first frame of each tensor, without offsets: it is then shared by all times."""
    frozen = {}
    with safe_open(source, "numpy") as file:
        names = set(file.keys())
        for name in sorted(names):
            if name.endswith(".offsets"):
                continue
            if name + ".offsets" in names:
                frozen[name] = file.get_slice(name)[: int(file.get_tensor(name + ".offsets")[1])]
            else:
                frozen[name] = file.get_tensor(name)
    save_file(frozen, target)


def freeze_views(source, target):
    """Truth may be images only: the first image of each view, for all times."""
    for image in sorted(source.glob("*/*.png")):
        folder = target / image.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image.parent / "0000.png", folder / image.name)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", type=Path, required=True)
    job = json.loads(parser.parse_args().job.read_text("utf-8"))
    for clip in job["clips"]:
        print(clip["id"], file=sys.stderr, flush=True)
        truth, out = Path(clip["truth"]) / "asset", Path(clip["out"])
        out.mkdir(parents=True, exist_ok=True)
        if json.loads((truth / "asset.json").read_text("utf-8"))["kind"] == "views":
            freeze_views(truth / "views", out / "views")
        else:
            freeze_tensors(truth / "frames.safetensors", out / "frames.safetensors")
        shutil.copyfile(truth / "asset.json", out / "asset.json")
        (out / "DONE").touch()


if __name__ == "__main__":
    main()
