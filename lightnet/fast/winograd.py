"""3x3 convolution with stride 1 by Winograd's method (``kernels/winograd.py``), in the place of ``products.py``'s functions."""

import numpy as np

from ..kernels import memory
from ..kernels import winograd as kernel
from ..kernels.images import contiguous, everywhere, images
from ..kernels.packing import bias_panels, no_bias
from ..kernels.tile import ROWS
from .padding import padded
from .products import steps


def serves(layer):
    """Whether this convolution has the form, and enough channels, that the method takes and is worth."""
    return kernel.suits(layer.kernel, layer.stride, layer.in_channels, layer.out_channels)


def correlation(x, weight, bias, padding, y, finish):
    """``y = im2col(x) @ W + b``, finished."""
    C, F = weight.shape[2:]
    bias, size = bias_panels(bias), y.shape[1:3]
    side = kernel.side_for(*size)
    around = kernel.to_whole_patches(side, padding, size)
    U = kernel.packed_weights(contiguous(weight), side)

    def job(start, stop):
        block = kernel.block_of((stop - start) * kernel.patches(side, *size), side)
        V, M = memory.empty((kernel.entries(side) * kernel.apart(block, C),)), memory.empty((kernel.some_panels(ROWS, side),))
        xs = images(contiguous(padded(x[start:stop], around)))
        kernel.forward(xs, U, bias, images(y[start:stop]), finish, side, block, V, M)
    return job


def gradients(x, dy, weight, padding, dx, elu=None):
    """dx, and of a range of images dW (3, 3, C, F) and db; dy is multiplied by the slope of ``elu``, if any."""
    C, F = weight.shape[2:]
    size = dy.shape[1:3]
    side = kernel.side_for(*size)
    Ut = kernel.packed_weights(np.ascontiguousarray(weight.transpose(0, 1, 3, 2)), side)
    around = kernel.to_whole_patches(side, padding, size)
    (top, _), (left, _), zeros = *padding, no_bias(max(C, F))
    H, W = x.shape[1:3]
    alpha = np.float32(elu.alpha if elu else 1)
    enough = -(-kernel.most(side) // kernel.patches(side, *size))           # images for a block

    def job(start, stop):
        block = kernel.block_of(min(enough, stop - start) * kernel.patches(side, *size), side)
        V, Z = (memory.empty((kernel.entries(side) * kernel.apart(block, channels),)) for channels in (C, F))
        dU, M = (memory.empty((kernel.some_panels(rows, side),)) for rows in (C, block))
        dW, db = memory.zeros((3, 3, C, F)), np.zeros(F, np.float32)
        for first, last in steps(start, stop, enough):
            xs = contiguous(padded(x[first:last], around))
            image = memory.zeros(xs.shape)
            y = images(elu.cache[0][first:last]) if elu else everywhere(1, F)           # the slope at 1 is 1
            kernel.backward(images(xs), images(dy[first:last]), y, alpha, Ut, zeros, images(image), dW.reshape(-1), db,
                            side, block, V, Z, dU, M)
            dx[first:last] = image[:, top:top + H, left:left + W]
        return dW, db
    return job
