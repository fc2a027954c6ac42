"""What every layer is: arrays in, arrays out, and the way back.

Notation, the same in every file of this folder
-----------------------------------------------
======== ======================================================================
N        images in the batch
H, W     height and width (OH, OW: those of the output)
C, F     channels in, channels out ("filters")
KH, KW   height and width of the kernel; SH, SW: its stride; P: padding
x, y     the layer's input and output, NHWC: ``x[n, h, w, c]``
dy       dL/dy, the gradient of the loss L by the layer's output: same shape as y
dx       dL/dx, what ``backward`` returns; dW, db likewise
======== ======================================================================
"""

import copy
import inspect
from numbers import Integral

from ..errors import BackwardError, ShapeError


class Layer:
    """Base of all layers. A layer of your own needs ``forward`` and ``backward``; see CONTRIBUTING.md.

    Attributes
    ----------
    params : dict of str to ndarray
        What the optimizer trains, by short names: ``weight``, ``bias``.
    grads : dict of str to ndarray
        dL/dparam for each of them, filled by ``backward``.
    state : dict of str to ndarray
        What is kept between calls but not trained: batch norm's running statistics.
    cache : tuple or None
        What ``backward`` needs of the last ``forward(..., training=True)``.

    Examples
    --------
    A layer in full: multiply by a trained number.

    >>> import numpy as np
    >>> class Scale(Layer):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.params["factor"] = np.ones(1, np.float32)
    ...
    ...     def forward(self, x, training=False):
    ...         if training:
    ...             self.cache = (x,)
    ...         return self.params["factor"] * x
    ...
    ...     def backward(self, dy):
    ...         (x,) = self.recall()
    ...         self.grads["factor"] = (dy * x).sum(keepdims=True).reshape(1)
    ...         return self.params["factor"] * dy
    >>> import lightnet as ln
    >>> bool(ln.check_layer(Scale(), (2, 5, 5, 3)))
    True
    """

    def __init__(self):
        self.params, self.grads, self.state, self.cache = {}, {}, {}, None

    def forward(self, *xs, training=False):
        """The layer's output ``y``. In training, leave in ``self.cache`` what ``backward`` will need."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, dy):
        """The chain rule through this layer: from dL/dy to dL/dx; a tuple where there are several inputs.

        Also *assigns* dL/dparam to ``self.grads``. It never adds to the gradients of an earlier call: who wants the sum
        over several batches adds on purpose.
        """
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    def recall(self):
        """What the last training forward left in the cache, for ``backward``."""
        if self.cache is None:
            raise BackwardError(f"{type(self).__name__}.backward needs a forward(..., training=True) before it")
        return self.cache

    def output_shape(self, *shapes):
        """Shape of the output for inputs of these shapes, N included; here: that of the first input.

        Raises
        ------
        ShapeError
            Where such inputs do not fit the layer.
        """
        return tuple(shapes[0])

    def macs(self, *shapes):
        """Multiply-accumulate operations of one forward on inputs of these shapes (element-wise work counts as none)."""
        return 0

    @property
    def config(self):
        """The constructor's arguments: each is kept as an attribute of the same name. Seeds are no part of it."""
        arguments = inspect.signature(type(self).__init__).parameters
        return {name: getattr(self, name) for name in arguments if name not in ("self", "seed")}

    def astype(self, dtype):
        """A copy of this layer that computes in another precision."""
        twin = copy.deepcopy(self)
        twin.grads = {}
        for arrays in (twin.params, twin.state):
            arrays.update({name: array.astype(dtype) for name, array in arrays.items()})
        return twin

    def __getstate__(self):
        """Copies start without a cache: it belongs to one forward of one layer, and is large."""
        return {**self.__dict__, "cache": None}

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in self.config.items())})"


def pair(value, name):
    """``3`` or ``(3, 5)`` as ``(height, width)``; for kernels and strides: integers of at least 1."""
    height, width = (value, value) if isinstance(value, Integral) else value
    if min(height, width) < 1:
        raise ShapeError(f"{name} {value}: expected 1 or more")
    return int(height), int(width)


def two_pairs(padding):
    """Padding ``1``, ``(height, width)`` or ``((top, bottom), (left, right))`` in that last form."""
    rows, columns = (padding, padding) if isinstance(padding, Integral) else padding
    top, bottom = (rows, rows) if isinstance(rows, Integral) else rows
    left, right = (columns, columns) if isinstance(columns, Integral) else columns
    if min(top, bottom, left, right) < 0:
        raise ShapeError(f"padding {padding}: expected 0 or more")
    return (int(top), int(bottom)), (int(left), int(right))


def expect_image(layer, shape, channels=None):
    """Unpack ``(N, H, W, C)``, or say in a ShapeError what came instead."""
    wanted = f"(N, H, W, {'C' if channels is None else channels})"
    if len(shape) != 4 or channels not in (None, shape[3]):
        hint = "; a single image needs a batch axis, x[None]" if len(shape) == 3 else ""
        raise ShapeError(f"{type(layer).__name__} got an input of shape {tuple(shape)}, expected {wanted}{hint}")
    return shape
