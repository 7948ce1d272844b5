"""`Method`: a folder with data (`method.yaml`) and a program (`run.py`)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .clip import checked_id
from .errors import FormatError
from .files import sha256_file
from .schema import read_yaml

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Method:
    """What `method.yaml` says (see workflow/schemas/method.schema.yaml for every key), and where it stands."""

    id: str
    folder: Path
    data: dict[str, Any]

    @property
    def kind(self) -> str:
        """ "generator", or "reference": one that is shown the truth and stands outside the ranks."""
        return str(self.data["kind"])

    @property
    def parameters_sha256(self) -> str:
        return hashlib.sha256(json.dumps(self.data["parameters"], sort_keys=True).encode()).hexdigest()

    @property
    def weights_sha256(self) -> str:
        """Of the declared checksums; empty for a method without weights."""
        sums = sorted(str(w["sha256"]) for w in self.data["weights"])
        return hashlib.sha256("\n".join(sums).encode()).hexdigest() if sums else ""

    @property
    def version(self) -> str:
        """First 12 digits of the hash over the files that decide what the method makes."""
        total = hashlib.sha256()
        for path in self.sources:
            total.update(f"{path.relative_to(self.folder).as_posix()}\0{sha256_file(path)}\n".encode())
        return total.hexdigest()[:12]

    @property
    def sources(self) -> list[Path]:
        """The program, its data and its environment: what a change of must rerun the method."""
        kept = (".py", ".yaml", ".sh", ".json", ".txt")
        return sorted(p for p in self.folder.rglob("*") if p.suffix in kept and "__pycache__" not in p.parts)

    def contaminated_by(self, sources: list[str]) -> list[str]:
        """Which of a benchmark's sources the method was trained on."""
        return sorted(set(self.data["trained_on"]) & set(sources))

    @staticmethod
    def read(folder: Path) -> Method:
        checked_id(folder.name, folder)
        data = read_yaml(folder / "method.yaml", "method")
        for name in ("run.py", "environment.yaml"):
            if not (folder / name).is_file():
                raise FormatError(
                    folder, f"a file {name}", "none", "docs/add-a-method.md lists what a method folder holds."
                )
        return Method(folder.name, folder, data)


def method_folders(root: Path = ROOT, more: Sequence[Path] = ()) -> dict[str, Path]:
    """Every method of the repository: the folders under baselines/ with a method.yaml, and ss4d/.

    Args:
        more: other folders of methods. Raises FormatError where one is missing or has a method of a name that is taken.
    """
    found: dict[str, Path] = {}
    for parent in (root / "baselines", *more):
        if not parent.is_dir():
            raise FormatError("method_folders", "a folder that holds folders of methods", f"none at {parent}")
        for folder in (*sorted(parent.iterdir()), *([root / "ss4d"] if parent == root / "baselines" else [])):
            if (folder / "method.yaml").is_file():
                if folder.name in found:
                    next_step = "Rename one: a method's name is that of its folder."
                    raise FormatError(folder, "a name of its own", f"that of {found[folder.name]}", next_step)
                found[folder.name] = folder
    return found
