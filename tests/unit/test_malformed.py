"""Whatever a stranger sends, a reader gives a value or a FormatError that names the file and what was expected."""

from __future__ import annotations

import ast
import re
import resource
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path

import pytest

from bench4d.errors import FormatError
from tests.unit.malformed_cases import CASES, READERS
from tests.unit.malformed_makers import Case

ROOT = Path(__file__).parents[2]
MAX_TRACED = 64 * 2**20  # what Python and numpy may allocate for any case
MAX_GROWTH = 1 * 2**30  # address space for any case, everything that libraries allocate included

# Readers that open no file by themselves, or are tested for the same elsewhere
ELSEWHERE = {
    "align.read_reference": "read_asset",
    "frames.read_view": "read_png_sequence",
    "gltf.read_animated": "tests/unit/test_gltf_malformed.py",
    "pictures.read_pictures": "read_png_sequence",
    "published.read_atlas": "tests/unit/test_published.py",
    "published.read_contradictions": "tests/unit/test_published.py",
    "published.read_published": "tests/unit/test_published.py",
    "renders.read_images": "read_video",
    "score.read_pair": "read_png_sequence",
    "weights_convert.read_member": "tests/unit/test_weights.py",
    "weights_convert.read_torch": "tests/unit/test_weights.py",
    "weights_convert.read_flax": "tests/unit/test_weights.py",
}


def tree(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.lstat().st_size for p in folder.rglob("*")}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.reader}: {case.name}")
def test_malformed_input_is_refused_by_name(case: Case, tmp_path: Path) -> None:
    path = case.make(tmp_path)
    before = tree(tmp_path)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError) as caught:
            READERS[case.reader](path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    text = str(caught.value)
    assert re.search(case.message, text, re.DOTALL), text
    assert (case.file or path.name) in text and "expected" in text and "found" in text
    assert len(text) < 2000 and "\n" not in text.replace(str(tmp_path), "")
    assert peak < MAX_TRACED
    assert tree(tmp_path) == before


def test_no_case_needs_much_memory_and_no_other_error_passes_through() -> None:
    """Again in a process of its own that may not grow: images and films are decoded outside of Python's allocator."""
    done = subprocess.run([sys.executable, "-m", "tests.unit.test_malformed"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{len(CASES)} cases\n"), done.stdout + done.stderr


def test_there_are_enough_cases_and_all_differ() -> None:
    assert len(CASES) >= 60
    assert len({(case.reader, case.name) for case in CASES}) == len(CASES)


def test_every_reader_has_a_case() -> None:
    found = set()
    for path in (ROOT / "bench4d").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            functions = (
                [f for f in getattr(node, "body", []) if isinstance(f, ast.FunctionDef)]
                if isinstance(node, ast.ClassDef | ast.Module)
                else []
            )
            prefix = node.name if isinstance(node, ast.ClassDef) else path.stem
            found |= {
                f"{prefix}.{f.name}"
                for f in functions
                if re.match("read$|read_|load_yaml|from_json|checked_id", f.name)
            }
    covered = {case.reader for case in CASES}
    missing = {name for name in found - set(ELSEWHERE) if not {name, name.split(".")[1]} & covered}
    assert not missing, "new readers: add malformed cases for them (or say in ELSEWHERE what covers them)"
    assert set(ELSEWHERE) <= found and covered == set(READERS)


def main() -> None:
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MAX_GROWTH,) * 2)
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            path = case.make(Path(folder))
            try:
                READERS[case.reader](path)
            except FormatError:
                continue
            except BaseException as error:
                sys.exit(f"{case.reader}: {case.name}: {type(error).__name__}: {error}")
            sys.exit(f"{case.reader}: {case.name}: nothing was refused")
    sys.stdout.write(f"{len(CASES)} cases\n")


if __name__ == "__main__":
    main()
