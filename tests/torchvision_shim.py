"""Makes `import torchvision` work beside a CPU build of torch, for the oracle packages that need it in tests.

torchvision's wheel links CUDA libraries in its C++ part; without them its import fails at an operator that is not
registered. Declaring the two operators is enough for everything that the tests use (no operator is ever called).
"""

from __future__ import annotations

import sys

import torch

KEPT: list[torch.library.Library] = []  # a library that is garbage collected takes its declarations along


def import_torchvision() -> None:
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        KEPT.append(library)
        import torchvision  # noqa: F401
