"""Compile loops with Numba, and run them on several threads: each takes its share of the images.

The compiled functions release Python's lock, so plain Python threads run them side by side. A pool of them costs a few
hundredths of a millisecond a call, is asleep when it has nothing to do, and so never takes a core away from the threads of
the matrix product (BLAS). Numba's own pool (``parallel=True``) also multiplies the time to compile.
"""

import functools
from concurrent.futures import ThreadPoolExecutor

import numba

from ..backend import num_threads


def compiled(function):
    """Numba's compiler with a cache on disk; where no folder for one can be written, without."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:                            # "cannot cache function: no locator available"
        return numba.njit(nogil=True)(function)


def over_images(loop, *arrays):
    """Call ``loop(start, stop, *arrays)`` so that every image of the arrays' first axis is in one thread's range."""
    N = len(arrays[0])
    shares = min(num_threads(), N)
    if shares < 2:
        loop(0, N, *arrays)
        return
    edges = [N * i // shares for i in range(shares + 1)]
    jobs = [pool(shares - 1).submit(loop, start, stop, *arrays) for start, stop in zip(edges[1:-1], edges[2:])]
    loop(0, edges[1], *arrays)                      # this thread takes the first share
    for job in jobs:
        job.result()


@functools.cache
def pool(threads):
    """The pool of so many threads, made once."""
    return ThreadPoolExecutor(threads, thread_name_prefix="lightnet")
