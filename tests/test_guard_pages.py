"""No kernel reads or writes outside its arrays, be it a number that changes nothing.

Each array from ``memory.empty`` begins, or ends, at a page that nobody may touch: the system kills who steps on it. So all runs
in a process of its own, ``python tests/test_guard_pages.py begin``, which prints what it was about.
"""

import ctypes
import faulthandler
import math
import mmap
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_kernels import INTERPRETED
from test_layers import RANDOM

import lightnet as ln
from lightnet.backend import run_backward, run_forward
from lightnet.fast import VERSIONS
from lightnet.kernels import memory
from lightnet.layers import ELU, Concat, Conv2D, ConvTranspose2D, GlobalAvgPool, MaxPool2D

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
    """Graphs of which neighbours are computed together, and images' shapes."""
    for kernel, pool in ((3, MaxPool2D(3, 2)), (3, MaxPool2D(3, 2, padding=1)), (5, MaxPool2D(2, 2, ceil_mode=True))):
        yield chain((Conv2D(3, 64, kernel, padding=1, seed=0), ELU(), pool, GlobalAvgPool())), (10, 9, 3)
    for behind in ((MaxPool2D(3, 2, ceil_mode=True), Conv2D(48, 20, 3, seed=5)), (Conv2D(48, 16, 1, seed=5), ELU()),
                   (Conv2D(48, 20, 3, seed=5),)):
        yield fire(*behind), (10, 10, 3)
    for size in 33, 34, 35, 36:                         # the pools' windows leave the image here and there
        yield ln.models.light_cnn(seed=0), (size, size, 3)


def chain(layers, g=None, x="image"):
    g = g or ln.Graph()
    for layer in layers:
        x = g.add(f"{len(g.nodes)}", layer, x)
    return g


def fire(*behind):
    """A fire module and what follows it."""
    g = chain((Conv2D(3, 16, 1, seed=1), ELU()))
    for name, expand in ("one", Conv2D(16, 16, 1, seed=2)), ("three", Conv2D(16, 32, 3, padding=1, seed=3)):
        g.add(f"{name}_elu", ELU(), g.add(name, expand, "1"))
    return chain((*behind, GlobalAvgPool()), g, g.add("concat", Concat(), "one_elu", "three_elu"))


def compare(run, what, *xs):
    """What the layers' own code gives and what the fast versions give."""
    results = []
    for backend in "numpy", "numba":
        with ln.backend(backend):
            results.append(run(what, *xs))
    for a, b in zip(*results):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-4 * max(1, np.abs(a).max()))


def run_layer(layer, *xs):
    y = run_forward(layer, *xs, training=True)
    dx = run_backward(layer, like(y))
    return [y, *(dx if isinstance(dx, tuple) else (dx,)), *layer.grads.values()]


def run_network(net, x):
    y = net.forward(x, training=True)
    return [y, net.backward(like(y)), *net.grads.values()]


def like(y):
    """A gradient of y, the same for both."""
    dy = memory.empty(y.shape)
    dy[...] = np.random.default_rng(0).standard_normal(y.shape)
    return dy


def main(edge):
    memory.empty = lambda shape, dtype=np.float32: guarded(shape, edge, dtype)
    memory.several = lambda *sizes: [memory.empty((size,)) for size in sizes]
    faulthandler.enable()
    ln.set_num_threads(1)
    rng = np.random.default_rng(0)

    def image(shape):
        x = memory.empty(shape)
        x[...] = rng.standard_normal(shape)
        return x
    for layer, shapes in layers():
        print(layer, shapes, flush=True)
        compare(run_layer, layer, *map(image, shapes))
    for net, shape in networks():
        print(*(node.layer for node in net.nodes.values()), shape, flush=True)
        compare(run_network, net, image((3, *shape)))
        ln.compile(net)(image((2, *shape)))
    print("all done")


if __name__ == "__main__":
    main(sys.argv[1])
