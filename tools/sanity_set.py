"""Score a truth and known damages of it with every metric that runs here: what does each metric notice?

python tools/sanity_set.py                                          the first table of docs/sanity.md
python tools/sanity_set.py --size 64 --frames 5 --views 2           the second, which a test holds
python tools/sanity_set.py --random-weights --size 64 --frames 3 --views 2    the third, likewise
python tools/sanity_set.py --object fish-5 --size 256 --frames 16   another object
BENCH4D_WEIGHTS=/my/weights python tools/sanity_set.py              with the networks that lie there

The truth is an object of synth4d, seen by three novel cameras of its protocol. The damages, from harmless to hopeless:

    truth                                    level 0
    shift      all pictures 1 pixel right    level 1
    blur       Gaussian, 1/128 of the side   level 1
    shuffle    the frames in another order   level 2
    frozen     the first frame for ever      level 2
    billboard  the input view on a card      level 3
    empty      nothing, on white             level 4

A metric that gives a damage the value of something of a lower level (or a better one) cannot tell it from that, or
prefers it. Levels are this page's opinion of what is worse; nothing else uses them.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from PIL import Image, ImageFilter

from bench4d.asset_io import read_asset
from bench4d.cameras import orbit
from bench4d.clip import Clip
from bench4d.features import Request, pictures_of, vectors, weights_of
from bench4d.files import sha256_file
from bench4d.metric import MetricUnavailable, View
from bench4d.metric_loading import Loaded, Loader
from bench4d.render import composite, render_mesh, to_straight
from bench4d.similarity import transformed
from bench4d.weights import Locations, look, read_catalogue
from benchmarks.synth4d.generator import make_object
from metrics import METRICS
from tools import random_weights

ROOT = Path(__file__).resolve().parents[1]
ELEVATION, RADIUS, FOV, FPS = 15.0, 2.0, 40.0, 8.0  # synth4d's protocol
INPUT, NOVEL = 0.0, (75.0, 165.0, 255.0)
WHITE = (1.0, 1.0, 1.0)
LEVELS = {"truth": 0, "shift": 1, "blur": 1, "shuffle": 2, "frozen": 2, "billboard": 3, "empty": 4}
EQUAL = 1e-9  # of the values' range: two values closer than this are one
# With random weights: those of full size that are quick enough to be run by a test.
RANDOM = ("clip-vit-b32", "clip-temporal-vit-b32", "dreamsim-dino-vitb16", "fid-inception", "fid-vid-frames")
RANDOM += ("fvd-c4d", "fvd-i3d", "fvd-f", "fvd-v", "kvd-i3d", "fid-vid-r3d")
UNWEIGHED = ("truth", "shift", "shuffle", "frozen", "empty")  # blur and billboard: what is said of shift holds for them
CEILING = {"clip-temporal-vit-b32": 1.0}  # metrics that the truth itself need not bring to their best value
BLUR = 1 / 128  # of the picture's side, standard deviation


Seen = dict[tuple[str, tuple[int, ...], str], np.ndarray]  # feature, shape and sha256 of the pixels -> [1,d]


@dataclass(frozen=True)
class Variant:
    """What a method could have made: pictures by every novel camera, and T meshes where it has a shape at all."""

    views: list[View]
    meshes: list[Any] | None


def variants(object_id: str, size: int, n_frames: int, views: Sequence[float] = NOVEL) -> dict[str, Variant]:
    """The truth and its damages, by name, in the order of `LEVELS`."""
    thing = make_object(object_id)
    meshes = [thing.mesh_at(k / FPS) for k in range(n_frames)]
    truth = [seen(meshes, azimuth, size) for azimuth in views]
    order = disorder(n_frames)
    frozen = [0] * n_frames
    card = billboard(meshes, size)
    pixel = np.eye(4)
    pixel[0, 3] = 2 * RADIUS * np.tan(np.radians(FOV / 2)) / size  # its width at the origin
    made = {
        "truth": Variant(truth, meshes),
        "shift": Variant([shifted(view) for view in truth], [transformed(mesh, pixel) for mesh in meshes]),
        "blur": Variant([blurred(view) for view in truth], None),
        "shuffle": Variant([chosen(view, order) for view in truth], [meshes[k] for k in order]),
        "frozen": Variant([chosen(view, frozen) for view in truth], [meshes[0]] * n_frames),
        "billboard": Variant([seen(card, azimuth, size) for azimuth in views], card),
        "empty": Variant([empty(view) for view in truth], None),
    }
    return {name: made[name] for name in LEVELS}


def disorder(count: int) -> np.ndarray:
    """An order in which no frame keeps its place, the same every time. Raises ValueError below two frames."""
    if count < 2:
        raise ValueError(f"two frames or more have another order, found {count}")
    generator = np.random.default_rng(0)
    while True:
        order = generator.permutation(count)
        if (order != np.arange(count)).all():
            return order


def seen(meshes: Sequence[Any], azimuth: float, size: int) -> View:
    camera = orbit([azimuth], ELEVATION, RADIUS, FOV, size)
    frames = [composite(render_mesh(mesh, camera), WHITE) for mesh in meshes]
    return View(np.concatenate([rgb for rgb, _ in frames]), np.concatenate([alpha for _, alpha in frames]))


def chosen(view: View, frames: Sequence[int] | np.ndarray) -> View:
    return View(view.rgb[list(frames)], view.alpha[list(frames)])


def shifted(view: View) -> View:
    rgb, alpha = np.full_like(view.rgb, 255), np.zeros_like(view.alpha)
    rgb[:, :, 1:], alpha[:, :, 1:] = view.rgb[:, :, :-1], view.alpha[:, :, :-1]
    return View(rgb, alpha)


def blurred(view: View) -> View:
    def blur(image: np.ndarray) -> np.ndarray:
        return np.array(Image.fromarray(image).filter(ImageFilter.GaussianBlur(BLUR * len(image))))

    return View(np.stack([blur(image) for image in view.rgb]), np.stack([blur(image) for image in view.alpha]))


def empty(view: View) -> View:
    return View(np.full_like(view.rgb, 255), np.zeros_like(view.alpha))


def billboard(meshes: Sequence[Any], size: int) -> list[Any]:
    """What baselines/billboard makes of the input view."""
    camera = orbit([INPUT], ELEVATION, RADIUS, FOV, size)
    frames = np.concatenate([to_straight(render_mesh(mesh, camera)) for mesh in meshes])
    with tempfile.TemporaryDirectory() as folder:
        clip, out = Path(folder) / "clip", Path(folder) / "out"
        Clip("sanity", frames, FPS, camera).write(clip)
        (job := Path(folder) / "job.json").write_text(
            json.dumps({"clips": [{"id": "sanity", "clip": str(clip), "out": str(out)}]})
        )
        before, sys.argv = sys.argv, ["run.py", "--job", str(job)]
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # its progress
                program("billboard").main()
        finally:
            sys.argv = before
        return list(read_asset(out).frames)


def program(method: str) -> ModuleType:
    """A baseline's run.py as a module."""
    spec = importlib.util.spec_from_file_location(method, ROOT / "baselines" / method / "run.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def options_of(metric: str, n_frames: int) -> dict[str, Any]:
    """As in synth4d's protocol, where the defaults are another."""
    found: dict[str, dict[str, Any]] = {
        "fscore": {"threshold": 0.02},
        "iou": {"size": 48},
        "fid-vid-frames": {"frames": n_frames},
    }
    return found.get(metric, {})


def loaded_metrics(ids: Sequence[str] | None = None) -> tuple[list[Loaded], dict[str, str]]:
    """The metrics that run here; and of the others, why not. Nothing is downloaded. Time, memory and floors judge
    nothing."""
    judging = [m for m in METRICS.values() if m.needs != "record" and not m.id.endswith("-floor")]
    # Those that are scored only when they are named take hours on a CPU.
    wanted = [m for m in judging if (not m.named_only if ids is None else m.id in ids)]
    loader = Loader(files_here({id for m in wanted for id in weights_of(m)}))
    ready = [loader.load(metric) for metric in wanted]
    return [item for item in ready if item.score], {item.metric.id: item.reason for item in ready if not item.score}


def with_random_weights(folder: Path, ids: Sequence[str] = RANDOM) -> list[Loaded]:
    """Those of the metrics that load. Files are written into the folder."""
    loader = Loader(random_weights.write_all(folder, {part for id in ids for part in weights_of(METRICS[id])}))
    return [item for item in (loader.load(METRICS[id]) for id in ids) if item.score]


def files_here(ids: Iterable[str]) -> dict[str, dict[str, str]]:
    """Weights that already lie on this machine, as `Loader` takes them."""
    catalogue, places, found = read_catalogue(), Locations.of(os.environ), {}
    for id in ids:
        path, _ = look(catalogue[id], places)
        there = {"path": str(path), "sha256": sha256_file(path)} if path else {}
        found[id] = there or {"reason": f"not here: {catalogue[id].next_step}"}
    return found


def value_of(item: Loaded, predicted: Variant, truth: Variant, seen: Seen) -> float:
    """The mean over frames and views, or the one value of a set. NaN where the metric cannot be asked."""
    assert item.score is not None
    options = options_of(item.metric.id, len(truth.views[0]))
    try:
        if item.metric.needs == "geometry":
            return mean(item.score(predicted.meshes, truth.meshes, **options)) if predicted.meshes else np.nan
        if item.metric.needs == "frames":
            pairs = zip(predicted.views, truth.views, strict=True)
            return mean([mean(item.score(p, t, **options)) for p, t in pairs])
        if item.metric.against != "truth":
            return np.nan
        if item.metric.unit == "set":
            total = item.score(**options)
            total.add(rows_of(item, predicted, seen), rows_of(item, truth, seen))
            return float(total.value())
        count = len(truth.views)  # a view at a time, as in a scoring job: rows come view by view
        sides = (np.split(rows_of(item, variant, seen), count) for variant in (predicted, truth))
        return mean([mean(item.score(p, t, **options)) for p, t in zip(*sides, strict=True)])
    except MetricUnavailable:
        return np.nan


def mean(values: Any) -> float:
    """Over the frames that have a value."""
    finite = np.asarray(values)[np.isfinite(values)]
    return float(finite.mean()) if finite.size else np.nan


def rows_of(item: Loaded, variant: Variant, seen_before: Seen) -> np.ndarray:
    """The feature network's vectors of all novel views; new ones are added to `seen_before`."""
    import torch

    assert item.network is not None
    pixels = np.stack([view.rgb for view in variant.views])
    v, k = pictures_of(item.metric.films, range(pixels.shape[0]), range(pixels.shape[1]))
    inputs, rows = pixels[v, k], []  # [n,H,W,3] or [n,T,H,W,3]
    for one in inputs:  # what was seen before, in whatever variant, is not computed again
        key = item.network.feature.id, one.shape, sha256(one.tobytes()).hexdigest()
        if key not in seen_before:
            alone = torch.from_numpy(one if one.ndim == 4 else one[None])[None].to(item.network.place.device)
            films, frames = ("frame", (0,)) if one.ndim == 3 else ("view", tuple(range(len(one))))
            seen_before[key] = vectors(Request(item.network, films, (0,), frames), alone)
        rows.append(seen_before[key])
    return np.concatenate(rows)


def scores(items: Sequence[Loaded], made: Mapping[str, Variant]) -> dict[str, dict[str, float]]:
    """Metric -> variant -> value."""
    seen: Seen = {}
    return {
        i.metric.id: {name: value_of(i, variant, made["truth"], seen) for name, variant in made.items()} for i in items
    }


def same(metric: str, values: Mapping[str, float]) -> dict[str, str]:
    """Variant -> "perfect", "as the truth", "another" or "–": what of the values does not depend on the weights."""
    best, finite = CEILING.get(metric, METRICS[metric].perfect), [v for v in values.values() if np.isfinite(v)]
    tolerance = 1e-6 * (max(finite) - min(finite)) if finite else 0.0

    def word(value: float) -> str:
        if not np.isfinite(value):
            return "–"
        if best is not None and abs(value - best) <= tolerance:
            return "perfect"
        return "as the truth" if abs(value - values["truth"]) <= tolerance else "another"

    return {name: word(value) for name, value in values.items()}


def table_of_sameness(found: Mapping[str, Mapping[str, float]]) -> str:
    """In Markdown: metrics down, variants across, in the words of `same`."""
    lines = ["| metric | " + " | ".join(UNWEIGHED) + " |", "|---" * (len(UNWEIGHED) + 1) + "|"]
    lines += [f"| {metric} | " + " | ".join(same(metric, values).values()) + " |" for metric, values in found.items()]
    return "\n".join(lines)


def mistakes(metric: str, values: Mapping[str, float]) -> list[tuple[str, str, str]]:
    """(damage, the least damaged that it is not told from or preferred to, "=" or ">"), at most one entry a damage."""
    sign = 1 if METRICS[metric].direction == "higher" else -1
    finite = {name: sign * value for name, value in values.items() if np.isfinite(value)}
    tolerance = EQUAL * (max(finite.values()) - min(finite.values())) if finite else 0.0
    found = []
    for worse, value in finite.items():
        for better, other in finite.items():  # from the least damaged on
            if LEVELS[worse] > LEVELS[better] and value >= other - tolerance:
                found.append((worse, better, "=" if value <= other + tolerance else ">"))
                break
    return found


def in_words(found: Sequence[tuple[str, str, str]]) -> str:
    """One phrase a pair.

    >>> in_words([("frozen", "truth", "="), ("empty", "billboard", ">")])
    'frozen = truth, empty > billboard'
    """
    return ", ".join(f"{worse} {sign} {better}" for worse, better, sign in found) or "–"


def number(value: float) -> str:
    return "–" if not np.isfinite(value) else f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"


def table(found: Mapping[str, Mapping[str, float]]) -> str:
    """A table in Markdown: metrics down, variants across, mistakes last."""
    lines = ["| metric | " + " | ".join(LEVELS) + " | mistakes |", "|---" * (len(LEVELS) + 2) + "|"]
    for metric, values in found.items():
        arrow = "↑" if METRICS[metric].direction == "higher" else "↓"
        cells = [f"{metric} {arrow}", *(number(values[name]) for name in LEVELS), in_words(mistakes(metric, values))]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--object", default="walker-1000000", help="of synth4d")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--views", type=int, default=len(NOVEL), help="so many of the novel ones")
    parser.add_argument("--random-weights", action="store_true", help="only what does not depend on the weights")
    parser.add_argument("--metrics", nargs="+", metavar="ID", help="default: every metric that runs here")
    parser.add_argument("--sheet", type=Path, help="also draw the variants: a row each, the middle frame of each view")
    options = parser.parse_args()
    made = variants(options.object, options.size, options.frames, NOVEL[: options.views])
    if options.sheet:
        middle = options.frames // 2
        rows = [np.concatenate([view.rgb[middle] for view in variant.views], axis=1) for variant in made.values()]
        Image.fromarray(np.concatenate(rows)).save(options.sheet)
    if options.random_weights:
        made = {name: made[name] for name in UNWEIGHED}
        with tempfile.TemporaryDirectory() as folder:
            return print(table_of_sameness(scores(with_random_weights(Path(folder)), made)))
    items, absent = loaded_metrics(options.metrics)
    print(table(scores(items, made)))
    for metric, reason in absent.items():
        print(f"left out: {metric}: {reason}", file=sys.stderr)
    return None


if __name__ == "__main__":
    main()
