"""Activations: the bend between two linear layers, without which they would be one.

Each y depends on its own x alone, so the chain rule's sum has one term, and both slopes can be read off y: all that is kept.
"""

import numpy as np

from ..errors import ArgumentError
from .base import Layer


class ELU(Layer):
    """Exponential linear unit: ``y = x`` where x > 0, ``alpha * (exp(x) - 1)`` elsewhere.

    Parameters
    ----------
    alpha : float
        How deep the negative side goes, ``y >= -alpha``: positive.

    Raises
    ------
    ArgumentError
        Where alpha is not positive: 0 would be ReLU; below 0, y would no longer tell on which side x was.

    References
    ----------
    Clevert, Unterthiner, Hochreiter, "Fast and accurate deep network learning by exponential linear units", 2015
    (arXiv:1511.07289), equation 15.

    Examples
    --------
    >>> layer = ELU()
    >>> layer.forward(np.log([[0.25, 1, 4]]), training=True)           # exp(log(1/4)) - 1, 0, log(4)
    array([[-0.75      ,  0.        ,  1.38629436]])
    >>> layer.backward(np.array([[1.0, 1.0, 1.0]]))
    array([[0.25, 1.  , 1.  ]])
    """

    def __init__(self, alpha=1.0):
        super().__init__()
        if not alpha > 0:
            raise ArgumentError(f"ELU: alpha {alpha}, expected a positive number")
        self.alpha = float(alpha)                           # NumPy's own float64 would make all of x one

    def forward(self, x, training=False):
        """``y = max(x, 0) + alpha * (exp(min(x, 0)) - 1)``.  (Clevert et al. 2015, equation 15)"""
        y = np.maximum(x, 0) + self.alpha * np.expm1(np.minimum(x, 0))     # one of the two terms is 0
        if training:
            self.cache = (y,)
        return y

    def backward(self, dy):
        """``dx = dy`` where x > 0, else ``dy * alpha * exp(x) = dy * (y + alpha)``; at 0 the slope is taken from the left."""
        (y,) = self.recall()
        return dy * np.where(y > 0, 1, y + self.alpha)


class ReLU(Layer):
    """Rectified linear unit: ``y = max(x, 0)``.

    References
    ----------
    Nair, Hinton, "Rectified linear units improve restricted Boltzmann machines", 2010.

    Examples
    --------
    >>> layer = ReLU()
    >>> layer.forward(np.float32([[-2, 0, 3]]), training=True)
    array([[0., 0., 3.]], dtype=float32)
    >>> layer.backward(np.float32([[5, 6, 7]]))            # at 0 itself the slope is taken to be 0
    array([[0., 0., 7.]], dtype=float32)
    """

    def forward(self, x, training=False):
        """``y = max(x, 0)``."""
        y = np.maximum(x, 0)
        if training:
            self.cache = (y,)
        return y

    def backward(self, dy):
        """``dx = dy`` where y > 0, else 0."""
        (y,) = self.recall()
        return dy * (y > 0)
