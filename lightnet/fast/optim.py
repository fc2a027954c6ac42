"""SGD's update in one pass over a parameter, where NumPy makes six."""

import numpy as np

from .. import optim
from ..kernels import elementwise
from ..kernels.threads import over_numbers


def update(w, v, gradient, lr, momentum, l2):
    """``v = momentum * v - lr * (gradient + l2 * w); w = w + v``, in place."""
    if not all(array.dtype == np.float32 and array.flags.c_contiguous for array in (w, v, gradient)):
        optim.update(w, v, gradient, lr, momentum, l2)
        return
    w, v, gradient = (array.reshape(-1) for array in (w, v, gradient))
    settings = [np.float32(number) for number in (lr, momentum, l2)]

    def part(start, stop):
        elementwise.momentum_step(w[start:stop], v[start:stop], gradient[start:stop], *settings)
    over_numbers(part, w.size, w.size)
