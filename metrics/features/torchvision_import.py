"""Makes `import torchvision` work beside a CPU build of torch, for the packages that need it (open_clip, timm, lpips).

torchvision's wheel links CUDA libraries in its C++ part; without them its import fails at an operator that is not
registered. Declaring the two operators is enough for everything used here (no operator is ever called).
"""

from __future__ import annotations

import sys
from importlib import import_module

import torch

KEPT: list[torch.library.Library] = []  # a library that is garbage collected takes its declarations along


def import_torchvision() -> None:
    """Call before importing a package that imports torchvision. ImportError if torchvision is not installed."""
    try:
        import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        KEPT.append(library)
        import_module("torchvision")
