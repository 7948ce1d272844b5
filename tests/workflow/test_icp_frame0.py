"""The alignments that search, in the real workflow: the same truth in a frame of its own, without a declared camera."""

import json

import numpy as np
import pandas as pd
import yaml

ALIGNMENTS = ("icp-frame0", "silhouette-view0")
LOST = """
import json, pathlib, sys
import numpy as np
from safetensors.numpy import load_file, save_file

for clip in json.loads(pathlib.Path(sys.argv[2]).read_text())["clips"]:
    out, truth = pathlib.Path(clip["out"]), pathlib.Path(clip["truth"]) / "asset"
    out.mkdir(parents=True, exist_ok=True)
    asset = json.loads((truth / "asset.json").read_text()) | {"input_camera": None}
    tensors = load_file(str(truth / "frames.safetensors"))
    turn = np.float32([[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    tensors["vertices"] = 3 * tensors["vertices"] @ turn.T + np.float32([4, 5, 6])
    save_file(tensors, str(out / "frames.safetensors"))
    (out / "asset.json").write_text(json.dumps(asset))
    (out / "DONE").touch()
"""


def test_a_lost_frame_of_reference_is_found_and_each_row_says_how(checkout):
    root = checkout.root
    folder = root / "baselines/lost"
    folder.mkdir()
    source = root / "baselines/ground_truth"
    (folder / "environment.yaml").write_text((source / "environment.yaml").read_text())
    (folder / "method.yaml").write_text((source / "method.yaml").read_text())
    (folder / "run.py").write_text(LOST)
    tiny = yaml.safe_load((root / "benchmarks/synth4d/protocol-tiny.yaml").read_text())
    for alignment in ALIGNMENTS:
        protocol = tiny | {"id": f"synth4d-{alignment}", "alignment": alignment, "clips": tiny["clips"][:1]}
        protocol |= {"size": 128, "n_frames": 2}
        protocol["metrics"] = [{"id": m, "stride": 1} for m in ("chamfer", "chamfer-floor", "silhouette-iou")]
        protocol["table"] = [{"metric": "chamfer"}, {"metric": "silhouette-iou", "views": "input"}]
        (root / f"benchmarks/synth4d/protocol-{alignment}.yaml").write_text(yaml.safe_dump(protocol))
    checkout.configure(benchmarks=[f"synth4d-{a}" for a in ALIGNMENTS], methods=["ground_truth", "lost"])
    checkout.snakemake()

    for alignment in ALIGNMENTS:
        results = root / f"results/synth4d-{alignment}"
        rows = pd.read_parquet(results / "scores.parquet")
        assert set(rows["alignment"]) == {alignment} and set(rows["status"]) == {"ok"}
        assert "WARNING" not in (results / "table.txt").read_text()  # the truth itself was not moved
        mine = rows[rows["method"] == "lost"].groupby(["metric", "view"], dropna=False)["value"].mean()
        assert mine["silhouette-iou", "input"] > 0.97
        (path,) = (results / "lost/seed0").glob("*/aligned.json")
        record = json.loads(path.read_text())
        assert np.isclose(np.cbrt(np.linalg.det(np.array(record["matrix"])[:3, :3])), 1 / 3, rtol=0.15)
        if alignment == "icp-frame0":  # every frame, not the first alone; to the noise of the samples
            floor = rows.loc[rows["metric"] == "chamfer-floor", "value"].mean()
            assert mine["chamfer"].max() < 1.1 * floor and record["fit"]["converged"]

    checkout.edit("bench4d/silhouette_align.py", "\n# changed\n")  # concerns the protocols that use it alone
    planned = {rule for rule in checkout.planned() if rule.startswith("align")}
    assert planned == {"align_synth4d-silhouette-view0_0"}
