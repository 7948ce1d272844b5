"""Records what torchmetrics gives for the folder of consistent4d_folder.py, as Consistent4D's scripts call it.

Its packages conflict with ours, so it runs in an environment of its own:

    python -m venv /path/to/environment
    /path/to/environment/bin/pip install torch torchmetrics==1.3.1 pillow numpy
    /path/to/environment/bin/python tests/reference/record_consistent4d_v1.py
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import PIL
import torch
import torchmetrics
from PIL import Image
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

sys.path.insert(0, str(Path(__file__).parent))
from consistent4d_folder import OBJECTS, VIEWS, write_folder

OUT = Path(__file__).parents[1] / "fixtures" / "consistent4d_v1.json"


def tensor(path: Path, dtype: torch.dtype) -> torch.Tensor:
    """[1,3,512,512], values 0 to 255; Pillow chooses the filter."""
    array = np.array(Image.open(path).resize((512, 512)))
    return torch.tensor(array, dtype=dtype).permute(2, 0, 1)[None]


def scores(root: Path, object_id: str, view: str, dtype: torch.dtype) -> dict[str, list[float]]:
    """A value for each frame of the prediction."""
    values: dict[str, list[float]] = {"psnr": [], "ssim": []}
    for k in range(len(list((root / "pred" / object_id / view).iterdir()))):
        pair = [tensor(root / part / object_id / view / f"{k}.png", dtype) for part in ("pred", "gt")]
        values["psnr"].append(peak_signal_noise_ratio(*pair).item())
        values["ssim"].append(structural_similarity_index_measure(*pair).item())
    return values


with tempfile.TemporaryDirectory() as name:
    write_folder(Path(name))
    record = {
        str(dtype).removeprefix("torch."): {
            f"{object_id}/{view}": scores(Path(name), object_id, view, dtype) for object_id in OBJECTS for view in VIEWS
        }
        for dtype in (torch.float32, torch.float64)
    }
versions = {"torch": torch.__version__, "torchmetrics": torchmetrics.__version__, "pillow": PIL.__version__}
OUT.write_text(json.dumps({"versions": versions, **record}, indent=1) + "\n", "utf-8")
