"""Strassen's method (``kernels/strassen_layer.py``) for a large transposed convolution, in the place of ``products.py``."""

import numpy as np

from ..kernels import memory
from ..kernels import strassen_layer as kernel
from ..kernels.images import contiguous, images
from ..kernels.packing import bias_panels
from ..kernels.strassen import PRODUCTS, TAPS, apart, suits
from ..kernels.threads import over_numbers
from ..kernels.tile import PANELS
from ..kernels.vector import LANES, has_avx512
from . import windows

WORTH = has_avx512()                                    # with AVX2 the sums take as long as they save: 4.14 ms backward for 4.20


def serves(layer, x, y):
    """Whether windows cover y without gaps, and the method takes images of this size, and is worth it."""
    return WORTH and windows.serves(layer, x, y) and suits(layer.kernel, x.shape[1:], y.shape[3])


def sizes(x, weight):
    """Of a block of blocks: pixels, of all images that are taken together, and channels of x and of y; and pairs of taps."""
    (KH, KW, F, C), (N, H, W, _) = weight.shape, x.shape
    return min(N, kernel.TOGETHER) * H * W // 4, C // 4, F // 2, KH * KW // TAPS


def packed(pack, weight):
    """W, or W^t."""
    KH, KW, F, C = weight.shape
    weight, W = contiguous(weight).reshape(-1), memory.empty((weight.size * PRODUCTS // 16,))
    over_numbers(lambda first, last: pack(weight, first, last, C, F, W), KH * KW // TAPS, W.size)
    return W


def adjoint(x, weight, bias, y):
    """``y = col2im(x @ W.T) + b``."""
    (KH, KW, *_), (pixels, k, n, _) = weight.shape, sizes(x, weight)
    W, bias, x, y = packed(kernel.pack, weight), bias_panels(bias), images(x), images(y)

    def job(start, stop):
        V, P = memory.several(*(PRODUCTS * apart(pixels * channels) for channels in (k, n)))
        kernel.forward(x, start, stop, W, bias, y, KH, KW, V, P)
    return job


def gradients(x, dy, weight, dx, x_elu=None):
    """``dx = im2col(dy) @ W``, and of a range of images ``dW = im2col(dy).T @ x`` and db.

    ``x_elu``: the ELU that x comes from, if any, whose backward is done as well.
    """
    shape, (pixels, k, n, pairs) = weight.shape, sizes(x, weight)
    Wt, alpha = packed(kernel.pack_transposed, weight), np.float32(x_elu.alpha if x_elu else 1)
    scratch = [PRODUCTS * apart(size) for size in (pixels * k, pixels * pairs * n, n * k, pixels * PANELS * LANES)]
    x, dy, dx = images(x), images(dy), images(dx)

    def job(start, stop):
        dW, db, (V, Z, D, M) = memory.zeros(shape), np.zeros(dy.C, np.float32), memory.several(*scratch)
        kernel.backward(x, dy, start, stop, Wt, *shape[:2], alpha, x_elu is not None, dx, dW.reshape(-1), db, V, Z, D, M)
        return dW, db
    return job
