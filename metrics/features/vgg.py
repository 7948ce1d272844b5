"""VGG16's convolutions (Simonyan and Zisserman 2015, configuration D), as LPIPS reads them."""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float32
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d


def vgg16(x: Float32[Tensor, "N 3 H W"], w: Mapping[str, Tensor]) -> list[Float32[Tensor, "N C h w"]]:
    """The last activation at each of the five scales: 64, 128, 256, 512, 512 channels at 1, 1/2, 1/4, 1/8, 1/16.

    `w` has torchvision's names, "features.<k>.weight" and ".bias".
    """

    def convolve(x: Tensor, k: int) -> Tensor:
        return conv2d(x, w[f"features.{k}.weight"], w[f"features.{k}.bias"], padding=1).relu_()

    x = convolve(x, 0)
    one = convolve(x, 2)
    x = max_pool2d(one, 2)
    x = convolve(x, 5)
    two = convolve(x, 7)
    x = max_pool2d(two, 2)
    x = convolve(x, 10)
    x = convolve(x, 12)
    three = convolve(x, 14)
    x = max_pool2d(three, 2)
    x = convolve(x, 17)
    x = convolve(x, 19)
    four = convolve(x, 21)
    x = max_pool2d(four, 2)
    x = convolve(x, 24)
    x = convolve(x, 26)
    five = convolve(x, 28)
    return [one, two, three, four, five]
