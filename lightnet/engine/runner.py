"""A plan and the memory it runs in: one image by all threads together, or each thread its own image.

With a batch each thread takes whole images: nobody waits for anybody. The images that are left over, and a single one, are done
together; units of work are claimed one by one, so a thread that wakes up late leaves more of them to the others.
"""

from concurrent.futures import wait
from typing import NamedTuple

import numpy as np

from ..kernels import compiling, memory
from ..kernels.threads import pool, shared
from .program import LINE
from .standby import TURNS, call, orders_for, wait_for_helper, work
from .steps import Foreign


class Room(NamedTuple):
    """The memory of one image on its way, and where in it the output will stand."""

    memory: np.ndarray
    output: np.ndarray


class Runner:
    """Runs a plan."""

    def __init__(self, plan):
        compiling.announce("standby.work-*")
        self.plan, self.rooms, self.orders, self.asked = plan, {}, {}, {}
        # a layer's own forward may not like two threads at once
        self.compiled_throughout = not any(isinstance(section, Foreign) for section in plan.sections)

    def __call__(self, x):
        """The outputs of images (N, H, W, C) of the plan's shape."""
        x = usable(x)
        y, threads = np.empty((len(x), *self.plan.output.shape), np.float32), self.plan.threads
        # images that are left over, which all threads do together
        together = len(x) - len(x) // threads * threads if self.compiled_throughout and threads > 1 else len(x)
        alone = len(x) - together

        def by_itself(n, thread):
            y[n] = self.one(x[n], self.room(thread), 1)
        if alone:
            shared(by_itself, alone, threads)
        for n in range(alone, len(x)):
            y[n] = self.one(x[n], self.room(0), threads)
        return y

    def room(self, i):
        """The i-th memory, which one image at a time may use; zeros at first, as those around images stay."""
        if i not in self.rooms:
            size = self.plan.size + (1 if i else self.plan.threads) * self.plan.private
            numbers = memory.empty((max(size, memory.SMALL // 4),))         # at least what the pool gives, aligned
            numbers[:] = 0
            self.rooms[i] = Room(numbers, view(numbers, self.plan.output).reshape(self.plan.output.shape))
        return self.rooms[i]

    def one(self, x, room, threads):
        """The output of one image, by so many threads; it stands there until the next one."""
        for section in self.plan.sections:
            if isinstance(section, Foreign):
                self.run_layer(section, room.memory)
            else:
                self.run_phases(section, x, room.memory, threads)
        return room.output

    def run_phases(self, section, x, memory, threads):
        """Compiled phases, by this thread and by others: those that stand by are called, the rest woken (``standby.py``)."""
        plan, x, orders = self.plan, x.reshape(-1), self.orders_here()
        counters = np.zeros(2 * LINE * len(plan.program.phases), np.int64)
        same = plan.program, *section, x, memory
        others = range(1, threads if not compiling.CHECK else 1)        # a check raises: nobody must wait for who has done so
        try:
            for i in others:
                if not call(orders, i * LINE, *section, x, counters):
                    self.wake(i, threads, *same, plan.size + i * plan.private, counters, orders, i * LINE, TURNS)
            work(*same, plan.size, counters, orders, 0, 0)
        except BaseException:                           # a Ctrl-C: nobody may go on where the next image will be
            wait(self.asked.values())
            raise
        finally:
            for i in others:
                wait_for_helper(orders, i * LINE)

    def wake(self, i, threads, *arguments):
        """Let a sleeping thread be the i-th; what was asked of it for an earlier image, and has not begun, is forgotten."""
        if i in self.asked:
            self.asked[i].cancel()
        self.asked[i] = pool(threads).submit(work, *arguments)

    def orders_here(self):
        """What the pool's threads are told: where that is another, in a forked process, nobody was told or asked anything."""
        crew = self.plan.threads > 1 and pool(self.plan.threads)
        if crew not in self.orders:
            self.orders, self.asked = {crew: orders_for(self.plan.threads)}, {}
        return self.orders[crew]

    def run_layer(self, step, memory):
        """A layer's own forward, on views of the memory."""
        values = [view(memory, place).reshape(place.shape) for place in step.sources]
        y = step.layer.forward(*(value[None] for value in values))
        view(memory, step.target)[:] = y.reshape(step.target.size)


def view(memory, place):
    """A value in the memory, (H, W, C)."""
    buffer = place.buffer
    return np.lib.stride_tricks.as_strided(memory[place.at(0):], place.size, (4 * buffer.row, 4 * buffer.pitch, 4))


def usable(x):
    """x contiguous, aligned and writeable, though nobody writes to it: to compiled code a read-only array is another type."""
    return x if x.flags.carray else np.array(x, np.float32, order="C")
