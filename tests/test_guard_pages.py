"""No kernel reads or writes outside its arrays, be it a number that changes nothing.

Each array from ``memory.empty`` begins, or ends, at a page that nobody may touch: the system kills who steps on it. So all runs
in a process of its own, ``python tests/test_guard_pages.py begin``, which prints what it was about.
"""

import ctypes
import faulthandler
import itertools
import math
import mmap
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_fast import SCHEDULES, graph_of
from test_kernels import INTERPRETED
from test_layers import RANDOM

import lightnet as ln
from lightnet.backend import run_backward, run_forward
from lightnet.fast import VERSIONS
from lightnet.kernels import memory
from lightnet.layers import ELU, Conv2D, ConvTranspose2D, GlobalAvgPool, MaxPool2D

pytestmark = pytest.mark.skipif(sys.platform != "linux" or INTERPRETED, reason="mprotect is Linux's; Python steps on no page")


@pytest.mark.parametrize("edge", ["begin", "end"])
def test_nothing_outside_is_touched(edge):
    done = subprocess.run([sys.executable, __file__, edge], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-200:] + done.stderr[-3000:]
    assert done.stdout.endswith("all done\n")


@pytest.mark.parametrize("edge, place", [("begin", -1), ("end", 5)])
def test_a_step_outside_is_noticed(edge, place):
    code = f"""
import ctypes, test_guard_pages
x = test_guard_pages.guarded((5,), {edge!r})
for place in 0, 4, {place}:
    print(ctypes.c_float.from_address(x.ctypes.data + 4 * place).value, flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parent)
    assert done.stdout == "nan\nnan\n" and done.returncode < 0


def guarded(shape, edge, dtype=np.float32):
    """An array of NaN, or of the largest integer, that begins or ends where a page begins that cannot be touched."""
    dtype, shape = np.dtype(dtype), tuple(map(int, shape))
    size = dtype.itemsize * math.prod(shape)
    room = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    pages = mmap.mmap(-1, room + 2 * mmap.PAGESIZE)
    address, protect = np.frombuffer(pages, np.uint8).ctypes.data, ctypes.CDLL(None).mprotect
    for page in address, address + mmap.PAGESIZE + room:
        assert protect(ctypes.c_void_p(page), ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    begin = mmap.PAGESIZE + (room - size if edge == "end" else 0)
    array = np.ndarray(shape, dtype, pages, begin)
    array.fill(np.nan if dtype.kind == "f" else np.iinfo(dtype).max)
    return array


def layers():
    """Of each kind that has a fast version some at random, and some in whole vectors; with their inputs' shapes."""
    for kind in sorted(version.__name__ for version in VERSIONS):
        for seed in range(12):
            yield RANDOM[kind](np.random.default_rng(seed))
    yield from (
        (Conv2D(16, 32, 3, padding=1, seed=0), [(3, 7, 9, 16)]),
        (Conv2D(48, 16, 3, padding=1, seed=0), [(3, 14, 14, 48)]),
        (Conv2D(64, 80, 5, stride=2, padding=2, seed=0), [(2, 11, 11, 64)]),
        (Conv2D(16, 64, 1, seed=0), [(2, 7, 7, 16)]),
        (Conv2D(128, 64, 1, seed=0), [(2, 14, 14, 128)]),
        (ConvTranspose2D(64, 24, 4, stride=4, seed=0), [(2, 6, 6, 64)]),
        (ConvTranspose2D(256, 32, 2, stride=2, seed=0), [(3, 6, 6, 256)]),
        (ConvTranspose2D(48, 5, (2, 3), stride=(2, 3), seed=0), [(3, 5, 5, 48)]),
        (MaxPool2D(3, 2, ceil_mode=True), [(2, 10, 10, 73)]),
    )


def networks():
    """Graphs of which neighbours are computed together, and images' sides; some pools' windows leave the image."""
    for make in SCHEDULES.values():
        yield make(), (6, 6)
    for kernel, pool in ((3, MaxPool2D(3, 2)), (3, MaxPool2D(3, 2, padding=1)), (5, MaxPool2D(2, 2, ceil_mode=True))):
        yield graph_of(("conv", Conv2D(3, 64, kernel, padding=1, seed=0), "image"), ("elu", ELU(), "conv"),
                       ("pool", pool, "elu"), ("mean", GlobalAvgPool(), "pool")), (10, 9)


def compare(run, what, *xs, only=None):
    """What the layers' own code gives and what the fast versions give; ``only`` the first so many results."""
    results = []
    for backend in "numpy", "numba":
        with ln.backend(backend):
            results.append(run(what, *xs))
    for a, b in list(zip(*results))[:only]:
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-4 * max(1, np.abs(a).max()))


def run_layer(layer, *xs):
    y = run_forward(layer, *xs, training=True)
    dx = run_backward(layer, normal(y.shape, 0))
    return [y, *(dx if isinstance(dx, tuple) else (dx,)), *layer.grads.values()]


def run_network(net, x):
    y = net.forward(x, training=True)
    return [y, net.backward(normal(y.shape, 0)), *net.grads.values()]


def normal(shape, seed):
    """Numbers between such pages."""
    x = memory.empty(shape)
    x[...] = np.random.default_rng(seed).standard_normal(shape)
    return x


def main(edge):
    memory.empty = lambda shape, dtype=np.float32: guarded(shape, edge, dtype)
    memory.several = lambda *sizes: [memory.empty((size,)) for size in sizes]
    faulthandler.enable()
    ln.set_num_threads(1)
    for layer, shapes in layers():
        print(layer, shapes, flush=True)
        compare(run_layer, layer, *map(normal, shapes, itertools.count(1)))
    for net, sides in networks():
        print(*(node.layer for node in net.nodes.values()), sides, flush=True)
        compare(run_network, net, normal((3, *sides, 3), 1))
        ln.compile(net)(normal((2, *sides, 3), 1))
    for side in 33, 34, 35, 36:
        net, x = ln.models.light_cnn(seed=0), normal((3, side, side, 3), 1)
        print("light_cnn", side, flush=True)
        compare(run_network, net, x, only=1)            # in its pools another pixel may win by the last digit, and gets all of dy
        ln.compile(net)(x)
    print("all done")


if __name__ == "__main__":
    main(sys.argv[1])
