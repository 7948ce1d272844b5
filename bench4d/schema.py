"""YAML files checked against the JSON schemas in workflow/schemas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import yaml

from .errors import FormatError

SCHEMAS = Path(__file__).parents[1] / "workflow" / "schemas"
MAX_YAML_BYTES = 4 * 2**20


def read_yaml(path: Path, schema: str) -> dict[str, Any]:
    """The content of a YAML file that satisfies `workflow/schemas/<schema>.schema.yaml`. Raises FormatError."""
    data = load_yaml(path)
    check(data, schema, path)
    return data


def check(data: Any, schema: str, where: str | Path) -> None:
    """Raise FormatError at the first place where `data` breaks the schema."""
    rules = load_yaml(SCHEMAS / f"{schema}.schema.yaml")
    validator = jsonschema.Draft202012Validator(rules)
    for error in sorted(validator.iter_errors(data), key=lambda e: list(map(str, e.absolute_path))):
        place = "/".join(map(str, error.absolute_path)) or "top level"
        raise FormatError(where, f"what workflow/schemas/{schema}.schema.yaml says of {place}", error.message)


def load_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FormatError(path, "a YAML file", "no such file")
    if path.stat().st_size > MAX_YAML_BYTES:
        raise FormatError(path, f"at most {MAX_YAML_BYTES} bytes of YAML", f"{path.stat().st_size} bytes")
    try:
        data = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(path, "valid UTF-8 YAML", " ".join(str(error).split())) from None
    if not isinstance(data, dict):
        raise FormatError(path, "a mapping at the top level", type(data).__name__)
    return data
