"""The dense (fully connected) layer: every output is a weighted sum of every input. Also where products get their gradients.

    y[n, f] = b[f] + sum over c of x[n, c] * W[c, f]            y = x @ W + b        (N, C) @ (C, F)

Backward, ask of every number which outputs it acts on, and sum over those:

    W[c, f] acts on y[n, f] for every n:   dW[c, f] = sum over n of x[n, c] * dy[n, f]      dW = x.T @ dy
    b[f]    acts on y[n, f] for every n:   db[f]    = sum over n of dy[n, f]                db = dy.sum(axis=0)
    x[n, c] acts on y[n, f] for every f:   dx[n, c] = sum over f of dy[n, f] * W[c, f]      dx = dy @ W.T
"""

import numpy as np

from ..errors import ShapeError
from ..initializers import he_normal
from .base import Layer


class Dense(Layer):
    """``y = x @ W + b``: (N, C) to (N, F). A 1x1 convolution of a 1x1 image.

    Parameters
    ----------
    in_features, out_features : int
        C and F.
    seed : int, numpy.random.Generator or None
        Of the initial weights (He normal: random, of such size that signals keep theirs; ``initializers.py``); biases
        start at 0.

    Notes
    -----
    Parameters ``weight`` (C, F) and ``bias`` (F,).

    Examples
    --------
    >>> layer = Dense(2, 1)
    >>> layer.params["weight"][:] = [[3], [4]]
    >>> layer.forward(np.float32([[1, 10], [2, 20]]), training=True)
    array([[43.],
           [86.]], dtype=float32)
    >>> layer.backward(np.float32([[1], [10]]))
    array([[ 3.,  4.],
           [30., 40.]], dtype=float32)
    >>> layer.grads["weight"].ravel(), layer.grads["bias"]            # 1*1 + 2*10, 10*1 + 20*10; 1 + 10
    (array([ 21., 210.], dtype=float32), array([11.], dtype=float32))
    """

    def __init__(self, in_features, out_features, seed=None):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.params["weight"] = he_normal((in_features, out_features), in_features, seed)
        self.params["bias"] = np.zeros(out_features, np.float32)

    def forward(self, x, training=False):
        """``y = x @ W + b``."""
        self.output_shape(x.shape)
        if training:
            self.cache = (x,)
        return x @ self.params["weight"] + self.params["bias"]

    def backward(self, dy):
        """``dW = x.T @ dy``, ``db = dy.sum(axis=0)``, ``dx = dy @ W.T``."""
        (x,) = self.recall()
        self.grads["weight"] = x.T @ dy
        self.grads["bias"] = dy.sum(axis=0)
        return dy @ self.params["weight"].T

    def output_shape(self, shape):
        """(N, C) to (N, F)."""
        if len(shape) != 2 or shape[1] != self.in_features:
            raise ShapeError(f"Dense got an input of shape {tuple(shape)}, expected (N, {self.in_features}); an image needs a "
                             "GlobalAvgPool or Flatten before it")
        return shape[0], self.out_features

    def macs(self, shape):
        """C products for each of the N * F outputs."""
        return self.in_features * int(np.prod(self.output_shape(shape)))
