"""Errors meant for people: what was expected, what was found, what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class FormatError(ValueError):
    """A file, folder or array does not have the form that was asked for.

    Args:
        where: the file, folder or argument at fault.
        expected: what should have been there.
        found: what was there.
        next_step: what the reader can do about it, if anything can be said.
    """

    def __init__(self, where: str | Path, expected: str, found: str, next_step: str = "") -> None:
        self.where, self.expected, self.found, self.next_step = str(where), expected, found, next_step
        text = f"{where}: expected {expected}; found {found}"
        super().__init__(f"{text}. {next_step}" if next_step else text)


@contextmanager
def within(where: str | Path) -> Iterator[None]:
    """Errors of arrays made inside the block say which file they come from."""
    try:
        yield
    except FormatError as error:
        raise FormatError(f"{where}: {error.where}", error.expected, error.found, error.next_step) from None
