"""Arrays whose memory is used again: no buffer of a training step is new from the second step on.

The operating system hands out memory in pages, and fills each with zeros at its first touch. A step of the paper's network
makes gigabytes of arrays, so that ``np.empty`` for each costs as much as the arithmetic. Here the memory of an array goes back
to a pool when Python drops the last reference to it or to a view of it, and the next array of about that size gets it. So the
plan of who may use which memory when is Python's own reference counting: what Graph lets go is free. To the system it is
given back only when arrays of other sizes are needed, and never below the most that was in use at once.

Blocks begin near the edges of large pages (2 MB, on Linux), which save the processor most of its address look-ups.
"""

import collections
import itertools
import math
import mmap
import os
import threading
import weakref

import numpy as np

SMALL = 1 << 16                                 # bytes; smaller arrays come from NumPy, whose heap is not given back either
LARGE_PAGE, LINE = 1 << 21, 64
SLACK = 1.5                                     # a block serves arrays from 1 / SLACK of its size on


class Pool:
    """Free blocks of memory, and how much there is.

    Attributes
    ----------
    used, peak, total : int
        Bytes in arrays, where ``collect`` has run; the most there ever were at once; and all that the pool holds. A Ctrl-C in the
        middle of the bookkeeping loses a block, and leaves these too large by it.
    returned : deque of Loan
        Of arrays that are gone since ``collect`` ran.
    """

    def __init__(self):
        self.lock = threading.RLock()           # a signal handler or a finalizer may want memory while it is being taken
        self.free = {}                          # size: blocks
        self.returned = collections.deque()
        self.used, self.peak, self.total, self.made = 0, 0, 0, 0

    def take(self, size):
        """A free block of this size, or one that is not much too large, or a new one."""
        with self.lock:
            self.collect()
            if not self.free.get(size):         # from the second step on most sizes are there
                size = min((other for other in self.free if size < other <= SLACK * size and self.free[other]), default=size)
            block = self.pop(size) if self.free.get(size) else self.make(size)
            self.used += size
            self.peak = max(self.peak, self.used)
            return block

    def collect(self):
        """Blocks whose arrays are gone become free."""
        while self.returned:
            block = self.returned.popleft().block
            self.free.setdefault(block.size, []).append(block)
            self.used -= block.size

    def make(self, size):
        """A new block; where other sizes were needed before, those that wait for longest go."""
        block = Block(size, self.made)          # it may fail: nothing is noted before
        self.made, self.total = self.made + 1, self.total + size
        for other in list(self.free):
            while self.free.get(other) and self.total > SLACK * max(self.peak, self.used + size):
                self.pop(other)
                self.total -= other
        return block

    def pop(self, size):
        """Take one off the list."""
        block = self.free[size].pop()
        if not self.free[size]:
            del self.free[size]                 # and come back at the end: the order is that of the last return
        return block

    def after_fork(self):
        """In the new process nobody holds the lock."""
        self.lock = threading.RLock()


class Block:
    """Memory from the system. Its begin is shifted a little from block to block: numbers at the same place of two arrays would
    otherwise lie at the same place in the cache, where one displaces the other."""

    def __init__(self, size, number):
        self.size, shift = size, number % 13 * 320
        self.map = mmap.mmap(-1, size + LARGE_PAGE + 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            self.map.madvise(mmap.MADV_HUGEPAGE)
        address = np.frombuffer(self.map, np.uint8).ctypes.data
        self.address = address + -address % LARGE_PAGE + shift


pool = Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.after_fork)


class Lease:
    """What an array's memory belongs to: with the last array that refers to it, the block goes back.

    Not by a ``__del__``: that is Python code, which Ctrl-C can hit, and an exception in there is printed and forgotten. The
    callback of a weak reference is called before what the lease holds is let go, and ``deque.append`` is not Python code. (It is
    not called where a garbage collection finds both, lease and loan; but arrays, which hold leases, it does not see.)
    """

    def __init__(self, block, shape, dtype, returned):
        self.loan = Loan(self, returned.append)
        self.loan.block = block
        self.__array_interface__ = {"version": 3, "shape": shape, "typestr": dtype.str, "data": (block.address, False)}


class Loan(weakref.ref):
    """A weak reference to a lease, and its block."""

    __slots__ = ("block",)


def empty(shape, dtype=np.float32):
    """As ``np.empty``, from memory that has been used before where there is some, and from the begin of a cache line."""
    dtype = np.dtype(dtype)
    shape = tuple(int(side) for side in shape)
    size = dtype.itemsize * math.prod(shape)
    if size < SMALL:
        whole = np.empty(size + LINE, np.uint8)
        begin = -whole.__array_interface__["data"][0] % LINE
        return whole[begin:begin + size].view(dtype).reshape(shape)
    return np.asarray(Lease(pool.take(-(-size // 4096) * 4096), shape, dtype, pool.returned))


def several(*sizes):
    """Flat arrays of so many numbers, in one piece of memory: the pool is asked once, which is dear in a step (`threads`)."""
    lines = [-(-4 * size // LINE) * (LINE // 4) for size in sizes]
    whole = empty((sum(lines),))
    return [whole[end - line:end - line + size] for size, line, end in zip(sizes, lines, itertools.accumulate(lines))]


def zeros(shape):
    """The same, filled with zeros."""
    array = empty(shape)
    array[...] = 0
    return array
