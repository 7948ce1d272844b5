"""What both CPU renderers share: an image is cut into bands of rows, and each band belongs to one thread.

Threads are plain Python threads around numba functions that release the interpreter lock. No thread ever writes to
another one's band, so the bytes cannot depend on how many there are; and unlike numba's own parallel loops this
survives a fork and may itself be called from several threads.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit
from numba.core import config


def thread_count(threads: int | None) -> int:
    """`threads`, or as many as this process may use (NUMBA_NUM_THREADS if that was set when numba was imported)."""
    return max(1, threads if threads is not None else config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


def plain(array: np.ndarray) -> np.ndarray:
    """The array, copied only if it is read-only or not contiguous: numba would compile anew for such memory."""
    return np.require(array, requirements=["C", "W"])


def for_each(task: Callable[[int], None], count: int, pool: ThreadPoolExecutor) -> None:
    """task(0), ..., task(count - 1), in any order; waits for all and raises the first error."""
    for _ in pool.map(task, range(count)):
        pass


@njit(cache=True, nogil=True)
def bin_bands(first: np.ndarray, last: np.ndarray, n_bands: int) -> tuple[np.ndarray, np.ndarray]:
    """The items that touch each band, in ascending order.

    Args:
        first, last: int32 [N], the bands that item n touches (last < first: none).

    Returns:
        offsets int64 [n_bands + 1] and items int32: band b holds items[offsets[b]:offsets[b + 1]].
    """
    offsets = np.zeros(n_bands + 1, np.int64)
    for n in range(len(first)):
        for band in range(first[n], last[n] + 1):
            offsets[band + 1] += 1
    for band in range(n_bands):
        offsets[band + 1] += offsets[band]
    items = np.empty(offsets[n_bands], np.int32)
    free = offsets[:-1].copy()
    for n in range(len(first)):
        for band in range(first[n], last[n] + 1):
            items[free[band]] = n
            free[band] += 1
    return offsets, items
