"""The kernels of a training step, compiled on all cores before the first step ever.

Numba compiles one function after the other, half of the time in Python itself, so threads would wait for each other. Processes do
not: a few helpers compile what a step needs into the cache on disk, from where the step then loads it. On two cores the first
step comes after 25 s instead of 46 (Zen 3).

What a step needs is not written down anywhere. A helper finds out by a rehearsal: a small step in which the kernels do nothing
but note what types of arguments they are called with. Each helper's notes are the same, so a number says what to compile; whoever
is done gets the next one. Where there is one core, no cache or no other process, kernels are compiled when they are called.
"""

import functools
import itertools
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np

from .cores import num_threads, set_num_threads

MOST = 4                                                # helpers: with more a share would be shorter than the longest kernel
HELPER = "import sys; sys.path[:] = {path!r}; from lightnet.ahead import serve; serve()"


@functools.cache
def compile_ahead():
    """Compile what a training step of light_cnn needs, unless some process has begun to do so with the same sources."""
    import numba

    from .kernels.compiling import cache_folder
    folder, helpers = cache_folder(), min(num_threads(), MOST)
    if folder is None or numba.config.DISABLE_JIT or hasattr(sys, "frozen"):        # a frozen program is no Python to start
        return
    with suppress(FileExistsError):
        (folder / "begun").touch(exist_ok=False)
        if helpers > 1:
            compile_by(helpers)


def compile_by(helpers):
    """Deal out the kernels' numbers to so many helpers."""
    import subprocess  # here: nearly all processes do without

    from tqdm import tqdm
    command, numbers, started = [sys.executable, "-c", HELPER.format(path=sys.path)], itertools.count(), []
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}

    def attend(_):
        with suppress(OSError, ValueError), subprocess.Popen(command, text=True, **pipes) as helper:
            started.append(helper)
            bar.total = int(helper.stdout.readline())   # a ValueError: it has ended. What is missing is compiled when called
            while (number := next(numbers)) < bar.total:
                print(number, file=helper.stdin, flush=True)
                bar.update(int(helper.stdout.readline()))
    with tqdm(desc="compiling", unit=" kernels", leave=False, disable=None) as bar, ThreadPoolExecutor(helpers) as pool:
        try:
            list(pool.map(attend, range(helpers)))
        finally:                                        # after a Ctrl-C nobody goes on
            for helper in started:
                helper.kill()


def serve():
    """What a helper does: compile the kernels whose numbers come on standard input, and say each time that one is done."""
    notes = rehearsal()
    print(len(notes), flush=True)
    for line in sys.stdin:
        kernel, types = notes[int(line)]
        with suppress(Exception):                       # who calls it will be told
            kernel.compile(types)
        print(1, flush=True)


def rehearsal():
    """The kernels that a training step calls, each with the types of its arguments; they are not run."""
    from unittest.mock import patch

    import numba
    from numba.core.dispatcher import Dispatcher

    from . import SGD, models, softmax_cross_entropy
    notes = []

    def note(kernel, *arguments):
        notes.append((kernel, tuple(map(numba.typeof, arguments))))
        size = all(map(np.isscalar, arguments))         # of a buffer; to be known
        return kernel.py_func if size else lambda *_: 0                         # what Numba calls as if it had compiled it
    set_num_threads(1)
    net = models.light_cnn(seed=0)
    with patch.object(Dispatcher, "_compile_for_args", note), np.errstate(all="ignore"):
        _, dlogits = softmax_cross_entropy(net.forward(np.zeros((2, 49, 49, 3), np.float32), training=True), [0, 1])
        net.backward(dlogits, to_image=False)
        SGD(net, lr=0.01, momentum=0.9, l2=1e-6).step()
    return list(dict.fromkeys(notes))
