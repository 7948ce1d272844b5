"""Data as classic scripts, which a page may load from disk: `BENCH4D.put("<name>", <json>)`."""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

from ..files import atomic

# What would end a script element or, in older engines, a line of it.
SPECIAL = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def slug(name: str) -> str:
    """A name as part of a file name; one that is not safe as it stands is cut down, with a hash to stay distinct.

    >>> slug("lpips-vgg"), slug("a/b"), slug("Δ")
    ('lpips-vgg', 'a-b-c14cddc0', 'x-3d2a2aa9')
    """
    if re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,59}", name):
        return name
    kept = re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-_")[:40] or "x"
    return f"{kept}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def finite(data: Any) -> Any:
    """`data` with every float that JSON cannot say (NaN, infinity) as None."""
    if isinstance(data, dict):
        return {str(key): finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [finite(value) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return data


def script(name: str, data: Any) -> str:
    text = json.dumps(finite(data), allow_nan=False, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    call = f"BENCH4D.put({json.dumps(name)},{text});\n"
    return "".join(SPECIAL.get(c, c) for c in call) if any(c in call for c in SPECIAL) else call


def write_text(path: Path, text: str) -> None:
    """Only if it differs: an unchanged file keeps its time."""
    content = text.encode("utf-8", "replace")
    if path.is_file() and path.read_bytes() == content:
        return
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def write_data(site: Path, name: str, data: Any) -> None:
    """`data/<name>.js`."""
    write_text(site / "data" / f"{name}.js", script(name, data))
