"""From a downloaded file to the canonical one: named tensors, and the bytes that every source must lead to.

Sources differ in container and layout; the tensors are the same. The canonical file is a safetensors file written here
byte by byte (names sorted, no metadata), so that its sha256 depends on names, types, shapes and values alone.
"""

from __future__ import annotations

import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .errors import FormatError

MAX_MEMBER_BYTES = 8 * 2**30
TYPES = {"float16": "F16", "float32": "F32", "float64": "F64", "int32": "I32", "int64": "I64", "uint8": "U8"}
# All that a pickled dictionary of plain numpy arrays needs; numpy renamed `core` to `_core` in 2.0.
ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): np.ndarray.__reduce__(np.zeros(0))[0],
    ("numpy._core.multiarray", "_reconstruct"): np.ndarray.__reduce__(np.zeros(0))[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class ArrayUnpickler(pickle.Unpickler):
    """Builds numpy arrays, built-in containers and nothing else: any other name in the pickle is refused unread."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise FormatError("pickle", "numpy arrays only", f"a call of {module}.{name}", "Do not use this file.")
        return ALLOWED[module, name]


def read_member(archive: Path, member: str) -> bytes:
    """One regular file out of a .tar.gz, .zip or .whl, in memory: nothing is unpacked to disk."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as folder:
                size = folder.getinfo(member).file_size
                if size <= MAX_MEMBER_BYTES:
                    return folder.read(member)
        else:
            with tarfile.open(archive) as folder:
                entry = folder.getmember(member)
                size, file = entry.size, folder.extractfile(entry)
                if file is not None and size <= MAX_MEMBER_BYTES:
                    return file.read()
    except (KeyError, tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise FormatError(archive, f"an archive that holds {member}", f"{type(error).__name__}: {error}") from None
    raise FormatError(archive, f"{member} as a file of at most {MAX_MEMBER_BYTES} bytes", f"{size} bytes")


def read_torch(data: BinaryIO) -> dict[str, np.ndarray]:
    """A state dict saved by torch, old container or new; loaded with `weights_only`, so no code in it can run."""
    import torch

    try:
        state = torch.load(data, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise FormatError("torch file", "a plain state dict", f"{type(error).__name__}: {str(error)[:200]}") from None
    if not isinstance(state, Mapping) or not all(isinstance(t, torch.Tensor) for t in state.values()):
        raise FormatError("torch file", "a state dict of tensors", type(state).__name__)
    return {name: tensor.detach().numpy() for name, tensor in state.items()}


def read_flax(data: BinaryIO) -> dict[str, np.ndarray]:
    """Nested dictionaries of numpy arrays, pickled by flax, under torch's names and in torch's layout.

    A convolution's `kernel` [H,W,I,O] becomes `weight` [O,I,H,W].
    """
    try:
        tree = ArrayUnpickler(data).load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError("pickle", "a dictionary of numpy arrays", f"{type(error).__name__}: {error}") from None
    tensors: dict[str, np.ndarray] = {}
    stack: list[tuple[str, Any]] = [("", tree)]
    while stack:
        path, node = stack.pop()
        if isinstance(node, dict):
            stack += [(f"{path}.{name}" if path else str(name), child) for name, child in node.items()]
        elif not isinstance(node, np.ndarray) or node.dtype.kind not in "fiu":
            raise FormatError("pickle", f"an array of numbers at {path!r}", type(node).__name__)
        elif path.endswith(".kernel"):
            if node.ndim != 4:
                raise FormatError("pickle", f"a kernel [H,W,I,O] at {path!r}", f"{list(node.shape)}")
            tensors[path.removesuffix("kernel") + "weight"] = node.transpose(3, 2, 0, 1)
        else:
            tensors[path] = node
    return tensors


def choose(tensors: Mapping[str, np.ndarray], modules: Mapping[str, str]) -> dict[str, np.ndarray]:
    """The tensors of the named modules, renamed. `modules` maps each canonical module to the source's."""
    chosen: dict[str, np.ndarray] = {}
    for ours, theirs in modules.items():
        found = {name: t for name, t in tensors.items() if name.rpartition(".")[0] == theirs}
        if not found:
            raise FormatError("weights", f"a module {theirs!r}", f"{sorted(tensors)[:8]}...")
        chosen |= {f"{ours}.{name.rpartition('.')[2]}": tensor for name, tensor in found.items()}
    return chosen


def canonical_bytes(tensors: Mapping[str, np.ndarray]) -> bytes:
    """A safetensors file. Equal tensors give equal bytes, whatever library or source they came from.

    >>> canonical_bytes({"a": np.ones(1, np.uint8)})[8:].decode()
    '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}   \\x01'
    """
    header, blocks, end = {}, [], 0
    for name in sorted(tensors):
        kind = TYPES.get(tensors[name].dtype.name)
        if kind is None:
            raise FormatError(f"tensor {name}", f"one of {sorted(TYPES)}", str(tensors[name].dtype))
        block = np.ascontiguousarray(tensors[name]).astype(tensors[name].dtype.newbyteorder("<")).tobytes()
        header[name] = {"dtype": kind, "shape": list(tensors[name].shape), "data_offsets": [end, end + len(block)]}
        blocks.append(block)
        end += len(block)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # safetensors wants the data aligned to 8 bytes
    return len(text).to_bytes(8, "little") + text + b"".join(blocks)


def convert(data: bytes, form: str, modules: Mapping[str, str]) -> bytes:
    """The canonical bytes of one downloaded file or archive member; form "file" means it is canonical as it is."""
    if form == "file":
        return data
    if form == "torch":
        return canonical_bytes(choose(read_torch(io.BytesIO(data)), modules))
    if form == "flax":
        return canonical_bytes(choose(read_flax(io.BytesIO(data)), modules))
    raise FormatError("weights.yaml", "the format file, torch or flax", repr(form))
