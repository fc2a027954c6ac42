"""What every layer is: arrays in, arrays out, and the way back.

Notation, the same in every file of this folder
-----------------------------------------------
======== ======================================================================
N        images in the batch
H, W     height and width (OH, OW: those of the output)
C, F     channels in, channels out; a channel is one number per pixel: red, or "edge here"
KH, KW   height and width of the kernel; SH, SW: its stride, the pixels from one window to the next
n, h, w  an image, its row, its column; i, j: row and column of the output; p, q: row and column in the kernel
x, y     the layer's input and output, NHWC: ``x[n, h, w, c]``
W, b     weight and bias, beside a product: ``x @ W + b`` (in a shape, next to H, W is the width)
dy       dL/dy, the gradient of the loss L with respect to the layer's output: same shape as y
dx       dL/dx, what ``backward`` returns; dW, db likewise
<a, b>   ``(a * b).sum()``, for arrays of one shape
======== ======================================================================

The chain rule, for arrays
--------------------------
An input may act on the loss through many outputs, and all those ways add up:

    dx[i] = sum over j of dy[j] * ∂y[j]/∂x[i]           (i: any element of x, j: any element of y)

where ∂y[j]/∂x[i] is how much y[j] moves when x[i] alone does, while dx and dy, as always here, are gradients of L. Every
``backward`` below is this sum, worked out for one layer. It needs dy, which comes from the layers behind, and what the layer
itself did, which its ``forward`` kept.
"""

import copy
import inspect
from numbers import Integral

import numpy as np

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
        What ``backward`` needs of the last ``forward(..., training=True)``; often x or y themselves, so neither may be
        written to before backward has run. It stays until the next training forward; one outside training leaves it alone.

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

        Also *assigns* dL/dparam to ``self.grads``, and never adds to those of an earlier call. A parameter belongs to one
        layer, which runs once per forward: there is nothing to add. A second backward with the same dy, before a parameter
        changes, writes the same numbers again.
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

    # What follows is for saving, copying and printing layers: skip it at first reading.

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


def pair(value, name, least=1):
    """``3`` or ``(3, 5)`` as ``(height, width)``: for kernels and strides, integers of at least 1."""
    sides = tuple(value) if np.iterable(value) else (value, value)
    if len(sides) != 2 or not all(isinstance(side, Integral) and side >= least for side in sides):
        raise ShapeError(f"{name} {value}: expected an integer of {least} or more, or two")
    return int(sides[0]), int(sides[1])


def two_pairs(padding):
    """Padding ``1``, ``(height, width)`` or ``((top, bottom), (left, right))`` in that last form."""
    axes = tuple(padding) if np.iterable(padding) else (padding, padding)
    if len(axes) != 2:
        raise ShapeError(f"padding {padding}: expected an integer, (height, width) or ((top, bottom), (left, right))")
    return tuple(pair(axis, "padding", least=0) for axis in axes)


def expect_image(layer, shape, channels=None):
    """Unpack ``(N, H, W, C)``, or say in a ShapeError what came instead."""
    wanted = f"(N, H, W, {'C' if channels is None else channels})"
    if len(shape) != 4 or channels not in (None, shape[3]):
        hint = "; a single image needs a batch axis, x[None]" if len(shape) == 3 else ""
        raise ShapeError(f"{type(layer).__name__} got an input of shape {tuple(shape)}, expected {wanted}{hint}")
    return shape
