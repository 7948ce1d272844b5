"""The real Snakefile on a tiny benchmark, in a copy of the repository."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
GENERATORS = ("ss4d_tiny", "own_static")  # need weights and half a minute a clip; they have tests of their own
PARTS = ("Snakefile", "workflow", "bench4d", "metrics", "benchmarks", "baselines", "config", "profiles", "weights.yaml")


class Checkout:
    """A copy of the repository in which Snakemake runs."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def snakemake(self, *options: str, path_first: Path | None = None, ok: bool = True) -> str:
        """Run Snakemake with the config of the tiny benchmark; its output, as text."""
        process = self.start(*options, path_first=path_first)
        try:
            output = "".join(process.communicate(timeout=300))
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        assert not ok or process.returncode == 0, output + self.logs()
        return output

    def start(self, *options: str, path_first: Path | None = None, own_session: bool = False) -> subprocess.Popen[str]:
        """The same, without waiting for it."""
        front = [str(path_first)] if path_first else []
        environment = os.environ | {
            "PATH": os.pathsep.join([*front, str(Path(sys.executable).parent), os.environ["PATH"]])
        }
        environment["XDG_CACHE_HOME"] = str(self.root / "cache")
        command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", "config/tiny.yaml", *options]
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            command, cwd=self.root, env=environment, text=True, start_new_session=own_session, **streams
        )

    def logs(self) -> str:
        return "\n".join(f"== {p}\n{p.read_text()}" for p in sorted(self.root.glob("results/*/logs/**/*.log")))

    def planned(self, *options: str) -> dict[str, int]:
        """Rule -> number of jobs that a dry run would start."""
        lines = iter(self.snakemake("-n", "--quiet", "rules", *options).splitlines())
        jobs = {}
        for line in lines:
            if line.startswith("job ") and "count" in line:
                next(lines)
                for entry in lines:
                    name, _, count = entry.rpartition(" ")
                    if not count.isdigit():
                        break
                    jobs[name.strip()] = int(count)
        return {name: count for name, count in jobs.items() if name not in ("all", "total")}

    def copy(self, where: Path) -> "Checkout":
        shutil.copytree(self.root, where, symlinks=True)
        return Checkout(where)

    def configure(self, **changes: Any) -> None:
        """Change keys of the config that `snakemake` runs with."""
        path = self.root / "config/tiny.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))

    def edit(self, path: str, text: str) -> None:
        with (self.root / path).open("a") as file:
            file.write(text)


TINY = {
    "n_frames": 4,
    "fps": 2.7,  # incommensurate with the motions: no later frame may repeat frame 0
    "size": 48,
    "metrics": [{"id": m, "stride": 1} for m in ("psnr", "silhouette-iou")]
    + [{"id": "chamfer", "stride": 3, "options": {"samples": 500}}, {"id": "time", "stride": 1}],
    "table": [
        {"metric": "psnr", "views": "novel"},
        {"metric": "psnr", "views": "input"},
        {"metric": "silhouette-iou", "views": "novel"},
        {"metric": "chamfer"},
        {"metric": "time"},
    ],
}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Checkout:
    """A finished run of all methods on two clips of 4 frames, 48 x 48 pixels."""
    root = tmp_path_factory.mktemp("checkout") / "bench4d"
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, root / part, ignore=shutil.ignore_patterns("*.pyc", *GENERATORS))
        else:
            root.mkdir(exist_ok=True)
            shutil.copy2(source, root / part)
    protocol = yaml.safe_load((root / "benchmarks/synth4d/protocol.yaml").read_text())
    protocol |= TINY | {
        "id": "synth4d-tiny",
        "title": "tiny",
        "clips": protocol["clips"][:2],
        "views": protocol["views"][:2],
    }
    (root / "benchmarks/synth4d/protocol-tiny.yaml").write_text(yaml.safe_dump(protocol))
    config = yaml.safe_load((root / "config/config.yaml").read_text())
    config |= {"benchmarks": ["synth4d-tiny"], "site": False}  # test_site_rule.py has runs with it
    (root / "config/tiny.yaml").write_text(yaml.safe_dump(config))
    checkout = Checkout(root)
    checkout.snakemake()
    return checkout


@pytest.fixture
def checkout(tiny, tmp_path) -> Checkout:
    """A copy of the finished run, to change at will."""
    return tiny.copy(tmp_path / "bench4d")
