"""YAML files checked against the JSON schemas in workflow/schemas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema

from .errors import FormatError
from .plain_yaml import load_yaml

SCHEMAS = Path(__file__).parents[1] / "workflow" / "schemas"


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
        raise FormatError(where, f"what workflow/schemas/{schema}.schema.yaml says of {place}", error.message[:300])
