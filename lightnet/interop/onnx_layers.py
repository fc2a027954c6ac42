"""Operators of ONNX models that are no layers of lightnet's networks, as layers all the same: so that an import can be trained.

A Graph with one of them is saved as any other; ``ln.load(path, layers=[Softmax])`` reads it.
"""

import numpy as np

from ..layers import Layer
from ..losses import softmax


class Softmax(Layer):
    """``y = exp(x) / sum of exp(x)``, over the last axis: channels.

    lightnet's networks end in logits, and `softmax_cross_entropy` holds the softmax. A network that ends in this layer cannot be
    trained with that loss.

    Examples
    --------
    >>> layer = Softmax()
    >>> layer.forward(np.log(np.float32([[1, 3]])), training=True)
    array([[0.25, 0.75]], dtype=float32)
    >>> layer.backward(np.float32([[1, 0]]))            # y1 * (1 - y1), -y2 * y1
    array([[ 0.1875, -0.1875]], dtype=float32)
    """

    def forward(self, x, training=False):
        """``y = exp(x) / sum of exp(x)``."""
        y = softmax(x)
        if training:
            self.cache = (y,)
        return y

    def backward(self, dy):
        """``dx = y * (dy - <dy, y>)``: each output falls as the others rise."""
        (y,) = self.recall()
        return y * (dy - (dy * y).sum(axis=-1, keepdims=True))


class LeakyReLU(Layer):
    """``y = x`` where x > 0, ``alpha * x`` elsewhere.

    Parameters
    ----------
    alpha : float

    References
    ----------
    Maas, Hannun, Ng, "Rectifier nonlinearities improve neural network acoustic models", 2013, section 2.

    Examples
    --------
    >>> layer = LeakyReLU(0.5)
    >>> layer.forward(np.float32([-2, 3]), training=True)
    array([-1.,  3.], dtype=float32)
    >>> layer.backward(np.float32([10, 10]))
    array([ 5., 10.], dtype=float32)
    """

    def __init__(self, alpha=0.01):
        super().__init__()
        self.alpha = alpha

    def forward(self, x, training=False):
        """``y = x`` or ``alpha * x``."""
        slope = np.where(x > 0, x.dtype.type(1), x.dtype.type(self.alpha))
        if training:
            self.cache = (slope,)
        return x * slope

    def backward(self, dy):
        """``dx = dy`` or ``alpha * dy``."""
        (slope,) = self.recall()
        return dy * slope
