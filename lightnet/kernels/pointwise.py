"""A 1x1 convolution's backward, a block of pixels at a time: dy's slope, its sums, dx and dW while dy is in the cache.

**Why it is fast.** With 16 channels on one side, as in the paper's fire modules, a pixel takes part in few multiplications, and
what the two products and the sums take is mostly reading. Layer by layer dy would come from memory three times, image by image
three times from the third-level cache; a block of some hundred pixels stays in the second. And it is one call from Python for
all of a range, where there were four for an image.
"""

import numpy as np

from .compiling import compiled
from .elementwise import ONE, ZERO, column_sums, elu_slope_sums
from .images import Flat, Images
from .product import multiply
from .runs import even_slope_run, in_sixteens
from .tile import ADD, STORE


@compiled
def backward(x, dy, y, alpha, has_elu, to_dx, weights, dx, to_dW, dW, db, zeros, scratch, sloped, first, last, finish):
    """Of pixels first to last ``dx = dy @ W.T``, ``db += sum of dy``, and ``x.T @ dy``, stored in dW or added to it (finish);
    before that, with has_elu, dy is multiplied by the slope of y: in place or, where dy is one pixel for each image (a pitch of
    0), block by block in ``sloped``.

    The tables are a block's, and there are whole blocks only. Pixels follow each other without gaps, from row to row and from
    image to image.
    """
    block = len(to_dx.rows)
    for p in range(first, last, block):
        some_x, some_dx = pixels(x, p, block), pixels(dx, p, block)
        if dy.pitch == 0:
            some = Images(sloped, 0, 0, dy.C, 1, 1, block, dy.C)
            sums = even_slope_sums(y, dy, alpha, p, some)
        else:
            some = pixels(dy, p, block)
            sums = elu_slope_sums(pixels(y, p, block), some, alpha) if has_elu else column_sums(some)
        for c in range(dy.C):
            db[c] += sums[c]
        multiply(to_dx, 1, run(some), weights, run(some_dx), zeros, STORE, scratch)
        multiply(to_dW, 1, run(some_x), run(some), dW, zeros, finish if p == first else ADD, scratch)


@compiled
def even_slope_sums(y, dy, alpha, p, dx):
    """``elementwise.elu_slope_sums`` of as many pixels as dx has, from p on, where dy is one for each image; dx gets the products."""
    sums, constants, whole = np.zeros(y.C, np.float32), np.empty(2 * y.C, np.float32), in_sixteens(y.C)
    constants[:y.C] = alpha
    start, stop = p, p + dx.W
    while start < stop:                                 # a block may reach into the next image
        n = start // (y.H * y.W)
        here = min(stop, (n + 1) * y.H * y.W)
        constants[y.C:] = dy.memory[n * dy.stride:n * dy.stride + y.C]
        even_slope_run(whole, here - start, y.memory, start * y.pitch, y.pitch, dx.memory, (start - p) * dx.pitch, dx.pitch,
                       constants, y.C, sums, 0)
        for k in range(start, here if whole < y.C else start):
            for c in range(whole, y.C):
                output, place = y.memory[k * y.pitch + c], (k - p) * dx.pitch + c
                dx.memory[place] = constants[y.C + c] * (ONE if output > ZERO else output + alpha)
                sums[c] += dx.memory[place]
        start = here
    return sums


@compiled
def pixels(x, start, count):
    """A run of pixels as an image of one row."""
    return Images(x.memory[start * x.pitch:], 0, 0, x.pitch, 1, 1, count, x.C)


@compiled
def run(x):
    """What a product needs to know of it."""
    return Flat(x.memory, 0, 0)
