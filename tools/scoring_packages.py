"""What evaluation scripts call for their numbers, one package after the other: the other side of scoring_timing.py."""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from bench4d.benchmark import Benchmark
from bench4d.features import find_place
from metrics.features.dreamsim import DINO
from metrics.features.torchvision_import import import_torchvision
from metrics.lpips import WEIGHTS

Values = dict[str, float]
BATCH = 50  # pytorch-fid's
SSIM = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255, "channel_axis": 2}


@contextmanager
def tf32(allowed: bool | None) -> Iterator[None]:
    """Allow or forbid TF32 in convolutions and matrix products; None leaves both as PyTorch has them."""
    kinds = (torch.backends.cudnn, torch.backends.cuda.matmul) if allowed is not None else ()
    before = [kind.allow_tf32 for kind in kinds]
    try:
        for kind in kinds:
            kind.allow_tf32 = allowed
        yield
    finally:
        for kind, was in zip(kinds, before, strict=True):
            kind.allow_tf32 = was


class Packages:
    """The packages' networks, with the weights that ours have.

    Attributes:
        parts: metric -> what computes it. A metric whose package is not here is missing, and told in `left_out`.
    """

    def __init__(self, ids: Sequence[str], weights: dict[str, dict[str, Any]], left_out: list[str]) -> None:
        self.device, self.weights, self.parts = find_place().device, weights, dict[str, Any]()
        self.clip: Any = None
        makers: dict[str, Callable[[str], Any]] = dict.fromkeys(("psnr", "psnr-masked", "ssim", "ssim-masked"), skimage)
        makers |= dict.fromkeys(("lpips-vgg", "lpips-alex"), self._lpips)
        makers |= dict.fromkeys(("clip-vit-b32", "clip-temporal-vit-b32"), self._clip)
        makers |= dict.fromkeys(("dreamsim-ensemble", "dreamsim-dino-vitb16"), self._dreamsim)
        makers |= {"fid-inception": self._inception, "fvd-c4d": self._i3d}
        for id in ids:
            if id not in makers:
                left_out.append(f"{id}: no package computes it here")
                continue
            try:
                import_torchvision()
                with redirect_stdout(sys.stderr):
                    self.parts[id] = makers[id](id)
            except ImportError as error:
                left_out.append(f"{id}, on both sides: the package is not here ({error})")

    def _lpips(self, id: str) -> torch.nn.Module:
        import lpips

        trunk: Any = id.removeprefix("lpips-")
        network = lpips.LPIPS(net=trunk, pretrained=False, pnet_rand=True, verbose=False)
        convolutions, heads = (load_file(self.weights[part]["path"]) for part in WEIGHTS[trunk])
        network.net.load_state_dict(
            {n: convolutions["features." + n.partition(".")[2]] for n in network.net.state_dict()}
        )
        for k, lin in enumerate(network.lins):
            lin.model[-1].weight.data = heads[f"lin{k}.weight"]
        return network.to(self.device).eval()

    def _clip(self, id: str) -> Any:
        if self.clip is None:
            import open_clip

            network, _, transform = open_clip.create_model_and_transforms("ViT-B-32-quickgelu", pretrained=None)
            network.load_state_dict(torch.load(self.weights["clip-vit-b32"]["path"], weights_only=True))
            self.clip = network.to(self.device).eval(), transform
        return self.clip

    def _dreamsim(self, id: str) -> Any:
        from dreamsim import dreamsim
        from dreamsim.feature_extraction.extractor import ViTExtractor
        from dreamsim.feature_extraction.vision_transformer import vit_base

        archive = Path(self.weights[id]["path"])
        folder = archive.with_suffix("")
        shutil.unpack_archive(archive, folder)
        ready_made = ViTExtractor.create_model

        def create_model(name: str, load_dir: str) -> Any:
            if name != "dino_vitb16":
                return ready_made(name, load_dir)
            network = vit_base(patch_size=16)  # the package would fetch the same network's code and weights
            state = torch.load(folder / DINO.member, map_location="cpu", weights_only=True)["teacher"]
            network.load_state_dict({name.removeprefix("backbone."): tensor for name, tensor in state.items()})
            return network

        with patch.object(ViTExtractor, "create_model", staticmethod(create_model)):
            return dreamsim(
                device=str(self.device),
                cache_dir=str(folder),
                dreamsim_type=id.removeprefix("dreamsim-").replace("-", "_"),
            )

    def _inception(self, id: str) -> Any:
        import pytorch_fid.fid_score as package
        import pytorch_fid.inception as networks

        state = torch.load(self.weights["inception-fid"]["path"], weights_only=True)
        with patch.object(networks, "load_state_dict_from_url", lambda url, progress: state):
            network = package.InceptionV3().to(self.device).eval()
        sqrtm = package.linalg.sqrtm
        if "disp" not in signature(sqrtm).parameters:  # newer SciPy gives the root alone
            package.linalg = SimpleNamespace(sqrtm=lambda a, disp=True: sqrtm(a) if disp else (sqrtm(a), 0.0))
        return network, package

    def _i3d(self, id: str) -> Any:
        from metrics.features.i3d import i3d, prepare

        state = torch.load(self.weights["i3d-400"]["path"], weights_only=True)
        return i3d, prepare({name: tensor.to(self.device) for name, tensor in state.items()})

    @torch.no_grad()
    def images(
        self, benchmark: Benchmark, folder: Path, frames: int | None = None, limit: float = math.inf
    ) -> tuple[Values, list[str]]:
        """One frame after the other, each read once: means, and the clips that they are of.

        `frames`: of each view, None for all. After `limit` seconds no other clip is begun.
        """
        values: dict[str, list[float]] = {}
        done: list[str] = []
        began = time.perf_counter()
        for clip in benchmark.clips:
            if done and time.perf_counter() - began > limit:
                break
            for view in benchmark.views:
                before = None
                for k in range(frames or len(benchmark.times)):
                    found, before = self._frame(
                        [place / view for place in places(folder, clip)], f"{k:04d}.png", before
                    )
                    for id, value in found.items():
                        values.setdefault(id, []).append(value)
            done.append(clip)
            passed = time.perf_counter() - began
            print(f"packages, pictures: clip {len(done)} of {len(benchmark.clips)}, {passed:.0f} s", file=sys.stderr)
        return {id: float(np.mean(some)) for id, some in values.items()}, done

    def _frame(self, sides: list[Path], name: str, before: torch.Tensor | None) -> tuple[Values, torch.Tensor | None]:
        """Values of one frame; CLIP's vector of the prediction, to be the next frame's `before`."""
        mine, true = (Image.open(side / "rgb" / name).convert("RGB") for side in sides)
        found = self._classical(np.asarray(mine), np.asarray(true), sides, name)
        for id in ("lpips-vgg", "lpips-alex"):
            if id in self.parts:
                tensors = [
                    torch.from_numpy(np.array(p)).permute(2, 0, 1)[None].float() / 127.5 - 1 for p in (mine, true)
                ]
                found[id] = self.parts[id](*(t.to(self.device) for t in tensors)).item()
        if self.clip is not None:
            network, transform = self.clip
            a = network.encode_image(transform(mine)[None].to(self.device))
            if "clip-vit-b32" in self.parts:
                b = network.encode_image(transform(true)[None].to(self.device))
                found["clip-vit-b32"] = torch.cosine_similarity(a, b).item()
            if "clip-temporal-vit-b32" in self.parts and before is not None:
                found["clip-temporal-vit-b32"] = torch.cosine_similarity(before, a).item()
            before = a
        for id in ("dreamsim-ensemble", "dreamsim-dino-vitb16"):
            if id in self.parts:
                network, transform = self.parts[id]
                found[id] = network(*(transform(p).to(self.device) for p in (mine, true))).item()
        return found, before

    def _classical(self, mine: np.ndarray, true: np.ndarray, sides: list[Path], name: str) -> Values:
        """PSNR and SSIM of scikit-image; the map of SSIM, which it computes in any case, serves for both SSIMs."""
        found: Values = {}
        if {"psnr-masked", "ssim-masked"} & self.parts.keys():
            alphas = [np.asarray(Image.open(side / "alpha" / name).convert("L")) for side in sides]
            mask = (alphas[0] >= 128) | (alphas[1] >= 128)
        if "psnr" in self.parts:
            found["psnr"] = self.parts["psnr"].peak_signal_noise_ratio(true, mine, data_range=255)
        if "psnr-masked" in self.parts:
            metrics = self.parts["psnr-masked"]
            found["psnr-masked"] = metrics.peak_signal_noise_ratio(true[mask], mine[mask], data_range=255)
        if "ssim" in self.parts or "ssim-masked" in self.parts:
            metrics = self.parts.get("ssim") or self.parts["ssim-masked"]
            mean, every = metrics.structural_similarity(mine, true, full=True, **SSIM)
            found |= {"ssim": mean} if "ssim" in self.parts else {}
            found |= {"ssim-masked": every.mean(-1)[mask].mean()} if "ssim-masked" in self.parts else {}
        return found

    @torch.no_grad()
    def films(self, benchmark: Benchmark, folder: Path) -> Values:
        """I3D a film, each channel resized by Pillow; the distance of Consistent4D's script in closed form.

        No package has this network: it is ours, called as the scripts call theirs, one film after the other.
        """
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

    def sets(self, benchmark: Benchmark, folder: Path, distance: bool = True) -> Values:
        """pytorch-fid over all pictures, in its batches of 50 and with its worker processes. `distance`: else none."""
        if "fid-inception" not in self.parts:
            return {}
        network, package = self.parts["fid-inception"]
        workers = workers_of(benchmark.data["size"])
        moments: list[np.ndarray] = []
        with redirect_stdout(sys.stderr):
            for side in range(2):
                roots = [places(folder, clip)[side] for clip in benchmark.clips]
                paths = [
                    path
                    for root in roots
                    for view in benchmark.views
                    for path in sorted((root / view / "rgb").iterdir())
                ]
                network_args = (network, BATCH, 2048, self.device, workers)
                if not distance:
                    package.get_activations(paths, *network_args)
                else:
                    moments += package.calculate_activation_statistics(paths, *network_args)
            if not distance:
                return {}
            try:
                return {"fid-inception": float(package.calculate_frechet_distance(*moments))}
            except ValueError as error:  # it took its time all the same
                print(f"pytorch-fid's square root of a matrix without full rank: {error}", file=sys.stderr)
                return {}


def skimage(id: str) -> Any:
    from skimage import metrics

    return metrics


def workers_of(size: int) -> int:
    """pytorch-fid's default, at most 8, unless their waiting batches would not fit into shared memory."""
    shared = Path("/dev/shm")
    free = shutil.disk_usage(shared).free if shared.is_dir() else 0
    return min(8, len(os.sched_getaffinity(0)), free // (3 * BATCH * 3 * size * size * 4))


def places(folder: Path, clip: str) -> list[Path]:
    """Frames of the prediction and of the truth."""
    return [folder / side / clip / "frames" for side in ("mine/seed0", "truth")]


def squashed(path: Path) -> np.ndarray:
    """float32 [224,224,3]."""
    channels = Image.open(path).convert("RGB").split()
    small = [channel.convert("F").resize((224, 224), Image.Resampling.BICUBIC) for channel in channels]
    return np.stack([np.asarray(channel) for channel in small], -1)
