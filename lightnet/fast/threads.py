"""Compiled loops, and several threads for them: each takes its share of the images of a batch.

What runs in a thread is a compiled loop or a matrix product, and both release Python's lock, so plain Python threads work
side by side. They sleep when there is nothing to do, and BLAS is held to one thread meanwhile: its own threads would cut a
small product into pieces that are not worth the waiting, and two pools of threads take the cores away from each other.

**The same bits for any number of threads.** A batch is cut into at most `GROUPS` ranges of images that depend on its size
alone, and what is summed over the batch is summed range by range, in order. Threads only decide who computes a range.
"""

import functools
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager

import numba
from threadpoolctl import ThreadpoolController

from ..backend import num_threads

GROUPS = 8
_lock, _inside, _limit = threading.Lock(), 0, None       # of `one_blas_thread`


def compiled(function):
    """Numba's compiler with a cache on disk; where no folder for one can be written, without."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:                            # "cannot cache function: no locator available"
        return numba.njit(nogil=True)(function)


def over_images(job, N):
    """``job(start, stop)`` for each range of images, on all threads; returns their results in order.

    >>> over_images(lambda start, stop: (start, stop), 3)
    [(0, 1), (1, 2), (2, 3)]
    """
    ranges = min(GROUPS, N)
    edges = [N * i // ranges for i in range(ranges + 1)] if ranges else []
    threads = min(num_threads(), ranges)
    results, unclaimed = [None] * ranges, itertools.count()

    def work():
        while (i := next(unclaimed)) < ranges:      # a thread that the system lets wait leaves its ranges to the others
            results[i] = job(edges[i], edges[i + 1])
    with one_blas_thread():
        others = [pool(threads).submit(work) for _ in range(threads - 1)]
        try:
            work()
        finally:
            begun = [other for other in others if not other.cancel()]      # one that has not begun has nothing left to do
            wait(begun)
        for other in begun:
            other.result()
    return results


@functools.cache
def pool(threads):
    """The pool for so many threads, this one among them; made once."""
    return ThreadPoolExecutor(threads - 1, thread_name_prefix="lightnet")


@functools.cache
def blas():
    """What sets the number of BLAS threads; looking for the libraries takes a millisecond, so once."""
    return ThreadpoolController().select(user_api="blas")


@contextmanager
def one_blas_thread():
    """A block in which a matrix product uses the thread that calls it and no other.

    The number of BLAS threads is the whole process's: of blocks that overlap the first limits it, the last sets it back.
    """
    global _inside, _limit
    with _lock:
        if _inside == 0:
            _limit = blas().limit(limits=1)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _limit.restore_original_limits()
