"""Network configurations: frozen dataclasses whose fields are the "args" of a checkpoint's JSON file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from bench4d.errors import FormatError

Config = TypeVar("Config")


def config_from_args(kind: type[Config], args: Mapping[str, Any]) -> Config:
    """A configuration from the "args" of a checkpoint's JSON; unknown and missing keys are errors.

    Lists become tuples.
    """
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(args) - known):
        raise FormatError(
            f'{kind.__name__} "args"',
            f"only {', '.join(sorted(known))}",
            f"unknown {', '.join(unknown)}",
            "Does the file belong to another network, or to a newer version of this one?",
        )
    required = {field.name for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING}  # type: ignore[arg-type]
    if missing := sorted(required - set(args)):
        raise FormatError(f'{kind.__name__} "args"', f"a value for {', '.join(missing)}", "none")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in args.items()})
