"""What holds for all tests.

Not collected: recorders of fixtures (programs for a machine that holds the recorded package), and methods in methods/.
Without a GPU, Triton's interpreter runs kernels on the CPU; it has to be asked for before anything imports Triton.
Where several processes test, each keeps to its share of the processors: torch and numba must be told before they start.
"""

import os
from collections.abc import Iterator

import pytest

if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, str(max(1, len(os.sched_getaffinity(0)) // workers)))
import torch

collect_ignore_glob = ["*/record_*.py", "methods/*"]
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """For tests of tiny networks, which gain nothing from more threads and lose much when cores are shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
