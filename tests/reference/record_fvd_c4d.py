"""Record what the textbook Frechet distance of two one-row matrices gives with NumPy 1.26, for the test of fvd-c4d.

    python -m venv oracle
    oracle/bin/pip install numpy==1.26.4 scipy==1.11.4
    oracle/bin/python tests/reference/record_fvd_c4d.py

Later NumPy gives another covariance of a single row (NaN), and sqrtm of that may not return: hence the pinned versions.
Writes tests/fixtures/fvd_c4d.json: seeds of the rows, and values for rows in float64, and in float32 as networks give
them.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import scipy
from scipy.linalg import sqrtm

OUT = Path(__file__).parents[1] / "fixtures" / "fvd_c4d.json"


def rows(seed: int, width: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Two rows of logits [1,d], float64; the second is the first, moved and stretched."""
    random = np.random.default_rng(seed)
    first = random.standard_normal((1, width)) * 3 + random.standard_normal()
    return first, first * spread + random.standard_normal((1, width))


def frechet(x: np.ndarray, y: np.ndarray) -> float:
    """|mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) of the rows of x and of y."""
    shift = x.mean(axis=0) - y.mean(axis=0)
    one, two = (np.atleast_2d(np.cov(rows, rowvar=False)) for rows in (x, y))
    root = np.real(sqrtm(one.dot(two)))
    return float(shift.dot(shift) + np.trace(one) + np.trace(two) - 2 * np.trace(root))


if __name__ == "__main__":
    assert (np.__version__, scipy.__version__) == ("1.26.4", "1.11.4"), (np.__version__, scipy.__version__)
    cases = []
    for seed, (width, spread) in enumerate([(400, 1.0), (400, 0.5), (400, 2.0), (400, 0.0), (17, 1.5), (2, 3.0)]):
        x, y = rows(seed, width, spread)
        single = frechet(x.astype(np.float32), y.astype(np.float32))
        cases.append({"seed": seed, "width": width, "spread": spread, "float64": frechet(x, y), "float32": single})
    recorded = {"versions": {"numpy": np.__version__, "scipy": scipy.__version__}, "cases": cases}
    OUT.write_text(json.dumps(recorded, indent=1) + "\n")
