"""Concat, whose inputs were computed in its output where the schedule could arrange it, and Add."""

import math

from ..kernels import elementwise, memory
from ..kernels.images import contiguous
from .activation import as_images, copied, each


class Concat:
    """``y[..., k] = [x1, x2, ...]``: copies what is not there yet."""

    @staticmethod
    def forward(layer, *xs, training=False, out=None):
        shape = layer.output_shape(*(x.shape for x in xs))
        y, channel = memory.empty(shape) if out is None else out, 0
        for x in xs:
            part = pixels(y)[..., channel:channel + x.shape[-1]]
            if not same_memory(pixels(x), part):
                copied(pixels(x), part)
            channel += x.shape[-1]
        if training:
            layer.cache = [x.shape[-1] for x in xs]
        return y

    @staticmethod
    def backward(layer, dy, postponed=False):
        """Views of dy: each input's channels. ``postponed``: all of it, a convolution will take it apart (``fire.py``)."""
        if postponed:
            return (dy,) * len(layer.cache)
        parts, channel = [], 0
        for count in layer.cache:
            parts.append(dy[..., channel:channel + count])
            channel += count
        return tuple(parts)


class Add:
    """``y = x1 + x2 + ...``."""

    @staticmethod
    def forward(layer, *xs, training=False):
        layer.output_shape(*(x.shape for x in xs))
        total = xs[0]
        for x in xs[1:]:
            total = added(total, x)
        if training:
            layer.cache = (len(xs),)
        return total

    @staticmethod
    def backward(layer, dy):
        """dy for each."""
        (count,) = layer.cache
        return (dy,) * count


def pixels(x):
    """Images as they are; other arrays with all axes between the first and the last as one."""
    return x if x.ndim == 4 else contiguous(x).reshape(len(x), 1, math.prod(x.shape[1:-1]), x.shape[-1])


def added(a, b):
    """``a + b``, on all threads."""
    y = memory.empty(a.shape)
    each(elementwise.add, (as_images(a), as_images(b), as_images(y)))
    return y


def same_memory(a, b):
    """Whether two arrays of one shape are the same numbers."""
    return a.__array_interface__["data"] == b.__array_interface__["data"] and a.strides == b.strides
