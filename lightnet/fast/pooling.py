"""Max pooling and the global average, read where the image lies (``kernels/pooling.py``)."""

import numpy as np

from ..kernels import memory, pooling
from ..kernels.columns import Window
from ..kernels.elementwise import column_sums
from ..kernels.images import contiguous, evenly, everywhere, images, regular
from ..kernels.threads import later
from .activation import copied


class MaxPool2D:
    """``y = max over the window``; keeps each winner's place in its window, and x, as the activation before it mostly does."""

    @staticmethod
    def forward(layer, x, training=False, out=None, pooled=None, fire=None):
        """``pooled``: the convolution that has done it already, and kept what backward needs. ``fire``: see ``fire.py``."""
        if pooled:
            return x
        shape = layer.output_shape(x.shape)
        x, y, winner = regular(x), memory.empty(shape) if out is None else out, room_for_winners(layer, shape)
        window = window_of(layer)

        def job(start, stop):
            pooling.largest(images(x[start:stop]), images(y[start:stop]), winner[start:stop].reshape(-1), window)
        later(fire.job(x, y, winner, window) if fire else job, len(x))
        if training:
            layer.cache = (x.shape, winner, None, x)
        return y

    @staticmethod
    def backward(layer, dy, onto=None, x_elu=None, postponed=False):
        """Each winner gets its window's dy; a pixel that won in several adds up. ``onto``: what to add besides.

        ``x_elu``: the ELU that x comes from, if any, whose backward is done as well. ``postponed``: who gets dx will do it.
        """
        if postponed:
            return dy
        (x_shape, *_), dy = layer.cache, regular(dy)
        dx = memory.empty(x_shape)
        pool, from_dy, to_dx = work(layer, onto, x_elu), images(dy), images(dx)
        later(lambda start, stop: pooling.to_winners(pool, from_dy, to_dx, start, stop, 0), len(dy))
        return dx


class GlobalAvgPool:
    """``y = sum over h, w of x / (H * W)``."""

    @staticmethod
    def forward(layer, x, training=False):
        shape = layer.output_shape(x.shape)
        x, y = regular(x), np.empty(shape, np.float32)

        def means(start, stop):
            for n in range(start, stop):
                y[n] = column_sums(images(x[n:n + 1])) / np.float32(x.shape[1] * x.shape[2])
        later(means, len(x))
        if training:
            layer.cache = (x.shape,)
        return y

    @staticmethod
    def backward(layer, dy, even=False):
        """Every pixel gets ``dy / (H * W)``. ``even``: who gets dx can do with one pixel of each image, see `evenly`."""
        ((_, H, W, _),) = layer.cache
        dy, pixels = contiguous(dy), np.empty(dy.shape, np.float32)
        later(lambda start, stop: np.divide(dy[start:stop], np.float32(H * W), out=pixels[start:stop]), len(dy))
        dx = evenly(pixels, H, W)
        return dx if even else copied(dx)


def work(layer, onto=None, x_elu=None):
    """What the kernel takes for a max pool's backward."""
    (*_, C), winner, _, x = layer.cache
    there = everywhere(0, C) if onto is None else images(regular(onto))
    outputs, alpha = (images(x), np.float32(x_elu.alpha)) if x_elu else (everywhere(1, C), np.float32(1))
    return pooling.Backward(winner.reshape(-1), there, outputs, alpha, window_of(layer))


def is_pooled(layer):
    """Whether it was computed with the convolution before, and keeps the ELU of its output (``pooled.py``)."""
    return layer.cache[2] is not None


def room_for_winners(layer, shape):
    """Room for each winner's place in its window."""
    return memory.empty(shape, np.uint8 if np.prod(layer.kernel) < 256 else np.int32)


def window_of(layer):
    """Its windows, of a pool or a convolution: the loops need no more."""
    return Window(*layer.kernel, *layer.stride, layer.padding[0][0], layer.padding[1][0])
