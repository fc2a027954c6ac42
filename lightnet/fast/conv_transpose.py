"""Transposed convolution on the register tile: ``fast/conv.py`` turned around, as ``layers/conv_transpose.py`` is."""

import numpy as np

from ..kernels import memory
from ..kernels.images import regular
from ..kernels.threads import later
from . import products, strassen, windows
from .activation import finish


def forward(layer, x, training=False, out=None):
    """``y = col2im(x @ W.T) + b``; keeps x."""
    shape = layer.output_shape(x.shape)
    x, y = regular(x), memory.empty(shape) if out is None else out
    weight, bias = products.parameters(layer, (layer.out_channels, layer.in_channels))
    if strassen.serves(layer, x, y):
        job = strassen.adjoint(x, weight, bias, y)
    else:
        job = products.adjoint(x, weight, bias, layer.stride, layer.padding, y)
    later(job, len(x))
    if training:
        layer.cache = (x,)
    return y


def backward(layer, dy, x_elu=None):
    """``dx = im2col(dy) @ W``, ``dW = im2col(dy).T @ x``, ``db = sum of dy``; ``x_elu``: see ``activation.finish``."""
    (x,) = layer.cache
    dy, dx, weight = regular(dy), memory.empty(x.shape), layer.params["weight"]
    in_windows = windows.serves(layer, x, dy)
    if in_windows:
        job = (strassen if strassen.serves(layer, x, dy) else windows).gradients(x, dy, weight, dx, x_elu)
    else:
        to_x = products.correlation(dy, weight, np.zeros(x.shape[3], np.float32), layer.stride, layer.padding, dx)
        to_weight = products.weight_gradient(dy, x, layer.kernel, layer.stride, layer.padding)
        job = products.gradients(to_x, to_weight, dy, weight)
    later(job, len(x), lambda pairs: layer.grads.update(products.added(pairs, weight.shape)))
    if not in_windows:
        finish(dx, x, None, x_elu)
    return dx
