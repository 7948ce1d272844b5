"""What both CUDA renderers share: the device and its packages, cameras, how many images are drawn at once, and 8 bits.

The packages are imported, and on their first use compiled, when something is drawn; nothing else here needs a GPU.
"""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import accumulate
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import torch
import torch.utils.cpp_extension
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

from ..errors import FormatError

MEMORY = 10 * 2**30  # bytes that may be in use at once on a large device; a third of all memory on a smaller one
Item = TypeVar("Item")


def device() -> torch.device:
    """The current CUDA device; FormatError where there is none."""
    if not torch.cuda.is_available():
        raise FormatError(
            'backend "cuda"',
            "an NVIDIA GPU that torch can use",
            f"torch {torch.__version__}, which sees none",
            'Use backend="cpu" (config: renderer: cpu).',
        )
    return torch.device("cuda", torch.cuda.current_device())


def budget(where: torch.device) -> int:
    """Bytes that the images drawn at once may need. The pictures do not depend on it."""
    return min(MEMORY, torch.cuda.get_device_properties(where).total_memory // 3)


@cache
def gsplat() -> ModuleType:
    """The package gsplat, with its compiled part; compiles on first use (about a minute and a half)."""
    device()
    install = "pip install gsplat==1.5.3 ninja rich (Apache-2.0). It compiles with nvcc of torch's CUDA version."
    package = _import("gsplat", install)
    if _import("gsplat.cuda._backend", install)._C is None:
        raise FormatError("gsplat", "a CUDA toolkit to compile it with", "no nvcc", install)
    return package


@cache
def nvdiffrast() -> ModuleType:
    """The module nvdiffrast.torch, with its compiled part; compiles on first use (about 20 s)."""
    device()
    install = (
        "pip install diffrp-nvdiffrast==0.3.3.1 ninja. Mind its licence, NVIDIA's Source Code License: research or"
        " evaluation only, not commercially. It compiles with nvcc of torch's CUDA version."
    )
    package = _import("nvdiffrast.torch", install)
    with extensions_registered():
        package.get_log_level()  # any call loads the compiled part
    return package


def _import(name: str, install: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise FormatError('backend "cuda"', f"the package {name.split('.')[0]}", str(error), install) from None


@contextmanager
def extensions_registered() -> Iterator[None]:
    """While this lasts, torch enters the extensions that it loads into sys.modules.

    It once did so always. nvdiffrast 0.3 counts on it: it loads its extension and then imports it by its name, which
    now ends in "ModuleNotFoundError: No module named 'nvdiffrast_plugin...'".
    """
    load = torch.utils.cpp_extension._import_module_from_library

    def load_and_register(name: str, *rest: Any) -> Any:
        module = load(name, *rest)
        if isinstance(module, ModuleType):
            sys.modules[name] = module
        return module

    torch.utils.cpp_extension._import_module_from_library = load_and_register
    try:
        yield
    finally:
        torch.utils.cpp_extension._import_module_from_library = load


def on_host(cameras: Tensor) -> Float64[np.ndarray, "*S"]:
    """Poses or intrinsics as float64 in main memory, where all arithmetic of cameras is done; waits if on a device."""
    return cameras.detach().cpu().numpy().astype(np.float64, copy=False)


def to_device(arrays: Sequence[np.ndarray], where: torch.device) -> list[Tensor]:
    """Small arrays on a device, of their types and shapes: one copy, for which nobody waits."""
    ends = list(accumulate(-(-array.nbytes // 16) * 16 for array in arrays))
    packed = torch.empty(ends[-1], dtype=torch.uint8, pin_memory=where.type == "cuda")
    starts = [0, *ends[:-1]]
    parts = [slice(start, start + array.nbytes) for start, array in zip(starts, arrays, strict=True)]
    for part, array in zip(parts, arrays, strict=True):
        packed.numpy()[part] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    moved = packed.to(where, non_blocking=True)
    types = [torch.float64 if array.dtype == np.float64 else torch.float32 for array in arrays]
    return [moved[p].view(t).view(a.shape) for p, t, a in zip(parts, types, arrays, strict=True)]


def groups(items: Iterable[Item], fit: Callable[[list[Item]], bool]) -> Iterator[list[Item]]:
    """Runs of consecutive items, each as long as `fit` allows and never empty. Reads one item ahead.

    >>> list(groups([1, 2, 3, 9, 1], lambda run: sum(run) <= 4))
    [[1, 2], [3], [9], [1]]
    """
    run: list[Item] = []
    for item in items:
        if run and not fit([*run, item]):
            yield run
            run = []
        run.append(item)
    if run:
        yield run


def parts(count: int, at_once: int) -> list[slice]:
    """0 ... count - 1 in as few parts as possible of nearly equal size, at most `at_once` (and at least 1) in each.

    >>> parts(5, 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    size = math.ceil(count / math.ceil(count / max(1, at_once))) if count else 1
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def composite(rgba: Float[Tensor, "*B H W 4"], background: tuple[float, float, float]) -> UInt8[Tensor, "*B H W 4"]:
    """`compose.composite` on a device: the colour over the background, and in the last channel the coverage."""
    exact = rgba.double()
    alpha = exact[..., 3:]
    color = exact[..., :3] + (1.0 - alpha) * torch.tensor(background, dtype=torch.float64, device=rgba.device)
    return (torch.cat([color, alpha], -1).clamp(0.0, 1.0) * 255.0 + 0.5).floor().to(torch.uint8)
