"""Dropout: in training, switch off random values, so that what reads them cannot rely on any single one."""

import numpy as np

from ..errors import ArgumentError
from .base import Layer


class Dropout(Layer):
    """Zero each value with probability ``rate`` in training, and scale up the others; nothing happens at inference.

    Parameters
    ----------
    rate : float
        In [0, 1).
    seed : int, numpy.random.Generator or None
        Of the masks; the generator is the layer's own, ``layer.rng``, and its state goes into checkpoints.

    Notes
    -----
    The survivors are divided by ``1 - rate``, so that the expected value stays x ("inverted dropout").

    References
    ----------
    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014, section 4.

    Examples
    --------
    >>> layer = Dropout(0.5, seed=1)
    >>> layer.forward(np.ones(6, np.float32), training=True)
    array([0., 2., 2., 2., 0., 0.], dtype=float32)
    >>> layer.backward(np.arange(6, dtype=np.float32))
    array([0., 2., 4., 6., 0., 0.], dtype=float32)
    >>> layer.forward(np.ones(6, np.float32))
    array([1., 1., 1., 1., 1., 1.], dtype=float32)
    """

    def __init__(self, rate, seed=None):
        super().__init__()
        if not 0 <= rate < 1:
            raise ArgumentError(f"Dropout: rate {rate}, expected 0 <= rate < 1")
        self.rate, self.rng = float(rate), np.random.default_rng(seed)

    def forward(self, x, training=False):
        """``y = x * mask``, mask 0 with probability rate, else ``1 / (1 - rate)``; ``y = x`` at inference."""
        if not training:
            return x
        kept = self.rng.random(x.shape, np.float32) >= self.rate
        mask = kept.astype(x.dtype) / (1 - self.rate)
        self.cache = (mask,)
        return x * mask

    def backward(self, dy):
        """``dx = dy * mask``, with the mask of the forward."""
        (mask,) = self.recall()
        return dy * mask
