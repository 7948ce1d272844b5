# Discovery and helper functions: the only Python of the rules. No heavy imports here: this runs at every start.
import json
import math
import shutil
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT))

from bench4d.benchmark import find_benchmark
from bench4d.errors import FormatError
from bench4d.method import Method, method_folders
from bench4d.schema import check
from workflow.scripts.run_lock import RunLock

# Held by this run until it ends, however it ends; what a killed run left behind is cleared.
RUN_LOCK = RunLock(Path.cwd()) if workflow.is_main_process else None


onstart:
    if RUN_LOCK and (left := RUN_LOCK.end_leftovers()):
        print(f"Ended {len(left)} processes that an earlier run had left behind.", file=sys.stderr)


if DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method and not shutil.which("conda"):
    raise WorkflowError(
        "--use-conda needs the program conda (24.7.1 or later) on PATH, and there is none. Either install Miniforge"
        " (https://conda-forge.org/download) and try again, or leave --use-conda out: `make results` needs no conda."
    )

try:
    check(config, "config", "config")
    BENCHMARKS = {name: find_benchmark(name, ROOT) for name in config["benchmarks"]}
    MORE = [Path.cwd() / folder for folder in config.get("method_folders", [])]
    FOUND = {name: Method.read(folder) for name, folder in method_folders(ROOT, MORE).items()}
except FormatError as error:
    raise WorkflowError(str(error)) from None

CHOSEN = list(FOUND) if config["methods"] == "all" else config["methods"]
if unknown := sorted(set(CHOSEN) - set(FOUND)):
    raise WorkflowError(f"config: methods: expected some of {sorted(FOUND)}; found {unknown}")

# With "all", methods that need a GPU are left out where there is none: the tables list them. Naming one runs it.
HAS_GPU = shutil.which("nvidia-smi") is not None
SKIPPED = {
    m: "needs a GPU" for m in CHOSEN if config["methods"] == "all" and FOUND[m].data["needs"]["gpu"] and not HAS_GPU
}
METHODS = {m: FOUND[m] for m in CHOSEN if m not in SKIPPED}
SEEDS = config["seeds"]
DIFFERENCES_TO = config.get("differences_to", "")
if DIFFERENCES_TO and DIFFERENCES_TO not in METHODS:
    raise WorkflowError(
        f"config: differences_to: expected one of the methods {list(METHODS)}; found {DIFFERENCES_TO!r}"
    )


def batches(benchmark):
    """The clips of a benchmark, cut into lists that one process handles."""
    clips = BENCHMARKS[benchmark].clips
    size = config["batch_clips"] or len(clips)
    return [clips[k : k + size] for k in range(0, len(clips), size)]


def relative(path):
    """As Snakemake stores paths: relative to the working directory where possible."""
    path = Path(path)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def sources(*patterns):
    """Files of the repository: code that a rule's output depends on."""
    return sorted(relative(p) for pattern in patterns for p in ROOT.glob(pattern))


def lease(wanted):
    """What stands before a command that uses a GPU: it waits for a device of its own (see gpu_lease.py)."""
    return f"python {script('gpu_lease.py')} --gpus 1 -- " if wanted else ""


def script(name):
    return relative(ROOT / "workflow" / "scripts" / name)


def protocol(benchmark):
    return relative(BENCHMARKS[benchmark].path)


def method_files(wildcards):
    """Generation depends on these, the clips and the seed, and on nothing else."""
    return [relative(path) for path in METHODS[wildcards.method].sources]


def method_folder(wildcards):
    return relative(METHODS[wildcards.method].folder)


def method_program(wildcards):
    return relative(METHODS[wildcards.method].folder / "run.py")


def method_environment(wildcards):
    return str(METHODS[wildcards.method].folder / "environment.yaml")


def method_data(wildcards):
    return relative(METHODS[wildcards.method].folder / "method.yaml")


def weights_of(wildcards):
    """Where it stands which files a method's weights are; nothing for a method without weights."""
    return f"results/weights/{wildcards.method}.json" if METHODS[wildcards.method].data["weights"] else []


def weights_option(wildcards, input):
    return f"--weights {input.weights}" if input.weights else ""


def weights_attempt(wildcards):
    """Counts on as long as a file is missing, so that the next run tries again; then it stays, and nothing reruns."""
    path = Path(f"results/weights/{wildcards.method}.json")
    if not path.is_file():
        return 1
    found = json.loads(path.read_text())
    return found["attempt"] + any("reason" in entry for entry in found["files"].values())


def method_gpus(wildcards):
    return int(METHODS[wildcards.method].data["needs"]["gpu"])


def limit(name):
    """What a method may use: as its method.yaml says, else as the config says. In millions of bytes where it is GB."""

    def of(wildcards):
        value = METHODS[wildcards.method].data["needs"].get(name, config["limits"][name])
        return math.ceil(1000 * value) if "_gb" in name else value

    return of


def seconds_per_clip(wildcards):
    """Ten times what the method declares, and at least what the config says: beyond that a clip counts as hanging."""
    minutes = 10 * METHODS[wildcards.method].data["needs"]["minutes_per_clip"]
    return math.ceil(60 * max(config["limits"]["minutes_per_clip"], minutes))


def parent_of_output(wildcards, output):
    """results/<benchmark>, or results/<benchmark>/<method>/seed<k>: the folder of the first output."""
    return str(Path(output[0]).parent)


def parent_of_rows(wildcards, input):
    """results/<benchmark>."""
    return Path(input.rows).parent


def root_of_output(wildcards, output):
    """The folder that holds the clips' folders of the outputs."""
    return str(Path(output[0]).parents[1])


def clips_root(wildcards, input):
    return str(Path(input.clips[0]).parent)


def truth_root(wildcards, input):
    return str(Path(input.truth[0]).parents[1])


def truth_option(wildcards, input):
    """Only reference methods are told where the truth is."""
    return f"--truth {truth_root(wildcards, input)}" if input.truth else ""


def keeps(kind):
    """Whether the config keeps files of this kind ("assets" or "renders") on disk."""
    return kind in {"all": ("assets", "renders"), "evidence": ("renders",), "scores": ()}[config["keep"]]


def kept(kind, path):
    return directory(path) if keeps(kind) else temp(directory(path))


# What decides a geometry or a pixel, and what decides a score; documentation and tables are in neither.
NOUNS = sources(
    "bench4d/asset*.py", "bench4d/benchmark.py", "bench4d/cameras.py", "bench4d/clip.py", "bench4d/files.py"
)
RENDERER = NOUNS + sources("bench4d/render/*.py", "bench4d/rendering.py", "bench4d/similarity.py", "bench4d/frames.py")
ALIGNER = NOUNS + sources("bench4d/align.py", "bench4d/icp.py", "bench4d/similarity.py", "bench4d/surface.py")
SCORER = NOUNS + sources(
    "bench4d/score.py",
    "bench4d/scoring_engine.py",
    "bench4d/feature*.py",
    "bench4d/metric*.py",
    "bench4d/pictures.py",
    "bench4d/frames.py",
    "bench4d/similarity.py",
    "bench4d/surface.py",
    "metrics/**/*.py",
)


wildcard_constraints:
    benchmark="|".join(BENCHMARKS),
    method="|".join(METHODS),
    seed=r"\d+",
