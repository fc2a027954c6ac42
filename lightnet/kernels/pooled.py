"""A convolution, the max pool behind it and the ELU behind that, one image after the other, in one call from Python.

What the convolution computes of an image stays in the third-level cache until the pool has read it, and the next image's takes
its place. Three calls for each image took a sixth of what the paper's first layer does: between two calls all that Python looks
at leaves the caches, and comes back from memory.
"""

import numpy as np

from .compiling import compiled
from .elementwise import elu
from .images import Flat, some_images
from .multiply import shared_multiply
from .pooling import largest
from .tile import STORE


@compiled
def forward(x, tables, weights, bias, between, pool, alpha, y, winner):
    """y: the pool's ELU; winner (N * ...,): its winners.

    x: `Images`, padded; tables: the convolution's; between: `Images`, room for its output of one image; pool: `columns.Window`.
    """
    nothing = np.empty(1, np.float32)
    for n in range(y.N):
        one_x, one_y = some_images(x, n, n + 1), some_images(y, n, n + 1)
        shared_multiply(tables, one_x.N, Flat(one_x.memory, 0, 0), weights, Flat(between.memory, 0, 0), bias, STORE, nothing)
        largest(between, one_y, winner[n * y.H * y.W * y.C:], pool)
        elu(one_y, alpha)
