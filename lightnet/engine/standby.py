"""Threads that stand by: whoever has helped with an image waits a moment for the next one, before Python puts it to sleep.

To wake a sleeping thread takes some tens of microseconds, and as many are lost at the end, when two threads want Python's lock.
So a helper turns in a loop within compiled code for 0.2 ms; whoever calls again within that time finds it ready, and whoever
wants it for something else has to wait as long. (The threads of other engines turn as well, some of them for much longer.) Worth
0.05 to 0.1 ms of the 3.5 that an image of the paper's network takes on two threads.

A thread that the system wakes too late for an image finds nothing left to do. One that was called is waited for, for it reads the
caller's arrays.

The two talk through a few numbers in memory, a cache line for each helper, whose first one says who may do what:

    AWAY     nobody there                           a thread that comes makes it BUSY
    BUSY     at work                                the helper, when it is done, makes it WAITING
    WAITING  for an image                           the caller makes it CALLED, or the helper, tired of it, AWAY
    CALLED   at work on what the others say         the helper, when it is done, makes it WAITING
"""

import numpy as np
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic

from ..kernels.atomic import exchange, look
from ..kernels.compiling import compiled
from .program import LINE, run

AWAY, BUSY, WAITING, CALLED = range(4)
STATE, FIRST, LAST, IMAGE, COUNTERS = range(5)          # what the numbers of a line are: IMAGE and COUNTERS are addresses
TURNS = 8000                                            # of 25 ns on a Zen 4


@intrinsic
def pointer_to(typing, address):
    """An address as what ``numba.carray`` makes an array of."""
    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)
    return types.voidptr(address), generate


@compiled
def work(program, first, last, image, memory, private, counters, orders, line, turns):
    """A thread's share of an image, as in ``run``; and, unless ``turns`` is 0, of those that follow soon in the same memory."""
    here = False
    while True:
        run(program, first, last, image, memory, private, counters)
        # where two came, one of them late to an earlier image, one alone stands by
        here = here or turns > 0 and exchange(orders, line + STATE, AWAY, BUSY)
        if not here or not is_called(orders, line, turns):
            return
        first, last = orders[line + FIRST], orders[line + LAST]
        image = carray(pointer_to(orders[line + IMAGE]), image.shape, np.float32)
        counters = carray(pointer_to(orders[line + COUNTERS]), counters.shape, np.int64)


@compiled
def is_called(orders, line, turns):
    """Say that one is there, and wait for the call so many turns; False if none comes."""
    exchange(orders, line + STATE, look(orders, line + STATE), WAITING)
    for _ in range(turns):
        if look(orders, line + STATE) == CALLED:
            return True
    return not exchange(orders, line + STATE, WAITING, AWAY)


@compiled
def call(orders, line, first, last, image, counters):
    """Give a helper that waits an image; False if it does not. The arrays must live until ``wait_for_helper`` returns."""
    if look(orders, line + STATE) != WAITING:
        return False
    orders[line + FIRST], orders[line + LAST] = first, last
    orders[line + IMAGE], orders[line + COUNTERS] = image.ctypes.data, counters.ctypes.data
    return exchange(orders, line + STATE, WAITING, CALLED)


@compiled
def wait_for_helper(orders, line):
    """Return when a helper that was called reads nothing any more."""
    while look(orders, line + STATE) == CALLED:
        pass


def orders_for(threads):
    """A line for each thread, of which nobody is there yet."""
    return np.zeros(threads * LINE, np.int64)
