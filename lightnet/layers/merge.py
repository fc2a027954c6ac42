"""Layers of several inputs: join feature maps in depth, or add them up."""

import numpy as np

from ..errors import ShapeError
from .base import Layer


class Concat(Layer):
    """Depth concatenation: (N, H, W, C1), (N, H, W, C2), ... to (N, H, W, C1 + C2 + ...).

    Examples
    --------
    >>> layer = Concat()
    >>> layer.forward(np.ones((1, 1, 1, 2)), np.zeros((1, 1, 1, 1)), training=True).ravel()
    array([1., 1., 0.])
    >>> [dx.ravel() for dx in layer.backward(np.array([5.0, 6.0, 7.0]).reshape(1, 1, 1, 3))]
    [array([5., 6.]), array([7.])]
    """

    def forward(self, *xs, training=False):
        """``y = [x1, x2, ...]`` along the channels."""
        self.output_shape(*(x.shape for x in xs))
        if training:
            self.cache = tuple(x.shape[-1] for x in xs)
        return np.concatenate(xs, axis=-1)

    def backward(self, dy):
        """Each input gets its own channels of dy back."""
        channels = self.recall()
        return tuple(np.split(dy, np.cumsum(channels)[:-1], axis=-1))       # cut where the next input's channels begin

    def output_shape(self, *shapes):
        """The inputs' shape, their channels added up."""
        if len({tuple(shape[:-1]) for shape in shapes}) != 1:
            raise ShapeError(f"Concat got inputs of shapes {', '.join(map(str, shapes))}; expected all axes but the last alike")
        return *shapes[0][:-1], sum(shape[-1] for shape in shapes)


class Add(Layer):
    """The sum of inputs of one shape: a bypass (residual connection) around what lies between them.

    Examples
    --------
    >>> layer = Add()
    >>> layer.forward(np.array([1.0, 2.0]), np.array([10.0, 20.0]), training=True)
    array([11., 22.])
    >>> layer.backward(np.array([5.0, 6.0]))
    (array([5., 6.]), array([5., 6.]))
    """

    def forward(self, *xs, training=False):
        """``y = x1 + x2 + ...``."""
        self.output_shape(*(x.shape for x in xs))
        if training:
            self.cache = (len(xs),)
        return sum(xs[1:], start=xs[0])

    def backward(self, dy):
        """``dx1 = dx2 = ... = dy``: y moves as much as any one input does, so each gets dy, whole."""
        (count,) = self.recall()
        return (dy,) * count

    def output_shape(self, *shapes):
        """The inputs' common shape."""
        if len({tuple(shape) for shape in shapes}) != 1:
            raise ShapeError(f"Add got inputs of shapes {', '.join(map(str, shapes))}; expected all alike")
        return tuple(shapes[0])
