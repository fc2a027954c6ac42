"""Transposed convolution with Numba's im2col and col2im: see ``layers/conv_transpose.py``."""

import numpy as np

from .im2col import col2im, im2col


def forward(layer, x, training=False):
    """``y = col2im(x @ W.T) + b``; keeps x."""
    x = np.ascontiguousarray(x)
    cols = x.reshape(-1, layer.in_channels) @ layer.matrix.T
    y = col2im(cols.reshape(*x.shape[:3], -1), layer.output_shape(x.shape), layer.kernel, layer.stride, layer.padding)
    y += layer.params["bias"]
    if training:
        layer.cache = (x,)
    return y


def backward(layer, dy):
    """``dx = im2col(dy) @ W``, ``dW = im2col(dy).T @ x``, ``db = sum of dy``."""
    (x,) = layer.cache
    dcols = im2col(dy, layer.kernel, layer.stride, layer.padding).reshape(-1, layer.matrix.shape[0])
    layer.grads["weight"] = (dcols.T @ x.reshape(-1, layer.in_channels)).reshape(layer.params["weight"].shape)
    layer.grads["bias"] = dy.sum(axis=(0, 1, 2))
    return (dcols @ layer.matrix).reshape(x.shape)
