"""Batch normalization: give every channel mean 0 and variance 1 over the batch, then a trained spread and mean.

For each channel by itself, with every sum over all its M = N * H * W pixels:

    mean = sum(x) / M        std = sqrt(sum((x - mean)**2) / M + eps)
    xhat = (x - mean) / std                     so that sum(xhat) = 0 and, up to eps, sum(xhat**2) = M
    y    = scale * xhat + shift

That is in training. At inference the answer for an image must not depend on which others share its batch, so running averages
of the batches' mean and variance stand in.

Backward, one x acts on all of its channel, since mean and std depend on it. For two pixels i and j of a channel,

    ∂mean/∂x[i] = 1 / M      ∂std/∂x[i] = xhat[i] / M       (from std**2 = sum((x - mean)**2) / M + eps; that mean moves too
                                                            changes nothing, since sum(x - mean) = 0)
    ∂xhat[j]/∂x[i] = ([i = j] - 1 / M - xhat[i] * xhat[j] / M) / std         (its own way, through the mean, through the std)

and the sum over j of ``scale * dy[j] * ∂xhat[j]/∂x[i]`` is

    dshift = sum(dy)         dscale = sum(dy * xhat)
    dx     = scale / std * (dy - dshift / M - xhat * dscale / M)

In words: a change of x that shifts or stretches the whole channel is undone by the normalization, so dx has no part
along the constant (sum(dx) = 0) and none along xhat (sum(dx * xhat) = 0, up to eps).
Two consequences. A bias just before batch norm has gradient sum(dx) = 0: shifting is undone. And with dy = 1 everywhere,
dx is 0: test a backward pass with random dy, or a broken one looks right.

Source: Ioffe, Szegedy, "Batch normalization", 2015 (arXiv:1502.03167), algorithms 1 and 2, section 3.2.
"""

import numpy as np

from .base import Layer, expect_image

PIXELS = (0, 1, 2)      # the axes N, H, W: a channel's statistics are taken over all of them


class BatchNorm2D(Layer):
    """Batch normalization over the channels of an (N, H, W, C) image.

    Parameters
    ----------
    channels : int
        C.
    eps : float
        Added to the variance, so that a constant channel does not divide by 0.
    momentum : float
        How far the running statistics move towards each batch's: ``running = (1 - momentum) * running + momentum * batch``.

    Notes
    -----
    Parameters ``scale`` and ``shift`` (C,); state ``running_mean`` and ``running_var`` (C,), which stand in for the
    batch's statistics outside training. The variance is biased (divided by M) everywhere, as ONNX defines it; PyTorch's
    running variance is M / (M - 1) times it.

    Examples
    --------
    One channel with the values 1 and 3 has mean 2 and variance 1:

    >>> layer = BatchNorm2D(1, eps=0)
    >>> x = np.float32([1, 3]).reshape(1, 1, 2, 1)
    >>> layer.forward(x, training=True).ravel()
    array([-1.,  1.], dtype=float32)
    >>> layer.state["running_mean"], layer.state["running_var"]      # 0.9 * 0 + 0.1 * 2, 0.9 * 1 + 0.1 * 1
    (array([0.2], dtype=float32), array([1.], dtype=float32))
    >>> layer.backward(np.float32([5, 7]).reshape(1, 1, 2, 1)).ravel()   # two values: shift and stretch are all there is
    array([0., 0.], dtype=float32)
    >>> layer.grads["scale"], layer.grads["shift"]
    (array([2.], dtype=float32), array([12.], dtype=float32))
    """

    def __init__(self, channels, eps=1e-5, momentum=0.1):
        super().__init__()
        self.channels, self.eps, self.momentum = channels, float(eps), float(momentum)
        self.params["scale"] = np.ones(channels, np.float32)
        self.params["shift"] = np.zeros(channels, np.float32)
        self.state["running_mean"] = np.zeros(channels, np.float32)
        self.state["running_var"] = np.ones(channels, np.float32)

    def forward(self, x, training=False):
        """``y = scale * (x - mean) / std + shift``.  (Ioffe and Szegedy 2015, algorithm 1)"""
        self.output_shape(x.shape)
        if training:
            M = x.size // self.channels
            mean = total(x) / M                                        # (C,)
            var = total(np.square(x - mean)) / M                       # (C,)
            self.track("running_mean", mean)
            self.track("running_var", var)
        else:
            mean, var = self.state["running_mean"], self.state["running_var"]
        std = np.sqrt(var + self.eps)
        xhat = (x - mean) / std
        if training:
            self.cache = (xhat, std)
        return self.params["scale"] * xhat + self.params["shift"]

    def track(self, name, batch):
        """Move a running statistic towards the batch's, in place."""
        running = self.state[name]
        running[...] = (1 - self.momentum) * running + self.momentum * batch

    def backward(self, dy):
        """``dx = scale / std * (dy - mean(dy) - xhat * mean(dy * xhat))``.  (Section 3, chain rule, simplified)"""
        xhat, std = self.recall()
        self.grads["shift"] = total(dy)
        self.grads["scale"] = total(dy * xhat)
        M = dy.size // self.channels
        return self.params["scale"] / std * (dy - self.grads["shift"] / M - xhat * (self.grads["scale"] / M))

    def output_shape(self, shape):
        """The input's shape."""
        return tuple(expect_image(self, shape, self.channels))


def total(x):
    """The sum over all pixels, (C,). In float64: half a million numbers added one by one in float32 keep one digit or two."""
    return x.sum(axis=PIXELS, dtype=np.float64).astype(x.dtype)
