"""Sparse tensors in space and time: voxels that exist in some frames, and the operators that SS4D needs on them.

tensor.py       SparseTensor: one feature vector per voxel; Sites: the voxels, and what has been worked out from them
neighbours.py   which voxels lie next to which, once per set of voxels and kernel
conv.py         submanifold convolution in 1, 3 and 4 dimensions: gather, GEMM, scatter
implicit_gemm.py  the same in one Triton kernel
pool.py         down- and up-sampling by two, in space or in time
attention.py    which voxels attend to which: per slot, per clip, in windows of space or of space and time
"""

from .attention import Sequences, per_clip, per_slot, space_windows, time_windows
from .conv import SparseConv, use_convolution
from .pool import pool_space, pool_time, unpool
from .tensor import Sites, SparseTensor

__all__ = [
    "Sequences",
    "Sites",
    "SparseConv",
    "SparseTensor",
    "per_clip",
    "per_slot",
    "pool_space",
    "pool_time",
    "space_windows",
    "time_windows",
    "unpool",
    "use_convolution",
]
