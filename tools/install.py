"""Make or update the environment `.venv`: `python3 tools/install.py core` (`metrics`, `test`). Standard library only.

Everything but torch comes from a lock with hashes. torch comes in the build that fits the machine: the plain one where
there is an NVIDIA GPU, otherwise the CPU build, which is ten times smaller. A second call with nothing changed returns
at once.
"""

import hashlib
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
TORCH = "torch==2.13.0"
CPU_BUILDS = "https://download.pytorch.org/whl/cpu"


def main(level: str) -> None:
    if sys.version_info < (3, 11):
        sys.exit(f"bench4d needs Python 3.11 or later; this is {sys.version.split()[0]}. Try: make PYTHON=python3.11")
    lock = ROOT / "requirements" / f"{level}.txt"
    wanted = hashlib.sha256(lock.read_bytes() + TORCH.encode()).hexdigest()
    stamp = VENV / f"installed-{level}"
    if stamp.is_file() and stamp.read_text() == wanted:
        write_command()
        return
    began = time.time()
    if not (VENV / "bin" / "python").exists():
        say(f"creating {VENV.name}")
        if subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=False).returncode:
            sys.exit("python3 -m venv failed (see above). On Debian and Ubuntu: apt install python3-venv")
    say(f"installing {lock.relative_to(ROOT)} (checked by hash)")
    pip("--no-deps", "--require-hashes", "-r", str(lock))
    torch = VENV / "installed-torch"
    if not (torch.is_file() and torch.read_text() == TORCH):
        install_torch()
        torch.write_text(TORCH)
    stamp.write_text(wanted)
    write_command()
    say(f"environment ready after {time.time() - began:.0f} s")


COMMAND = """#!{python}
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])  # the repository; methods in this environment do not see it
from bench4d.cli import main

sys.exit(main())
"""


def write_command() -> None:
    """`bench4d` beside python. No package is installed: a method's run.py must not find the repository."""
    path, text = VENV / "bin" / "bench4d", COMMAND.format(python=VENV / "bin" / "python")
    if not (path.is_file() and path.read_text() == text):
        path.write_text(text)
        path.chmod(0o755)


def install_torch() -> None:
    options = []
    if shutil.which("nvidia-smi") is None and sys.platform == "linux":
        if reachable(CPU_BUILDS + "/torch/"):
            options = ["--extra-index-url", CPU_BUILDS]
        else:
            say(f"{CPU_BUILDS} does not answer: pip's own sources decide which build of torch is installed")
    say(f"installing {TORCH}")
    pip(*options, TORCH)


def reachable(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10):
            return True
    except (urllib.error.URLError, OSError):
        return False


def pip(*arguments: str) -> None:
    # --no-compile: Python compiles what is really imported, on first use; it halves the time and saves 300 MB.
    command = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-compile"]
    result = subprocess.run([*command, "--disable-pip-version-check", *arguments], check=False)
    if result.returncode:
        sys.exit(f"pip failed (see above). Remove {VENV.name} and try again once its cause is gone.")


def say(text: str) -> None:
    print(f"install: {text}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "core")
