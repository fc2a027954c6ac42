"""Batch norm in two passes over memory forward and two backward, where NumPy makes a dozen (``kernels/normalization.py``)."""

import numpy as np

from ..kernels import memory, normalization
from ..kernels.images import images, regular
from ..kernels.threads import later, over_images
from .activation import copied


def forward(layer, x, training=False, out=None):
    """``y = scale * (x - mean) / std + shift``; keeps x, mean and std."""
    shape = layer.output_shape(x.shape)
    x, y = regular(x), memory.empty(shape) if out is None else out
    if training:
        mean, var = statistics(x)
        layer.track("running_mean", mean)
        layer.track("running_var", var)
    else:
        mean, var = layer.state["running_mean"], layer.state["running_var"]
    std = np.sqrt(var + np.float32(layer.eps))
    factor = layer.params["scale"] / std
    factor, offset = (np.asarray(a, np.float32) for a in (factor, layer.params["shift"] - factor * mean))
    later(lambda start, stop: normalization.affine(images(x[start:stop]), factor, offset, images(y[start:stop])), len(x))
    if training:
        layer.cache = (x, mean, std)
    return y


def backward(layer, dy, out=None):
    """``dx = scale / std * (dy - mean(dy) - xhat * mean(dy * xhat))``, as ``u * dy + v * x + w`` for each channel."""
    x, mean, std = layer.cache
    given, dy = dy, regular(dy)
    sums, dots = np.empty((2, *x.shape[::3]))                          # (N, C) each

    def partial(start, stop):
        normalization.products(images(x[start:stop]), images(dy[start:stop]), mean, sums[start:stop], dots[start:stop])
    over_images(partial, len(x))
    shift, scale = sums.sum(axis=0), dots.sum(axis=0) / std            # of dy, and of dy * xhat
    M = x.size // layer.channels
    u = layer.params["scale"] / std
    v = -u * scale / M / std
    w = -u * shift / M - v * mean
    u, v, w = (np.asarray(a, np.float32) for a in (u, v, w))
    dx = copied(dy) if dy is given and out is None else dy          # else it is ours to write over
    later(lambda start, stop: normalization.affine_of_two(images(dx[start:stop]), u, images(x[start:stop]), v, w), len(x))
    layer.grads["shift"], layer.grads["scale"] = shift.astype(np.float32), scale.astype(np.float32)
    return dx


def statistics(x):
    """Mean and biased variance of each channel, from those of each image."""
    means, deviations = np.empty((2, *x.shape[::3]))

    def partial(start, stop):
        normalization.moments(images(x[start:stop]), means[start:stop], deviations[start:stop])
    over_images(partial, len(x))
    pixels = x.shape[1] * x.shape[2]
    mean = means.mean(axis=0)
    var = (deviations.sum(axis=0) / pixels + np.square(means - mean).sum(axis=0)) / len(x)
    return mean.astype(np.float32), var.astype(np.float32)
