"""Triton's `jit` and language, for modules that must be importable without Triton: then a launch raises FormatError."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .errors import FormatError


class Missing:
    """Stands for a kernel where Triton is not installed."""

    def __init__(self, kernel: Callable[..., None]) -> None:
        pass

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        install = "pip install triton (MIT). torch for CUDA on Linux brings it along."
        raise FormatError("kernels for CUDA", "the package triton", "none", install)


try:
    import triton.language as language  # type: ignore[import-not-found, import-untyped, unused-ignore]
    from triton import jit as compiled  # type: ignore[import-not-found, import-untyped, unused-ignore]
except ModuleNotFoundError:
    language, compiled = None, Missing
tl: Any = language
jit: Any = compiled
