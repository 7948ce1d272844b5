"""Consistent4D's scores as its released scripts compute them, quirks included, to compare with numbers in print.

    python -m benchmarks.consistent4d.official_v1 --gt GT --pred PRED

Both folders hold `<object>/eval_<0..3>/<n>.png`. Nobody should score a new method with this: protocol.yaml is the
corrected form. Written from a description of the scripts' behaviour; tests/reference/test_consistent4d_v1.py holds it
against torchmetrics.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from bench4d.errors import FormatError
from bench4d.features import Request, vectors, weights_of
from bench4d.files import UNREADABLE, check_pixels
from bench4d.metric import MetricUnavailable, View
from bench4d.metric_loading import Loaded, find_weights, load_metric
from metrics import METRICS
from metrics.span import psnr, ssim

from .archives import OBJECTS, VIEWS

QUIRKS: Mapping[str, str] = {
    "frames-of-the-prediction": "The prediction's folder decides how many frames count; a shorter one is scored on the "
    "first frames, without notice.",
    "resize-default": "Every picture is resized to 512 x 512 with Pillow's default filter: bicubic from Pillow 7 on.",
    "white-counts": "No mask: the white background counts as much as the object.",
    "psnr-range": "PSNR's peak is the span of values in the true picture, not 255.",
    "ssim-range": "SSIM's range is the larger span of values of the two pictures, not 255.",
    "four-views": "The sum over views is divided by 4, however many views were asked for.",
    "pair-fvd": "FVD is computed between one predicted and one true video, so no covariance over videos is in it.",
}
# Scores that are metrics of ours, by the scripts' names, and which of them see the pictures in their own size.
OURS = {"clip": "clip-vit-b32", "lpips": "lpips-vgg", "fvd": "fvd-c4d"}
NATIVE = ("fvd",)
SIZE = 512
VIEW_DIVISOR = 4
FRAMES_MAX = 4096

Pictures = UInt8[np.ndarray, "T H W 3"]
Score = Callable[[Pictures, Pictures], Float64[np.ndarray, " n"]]  # one value a frame, or one for the film


def picture_files(folder: Path) -> list[Path]:
    """`<n>.png`, sorted as integers."""
    if not folder.is_dir():
        raise FormatError(folder, "a folder of pictures 0.png, 1.png, ...", "no such folder")
    names = [path for path in folder.iterdir() if path.suffix.lower() == ".png"]
    if not names or not all(path.stem.isdecimal() for path in names) or len(names) > FRAMES_MAX:
        found = f"{sorted(p.name for p in names)[:4]}"
        raise FormatError(folder, f"1 to {FRAMES_MAX} pictures with numbers as names", found)
    return sorted(names, key=lambda path: int(path.stem))


def read_pictures(files: Sequence[Path], size: int | None = SIZE) -> Pictures:
    """Resized as `resize-default` says; with `size` None as they are. RGBA is refused: it was not yet put on white."""
    pictures = []
    for path in files:
        try:
            with Image.open(path, formats=["PNG"]) as image:
                check_pixels(path, image.size)
                if image.mode != "RGB":
                    step = "Composite the true pictures on white first, as the official README says."
                    raise FormatError(path, "an 8-bit RGB PNG", f"mode {image.mode}", step)
                shown = image.resize((size, size), Image.Resampling.BICUBIC) if size else image
                pictures.append(np.asarray(shown))
        except FormatError:
            raise
        except UNREADABLE as error:
            raise FormatError(path, "a readable 8-bit RGB PNG", f"{type(error).__name__}: {error}"[:200]) from None
        if pictures[-1].shape != pictures[0].shape:
            raise FormatError(path, f"the size of the first, {pictures[0].shape[:2]}", f"{pictures[-1].shape[:2]}")
    return np.stack(pictures)


def as_score(loaded: Loaded) -> Score:
    """A metric of ours of unit "clip", ready to run, on opaque pictures."""
    run = loaded.score
    if run is None:
        raise MetricUnavailable(loaded.reason)
    if loaded.network is None:
        return lambda *pair: run(*(View(p, np.full(p.shape[:3], 255, np.uint8)) for p in pair))
    network, films = loaded.network, loaded.metric.films

    def of_features(*pair: Pictures) -> Float64[np.ndarray, " n"]:
        import torch  # slow to import, and only networks need it

        request = Request(network, films, (0,), tuple(range(len(pair[0]))))
        return run(*(vectors(request, torch.from_numpy(p[None]).to(network.place.device)) for p in pair))

    return of_features


def score_folders(
    gt: Path,
    pred: Path,
    resized: Mapping[str, Score],
    native: Mapping[str, Score] | None = None,
    objects: Sequence[str] = OBJECTS,
    views: Sequence[str] = VIEWS,
) -> dict[str, dict[str, float]]:
    """Score name -> {object: value, "average": their unweighted mean}, with every quirk of `QUIRKS`.

    Args:
        resized: scores that see 512 x 512 pictures.
        native: scores that see the pictures as they are, such as FVD.
    """
    native = native or {}
    table: dict[str, dict[str, float]] = {name: {} for name in (*resized, *native)}
    for object_id in objects:
        total = dict.fromkeys(table, 0.0)
        for view in views:
            predicted, truth = picture_files(pred / object_id / view), picture_files(gt / object_id / view)
            if len(truth) < len(predicted):
                expected = f"at least the {len(predicted)} pictures of the prediction"
                raise FormatError(gt / object_id / view, expected, f"{len(truth)}")
            pairs = [predicted, truth[: len(predicted)]]  # frames-of-the-prediction
            for scores, size in ((resized, SIZE), (native, None)):
                shown = [read_pictures(files, size) for files in pairs] if scores else []
                for name, score in scores.items():
                    total[name] += float(np.mean(score(*shown)))
        for name in table:
            table[name][object_id] = total[name] / VIEW_DIVISOR  # four-views
    return {name: {**row, "average": float(np.mean(list(row.values())))} for name, row in table.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gt", type=Path, required=True)
    parser.add_argument("--pred", type=Path, required=True)
    parser.add_argument("--objects", nargs="+", default=OBJECTS)
    parser.add_argument("--views", nargs="+", default=VIEWS)
    options = parser.parse_args()
    tell = partial(print, file=sys.stderr)  # the scores alone go to standard output
    ready: dict[str, Score] = {}
    for name, id in OURS.items():
        loaded = load_metric(METRICS[id], find_weights(weights_of(METRICS[id]), tell))
        try:
            ready[name] = as_score(loaded)
        except MetricUnavailable as reason:
            tell(f"{name} is left out: {reason}")
    native = {name: ready.pop(name) for name in NATIVE if name in ready}
    resized = {"psnr": psnr, "ssim": ssim, **ready}
    try:
        table = score_folders(options.gt, options.pred, resized, native, options.objects, options.views)
    except FormatError as error:
        sys.exit(f"error: {error}")
    sys.stdout.write(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
