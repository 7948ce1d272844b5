"""Strict loading: what a file holds is compared with what a network needs, and every difference is named."""

from __future__ import annotations

import pickle  # for the name of an error
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from bench4d.errors import FormatError

SHOWN = 12  # names a list in a message; the rest is counted


@dataclass(frozen=True)
class LoadReport:
    """How one file of tensors met one network.

    Attributes:
        where: the file.
        sha256: of the file.
        tensors, parameters: how many were loaded, and how many numbers they hold.
        missing: names that the network needs and the file lacks.
        unexpected: names that the file has and the network does not know.
        reshaped: "name: file [..], network [..]" where shapes differ.
        cast: "float32 -> float16": how many tensors were stored in another type than the network uses.
        initialised: names that were allowed to be missing and hold the values the network was built with.
    """

    where: str
    sha256: str
    tensors: int
    parameters: int
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    reshaped: tuple[str, ...] = ()
    cast: Mapping[str, int] = field(default_factory=dict)
    initialised: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not (self.missing or self.unexpected or self.reshaped)

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.tensors} tensors, {self.parameters:,} numbers, sha256 {self.sha256}"]
        for title in ("missing", "unexpected", "reshaped", "initialised"):
            if names := getattr(self, title):
                shown = "\n    ".join(names[:SHOWN]) + (
                    f"\n    ... and {len(names) - SHOWN} more" * (len(names) > SHOWN)
                )
                lines.append(f"  {title}: {len(names)}\n    {shown}")
        lines += [f"  stored in another type, {kinds}: {count}" for kinds, count in self.cast.items()]
        return "\n".join(lines)


def load_strictly(
    network: nn.Module,
    tensors: Mapping[str, Tensor],
    where: str | Path,
    sha256: str = "",
    may_lack: tuple[str, ...] = (),
) -> LoadReport:
    """Put `tensors` into `network`, each in the type that the network has; nothing is loaded if anything is amiss.

    Args:
        network: on any device. Parameters on the meta device are replaced by the tensors themselves.
        may_lack: prefixes of names that may be missing: they keep the network's own values.
    """
    wanted = network.state_dict()
    missing = [name for name in wanted if name not in tensors]
    initialised = tuple(name for name in missing if name.startswith(may_lack)) if may_lack else ()
    shared = {name: tensor for name, tensor in tensors.items() if name in wanted}
    cast: dict[str, int] = {}
    for name, tensor in shared.items():
        if tensor.dtype != wanted[name].dtype:
            kinds = f"{tensor.dtype} -> {wanted[name].dtype}".replace("torch.", "")
            cast[kinds] = cast.get(kinds, 0) + 1
    report = LoadReport(
        where=str(where),
        sha256=sha256,
        tensors=len(shared),
        parameters=sum(tensor.numel() for tensor in shared.values()),
        missing=tuple(name for name in missing if name not in initialised),
        unexpected=tuple(name for name in tensors if name not in wanted),
        reshaped=tuple(
            f"{name}: file {list(tensor.shape)}, network {list(wanted[name].shape)}"
            for name, tensor in shared.items()
            if tensor.shape != wanted[name].shape
        ),
        cast=cast,
        initialised=initialised,
    )
    if not report.ok:
        expected = f"the {len(wanted)} tensors of {type(network).__name__}"
        raise FormatError(
            where, expected, f"a file that does not fit:\n{report}\n", "Is this file for another network?"
        )
    for kinds in cast:
        if "float" not in kinds.split(" -> ")[0] or "float" not in kinds.split(" -> ")[1]:
            raise FormatError(where, "floating-point tensors", kinds)
    on_meta = any(tensor.is_meta for tensor in wanted.values())
    whole = wanted | {name: tensor.to(wanted[name].dtype) for name, tensor in shared.items()}
    network.load_state_dict(whole, strict=True, assign=on_meta)
    return report


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a .safetensors file, or of a .pth file that holds nothing but a state dict. Raises FormatError."""
    if not path.is_file():
        raise FormatError(path, "a file of weights", "no such file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        tensors = torch.load(path, map_location="cpu", weights_only=True)  # code inside such a file is never run
    except (
        SafetensorError,
        RuntimeError,
        EOFError,
        ValueError,
        OSError,
        KeyError,
        pickle.UnpicklingError,
    ) as error:
        raise FormatError(path, "a readable file of tensors", f"{type(error).__name__}: {str(error)[:200]}") from None
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise FormatError(path, "a state dict: names and tensors", type(tensors).__name__)
    return tensors
