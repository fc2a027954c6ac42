"""A convolution together with the ELU and the max pool behind it, image by image: what lies between them never reaches memory.

conv1's output is the largest value of the paper's network, 3.3 MB an image. One image's stays in the third-level cache, where the
next one takes its place. ELU comes last: it grows with its argument, so that

    max ELU(x) = ELU(max x),

and three quarters of the pixels need no exponential. Backward likewise begins with the slope, at the pool's output, where each
number is the ELU of its window's winner; the gradients then follow from these alone (``kernels/winners.py``). (Two pixels whose
ELUs round to the same number are a tie for the layers, which the first one wins; here the larger one does.)
"""

import numpy as np

from ..kernels import memory, tables, winners
from ..kernels import pooled as kernel
from ..kernels.images import contiguous, images, regular
from ..kernels.packing import bias_panels, panels
from ..kernels.threads import later
from . import products
from .padding import padded, wide
from .pooling import room_for_winners, window_of

ALPHA = np.float32(1)                                   # of the ELU


def forward(layer, x, pool, training=False, out=None):
    """``y = ELU(max over the window of im2col(x) @ W + b)``; the pool keeps the winners, and y, from which the slope is read."""
    between_shape = layer.output_shape(x.shape)
    x, shape = regular(x), pool.output_shape(between_shape)
    weight, bias = products.parameters(layer, (layer.in_channels, layer.out_channels))
    y, winner = memory.empty(shape) if out is None else out, room_for_winners(pool, shape)

    (OH, OW, F), (KH, KW, C, _) = between_shape[1:], weight.shape
    packed, bias, window = products.weights(panels(weight.reshape(-1, F))), bias_panels(bias), window_of(pool)

    def job(start, stop):
        xs, between = padded(x[start:stop], layer.padding), images(memory.empty((1, OH, OW, wide(F))))._replace(C=F)
        table = tables.convolution(xs.shape[2], images(xs).pitch, C, (KH, KW), layer.stride, (OH, OW), wide(F), F)
        kernel.forward(images(xs), table, packed, bias, between, window, ALPHA, images(y[start:stop]),
                       winner[start:stop].reshape(-1))
    later(job, len(x))
    if training:
        layer.cache, pool.cache = (x,), (between_shape, winner, y, None)
    return y


def gradients(layer, x, dy, pool, dx, to_image):
    """dx, if it is wanted, and of a range of images dW and db; dy is multiplied by ELU's slope in place."""
    between_shape, winner, y, _ = pool.cache
    weight = layer.params["weight"]
    filters, convolution, window = winners.filters(weight), window_of(layer), window_of(pool)

    def job(start, stop):
        columns, dcolumns = (winners.room(filters, between_shape[2], window) for _ in range(2))
        dW, db = memory.zeros(filters.shape), np.zeros(dy.shape[3], np.float32)
        winners.gradients(contiguous(x[start:stop]), images(y[start:stop]), images(dy[start:stop]),
                          winner[start:stop].reshape(-1), ALPHA, convolution, window, columns, dcolumns,
                          filters, dW, db, dx[start:stop], to_image)
        return winners.from_filters(dW, weight.shape), db
    return job
