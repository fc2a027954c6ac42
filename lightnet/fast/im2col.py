"""im2col and col2im as compiled loops over memory, in the order in which it lies.

The NumPy versions (``layers/conv.py``) pad into a new array and then pass over the whole matrix once for each of the
KH * KW taps. Here each row of the matrix is written once, from left to right, straight from the unpadded image: for row p of
a window, KW * C neighbouring numbers of the image are one run of memory.
"""

import numpy as np

from ..layers.conv import windows_along
from .threads import compiled, over_images


def forward(layer, x, training=False):
    """``y = im2col(x) @ W + b``; keeps the columns."""
    N, OH, OW, F = layer.output_shape(x.shape)
    if layer.is_pointwise:
        cols = np.ascontiguousarray(x).reshape(-1, x.shape[-1])
    else:
        cols = im2col(x, layer.kernel, layer.stride, layer.padding).reshape(N * OH * OW, -1)
    y = cols @ layer.params["weight"].reshape(-1, F)
    y += layer.params["bias"]
    if training:
        layer.cache = (x.shape, cols)
    return y.reshape(N, OH, OW, F)


def backward(layer, dy):
    """``dW = cols.T @ dy``, ``db = sum of dy``, ``dx = col2im(dy @ W.T)``."""
    x_shape, cols = layer.cache
    weight = layer.params["weight"]
    rows = np.ascontiguousarray(dy).reshape(-1, layer.out_channels)
    layer.grads["weight"] = (cols.T @ rows).reshape(weight.shape)
    layer.grads["bias"] = rows.sum(axis=0)
    dcols = rows @ weight.reshape(-1, layer.out_channels).T
    if layer.is_pointwise:
        return dcols.reshape(x_shape)
    return col2im(dcols.reshape(*dy.shape[:3], -1), x_shape, layer.kernel, layer.stride, layer.padding)


def im2col(x, kernel, stride, padding):
    """`lightnet.layers.conv.im2col`: (N, H, W, C) to (N, OH, OW, KH*KW*C)."""
    N, H, W, C = x.shape
    OH, OW = (windows_along(*axis) for axis in zip((H, W), kernel, stride, padding))
    cols = np.empty((N, OH, OW, kernel[0], kernel[1], C), x.dtype)
    over_images(copy_windows, np.ascontiguousarray(x), cols, *numbers(stride, padding))
    return cols.reshape(N, OH, OW, -1)


def col2im(cols, shape, kernel, stride, padding):
    """`lightnet.layers.conv.col2im`: (N, OH, OW, KH*KW*C) to an image of that shape."""
    N, H, W, C = shape
    x = np.zeros(shape, cols.dtype)
    windows = np.ascontiguousarray(cols).reshape(*cols.shape[:3], *kernel, C)
    over_images(add_windows, windows, x, *numbers(stride, padding))
    return x


def numbers(stride, padding):
    """SH, SW, top, left: the loops need no more."""
    return *stride, padding[0][0], padding[1][0]


@compiled
def copy_windows(start, stop, x, cols, SH, SW, top, left):
    """``cols[n, i, j, p, q] = x[n, i*SH + p - top, j*SW + q - left]``, 0 outside the image, for images start..stop-1."""
    _, H, W, C = x.shape
    _, OH, OW, KH, KW, _ = cols.shape
    for n in range(start, stop):
        for i in range(OH):
            for j in range(OW):
                for p in range(KH):
                    h = i * SH + p - top
                    for q in range(KW):
                        w = j * SW + q - left
                        if 0 <= h < H and 0 <= w < W:
                            for c in range(C):
                                cols[n, i, j, p, q, c] = x[n, h, w, c]
                        else:
                            for c in range(C):
                                cols[n, i, j, p, q, c] = 0


@compiled
def add_windows(start, stop, cols, x, SH, SW, top, left):
    """The adjoint: ``x[n, i*SH + p - top, j*SW + q - left] += cols[n, i, j, p, q]``, inside the image."""
    _, H, W, C = x.shape
    _, OH, OW, KH, KW, _ = cols.shape
    for n in range(start, stop):
        for i in range(OH):
            for j in range(OW):
                for p in range(KH):
                    h = i * SH + p - top
                    for q in range(KW):
                        w = j * SW + q - left
                        if 0 <= h < H and 0 <= w < W:
                            for c in range(C):
                                x[n, h, w, c] += cols[n, i, j, p, q, c]
