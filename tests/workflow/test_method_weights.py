"""A method with weights in the real workflow: failed rows with the reason while they are missing, and a retry later."""

import hashlib
import json
import shutil

import pandas as pd
import yaml

DATA = b"these are the weights"


def test_missing_weights_fail_with_the_reason_and_the_next_run_has_them(checkout):
    root, folder = checkout.root, checkout.root / "baselines/learned"
    shutil.copytree(root / "baselines/billboard", folder)
    program = (folder / "run.py").read_text()
    assert program.count("\nimport ") and "__main__" in program
    path = "p.Path(j.loads(p.Path(s.argv[2]).read_text())['weights']['net'])"
    check = f"import json as j, pathlib as p, sys as s\nassert {path}.read_bytes() == {DATA!r}\n"
    (folder / "run.py").write_text(program.replace("\nimport ", f"\n{check}import ", 1))
    data = yaml.safe_load((folder / "method.yaml").read_text())
    sha256 = hashlib.sha256(DATA).hexdigest()
    source = "http://127.0.0.1:9/net.pth"  # nobody answers there
    data["weights"] = [{"name": "net", "source": source, "revision": None, "sha256": sha256, "licence": "CC0-1.0"}]
    (folder / "method.yaml").write_text(yaml.safe_dump(data))
    checkout.configure(methods=["learned"])

    checkout.snakemake()
    rows = pd.read_parquet(root / "results/synth4d-tiny/learned/seed0/scores.parquet")
    assert set(rows["status"]) == {"failed"} and rows["reason"].str.contains(f"sha256 {sha256}").all()

    (root / "cache/bench4d/weights/learned").mkdir(parents=True, exist_ok=True)  # where the reason says
    (root / "cache/bench4d/weights/learned/net.pth").write_bytes(DATA)
    checkout.snakemake()
    records = [json.loads(p.read_text()) for p in root.glob("results/synth4d-tiny/learned/seed0/*/generate.json")]
    assert {record["status"] for record in records} == {"ok"}, records
    assert checkout.planned() == {}  # and no further run generates again
