"""AlexNet's convolutions (Krizhevsky 2014, "one weird trick"), as LPIPS reads them."""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float32
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d


def alexnet(x: Float32[Tensor, "N 3 H W"], w: Mapping[str, Tensor]) -> list[Float32[Tensor, "N C h w"]]:
    """The five activations: 64, 192, 384, 256, 256 channels at about 1/4, 1/8, 1/16, 1/16, 1/16.

    `w` has torchvision's names, "features.<k>.weight" and ".bias".
    """

    def convolve(x: Tensor, k: int, stride: int, padding: int) -> Tensor:
        return conv2d(x, w[f"features.{k}.weight"], w[f"features.{k}.bias"], stride=stride, padding=padding).relu_()

    one = convolve(x, 0, stride=4, padding=2)
    two = convolve(max_pool2d(one, 3, stride=2), 3, stride=1, padding=2)
    three = convolve(max_pool2d(two, 3, stride=2), 6, stride=1, padding=1)
    four = convolve(three, 8, stride=1, padding=1)
    five = convolve(four, 10, stride=1, padding=1)
    return [one, two, three, four, five]
