"""LPIPS v0.1 (Zhang et al. 2018): a weighted distance between the activations of a network trained on ImageNet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float64

from bench4d.errors import FormatError
from bench4d.metric import Metric, Score, View
from bench4d.pictures import DeviceView

from .silhouette import check_pair

if TYPE_CHECKING:  # torch is slow to import: only a loaded score needs it
    from torch import Tensor

Trunk = Literal["vgg", "alex"]
# LPIPS's own input scaling: ImageNet's mean and deviation, moved from [0, 1] to [-1, 1].
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
EPSILON = 1e-10
MIN_SIDE = 32  # smaller images have nothing left at the last scale
# Of prediction and truth together: two pairs of 256 x 256 images on a CPU, whose caches a larger batch leaves.
BATCH_PIXELS = {"cpu": 2**18, "cuda": 2**22}


def layer_distance(features: Tensor, head: Tensor) -> Tensor:
    """Features [2N,C,h,w] (predictions, then truths) and head [1,C,1,1] to [N] in float64.

    Features are scaled to length 1 over the channels, differences squared, weighted, summed; then the mean over pixels.
    """
    if features.element_size() < 4:
        features = features.float()  # the squares of half precision go beyond it
    length = features.square().sum(dim=1, keepdim=True).sqrt()
    predicted, truth = (features / (length + EPSILON)).chunk(2)
    return (predicted - truth).square_().mul_(head).sum(dim=1).double().mean(dim=(1, 2))


def load(weights: Mapping[str, Path], trunk: Trunk, device: str | None = None) -> Score:
    """The score function, with its networks in memory; on the GPU if there is one and `device` is not given."""
    import torch
    from safetensors.torch import load_file
    from torch.backends import cudnn

    network: Callable[[Tensor, Mapping[str, Tensor]], list[Tensor]]
    if trunk == "vgg":
        from .features.vgg import vgg16 as network
    else:
        from .features.alexnet import alexnet as network
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    # Channels last: on a CPU 10 to 20 % faster than channels first.
    convolutions, heads = (
        {
            name: tensor.to(place, memory_format=torch.channels_last if tensor.ndim == 4 else torch.preserve_format)
            for name, tensor in load_file(weights[id]).items()
        }
        for id in WEIGHTS[trunk]
    )
    shift, scale = (torch.tensor(values, device=place).view(1, 3, 1, 1) for values in (SHIFT, SCALE))

    def distances(pixels: Tensor) -> np.ndarray:
        """Of 8-bit predictions and then truths, [2N,H,W,3]."""
        image = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1  # channels last in memory, as `pixels` is
        with torch.inference_mode(), cudnn.flags(enabled=True, allow_tf32=False, deterministic=True, benchmark=False):
            features = network((image - shift) / scale, convolutions)
            layers = [layer_distance(f, heads[f"lin{k}.weight"]) for k, f in enumerate(features)]
        return torch.stack(layers).sum(dim=0).cpu().numpy()

    def score(predicted: View, truth: View, *, batch: int | None = None) -> Float64[np.ndarray, " T"]:
        """One distance a frame; `batch` frames at a time (changes speed and memory, not values)."""
        check_pair(predicted, truth)
        height, width = truth.rgb.shape[1:3]
        if min(height, width) < MIN_SIDE:
            raise FormatError("view", f"images of at least {MIN_SIDE} pixels a side for LPIPS", f"{width} x {height}")
        step = batch or max(1, BATCH_PIXELS[place.type] // (2 * height * width))
        values = np.zeros(len(truth))
        differ = np.flatnonzero((predicted.rgb != truth.rgb).any(axis=(1, 2, 3)))  # equal images are at 0 exactly
        pictures = [v.pixels if isinstance(v, DeviceView) else torch.from_numpy(v.rgb) for v in (predicted, truth)]
        for start in range(0, len(differ), step):
            chosen = differ[start : start + step]
            values[chosen] = distances(torch.cat([pixels[chosen].to(place) for pixels in pictures]))
        return values

    return score


WEIGHTS: dict[Trunk, tuple[str, str]] = {
    "vgg": ("vgg16-features", "lpips-vgg-heads"),
    "alex": ("alexnet-features", "lpips-alex-heads"),
}
LPIPS_VGG = Metric(
    id="lpips-vgg",
    version=1,
    definition=(
        "LPIPS v0.1 with VGG16 and its linear heads, 8-bit sRGB scaled to [-1, 1], full size (no resize), mean "
        "over pixels, sum of five layers."
    ),
    unit="clip",
    needs="frames",
    direction="lower",
    units="1",
    perfect=0.0,
    weights=WEIGHTS["vgg"],
    reference="Zhang, Isola, Efros, Shechtman, Wang 2018; package lpips 0.1.4",
    load=lambda weights: load(weights, "vgg"),
)
LPIPS_ALEX = Metric(
    id="lpips-alex",
    version=1,
    definition=(
        "LPIPS v0.1 with AlexNet and its linear heads, 8-bit sRGB scaled to [-1, 1], full size (no resize), mean "
        "over pixels, sum of five layers."
    ),
    unit="clip",
    needs="frames",
    direction="lower",
    units="1",
    perfect=0.0,
    weights=WEIGHTS["alex"],
    reference="Zhang, Isola, Efros, Shechtman, Wang 2018; package lpips 0.1.4",
    load=lambda weights: load(weights, "alex"),
)
