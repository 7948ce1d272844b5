"""One measurement of `ss4d_passes.py --package`, in a process of its own: which package is timed is its first argument.

    python tools/ss4d_passes_worker.py CHECKOUT INPUTS OUTPUTS

INPUTS (torch.save): `networks` stage -> class and arguments, `noises`, `conds`, `frames`, `coords`, `settings`,
`passes`. OUTPUTS: `seconds` of processor time, `values` what was computed, each (stage, "pass" or "sampler") -> one.
Only what checkouts of every age have is used.
"""

import statistics
import sys
import time
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
    seconds: dict[tuple[str, str], float] = {}
    values: dict[tuple[str, str], Tensor] = {}
    for stage, (kind, args) in given["networks"].items():
        network = KINDS[kind].from_args(args).requires_grad_(False)
        for k, (_, parameter) in enumerate(sorted(network.named_parameters())):
            draw = torch.Generator().manual_seed(k)
            parameter.normal_(float(parameter.ndim == 1), 0.02, generator=draw)
        noise: Any = given["noises"][stage]
        if kind == "latent_flow":
            noise = SparseTensor(noise, given["coords"], frames)
        cond, t = given["conds"][stage], torch.full((frames,), 700.0)
        runs: dict[str, Any] = {
            "pass": lambda n=network, x=noise, t=t, c=cond: n(x, t, c, frames),
            "sampler": lambda n=network, x=noise, c=cond: integrate(n, x, c, settings, frames, ""),
        }
        with torch.no_grad():
            runs["pass"]()  # finds neighbours, which all later passes share
            for name, count in (("pass", given["passes"]), ("sampler", 1)):
                times = []
                for _ in range(count):
                    began = time.process_time()
                    out = runs[name]()
                    times.append(time.process_time() - began)
                seconds[stage, name] = statistics.median(times)
                values[stage, name] = out if isinstance(out, Tensor) else out.feats
    torch.save({"seconds": seconds, "values": values}, sys.argv[3])


if __name__ == "__main__":
    main()
