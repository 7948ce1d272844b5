"""Our networks against recorded numbers of the official ones.

The cases are small random configurations (`tests/fixtures/ss4d`): inputs, outputs, and a seed from which the weights
follow. That folder holds every kind of case, but of `preprocess` one output frame only and of `pipeline` no images.
A folder with the full files, or with other cases, takes its place with

    SS4D_PARITY_FIXTURES=<folder> pytest tests/parity

`python -m tests.parity` prints the largest error of each case. Outputs are of order one; single precision must agree
within 1e-5 (the structure decoder 2e-5, any 5e-5 on a GPU), the whole pipeline within 1e-4, half precision within 1e-2
(2e-2 on a GPU), voxels and images exactly.
"""

from __future__ import annotations

import math

import pytest
import torch

from .compare import COMPARERS, errors, networks
from .fixtures import FOLDER, HERE, names, read, signature

NAMES = names()


def test_there_are_cases() -> None:
    assert NAMES, f"no cases in {FOLDER}"
    if FOLDER == HERE:
        kinds = {COMPARERS[read(name).kind] for name in NAMES}
        assert kinds == set(COMPARERS.values()), "the folder that comes along has a case of every kind"


@pytest.mark.parametrize("name", NAMES)
def test_outputs_agree(name: str) -> None:
    case = read(name)
    found = errors(case)
    assert found
    assert not {output: error for output, error in found.items() if not error <= case.tolerance}


@pytest.mark.gpu
@pytest.mark.parametrize("name", [name for name in NAMES if "model" in read(name).record or name == "sparse_ops"])
def test_networks_agree_on_a_gpu(name: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    case = read(name)
    with torch.backends.cudnn.flags(allow_tf32=False):  # which torch switches on for convolutions
        found = errors(case, "cuda")
    tolerance = 2e-2 if case.name.endswith("_fp16") else 5e-5  # other kernels, other order of sums
    assert found
    assert not {output: error for output, error in found.items() if not error <= tolerance}


@pytest.mark.parametrize("name", [name for name in NAMES if "state_dict" in read(name).record])
def test_state_dict_is_the_official_one(name: str) -> None:
    """Names, shapes and dtypes, in order."""
    case = read(name)
    found = [row for prefix, network in networks(case).items() for row in signature(network, prefix)]
    assert found == case.record["state_dict"]


@pytest.mark.parametrize("name", [name for name in NAMES if read(name).kind == "sparse_ops"])
def test_convolutions_start_alike(name: str) -> None:
    """Uniform within 1 / sqrt(fan in); recorded are [shape, smallest, largest, deviation]."""
    record = read(name).record
    for prefix, network in networks(read(name)).items():
        state = network.state_dict()
        for key, (shape, low, high, deviation) in record[f"init_{prefix.removesuffix('.')}"].items():
            bound = 1 / math.sqrt(state["conv.weight"][0].numel())
            assert list(state[key].shape) == shape
            assert max(-low, high, float(state[key].abs().max())) <= bound
            if key == "conv.weight":
                assert float(state[key].std()) == pytest.approx(deviation, rel=0.15)
