"""LPIPS with AlexNet as a loss: the network of `metrics/lpips.py`, differentiable.

AlexNet and not VGG: lpips-vgg is a score of this benchmark, and a score must not be trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

from bench4d.errors import FormatError

WEIGHTS = ("alexnet-features", "lpips-alex-heads")
# The distance of metrics/lpips.py divides by length + 1e-10. Its derivative is not finite where all features are 0.
EPSILON = 1e-10


class Perceptual:
    """Distances of pairs of pictures."""

    def __init__(self, weights: Mapping[str, Path], device: torch.device) -> None:
        try:  # `metrics` as a whole needs more than training does
            from metrics.features.alexnet import alexnet
            from metrics.lpips import SCALE, SHIFT
        except ModuleNotFoundError as error:
            next_step = "Install it, or train without the term: --set loss.lpips=0"
            raise FormatError("loss.lpips", "the packages that `metrics` needs", f"{error}", next_step) from None
        self.network = alexnet
        self.convolutions, self.heads = (
            {name: tensor.to(device) for name, tensor in load_file(weights[id]).items()} for id in WEIGHTS
        )
        self.shift, self.scale = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (SHIFT, SCALE))

    def __call__(self, predicted: Float[Tensor, "F 3 H W"], truth: Float[Tensor, "F 3 H W"]) -> Float[Tensor, " F"]:
        """One distance for each pair of images in [0, 1]; gradients reach `predicted` only."""
        found = self._features(predicted)
        with torch.no_grad():
            wanted = self._features(truth)
        distances = [
            ((a - b).square() * self.heads[f"lin{k}.weight"]).sum(1).mean(dim=(1, 2))
            for k, (a, b) in enumerate(zip(found, wanted, strict=True))
        ]
        return torch.stack(distances).sum(0)

    def _features(self, image: Float[Tensor, "F 3 H W"]) -> list[Tensor]:
        features = self.network((image * 2 - 1 - self.shift) / self.scale, self.convolutions)
        return [f * torch.rsqrt(f.square().sum(1, keepdim=True) + EPSILON) for f in features]


def find_weights(folder: Path | None) -> dict[str, Path]:
    """The two files of weights: in `folder`, or where bench4d.weights finds them. Raises FormatError."""
    if folder is None:
        from bench4d.weights import WeightsMissing, resolve  # needs packages that training does not

        try:
            return {id: resolve(id) for id in WEIGHTS}
        except WeightsMissing as error:
            next_step = "Without the term: --set loss.lpips=0"
            raise FormatError("loss.lpips", "its weights", str(error), next_step) from None
    paths = {id: folder / f"{id}.safetensors" for id in WEIGHTS}
    if missing := [path.name for path in paths.values() if not path.is_file()]:
        next_step = f"`bench4d weights fetch {' '.join(WEIGHTS)}` makes them. Without the term: --set loss.lpips=0"
        raise FormatError(folder, f"{', '.join(missing)}, which loss.lpips needs", "no such files", next_step)
    return paths
