"""Several threads for compiled code: each takes its share of the images of a batch.

Compiled code releases Python's lock, so plain Python threads run side by side. They sleep when there is nothing to do. No
matrix product of BLAS runs in them: its own pool of threads would fight with this one for the cores.

**The same bits for any number of threads.** A batch is cut into at most `GROUPS` ranges of images that depend on its size
alone, and what is summed over the batch is summed range by range, in order. Threads only decide who computes a range.
"""

import functools
import itertools
from concurrent.futures import ThreadPoolExecutor, wait

from ..backend import num_threads

GROUPS = 8


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
