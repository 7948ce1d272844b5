"""Files of a hub repository through huggingface_hub: one revision, cached, and plain words without a network."""

from __future__ import annotations

from pathlib import Path

from bench4d.errors import FormatError


def fetch(repository: str, name: str, revision: str | None) -> Path:
    """The local copy of one file of `owner/repository`. Raises FormatError."""
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError:
        raise FormatError(
            f"{repository}/{name}",
            "the package huggingface_hub",
            "none",
            "pip install -r requirements/ss4d.txt, or give a folder on this machine.",
        ) from None
    try:
        return Path(hf_hub_download(repository, name, revision=revision))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).strip().splitlines()
        raise FormatError(
            f"hub file {repository}/{name}" + (f" at {revision}" if revision else ""),
            "a file that the hub gives, or that its cache holds",
            f"{type(error).__name__}: {reason[0] if reason else 'no reason given'}",
            "Without a network: copy the repository's files into a folder and give that folder.",
        ) from None
