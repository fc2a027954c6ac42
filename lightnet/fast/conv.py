"""Convolution on the register tile (``kernels/tile.py``): no columns are made, forward or backward."""

import numpy as np

from ..kernels import memory
from ..kernels.images import regular
from ..kernels.threads import later
from ..kernels.tile import ELU, STORE
from . import pointwise, pooled, products, winograd


def forward(layer, x, training=False, out=None, elu=False, pool=None):
    """``y = im2col(x) @ W + b``, or with ``elu`` its ELU, while it is in registers; keeps x. With ``pool``: see ``pooled.py``."""
    if pool:
        return pooled.forward(layer, x, pool, training, out)
    shape = layer.output_shape(x.shape)
    x, y = regular(x), memory.empty(shape) if out is None else out
    weight, bias, finish = layer.params["weight"], layer.params["bias"], ELU if elu else STORE
    if winograd.serves(layer):
        job = winograd.correlation(x, weight, bias, layer.padding, y, finish)
    else:
        job = products.correlation(x, weight, bias, layer.stride, layer.padding, y, finish)
    later(job, len(x))
    if training:
        layer.cache = (x,)
    return y


def backward(layer, dy, elu=None, pool=None, to_image=True):
    """``dW = im2col(x).T @ dy``, ``db = sum of dy``, ``dx = col2im(dy @ W.T)``.

    ``elu``: the layer whose slope dy has still to be multiplied by, in place. ``pool``: the MaxPool2D whose dy this is. Without
    ``to_image`` there is no dx.
    """
    (x,) = layer.cache
    dy, dx, weight = regular(dy), memory.empty(x.shape) if to_image else None, layer.params["weight"]
    if pool:
        job = pooled.gradients(x, dy, layer, pool, dx)
    elif winograd.serves(layer):
        job = winograd.gradients(x, dy, weight, layer.padding, dx, elu)
    elif dx is not None and pointwise.serves(layer, x, dy, dx, *(elu.cache if elu else ())):
        job = pointwise.gradients(x, dy, weight, dx, elu)
    else:
        image = None if dx is None else products.adjoint(
            dy, weight, np.zeros(x.shape[3], np.float32), layer.stride, layer.padding, dx)
        gradient = products.weight_gradient(x, dy, layer.kernel, layer.stride, layer.padding)
        job = products.gradients(image, gradient, dy, weight, elu)
    later(job, len(x), lambda pairs: layer.grads.update(products.added(pairs, weight.shape)))
    return dx
