"""`--use-conda`: the plan, the environment files and the paths, with a stand-in `conda` (a test double, no solver).

The stand-in makes a folder with `bin/python` for each environment file, so Snakemake's own code for hashing, creating
and activating environments runs for real. What it cannot show is that conda-forge solves the files.
"""

import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]

CONDA = f"""#!{sys.executable}
import json, os, pathlib, shutil, sys
args = sys.argv[1:]
if args[:1] == ["info"]:
    keys = ("conda_prefix", "root_prefix", "default_prefix")
    told = dict.fromkeys(keys, {{BASE!r}}) | {{"conda_version": "25.1.0", "platform": "linux-64", "envs": []}}
    print(json.dumps(told))
elif args == ["--version"]:
    print("conda 25.1.0")
elif args[:2] == ["config", "--get"]:
    print(json.dumps({{"get": {{"channel_priority": "strict"}}}}))
elif args[:2] == ["env", "create"]:
    prefix = pathlib.Path(args[args.index("--prefix") + 1])
    shutil.copy(args[args.index("--file") + 1], {{BASE!r}})
    (prefix / "bin").mkdir(parents=True)
    python = prefix / "bin" / "python"
    python.write_text('#!/bin/sh\\nexport STANDIN_PREFIX="' + str(prefix) + '"\\nexec "{sys.executable}" "$@"\\n')
    python.chmod(0o755)
    (prefix / "conda-meta").mkdir()
elif args[:1] == ["clean"]:
    pass
else:
    sys.exit("stand-in conda: unexpected " + " ".join(args))
"""
ACTIVATE = 'export CONDA_PREFIX="$1"; export PATH="$1/bin:$PATH"\n'


def stand_in(where: Path) -> Path:
    folder = where / "standin" / "bin"
    folder.mkdir(parents=True)
    (folder / "conda").write_text(CONDA.replace("{BASE!r}", repr(str(where / "standin"))))
    (folder / "activate").write_text(ACTIVATE)
    for path in folder.iterdir():
        path.chmod(0o755)
    return folder


def test_without_conda_the_message_says_what_to_do(checkout):
    output = checkout.snakemake("-n", "--use-conda", ok=False)
    assert "Miniforge" in output and "leave --use-conda out" in output and "Traceback" not in output


def test_every_rule_and_method_runs_in_its_own_environment(checkout, tmp_path):
    checkout.configure(seeds=[7])
    conda = stand_in(tmp_path)
    checkout.snakemake("--use-conda", path_first=conda)
    made = [yaml.safe_load(p.read_text())["name"] for p in (tmp_path / "standin").glob("*.yaml")]
    methods = [
        yaml.safe_load(p.read_text())["name"] for p in sorted(checkout.root.glob("baselines/*/environment.yaml"))
    ]
    assert set(made) == {"bench4d-render", "bench4d-metrics", "bench4d-report", *methods}
    assert (checkout.root / "results/synth4d-tiny/inflate/seed7/scores.parquet").is_file()


def test_environment_files_pin_what_the_lock_pins():
    lock = {}
    locks = [(ROOT / "requirements" / name).read_text() for name in ("figures.txt", "metrics.txt")]
    for line in "\n".join(locks).splitlines():
        if "==" in line and not line.startswith(" "):
            name, version = line.split()[0].split("==")
            lock[name] = version
    lock["torch"] = "2.13.0"
    files = [
        ROOT / "environment.yml",
        *(ROOT / "workflow/envs").glob("*.yaml"),
        *ROOT.glob("baselines/*/environment.yaml"),
    ]
    assert len(files) >= 8
    for path in files:
        data = yaml.safe_load(path.read_text())
        assert any(str(d).startswith("python=") for d in data["dependencies"]), path
        for pin in next((d["pip"] for d in data["dependencies"] if isinstance(d, dict)), []):
            name, _, version = pin.partition("==")
            assert version, f"{path}: {pin} is not pinned"
            if "baselines" not in path.parts:
                assert lock[name] == version, f"{path}: {pin}, but the lock has {lock[name]}"
