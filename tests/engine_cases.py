"""Small networks of all forms, and what tests of the engine do with them."""

import contextlib
import os
from concurrent.futures import Future

import numpy as np
import pytest

import lightnet as ln
from lightnet.backend import has_numba
from lightnet.layers import (
    ELU,
    Add,
    AvgPool2D,
    BatchNorm2D,
    Concat,
    Conv2D,
    ConvTranspose2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Layer,
    MaxPool2D,
    ReLU,
)


class AtOnce:
    """A pool that does at once what it is told: the first of the other threads does all the work."""

    @staticmethod
    def submit(work, *arguments):
        done = Future()
        done.set_result(work(*arguments))
        return done


if os.environ.get("NUMBA_DISABLE_JIT") == "1":      # for test_planted_bugs.py: without what only compiled code can do
    from lightnet.engine import program, runner, standby

    def claim(counters, index):
        counters[index] += 1
        return counters[index] - 1

    def run(program, *rest, compiled=program.run):
        compiled(program._replace(steps=program.steps.view(np.recarray), tasks=program.tasks.view(np.recarray)), *rest)
    program.claim, program.wait_for, standby.run, runner.pool = claim, lambda *_: None, run, lambda threads: AtOnce
    runner.call, runner.wait_for_helper, runner.TURNS = lambda *_: False, lambda *_: None, 0            # nobody stands by


class Halves(Layer):
    """A user's own layer."""

    def forward(self, x, training=False):
        return x / 2


class MyReLU(ReLU):
    """A user's own, which the engine must not take for a ReLU."""

    def forward(self, x, training=False):
        return np.maximum(x, 0.25)


class Tokens(Layer):
    """(N, H, W, C) to (N, H * W, C): a value that is no image, and no row either."""

    def forward(self, x, training=False):
        return x.reshape(self.output_shape(x.shape))

    def output_shape(self, shape):
        return shape[0], shape[1] * shape[2], shape[3]


def conv(C, F, kernel=1, stride=1, padding=None):
    return Conv2D(C, F, kernel, stride, kernel // 2 if padding is None else padding, seed=C + F)


def graph(*nodes, shape=(6, 7, 3)):
    """A Graph of (name, layer, inputs...), where inputs are left out of the node before, with numbers as after training."""
    g = ln.Graph(shape)
    for name, layer, *inputs in nodes:
        g.add(name, layer, *inputs or [next(reversed(g.nodes), "image")])
    return trained(g)


def trained(net):
    """Biases, batch norm's scales and running statistics other than those at the beginning, 0 and 1."""
    rng = np.random.default_rng(0)
    for name, array in {**net.params, **net.state}.items():
        if name.endswith(("bias", "shift", "mean")):
            array[:] = rng.standard_normal(array.shape)
        elif name.endswith(("scale", "var")):
            array[:] = rng.uniform(0.3, 2, array.shape) * np.where(name.endswith("var") | (rng.random(array.shape) < 0.7), 1, -1)
    return net


def images(net, count=1, seed=0):
    return np.random.default_rng(seed).standard_normal((count, *net.input_shape), dtype=np.float32)


def photographs(count, height, width, seed=0):
    return np.random.default_rng(seed).random((count, height, width, 3), np.float32)


@contextlib.contextmanager
def bands_of(numbers):
    """A block in which bands hold so many numbers: of a few they are single lines, of many all lines."""
    with pytest.MonkeyPatch.context() as patch:
        if has_numba():
            from lightnet.engine import groups
            patch.setattr(groups, "NEAR", numbers)
        yield


def assert_same(y, wanted, message=""):
    """Within 1e-5 of the largest number."""
    assert y.shape == wanted.shape and y.dtype == np.float32, message
    np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max(), err_msg=message)


def a_convolution(F=16):
    """Where most begin: a value of F channels that no other convolution pads."""
    return "a", conv(3, F), "image"


CASES = {
    "a convolution that pads the image": lambda: graph(("a", conv(3, 5, 3))),
    "Winograd on the image": lambda: graph(("a", conv(16, 16, 3)), ("elu", ELU()), shape=(6, 7, 16)),
    "Winograd on the image as it is": lambda: graph(("a", conv(16, 32, 3, padding=0)), shape=(6, 10, 16)),
    "Winograd and its neighbour": lambda: graph(
        a_convolution(), ("b", conv(16, 32)), ("c", conv(16, 32, 3), "a"), ("sum", Add(), "b", "c"), shape=(28, 28, 3)),
    "strides and sides": lambda: graph(("a", Conv2D(3, 20, (3, 2), (2, 1), ((2, 0), (0, 1)), seed=0)), ("relu", ReLU()),
                                       ("b", Conv2D(20, 7, (1, 4), (1, 3), seed=1)), ("c", conv(7, 3, 1, padding=1))),
    "a Concat of the image": lambda: graph(a_convolution(), ("both", Concat(), "image", "a"), ("b", conv(19, 4, 3))),
    "an Add of the image": lambda: graph(a_convolution(3), ("sum", Add(), "a", "image", "image"), ("b", conv(3, 4, 3))),
    "an ELU of alpha 0.5": lambda: graph(("first", ELU(0.5)), ("a", conv(3, 16, 3)), ("elu", ELU(0.5)), ("b", conv(16, 2))),
    "batch norm first": lambda: graph(("norm", BatchNorm2D(3)), ("a", conv(3, 4, 3))),
    "batch norm in all places": lambda: graph(
        a_convolution(), ("norm", BatchNorm2D(16)), ("again", BatchNorm2D(16)), ("elu", ELU()), ("late", BatchNorm2D(16)),
        ("b", conv(16, 16)), ("c", conv(16, 16), "b"), ("fork", BatchNorm2D(16), "b"), ("both", Concat(), "c", "fork"),
        ("joint", BatchNorm2D(32)), ("up", ConvTranspose2D(32, 5, 3, 2, 1, seed=0)), ("last", BatchNorm2D(5))),
    "a sum of three": lambda: graph(a_convolution(), ("b", conv(3, 16, 3), "image"), ("c", conv(16, 16), "b"),
                                    ("sum", Add(), "a", "b", "c"), ("relu", ReLU())),
    "a sum of one": lambda: graph(a_convolution(), ("sum", Add()), ("b", conv(16, 3))),
    "one value twice": lambda: graph(a_convolution(), ("twice", Concat(), "a", "a"), ("sum", Add(), "twice", "twice")),
    "Concats of Concats": lambda: graph(
        a_convolution(), ("b", conv(3, 5), "image"), ("ab", Concat(), "a", "b"), ("c", conv(21, 32, 3), "ab"),
        ("d", conv(32, 16)), ("cd", Concat(), "c", "d"), ("all", Concat(), "ab", "cd", "d"), ("elu", ELU()), ("e", conv(85, 4))),
    "a value in a Concat, and in one within it": lambda: graph(
        a_convolution(), ("b", conv(3, 16), "image"), ("inner", Concat(), "b", "a"), ("outer", Concat(), "a", "inner"),
        ("c", conv(48, 4))),
    "a Concat last, of what is padded": lambda: graph(
        *(("big" + str(n), conv(3 if n == 0 else 32, 32, 3)) for n in range(4)), ("a", conv(32, 16)), ("b", conv(16, 16, 3)),
        ("both", Concat(), "a", "b")),
    "padded max pools": lambda: graph(
        a_convolution(40), ("elu", ELU()), ("pool", MaxPool2D(3, 2, ((1, 2), (0, 1)))),
        ("again", MaxPool2D((2, 3), (1, 2), 1, True)), ("relu", ReLU()),
        ("third", MaxPool2D(2, 3, ceil_mode=True)), shape=(13, 12, 3)),
    "a pool that skips lines, which another reads": lambda: graph(
        a_convolution(), ("pool", MaxPool2D(1, 3)), ("mean", GlobalAvgPool()), ("mean_a", GlobalAvgPool(), "a"),
        ("both", Concat(), "mean", "mean_a"), shape=(6, 5, 3)),
    "an average pool": lambda: graph(a_convolution(), ("pool", AvgPool2D(3, 2, 1)), ("b", conv(16, 4, 3)), ("relu", ReLU())),
    "Flatten and Dense": lambda: graph(a_convolution(5), ("flat", Flatten()), ("fc", Dense(210, 20, seed=0)), ("elu", ELU()),
                                       ("norm", ELU(2.0)), ("fc2", Dense(20, 3, seed=1))),
    "two averages": lambda: graph(
        a_convolution(), ("mean", GlobalAvgPool()), ("b", conv(3, 5, 3), "image"), ("mean_b", GlobalAvgPool()),
        ("both", Concat(), "mean", "mean_b"), ("fc", Dense(21, 2, seed=0)), ("relu", ReLU())),
    "Winograd's patches of both sizes on one image": lambda: graph(
        a_convolution(), ("b", conv(16, 32, 3)), ("mean", GlobalAvgPool()), ("c", conv(16, 32, 3, padding=0), "a"),
        ("mean_c", GlobalAvgPool()), ("both", Concat(), "mean", "mean_c"), shape=(14, 14, 3)),
    "a user's own": lambda: graph(a_convolution(), ("half", Halves()), ("relu", MyReLU()), ("b", conv(16, 16, 3)),
                                  ("sum", Add(), "half", "b")),
    "values that are no images": lambda: graph(a_convolution(), ("t", Tokens()), ("b", conv(3, 32), "image"), ("u", Tokens()),
                                               ("both", Concat(), "t", "u"), ("sum", Add(), "both", "both"), ("elu", ELU())),
    "nothing but dropout": lambda: graph(("drop", Dropout(0.5))),
    "dropout and dead ends": lambda: graph(
        a_convolution(), ("end", conv(16, 5), "a"), ("further", ReLU()), ("drop", Dropout(0.5), "a"), ("b", conv(16, 4)),
        ("last", Dropout(0.5))),
    "a transposed convolution": lambda: graph(
        ("a", conv(3, 32, 3, 2)), ("up", ConvTranspose2D(32, 16, 2, 2, seed=0)), ("b", conv(3, 16), "image"),
        ("both", Concat(), "up", "b"), ("mix", conv(32, 16)), ("elu", ELU()), ("mean", GlobalAvgPool()), shape=(8, 10, 3)),
    "a transposed convolution alone": lambda: graph(
        a_convolution(), ("up", ConvTranspose2D(16, 16, (2, 3), (2, 3), seed=0)), ("relu", ReLU()), ("mix", conv(16, 20)),
        ("b", conv(20, 5))),
    "a transposed convolution and padding": lambda: graph(
        a_convolution(), ("up", ConvTranspose2D(16, 16, 2, 2, seed=0)), ("b", conv(16, 16, 1, padding=1)),
        ("mean", GlobalAvgPool())),
    "columns": lambda: graph(
        a_convolution(64), ("b", conv(64, 96, 3)), ("elu", ELU()), ("c", conv(96, 64), "b"), ("d", conv(96, 64, 3), "b"),
        ("cd", Concat(), "c", "d"), ("e", conv(128, 16)), shape=(4, 3, 3)),
    "columns beside steps that read each other": lambda: graph(
        ("a", conv(16, 512), "image"), ("b", conv(512, 64)), ("c", conv(64, 64)), ("d", conv(64, 64)),
        ("e", conv(512, 64, 3), "a"), ("sum", Add(), "d", "e"), shape=(18, 18, 16)),
    "a pool of a part of a Concat": lambda: graph(
        ("p", conv(16, 16), "image"), ("a", conv(16, 64)), ("q", conv(16, 128, 3, 2), "p"), ("b", conv(16, 64, 5), "p"),
        ("both", Concat(), "a", "b"), ("elu", ELU()), ("pool", MaxPool2D(3, 2, 1)), ("sum", Add(), "q", "pool"),
        shape=(24, 24, 16)),
    "columns beside a transposed convolution": lambda: graph(
        a_convolution(64), ("pool", MaxPool2D(2)), ("up", ConvTranspose2D(64, 16, 2, 2, seed=0)), ("b", conv(64, 64), "a"),
        ("both", Concat(), "up", "b"), ("c", conv(80, 4)), shape=(4, 4, 3)),
    "a transposed convolution beside columns": lambda: graph(
        a_convolution(64), ("pool", MaxPool2D(2)), ("b", conv(64, 64), "a"),
        ("up", ConvTranspose2D(64, 16, 2, 2, seed=0), "pool"), ("both", Concat(), "up", "b"), ("c", conv(80, 4)),
        shape=(4, 4, 3)),
    "a large transposed convolution": lambda: graph(
        ("b", conv(3, 16)), ("a", conv(3, 256, 3, 2), "image"), ("up", ConvTranspose2D(256, 32, 2, 2, seed=0)),
        ("both", Concat(), "up", "b"), ("mix", conv(48, 16)), ("elu", ELU()), ("mean", GlobalAvgPool()), shape=(16, 12, 3)),
    "a large transposed convolution last": lambda: graph(
        ("a", conv(16, 320)), ("pad", conv(320, 16, 3), "a"), ("up", ConvTranspose2D(320, 64, (3, 4), (3, 4), seed=0), "a"),
        shape=(4, 10, 16)),
    "a fire module": lambda: graph(
        ("a", conv(3, 48, 3, 2)), ("elu", ELU()), ("pool", MaxPool2D(3, 2, ceil_mode=True)), ("squeeze", conv(48, 16)),
        ("norm", BatchNorm2D(16)), ("s_elu", ELU()), ("one", conv(16, 32)), ("one_elu", ELU()),
        ("three", conv(16, 32, 3), "s_elu"), ("three_elu", ELU()), ("both", Concat(), "one_elu", "three_elu"),
        ("bypass", conv(48, 64), "pool"), ("sum", Add(), "both", "bypass"), ("mean", GlobalAvgPool()),
        ("fc", Dense(64, 2, seed=0)), shape=(31, 29, 3)),
}


def some(rng, *values):
    return values[rng.integers(len(values))]


def random_layer(rng, C):
    """Any layer of one input."""
    kernel, F = (some(rng, 1, 2, 3), some(rng, 1, 2, 3)), some(rng, 3, 16, 16, 20, 32)
    padding = tuple(tuple(int(rng.integers(0, side)) for _ in range(2)) for side in kernel)
    return some(rng, lambda: Conv2D(C, F, kernel, some(rng, 1, 1, (1, 2), 2), padding, seed=rng), lambda: conv(C, F),
                lambda: conv(C, 16, 3), lambda: ConvTranspose2D(C, 16, some(rng, 2, (1, 2)), some(rng, 2, (1, 2)), seed=rng),
                lambda: ConvTranspose2D(C, F, kernel, some(rng, 1, 2), seed=rng), ELU, ReLU, lambda: ELU(0.5),
                lambda: BatchNorm2D(C), lambda: MaxPool2D(kernel, some(rng, 1, 2), padding, some(rng, False, True)),
                lambda: AvgPool2D(2, 1), Halves, lambda: Dropout(0.3))()


def random_graph(rng):
    """Layers on any of the last values, Adds and Concats of what fits; in the end one average, a dense layer, or an image."""
    g = ln.Graph((int(rng.integers(5, 14)), int(rng.integers(5, 14)), some(rng, 1, 3, 16)))
    for n in range(int(rng.integers(3, 12))):
        shapes = g.shapes()
        x = some(rng, *list(shapes)[-4:])
        like = [name for name in shapes if shapes[name][:3] == shapes[x][:3]]
        same = [name for name in like if shapes[name] == shapes[x]]
        layer, others = some(rng, *[lambda x=x: (random_layer(rng, g.shapes()[x][3]), [])] * 4,
                             lambda: (Add(), [some(rng, *same) for _ in range(rng.integers(1, 3))]),  # noqa: B023 - called at once
                             lambda: (Concat(), [some(rng, *like) for _ in range(rng.integers(1, 4))]))()  # noqa: B023
        g.add(str(n), layer, x, *others)
        try:
            g.shapes()
        except ln.ShapeError:                                       # a window larger than its image
            del g.nodes[str(n)]
    last = next(reversed(g.nodes), "image")
    H, W, C = g.shapes()[last][1:]
    for layer in some(rng, [conv(C, 4)], [GlobalAvgPool()], [GlobalAvgPool(), Dense(C, 3, seed=rng)],
                      [Flatten(), Dense(H * W * C, 3, seed=rng)]):
        last = g.add(type(layer).__name__, layer, last)
    return trained(g)
