"""A plan and the memory it runs in: one image by all threads together, or each thread its own image.

With a batch each thread takes whole images: nobody waits for anybody. The images that are left over, and a single one, are done
together; units of work are claimed one by one, so a thread that wakes up late leaves more of them to the others.
"""

import numpy as np

from ..kernels import compiling, memory
from ..kernels.threads import pool, shared
from .program import LINE, run
from .steps import Foreign


class Runner:
    """Runs a plan."""

    def __init__(self, plan):
        compiling.announce("program.run-*")
        self.plan, self.memories = plan, {}
        # a layer's own forward may not like two threads at once
        self.compiled_throughout = not any(isinstance(section, Foreign) for section in plan.sections)

    def __call__(self, x):
        """The outputs of images (N, H, W, C) of the plan's shape."""
        x = usable(x)
        y, threads = np.empty((len(x), *self.plan.output.shape), np.float32), self.plan.threads
        # images that are left over, which all threads do together
        together = len(x) - len(x) // threads * threads if self.compiled_throughout and threads > 1 else len(x)
        alone = len(x) - together
        shared(lambda n, thread: self.one(x[n], y[n], self.memory(thread), 1), alone, threads)
        for n in range(alone, len(x)):
            self.one(x[n], y[n], self.memory(0), threads)
        return y

    def memory(self, i):
        """The i-th memory, which one image at a time may use; zeros at first, as those around images stay."""
        if i not in self.memories:
            size = self.plan.size + (1 if i else self.plan.threads) * self.plan.private
            self.memories[i] = memory.empty((max(size, memory.SMALL // 4),))        # at least what the pool gives, aligned
            self.memories[i][:] = 0
        return self.memories[i]

    def one(self, x, y, memory, threads):
        """One image, by so many threads."""
        for section in self.plan.sections:
            if isinstance(section, Foreign):
                self.run_layer(section, x, memory)
            else:
                self.run_phases(section, x, memory, threads)
        y.reshape(self.plan.output.size)[:] = view(memory, self.plan.output)

    def run_phases(self, section, x, memory, threads):
        """Compiled phases. The other threads are only told: who comes too late finds nothing left to do."""
        plan = self.plan
        counters = np.zeros(2 * LINE * len(plan.program.phases), np.int64)
        same = plan.program, *section, x.reshape(-1), memory
        for i in range(1, threads if not compiling.CHECK else 1):       # a check raises: nobody must wait for who has done so
            pool(threads).submit(run, *same, plan.size + i * plan.private, counters)
        run(*same, plan.size, counters)

    def run_layer(self, step, x, memory):
        """A layer's own forward, on views of the memory."""
        values = [x if place.buffer.is_image else view(memory, place).reshape(place.shape) for place in step.sources]
        y = step.layer.forward(*(value[None] for value in values))
        view(memory, step.target)[:] = y.reshape(step.target.size)


def view(memory, place):
    """A value in the memory, (H, W, C)."""
    buffer = place.buffer
    return np.lib.stride_tricks.as_strided(memory[place.at(0):], place.size, (4 * buffer.row, 4 * buffer.pitch, 4))


def usable(x):
    """x contiguous, aligned and writeable, though nobody writes to it: to compiled code a read-only array is another type."""
    return x if x.flags.carray else np.array(x, np.float32, order="C")
