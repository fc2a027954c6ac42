"""A 1x1 convolution's backward, a block of pixels at a time: dy's slope, its sums, dx and dW while dy is in the cache.

Forward it is one product, here for ``fire.py``.

**Why it is fast.** With 16 channels on one side, as in the paper's fire modules, a pixel takes part in few multiplications, and
what the two products and the sums take is mostly reading. Layer by layer dy would come from memory three times, image by image
three times from the third-level cache; a block of some hundred pixels stays in the second.
"""

from typing import NamedTuple

import numpy as np

from .borrowing import borrowed
from .compiling import compiled, inner
from .elementwise import add, column_sums, elu_slope_sums
from .images import Flat, Images
from .multiply import shared_multiply
from .product import Tables
from .tile import ADD
from .vector import LANES


class Forward(NamedTuple):
    """What it takes besides y."""

    x: Images                                           # of a whole batch
    tables: Tables                                      # those of an image
    weights: Flat
    bias: np.ndarray
    finish: int


@inner
def forward(conv, y, start, stop):
    """``y = x @ W + b`` of images start to stop, finished."""
    x = conv.x
    shared_multiply(conv.tables, stop - start, Flat(x.memory[start * x.stride:], x.stride, 0), conv.weights,
                    Flat(y.memory[start * y.stride:], y.stride, 0), conv.bias, conv.finish, np.empty(1, np.float32))


class Backward(NamedTuple):
    """What it takes besides dy and dx; x and the like are `Images`, of a whole batch."""

    x: Images
    y: Images                                           # if has_elu: dy is first multiplied by the slope of y, in ``sloped``
    alpha: float
    has_elu: bool
    ending: int                                         # STORE, or ADD: dx is added to what is there
    onto: Images                                        # if has_onto: to be added to dx
    has_onto: bool
    x_alpha: float
    x_is_elu: bool                                      # x comes from an ELU: dx is multiplied by its slope
    to_dx: Tables                                       # those of a block, and there are whole blocks in an image
    weights: Flat
    to_dW: Tables
    dW: Flat
    db: np.ndarray
    zeros: np.ndarray
    scratch: np.ndarray
    sloped: np.ndarray


@compiled
def sloped_pitch(channels):
    """From pixel to pixel of ``sloped``: a cache line more than it takes. A power of two apart they would displace each other
    from the nearest cache, and a product over a whole block would need a copy."""
    return channels + LANES


@compiled
def backward(conv, dy, dx, start, stop, begin):
    """Of images start to stop ``dx = dy @ W.T``, or added; to dW and db theirs are added, ``x.T @ dy`` and the sums of dy.

    dy and dx: `Images`, of which the first is the batch's image ``begin``. If dy is to be multiplied by a slope, it may be one
    pixel for each image, which is a pitch of 0.
    """
    conv, dy, dx = borrowed((conv, dy, dx))
    block, x = len(conv.to_dx.rows), conv.x
    for n in range(start, stop):
        for p in range(0, x.H * x.W, block):
            some, some_x, some_dx = pixels(dy, n - begin, p, block), pixels(x, n, p, block), pixels(dx, n - begin, p, block)
            if conv.has_elu:
                target = Images(conv.sloped, 0, 0, sloped_pitch(dy.C), 1, 1, block, dy.C)
                sums = elu_slope_sums(pixels(conv.y, n, p, block), some, conv.alpha, target)
                some = target
            else:
                sums = column_sums(some)
            for c in range(dy.C):
                conv.db[c] += sums[c]
            shared_multiply(conv.to_dx, 1, run(some), conv.weights, run(some_dx), conv.zeros, conv.ending, conv.scratch)
            shared_multiply(conv.to_dW, 1, run(some_x), run(some), conv.dW, conv.zeros, ADD, conv.scratch)
            if conv.has_onto:
                add(some_dx, pixels(conv.onto, n, p, block), some_dx)
            if conv.x_is_elu:                           # after dW, which has brought x into the cache
                elu_slope_sums(some_x, some_dx, conv.x_alpha, some_dx)


@inner
def pixels(x, n, first, count):
    """Some pixels of image n as an image of one row."""
    return Images(x.memory[n * x.stride + first * x.pitch:], 0, 0, x.pitch, 1, 1, count, x.C)


@inner
def run(x):
    """What a product needs to know of it."""
    return Flat(x.memory, 0, 0)
