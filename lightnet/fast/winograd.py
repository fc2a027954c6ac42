"""3x3 convolution with stride 1 by Winograd's method (``kernels/winograd.py``), in the place of ``products.py``'s functions."""

import math

import numpy as np

from ..kernels import memory, winograd_backward
from ..kernels import winograd as kernel
from ..kernels.images import contiguous, everywhere, images
from ..kernels.packing import bias_panels, no_bias
from ..kernels.tile import ROWS


def serves(layer):
    """Whether this convolution has the form, and enough channels, that the method takes and is worth."""
    return kernel.suits(layer.kernel, layer.stride, layer.in_channels, layer.out_channels)


def correlation(x, weight, bias, padding, y, finish):
    """``y = im2col(x) @ W + b``, finished."""
    begin, _ = forward_work(x, y.shape[1:3], weight, bias, padding, finish)
    y = images(y)
    return lambda start, stop: kernel.forward_with_edges(begin(), y, start, stop)


def forward_work(x, size, weight, bias, padding, finish):
    """A function that returns what the kernel takes, with scratch of its own, and how many images it takes together."""
    C, side, bias = weight.shape[2], kernel.side_for(*size), bias_panels(bias)
    U = kernel.packed_weights(weight, side)
    most = kernel.most(side) // 2           # all of U passes over a block's V, which has to stay near meanwhile
    shape, top, left = room(x, padding, side, size, most)
    block = kernel.block_of(shape[0] * kernel.patches(side, *size), most)
    scratch = math.prod(shape), kernel.entries(side) * kernel.apart(block, C), kernel.some_panels(ROWS, side)
    x = images(contiguous(x))

    def begin():
        xs, V, M = memory.several(*scratch)
        return kernel.Forward(x, U, bias, finish, side, top, left, images(xs.reshape(shape)), block, V, M)
    return begin, shape[0]


def gradients(x, dy, weight, padding, dx, elu=None):
    """dx, and of a range of images dW (3, 3, C, F) and db; dy is multiplied by the slope of ``elu``, if any."""
    begin, _ = work(x, dy.shape[1:3], weight, padding, elu)
    dy, dx = images(dy), images(dx)

    def job(start, stop):
        conv, sums = begin()
        winograd_backward.backward_with_edges(conv, dy, dx, start, stop, 0)
        return sums
    return job


def work(x, size, weight, padding, elu=None):
    """A function that returns what the kernel takes, with scratch and sums of its own, and these, dW and db; and how many images
    it takes together."""
    C, F = weight.shape[2:]
    side, zeros, alpha = kernel.side_for(*size), no_bias(max(C, F)), np.float32(elu.alpha if elu else 1)
    Ut = kernel.packed_weights(weight.transpose(0, 1, 3, 2), side)
    most = kernel.most(side)                # with fewer patches in a block it would go through U and dU too often
    shape, top, left = room(x, padding, side, size, most)
    down, across = (kernel.along(side, pixels) for pixels in size)
    block = kernel.block_of(shape[0] * down, max(1, most // across))
    T, strip_shape = block * across, (1, side, across * side, F)
    scratch = (math.prod(shape), math.prod(shape), math.prod(strip_shape),
               *(kernel.entries(side) * kernel.apart(T, channels) for channels in (C, F)),
               *(kernel.some_panels(rows, side) for rows in (C, T)))
    x, y = images(contiguous(x)), images(elu.cache[0]) if elu else everywhere(1, F)

    def begin():
        xs, dxs, strip, V, Z, dU, M = memory.several(*scratch)
        dW, db = memory.zeros((3, 3, C, F)), np.zeros(F, np.float32)
        xs, dxs, strip = images(xs.reshape(shape)), images(dxs.reshape(shape)), images(strip.reshape(strip_shape))
        return winograd_backward.Backward(x, y, alpha, elu is not None, Ut, zeros, dW.reshape(-1), db, side, top, left, xs, dxs,
                                          block, strip._replace(W=size[1]), V, Z, dU, M), (dW, db)
    return begin, shape[0]


def room(x, padding, side, size, most):
    """The shape of some images, with no more than so many patches if not of one, and zeros around them; top and left."""
    (top, bottom), (left, right) = kernel.to_whole_patches(side, padding, size)
    some = max(1, min(len(x), most // kernel.patches(side, *size)))
    return (some, top + x.shape[1] + bottom, left + x.shape[2] + right, x.shape[3]), top, left
