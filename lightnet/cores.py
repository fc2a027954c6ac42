"""How many threads work."""

import math
import operator
import os
from pathlib import Path

import threadpoolctl

from .errors import ArgumentError

_threads = None                         # None: as many as there are cores


def set_num_threads(n):
    """Use ``n`` threads, in matrix products (BLAS) and in the fast versions alike. The two never run at the same time.

    Raises
    ------
    ArgumentError
        Where n is not a positive integer.
    """
    global _threads
    _threads = positive(n)
    threadpoolctl.threadpool_limits(_threads, user_api="blas")


def positive(n):
    """A number of threads, or an ArgumentError.

    >>> positive(2)
    2
    """
    try:
        count = operator.index(n)
    except TypeError:
        count = 0
    if count < 1:
        raise ArgumentError(f"{n!r} threads: expected an integer of at least 1")
    return count


def num_threads():
    """The number of threads in use."""
    return _threads or usable_cores()


def usable_cores():
    """How many processor cores this process may use: those that it may run on, or its container's share of them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, quota(Path("/sys/fs/cgroup/cpu.max"))))


def quota(file):
    """How many cores' time Linux gives a container, rounded up: microseconds, and of how many; "max" is all.

    >>> quota(Path("no such file"))
    inf
    """
    try:
        limit, period = file.read_text().split()
        return math.inf if limit == "max" else math.ceil(int(limit) / int(period))
    except (OSError, ValueError):
        return math.inf
