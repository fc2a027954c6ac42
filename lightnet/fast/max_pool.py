"""Max pooling without the matrix of windows: the running maximum of a window stays in registers and cache.

The layer's own version copies every pixel into KH * KW / (SH * SW) windows, then looks for each one's largest. Here a window
is read where it lies, all its channels at a time, and of the winner one byte is kept: its number p * KW + q.
"""

import numpy as np

from ..kernels import memory
from ..kernels.compiling import compiled
from ..kernels.threads import over_images


def forward(layer, x, training=False):
    """``y = max over the window``; keeps each winner's place in its window."""
    x = np.ascontiguousarray(x)
    y = memory.empty(layer.output_shape(x.shape))
    winner = memory.empty(y.shape, np.uint8 if np.prod(layer.kernel) < 256 else np.int32)
    over_images(lambda start, stop: largest(x[start:stop], y[start:stop], winner[start:stop], *numbers(layer)), len(x))
    if training:
        layer.cache = (x.shape, winner)
    return y


def backward(layer, dy):
    """Each winner gets its window's dy; a pixel that won in several adds up."""
    x_shape, winner = layer.cache
    dy, dx = np.ascontiguousarray(dy), memory.empty(x_shape)
    over_images(lambda start, stop: to_winners(dy[start:stop], dx[start:stop], winner[start:stop], *numbers(layer)), len(dy))
    return dx


def numbers(layer):
    """KH, KW, SH, SW, top, left: the loops need no more."""
    return *layer.kernel, *layer.stride, layer.padding[0][0], layer.padding[1][0]


@compiled
def largest(x, y, winner, KH, KW, SH, SW, top, left):
    """Maximum and winner of every window; of equal values the first wins, and NaN wins over all."""
    N, H, W, C = x.shape
    _, OH, OW, _ = y.shape
    place = np.empty(C, np.int32)                   # as wide as a float, so that both are chosen by one vector mask
    for n in range(N):
        for i in range(OH):
            for j in range(OW):
                best = y[n, i, j]
                p0, q0 = max(0, top - i * SH), max(0, left - j * SW)            # the window's first pixel inside the image
                for c in range(C):
                    best[c] = x[n, i * SH + p0 - top, j * SW + q0 - left, c]
                    place[c] = p0 * KW + q0
                for p in range(p0, min(KH, H + top - i * SH)):
                    for q in range(q0, min(KW, W + left - j * SW)):
                        pixel = x[n, i * SH + p - top, j * SW + q - left]
                        for c in range(C):
                            better = (pixel[c] > best[c]) | (pixel[c] != pixel[c])
                            best[c] = pixel[c] if better else best[c]
                            place[c] = p * KW + q if better else place[c]
                for c in range(C):
                    winner[n, i, j, c] = place[c]


@compiled
def to_winners(dy, dx, winner, KH, KW, SH, SW, top, left):
    """Add each window's dy where its winner was."""
    N, OH, OW, C = dy.shape
    dx[:] = 0
    for n in range(N):
        for i in range(OH):
            for j in range(OW):
                for c in range(C):
                    p, q = divmod(winner[n, i, j, c], KW)
                    dx[n, i * SH + p - top, j * SW + q - left, c] += dy[n, i, j, c]
