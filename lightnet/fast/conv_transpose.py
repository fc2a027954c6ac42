"""Transposed convolution with the compiled im2col and col2im, one image at a time: ``fast/im2col.py`` turned around."""

import numpy as np

from .im2col import as_matrix, col2im, copy_windows, numbers
from .threads import over_images


def forward(layer, x, training=False):
    """``y = col2im(x @ W.T) + b``; keeps x."""
    x = np.ascontiguousarray(x)
    y = np.empty(layer.output_shape(x.shape), x.dtype)

    def images(start, stop):
        buffer = column_buffer(layer, x.shape)
        for n in range(start, stop):
            col2im(layer, x[n].reshape(-1, layer.in_channels), layer.matrix, buffer, y[n])
            y[n] += layer.params["bias"]
    over_images(images, len(x))
    if training:
        layer.cache = (x,)
    return y


def backward(layer, dy):
    """``dx = im2col(dy) @ W``, ``dW = im2col(dy).T @ x``, ``db = sum of dy``."""
    (x,) = layer.cache
    dy, dx = np.ascontiguousarray(dy), np.empty_like(x)

    def images(start, stop):
        buffer = column_buffer(layer, x.shape)
        dW, db = np.zeros_like(layer.matrix), np.zeros(layer.out_channels, x.dtype)
        for n in range(start, stop):
            copy_windows(dy[n], buffer, *numbers(layer))
            dcols, pixels = as_matrix(buffer), x[n].reshape(-1, layer.in_channels)
            dW += dcols.T @ pixels
            db += dy[n].sum(axis=(0, 1))
            np.matmul(dcols, layer.matrix, out=dx[n].reshape(pixels.shape))
        return dW, db
    sums = over_images(images, len(x))
    layer.grads["weight"] = sum(dW for dW, _ in sums).reshape(layer.params["weight"].shape)
    layer.grads["bias"] = sum(db for _, db in sums)
    return dx


def column_buffer(layer, x_shape):
    """Room for the columns of one image, (H, W, KH, KW, F)."""
    return np.empty((*x_shape[1:3], *layer.kernel, layer.out_channels), np.float32)
