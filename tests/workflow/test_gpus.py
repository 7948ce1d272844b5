"""A benchmark's clips over the GPUs of a machine, by the real workflow and a stand-in nvidia-smi."""

import json

import yaml

from tests.nvidia_smi import FakeNvidiaSmi

RESULTS = "results/synth4d-tiny"
# Each process waits until the other has begun; one after the other they would wait in vain.
PROGRAM = """
import json, os, pathlib, runpy, sys, time
job = json.loads(pathlib.Path(sys.argv[2]).read_text())
begun = pathlib.Path({folder!r})
(begun / job["clips"][0]["id"]).write_text(os.environ["CUDA_VISIBLE_DEVICES"])
deadline = time.monotonic() + 100
while len(list(begun.iterdir())) < 2:
    if time.monotonic() > deadline:
        sys.exit("alone")
    time.sleep(0.05)
runpy.run_path(str(pathlib.Path(__file__).parents[1] / "billboard" / "run.py"), run_name="__main__")
"""


def test_batches_of_one_method_run_at_once_each_on_a_device_of_its_own(checkout, tmp_path):
    folder, begun = checkout.root / "baselines/pair", tmp_path / "begun"
    begun.mkdir()
    folder.mkdir()
    source = checkout.root / "baselines/billboard"
    (folder / "environment.yaml").write_text((source / "environment.yaml").read_text())
    data = yaml.safe_load((source / "method.yaml").read_text())
    data["needs"] |= {"gpu": True}
    (folder / "method.yaml").write_text(yaml.safe_dump(data))
    (folder / "run.py").write_text(PROGRAM.format(folder=str(begun)))
    checkout.configure(batch_clips=1)
    clips = sorted(path.name for path in (checkout.root / RESULTS / "clips").iterdir())
    wanted = [f"{RESULTS}/pair/seed0/{clip}/generate.json" for clip in clips]
    fake = FakeNvidiaSmi(tmp_path / "nvidia", 2)
    checkout.snakemake("--resources", "gpu=2", "--", *wanted, path_first=fake.bin)
    records = [json.loads((checkout.root / path).read_text()) for path in wanted]
    assert [record["status"] for record in records] == ["ok", "ok"], records
    assert sorted(path.name for path in begun.iterdir()) == clips
    assert sorted(path.read_text() for path in begun.iterdir()) == ["0", "1"]
