"""What holds for all tests.

Not collected: recorders of fixtures (programs for a machine that holds the recorded package), and methods in methods/.
Without a GPU, Triton's interpreter runs kernels on the CPU; it has to be asked for before anything imports Triton.
"""

import os

import torch

collect_ignore_glob = ["*/record_*.py", "methods/*"]
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
