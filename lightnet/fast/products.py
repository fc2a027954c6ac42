"""Convolution's three products through the register tile: what Conv2D and ConvTranspose2D compute, forward and backward.

    correlation       y  = im2col(x) @ W + b            Conv2D forward;  ConvTranspose2D's dx
    adjoint           x  = col2im(y @ W.T) + b          ConvTranspose2D forward;  Conv2D's dx
    weight_gradient   dW = im2col(x).T @ dy             both

Each function prepares tables and packed weights, and returns a job: ``job(start, stop)`` computes a range of images. Columns are
made in the adjoint alone, where neither of its two better ways fits (`adding_windows`).
"""

import math

import numpy as np

from ..errors import ShapeError
from ..kernels import memory, tables
from ..kernels.columns import add_windows
from ..kernels.elementwise import column_sums, elu_slope_sums
from ..kernels.images import Flat, images
from ..kernels.multiply import multiply
from ..kernels.packing import bias_panels, from_panels, no_bias, panel_count, panels, taps
from ..kernels.threads import over_numbers
from ..kernels.tile import ADD, STORE
from ..kernels.vector import LANES
from .padding import padded, padded_channels, wide

NOTHING = np.empty(1, np.float32)                       # scratch where none is needed
NEAR = 1 << 20                                          # bytes of gradients to work on at a time


def parameters(layer, channels):
    """The layer's weight and bias, if they are of its kernel and of these channels: every address is worked out from them."""
    weight, bias, expected = layer.params["weight"], layer.params["bias"], (*layer.kernel, *channels)
    if weight.shape != expected or bias.shape != (layer.out_channels,):
        raise ShapeError(f"{type(layer).__name__}: a weight of shape {weight.shape} and a bias of {bias.shape}, expected "
                         f"{expected} and {(layer.out_channels,)}")
    return weight, bias


def correlation(x, weight, bias, stride, padding, y, finish=STORE):
    """``y = im2col(x) @ W + b``, weight (KH, KW, C, F); ``finish`` ELU: its ELU."""
    *kernel, C, F = weight.shape
    (top, bottom), (left, right) = padding
    packed, bias = panels(weight.reshape(-1, F)), bias_panels(bias)

    def job(start, stop):
        xs, ys = padded(x[start:stop], padding), y[start:stop]
        target = ys if F == wide(F) else memory.empty((*ys.shape[:3], wide(F)))
        table = tables.convolution(xs.shape[2], images(xs).pitch, C, tuple(kernel), stride, y.shape[1:3], images(target).pitch, F)
        multiply(table, stop - start, images(xs).flat, weights(packed), images(target).flat, bias, finish, NOTHING)
        if target is not ys:
            ys[:] = target[..., :F]
    return job


def adjoint(y, weight, bias, stride, padding, x):
    """``x = col2im(y @ W.T) + b``."""
    *kernel, C, F = weight.shape
    if stride == (1, 1) and all(p < K for K, sides in zip(kernel, padding) for p in sides):
        # with stride 1 it is a convolution again: each pixel gathers from the windows that held it, the kernel turned around
        turned = weight[::-1, ::-1].transpose(0, 1, 3, 2)
        around = tuple(tuple(K - 1 - p for p in sides) for K, sides in zip(kernel, padding))
        return correlation(y, turned, bias, stride, around, x)
    if stride == tuple(kernel) and padding == ((0, 0), (0, 0)) and C == wide(C) and x.shape[1:3] == tuple(
            side * K for side, K in zip(y.shape[1:3], kernel)):
        return spreading(y, weight, bias, x)
    return adding_windows(y, weight, bias, stride, padding, x)


def spreading(y, weight, bias, x):
    """The adjoint where windows do not overlap: each pixel of y makes KH x KW pixels of x of its own."""
    KH, KW, C, F = weight.shape
    packed, bias = panels(taps(weight)), bias_panels(bias, KH * KW)
    table = tables.spread(y.shape[1:3], images(y).pitch, F, (KH, KW), images(x).pitch, C)

    def job(start, stop):
        ys, xs = images(y[start:stop]), images(x[start:stop])
        multiply(table, stop - start, ys.flat, weights(packed), xs.flat, bias, STORE, NOTHING)
    return job


def adding_windows(y, weight, bias, stride, padding, x):
    """The adjoint in general, image by image: columns, and each window's are added where it was."""
    KH, KW, C, F = weight.shape
    matrix = weight.reshape(-1, F).T                                    # (F, KH*KW*C)
    packed, zeros = panels(matrix), no_bias(matrix.shape[1])
    OH, OW = y.shape[1:3]
    table = tables.convolution(OW, images(y).pitch, F, (1, 1), (1, 1), (OH, OW), wide(matrix.shape[1]), matrix.shape[1])

    def job(start, stop):
        columns = memory.empty((1, OH, OW, wide(matrix.shape[1])))
        for n in range(start, stop):
            multiply(table, 1, images(y[n:n + 1]).flat, weights(packed), images(columns).flat, zeros, STORE, NOTHING)
            image = x[n] if x.flags.c_contiguous else memory.empty(x.shape[1:])
            add_windows(columns[0], image, bias, KH, KW, *stride, padding[0][0], padding[1][0])
            if not x.flags.c_contiguous:
                x[n] = image
    return job


def weight_gradient(x, dy, kernel, stride, padding):
    """``dW = im2col(x).T @ dy`` of some images, stored in or added to dW's panels."""
    C, F = x.shape[3], dy.shape[3]
    zeros = no_bias(F)

    def job(start, stop, dW, finish):
        xs, dys = padded(x[start:stop], padding), dy[start:stop]
        if F != wide(F):
            dys = padded_channels(dys, wide(F))
        table = tables.weight_gradient(xs.shape[2], images(xs).pitch, C, kernel, stride, dy.shape[1:3], images(dys).pitch, F)
        scratch = memory.empty((table.scratch,))
        multiply(table, stop - start, images(xs).flat, images(dys).flat, weights(dW.reshape(-1)), zeros, finish, scratch)
    return job


def to_input(layer, dy, dx, wanted=True):
    """A convolution's job for dx, which does nothing where dx is not wanted."""
    if not wanted:
        return lambda start, stop: None
    return adjoint(dy, layer.params["weight"], np.zeros(dx.shape[3], np.float32), layer.stride, layer.padding, dx)


def to_weight(layer, x, dy):
    """A convolution's job for dW."""
    return weight_gradient(x, dy, layer.kernel, layer.stride, layer.padding)


def room(weight, channels, *scratch):
    """Where a range's dW, in panels, and db of so many channels are computed, db from zeros; and scratch of these sizes."""
    *sides, F = weight.shape
    shape = panel_count(F), math.prod(sides), LANES
    dW, *scratch = memory.several(math.prod(shape), *scratch)
    return dW.reshape(shape), np.zeros(channels, np.float32), *scratch


def gradients(image, gradient, dy, weight, elu=None):
    """A job that returns a range's dW, in panels, and db: a few images at a time, so that each step finds dy near.

    image and gradient are the jobs for dx and dW. dy is first multiplied by the slope of ``elu``, if any, in place.
    """
    def job(start, stop):
        dW, db = room(weight, dy.shape[3])
        for first, last in steps(start, stop, NEAR // dy[0].nbytes):
            some = images(dy[first:last])
            if elu:
                db += elu_slope_sums(images(elu.cache[0][first:last]), some, np.float32(elu.alpha), some)
            else:
                db += column_sums(some)
            image(first, last)
            gradient(first, last, dW, STORE if first == start else ADD)
        return dW, db
    return job


def steps(start, stop, size):
    """Parts of a range of images, so few at a time that what one loop leaves in the cache is there for the next."""
    size = max(1, size)
    return [(first, min(first + size, stop)) for first in range(start, stop, size)]


def added(pairs, shape):
    """The gradients: each range's (dW, db) summed, in order, in the first one's place; dW of this shape, or in panels."""
    (weight, bias), *others = pairs

    def part(start, stop):
        for dW, _ in others:
            weight[start:stop] += dW[start:stop]
    over_numbers(part, len(weight), weight.size)
    for _, db in others:
        bias += db
    return {"weight": weight if weight.shape == shape else from_panels(weight, shape[3]).reshape(shape), "bias": bias}


def weights(packed):
    """What all images share: a distance of 0 between them."""
    return Flat(packed, 0)
