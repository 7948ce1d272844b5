"""YAML as plain data: what makes small files large or strange is refused."""

from __future__ import annotations

import math
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from .errors import FormatError

MAX_YAML_BYTES = 512 * 2**10  # the parser is slow: some seconds for this much
MAX_DEPTH = 32


def load_yaml(path: Path) -> dict[str, Any]:
    """A mapping of plain values with names as keys. Refused are aliases, tags, repeated keys and deep nesting."""
    if not path.is_file():
        raise FormatError(path, "a YAML file", "no such file")
    if path.stat().st_size > MAX_YAML_BYTES:
        raise FormatError(path, f"at most {MAX_YAML_BYTES} bytes of YAML", f"{path.stat().st_size} bytes")
    try:
        data = yaml.load(path.read_text("utf-8"), _PlainLoader)
    except (yaml.YAMLError, ValueError) as error:
        raise FormatError(path, "valid, plain UTF-8 YAML", " ".join(f"{error}".split())[:300]) from None
    if not isinstance(data, dict):
        raise FormatError(path, "a mapping at the top level", type(data).__name__)
    return data


class _PlainLoader(yaml.SafeLoader):
    """YAML without what makes small files large (aliases) or strange (tags, dates, repeated keys, infinities)."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.composer.ComposerError(None, None, "aliases and anchors are not read", event.start_mark)
        if getattr(event, "tag", None) is not None:
            raise yaml.composer.ComposerError(None, None, f"the tag {event.tag!r} is not read", event.start_mark)
        if self.depth == MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, f"more than {MAX_DEPTH} levels", event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        names = [self.construct_object(key) for key, _ in node.value]
        for name in names:
            if not isinstance(name, str) or names.count(name) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {name!r:.80}", node.start_mark)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: Any) -> float:
        value = self.construct_yaml_float(node)
        if not math.isfinite(value):
            raise yaml.constructor.ConstructorError(None, None, f"the number {node.value}", node.start_mark)
        return float(value)


_PlainLoader.add_constructor("tag:yaml.org,2002:float", _PlainLoader.construct_number)
_PlainLoader.add_constructor("tag:yaml.org,2002:timestamp", lambda _, node: node.value)  # a date stays text
