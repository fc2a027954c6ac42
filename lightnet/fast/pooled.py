"""A convolution together with the ELU and the max pool behind it, image by image: what lies between them never reaches memory.

conv1's output is the largest value of the paper's network, 3.3 MB an image, and so is its gradient. One image's stays in the
third-level cache, where the next one takes its place. ELU comes last: it grows with its argument, so that

    max ELU(x) = ELU(max x),

and three quarters of the pixels need no exponential. Backward likewise begins with the slope, at the pool's output, where each
number is the ELU of its window's winner.
"""

import math

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..kernels import memory
from ..kernels.elementwise import elu, elu_slope_sums
from ..kernels.images import everywhere, images, regular
from ..kernels.packing import panel_count
from ..kernels.pooling import largest, to_winners
from ..kernels.threads import later
from ..kernels.tile import ADD, STORE
from ..kernels.vector import LANES
from . import products
from .pooling import numbers, winners

ONE = np.float32(1)                                     # ELU's alpha


def forward(layer, x, pool, training=False, out=None):
    """``y = ELU(max over the window of im2col(x) @ W + b)``; the pool keeps the winners, and y, from which the slope is read."""
    between_shape = layer.output_shape(x.shape)
    x, shape = regular(x), pool.output_shape(between_shape)
    y, winner = memory.empty(shape) if out is None else out, winners(pool, shape)

    def job(start, stop):
        between = one_for_all(between_shape)
        convolve = products.correlation(x, layer.params["weight"], layer.params["bias"], layer.stride, layer.padding, between)
        for n in range(start, stop):
            convolve(n, n + 1)
            pooled = images(y[n:n + 1])
            largest(images(between[:1]), pooled, winner[n:n + 1].reshape(-1), *numbers(pool))
            elu(pooled, ONE)
    later(job, len(x))
    if training:
        layer.cache, pool.cache = (x,), (between_shape, winner, y)
    return y


def gradients(x, dy, layer, pool, dx):
    """dx, unless it is None, and of a range of images dW, in panels, and db; dy is multiplied by ELU's slope in place."""
    between_shape, winner, y = pool.cache
    weight, F = layer.params["weight"], dy.shape[3]

    def job(start, stop):
        between, nothing = one_for_all(between_shape), everywhere(0, F)
        gradient = products.weight_gradient(x, between, layer.kernel, layer.stride, layer.padding)
        image = None if dx is None else products.adjoint(
            between, weight, np.zeros(x.shape[3], np.float32), layer.stride, layer.padding, dx)
        dW, db = memory.empty((panel_count(F), math.prod(weight.shape[:3]), LANES)), np.zeros(F, np.float32)
        for n in range(start, stop):
            pooled = images(dy[n:n + 1])
            db += elu_slope_sums(images(y[n:n + 1]), pooled, ONE)
            to_winners(pooled, images(between[:1]), winner[n:n + 1].reshape(-1), nothing, *numbers(pool))
            if image:
                image(n, n + 1)
            gradient(n, n + 1, dW, STORE if n == start else ADD)
        return dW, db
    return job


def one_for_all(shape):
    """An array (N, H, W, C) of which all images are the same memory."""
    image = memory.empty(shape[1:])
    return as_strided(image, shape, (0, *image.strides))
