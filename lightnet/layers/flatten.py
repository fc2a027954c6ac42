"""Flatten: an image as one long row of numbers."""

import numpy as np

from .base import Layer


class Flatten(Layer):
    """(N, H, W, C) to (N, H*W*C), channels innermost; any number of axes after N.

    Examples
    --------
    >>> layer = Flatten()
    >>> layer.forward(np.arange(4).reshape(1, 2, 1, 2), training=True)
    array([[0, 1, 2, 3]])
    >>> layer.backward(np.ones((1, 4))).shape
    (1, 2, 1, 2)
    """

    def forward(self, x, training=False):
        """``y[n] = all of x[n]``, row by row."""
        if training:
            self.cache = (x.shape,)
        return x.reshape(self.output_shape(x.shape))

    def backward(self, dy):
        """dy in x's shape."""
        (x_shape,) = self.recall()
        return dy.reshape(x_shape)

    def output_shape(self, shape):
        """(N, everything else)."""
        return shape[0], int(np.prod(shape[1:]))
