"""Several threads for compiled code: each takes its share of the images of a batch.

Compiled code releases Python's lock, so plain Python threads run side by side. They sleep when there is nothing to do. No
matrix product of BLAS runs in them: its own pool of threads would fight with this one for the cores.

**Together.** Handing a job to a thread and waiting for it costs a tenth of a millisecond. So within a ``with together()`` block
jobs wait, and each thread takes its range through all of them. `over_images` wants its results, and begins with what waits; so
does whoever calls `flush`. One thread has nothing to hand over: for it a layer's weights and code stay near when it takes all
ranges through one job, then the next (a step in 0.98 to 1.00 of the time, Zen 3). Its jobs wait as well: what Python does for
four layers at once disturbs the caches less often.

**The same bits for any number of threads.** What is summed over the batch is summed in a few ranges of images that depend on the
batch's size and the machine's cores (`groups`), and then range by range, in order. Threads only decide who computes a range. Few
more than cores, because each has gradients of its own to write and to add, and because a call from Python is dear in a
step: no cache holds the interpreter's objects any more, and what takes 20 us by itself takes 200 (Zen 3). With four ranges for
eight a step on one thread took 5 % less there, with two for four 2 % less on Zen 4, and on two threads 1 %.
"""

import functools
import itertools
import os
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import NamedTuple

from ..cores import num_threads, usable_cores

FEW, MANY, EACH = 2, 8, 16                      # ranges with sums: few, more where each would have more images than EACH
PER_THREAD = 2                                  # ranges where nothing is summed: one thread may be slower than the others
LARGE = 1 << 16                                 # numbers
MOST = 4                                        # jobs that wait at once: they hold on to their arrays
_waiting = threading.local()                    # .jobs, within a block, of this thread


class Job(NamedTuple):
    """Work on ranges of N images, and what to do with its results, if there are any."""

    run: callable
    N: int
    then: callable


def over_images(job, N):
    """``job(start, stop)`` for ranges of N images, on all threads, after all that waits."""
    flush()
    run(job, N, longer_ranges())


def over_numbers(job, N, numbers):
    """The same for something else than images, which no job that waits makes; on one thread if it has few numbers."""
    run(job, N, longer_ranges()) if numbers >= LARGE else job(0, N)


def later(job, N, then=None):
    """``job(start, stop)`` for ranges of N images at once, or within ``together()`` some time before the block ends;
    ``then(results)`` follows."""
    jobs = getattr(_waiting, "jobs", None)
    if jobs is None:
        finish([Job(job, N, then)])
        return
    if jobs and (jobs[0].N != N or len(jobs) == MOST):
        flush()
    _waiting.jobs.append(Job(job, N, then))


@contextmanager
def together():
    """A block in which jobs wait for each other."""
    outer, _waiting.jobs = getattr(_waiting, "jobs", None), []
    try:
        yield
        flush()
    finally:
        _waiting.jobs = outer


def flush():
    """Do what waits."""
    jobs = getattr(_waiting, "jobs", None)
    if jobs:
        _waiting.jobs = []
        finish(jobs)


def finish(jobs):
    """Take each range through all jobs, in order; one thread, which hands nothing over, all ranges through each job."""
    N = jobs[0].N
    ranges = groups(N) if any(job.then for job in jobs) else longer_ranges()
    if num_threads() == 1:
        results = [run(job.run, N, ranges) for job in jobs]
    else:
        results = zip(*run(lambda start, stop: [job.run(start, stop) for job in jobs], N, ranges))
    for job, of_ranges in zip(jobs, results):
        if job.then:
            job.then(of_ranges)


def groups(N, cores=None):
    """How many ranges, where there are sums over the batch: as many as the cores, within limits, or twice as many and so on.

    >>> [groups(N, cores=2) for N in (1, 2, 32, 48, 64, 256)]
    [1, 2, 2, 4, 4, 8]
    >>> [groups(32, cores) for cores in (1, 2, 3, 4, 64)]
    [2, 2, 3, 4, 8]
    """
    cores = min(max(FEW, cores or all_cores()), MANY)
    return min(N, cores * min(-(-N // (EACH * cores)), MANY // cores))


all_cores = functools.cache(usable_cores)       # asked once: the bits must not change within a process


def longer_ranges():
    """How many, where they may depend on the number of threads; one has nobody to share with."""
    return PER_THREAD * num_threads() if num_threads() > 1 else 1


def run(job, N, ranges):
    """The results of a job for at most so many ranges of images, in order.

    >>> run(lambda start, stop: (start, stop), 7, 3)
    [(0, 2), (2, 4), (4, 7)]
    """
    ranges = min(ranges, N)
    edges = [N * i // ranges for i in range(ranges + 1)] if ranges else []
    return shared(lambda i, thread: job(edges[i], edges[i + 1]), ranges, num_threads())


def shared(work, count, threads):
    """``work(i, thread)`` for each i below count, claimed one by one by threads of these numbers; the results in order of i."""
    results, unclaimed, threads = [None] * count, itertools.count(), min(threads, count)

    def claim(thread):
        while (i := next(unclaimed)) < count:       # a thread that the system lets wait leaves its work to the others
            results[i] = work(i, thread)
    others = [pool(threads).submit(claim, thread) for thread in range(1, threads)]
    try:
        claim(0)
    finally:
        unclaimed = itertools.repeat(count)         # after an error or an interrupt the others stop as well
        begun = [other for other in others if not other.cancel()]      # one that has not begun has nothing left to do
        wait(begun)
    for other in begun:
        other.result()
    return results


@functools.cache
def pool(threads):
    """The pool for so many threads, this one among them; made once."""
    return ThreadPoolExecutor(threads - 1, thread_name_prefix="lightnet")


if hasattr(os, "register_at_fork"):             # a forked process has none of its parent's threads: it makes its own
    os.register_at_fork(after_in_child=pool.cache_clear)
