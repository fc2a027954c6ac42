"""ELU, ReLU: one pass over memory, where NumPy makes five; in the place of what it reads where the schedule allows."""

import math

import numpy as np

from ..backend import version_for_class
from ..kernels import elementwise, memory
from ..kernels.images import contiguous, elements, is_even, regular
from ..kernels.threads import later


class Activation:
    """A version from two compiled loops, which write over what they read: ``loop(y, *settings)``, ``slope(y, d, *settings)``."""

    def __init__(self, loop, slope, settings=lambda layer: ()):
        self.loop, self.slope, self.settings = loop, slope, settings

    def forward(self, layer, x, training=False, out=None, done=False, pooled=None):
        """y of each x; keeps y, from which the slope can be read. ``done``: who computed x has put y there already.

        ``pooled``: the convolution before, which has done this and pooled it too (``pooled.py``), so that y is nowhere.
        """
        if pooled:
            if training:
                layer.cache = (pooled,)
            return x
        y = x if out is x else copied(x, out)
        if not done:
            each(self.loop, [as_images(y)], self.settings(layer))
        if training:
            layer.cache = (y,)
        return y

    def backward(self, layer, dy, out=None, postponed=False, done=False):
        """The slope times dy. ``postponed``: who gets dx will do it. ``done``: who gave dy has done it."""
        if postponed or done:
            return dy
        (y,) = layer.cache
        if not is_kept(layer):                          # asked for after all: somebody observes, or shares the pool's gradient
            conv = y
            y = version_for_class(type(conv)).forward(conv, *conv.cache, elu=True)
        dx = dy if out is dy else copied(dy)
        each(self.slope, [as_images(y), as_images(dx)], self.settings(layer))
        return dx


def finish(dx, x, onto, x_elu):
    """What is left of a layer's dx: ``onto`` is added, and the backward of ``x_elu`` done, the ELU that x comes from; if any."""
    if onto is not None:
        each(elementwise.add, [dx, regular(onto), dx])
    if x_elu:
        each(elementwise.elu_slope, [x, dx], (np.float32(x_elu.alpha),))


def is_kept(layer):
    """Whether the layer kept its output, and not the convolution that can compute it again."""
    return isinstance(layer.cache[0], np.ndarray)


def copied(x, y=None):
    """A regular copy of x, in y or new."""
    y = memory.empty(x.shape) if y is None else y
    each(elementwise.copy, [as_images(x), as_images(y)])
    return y


def each(loop, arrays, settings=()):
    """The loop over all numbers of arrays of one shape, on all threads."""
    later(lambda start, stop: loop(*elements(*(x[start:stop] for x in arrays)), *settings), len(arrays[0]))


def as_images(x):
    """Any array as images: its first axis stays, the others become one if there are not three. To read, if `is_even`."""
    if x.ndim != 4:
        x = contiguous(x).reshape(len(x), 1, 1, math.prod(x.shape[1:]))
    return x if is_even(x) else regular(x)


elu = Activation(elementwise.elu, elementwise.elu_slope, lambda layer: (np.float32(layer.alpha),))
relu = Activation(elementwise.relu, elementwise.relu_slope)
