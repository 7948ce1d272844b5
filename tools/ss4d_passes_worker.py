"""One side of `ss4d_passes.py --package`, a process of its own: which package is timed is its first argument.

    python tools/ss4d_passes_worker.py CHECKOUT INPUTS OUTPUTS

INPUTS (torch.save): `networks` stage -> class and arguments, `noises`, `conds`, `frames`, `coords`, `settings`. For
each line "STAGE NAME" on stdin, with NAME "pass" or "sampler", that is computed once, and its seconds of processor time
are a line on stdout; at the end of stdin what was computed is written to OUTPUTS. Only what checkouts of every age have
is used.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

sys.path.insert(0, sys.argv[1])

import torch
from torch import Tensor

from ss4d.checkpoint import SamplerSettings
from ss4d.latent_flow import SLatFlow4DModel
from ss4d.pipeline import integrate
from ss4d.sparse import SparseTensor
from ss4d.structure_flow import SparseStructureFlow4DModel

KINDS: dict[str, Any] = {"structure_flow": SparseStructureFlow4DModel, "latent_flow": SLatFlow4DModel}


def main() -> None:
    torch.set_num_threads(1)
    given = torch.load(sys.argv[2], weights_only=True)
    settings, frames = SamplerSettings(**given["settings"]), given["frames"]
    runs: dict[str, Callable[[], Any]] = {}
    for stage, (kind, args) in given["networks"].items():
        network = KINDS[kind].from_args(args).requires_grad_(False)
        for k, (_, parameter) in enumerate(sorted(network.named_parameters())):
            draw = torch.Generator().manual_seed(k)
            parameter.normal_(float(parameter.ndim == 1), 0.02, generator=draw)
        x: Any = given["noises"][stage]
        if kind == "latent_flow":
            x = SparseTensor(x, given["coords"], frames)
        cond, t = given["conds"][stage], torch.full((frames,), 700.0)
        runs[f"{stage} pass"] = partial(network, x, t, cond, frames)
        runs[f"{stage} sampler"] = partial(integrate, network, x, cond, settings, frames, "")
        with torch.no_grad():
            runs[f"{stage} pass"]()  # finds neighbours, which all later passes share
    values: dict[str, Tensor] = {}
    for line in sys.stdin:
        with torch.no_grad():
            began = time.process_time()
            out = runs[line.strip()]()
            print(time.process_time() - began, flush=True)
        values[line.strip()] = out if isinstance(out, Tensor) else out.feats
    torch.save(values, sys.argv[3])


if __name__ == "__main__":
    main()
