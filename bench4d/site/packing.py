"""Numbers into few bytes that a browser unpacks with a few lines: quantised, differenced, planar, deflated, as text.

The text is that of a script in UTF-16, 15 bits a character (7 % more where base64 has 33 %): U+3400 to U+B3FF are all
plain characters, and browsers follow the byte order mark of a script. docs/site.md has the form in full.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, UInt32

from ..files import atomic
from .writing import finite

FIRST_CHAR, BITS = 0x3400, 15
WIDTHS = {"u8": 1, "u16": 2, "u32": 4}  # bytes
LEVEL = 6  # of deflate
Type = Literal["u8", "u16", "u32"]
Delta = Literal["none", "row", "frame"]
Bounds = Sequence[float] | Float[np.ndarray, " c"]


@dataclass(frozen=True)
class Packed:
    """One array of all frames, or of one that stands for all.

    Attributes:
        values: whole numbers below 2^(8 bytes of `type`), the frames one after the other.
        rows: of each frame; of a shared array one number.
        delta: what is stored is the difference from the row before, or from the same row of the frame before (modulo
            the type's range); it only decides on the size.
        low, high: what 0 and the type's largest number stand for, by component; empty: the numbers are meant.
        log: whether these are logarithms.
    """

    name: str
    type: Type
    values: UInt32[np.ndarray, "n c"]
    rows: tuple[int, ...]
    shared: bool
    delta: Delta = "none"
    low: tuple[float, ...] = field(default=())
    high: tuple[float, ...] = field(default=())
    log: bool = False

    def planes(self) -> bytes:
        """Component by component, and of each the low bytes of all rows, then the next ones."""
        size = WIDTHS[self.type]
        values = self.values
        step = {"none": 0, "row": 1, "frame": self.rows[0]}[self.delta]
        if step:
            values = np.concatenate([values[:step], values[step:] - values[:-step]])  # modulo 2^32, cut to size below
        return b"".join(
            ((values[:, c] >> np.uint32(8 * b)) & np.uint32(255)).astype(np.uint8).tobytes()
            for c in range(values.shape[1])
            for b in range(size)
        )

    def header(self, offset: int, count: int) -> dict[str, Any]:
        told = {"name": self.name, "type": self.type, "width": int(self.values.shape[1]), "rows": list(self.rows)}
        told |= {"shared": self.shared, "delta": self.delta, "offset": offset, "bytes": count, "log": self.log}
        return told | ({"low": list(self.low), "high": list(self.high)} if self.low else {})


def quantised(values: Float[np.ndarray, "n c"], low: Bounds, high: Bounds, levels: int) -> UInt32[np.ndarray, "n c"]:
    """0 for `low` to `levels` - 1 for `high`, rounded; a component without extent is 0."""
    bottom, extent = np.asarray(low, np.float64), np.subtract(high, low)
    share = (values - bottom) / np.where(extent > 0, extent, 1)
    return np.rint(share.clip(0, 1) * (levels - 1)).astype(np.uint32)


def stretched(low: Bounds, high: Bounds, levels: int, type: Type) -> tuple[float, ...]:
    """What the type's largest number stands for where `levels` - 1 stands for `high`: fewer levels, fewer bytes."""
    most = 2 ** (8 * WIDTHS[type]) - 1
    return tuple(float(a + (b - a) * most / (levels - 1)) for a, b in zip(low, high, strict=True))


def pack(arrays: Sequence[Packed]) -> tuple[list[dict[str, Any]], int, bytes]:
    """(headers, bytes before deflate, deflated bytes)."""
    parts, headers, offset = [], [], 0
    for array in arrays:
        part = array.planes()
        headers.append(array.header(offset, len(part)))
        parts.append(part)
        offset += len(part)
    return headers, offset, _deflated(b"".join(parts))


def _deflated(data: bytes) -> bytes:
    """The smaller of two: repeated pieces are found, or only equal bytes in a row, which is better for noise."""
    whole = []
    for strategy in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_RLE):
        packer = zlib.compressobj(LEVEL, strategy=strategy)
        whole.append(packer.compress(data) + packer.flush())
    return min(whole, key=len)


def to_text(data: bytes) -> str:
    """15 bits a character, the most significant bit first; the last character is filled up with zero bits.

    >>> [hex(ord(c)) for c in to_text(bytes([0xFF, 0xFE, 0x00, 0x03]))]
    ['0xb3ff', '0x3400', '0x9400']
    """
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    rows = np.concatenate([bits, np.zeros(-len(bits) % BITS, np.uint8)]).reshape(-1, BITS)
    words = np.packbits(rows, axis=1).astype(np.uint16)  # 15 bits in two bytes, the last bit empty
    codes = ((words[:, 0] << 8 | words[:, 1]) >> 1) + FIRST_CHAR if len(words) else np.empty(0, np.uint16)
    return codes.astype("<u2").tobytes().decode("utf-16-le")


def from_text(text: str, count: int) -> bytes:
    """The inverse of `to_text`, for tests and other programs.

    >>> from_text(to_text(b"any bytes"), 9)
    b'any bytes'
    """
    codes = np.frombuffer(text.encode("utf-16-le"), "<u2").astype(np.uint16) - FIRST_CHAR
    bits = np.unpackbits((codes << 1).astype(">u2").view(np.uint8)).reshape(-1, 16)[:, :BITS]
    return np.packbits(bits.ravel()).tobytes()[:count]


def write_packed(path: Path, name: str, data: Mapping[str, Any], deflated: bytes) -> None:
    """A script in UTF-16 with its byte order mark."""
    text = json.dumps(finite(dict(data)), allow_nan=False, sort_keys=True, ensure_ascii=True).replace("<", "\\u003c")
    content = f'BENCH4D.put({json.dumps(name)},{text[:-1]},"data":"{to_text(deflated)}"}});\n'
    with atomic(path) as temporary:
        temporary.write_bytes(b"\xff\xfe" + content.encode("utf-16-le"))


def read_packed(path: Path) -> dict[str, Any]:
    """What the script hands over, with every array's numbers under its name: {"kind", ..., "values": {name: float or
    whole numbers [n,c]}}. The twin of the viewer's decoder."""
    content = path.read_bytes().decode("utf-16")
    data: dict[str, Any] = json.loads(content[content.index(",") + 1 : content.rindex(")")])
    raw = zlib.decompress(from_text(data.pop("data"), data["packed"]))
    return data | {"values": {head["name"]: _unpacked(head, raw) for head in data["arrays"]}}


def _unpacked(head: Mapping[str, Any], raw: bytes) -> np.ndarray:
    size, width, count = WIDTHS[head["type"]], head["width"], sum(head["rows"])
    planes = np.frombuffer(raw, np.uint8, head["bytes"], head["offset"]).reshape(width, size, count).astype(np.uint64)
    values = sum(planes[:, b] << np.uint64(8 * b) for b in range(size)).T  # type: ignore[union-attr]
    if head["delta"] == "row":
        values = np.cumsum(values, axis=0)
    elif head["delta"] == "frame":
        values = np.cumsum(values.reshape(len(head["rows"]), head["rows"][0], width), axis=0).reshape(count, width)
    most = 2 ** (8 * size) - 1
    values = values & np.uint64(most)
    if "low" not in head:
        return values
    real = np.array(head["low"]) + values / most * np.subtract(head["high"], head["low"])
    return np.exp(real) if head["log"] else real
