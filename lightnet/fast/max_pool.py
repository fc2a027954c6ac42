"""Max pooling without the matrix of windows: the running maximum of a window stays in registers and cache.

The layer's own version copies every pixel into KH * KW / (SH * SW) windows, then looks for each one's largest. Here a window
is read where it lies, all its channels at a time, and of the winner one byte is kept: its number p * KW + q.
"""

import numpy as np

from .threads import compiled, over_images


def forward(layer, x, training=False):
    """``y = max over the window``; keeps each winner's place in its window."""
    y = np.empty(layer.output_shape(x.shape), x.dtype)
    winner = np.empty(y.shape, np.uint8 if np.prod(layer.kernel) < 256 else np.int32)
    over_images(largest, np.ascontiguousarray(x), y, winner, *numbers(layer))
    if training:
        layer.cache = (x.shape, winner)
    return y


def backward(layer, dy):
    """Each winner gets its window's dy."""
    x_shape, winner = layer.cache
    dx = np.zeros(x_shape, dy.dtype)
    over_images(to_winners, np.ascontiguousarray(dy), dx, winner, *numbers(layer))
    return dx


def numbers(layer):
    """KH, KW, SH, SW, top, left: the loops need no more."""
    return *layer.kernel, *layer.stride, layer.padding[0][0], layer.padding[1][0]


@compiled
def largest(start, stop, x, y, winner, KH, KW, SH, SW, top, left):
    """Maximum and winner of every window of images start..stop-1; of equal values the first wins, NaN wins over all."""
    _, H, W, C = x.shape
    _, OH, OW, _ = y.shape
    for n in range(start, stop):
        for i in range(OH):
            for j in range(OW):
                first_p, first_q = max(0, top - i * SH), max(0, left - j * SW)      # of the window's pixels inside the image
                winner[n, i, j, :] = first_p * KW + first_q
                y[n, i, j, :] = x[n, i * SH + first_p - top, j * SW + first_q - left]
                for p in range(first_p, min(KH, H + top - i * SH)):
                    for q in range(first_q, min(KW, W + left - j * SW)):
                        h, w = i * SH + p - top, j * SW + q - left
                        for c in range(C):
                            best = y[n, i, j, c]
                            better = not x[n, h, w, c] <= best and best == best     # a NaN wins, and stays
                            y[n, i, j, c] = x[n, h, w, c] if better else best
                            winner[n, i, j, c] = p * KW + q if better else winner[n, i, j, c]


@compiled
def to_winners(start, stop, dy, dx, winner, KH, KW, SH, SW, top, left):
    """Add each window's dy where its winner was."""
    _, OH, OW, C = dy.shape
    for n in range(start, stop):
        for i in range(OH):
            for j in range(OW):
                for c in range(C):
                    p, q = divmod(winner[n, i, j, c], KW)
                    dx[n, i * SH + p - top, j * SW + q - left, c] += dy[n, i, j, c]
