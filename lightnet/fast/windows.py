"""Transposed convolution backward where windows lie side by side, kernel = stride, in the place of ``products.py``'s functions.

A pixel of x made a window of KH x KW pixels of y, and its gradients read that window of dy. Through tables it is KH runs, or, in
a slice of a wider array, KH x KW short ones, between which the processor does not guess how it goes on. As columns it is one.
They are as many numbers as dy has, and made once for dx and dW. And dx goes first for a few images, then dW: either has 2 MB of
weights to go through in the paper's upsample, 14x14 windows of 4x4x64, and would find them displaced. Both took 8.3 ms an image
on a busy Zen 3, and take 7.2.
"""

import numpy as np

from ..kernels import memory, tables
from ..kernels.columns import windows_of
from ..kernels.elementwise import elu_slope
from ..kernels.images import images
from ..kernels.multiply import multiply
from ..kernels.packing import no_bias, panels
from ..kernels.tile import ADD, STORE
from ..kernels.vector import LANES
from .products import NOTHING, room, steps, weights

NEAR = 1 << 22                                          # bytes of columns: four images of the paper's upsample


def serves(layer, x, dy):
    """Whether windows cover dy without gaps, and x's channels come in sixteens."""
    return (layer.kernel == layer.stride and dy.shape[1:3] == tuple(side * K for side, K in zip(x.shape[1:3], layer.kernel))
            and not any(map(any, layer.padding)) and x.shape[3] % LANES == 0)


def gradients(x, dy, weight, dx, x_elu=None):
    """``dx = im2col(dy) @ W``, and of a range of images ``dW = im2col(dy).T @ x``, in panels, and db.

    ``x_elu``: the ELU that x comes from, if any, whose backward is done as well.
    """
    KH, KW, C, F = weight.shape
    (H, W), K, one = x.shape[1:3], KH * KW * C, (1, 1)
    pitch = K + LANES                                   # not a power of two
    matrix, zeros = panels(weight.reshape(K, F)), no_bias(F)
    to_dx = tables.convolution(W, pitch, K, one, one, (H, W), images(dx).pitch, F)
    to_dW = tables.weight_gradient(W, pitch, K, one, one, (H, W), images(x).pitch, F)
    size = to_dW.scratch

    def job(start, stop):
        dW, db, scratch = room(weight, C, size)
        for first, last in steps(start, stop, NEAR // (4 * H * W * pitch)):
            count, columns = last - first, images(memory.empty((last - first, H, W, pitch)))
            windows_of(images(dy[first:last]), KH, KW, columns, db)
            multiply(to_dx, count, columns.flat, weights(matrix), images(dx[first:last]).flat, zeros, STORE, NOTHING)
            if x_elu:
                elu_slope(images(x[first:last]), images(dx[first:last]), np.float32(x_elu.alpha))
            multiply(to_dW, count, columns.flat, images(x[first:last]).flat, weights(dW.reshape(-1)), zeros,
                     STORE if first == start else ADD, scratch)
        return dW, db
    return job
