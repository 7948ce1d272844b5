"""The largest error of each parity case as a table: python -m tests.parity [cuda]"""

import sys

import torch

from .compare import errors
from .fixtures import names, read

torch.backends.cudnn.allow_tf32 = False  # torch switches it on for convolutions
device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
sys.stdout.write(f"{'case':32s} {'largest error':>13s} {'tolerance':>10s}  output\n")
for name in names():
    case = read(name)
    if device != "cpu" and "model" not in case.record and name != "sparse_ops":
        continue  # these begin with images on the CPU
    output, error = max(errors(case, device).items(), key=lambda item: item[1])
    sys.stdout.write(f"{name:32s} {error:13.2e} {case.tolerance:10.0e}  {output}\n")
