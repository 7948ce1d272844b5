"""Stub during the first build."""

from pathlib import Path
from .run import Run


def make_asset(run: Run, site: Path, name: str, place: Path, aligned: bool) -> tuple[str | None, str]:
    return None, "not packed yet"
