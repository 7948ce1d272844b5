"""Scoring of many films beside the packages called one after another as evaluation scripts do, and its peak memory.

    python tools/scoring_timing.py > build/scoring-timing.md
    python tools/scoring_timing.py --clips 1 --frames 4 --size 128 --no-memory     a small case

Runs on one GPU, else on the CPU. Networks have random weights, made for the run; a package that is not there is left
out and said. Both sides start from the same PNG files and from loaded, warmed-up networks.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
import yaml
from PIL import Image

from bench4d.benchmark import Benchmark
from bench4d.features import find_place, weights_of
from bench4d.files import sha256_file, write_json
from bench4d.frames import write_frame
from bench4d.method import ROOT, Method, method_folders
from bench4d.metric_loading import load_metrics
from bench4d.score import score_method
from metrics import METRICS
from metrics.lpips import WEIGHTS

VIEWS = ("input", "az075", "az165", "az255")
WANTED = ("psnr", "ssim", "lpips-vgg", "lpips-alex", "clip-vit-b32", "fvd-c4d", "fvd-i3d")
MEMORY_CLIPS = (7, 70)
# Convolutions of the trunks: (number, channels out, channels in, kernel).
ALEX = ((0, 64, 3, 11), (3, 192, 64, 5), (6, 384, 192, 3), (8, 256, 384, 3), (10, 256, 256, 3))
VGG_CHANNELS = {0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128), 12: (256, 256), 14: (256, 256)}
VGG_CHANNELS |= {17: (512, 256)} | dict.fromkeys((19, 21, 24, 26, 28), (512, 512))
HEADS = {"vgg": (64, 128, 256, 512, 512), "alex": (64, 192, 384, 256, 256)}


def random_weights(folder: Path, left_out: list[str]) -> dict[str, dict[str, str]]:
    """Files of random weights in the published forms, as `load_metrics` takes them."""
    random = torch.Generator().manual_seed(0)
    folder.mkdir()

    def filled(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
        tensors = {}
        for name, shape in shapes.items():
            spread = (2 / max(1, int(np.prod(shape[1:])))) ** 0.5 if len(shape) > 1 else 0.0
            base = 1.0 if name.endswith(("running_var", "bn.weight")) else 0.0
            tensors[name] = base + spread * torch.randn(shape, generator=random)
        return tensors

    def trunk(layers: Any) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        for k, out, into, side in layers:
            shapes |= {f"features.{k}.weight": (out, into, side, side), f"features.{k}.bias": (out,)}
        return shapes

    files = {
        "alexnet-features": filled(trunk(ALEX)),
        "vgg16-features": filled(trunk((k, *c, 3) for k, c in VGG_CHANNELS.items())),
    }
    for name, channels in HEADS.items():
        files[f"lpips-{name}-heads"] = {f"lin{k}.weight": torch.rand(1, c, 1, 1) for k, c in enumerate(channels)}
    if "fvd-c4d" in METRICS:
        from metrics.features.i3d import shapes

        files["i3d-400"] = filled(dict(shapes()))
    if "clip-vit-b32" in METRICS:
        try:
            files["clip-vit-b32"] = clip_package()[0].state_dict()
        except ImportError as error:
            left_out.append(f"clip-vit-b32: {error}")
    return {id: saved(folder / f"{id}.safetensors", tensors) for id, tensors in files.items()}


def saved(path: Path, tensors: dict[str, torch.Tensor]) -> dict[str, str]:
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path)
    return {"path": str(path), "sha256": sha256_file(path)}


def clip_package() -> tuple[torch.nn.Module, Callable[[Image.Image], torch.Tensor]]:
    """The package's network with random weights and its own preprocessing. ImportError if it is not here."""
    from metrics.features.torchvision_import import import_torchvision

    import_torchvision()
    import open_clip

    network, _, transform = open_clip.create_model_and_transforms("ViT-B-32-quickgelu", pretrained=None)
    return network.eval(), transform


def make_results(folder: Path, ids: list[str], clips: int, distinct: int, frames: int, size: int) -> Benchmark:
    """A protocol, and pictures of `distinct` clips; those beyond are links to the same files."""
    protocol = yaml.safe_load((ROOT / "benchmarks/synth4d/protocol.yaml").read_text())
    names = [f"clip-{k:03d}" for k in range(clips)]
    protocol |= {"id": "timing", "clips": [{"id": name} for name in names], "n_frames": frames, "size": size}
    protocol |= {"geometry": False, "alignment": "none", "table": []}
    protocol["metrics"] = [{"id": id, "stride": 1} for id in ids]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "protocol.yaml").write_text(yaml.safe_dump(protocol))
    benchmark = Benchmark.read(folder / "protocol.yaml")
    for side, shift in (("truth", 0.0), ("mine/seed0", 0.4)):
        for k, name in enumerate(names):
            place = folder / side / name
            if k >= distinct:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(folder / side / names[k % distinct])
            else:
                write_clip(benchmark, place, k, shift)
    return benchmark


def write_clip(benchmark: Benchmark, place: Path, seed: int, shift: float) -> None:
    common = {"version": 1, "status": "ok", "reason": "", "asset_sha256": f"{seed:064d}"}
    write_json(place / "frames" / "render.json", common)
    write_json(place / "aligned.json", common | {"alignment": "none", "matrix": None})
    write_json(place / "generate.json", common | {"device": ""})
    size = benchmark.data["size"]
    y, x = np.mgrid[:size, :size] / size
    inside = np.hypot(x - 0.5, y - 0.5) < 0.35

    def write(v: int, k: int) -> None:
        phase = 0.2 * k + v + seed + shift
        waves = [127 + 100 * np.sin((20 + 7 * c) * x + (11 + 5 * c) * y + phase + c) for c in range(3)]
        rgb = np.where(inside[..., None], np.stack(waves, -1), 255).astype(np.uint8)
        write_frame(place / "frames", benchmark.views[v], k, rgb, np.where(inside, 255, 0).astype(np.uint8))

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, *zip(*product(range(len(benchmark.views)), range(len(benchmark.times))), strict=True)))


def ours(benchmark: Benchmark, folder: Path, loaded: Any, threads: int) -> dict[str, float]:
    """Mean value of every metric."""
    method = Method.read(method_folders()["billboard"])  # any: rows name a method
    rows, _ = score_method(
        benchmark, method, 0, folder / "mine/seed0", folder / "truth", loaded, lambda clip: None, threads
    )
    values: dict[str, list[float]] = {}
    for row in rows:
        if row["status"] != "ok":  # too few films for a set
            print(f"{row['metric']} ({row['view']}): {row['reason']}", file=sys.stderr)
            continue
        values.setdefault(row["metric"], []).append(row["value"])
    return {id: float(np.mean(some)) for id, some in values.items()}


class Packages:
    """What evaluation scripts call, with the same weights as ours."""

    def __init__(self, ids: list[str], weights: dict[str, dict[str, str]], left_out: list[str]) -> None:
        self.device, self.ids, self.parts = find_place().device, ids, dict[str, Any]()
        for id in ids:
            try:
                if id.startswith("lpips"):
                    self.parts[id] = self.lpips(id.removeprefix("lpips-"), weights)
                elif id == "clip-vit-b32":
                    network, transform = clip_package()
                    network.load_state_dict(read(weights[id]["path"]))
                    self.parts[id] = network.to(self.device), transform
                elif id in ("psnr", "ssim"):
                    from skimage import metrics

                    self.parts[id] = metrics
                elif id == "fvd-c4d":
                    from metrics.features.i3d import i3d, prepare

                    state = {name: tensor.to(self.device) for name, tensor in read(weights["i3d-400"]["path"]).items()}
                    self.parts[id] = i3d, prepare(state)
            except ImportError as error:
                left_out.append(f"{id} of the packages: {error}")

    def lpips(self, trunk: Any, weights: dict[str, dict[str, str]]) -> torch.nn.Module:
        from metrics.features.torchvision_import import import_torchvision

        import_torchvision()
        import lpips

        network = lpips.LPIPS(net=trunk, pretrained=False, pnet_rand=True, verbose=False)
        convolutions, heads = (read(weights[id]["path"]) for id in WEIGHTS[trunk])
        state = {n: convolutions["features." + n.partition(".")[2]] for n in network.net.state_dict()}
        network.net.load_state_dict(state)
        for k, lin in enumerate(network.lins):
            lin.model[-1].weight.data = heads[f"lin{k}.weight"]
        return network.to(self.device).eval()

    @torch.no_grad()
    def images(self, benchmark: Benchmark, folder: Path) -> dict[str, float]:
        """One frame after the other, each read once."""
        values: dict[str, list[float]] = {}
        for clip in benchmark.clips:
            for view in benchmark.views:
                for k in range(len(benchmark.times)):
                    pair = [Image.open(place / view / "rgb" / f"{k:04d}.png") for place in places(folder, clip)]
                    for id, value in self.frame(*(picture.convert("RGB") for picture in pair)).items():
                        values.setdefault(id, []).append(value)
        return {id: float(np.mean(some)) for id, some in values.items()}

    def frame(self, mine: Image.Image, true: Image.Image) -> dict[str, float]:
        found: dict[str, float] = {}
        arrays = np.asarray(mine), np.asarray(true)
        if "psnr" in self.parts:
            found["psnr"] = self.parts["psnr"].peak_signal_noise_ratio(arrays[1], arrays[0], data_range=255)
        if "ssim" in self.parts:
            form = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
            found["ssim"] = self.parts["ssim"].structural_similarity(*arrays, channel_axis=2, **form)
        for id in ("lpips-vgg", "lpips-alex"):
            if id in self.parts:
                tensors = [torch.from_numpy(a.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1 for a in arrays]
                found[id] = self.parts[id](*(t.to(self.device) for t in tensors)).item()
        if "clip-vit-b32" in self.parts:
            network, transform = self.parts["clip-vit-b32"]
            a, b = (network.encode_image(transform(picture)[None].to(self.device)) for picture in (mine, true))
            found["clip-vit-b32"] = torch.cosine_similarity(a, b).item()
        return found

    @torch.no_grad()
    def films(self, benchmark: Benchmark, folder: Path) -> dict[str, float]:
        """I3D a film, each channel resized by Pillow; the distance of Consistent4D's script in closed form."""
        if "fvd-c4d" not in self.parts:
            return {}
        network, weights = self.parts["fvd-c4d"]
        values = []
        for clip in benchmark.clips:
            for view in benchmark.views:
                logits = []
                for place in places(folder, clip):
                    paths = sorted((place / view / "rgb").glob("*.png"))
                    film = torch.from_numpy(np.stack([squashed(path) for path in paths])) / 127.5 - 1
                    logits.append(network(film.permute(3, 0, 1, 2)[None].to(self.device), weights)[0].double().cpu())
                a, b = logits
                values.append(float((a - b).square().sum() + (a.std() - b.std()) ** 2))
        return {"fvd-c4d": float(np.mean(values))}


def read(path: str) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(path)


def places(folder: Path, clip: str) -> list[Path]:
    return [folder / side / clip / "frames" for side in ("mine/seed0", "truth")]


def squashed(path: Path) -> np.ndarray:
    channels = Image.open(path).convert("RGB").split()
    small = [channel.convert("F").resize((224, 224), Image.Resampling.BICUBIC) for channel in channels]
    return np.stack([np.asarray(channel) for channel in small], -1)


def seconds(run: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    found = run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began, found


def compare(options: argparse.Namespace, folder: Path, ids: list[str], weights: Any, left_out: list[str]) -> None:
    form = options.frames, options.size
    benchmark = make_results(folder / "films", ids, options.clips, options.clips, *form)
    small = make_results(folder / "warm", ids, 1, 1, options.frames, options.size)
    loaded = load_metrics(benchmark, METRICS, weights)
    packages = Packages(ids, weights, left_out)
    ours(small, folder / "warm", loaded, options.threads)
    packages.films(small, folder / "warm")
    packages.images(small, folder / "warm")
    took, values = seconds(lambda: ours(benchmark, folder / "films", loaded, options.threads))
    again, _ = seconds(lambda: ours(benchmark, folder / "films", loaded, options.threads))
    pictures, theirs = seconds(lambda: packages.images(benchmark, folder / "films"))
    films, more = seconds(lambda: packages.films(benchmark, folder / "films"))
    theirs |= more
    films_n = options.clips * len(VIEWS)
    print(
        f"{films_n} films of {options.frames} frames, {options.size} x {options.size}, on {find_place().name}, ", end=""
    )
    print(f"{torch.get_num_threads()} threads of torch, {options.threads} of ours.\n\n| | s |\n|---|---:|")
    print(f"| packages, pictures | {pictures:.1f} |\n| packages, films | {films:.1f} |")
    print(f"| packages, together | {pictures + films:.1f} |\n| ours | {took:.1f} |")
    print(f"| ours, vectors of the truth in the cache | {again:.1f} |")
    print(f"\nRatio: {(pictures + films) / took:.2f}; with the cache {(pictures + films) / again:.2f}.\n")
    print("| metric | ours | packages |\n|---|---:|---:|")
    for id, value in values.items():
        print(f"| {id} | {value:.7g} | {f'{theirs[id]:.7g}' if id in theirs else '–'} |")


def child(folder: Path, precision: Any) -> None:
    """Peak memory of scoring what lies in `folder`, in a process of its own: JSON on stdout."""
    weights = json.loads((folder / "weights.json").read_text())
    benchmark = Benchmark.read(folder / "protocol.yaml")
    ours(benchmark, folder, load_metrics(benchmark, METRICS, weights, precision), 1)
    gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    # Not getrusage: its maximum is handed down from the parent.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(json.dumps({"rss": int(status["VmHWM"].split()[0]) * 1024, "gpu": gpu}))


def memory(options: argparse.Namespace, folder: Path, ids: list[str], weights: Any) -> None:
    print("\n| clips | peak main memory, MB | peak GPU memory, MB |\n|---:|---:|---:|")
    for clips in options.memory_clips:
        place = folder / f"memory-{clips}"
        make_results(place, ids, clips, min(clips, MEMORY_CLIPS[0]), options.frames, options.size)
        (place / "weights.json").write_text(json.dumps(weights))
        command = [sys.executable, __file__, "--child", str(place)]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peak = json.loads(said.splitlines()[-1])
        print(f"| {clips} | {peak['rss'] / 1e6:.0f} | {peak['gpu'] / 1e6:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=7, help="of four views each (default: 7, so 28 films)")
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--threads", type=int, default=8 if torch.cuda.is_available() else 1)
    parser.add_argument("--metrics", default=",".join(WANTED), help="ids between commas")
    parser.add_argument("--memory", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--time", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--memory-clips", type=int, nargs="+", default=list(MEMORY_CLIPS))
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(options.child, "float32")
    left_out: list[str] = []
    with tempfile.TemporaryDirectory(prefix="scoring-timing.") as temporary:
        weights = random_weights(Path(temporary) / "weights", left_out)
        ids = []
        for id in options.metrics.split(","):
            if id in METRICS and set(weights_of(METRICS[id])) <= set(weights):
                ids.append(id)
            else:
                left_out.append(f"{id}: no such metric here, or no random weights for it")
        if options.time:
            compare(options, Path(temporary), ids, weights, left_out)
        if options.memory:
            memory(options, Path(temporary), ids, weights)
    print("\n" + "".join(f"Left out: {text}.\n" for text in dict.fromkeys(left_out)), end="")
    return None


if __name__ == "__main__":
    main()
