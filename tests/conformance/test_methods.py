"""Every method folder goes through the list of bench4d/conformance.py, as `bench4d check` does. Contributors write no
tests."""

import hashlib
from pathlib import Path

import pytest

from bench4d.cli.tiny_clip import make_clip
from bench4d.conformance import CHECKS, Check, check_one
from bench4d.errors import FormatError
from bench4d.method import Method, method_folders
from bench4d.trial import Trial

METHODS = method_folders()


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    """trials(id): the method on trial; its program runs once for all tests."""
    made: dict[str, Trial] = {}

    def of(name: str) -> Trial:
        if name not in made:
            made[name] = Trial(METHODS[name], tmp_path_factory.mktemp(name), make_clip)
        return made[name]

    return of


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
@pytest.mark.parametrize("name", METHODS)
def test_method(name: str, check: Check, trials) -> None:
    outcome = check_one(check, trials(name))
    if outcome.status == "skipped":
        pytest.skip(f"{name} {outcome.detail}")
    assert outcome.status == "ok", f"{outcome.detail}\n{outcome.next_step}"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("licence: MIT\n", "licence"),
        ("kind: reference\n", "kind"),
        ("trained_on: []\n", "trained_on"),
        ("deterministic: true\n", "deterministic"),
    ],
)
def test_a_missing_key_is_refused_by_name(line: str, message: str, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    source = METHODS["ground_truth"]
    for name in ("run.py", "environment.yaml"):
        (folder / name).write_bytes((source / name).read_bytes())
    text = (source / "method.yaml").read_text().replace("Apache-2.0", "MIT")
    (folder / "method.yaml").write_text(text)
    Method.read(folder)
    assert line in text
    (folder / "method.yaml").write_text(text.replace(line, ""))
    with pytest.raises(FormatError, match=message):
        Method.read(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kind: reference", "kind: oracle", "kind"),
        ("code: null", "code: {repository: https://example.org/x, commit: main}", "code"),
        ("vram_gb: 0", "vram_gb: 8", "vram_gb"),
        ("weights: []", "weights: [{name: a, source: b, revision: null, sha256: abc, licence: MIT}]", "sha256"),
        ("name: Ground truth", "name: Ground truth\nhomepage: x", "homepage"),
        ("status: {synth4d: working}", "status: {synth4d: fine}", "status"),
    ],
)
def test_what_the_schema_forbids_is_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    text = (METHODS["ground_truth"] / "method.yaml").read_text()
    assert old in text
    (tmp_path / "run.py").touch()
    (tmp_path / "environment.yaml").touch()
    (tmp_path / "method.yaml").write_text(text.replace(old, new))
    with pytest.raises(FormatError, match=message):
        Method.read(tmp_path)


def test_ground_truth_is_handed_back_byte_by_byte(trials) -> None:
    trial = trials("ground_truth")
    for name in ("asset.json", "frames.safetensors"):
        digests = [hashlib.sha256((f / name).read_bytes()).digest() for f in (trial.truth / "asset", trial.out)]
        assert digests[0] == digests[1]
